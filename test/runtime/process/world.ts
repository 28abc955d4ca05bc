/** A state folder of its own with real worker processes, and a model server in the test's hand. */
import {spawn} from 'node:child_process';
import {createHash, randomUUID} from 'node:crypto';
import {once} from 'node:events';
import {mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {createServer as createHttpServer} from 'node:http';
import type {ServerResponse} from 'node:http';
import {connect, createServer} from 'node:net';
import type {AddressInfo, Server} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {build} from 'esbuild';
import {genericExpertise} from '../../../src/api/defaults.js';
import {formatVersion} from '../../../src/api/types.js';
import type {WorkerConfig} from '../../../src/protocol/control.js';
import {ControlConnection} from '../../../src/protocol/control-client.js';
import {readLaunchRecord, removeLaunchRecord} from '../../../src/registry/launch-records.js';
import {ensureStateHome} from '../../../src/registry/home.js';
import {findWorkers, isSame, signalVerified} from '../../../src/registry/processes.js';
import {connectUnix} from '../../../src/runtime/connect.js';
import {ProcessRuntime} from '../../../src/runtime/process/runtime.js';
import type {LaunchRequest, Runtime, Worker} from '../../../src/runtime/runtime.js';
import type {Chat, RuntimeWorld} from '../../contract/runtime.js';

/** The worker's program as the build makes it, in a folder that the caller removes. */
export async function buildProgram(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'tekton-program-'));
  await build({
    entryPoints: {main: 'src/worker/main.ts'},
    outdir: folder,
    outExtension: {'.js': '.cjs'},
    bundle: true,
    format: 'cjs',
    platform: 'node',
    external: ['fs-native-extensions'],
    logLevel: 'error',
  });
  const hash = createHash('sha256').update(readFileSync(join(folder, 'main.cjs')));
  writeFileSync(join(folder, 'hash'), hash.digest('hex').slice(0, 16));
  return folder;
}

export interface ProcessWorldOptions {
  readonly programFolder: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export class ProcessWorld implements RuntimeWorld {
  readonly home: string;
  readonly #folder: string;
  readonly #options: ProcessWorldOptions;
  readonly #servers: Server[] = [];
  readonly #held: ServerResponse[] = [];
  #modelUrl = '';

  private constructor(options: ProcessWorldOptions) {
    this.#options = options;
    this.#folder = mkdtempSync(join(tmpdir(), 'tekton-runtime-'));
    this.home = join(this.#folder, 'home');
  }

  static async open(options: ProcessWorldOptions): Promise<ProcessWorld> {
    const world = new ProcessWorld(options);
    await ensureStateHome(world.home);
    world.#modelUrl = await world.#serveModels();
    return world;
  }

  runtime(programFolder = this.#options.programFolder): Runtime {
    const {PATH = '', HOME = ''} = process.env;
    return new ProcessRuntime({
      home: this.home,
      programFolder,
      environment: {PATH, HOME, ...this.#options.environment},
    });
  }

  async request(changes: Partial<WorkerConfig> = {}): Promise<LaunchRequest> {
    const config: WorkerConfig = {
      formatVersion,
      aiId: 'athena-ai',
      name: 'athena',
      component: 'athena',
      namespace: 'default',
      fleet: 'dev',
      generation: 1,
      specHash: 'hash',
      declared: {model: 'm1'},
      host: '127.0.0.1',
      provider: {name: 'ollama', type: 'ollama', baseUrl: this.#modelUrl},
      model: 'm1',
      choice: {provider: 'ollama', type: 'ollama', model: 'm1'},
      parameters: {},
      expertise: genericExpertise('athena'),
      concurrency: {max: 4, queue: 4},
      sessions: {maxTurns: 5, idleMinutes: 5, persist: false},
      graceMs: 5000,
      ...changes,
    };
    return {uid: randomUUID(), port: await freePort(), config, env: {}, startupMs: 20_000};
  }

  async failing(): Promise<{request: LaunchRequest; stderr: string}> {
    // An address of TEST-NET-1 (RFC 5737), which no machine has.
    return {request: await this.request({host: '192.0.2.1'}), stderr: 'cannot listen on 192.0.2.1'};
  }

  async failingSuccessor({port}: Worker): Promise<{request: LaunchRequest; stderr: string}> {
    const env = {NODE_OPTIONS: '--require=/nowhere/to/be/found.js'};
    return {request: {...(await this.request()), port, env}, stderr: 'MODULE_NOT_FOUND'};
  }

  async signal({instance}: Worker, signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT' | 'SIGTERM'): Promise<void> {
    process.kill(instance.identity.pid, signal);
  }

  async configureByHand({aiId}: Worker, config: WorkerConfig): Promise<void> {
    const path = readLaunchRecord(this.home, aiId)?.controlPath ?? '';
    const control = new ControlConnection(await connectUnix(path));
    const reply = await control.request({type: 'configure', config});
    control.close();
    if (!reply.ok) throw new Error(reply.error);
  }

  async loseRecord(aiId: string): Promise<void> {
    await removeLaunchRecord(this.home, aiId);
  }

  async occupy(port: number): Promise<void> {
    const server = createServer();
    this.#servers.push(server);
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  }

  async chat(worker: Worker): Promise<Chat> {
    const before = this.#held.length;
    const socket = connect(worker.port, '127.0.0.1');
    let text = '';
    const answered = new Promise<boolean>(resolve => {
      const done = (): void => resolve(text.includes('"chat_response"'));
      socket.on('data', chunk => {
        text += chunk.toString();
        if (text.includes('\n')) done();
      });
      socket.on('error', done);
      socket.on('close', done);
    });
    socket.write(`${JSON.stringify({type: 'chat', content: 'hello'})}\n`);
    await until(() => this.#held.length > before, 'the chat to reach the model');
    const response = this.#held[before];
    return {answered, finish: () => void response?.end(`${JSON.stringify(answer)}\n`)};
  }

  async close(): Promise<void> {
    const found = await findWorkers(this.home);
    for (const {identity} of found) await signalVerified(identity, 'SIGKILL', {group: true});
    for (const {identity} of found) while (await isSame(identity)) await pause();
    for (const response of this.#held) response.destroy();
    await Promise.all(this.#servers.map(server => new Promise(resolve => server.close(resolve))));
    rmSync(this.#folder, {recursive: true, force: true});
  }

  /** Every file below the state folder, with its content. */
  files(): ReadonlyMap<string, string> {
    const names = readdirSync(this.home, {recursive: true, encoding: 'utf8'});
    const files = names.filter(name => statSync(join(this.home, name), {throwIfNoEntry: false})?.isFile());
    return new Map(files.map(name => [name, readFileSync(join(this.home, name), 'latin1')]));
  }

  /** Speaks Ollama's chat, and holds every answer back. */
  async #serveModels(): Promise<string> {
    const server = createHttpServer((request, response) => {
      request.resume();
      response.on('error', () => undefined);
      request.on('end', () => {
        if (request.url !== '/api/chat') return void response.writeHead(404).end('{}');
        response.writeHead(200, {'content-type': 'application/x-ndjson', connection: 'close'});
        response.flushHeaders();
        this.#held.push(response);
      });
    });
    this.#servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // a TCP server's address is never a string
  }
}

const answer = {
  model: 'm1',
  created_at: '2026-01-01T00:00:00Z',
  message: {role: 'assistant', content: 'well met'},
  done: true,
  done_reason: 'stop',
  prompt_eval_count: 1,
  eval_count: 2,
};

/** A process of nobody's that lives until it is killed. */
export async function stranger(): Promise<{readonly pid: number; readonly end: () => Promise<void>}> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6); console.log("up")'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  await once(child.stdout, 'data');
  const ended = once(child, 'exit');
  return {
    pid: child.pid ?? -1,
    end: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const {port} = server.address() as AddressInfo; // as above
  await new Promise(resolve => server.close(resolve));
  return port;
}

export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await pause();
  }
}

function pause(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 5));
}
