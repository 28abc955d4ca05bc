import {existsSync, renameSync, writeFileSync} from 'node:fs';
import {beforeEach, describe, expect, test} from '@jest/globals';
import {LockBusyError} from '../../src/api/errors.js';
import {Fifo} from '../../src/registry/fifo.js';
import {ensureStateHome} from '../../src/registry/home.js';
import {holdLock, tryHold, withLock} from '../../src/registry/locks.js';
import {statePaths} from '../../src/registry/paths.js';
import {retryDelayMs} from '../../src/registry/waiting.js';
import {tempHome} from './support.js';

let home = '';

beforeEach(async () => {
  home = tempHome();
  await ensureStateHome(home);
});

describe('withLock', () => {
  test('lets callers of one process in one at a time, in the order they came', async () => {
    const order: string[] = [];
    const enter = (name: string): Promise<void> =>
      withLock(home, 'registration', async () => {
        order.push(`${name} in`);
        await new Promise(resolve => setImmediate(resolve));
        order.push(`${name} out`);
      });
    await Promise.all([enter('a'), enter('b'), enter('c')]);
    expect(order).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
  });

  test('releases when its body throws', async () => {
    await expect(
      withLock(home, 'fleets', () => {
        throw new Error('body');
      }),
    ).rejects.toThrow('body');
    const lock = await tryHold(home, 'fleets');
    expect(lock).toBeDefined();
    await lock?.release();
  });

  test('holds the lock folder of the seed for foreign tools while it runs, and none afterwards', async () => {
    const folder = `${statePaths(home).portAllocationLock}.lock`;
    await withLock(home, 'port_allocation', () => expect(existsSync(folder)).toBe(true));
    expect(existsSync(folder)).toBe(false);
  });

  test('works where the predecessor left a regular file on the lock path', async () => {
    writeFileSync(statePaths(home).registrationLock, '');
    expect(await withLock(home, 'registration', () => 1)).toBe(1);
  });

  test('gives up after its timeout without having called the body', async () => {
    const held = await holdLock(home, 'registration');
    let called = false;
    const waiting = withLock(home, 'registration', () => void (called = true), {timeoutMs: 20});
    await expect(waiting).rejects.toThrow(LockBusyError);
    await held.release();
    expect(called).toBe(false);
  });

  test('stops waiting when its signal aborts', async () => {
    const held = await holdLock(home, 'registration');
    const abort = new AbortController();
    const waiting = withLock(home, 'registration', () => undefined, {signal: abort.signal});
    abort.abort(new Error('no longer wanted'));
    await expect(waiting).rejects.toThrow('no longer wanted');
    await held.release();
  });
});

describe('a held lock', () => {
  test('may commit while it is held, and not after its release', async () => {
    const lock = await holdLock(home, 'registration');
    lock.assertHeld();
    await lock.release();
    await lock.release();
    expect(() => lock.assertHeld()).toThrow(LockBusyError);
  });

  test('is lost when its lock file is replaced', async () => {
    const lock = await holdLock(home, 'leader');
    const file = `${statePaths(home).locks}/leader.kernel`;
    renameSync(file, `${file}.moved`);
    expect(() => lock.assertHeld()).toThrow('its file was replaced');
    await lock.release();
  });

  test('leaves no mark behind that would make the next holder clear a folder', async () => {
    await withLock(home, 'registration', () => undefined);
    const {readFileSync} = await import('node:fs');
    expect(readFileSync(`${statePaths(home).locks}/registration.kernel`, 'utf8').trim()).toBe('');
  });
});

test('a queue hands over in order and skips those that gave up', async () => {
  const queue = new Fifo();
  const leave = queue.tryEnter();
  const impatient = queue.enter(performance.now() + 5);
  const patient = queue.enter(performance.now() + 60_000);
  expect(queue.tryEnter()).toBeUndefined();
  expect(await impatient).toBeUndefined();
  leave?.();
  (await patient)?.();
  expect(queue.tryEnter()).toBeDefined();
});

test('a queue goes on when a caller is called off in the moment of its turn', async () => {
  const queue = new Fifo();
  const leave = queue.tryEnter();
  const abort = new AbortController();
  const called = queue.enter(performance.now() + 60_000, abort.signal);
  leave?.();
  abort.abort(new Error('no longer wanted'));
  await expect(called).rejects.toThrow('no longer wanted');
  expect(queue.tryEnter()).toBeDefined();
});

test('the delay between two tries grows to 12 ms and no further', () => {
  expect(retryDelayMs(0, () => 0)).toBe(1);
  expect(retryDelayMs(1_000_000, () => 1)).toBe(12);
});
