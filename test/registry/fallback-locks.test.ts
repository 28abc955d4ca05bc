/** A suite of its own: the choice between the two kinds of locks is made once per process. */
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {existsSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync} from 'node:fs';
import {build} from 'esbuild';
import {execa} from 'execa';
import {ensureStateHome} from '../../src/registry/home.js';
import {holdLock, tryHold, withLock} from '../../src/registry/locks.js';
import {statePaths} from '../../src/registry/paths.js';
import {tempHome} from './support.js';

beforeAll(() => {
  process.env['TEKTON_AI_NO_KERNEL_LOCKS'] = '1';
});
afterAll(() => {
  delete process.env['TEKTON_AI_NO_KERNEL_LOCKS'];
});

test('without kernel locks proper-lockfile stands alone, fenced', async () => {
  const home = tempHome();
  await ensureStateHome(home);
  const folder = `${statePaths(home).registrationLock}.lock`;
  expect(existsSync(`${statePaths(home).locks}/registration.kernel`)).toBe(false);
  expect(await withLock(home, 'registration', () => existsSync(folder))).toBe(true);

  const lock = await holdLock(home, 'registration');
  expect(await tryHold(home, 'registration')).toBeUndefined();
  lock.assertHeld();
  const past = new Date(Date.now() - 9_000);
  utimesSync(folder, past, past); // frozen for so long that another may be about to take it over
  expect(() => lock.assertHeld()).toThrow('held for too long');
  rmSync(folder, {recursive: true});
  mkdirSync(folder);
  expect(() => lock.assertHeld()).toThrow('held for too long');
  await lock.release();
  expect(existsSync(folder)).toBe(true); // somebody else's by now
});

test('a leader lock excludes another holder also without kernel locks', async () => {
  const home = tempHome();
  await ensureStateHome(home);
  const leader = await holdLock(home, 'leader');
  expect(await tryHold(home, 'leader')).toBeUndefined();
  await leader.release();
  await (await holdLock(home, 'leader')).release();
});

(process.platform === 'linux' ? test : test.skip)(
  'where the kernel locks can not be loaded for want of descriptors, nobody does without them',
  async () => {
    // A process of its own: the limit is for all that it does.
    const script = `
    import {execFileSync} from 'node:child_process';
    import {closeSync, openSync} from 'node:fs';
    const {kernelLocks} = await import(process.argv[2]);
    execFileSync('prlimit', ['--pid', String(process.pid), '--nofile=64:64']);
    const taken = [];
    try { for (;;) taken.push(openSync('/dev/null')); } catch {}
    const answer = await kernelLocks().then(found => found === undefined ? 'none' : 'some', error => error.message);
    taken.forEach(closeSync);
    console.log(answer);`;
    const folder = tempHome();
    mkdirSync(folder, {recursive: true});
    const module = `${folder}/kernel-lock.mjs`;
    await build({
      entryPoints: ['src/registry/kernel-lock.ts'],
      outfile: module,
      bundle: true,
      format: 'esm',
      platform: 'node',
      logLevel: 'error',
    });
    symlinkSync(`${process.cwd()}/node_modules`, `${folder}/node_modules`);
    writeFileSync(`${folder}/main.mjs`, script);
    const {TEKTON_AI_NO_KERNEL_LOCKS: _, ...env} = process.env;
    const {stdout} = await execa(process.execPath, [`${folder}/main.mjs`, module], {env, extendEnv: false});
    expect(stdout).toBe('cannot load the file locks: too many open files in this process');
  },
);
