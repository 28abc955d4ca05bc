/** The launched process itself, bundled as it is shipped: one CommonJS file. */
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, it} from '@jest/globals';
import {build} from 'esbuild';
import {spawn} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';
import {existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import type {AddressInfo, Server} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {Readable} from 'node:stream';
import {SpecialistConnection} from '../../src/protocol/client.js';
import {ControlConnection} from '../../src/protocol/control-client.js';
import type {LaunchMessage, LaunchReport, WorkerConfig} from '../../src/protocol/control.js';
import {connectTcp, connectUnix} from '../../src/runtime/connect.js';
import {configOf, until} from './harness.js';

let bundleFolder = '';
let bundle = '';
let folder = '';
const pids = new Set<number>();

beforeAll(async () => {
  bundleFolder = mkdtempSync(join(tmpdir(), 'tekton-worker-'));
  bundle = join(bundleFolder, 'worker.cjs');
  const {metafile} = await build({
    entryPoints: ['src/worker/main.ts'],
    outfile: bundle,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    packages: 'external',
    metafile: true,
    logLevel: 'error',
  });
  expect(Object.keys(metafile.inputs)).toContain('src/worker/start.ts');
});
afterAll(() => rmSync(bundleFolder, {recursive: true}));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tekton-launch-'));
});
afterEach(async () => {
  for (const pid of pids) if (alive(pid)) process.kill(pid, 'SIGKILL');
  await until(() => [...pids].every(pid => !alive(pid)), 'the workers to be gone');
  pids.clear();
  rmSync(folder, {recursive: true});
});

interface Launched {
  readonly child: ChildProcess;
  readonly report: Promise<LaunchReport | undefined>;
  readonly exit: Promise<{code: number | null; signal: string | null}>;
  readonly log: () => string;
}

const offline: Partial<WorkerConfig> = {
  provider: {name: 'offline', type: 'offline'},
  model: 'expertise',
  choice: {provider: 'offline', type: 'offline', model: 'expertise'},
};

function message(changes: Partial<WorkerConfig> = {}, port = 0): LaunchMessage {
  return {uid: 'uid-7', port, controlPath: join(folder, 'a.sock'), config: configOf({...offline, ...changes})};
}

function launch(input: LaunchMessage | string, args = ['--ai-id', 'athena-ai', '--uid', 'uid-7']): Launched {
  const child = spawn(process.execPath, [bundle, ...args], {stdio: ['pipe', 'pipe', 'pipe', 'pipe'], detached: true});
  if (child.pid !== undefined) pids.add(child.pid);
  let log = '';
  child.stderr.on('data', (data: Buffer) => (log += data.toString()));
  const exit = new Promise<{code: number | null; signal: string | null}>(resolve => {
    child.on('exit', (code, signal) => resolve({code, signal}));
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(typeof input === 'string' ? input : JSON.stringify(input));
  return {child, exit, report: readReport(child.stdio[3] as Readable), log: () => log};
}

async function readReport(stream: Readable): Promise<LaunchReport | undefined> {
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text === '' ? undefined : (JSON.parse(text) as LaunchReport);
}

async function portOf(launched: Launched): Promise<number> {
  const report = await launched.report;
  if (report?.type !== 'listening') throw new Error(`not listening: ${launched.log()}`);
  return report.port;
}

async function askOnce(port: number): Promise<unknown> {
  const connection = new SpecialistConnection(await connectTcp('127.0.0.1', port));
  const pong = await connection.request({type: 'ping'}, {timeoutMs: 5000});
  connection.close();
  return pong;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ');
  } catch {
    return false;
  }
}

describe('a launched worker', () => {
  it('reports its port, closes the report, and answers as who it is', async () => {
    const worker = launch(message());
    const report = await worker.report;
    expect(report).toEqual({type: 'listening', pid: worker.child.pid, port: expect.any(Number)});
    const port = await portOf(worker);
    expect(await askOnce(port)).toMatchObject({type: 'pong', ai_id: 'athena-ai', uid: 'uid-7'});
    expect(readlinkSync(`/proc/${worker.child.pid}/fd/0`)).toBe('/dev/null');
  });

  it('answers a chat with the provider that it loads only then', async () => {
    const port = await portOf(launch(message()));
    const connection = new SpecialistConnection(await connectTcp('127.0.0.1', port));
    const reply = await connection.request(
      {type: 'chat', content: 'What do you know about graphs?'},
      {timeoutMs: 10_000},
    );
    expect(reply.content).toMatch(/^No model is connected/);
    expect(reply.model).toBe('offline:expertise');
    connection.close();
  });

  it('shows no secret in its arguments, environment or log', async () => {
    const secret = 'sk-very-secret-key-1234567890';
    const provider = {name: 'anthropic', type: 'anthropic', apiKey: secret} as const;
    const worker = launch(message({provider, authToken: secret}));
    await portOf(worker);
    for (const file of ['cmdline', 'environ']) {
      expect(readFileSync(`/proc/${worker.child.pid}/${file}`, 'latin1')).not.toContain(secret);
    }
    expect(worker.log()).not.toContain(secret);
  });

  it('ends with 0 on SIGTERM, and removes its control socket', async () => {
    const worker = launch(message());
    await portOf(worker);
    worker.child.kill('SIGTERM');
    expect(await worker.exit).toEqual({code: 0, signal: null});
    expect(existsSync(join(folder, 'a.sock'))).toBe(false);
  });

  it('is shut down by its owner', async () => {
    const worker = launch(message());
    await portOf(worker);
    const control = new ControlConnection(await connectUnix(join(folder, 'a.sock')));
    expect(await control.request({type: 'shutdown', graceMs: 1000})).toMatchObject({ok: true});
    await control.closed;
    expect(await worker.exit).toEqual({code: 0, signal: null});
  });

  it('does not mind SIGHUP', async () => {
    const worker = launch(message());
    const port = await portOf(worker);
    worker.child.kill('SIGHUP');
    expect(await askOnce(port)).toMatchObject({type: 'pong'});
  });

  it('goes on serving and logging when the reader of its log is gone', async () => {
    const worker = launch(message());
    const port = await portOf(worker);
    worker.child.stderr?.destroy();
    const control = new ControlConnection(await connectUnix(join(folder, 'a.sock')));
    // Each of these writes a line to the log.
    for (let n = 0; n < 3; n++) {
      expect(await control.request({type: 'configure', config: configOf(offline)})).toMatchObject({ok: true});
    }
    expect(await askOnce(port)).toMatchObject({type: 'pong'});
    control.close();
  });

  it('says who it is from its first moment, so that nobody mistakes it', async () => {
    const worker = launch(message(), ['--ai-id', 'apollo-ai', '--uid', 'uid-7']);
    expect(await worker.report).toMatchObject({type: 'failed', reason: 'LaunchFailed'});
    expect(await worker.exit).toMatchObject({code: 1});
  });

  it.each([
    ['nothing', ''],
    ['half a message', '{"uid": "uid-7", "config": {"provider": {"apiKey": "sk-secret'],
    ['another document', '{"uid": "uid-7"}'],
    ['a newer format', JSON.stringify({...message({formatVersion: 99}), controlPath: '/nonexistent'})],
  ])('given %s, fails with one readable line that quotes none of it', async (_, input) => {
    const worker = launch(input);
    expect(await worker.report).toMatchObject({type: 'failed', reason: 'LaunchFailed'});
    expect(await worker.exit).toMatchObject({code: 1});
    expect(worker.log().trimEnd().split('\n')).toHaveLength(1);
    expect(worker.log()).not.toContain('sk-secret');
  });
});

describe('a port that is taken', () => {
  let server: Server;
  beforeEach(done => {
    server = createServer().listen(0, '127.0.0.1', () => done());
  });
  afterEach(done => void server.close(() => done()));

  it('is reported, and is the exit code 98', async () => {
    const {port} = server.address() as AddressInfo;
    const worker = launch(message({}, port));
    expect(await worker.report).toMatchObject({
      type: 'failed',
      reason: 'PortTaken',
      message: expect.stringContaining(`cannot listen on 127.0.0.1:${port}`),
    });
    expect(await worker.exit).toEqual({code: 98, signal: null});
    expect(existsSync(join(folder, 'a.sock'))).toBe(false);
  });
});

describe('a launcher that dies', () => {
  /** Launches the worker as the runtime does, and is killed at `moment`. */
  function launcher(moment: 'before the report' | 'after it'): string {
    return `
      const {spawn} = require('node:child_process');
      const {writeFileSync} = require('node:fs');
      const child = spawn(process.execPath, [${JSON.stringify(bundle)}, '--ai-id', 'athena-ai', '--uid', 'uid-7'], {
        stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
        detached: true,
      });
      writeFileSync(${JSON.stringify(join(folder, 'pid'))}, String(child.pid));
      child.stdin.end(${JSON.stringify(JSON.stringify(message()))}, () => {
        if (${moment === 'before the report'}) process.kill(process.pid, 'SIGKILL');
      });
      child.stdio[3].on('data', () => process.kill(process.pid, 'SIGKILL'));
    `;
  }

  it.each(['before the report', 'after it'] as const)('%s leaves the worker serving', async moment => {
    const script = join(folder, 'launcher.cjs');
    writeFileSync(script, launcher(moment));
    const parent = spawn(process.execPath, [script], {stdio: 'ignore'});
    const signal = await new Promise(resolve => parent.on('exit', (_, by) => resolve(by)));
    expect(signal).toBe('SIGKILL');
    const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'));
    pids.add(pid);
    const control = await reach(join(folder, 'a.sock'));
    const reply = await control.request({type: 'hello'}, {timeoutMs: 5000});
    if (!reply.ok || reply.hello === undefined) throw new Error('no hello');
    expect(reply.hello).toMatchObject({uid: 'uid-7', pid});
    expect(await askOnce(reply.hello.port)).toMatchObject({type: 'pong', uid: 'uid-7'});
    control.close();
  });

  async function reach(path: string): Promise<ControlConnection> {
    for (let tries = 0; ; tries++) {
      try {
        return new ControlConnection(await connectUnix(path));
      } catch (error) {
        if (tries > 500) throw error;
        await new Promise(resolve => setTimeout(resolve, 10));
      }
    }
  }
});
