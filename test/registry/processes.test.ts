import {readFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {describeHolder, isListenedOn, listeningPorts} from '../../src/registry/port-holders.js';
import {
  findWorkers,
  hostIdentity,
  identify,
  isSame,
  parseStat,
  parseWorkerArguments,
  processRow,
  residentBytes,
  signalVerified,
} from '../../src/registry/processes.js';
import {listen, start, tempHome} from './support.js';

const idle = 'console.log(process.pid); setInterval(() => {}, 1e6)';

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise(resolve => setTimeout(resolve, 2));
}

describe('a process identity', () => {
  test('is the same for as long as the process runs, stopped or not', async () => {
    const identity = await identify(process.pid);
    expect(identity).toMatchObject({pid: process.pid});
    expect(identity && (await isSame(identity))).toBe(true);

    const child = start('sleep', ['60']);
    const childs = await identify(child.pid);
    child.process.kill('SIGSTOP');
    await until(async () => (await processRow(child.pid))?.state === 'T');
    expect(childs && (await isSame(childs))).toBe(true);
    await child.kill('SIGKILL');
    expect(childs && (await isSame(childs))).toBe(false);
    expect(await identify(child.pid)).toBeUndefined();
  });

  test('that was recorded for another start or another boot is not met by a process with its pid', async () => {
    const child = start('sleep', ['60']);
    const identity = await identify(child.pid);
    if (identity === undefined) throw new Error('the child is not in the process table');
    const reused = {...identity, startTime: `${Number(identity.startTime) - 1}`};
    const rebooted = {...identity, bootId: 'another'};
    for (const stranger of [reused, rebooted]) {
      expect(await isSame(stranger)).toBe(false);
      expect(await signalVerified(stranger, 'SIGKILL', {group: true})).toBe(false);
    }
    expect(await isSame(identity)).toBe(true);
    expect(await signalVerified(identity, 'SIGKILL')).toBe(true);
    await child.rest();
    expect(await signalVerified(identity, 'SIGKILL')).toBe(false);
  });

  test('of a zombie is nobody', async () => {
    // The shell becomes `sleep`, which never reaps the child that the shell left.
    const parent = start('sh', ['-c', 'sleep 0.01 & echo $!; exec sleep 60']);
    const pid = Number(await parent.line());
    await until(async () => (await processRow(pid))?.state === 'Z');
    const row = await processRow(pid);
    const identity = {pid, startTime: row?.startTime ?? '', bootId: (await hostIdentity()).bootId};
    expect(await identify(pid)).toBeUndefined();
    expect(await isSame(identity)).toBe(false);
    expect(await signalVerified(identity, 'SIGKILL')).toBe(false);
  });

  test('is never that of this process, of init or of a group when a signal is sent', async () => {
    const {bootId} = await hostIdentity();
    for (const pid of [process.pid, 1, 0, -1]) {
      const startTime = (await processRow(pid))?.startTime ?? '0';
      expect(await signalVerified({pid, startTime, bootId}, 'SIGCONT')).toBe(false);
    }
  });

  test('is read from behind the last parenthesis of a hostile program name', () => {
    const fields = Array.from({length: 48}, (_, n) => n + 4);
    fields[18] = 777;
    expect(parseStat(`12 (a) R 1 (b) ) S ${fields.join(' ')}`)).toEqual({state: 'S', group: 5, startTime: '777'});
    expect(parseStat('')).toBeUndefined();
    const own = parseStat(readFileSync('/proc/self/stat', 'utf8'));
    expect(Number(own?.startTime)).toBeGreaterThan(0);
  });
});

describe('findWorkers', () => {
  test('finds exactly the workers of one state folder by arguments and environment', async () => {
    const home = tempHome();
    const worker = (aiId: string, uid: string, env: Record<string, string>): ReturnType<typeof start> =>
      start(process.execPath, ['-e', idle, '--', '--ai-id', aiId, '--uid', uid], env);
    const ours = worker('athena-ai', 'u1', {TEKTON_AI_HOME: home});
    const others = [
      worker('apollo-ai', 'u2', {TEKTON_AI_HOME: `${home}-else`}),
      start(process.execPath, ['-e', idle, '--', '--uid', 'u3'], {TEKTON_AI_HOME: home}),
    ];
    for (const child of [ours, ...others]) await child.line();

    const identity = await identify(ours.pid);
    expect(await findWorkers(home)).toEqual([{aiId: 'athena-ai', uid: 'u1', identity}]);
  });

  test.each([
    [['node', '--ai-id', 'a', '--uid', 'u'], {aiId: 'a', uid: 'u'}],
    [['node', '--uid', 'u', '--ai-id', 'a', '--more'], {aiId: 'a', uid: 'u'}],
    [['node', '--ai-id', 'a', '--uid'], undefined],
    [['node', '--ai-id', 'a'], undefined],
    [[''], undefined],
  ])('reads %j', (argv, expected) => {
    expect(parseWorkerArguments(argv)).toEqual(expected);
  });
});

test('resident memory is what the kernel counts', async () => {
  expect(await residentBytes(process.pid)).toBeGreaterThan(10_000_000);
  expect(await residentBytes(2 ** 22 + 1)).toBeUndefined();
});

test('the holder of a port is named, and a free port has none', async () => {
  const server = await listen(0);
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  expect(await describeHolder(port)).toEqual({pid: process.pid, name: expect.any(String)});
  expect(await listeningPorts(process.pid)).toContain(port);
  expect(isListenedOn(port)).toBe(true);
  await new Promise(done => server.close(done));
  expect(await describeHolder(port)).toBeUndefined();
  expect(isListenedOn(port)).toBe(false);
});
