/** The real code before a process table that lies, fails and changes under it: nobody is signalled who isn't proven ours. */
import * as realFs from 'node:fs';
import type {readdirSync} from 'node:fs';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, jest, test} from '@jest/globals';
import type {ProcessIdentity} from '../../src/api/types.js';
import type {WorkerConfig} from '../../src/protocol/control.js';
import type * as Processes from '../../src/registry/processes.js';

type Answer = string | Error | readonly string[];

/** What paths below /proc (`*` for any pid) answer, one after the other; the last one stays. What isn't listed is asked of the real one. */
const answers = new Map<string, Answer[]>();

function answer<T>(path: unknown, real: () => T): T {
  const queue = answers.get(String(path)) ?? answers.get(String(path).replace(/\d+/, '*'));
  const next = queue !== undefined && queue.length > 1 ? queue.shift() : queue?.[0];
  if (next === undefined) return real();
  if (next instanceof Error) throw next;
  return next as T; // tests give each path what its call returns
}

jest.unstable_mockModule('node:fs', () => {
  const faulty = {
    ...realFs,
    readFileSync: (...args: Parameters<typeof realFs.readFileSync>) =>
      answer(args[0], () => realFs.readFileSync(...args)),
    readdirSync: (...args: Parameters<typeof readdirSync>) => answer(args[0], () => realFs.readdirSync(...args)),
    readlinkSync: (...args: Parameters<typeof realFs.readlinkSync>) =>
      answer(args[0], () => realFs.readlinkSync(...args)),
  };
  return {...faulty, default: faulty};
});

const pid = 4_000_001; // beyond what Linux hands out by default
const boot = '/proc/sys/kernel/random/boot_id';

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: simulated`), {code});
}

/** A line of proc(5): state is the third field, the group the fifth, the start time the 22nd. */
function stat({state = 'S', group = pid, startTime = '777'} = {}): string {
  const between = Array.from({length: 16}, (_, index) => String(index));
  return `${pid} (node (main) x) ${state} 1 ${group} ${between.join(' ')} ${startTime} ${'0 '.repeat(29)}0\n`;
}

let processes: typeof Processes;
let identity: ProcessIdentity;
let kills: (readonly [number, string | number | undefined])[] = [];
let whenKilled: () => void = () => undefined;
let home = '';

beforeEach(async () => {
  jest.resetModules();
  answers.clear();
  answers.set(boot, ['boot-1\n']);
  processes = await import('../../src/registry/processes.js');
  identity = {pid, startTime: '777', bootId: 'boot-1'};
  kills = [];
  whenKilled = () => undefined;
  jest.spyOn(process, 'kill').mockImplementation((target, signal) => {
    kills.push([target, signal]);
    whenKilled();
    return true;
  });
  home = mkdtempSync(join(tmpdir(), 'tekton-table-'));
});

afterEach(() => {
  jest.restoreAllMocks();
  rmSync(home, {recursive: true, force: true});
});

function table(...found: readonly Answer[]): void {
  answers.set(`/proc/${pid}/stat`, [...found]);
}

const stop = (): Promise<boolean> => processes.signalVerified(identity, 'SIGTERM', {group: true});

/** Elsewhere there is no /proc. */
const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('a process', () => {
  test.each([
    ['that sleeps', stat()],
    ['that is stopped', stat({state: 'T'})],
  ])('%s is the same one, and is signalled with its group', async (_what, line) => {
    table(line);
    expect(await processes.isSame(identity)).toBe(true);
    expect(await stop()).toBe(true);
    expect(kills).toEqual([[-pid, 'SIGTERM']]);
  });

  test('that leads no group is signalled alone: the group of its number is a stranger', async () => {
    table(stat({group: 17}));
    expect(await stop()).toBe(true);
    expect(kills).toEqual([[pid, 'SIGTERM']]);
  });

  test.each([
    ['that is gone', systemError('ENOENT')],
    ['that goes while it is read', systemError('ESRCH')],
    ["that is another user's", systemError('EACCES')],
    ['whose pid is used again', stat({startTime: '778'})],
    ['that is a zombie', stat({state: 'Z'})],
  ])('%s is not the same one, and is not signalled', async (_what, found) => {
    table(found);
    expect(await processes.isSame(identity)).toBe(false);
    expect(await stop()).toBe(false);
    expect(kills).toEqual([]);
  });

  test.each(['EMFILE', 'ENFILE', 'EIO', 'ENOMEM'])(
    'whose line can not be read (%s) is neither alive nor gone, and is not signalled',
    async code => {
      table(systemError(code));
      await expect(processes.isSame(identity)).rejects.toThrow(`cannot read /proc/${pid}/stat`);
      await expect(processes.identify(pid)).rejects.toThrow(processes.ProcessTableError);
      await expect(stop()).rejects.toThrow(processes.ProcessTableError);
      expect(kills).toEqual([]);
    },
  );

  test('whose line is cut off, wherever, is neither alive nor gone', async () => {
    const whole = stat();
    for (let length = 0; length < whole.length; length++) {
      table(whole.slice(0, length));
      await expect(processes.isSame(identity)).rejects.toThrow('it is not whole');
      await expect(stop()).rejects.toThrow(processes.ProcessTableError);
    }
    expect(kills).toEqual([]);
  });

  test.each([
    ['goes', systemError('ENOENT')],
    ['is another one', stat({startTime: '900'})],
  ])('that %s between the look and the signal is not signalled', async (_what, then) => {
    table(stat(), then);
    expect(await processes.isSame(identity)).toBe(true);
    expect(await stop()).toBe(false);
    expect(kills).toEqual([]);
  });

  test.each([
    ['ESRCH', false],
    ['EPERM', undefined],
  ])('whose signal fails with %s is not reported as signalled', async (code, expected) => {
    table(stat());
    whenKilled = () => {
      throw systemError(code);
    };
    if (expected === undefined) await expect(stop()).rejects.toThrow(code);
    else expect(await stop()).toBe(expected);
  });

  test.each([0, 1, -1, -pid, 1.5, NaN, Infinity, process.pid])('with the pid %d is never signalled', async wrong => {
    answers.set(`/proc/${wrong}/stat`, [stat()]);
    expect(await processes.signalVerified({...identity, pid: wrong}, 'SIGKILL', {group: true})).toBe(false);
    expect(kills).toEqual([]);
  });

  test('of another boot is never signalled', async () => {
    table(stat());
    expect(await processes.signalVerified({...identity, bootId: 'boot-0'}, 'SIGKILL')).toBe(false);
    expect(kills).toEqual([]);
  });
});

onLinux('the host', () => {
  test('a boot id that could not be read is read again, not taken for another boot', async () => {
    answers.set(boot, [systemError('EMFILE'), 'boot-1\n']);
    table(stat());
    await expect(processes.isSame(identity)).rejects.toThrow(`cannot read ${boot}: too many open files`);
    expect(await processes.isSame(identity)).toBe(true);
  });

  test('a change of the registry fails while this process itself can not be looked up, and works again after', async () => {
    const {RegistryClient} = await import('../../src/registry/registry-client.js');
    const {ownIdentity} = await import('../../src/registry/combiner.js');
    const client = new RegistryClient({home});
    const register = (): Promise<unknown> => client.register({aiId: 'a-ai', port: 45_001, component: 'x'});
    const self = `/proc/${process.pid}/stat`;
    answers.set(self, [systemError('EMFILE')]);
    await expect(ownIdentity()).rejects.toThrow('too many open files');
    await expect(register()).rejects.toThrow('too many open files');
    await expect(client.deregister('a-ai')).rejects.toThrow('too many open files');
    answers.delete(self);
    expect((await ownIdentity()).pid).toBe(process.pid);
    await register();
    expect((await client.list()).map(({aiId}) => aiId)).toEqual(['a-ai']);
  });

  test('a holder that can not tell whether a requester lives leaves no descriptor open', async () => {
    const {RegistryClient} = await import('../../src/registry/registry-client.js');
    const {ownIdentity} = await import('../../src/registry/combiner.js');
    const {PostedRequest, changesFolder} = await import('../../src/registry/request-file.js');
    const client = new RegistryClient({home});
    const register = (): Promise<unknown> => client.register({aiId: 'a-ai', port: 45_001, component: 'x'});
    await register();
    const folder = changesFolder(join(home, 'run'));
    const change = {type: 'remove', aiId: 'b-ai'};
    const [ours, doubtful] = [await ownIdentity(), identity].map(owner =>
      PostedRequest.post(folder, 'registration', owner, [change]),
    );
    table(systemError('EMFILE'));
    const open = (): number => realFs.readdirSync('/proc/self/fd').length;
    const before = open();
    for (let n = 0; n < 5; n++) await expect(client.deregister('a-ai')).rejects.toThrow('too many open files');
    expect(open()).toBeLessThanOrEqual(before);
    ours?.close();
    doubtful?.close();
  });

  test('a state folder is not taken for that of another machine because the host could not be read', async () => {
    answers.set('/etc/machine-id', [systemError('EIO')]);
    await expect(processes.hostIdentity()).rejects.toThrow(processes.ProcessTableError);
  });
});

onLinux('a walk of the process table', () => {
  beforeEach(() => {
    answers.set('/proc', [['1', String(pid), 'self']]);
    answers.set('/proc/1/environ', [systemError('EACCES')]);
    answers.set(`/proc/${pid}/environ`, [`TEKTON_AI_HOME=${home}\0`]);
    answers.set(`/proc/${pid}/cmdline`, ['node\0main.cjs\0--ai-id\0athena-ai\0--uid\0u1\0']);
    table(stat());
  });

  test('finds a worker by its marks', async () => {
    expect(await processes.findWorkers(home)).toEqual([{aiId: 'athena-ai', uid: 'u1', identity}]);
  });

  test.each([
    ['the environment', 'environ'],
    ['the arguments', 'cmdline'],
    ['the line', 'stat'],
  ])('overlooks whose %s has vanished', async (_what, file) => {
    answers.set(`/proc/${pid}/${file}`, [systemError('ENOENT')]);
    expect(await processes.findWorkers(home)).toEqual([]);
  });

  test.each([
    ['the list', '/proc'],
    ['an environment', `/proc/${pid}/environ`],
    ['arguments', `/proc/${pid}/cmdline`],
    ['a line', `/proc/${pid}/stat`],
  ])('fails rather than overlook somebody when %s can not be read', async (_what, path) => {
    for (const code of ['EMFILE', 'EIO']) {
      answers.set(path, [systemError(code)]);
      await expect(processes.findWorkers(home)).rejects.toThrow(`cannot read ${path}`);
    }
  });

  test('that fails lets no launch be taken for gone: its record stays, and nothing is signalled', async () => {
    const {writeLaunchRecord, readLaunchRecord} = await import('../../src/registry/launch-records.js');
    const {ensureStateHome} = await import('../../src/registry/home.js');
    const {ProcessRuntime} = await import('../../src/runtime/process/runtime.js');
    await ensureStateHome(home);
    await writeLaunchRecord(home, {...launch, identity});
    const runtime = new ProcessRuntime({home, programFolder: home, environment: {}});
    for (const path of ['/proc', `/proc/${pid}/stat`, `/proc/${pid}/environ`]) {
      const good = answers.get(path) ?? [];
      answers.set(path, [systemError('EMFILE')]);
      await expect(runtime.discover()).rejects.toThrow('too many open files in this process');
      if (path.endsWith('stat')) await expect(runtime.forget('athena-ai')).rejects.toThrow('too many open files');
      answers.set(path, good);
    }
    expect(readLaunchRecord(home, 'athena-ai')).toBeDefined();
    expect(kills).toEqual([]);
  });
});

onLinux('a launch', () => {
  test('whose process can not be looked up leaves none behind: its name is launched again', async () => {
    const {ensureStateHome} = await import('../../src/registry/home.js');
    const {ProcessRuntime} = await import('../../src/runtime/process/runtime.js');
    jest.restoreAllMocks();
    await ensureStateHome(home);
    const programFolder = join(home, 'program');
    realFs.mkdirSync(programFolder);
    realFs.writeFileSync(join(programFolder, 'hash'), 'abc');
    const code = `require('fs').writeFileSync('pid', String(process.pid)); require('fs').writeSync(3, '{"type":"listening"}\\n');`;
    realFs.writeFileSync(join(programFolder, 'main.cjs'), `${code} setInterval(() => undefined, 1000);`);
    const runtime = new ProcessRuntime({home, programFolder, environment: {}});
    answers.set('/proc/*/stat', [systemError('EMFILE')]);
    const config = {...launch, provider: {type: 'offline'}} as unknown as WorkerConfig; // the program reads none of it
    const outcome = await runtime.launch({uid: 'u1', port: 45_009, config, env: {}, startupMs: 20_000});
    expect(outcome).toMatchObject({type: 'failed', exit: {signal: 'SIGKILL'}});
    const child = Number(realFs.readFileSync(join(home, 'pid'), 'utf8'));
    expect(() => process.kill(child, 0)).toThrow('ESRCH');
  });
});

const launch = {
  formatVersion: 1,
  aiId: 'athena-ai',
  name: 'athena',
  namespace: 'default',
  fleet: 'dev',
  component: 'athena',
  uid: 'u1',
  host: '127.0.0.1',
  port: 45_009,
  controlPath: '/x.sock',
  generation: 1,
  specHash: 'h',
  declared: {},
  startedAt: '2026-01-01T00:00:00.000Z',
  state: 'running',
} as const;

test('what a worker has started is left alone when the walk fails, or when it is another process by now', async () => {
  const {endOffspring} = await import('../../src/registry/offspring.js');
  answers.set('/proc', [systemError('EMFILE')]);
  expect(await endOffspring({home, uid: 'u1', pid: pid + 1})).toEqual([]);
  answers.set('/proc', [[String(pid)]]);
  answers.set(`/proc/${pid}/environ`, [`TEKTON_AI_HOME=${home}\0TEKTON_AI_INSTANCE=u1\0`]);
  answers.set(`/proc/${pid}/cmdline`, ['sleep\0']);
  table(stat(), stat({startTime: '900'}));
  expect(await endOffspring({home, uid: 'u1', pid: pid + 1})).toEqual([]);
  expect(kills.filter(([, signal]) => signal !== 0)).toEqual([]);
});
