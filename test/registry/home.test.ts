import {execFileSync} from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {dirname, join} from 'node:path';
import {beforeEach, describe, expect, test} from '@jest/globals';
import {ConflictError} from '../../src/api/errors.js';
import {ensureStateHome} from '../../src/registry/home.js';
import {holdLock} from '../../src/registry/locks.js';
import {controlSocketPath, stateHome, statePaths} from '../../src/registry/paths.js';
import {hostIdentity} from '../../src/registry/processes.js';
import {tempHome} from './support.js';

let home = '';

beforeEach(() => {
  home = tempHome();
});

async function claimAs(change: Partial<Awaited<ReturnType<typeof hostIdentity>>>): Promise<void> {
  const record = {formatVersion: 1, ...(await hostIdentity()), ...change};
  writeFileSync(statePaths(home).host, JSON.stringify(record));
}

describe('ensureStateHome', () => {
  test('makes every folder private, and has nothing to say the second time', async () => {
    expect(await ensureStateHome(home)).toEqual([]);
    const {run, locks, fleets, status, logs} = statePaths(home);
    for (const folder of [home, run, locks, fleets, status, logs]) expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(await ensureStateHome(home)).toEqual([]);
  });

  test('mends looser modes and says so', async () => {
    await ensureStateHome(home);
    const {registry, run} = statePaths(home);
    writeFileSync(registry, '{}', {mode: 0o644});
    chmodSync(run, 0o755);
    const warnings = await ensureStateHome(home);
    expect(warnings).toEqual([expect.stringContaining('mode 755'), expect.stringContaining('mode 644')]);
    expect(statSync(registry).mode & 0o777).toBe(0o600);
    expect(statSync(run).mode & 0o777).toBe(0o700);
  });

  test('looks into every folder once one of them was open to others, and tells of it in one sentence', async () => {
    await ensureStateHome(home);
    const {fleets, logs} = statePaths(home);
    writeFileSync(join(fleets, 'a.json'), '{}', {mode: 0o644});
    expect(await ensureStateHome(home)).toEqual([]); // nobody gets there
    writeFileSync(join(logs, 'a.log'), '', {mode: 0o666});
    chmodSync(logs, 0o777);
    const [first, second, ...others] = await ensureStateHome(home);
    expect(first).toContain('logs was open to others (mode 777)');
    expect(second).toContain('2 files and folders');
    expect(others).toEqual([]);
    expect(statSync(join(fleets, 'a.json')).mode & 0o777).toBe(0o600);
    expect(statSync(join(logs, 'a.log')).mode & 0o777).toBe(0o600);
    expect(await ensureStateHome(home)).toEqual([]);
  });

  test('changes no mode through a link, symbolic or hard', async () => {
    await ensureStateHome(home);
    const {registry, ports, logs} = statePaths(home);
    const elsewhere = join(dirname(home), 'elsewhere');
    writeFileSync(elsewhere, '');
    chmodSync(elsewhere, 0o644);
    symlinkSync(elsewhere, registry);
    linkSync(elsewhere, ports);
    linkSync(elsewhere, join(logs, 'a.log'));
    chmodSync(home, 0o755);
    expect(await ensureStateHome(home)).toHaveLength(1);
    expect(statSync(elsewhere).mode & 0o777).toBe(0o644);
  });

  test('says so when everybody may write to the folder above, unless that is sticky', async () => {
    const parent = dirname(home);
    chmodSync(parent, 0o777);
    expect(await ensureStateHome(home)).toEqual([expect.stringContaining('can be written to by everybody')]);
    chmodSync(parent, 0o1777);
    expect(await ensureStateHome(home)).toEqual([]);
  });

  const asRoot = process.geteuid?.() === 0 ? test : test.skip;
  asRoot('refuses the folder of another user, and a file of another user in it', async () => {
    await ensureStateHome(home);
    const {registry} = statePaths(home);
    writeFileSync(registry, '{}', {mode: 0o600});
    chownSync(registry, 4711, 4711);
    await expect(ensureStateHome(home)).rejects.toThrow('belongs to another user (uid 4711)');
    chownSync(home, 4711, 4711);
    await expect(ensureStateHome(home)).rejects.toThrow(`cannot use ${home}: it belongs to another user`);
  });

  test('does not hang on a pipe in the place of the host record', async () => {
    await ensureStateHome(home);
    rmSync(statePaths(home).host);
    execFileSync('mkfifo', [statePaths(home).host]);
    await expect(ensureStateHome(home)).rejects.toThrow('a pipe or a device stands in its place');
  });

  test('refuses a file in its place, and a link in place of a folder', async () => {
    mkdirSync(dirname(home), {recursive: true});
    writeFileSync(home, '');
    await expect(ensureStateHome(home)).rejects.toThrow(/cannot use the state folder/);
    rmSync(home);
    await ensureStateHome(home);
    rmSync(statePaths(home).logs, {recursive: true});
    symlinkSync(dirname(home), statePaths(home).logs);
    await expect(ensureStateHome(home)).rejects.toThrow('links are not followed');
  });

  test('takes a changed boot id for a reboot', async () => {
    await ensureStateHome(home);
    await claimAs({bootId: 'before'});
    expect(await ensureStateHome(home)).toEqual([]);
    expect(readFileSync(statePaths(home).host, 'utf8')).toContain((await hostIdentity()).bootId);
  });

  test('refuses the folder of another machine that may run specialists', async () => {
    await ensureStateHome(home);
    await claimAs({bootId: 'theirs', machineId: 'other'});
    writeFileSync(statePaths(home).launchRecord('athena-ai'), '{}');
    await expect(ensureStateHome(home)).rejects.toThrow(ConflictError);
    await expect(ensureStateHome(home)).rejects.toThrow('another machine (other) owns it');
  });

  test('refuses the folder of another container while something of it runs, and takes it over afterwards', async () => {
    await ensureStateHome(home);
    await claimAs({pidNamespace: 'pid:[1]'});
    const leader = await holdLock(home, 'leader');
    await expect(ensureStateHome(home)).rejects.toThrow('another container on this machine owns it');
    await leader.release();
    expect(await ensureStateHome(home)).toEqual([expect.stringContaining('was used by another host')]);
    expect(await ensureStateHome(home)).toEqual([]);
  });
});

describe('paths', () => {
  test.each([
    [{TEKTON_AI_HOME: '/x/y/'}, '/x/y'],
    [{TEKTON_AI_HOME: '', HOME: '/home/a'}, '/home/a/.tekton/ai_registry'],
    [{HOME: '/home/a'}, '/home/a/.tekton/ai_registry'],
  ])('the state folder of %j is %s', (environment, expected) => {
    expect(stateHome(environment)).toBe(expected);
  });

  test.each(['../x', 'a/b', '', '.hidden', 'a\0b', 'x'.repeat(300)])('no file is named after %j', name => {
    expect(() => statePaths('/h').launchRecord(name)).toThrow('cannot be part of a file');
  });

  test('a socket path that is too long moves to a short private folder, the same one every time', () => {
    const short = controlSocketPath('/h', 'athena-ai', {});
    expect(short).toBe('/h/run/athena-ai.sock');
    const runtime = join(dirname(home));
    const long = `/${'h'.repeat(120)}`;
    const path = controlSocketPath(long, 'athena-ai', {XDG_RUNTIME_DIR: runtime});
    expect(Buffer.byteLength(path)).toBeLessThanOrEqual(103);
    expect(path.startsWith(runtime)).toBe(true);
    expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
    expect(controlSocketPath(long, 'athena-ai', {XDG_RUNTIME_DIR: runtime})).toBe(path);
    expect(controlSocketPath(long, 'apollo-ai', {XDG_RUNTIME_DIR: runtime})).not.toBe(path);
    expect(controlSocketPath(`${long}x`, 'athena-ai', {XDG_RUNTIME_DIR: runtime})).not.toBe(path);
  });

  test('bytes count, not characters: ä is two', () => {
    const runtime = dirname(home);
    const path = controlSocketPath(`/${'ä'.repeat(50)}`, 'athena-ai', {XDG_RUNTIME_DIR: runtime});
    expect(path.startsWith(runtime)).toBe(true);
  });

  test('a folder for sockets that is open to others is refused', () => {
    const runtime = dirname(home);
    mkdirSync(join(runtime, `tekton-ai-${process.getuid?.() ?? 0}`), {mode: 0o777});
    chmodSync(join(runtime, `tekton-ai-${process.getuid?.() ?? 0}`), 0o777);
    expect(() => controlSocketPath(`/${'h'.repeat(120)}`, 'athena-ai', {XDG_RUNTIME_DIR: runtime})).toThrow(
      'not a private folder',
    );
  });
});
