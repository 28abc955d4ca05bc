/** What a worker has started dies with it, and nobody else does. */
import {spawn} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import {afterEach, expect, it, jest} from '@jest/globals';
import {endOffspring, endOrphans} from '../../src/registry/offspring.js';
import {identify, scanProcesses} from '../../src/registry/processes.js';
import {tempHome} from './support.js';

const started: ChildProcess[] = [];

afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

interface Group {
  readonly leader: number;
  /** Left behind in the group of a leader that is gone. */
  readonly member: number;
}

/** A process group whose leader has ended, and in which one process lives on, with `env` and nothing else. */
async function orphanedGroup(env: Readonly<Record<string, string>>, command = 'sleep 60'): Promise<Group> {
  const child = spawn('sh', ['-c', `${command} & echo $!; exec cat`], {
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: {PATH: process.env['PATH'] ?? '', ...env},
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  const member = Number(line.toString());
  cleanups.push(member);
  return {leader: child.pid ?? -1, member};
}

const cleanups: number[] = [];
afterEach(() => {
  for (const pid of cleanups.splice(0)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // gone, as it should be
    }
  }
});

async function untilGone(pid: number): Promise<void> {
  while ((await identify(pid)) !== undefined) await new Promise(resolve => setTimeout(resolve, 2));
}

it('ends what is left in the group of a worker that is gone', async () => {
  const home = tempHome();
  const {leader, member} = await orphanedGroup({TEKTON_AI_HOME: home, TEKTON_AI_INSTANCE: 'u1'});
  expect(await endOffspring({home, uid: 'u1', pid: leader})).toEqual([member]);
  await untilGone(member);
});

it.each([
  ['of another launch', {TEKTON_AI_INSTANCE: 'u2'}],
  ['of another state folder', {TEKTON_AI_HOME: '/elsewhere'}],
  ['without our marks', {TEKTON_AI_INSTANCE: '', TEKTON_AI_HOME: ''}],
])('leaves a process %s alone, though the number of its group is that of the worker', async (_whose, env) => {
  const home = tempHome();
  const {leader, member} = await orphanedGroup({TEKTON_AI_HOME: home, TEKTON_AI_INSTANCE: 'u1', ...env});
  expect(await endOffspring({home, uid: 'u1', pid: leader})).toEqual([]);
  expect(await identify(member)).toBeDefined();
});

it('never takes everybody for a group', async () => {
  const scan = jest.fn(scanProcesses);
  for (const pid of [-1, 0, 1, NaN]) expect(await endOffspring({home: tempHome(), uid: 'u1', pid}, scan)).toEqual([]);
  expect(scan).not.toHaveBeenCalled();
});

it('does not look at the process table where the group is empty', async () => {
  const child = spawn('true', {detached: true});
  await once(child, 'exit');
  const scan = jest.fn(scanProcesses);
  expect(await endOffspring({home: tempHome(), uid: 'u1', pid: child.pid ?? -1}, scan)).toEqual([]);
  expect(scan).not.toHaveBeenCalled();
});

it('walks the process table once or twice for many that go down together', async () => {
  const home = tempHome();
  const uids = Array.from({length: 20}, (_, n) => `u${n}`);
  const groups = await Promise.all(uids.map(uid => orphanedGroup({TEKTON_AI_HOME: home, TEKTON_AI_INSTANCE: uid})));
  const scan = jest.fn(scanProcesses);
  const ended = await Promise.all(groups.map(({leader}, n) => endOffspring({home, uid: `u${n}`, pid: leader}, scan)));
  expect(ended).toEqual(groups.map(({member}) => [member]));
  // The second sees to it that none of them has started another.
  expect(scan.mock.calls.length).toBeLessThanOrEqual(2);
});

it('finds what left its group, where the process table is walked anyway, and spares what a living worker started', async () => {
  const home = tempHome();
  const mark = (uid: string) => ({TEKTON_AI_HOME: home, TEKTON_AI_INSTANCE: uid});
  const gone = await orphanedGroup(mark('gone'), 'setsid sleep 60');
  const lives = await orphanedGroup(mark('lives'));
  const setsid = await scanProcesses(home);
  const left = setsid.offspring.filter(({uid}) => uid === 'gone').map(({identity}) => identity.pid);
  cleanups.push(...left);
  expect(left).toHaveLength(1);
  expect(await endOrphans(setsid, new Set(['lives']))).toEqual(left);
  for (const pid of [...left, gone.member]) await untilGone(pid);
  expect(await identify(lives.member)).toBeDefined();
});
