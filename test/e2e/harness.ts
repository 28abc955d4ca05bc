/**
 * Runs the built program as a person would, in a private place: its own state folder, its own empty HOME, its own
 * address. Whatever it started is ended with the test, and a test that leaves a process behind fails.
 */
import {randomInt} from 'node:crypto';
import {existsSync, readFileSync} from 'node:fs';
import {mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile} from 'node:fs/promises';
import {createServer} from 'node:net';
import {dirname, join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {afterEach, jest} from '@jest/globals';
import {execa} from 'execa';
import {stringify} from 'yaml';
import type {FleetFields, SpecialistEntry} from '../../src/api/documents.js';
import type {GitSourceStatus} from '../../src/api/git-source.js';
import {defaultPorts, type FleetEvent, type FleetRecord, type PortRange} from '../../src/api/types.js';
import type {SpecialistDocument} from '../../src/cli/print/documents.js';

/** Real processes on a machine that may be busy: one more try, and the first failure is printed all the same. */
jest.retryTimes(1, {logErrorsBeforeRetry: true});

/** The program under test: the build of this checkout, or another one (an installed package, say). */
export const program =
  process.env['TEKTON_AI_E2E_PROGRAM'] ?? fileURLToPath(new URL('../../dist/tekton-ai.js', import.meta.url));

/** Longer than anything takes on a busy machine; a wait ends as soon as its condition holds. */
const patienceMs = 20_000;

export interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** A fleet's spec, with names alone where a specialist needs no more. */
export interface FleetSpec extends Omit<FleetFields, 'specialists'> {
  readonly name?: string;
  readonly specialists?: readonly (string | SpecialistEntry)[];
}

export interface SandboxOptions {
  /** How many ports its fleet may have. */
  readonly size?: number;
  /** The state folder's path below the sandbox. */
  readonly home?: string;
  /** Where its specialists listen. Absent: at an address that no other program has, each of its ports free. */
  readonly host?: string;
}

/** A function that makes sandboxes. They are closed after each test of the file that called this. */
export function sandboxes({size = 50, home = 's', host}: SandboxOptions = {}): () => Promise<Sandbox> {
  if (!existsSync(program)) throw new Error(`${program} is missing: build first, with npm run build`);
  const open: Sandbox[] = [];
  afterEach(async () => {
    for (const sandbox of open.splice(0)) await sandbox.close();
  }, 60_000);
  return async () => {
    const address = host ?? privateAddress();
    const sandbox = await Sandbox.create({host: address, ports: await freeRange(address, size), home});
    open.push(sandbox);
    return sandbox;
  };
}

interface Place {
  readonly host: string;
  readonly ports: PortRange;
  readonly home: string;
}

export class Sandbox {
  /** Everything is below it. */
  readonly folder: string;
  /** TEKTON_AI_HOME. */
  readonly home: string;
  /** Where commands run and fleet files are. */
  readonly work: string;
  /** Where specialists of `declare` listen. */
  readonly host: string;
  readonly ports: PortRange;

  private constructor(folder: string, {host, ports, home}: Place) {
    this.folder = folder;
    this.home = join(folder, home);
    this.work = join(folder, 'w');
    this.host = host;
    this.ports = ports;
  }

  /** The path is short: a control socket's path must fit into 107 bytes. */
  static async create(place: Place): Promise<Sandbox> {
    const sandbox = new Sandbox(await realpath(await mkdtemp('/tmp/tk-')), place);
    await mkdir(join(sandbox.folder, 'h'));
    await mkdir(sandbox.work);
    return sandbox;
  }

  /** All that a command inherits. No key is in it, and no Ollama answers at this address. */
  get environment(): Record<string, string> {
    return {
      PATH: process.env['PATH'] ?? '',
      HOME: join(this.folder, 'h'),
      TEKTON_AI_HOME: this.home,
      OLLAMA_HOST: 'http://127.0.0.1:1',
    };
  }

  /** Writes a file below the working folder. */
  async write(name: string, content: string): Promise<void> {
    const file = join(this.work, name);
    await mkdir(dirname(file), {recursive: true});
    await writeFile(file, content);
  }

  /** Writes tekton-ai.yaml, or another file. */
  async declare(fleet: FleetSpec, file = 'tekton-ai.yaml'): Promise<void> {
    await this.write(file, this.document(fleet));
  }

  /** A Fleet document: `offline` unless `defaults` says otherwise, at the address and ports of this sandbox. */
  document(fleet: FleetSpec): string {
    const {name = 'dev', specialists = [], defaults = {provider: 'offline'}, ...spec} = fleet;
    return stringify({
      apiVersion: 'tekton.ai/v1alpha1',
      kind: 'Fleet',
      metadata: {name},
      spec: {
        ports: this.ports,
        ...spec,
        defaults: {host: this.host, ...defaults},
        specialists: specialists.map(entry => (typeof entry === 'string' ? {component: entry} : entry)),
      },
    });
  }

  /** Runs `tekton-ai …` to its end. */
  async run(args: readonly string[], {input = '', env = {}, cwd = this.work}: RunOptions = {}): Promise<Ran> {
    const result = await execa(process.execPath, [program, ...args], {
      cwd,
      input,
      env: {...this.environment, ...env},
      extendEnv: false,
      reject: false,
      stripFinalNewline: false,
      timeout: patienceMs,
    });
    if (result.exitCode === undefined) {
      throw new Error(`tekton-ai ${args.join(' ')}: ${result.message ?? 'no exit code'}`);
    }
    return {stdout: result.stdout, stderr: result.stderr, exitCode: result.exitCode};
  }

  /** The same, and it must end with 0. */
  async ok(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const ran = await this.run(args, options);
    if (ran.exitCode !== 0) {
      throw new Error(`tekton-ai ${args.join(' ')} ended with ${ran.exitCode}\n${ran.stderr}\n${ran.stdout}`);
    }
    return ran;
  }

  /** Starts `tekton-ai …` and lets it run; its output is readable as it comes. */
  start(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const subprocess = execa(process.execPath, [program, ...args], {
      cwd: this.work,
      env: {...this.environment, ...env},
      extendEnv: false,
      reject: false,
    });
    const output = {stdout: '', stderr: ''};
    subprocess.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
    subprocess.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
    return {subprocess, output};
  }

  /** What `get -o json` shows. */
  async items(): Promise<readonly SpecialistDocument[]> {
    const {stdout} = await this.ok(['get', '-o', 'json']);
    return (JSON.parse(stdout) as {readonly items: readonly SpecialistDocument[]}).items;
  }

  async item(name: string): Promise<SpecialistDocument> {
    const {stdout} = await this.ok(['get', name, '-o', 'json']);
    return JSON.parse(stdout) as SpecialistDocument;
  }

  /** Name → pid of those that run. */
  async pids(): Promise<Readonly<Record<string, number>>> {
    const items = await this.items();
    return Object.fromEntries(
      items.flatMap(({metadata, status}) => (status.instance ? [[metadata.name, status.instance.identity.pid]] : [])),
    );
  }

  async pidOf(name: string): Promise<number> {
    const {status} = await this.item(name);
    if (!status.instance) throw new Error(`${name} does not run: ${JSON.stringify(status)}`);
    return status.instance.identity.pid;
  }

  /** Waits until `name` is as `condition` wants it, as `get` sees it. */
  async untilItem(name: string, condition: (item: SpecialistDocument) => boolean): Promise<SpecialistDocument> {
    let last: SpecialistDocument | undefined;
    return until(
      () => `${name} to be otherwise than ${JSON.stringify(last?.status, undefined, 1)}`,
      async () => {
        last = await this.item(name);
        return condition(last) ? last : undefined;
      },
    );
  }

  /** The registry file, as any program reads it; there being none is an empty one. */
  registry(): Readonly<Record<string, RegistryEntry>> {
    const file = join(this.home, 'platform_ai_registry.json');
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, RegistryEntry>) : {};
  }

  /** What is recorded of a fleet. */
  record(fleet = 'dev'): FleetRecord {
    return JSON.parse(readFileSync(join(this.home, `fleets/default.${fleet}.json`), 'utf8')) as FleetRecord;
  }

  /** How a git source stands, as the controller last wrote it. */
  gitStatus(source: string): GitSourceStatus {
    return JSON.parse(readFileSync(join(this.home, `status/git.default.${source}.json`), 'utf8')) as GitSourceStatus;
  }

  /** Waits until a git source is as `condition` wants it. */
  async untilGit(source: string, condition: (status: GitSourceStatus) => boolean): Promise<GitSourceStatus> {
    let last: GitSourceStatus | undefined;
    return until(
      () => `git source ${source} to be otherwise than ${JSON.stringify(last)}`,
      () => {
        last = this.gitStatus(source);
        return condition(last) && last;
      },
    );
  }

  async events(): Promise<readonly FleetEvent[]> {
    const text = await readFile(join(this.home, 'events.jsonl'), 'utf8').catch(() => '');
    return text.split('\n').flatMap(line => (line === '' ? [] : [JSON.parse(line) as FleetEvent]));
  }

  /** Waits for an event of this reason, of this specialist where one is named. */
  untilEvent(reason: string, aiId?: string): Promise<FleetEvent> {
    return until(`event ${reason}`, async () =>
      (await this.events()).find(event => event.reason === reason && (aiId === undefined || event.aiId === aiId)),
    );
  }

  controllerPid(): number {
    const text = readFileSync(join(this.home, 'run/controller.json'), 'utf8');
    return (JSON.parse(text) as {readonly identity: {readonly pid: number}}).identity.pid;
  }

  /** Pids of all processes that belong to this state folder. */
  async processes(): Promise<readonly number[]> {
    const marks = [`TEKTON_AI_HOME=${this.home}`];
    const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name)).map(Number);
    const ours = pids.map(async pid => {
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
      return marks.some(mark => environment.split('\0').includes(mark)) ? [pid] : [];
    });
    return (await Promise.all(ours)).flat();
  }

  /** Ends everything and removes everything. @throws {Error} `down` left a process behind */
  async close(): Promise<void> {
    try {
      if (existsSync(join(this.home, 'fleets'))) await this.run(['down', '--timeout', '10s']);
      const left = await stillAfter(() => this.processes());
      for (const pid of left) kill(pid, 'SIGKILL');
      await until('processes to end', async () => (await this.processes()).length === 0);
      if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
    } finally {
      await rm(this.folder, {recursive: true, force: true});
    }
  }
}

export interface RegistryEntry {
  readonly port: number;
  readonly component: string;
  readonly metadata: {readonly description?: string; readonly pid?: number; readonly [more: string]: unknown};
  readonly registered_at: number;
}

export function isReady({status}: SpecialistDocument): boolean {
  return status.phase === 'Ready';
}

/** Status, reason and message of a condition, in one line. */
export function conditionText({status}: SpecialistDocument, type: string): string {
  const found = status.conditions.find(condition => condition.type === type);
  return found === undefined ? 'absent' : `${found.status} ${found.reason} ${found.message}`;
}

/** Whether a process lives; one that ended and was not collected yet does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

/** Sends a signal; that there is nobody is fine. */
export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Asks again until the answer is neither undefined nor false. */
export async function until<T>(
  what: string | (() => string),
  ask: () => Promise<T | undefined | false> | T | undefined | false,
): Promise<T> {
  const end = performance.now() + patienceMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > end) throw new Error(`waited in vain for ${typeof what === 'string' ? what : what()}`);
    await delay(25);
  }
}

/**
 * An address of the loopback network for one sandbox alone (Linux answers at all of 127.0.0.0/8): no port there is ever
 * another test's, a client's, or in TIME_WAIT.
 */
function privateAddress(): string {
  return `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(1, 255)}`;
}

/** A run of ports that are free now, anywhere in the range that fleets have by default. */
async function freeRange(host: string, size: number): Promise<PortRange> {
  for (let tries = 0; tries < 100; tries++) {
    const from = randomInt(defaultPorts.from, defaultPorts.to - size);
    const ports = Array.from({length: size}, (_, offset) => from + offset);
    if ((await Promise.all(ports.map(port => isFree(host, port)))).every(Boolean)) return {from, to: from + size - 1};
  }
  throw new Error(`no ${size} ports in a row are free on ${host}`);
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer().once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

/** What is still there when all that is on its way out has gone; gives up after a second. */
async function stillAfter(list: () => Promise<readonly number[]>): Promise<readonly number[]> {
  const end = performance.now() + 1000;
  for (;;) {
    const left = (await list()).filter(isAlive);
    if (left.length === 0 || performance.now() > end) return left;
    await delay(25);
  }
}
