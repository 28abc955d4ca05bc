/** Launch records that name the wrong process: a reused pid, or a stranger down to its start time. */
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {rmSync} from 'node:fs';
import {afterAll, afterEach, beforeAll, beforeEach, expect, it} from '@jest/globals';
import type {ProcessIdentity} from '../../../src/api/types.js';
import {readLaunchRecord, writeLaunchRecord} from '../../../src/registry/launch-records.js';
import {identify} from '../../../src/registry/processes.js';
import {buildProgram, ProcessWorld, until} from './world.js';

let programFolder = '';
let world: ProcessWorld;

beforeAll(async () => {
  programFolder = await buildProgram();
});
afterAll(() => rmSync(programFolder, {recursive: true}));
beforeEach(async () => {
  world = await ProcessWorld.open({programFolder});
});
afterEach(() => world.close());

it.each<[string, (worker: ProcessIdentity, stranger: ProcessIdentity) => ProcessIdentity]>([
  ['a pid that was reused', (worker, stranger) => ({...worker, pid: stranger.pid})],
  ['a stranger, down to its start time', (_worker, stranger) => stranger],
])('the worker is found though its record names %s', async (_sentence, forge) => {
  const runtime = world.runtime();
  const outcome = await runtime.launch(await world.request());
  if (outcome.type !== 'listening') throw new Error(outcome.message);
  const {aiId, instance} = outcome.worker;
  await until(() => readLaunchRecord(world.home, aiId)?.state === 'running', 'the launch record');
  outcome.worker.release();
  const record = readLaunchRecord(world.home, aiId);
  const sleeper = spawn('sleep', ['600']);
  const ended = once(sleeper, 'exit');
  try {
    const stranger = await identify(sleeper.pid ?? 0);
    if (!record || !stranger) throw new Error('no launch record, or no stranger');
    await writeLaunchRecord(world.home, {...record, identity: forge(instance.identity, stranger)});

    const {workers, remains} = await world.runtime().discover();
    expect(workers.map(worker => worker.instance)).toMatchObject([{uid: instance.uid, identity: instance.identity}]);
    expect(remains).toEqual([]);
    await workers[0]?.stop(1_000);
    expect(await identify(stranger.pid)).toEqual(stranger);
  } finally {
    sleeper.kill('SIGKILL');
    await ended;
  }
});
