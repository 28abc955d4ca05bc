/**
 * Mutual exclusion between processes. A kernel lock on a file that is never deleted comes first: the kernel
 * releases it when its holder dies, so nobody waits for a dead one. Inside it, on the seed's two lock paths,
 * proper-lockfile, for tools that honour its convention. docs/decisions/locks.md gives the measurements.
 */
import {LockBusyError} from '../api/errors.js';
import {Fifo} from './fifo.js';
import {fileError} from './files.js';
import {takeFolderLock} from './folder-lock.js';
import {openKernelLock, kernelLocks} from './kernel-lock.js';
import type {KernelLock} from './kernel-lock.js';
import {statePaths} from './paths.js';
import {retryDelayMs, sleep} from './waiting.js';

/** `registration` and `port_allocation` are the seed's; any other is ours alone: `leader`, `fleets`, `events`, … (a DNS label). */
export type LockName = string;

export interface HeldLock {
  /**
   * Call right before a commit: a holder that was frozen or whose lock file was replaced must not write.
   *
   * @throws {LockBusyError} the lock is no longer ours.
   */
  assertHeld(): void;
  /** Never throws; a second call does nothing. */
  release(): Promise<void>;
}

export interface LockOptions {
  /** How long to wait for other holders, in ms. Default 10,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Runs `run` while this process holds the lock `name` of the state folder; callers in one process queue in order.
 *
 * @throws {LockBusyError} after `timeoutMs`: `run` was not called.
 */
export async function withLock<T>(
  home: string,
  name: LockName,
  run: (lock: HeldLock) => Promise<T> | T,
  options: LockOptions = {},
): Promise<T> {
  const lock = await holdLock(home, name, options);
  try {
    return await run(lock);
  } finally {
    await lock.release();
  }
}

/** Takes the lock until `release` or the death of this process. @throws {LockBusyError} after `timeoutMs`. */
export async function holdLock(home: string, name: LockName, options: LockOptions = {}): Promise<HeldLock> {
  const {timeoutMs = 10_000, signal} = options;
  const deadline = performance.now() + timeoutMs;
  const leaveQueue = await queueOf(home, name).enter(deadline, signal);
  if (leaveQueue === undefined) throw busy(home, name, timeoutMs);
  try {
    for (let attempt = 0; ; attempt++) {
      signal?.throwIfAborted();
      const lock = await tryAcquire(home, name);
      if (lock !== undefined) return releasing(lock, leaveQueue);
      const delayMs = retryDelayMs(attempt);
      if (performance.now() + delayMs > deadline) throw busy(home, name, timeoutMs);
      await sleep(delayMs, signal);
    }
  } catch (error) {
    leaveQueue();
    throw error;
  }
}

/** Takes the lock if it is free at this moment; undefined when somebody holds it, in this process or another. */
export async function tryHold(home: string, name: LockName): Promise<HeldLock | undefined> {
  const leaveQueue = queueOf(home, name).tryEnter();
  if (leaveQueue === undefined) return undefined;
  try {
    const lock = await tryAcquire(home, name);
    if (lock !== undefined) return releasing(lock, leaveQueue);
  } catch (error) {
    leaveQueue();
    throw error;
  }
  leaveQueue();
  return undefined;
}

const queues = new Map<string, Fifo>();

/** Kernel locks exclude processes, not callers within one: these queue here. */
function queueOf(home: string, name: LockName): Fifo {
  const key = `${home}\0${name}`;
  const queue = queues.get(key) ?? new Fifo();
  queues.set(key, queue);
  return queue;
}

async function tryAcquire(home: string, name: LockName): Promise<HeldLock | undefined> {
  const {locks, registrationLock, portAllocationLock} = statePaths(home);
  const seedPath = {registration: registrationLock, port_allocation: portAllocationLock}[name];
  try {
    const native = await kernelLocks();
    if (native === undefined) return await takeFolderLock(seedPath ?? `${locks}/${name}`, undefined);
    const kernel = openKernelLock(native, `${locks}/${name}.kernel`);
    if (kernel === undefined || seedPath === undefined) return kernel;
    return await takeInside(kernel, seedPath);
  } catch (error) {
    throw fileError(`cannot lock ${name} in ${home}`, error);
  }
}

/** Both or none. While a foreign tool holds the folder we let the kernel lock go, so that nobody waits on us. */
async function takeInside(kernel: KernelLock, path: string): Promise<HeldLock | undefined> {
  try {
    const folder = await takeFolderLock(path, kernel);
    if (folder !== undefined) {
      return {
        assertHeld: () => {
          kernel.assertHeld();
          folder.assertHeld();
        },
        release: async () => {
          await folder.release();
          await kernel.release();
        },
      };
    }
  } catch (error) {
    await kernel.release();
    throw error;
  }
  await kernel.release();
  return undefined;
}

function releasing(lock: HeldLock, leaveQueue: () => void): HeldLock {
  let held = true;
  return {
    assertHeld: () => {
      if (!held) throw new LockBusyError('internal error: the lock was released before the commit');
      lock.assertHeld();
    },
    release: async () => {
      if (!held) return;
      held = false;
      await lock.release();
      leaveQueue();
    },
  };
}

function busy(home: string, name: string, timeoutMs: number): LockBusyError {
  return new LockBusyError(`cannot lock ${name} in ${home}: others held it for ${timeoutMs} ms`, {
    hint: 'Nothing was changed; try again. If it stays, look for a stopped tekton-ai process (state T in ps).',
  });
}
