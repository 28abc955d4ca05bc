/** A suite of its own: the choice between the two kinds of locks is made once per process. */
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {existsSync, mkdirSync, rmSync, utimesSync} from 'node:fs';
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
