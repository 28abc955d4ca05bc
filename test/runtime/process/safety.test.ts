/** What only real processes can show: whom we signal, what they may see, and that they live on without us. */
import {cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, it} from '@jest/globals';
import type {WorkerConfig} from '../../../src/protocol/control.js';
import {readLaunchRecord, writeLaunchRecord} from '../../../src/registry/launch-records.js';
import {statePaths} from '../../../src/registry/paths.js';
import {identify, isSame} from '../../../src/registry/processes.js';
import {ensureProgram} from '../../../src/runtime/process/program.js';
import type {LaunchRequest, Runtime, Worker} from '../../../src/runtime/runtime.js';
import {buildProgram, ProcessWorld, stranger, until} from './world.js';

const secret = 'sk-not-to-be-seen-0123456789';

let programFolder = '';
let world: ProcessWorld;
let runtime: Runtime;

beforeAll(async () => {
  programFolder = await buildProgram();
});
afterAll(() => rmSync(programFolder, {recursive: true}));

beforeEach(async () => {
  world = await ProcessWorld.open({
    programFolder,
    environment: {ANTHROPIC_API_KEY: secret, NODE_OPTIONS: '--max-old-space-size=99', LANG: 'C.UTF-8'},
  });
  runtime = world.runtime();
});
afterEach(() => world.close());

async function launch(changes: Partial<WorkerConfig> = {}, request: Partial<LaunchRequest> = {}): Promise<Worker> {
  const outcome = await runtime.launch({...(await world.request(changes)), ...request});
  if (outcome.type !== 'listening') throw new Error(outcome.message);
  return outcome.worker;
}

function proc(worker: Worker, file: 'cmdline' | 'environ'): readonly string[] {
  return readFileSync(`/proc/${worker.instance.identity.pid}/${file}`, 'utf8').split('\0').filter(Boolean);
}

async function recordOf(worker: Worker) {
  await until(() => readLaunchRecord(world.home, worker.aiId)?.state === 'running', 'the launch record');
  const record = readLaunchRecord(world.home, worker.aiId);
  if (!record) throw new Error('no launch record');
  return record;
}

describe('whom we signal', () => {
  let foreign: Awaited<ReturnType<typeof stranger>>;
  beforeEach(async () => {
    foreign = await stranger();
  });
  afterEach(() => foreign.end());

  it('is never a process that took the pid of a worker that is gone', async () => {
    const worker = await launch();
    const record = await recordOf(worker);
    await worker.kill();
    const theirs = await identify(foreign.pid);
    if (!theirs || !record.identity) throw new Error('no identity');
    // As after a reuse of the pid: the number is right, the start time is not.
    await writeLaunchRecord(world.home, {...record, identity: {...record.identity, pid: foreign.pid}});
    const {workers, remains} = await world.runtime().discover();
    expect(workers).toEqual([]);
    expect(remains.map(r => r.port)).toEqual([worker.port]);
    expect(await isSame(theirs)).toBe(true);
  });

  it('is never a process of another boot', async () => {
    const worker = await launch();
    const record = await recordOf(worker);
    await worker.kill();
    const theirs = await identify(foreign.pid);
    if (!theirs) throw new Error('no identity');
    await writeLaunchRecord(world.home, {...record, identity: {...theirs, bootId: 'another'}});
    expect((await world.runtime().discover()).workers).toEqual([]);
    expect(await isSame(theirs)).toBe(true);
  });

  it('is never a worker of another state folder', async () => {
    const other = await ProcessWorld.open({programFolder});
    try {
      const outcome = await other.runtime().launch(await other.request());
      expect(outcome.type).toBe('listening');
      expect(await runtime.discover()).toEqual({workers: [], remains: [], retiring: []});
      await launch();
      expect((await runtime.discover()).workers).toHaveLength(1);
    } finally {
      await other.close();
    }
  });
});

it('forgets nothing of a worker that runs: its name may have passed to another fleet', async () => {
  const worker = await launch();
  const record = await recordOf(worker);
  await runtime.forget(worker.aiId);
  expect(readLaunchRecord(world.home, worker.aiId)).toEqual(record);
});

describe('a worker that is stopped by SIGSTOP', () => {
  it('leaves no connection of ours open when it is found', async () => {
    const worker = await launch();
    await recordOf(worker);
    worker.release();
    await world.signal(worker, 'SIGSTOP');
    const connections = (): number => readdirSync('/proc/self/fd').length;
    const before = connections();
    const {workers} = await world.runtime().discover();
    expect(workers.map(found => found.silent)).toEqual([true]);
    expect(connections()).toBeLessThanOrEqual(before);
    workers.forEach(found => found.release());
  });

  it('is gone after a stop, though it answers nothing', async () => {
    const worker = await launch();
    await world.signal(worker, 'SIGSTOP');
    // The order to shut down gets no answer: SIGTERM, which it can't take either, then SIGKILL.
    const exit = await worker.stop(0);
    expect(exit.signal).toBe('SIGKILL');
    expect(await isSame(worker.instance.identity)).toBe(false);
  });

  it('is gone after a kill by a runtime that only found it', async () => {
    const worker = await launch();
    worker.release();
    await world.signal(worker, 'SIGSTOP');
    const [found] = (await world.runtime().discover()).workers;
    await found?.kill();
    expect(await isSame(worker.instance.identity)).toBe(false);
  });
});

describe('secrets', () => {
  const provider = {name: 'anthropic', type: 'anthropic', apiKey: secret} as const;

  it('reach the worker, but no file, argument or environment', async () => {
    const worker = await launch({provider, authToken: `${secret}-token`});
    await worker.configure((await world.request({provider, authToken: `${secret}-token`, generation: 2})).config);
    await recordOf(worker);
    const files = world.files();
    expect([...files.keys()]).toEqual(
      expect.arrayContaining(['run/athena-ai.json', 'logs/athena-ai.log', expect.stringMatching(/^bin\/worker-/)]),
    );
    expect([...files].filter(([, content]) => content.includes(secret)).map(([name]) => name)).toEqual([]);
    expect(proc(worker, 'cmdline').join(' ')).not.toContain(secret);
    expect(proc(worker, 'environ').join(' ')).not.toContain(secret);
  });

  it('do not stand in what a failed launch says', async () => {
    const {request} = await world.failing();
    const outcome = await runtime.launch({...request, config: {...request.config, provider, authToken: secret}});
    expect(outcome.type).toBe('failed');
    expect(JSON.stringify(outcome)).not.toContain(secret);
    expect([...world.files()].filter(([, content]) => content.includes(secret))).toEqual([]);
  });

  it('guard a worker that its next owner does not take for hung, though it does not know them', async () => {
    const worker = await launch({authToken: secret});
    worker.release();
    const {workers} = await world.runtime().discover();
    expect(await workers[0]?.ping(2000)).toBe(true);
    await world.signal(worker, 'SIGSTOP');
    expect(await workers[0]?.ping(100)).toBe(false);
    workers.forEach(found => found.release());
  });

  it('guard the worker, and its owner gets in all the same', async () => {
    const worker = await launch({authToken: secret});
    expect(await worker.ping(5000)).toBe(true);
    const [found] = (await world.runtime().discover()).workers;
    expect(found?.hello.generation).toBe(1);
  });
});

describe('the environment of a worker', () => {
  it('is the little that it needs, what its spec says, and the state folder', async () => {
    const worker = await launch({}, {env: {LAB: 'yes', HOME: '/elsewhere'}});
    const names = proc(worker, 'environ').map(entry => entry.split('=', 1)[0]);
    const marks = ['TEKTON_AI_FLEET', 'TEKTON_AI_HOME', 'TEKTON_AI_INSTANCE'];
    expect([...names].sort()).toEqual(['HOME', 'LAB', 'LANG', 'PATH', ...marks]);
    expect(proc(worker, 'environ')).toEqual(
      expect.arrayContaining(['LAB=yes', 'HOME=/elsewhere', `TEKTON_AI_HOME=${world.home}`]),
    );
  });

  it('says whose it is, whatever its spec says', async () => {
    const claims = {TEKTON_AI_HOME: '/elsewhere', TEKTON_AI_INSTANCE: 'another', TEKTON_AI_FLEET: 'a/b'};
    const worker = await launch({}, {env: claims});
    expect(proc(worker, 'environ')).toEqual(
      expect.arrayContaining([
        `TEKTON_AI_HOME=${world.home}`,
        `TEKTON_AI_INSTANCE=${worker.instance.uid}`,
        'TEKTON_AI_FLEET=default/dev',
      ]),
    );
  });

  it('has our certificates only where a provider stands behind https, if only a fallback', async () => {
    const certificates = {NODE_EXTRA_CA_CERTS: '/dev/null'};
    const other = await ProcessWorld.open({programFolder, environment: certificates});
    const has = async (provider: WorkerConfig['provider'], standIn?: WorkerConfig['provider']): Promise<boolean> => {
      const fallback = standIn && [{provider: standIn, model: 'm2'}];
      const outcome = await other.runtime().launch(await other.request({provider, ...(fallback && {fallback})}));
      if (outcome.type !== 'listening') throw new Error(outcome.message);
      const found = proc(outcome.worker, 'environ').some(entry => entry.startsWith('NODE_EXTRA_CA_CERTS='));
      await outcome.worker.kill();
      return found;
    };
    try {
      expect(await has({name: 'a', type: 'anthropic', apiKey: 'k'})).toBe(true);
      expect(await has({name: 'b', type: 'openai', baseUrl: 'https://models.example'})).toBe(true);
      const local = {name: 'c', type: 'ollama', baseUrl: 'http://127.0.0.1:11434'} as const;
      expect(await has(local)).toBe(false);
      expect(await has(local, {name: 'd', type: 'anthropic', apiKey: 'k'})).toBe(true);
    } finally {
      await other.close();
    }
  });

  it('is no process of our session: our terminal is not its own', async () => {
    const worker = await launch();
    const {pid} = worker.instance.identity;
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    expect([Number(fields[2]), Number(fields[3])]).toEqual([pid, pid]); // group and session
  });

  it('shows in `ps` who it is', async () => {
    const worker = await launch();
    expect(proc(worker, 'cmdline')).toEqual(
      expect.arrayContaining(['--ai-id', 'athena-ai', '--uid', worker.instance.uid]),
    );
  });
});

describe('the program of a worker', () => {
  it('is a copy in the state folder: the package may go, and workers still start', async () => {
    const copy = join(world.home, '..', 'package');
    cpSync(programFolder, copy, {recursive: true});
    runtime = world.runtime(copy);
    const first = await launch();
    rmSync(copy, {recursive: true});
    expect(await first.ping(5000)).toBe(true);
    const second = await launch({aiId: 'hermes-ai', name: 'hermes'});
    expect(await second.ping(5000)).toBe(true);
    expect(proc(second, 'cmdline')[1]).toMatch(new RegExp(`^${world.home}/bin/worker-[0-9a-f]{16}/main\\.cjs$`));
  });

  it('is copied once, however many ask at the same time', async () => {
    const paths = await Promise.all(Array.from({length: 8}, () => ensureProgram(world.home, programFolder)));
    expect(new Set(paths).size).toBe(1);
    expect(readdirSync(join(world.home, 'bin'))).toHaveLength(1);
    expect(existsSync(paths[0] ?? '')).toBe(true);
  });

  it('that was never built is an error that says what to do, and may be tried again', async () => {
    const missing = world.runtime(join(world.home, 'nowhere'));
    const outcome = await missing.launch(await world.request());
    expect(outcome).toMatchObject({type: 'failed', reason: 'LaunchFailed'});
    expect(outcome.type === 'failed' && outcome.message).toContain("cannot find the worker's program in");
    await expect(ensureProgram(world.home, join(world.home, 'nowhere'))).rejects.toMatchObject({
      hint: 'build it with `npm run build`',
    });
  });
});

describe('the log of a worker', () => {
  it('is for its owner only, and grows over launches', async () => {
    await (await launch()).kill();
    const path = statePaths(world.home).log('athena-ai');
    const {size, mode} = statSync(path);
    expect(size).toBeGreaterThan(0);
    expect(mode & 0o777).toBe(0o600);
    await (await launch()).kill();
    expect(statSync(path).size).toBeGreaterThan(size);
    expect(existsSync(`${path}.1`)).toBe(false);
  });

  it('is put aside at a launch once it is large, the last one kept', async () => {
    const path = statePaths(world.home).log('athena-ai');
    await (await launch()).kill();
    truncateSync(path, 5 * 1024 * 1024 + 1); // makes it longer, too
    await (await launch()).kill();
    expect(statSync(`${path}.1`).size).toBe(5 * 1024 * 1024 + 1);
    expect(statSync(path).size).toBeLessThan(10_000);
    expect(readFileSync(path, 'utf8')).toContain('listening');
  });

  it('gives the last words of this launch and not of the one before', async () => {
    const {request, stderr} = await world.failing();
    await runtime.launch(request);
    const worker = await launch();
    await world.signal(worker, 'SIGKILL');
    expect((await worker.exited).stderrTail.join()).not.toContain(stderr);
  });
});

describe('a launch', () => {
  it('that was cut off before its record was complete is found by its uid', async () => {
    const worker = await launch();
    const {identity: _, ...record} = await recordOf(worker);
    await writeLaunchRecord(world.home, {...record, state: 'intent'});
    const [found] = (await world.runtime().discover()).workers;
    expect(found?.instance.identity).toEqual(worker.instance.identity);
  });

  it('that does not listen in time is ended and given up', async () => {
    // Node itself waits for a debugger that never comes.
    const env = {NODE_OPTIONS: '--inspect-brk=127.0.0.1:0'};
    const outcome = await runtime.launch({...(await world.request()), env, startupMs: 300});
    expect(outcome).toMatchObject({type: 'failed', reason: 'LaunchFailed'});
    expect(outcome.type === 'failed' && outcome.message).toContain('it did not listen within 0.3 s');
    expect((await runtime.discover()).workers).toEqual([]);
  });

  it('whose program crashes says with which code, and what Node wrote', async () => {
    const env = {NODE_OPTIONS: '--require=/nowhere/to/be/found.js'};
    const outcome = await runtime.launch({...(await world.request()), env});
    if (outcome.type !== 'failed') throw new Error('it did not fail');
    expect(outcome.message).toContain('ended with exit code 1');
    expect(outcome.exit).toMatchObject({code: 1});
    expect(outcome.exit?.stderrTail.join('\n')).toContain('MODULE_NOT_FOUND');
  });

  it('of a name that runs already leaves the one that runs alone', async () => {
    const worker = await launch();
    const outcome = await runtime.launch(await world.request());
    expect(outcome).toMatchObject({type: 'failed', reason: 'LaunchFailed'});
    expect(await worker.ping(5000)).toBe(true);
    const {workers} = await world.runtime().discover();
    expect(workers.map(w => w.instance.uid)).toEqual([worker.instance.uid]);
  });
});

describe('notices', () => {
  it('tell of what the worker did for its clients', async () => {
    const worker = await launch();
    const seen: string[] = [];
    worker.onNotice(notice => seen.push(notice.type));
    const chat = await world.chat(worker);
    chat.finish();
    expect(await chat.answered).toBe(true);
    await until(() => seen.includes('usage'), 'a notice of usage');
    expect(worker.hello.usage).toMatchObject({requests: 1, inputTokens: 1, outputTokens: 2});
  });

  it('reach whoever adopted it', async () => {
    (await launch()).release();
    const [found] = (await world.runtime().discover()).workers;
    if (!found) throw new Error('not found');
    const seen: string[] = [];
    found.onNotice(notice => seen.push(notice.type));
    const chat = await world.chat(found);
    chat.finish();
    await until(() => seen.includes('usage'), 'a notice of usage');
  });
});
