/** A worker hands its listening socket to its successor: real processes, and clients that must not notice. */
import {execFileSync, spawn} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';
import {existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, it} from '@jest/globals';
import {ControlConnection} from '../../src/protocol/control-client.js';
import type {ControlReply, Hello, LaunchMessage, SuccessorOrder, WorkerConfig} from '../../src/protocol/control.js';
import {connectUnix} from '../../src/runtime/connect.js';
import {buildProgram, freePort} from '../runtime/process/world.js';
import {Client, configOf, until} from './harness.js';
import {Traffic} from './traffic.js';

let programFolder = '';
let program = '';
let folder = '';
let port = 0;
let first: ChildProcess | undefined;
const controls: ControlConnection[] = [];
const clients: Client[] = [];

beforeAll(async () => {
  programFolder = await buildProgram();
  program = join(programFolder, 'main.cjs');
});
afterAll(() => rmSync(programFolder, {recursive: true}));

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tekton-handover-'));
  port = await freePort();
  writeFileSync(
    join(folder, 'answers.yaml'),
    `rules:
  - {contains: slowly, chunks: [so, on], delayMs: 300, chunkDelayMs: 300}
  - {contains: hold, reply: held, delayMs: 1500}
  - {contains: forever, reply: never, delayMs: 600000}
`,
  );
});
afterEach(async () => {
  for (const control of controls.splice(0)) control.close();
  for (const client of clients.splice(0)) client.close();
  for (const pid of workers()) process.kill(pid, 'SIGKILL');
  await until(() => workers().length === 0, 'the workers to be gone');
  rmSync(folder, {recursive: true});
});

/** All living workers of this test, known by their environment. */
function workers(): readonly number[] {
  return readdirSync('/proc').flatMap(name => {
    try {
      const ours = readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(`TEKTON_AI_HOME=${folder}`);
      return ours && !readFileSync(`/proc/${name}/stat`, 'latin1').includes(') Z ') ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

function config(changes: Partial<WorkerConfig> = {}): WorkerConfig {
  const script = join(folder, 'answers.yaml');
  return configOf({
    provider: {name: 'scripted', type: 'scripted', script},
    concurrency: {max: 16, queue: 64},
    graceMs: 20_000,
    ...changes,
  });
}

function launchOf(uid: string, changes: Partial<WorkerConfig> = {}): LaunchMessage {
  return {uid, port, controlPath: join(folder, `${uid}.sock`), config: config(changes)};
}

async function start(changes: Partial<WorkerConfig> = {}): Promise<ControlConnection> {
  const child = spawn(process.execPath, [program, '--ai-id', 'athena-ai', '--uid', 'u0'], {
    stdio: ['pipe', 'ignore', 'ignore', 'pipe'],
    detached: true,
    env: {PATH: process.env['PATH'], TEKTON_AI_HOME: folder, OLD: 'yes'},
  });
  first = child;
  child.stdin?.end(JSON.stringify(launchOf('u0', changes)));
  await new Promise(resolve => child.stdio[3]?.once('data', resolve));
  return control('u0');
}

async function control(uid: string): Promise<ControlConnection> {
  const connection = new ControlConnection(await connectUnix(join(folder, `${uid}.sock`)));
  controls.push(connection);
  return connection;
}

function order(uid: string, changes: Partial<SuccessorOrder> = {}, configured: Partial<WorkerConfig> = {}) {
  const launch: LaunchMessage = {...launchOf(uid, configured), inherits: true};
  const env = {PATH: process.env['PATH'] ?? '', TEKTON_AI_HOME: folder, NEW: uid};
  const logPath = join(folder, 'athena.log');
  const usual = {program, execPath: process.execPath, cwd: folder, env, launch, logPath, startupMs: 20_000};
  return {type: 'replace', ...usual, ...changes} as const;
}

async function replace(old: ControlConnection, uid: string): Promise<ControlConnection> {
  const reply = await old.request(order(uid));
  if (!reply.ok) throw new Error(reply.error);
  return control(uid);
}

async function hello(connection: ControlConnection): Promise<Hello> {
  const reply = await connection.request({type: 'hello'}, {timeoutMs: 5000});
  if (!reply.ok || !reply.hello) throw new Error('no hello');
  return reply.hello;
}

function client(): Client {
  const made = new Client(port);
  clients.push(made);
  return made;
}

function refusal(reply: ControlReply): string {
  return reply.ok ? 'it was replaced' : reply.error;
}

function proc(pid: number, file: 'environ' | 'cmdline'): readonly string[] {
  return readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0').filter(Boolean);
}

describe('a handover', () => {
  it('is noticed by no client: those that reconnect, stay, stream, wait long, half-close, or say nothing', async () => {
    let owner = await start();
    const traffic = new Traffic({port, aiId: 'athena-ai', slow: 'slowly'});
    for (let n = 1; n <= 5; n++) {
      const before = traffic.exchanges;
      owner = await replace(owner, `u${n}`);
      await until(() => traffic.exchanges > before + 50, 'traffic after the handover');
    }
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
    expect(traffic.exchanges).toBeGreaterThanOrEqual(250);
    for (const [kind, count] of Object.entries(traffic.counts)) expect([kind, count > 0]).toEqual([kind, true]);
    await until(() => workers().length === 1, 'the retired workers to be gone');
    expect(await hello(owner)).toMatchObject({uid: 'u5', retired: false, port});
  }, 60_000);

  it('twenty times in a row leaves one process and one socket', async () => {
    let owner = await start();
    const traffic = new Traffic({port, aiId: 'athena-ai'});
    for (let n = 1; n <= 20; n++) owner = await replace(owner, `u${n}`);
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
    await until(() => workers().length === 1, 'the retired workers to be gone');
    expect(readdirSync(folder).sort()).toEqual(['answers.yaml', 'athena.log', 'u20.sock']);
  }, 60_000);

  it('gives the successor what was ordered and nothing of the one before', async () => {
    const owner = await start();
    const reply = await owner.request(order('u1', {}, {generation: 2}));
    expect(reply).toMatchObject({ok: true, successor: {pid: expect.any(Number)}});
    const next = await hello(await control('u1'));
    expect(next).toMatchObject({uid: 'u1', port, generation: 2, retired: false, draining: false});
    const names = proc(next.pid, 'environ').map(entry => entry.split('=', 1)[0] ?? '');
    expect(names.filter(name => !name.startsWith('NODE_CHANNEL_')).sort()).toEqual(['NEW', 'PATH', 'TEKTON_AI_HOME']);
    expect(proc(next.pid, 'cmdline').slice(1)).toEqual([program, '--ai-id', 'athena-ai', '--uid', 'u1']);
    const fields = readFileSync(`/proc/${next.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    expect([Number(fields[2]), Number(fields[3])]).toEqual([next.pid, next.pid]); // group and session of its own
    expect(readlinkSync(`/proc/${next.pid}/fd/0`)).toBe('/dev/null');
    expect(readlinkSync(`/proc/${next.pid}/fd/2`)).toBe(join(folder, 'athena.log'));
    expect(readFileSync(join(folder, 'athena.log'), 'utf8')).toContain('listening');
  });

  it('leaves a successor that lives on when the one before is killed, or gets SIGHUP', async () => {
    const owner = await start();
    const next = await replace(owner, 'u1');
    first?.kill('SIGKILL');
    await owner.closed;
    const {pid} = await hello(next);
    process.kill(pid, 'SIGHUP');
    expect(await client().send({type: 'ping'}).line()).toMatchObject({type: 'pong', uid: 'u1'});
  });
});

describe('a retired worker', () => {
  it('answers what comes on its connections, also new chats, and is no longer found on the port', async () => {
    const owner = await start();
    const kept = client();
    expect(await kept.send({type: 'ping'}).line()).toMatchObject({uid: 'u0'});
    await replace(owner, 'u1');
    expect(await hello(owner)).toMatchObject({uid: 'u0', retired: true, draining: false});
    expect(await kept.send({type: 'chat', content: 'still there?'}).line()).toMatchObject({type: 'chat_response'});
    expect(await kept.send({type: 'ping'}).line()).toMatchObject({uid: 'u0'});
    for (let n = 0; n < 20; n++) expect(await client().send({type: 'ping'}).line()).toMatchObject({uid: 'u1'});
  });

  it('finishes a chat under way and then closes with a FIN, when nothing has come for a while', async () => {
    const owner = await start();
    const kept = client();
    const silent = client();
    await kept.send({type: 'ping'}).line();
    await until(() => silent.socket.readyState === 'open', 'the silent connection');
    kept.send({type: 'chat', content: 'hold on'});
    await replace(owner, 'u1');
    expect(await kept.line()).toMatchObject({type: 'chat_response', content: 'held'});
    await Promise.all([kept.end(), silent.end()]);
    expect([kept.ended, silent.ended]).toEqual([true, true]);
    kept.close();
    silent.close();
    expect(await exitOf()).toEqual({code: 0, signal: null});
    expect(existsSync(join(folder, 'u0.sock'))).toBe(false);
  });

  it('tells its owner what was used up to the end', async () => {
    const owner = await start();
    const usages: number[] = [];
    owner.onNotice(notice => void (notice.type === 'usage' && usages.push(notice.usage.requests)));
    await owner.request({type: 'subscribe'});
    const kept = client();
    await kept.send({type: 'ping'}).line();
    await replace(owner, 'u1');
    for (let n = 0; n < 3; n++) await kept.send({type: 'chat', content: 'x'}).line();
    kept.close();
    await owner.closed;
    expect(usages.at(-1)).toBe(3);
  });

  it('ends at the end of its grace, and tells the chats that are still under way', async () => {
    const owner = await start({graceMs: 1000});
    const kept = client().send({type: 'chat', content: 'forever'});
    await until(() => kept.socket.bytesWritten > 0, 'the chat to be sent');
    await client().send({type: 'ping'}).line();
    await replace(owner, 'u1');
    expect(await kept.line()).toMatchObject({type: 'error', code: 'draining', retryable: true});
    expect(await exitOf()).toEqual({code: 0, signal: null});
  });

  it('is stopped by its owner at once', async () => {
    const owner = await start();
    const kept = client();
    await kept.send({type: 'ping'}).line();
    await replace(owner, 'u1');
    expect(await owner.request({type: 'shutdown', graceMs: 0})).toMatchObject({ok: true});
    expect(await exitOf()).toEqual({code: 0, signal: null});
    expect(await client().send({type: 'ping'}).line()).toMatchObject({uid: 'u1'});
  });

  it('is not replaced a second time', async () => {
    const owner = await start();
    await replace(owner, 'u1');
    expect(refusal(await owner.request(order('u2')))).toBe('a successor listens in its place already');
  });
});

describe('a successor that does not come up', () => {
  async function serves(owner: ControlConnection): Promise<void> {
    expect(await hello(owner)).toMatchObject({uid: 'u0', retired: false, draining: false});
    expect(await client().send({type: 'chat', content: 'hi'}).line()).toMatchObject({type: 'chat_response'});
    await until(() => workers().length === 1, 'the successor to be gone');
    expect(await replace(owner, 'u9').then(hello)).toMatchObject({uid: 'u9'});
  }

  it.each<[string, () => Partial<SuccessorOrder>, string, object]>([
    ['program is not there', () => ({program: join(folder, 'no.cjs')}), 'it ended with exit code 1', {code: 1}],
    ['Node is not there', () => ({execPath: join(folder, 'no-node')}), 'ENOENT', {code: null, signal: null}],
    ['log cannot be opened', () => ({logPath: folder}), 'EISDIR', {}],
    [
      'launch message is refused',
      () => ({launch: {...launchOf('u1', {formatVersion: 99}), inherits: true}}),
      'format version 99',
      {code: 1},
    ],
    [
      'control socket cannot be bound',
      () => {
        writeFileSync(join(folder, 'precious'), 'yes');
        return {launch: {...launchOf('u1'), controlPath: join(folder, 'precious'), inherits: true}};
      },
      'cannot listen on',
      {},
    ],
    [
      'control socket is that of the old one',
      () => ({launch: {...launchOf('u1'), controlPath: join(folder, 'u0.sock'), inherits: true}}),
      'a successor needs a control socket of its own',
      {},
    ],
  ])('as its %s, leaves the old one serving', async (_, changes, error, exit) => {
    const owner = await start();
    const reply = await owner.request(order('u1', changes()));
    expect(refusal(reply)).toContain(error);
    if (Object.keys(exit).length > 0) expect(reply).toMatchObject({exit});
    await serves(owner);
  });

  it('in time is killed, and leaves the old one serving', async () => {
    const owner = await start();
    const asked = order('u1');
    // Node itself waits for a debugger that never comes.
    const env = {...asked.env, NODE_OPTIONS: '--inspect-brk=127.0.0.1:0'};
    const reply = await owner.request({...asked, env, startupMs: 300});
    expect(refusal(reply)).toBe('it did not listen within 0.3 s');
    expect(reply).toMatchObject({exit: {signal: 'SIGKILL'}});
    await serves(owner);
  });

  it('before whoever ordered it has left is called off', async () => {
    const owner = await start();
    const other = await control('u0');
    const asked = order('u1');
    const env = {...asked.env, NODE_OPTIONS: '--inspect-brk=127.0.0.1:0'};
    void other.request({...asked, env}).catch(() => undefined);
    await until(() => workers().length === 2, 'the successor to be forked');
    expect(await hello(owner)).toMatchObject({replacing: true});
    expect(refusal(await owner.request(order('u2')))).toBe('it is being replaced already');
    other.close();
    await until(() => workers().length === 1, 'the successor to be gone');
    for (;;) if (!(await hello(owner)).replacing) break;
    await serves(owner);
  });

  it('before the old one is told to stop is called off', async () => {
    const owner = await start();
    const asked = order('u1');
    const env = {...asked.env, NODE_OPTIONS: '--inspect-brk=127.0.0.1:0'};
    const reply = owner.request({...asked, env});
    await until(() => workers().length === 2, 'the successor to be forked');
    await owner.request({type: 'shutdown', graceMs: 0});
    await reply.then(refusal, () => undefined);
    await until(() => workers().length === 0, 'both to be gone');
  });

  it('on a request that is no order is no request', async () => {
    const owner = await start();
    await expect(owner.request({...order('u1'), startupMs: 'soon' as unknown as number})).rejects.toThrow('closed');
    await serves(await control('u0'));
  });
});

it('leaves no socket of a successor that was killed', async () => {
  const owner = await start();
  const path = join(folder, 'u1.sock');
  // It has its socket, and waits for a listener that never comes: the preload hides the channel.
  const preload = join(folder, 'preload.cjs');
  writeFileSync(preload, 'process.send = () => true;');
  const asked = order('u1');
  const reply = owner.request({...asked, env: {...asked.env, NODE_OPTIONS: `--require=${preload}`}, startupMs: 1500});
  await until(() => existsSync(path), 'its socket');
  expect(refusal(await reply)).toBe('it did not listen within 1.5 s');
  expect(existsSync(path)).toBe(false);
});

it('loads what it takes to fork only when it forks', async () => {
  const listing = `process.on('exit', () => console.log(process.moduleLoadList.includes('NativeModule child_process')));`;
  const preload = join(folder, 'preload.cjs');
  writeFileSync(preload, listing);
  const run = (): string =>
    execFileSync(process.execPath, ['-r', preload, program, '--ai-id', 'x', '--uid', 'y'], {
      input: '',
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'ignore'],
    });
  expect(run).toThrow(expect.objectContaining({stdout: 'false\n'}));
});

function exitOf(): Promise<{code: number | null; signal: string | null}> {
  return new Promise(resolve => {
    if (!first) throw new Error('nothing was started');
    const {exitCode, signalCode} = first;
    if (exitCode !== null || signalCode !== null) resolve({code: exitCode, signal: signalCode});
    else first.once('exit', (code, signal) => resolve({code, signal}));
  });
}
