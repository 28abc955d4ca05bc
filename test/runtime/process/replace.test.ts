/** Handovers of real processes that are cut off: by the death of whoever takes part, at many moments. */
import {cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {afterAll, afterEach, beforeAll, beforeEach, expect, it} from '@jest/globals';
import {readLaunchRecord} from '../../../src/registry/launch-records.js';
import {findWorkers, signalVerified} from '../../../src/registry/processes.js';
import type {LaunchRequest, Runtime, Worker} from '../../../src/runtime/runtime.js';
import {buildProgram, ProcessWorld, until} from './world.js';

let programFolder = '';
let world: ProcessWorld;
let runtime: Runtime;
let old: Worker;

beforeAll(async () => {
  programFolder = await buildProgram();
});
afterAll(() => rmSync(programFolder, {recursive: true}));

beforeEach(async () => {
  world = await ProcessWorld.open({programFolder});
  runtime = world.runtime();
  const outcome = await runtime.launch(await world.request());
  if (outcome.type !== 'listening') throw new Error(outcome.message);
  old = outcome.worker;
});
afterEach(() => world.close());

async function successor(): Promise<LaunchRequest> {
  return {...(await world.request({generation: 2})), port: old.port};
}

function sockets(): readonly string[] {
  return readdirSync(join(world.home, 'run')).filter(name => name.endsWith('.sock'));
}

/** ms after the order. A handover takes some 60 ms here; the later ones come after it. */
const moments = [0, 20, 40, 50, 60, 70, 90, 150];

it.each(moments)('a predecessor that is killed after %i ms leaves its successor, or nobody', async ms => {
  const replaced = runtime.replace(old, await successor());
  await sleep(ms);
  await world.signal(old, 'SIGKILL');
  const outcome = await replaced;
  const found = await world.runtime().discover();
  if (outcome.type === 'listening') {
    expect(await outcome.worker.ping(5000)).toBe(true);
    expect(found.workers.map(w => w.instance.uid)).toEqual([outcome.worker.instance.uid]);
  } else {
    expect(outcome.message).toContain('cannot replace athena: ');
    expect(found.workers).toEqual([]);
    expect(await findWorkers(world.home)).toEqual([]);
    // Nobody is in the way of the next launch.
    expect(await runtime.launch(await successor())).toMatchObject({type: 'listening'});
  }
});

it.each(moments)('a successor that is killed after %i ms leaves the old one, or a port for the next', async ms => {
  const request = await successor();
  const replaced = runtime.replace(old, request);
  await sleep(ms);
  for (const {uid, identity} of await findWorkers(world.home)) {
    if (uid === request.uid) await signalVerified(identity, 'SIGKILL');
  }
  const outcome = await replaced;
  if (outcome.type === 'failed' && old.hello.retired !== true) {
    expect(await old.ping(5000)).toBe(true);
    expect((await world.runtime().discover()).workers.map(w => w.instance.uid)).toEqual([old.instance.uid]);
    expect(sockets()).toEqual(['athena-ai.sock']);
    return;
  }
  const worker = outcome.type === 'listening' ? outcome.worker : undefined;
  if (worker && (await worker.ping(1000))) return; // it was not there yet to be killed
  await worker?.exited;
  expect(await runtime.launch(await successor())).toMatchObject({type: 'listening'});
});

it.each(moments)('a controller that is gone after %i ms leaves exactly one that serves', async ms => {
  const request = await successor();
  void runtime.replace(old, request);
  await sleep(ms);
  // As its death does, this breaks the connection that the order came on.
  old.release();
  const {workers, superfluous = []} = await world.runtime().discover();
  expect([workers.length, superfluous.length]).toEqual([1, 0]);
  expect([old.instance.uid, request.uid]).toContain(workers[0]?.instance.uid);
  expect(await workers[0]?.ping(5000)).toBe(true);
  await until(async () => (await findWorkers(world.home)).length === 1, 'the other one to be gone');
  expect(await workers[0]?.ping(5000)).toBe(true);
  expect(readLaunchRecord(world.home, 'athena-ai')?.uid).toBe(workers[0]?.instance.uid);
});

it('is done with the program of whoever orders it: an upgrade upgrades', async () => {
  const upgrade = mkdtempSync(join(tmpdir(), 'tekton-upgrade-'));
  try {
    cpSync(programFolder, upgrade, {recursive: true});
    writeFileSync(join(upgrade, 'hash'), 'fedcba9876543210');
    old.release();
    const later = world.runtime(upgrade);
    const [found] = (await later.discover()).workers;
    if (!found) throw new Error('not found');
    const outcome = await later.replace(found, await successor());
    if (outcome.type !== 'listening') throw new Error(outcome.message);
    const {pid} = outcome.worker.instance.identity;
    const [, program] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    expect(program).toBe(join(world.home, 'bin', 'worker-fedcba9876543210', 'main.cjs'));
  } finally {
    rmSync(upgrade, {recursive: true});
  }
});

it('puts nothing into the place of the usual socket, and removes its own when it is killed', async () => {
  const outcome = await runtime.replace(old, await successor());
  if (outcome.type !== 'listening') throw new Error(outcome.message);
  const {worker} = outcome;
  await old.exited;
  expect(sockets()).toEqual([`athena-ai.${worker.instance.uid.slice(0, 8)}.sock`]);
  await worker.kill();
  await until(() => sockets().length === 0, 'its socket to be removed');
  expect(existsSync(join(world.home, 'run', 'athena-ai.json'))).toBe(true);
});

it('removes the socket of one that was killed while nobody looked', async () => {
  const outcome = await runtime.replace(old, await successor());
  if (outcome.type !== 'listening') throw new Error(outcome.message);
  await old.exited;
  outcome.worker.release();
  await world.signal(outcome.worker, 'SIGKILL');
  await until(async () => (await findWorkers(world.home)).length === 0, 'it to be gone');
  expect(sockets()).toHaveLength(1);
  await world.runtime().discover();
  expect(sockets()).toEqual([]);
});

it('finds its place in a folder whose path is too long for a socket', async () => {
  const deep = await ProcessWorld.open({programFolder, environment: {XDG_RUNTIME_DIR: world.home}});
  try {
    const outcome = await deep.runtime().launch(await deep.request({aiId: `${'long-'.repeat(12)}ai`, name: 'athena'}));
    if (outcome.type !== 'listening') throw new Error(outcome.message);
    const {worker} = outcome;
    const request = {...(await deep.request({aiId: worker.aiId})), port: worker.port};
    const next = await deep.runtime().replace(worker, request);
    if (next.type !== 'listening') throw new Error(next.message);
    expect(await next.worker.ping(5000)).toBe(true);
  } finally {
    await deep.close();
  }
});
