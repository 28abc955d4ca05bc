/** Workers whose record, socket or owner vanished, several under one name, and what they leave behind. */
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync} from 'node:fs';
import {Socket} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, it} from '@jest/globals';
import type {WorkerConfig} from '../../../src/protocol/control.js';
import {readLaunchRecord, removeLaunchRecord, writeLaunchRecord} from '../../../src/registry/launch-records.js';
import {ensureStateHome} from '../../../src/registry/home.js';
import {rebuildEntries} from '../../../src/registry/rebuild.js';
import {identify, isSame, isSuspended, scanProcesses} from '../../../src/registry/processes.js';
import type {LaunchRequest, Runtime, Worker} from '../../../src/runtime/runtime.js';
import {buildProgram, ProcessWorld, until} from './world.js';

let programFolder = '';
let folder = '';
let world: ProcessWorld;
let runtime: Runtime;

beforeAll(async () => {
  programFolder = await buildProgram();
});
afterAll(() => rmSync(programFolder, {recursive: true}));

beforeEach(async () => {
  world = await ProcessWorld.open({programFolder});
  runtime = world.runtime();
  folder = mkdtempSync(join(tmpdir(), 'tekton-strays-'));
});
afterEach(async () => {
  await world.close();
  rmSync(folder, {recursive: true, force: true});
});

async function launch(changes: Partial<WorkerConfig> = {}, request: Partial<LaunchRequest> = {}): Promise<Worker> {
  const outcome = await runtime.launch({...(await world.request(changes)), ...request});
  if (outcome.type !== 'listening') throw new Error(outcome.message);
  return outcome.worker;
}

/** Launches a worker and lets go of it, as a controller that ended. */
async function abandon(changes: Partial<WorkerConfig> = {}, request: Partial<LaunchRequest> = {}): Promise<Worker> {
  const worker = await launch(changes, request);
  await recordOf(worker);
  worker.release();
  return worker;
}

async function recordOf(worker: Worker) {
  await until(() => readLaunchRecord(world.home, worker.aiId)?.uid === worker.instance.uid, 'the launch record');
  await until(() => readLaunchRecord(world.home, worker.aiId)?.state === 'running', 'the whole launch record');
  const record = readLaunchRecord(world.home, worker.aiId);
  if (!record) throw new Error('no launch record');
  return record;
}

function gone(pid: number): Promise<boolean> {
  return identify(pid).then(identity => identity === undefined);
}

describe('what a worker has started', () => {
  /** A worker with a child in its group and one that has left it. */
  async function withChildren(let_go: boolean): Promise<{worker: Worker; children: readonly number[]}> {
    const file = join(folder, 'children');
    const script = join(folder, 'children.cjs');
    writeFileSync(
      script,
      `const {spawn} = require('node:child_process');
       const children = [spawn('sleep', ['600']), spawn('sleep', ['600'], {detached: true})];
       for (const child of children) child.unref();
       require('node:fs').writeFileSync(${JSON.stringify(file)}, children.map(c => c.pid).join());`,
    );
    const request = {env: {NODE_OPTIONS: `--require=${script}`}};
    const worker = await (let_go ? abandon({}, request) : launch({}, request));
    const children = readFileSync(file, 'utf8').split(',').map(Number);
    for (const pid of children) expect(await gone(pid)).toBe(false);
    return {worker, children};
  }

  it('is ended when it is killed by a stranger', async () => {
    const {worker, children} = await withChildren(false);
    await world.signal(worker, 'SIGKILL');
    await worker.exited;
    for (const pid of children) await until(() => gone(pid), 'its children to end');
  });

  it('is ended when it stops as it should', async () => {
    const {worker, children} = await withChildren(false);
    expect(await worker.stop(1000)).toMatchObject({code: 0});
    for (const pid of children) await until(() => gone(pid), 'its children to end');
  });

  it('is ended when it was adopted', async () => {
    const {worker, children} = await withChildren(true);
    const [found] = (await world.runtime().discover()).workers;
    for (const pid of children) expect(await gone(pid)).toBe(false);
    await world.signal(worker, 'SIGKILL');
    await found?.exited;
    for (const pid of children) await until(() => gone(pid), 'its children to end');
  });

  it('is ended when it fails before it listens', async () => {
    const file = join(folder, 'child');
    const script = join(folder, 'fails.cjs');
    writeFileSync(
      script,
      `const child = require('node:child_process').spawn('sleep', ['600'], {stdio: 'ignore'});
       child.unref();
       require('node:fs').writeFileSync(${JSON.stringify(file)}, String(child.pid));
       throw new Error('out of luck');`,
    );
    const env = {NODE_OPTIONS: `--require=${script}`};
    expect(await runtime.launch({...(await world.request()), env})).toMatchObject({type: 'failed'});
    await until(() => gone(Number(readFileSync(file, 'utf8'))), 'its child to end');
  });

  it('is ended by the next controller when it died while there was none', async () => {
    const {worker, children} = await withChildren(true);
    const other = await abandon({aiId: 'hermes-ai', name: 'hermes'});
    // Nobody of this process holds it any more, but as its parent we would notice its end: the discovery must not need that.
    await world.signal(worker, 'SIGKILL');
    await until(() => gone(worker.instance.identity.pid), 'the worker to end');
    const {workers, ended = []} = await world.runtime().discover();
    expect(workers.map(({aiId}) => aiId)).toEqual(['hermes-ai']);
    for (const pid of children) await until(() => gone(pid), 'its children to end');
    expect(children).toEqual(expect.arrayContaining([...ended]));
    expect(await isSame(other.instance.identity)).toBe(true);
  });
});

describe('a worker whose traces a hand removed', () => {
  it('is adopted though its socket is gone, and can be told everything', async () => {
    const worker = await abandon();
    const {controlPath} = await recordOf(worker);
    unlinkSync(controlPath);
    const {workers, superfluous} = await world.runtime().discover();
    expect(superfluous).toBeUndefined();
    const [found] = workers;
    expect(found).toMatchObject({silent: false, port: worker.port, instance: {uid: worker.instance.uid}});
    await found?.configure((await world.request({generation: 7})).config);
    expect(found?.hello.generation).toBe(7);
  });

  it('is adopted though its record and its socket are gone', async () => {
    const worker = await abandon({generation: 3});
    const {controlPath} = await recordOf(worker);
    unlinkSync(controlPath);
    await removeLaunchRecord(world.home, worker.aiId);
    const [found] = (await world.runtime().discover()).workers;
    expect(found?.hello).toMatchObject({generation: 3, fleet: 'dev', port: worker.port, declared: {model: 'm1'}});
    expect((await recordOf(worker)).controlPath).toBe(controlPath);
  });

  it('is adopted though all of run/ is gone', async () => {
    const workers = [await abandon(), await abandon({aiId: 'hermes-ai', name: 'hermes'})];
    rmSync(join(world.home, 'run'), {recursive: true});
    await ensureStateHome(world.home);
    const found = (await world.runtime().discover()).workers;
    const uids = (all: readonly Worker[]): readonly string[] => all.map(({instance}) => instance.uid).sort();
    expect(uids(found)).toEqual(uids(workers));
    expect(found.map(({silent}) => silent)).toEqual([false, false]);
  });

  it('is held by its marks and its port when it hangs as well, for probes to decide', async () => {
    const worker = await abandon({namespace: 'lab', aiId: 'lab.athena-ai'});
    const {controlPath} = await recordOf(worker);
    await world.signal(worker, 'SIGSTOP');
    unlinkSync(controlPath);
    await removeLaunchRecord(world.home, worker.aiId);
    const [found] = (await world.runtime().discover()).workers;
    expect(found).toMatchObject({silent: true, aiId: 'lab.athena-ai', port: worker.port});
    expect(found?.hello).toMatchObject({namespace: 'lab', fleet: 'dev', name: 'athena', uid: worker.instance.uid});
    expect(await found?.ping(100)).toBe(false);
    await found?.kill();
    expect(await isSame(worker.instance.identity)).toBe(false);
  });

  it('opens its socket again while it is held, and is connected to again', async () => {
    const worker = await launch();
    const {controlPath} = await recordOf(worker);
    unlinkSync(controlPath);
    const other = await world.runtime().discover();
    expect(other.workers.map(({silent}) => silent)).toEqual([false]);
    await worker.configure((await world.request({generation: 2})).config);
    expect(worker.hello.generation).toBe(2);
  });
});

describe('a registry that has to be made anew', () => {
  it('has what a worker without a record says of itself, and of one that says nothing what its marks do', async () => {
    const speaks = await abandon({namespace: 'lab', aiId: 'lab.athena-ai', component: 'apollo', host: '127.0.0.1'});
    const hangs = await abandon({aiId: 'hermes-ai', name: 'hermes'});
    const recorded = await abandon({aiId: 'numa-ai', name: 'numa'});
    for (const {aiId} of [speaks, hangs]) await removeLaunchRecord(world.home, aiId);
    await world.signal(hangs, 'SIGSTOP');
    const entries = await rebuildEntries(world.home);
    const {pid} = speaks.instance.identity;
    expect(entries.get('lab.athena-ai')).toMatchObject({
      port: speaks.port,
      component: 'apollo',
      metadata: {uid: speaks.instance.uid, pid, name: 'athena', namespace: 'lab', fleet: 'lab/dev', model: 'm1'},
    });
    expect(entries.get('hermes-ai')).toMatchObject({
      port: hangs.port,
      component: 'hermes',
      metadata: {uid: hangs.instance.uid, fleet: 'default/dev'},
    });
    expect(entries.get('numa-ai')).toMatchObject({port: recorded.port, metadata: {uid: recorded.instance.uid}});
    expect(entries.size).toBe(3);
  });
});

describe('a launch record', () => {
  it('that was copied from another boot is not believed, though a process has its pid and start time', async () => {
    const worker = await abandon();
    const record = await recordOf(worker);
    await worker.kill();
    const identity = await identify(process.pid);
    if (!identity) throw new Error('not in the process table');
    for (const strange of [identity, {...identity, bootId: 'another'}]) {
      await writeLaunchRecord(world.home, {...record, identity: strange});
      const {workers, remains} = await world.runtime().discover();
      expect(workers).toEqual([]);
      expect(remains.map(({port}) => port)).toEqual([worker.port]);
    }
  });
});

it('is connected to again when the connection to our own child breaks, and keeps its grace', async () => {
  const worker = await launch();
  // Nothing breaks it but an end of one side: here ours, below everything that knows of it.
  const handles = Reflect.apply(Reflect.get(process, '_getActiveHandles') as () => readonly object[], process, []);
  for (const handle of handles) {
    const inner: unknown = Reflect.get(handle, '_handle');
    const isPipe = typeof inner === 'object' && inner?.constructor.name === 'Pipe';
    if (handle instanceof Socket && isPipe) handle.destroy();
  }
  const {config} = await world.request({generation: 2});
  const told = (): Promise<boolean> =>
    worker.configure(config).then(
      () => true,
      () => false,
    );
  expect(await told()).toBe(false);
  await until(told, 'the worker to be reached');
  const chat = await world.chat(worker);
  const stopped = worker.stop(60_000);
  chat.finish();
  expect(await chat.answered).toBe(true);
  expect(await stopped).toMatchObject({code: 0});
});

describe('a worker that is suspended', () => {
  it('is stopped without its grace, for it can neither drain nor hear', async () => {
    const worker = await launch();
    const chat = await world.chat(worker);
    await world.signal(worker, 'SIGSTOP');
    await until(() => isSuspended(worker.instance.identity), 'the worker to be suspended');
    const exit = await worker.stop(60_000);
    expect(exit).toMatchObject({signal: 'SIGKILL', suspended: true});
    expect(await chat.answered).toBe(false);
  });
});

describe('of two workers under one name', () => {
  /** The second runs beside the first, for the first one's socket and record are gone. */
  async function two(): Promise<{first: Worker; second: Worker}> {
    const first = await abandon({generation: 1});
    unlinkSync((await recordOf(first)).controlPath);
    const second = await abandon({generation: 2});
    return {first, second};
  }

  const uids = (workers: readonly Worker[] = []) => workers.map(({instance}) => instance.uid);

  it('the one that is recorded and answers is kept, the other handed back to be stopped', async () => {
    const {first, second} = await two();
    const {workers, superfluous} = await world.runtime().discover();
    expect(uids(workers)).toEqual([second.instance.uid]);
    expect(uids(superfluous)).toEqual([first.instance.uid]);
    await superfluous?.[0]?.stop(1000);
    expect(await isSame(first.instance.identity)).toBe(false);
    expect(await workers[0]?.ping(5000)).toBe(true);
    expect((await recordOf(second)).uid).toBe(second.instance.uid);
  });

  it('the one that serves is kept where the recorded one is suspended', async () => {
    const {first, second} = await two();
    await world.signal(second, 'SIGSTOP');
    const {workers, superfluous} = await world.runtime().discover();
    expect(uids(workers)).toEqual([first.instance.uid]);
    expect(uids(superfluous)).toEqual([second.instance.uid]);
    await superfluous?.[0]?.stop(60_000);
    expect(await isSame(second.instance.identity)).toBe(false);
    // Its socket's path was taken by the other; now that this one is gone, it has it back.
    const {config} = await world.request({generation: 9});
    const told = (): Promise<boolean> =>
      workers[0]?.configure(config).then(
        () => true,
        () => false,
      ) ?? Promise.resolve(false);
    await until(told, 'the one that is kept to be reached');
    expect(workers[0]?.hello.generation).toBe(9);
  });
});

it('leaves what is not a worker of a fleet alone, whatever its environment says', async () => {
  const child = spawn('sleep', ['600'], {env: {TEKTON_AI_HOME: world.home}, stdio: 'ignore'});
  await once(child, 'spawn');
  try {
    expect(await world.runtime().discover()).toMatchObject({workers: [], remains: []});
    expect((await scanProcesses(world.home)).offspring).toEqual([]);
    expect(await gone(child.pid ?? 0)).toBe(false);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
