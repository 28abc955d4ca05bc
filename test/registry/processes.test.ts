import {readFileSync} from 'node:fs';
import type {AddressInfo} from 'node:net';
import {describe, expect, test} from '@jest/globals';
import {parsePsRow, parsePsScan, psResidentBytes, psRow} from '../../src/registry/processes-ps.js';
import {describeHolder, isListenedOn, listeningAddresses, listeningPorts} from '../../src/registry/port-holders.js';
import {
  findWorkers,
  handlesHangup,
  hostIdentity,
  identify,
  isSame,
  isSuspended,
  parseStat,
  parseWorkerArguments,
  processRow,
  residentBytes,
  runsAs,
  scanProcesses,
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

describe('scanProcesses', () => {
  const worker = (uid: string, env: Record<string, string>, body = idle): ReturnType<typeof start> =>
    start(process.execPath, ['-e', body, '--', '--ai-id', 'athena-ai', '--uid', uid], env);

  test('tells workers from what they started, and says whose it is', async () => {
    const home = tempHome();
    const marks = {TEKTON_AI_HOME: home, TEKTON_AI_INSTANCE: 'u1', TEKTON_AI_FLEET: 'lab/dev'};
    const body = `const child = require('node:child_process').spawn('sleep', ['60']);
      console.log(child.pid); process.on('exit', () => child.kill('SIGKILL')); process.on('SIGTERM', () => process.exit());`;
    const parent = worker('u1', marks, body);
    const child = Number(await parent.line());
    const {workers, offspring} = await scanProcesses(home);
    expect(workers).toMatchObject([{aiId: 'athena-ai', uid: 'u1', fleet: 'lab/dev', identity: {pid: parent.pid}}]);
    expect(offspring).toMatchObject([{uid: 'u1', identity: {pid: child}}]);
    await parent.kill('SIGTERM');
  });

  test('takes the first of two processes with one uid: the other is about to become something else', async () => {
    const home = tempHome();
    const first = worker('u1', {TEKTON_AI_HOME: home});
    await first.line();
    const second = worker('u1', {TEKTON_AI_HOME: home});
    await second.line();
    expect((await findWorkers(home)).map(({identity}) => identity.pid)).toEqual([first.pid]);
    expect(runsAs(first.pid, 'u1')).toBe(true);
    expect(runsAs(first.pid, 'u2')).toBe(false);
    expect(runsAs(2 ** 22 + 1, 'u1')).toBeUndefined();
  });
});

test('a suspended process is known as one', async () => {
  const child = start('sleep', ['60']);
  const identity = await identify(child.pid);
  if (identity === undefined) throw new Error('the child is not in the process table');
  expect(await isSuspended(identity)).toBe(false);
  child.process.kill('SIGSTOP');
  await until(() => isSuspended(identity));
  expect(await isSuspended({...identity, startTime: '1'})).toBe(false);
});

test('only a process that handles SIGHUP counts as one that does', async () => {
  const [deaf, hears] = ['', "process.on('SIGHUP', () => {});"].map(more =>
    start(process.execPath, ['-e', `${more} ${idle}`]),
  );
  for (const child of [deaf, hears]) await child?.line();
  expect(handlesHangup(deaf?.pid ?? 0)).toBe(false);
  expect(handlesHangup(hears?.pid ?? 0)).toBe(true);
  expect(handlesHangup(2 ** 22 + 1)).toBe(false);
});

describe('ps, for systems without /proc', () => {
  test('tells the same of a process as /proc does', async () => {
    const child = start('sleep', ['60']);
    const [byPs, byProc] = [await psRow(child.pid), await processRow(child.pid)];
    expect(byPs).toMatchObject({group: byProc?.group, state: expect.stringMatching(/^S/)});
    expect(await psRow(child.pid)).toEqual(byPs);
    const startedMs = Date.parse(`${byPs?.startTime ?? ''} UTC`);
    expect(Math.abs(Date.now() - startedMs)).toBeLessThan(60_000);
    child.process.kill('SIGSTOP');
    await until(async () => (await psRow(child.pid))?.state.startsWith('T') === true);
    expect(await psRow(2 ** 22 + 1)).toBeUndefined();
    expect(await psResidentBytes(2 ** 22 + 1)).toBeUndefined();
    const [kept, counted] = [await psResidentBytes(child.pid), await residentBytes(child.pid)];
    expect(kept).toBeGreaterThan((counted ?? Infinity) / 2);
    expect(kept).toBeLessThan((counted ?? 0) * 2);
  });

  test.each([
    ['Ss     501 Sat Jul  4 10:00:00 2026    \n', {state: 'Ss', group: 501, startTime: 'Sat Jul 4 10:00:00 2026'}],
    ['  U+   12 Sun Nov 22 19:00:00 2026', {state: 'U+', group: 12, startTime: 'Sun Nov 22 19:00:00 2026'}],
    ['', undefined],
    ['S 501 garbage', undefined],
  ])('reads the row %j', (text, expected) => {
    expect(parsePsRow(text)).toEqual(expected);
  });

  test('reads lines as macOS prints them, paths with spaces included', () => {
    const home = '/Users/Ada L/Library/tekton ai';
    const date = 'Sat Jul  4 10:00:00 2026';
    const node = '/opt/homebrew/bin/node';
    const marks = `TEKTON_AI_HOME=${home} TEKTON_AI_INSTANCE=u1 TEKTON_AI_FLEET=default/dev`;
    const lines = [
      `  101 Ss   ${date}     ${node} ${home}/bin/worker-1/main.cjs --ai-id athena-ai --uid u1 PATH=/usr/bin:/bin ${marks}`,
      `  102 S    ${date}     sleep 60 PATH=/usr/bin ${marks} _=/bin/sleep`,
      `  103 Z    ${date}     (node) --ai-id apollo-ai --uid u3 ${marks}`,
      `  104 S    ${date}     ${node} main.cjs --ai-id hermes-ai --uid u4 TEKTON_AI_HOME=${home} else`,
      `  105 ??   ${date}     login -fp ada`,
      `  106 S    ${date}     vim --ai-id athena-ai --uid u1`,
      '',
    ];
    const startTime = 'Sat Jul 4 10:00:00 2026';
    expect(parsePsScan(lines.join('\n'), [home], 'boot')).toEqual({
      workers: [{aiId: 'athena-ai', uid: 'u1', fleet: 'default/dev', identity: {pid: 101, startTime, bootId: 'boot'}}],
      offspring: [{uid: 'u1', identity: {pid: 102, startTime, bootId: 'boot'}}],
    });
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

test.each(['127.0.0.1', '127.3.2.1', '0.0.0.0', '::1', '::'])('a process listens at %s', async host => {
  const server = await listen(0, host);
  const {port} = server.address() as AddressInfo; // of a TCP server
  expect(await listeningAddresses(process.pid)).toContainEqual({host, port});
  await new Promise(done => server.close(done));
});
