/**
 * Mutual exclusion between processes. A kernel lock on a file that is never deleted comes first: the kernel
 * releases it when its holder dies, so nobody waits for a dead one. Inside it, on the seed's two lock paths,
 * proper-lockfile, for tools that honour its convention. A holder of these two that is frozen is passed and fenced.
 * docs/decisions/locks.md gives the measurements and the argument.
 */
import {closeSync, constants, openSync} from 'node:fs';
import {LockBusyError} from '../api/errors.js';
import {Fifo} from './fifo.js';
import {fileError} from './files.js';
import {prepareFolderLocks, takeFolderLock} from './folder-lock.js';
import {openKernelLock, kernelLocks, readMark} from './kernel-lock.js';
import type {KernelLock} from './kernel-lock.js';
import {statePaths} from './paths.js';
import type {Guarded, Look} from './takeover.js';
import {retryDelayMs, sleep} from './waiting.js';

/** `registration` and `port_allocation` are the seed's; any other is ours alone: `leader`, `fleets`, `events`, … (a DNS label). */
export type LockName = string;

export interface HeldLock {
  /**
   * Call right before a commit: a holder that was frozen or whose lock file was replaced must not write.
   *
   * @throws {LockLostError} the lock is no longer ours.
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
  const contender = await contend(home, name, {timeoutMs, ...(signal && {signal})});
  try {
    for (let attempt = 0; ; attempt++) {
      signal?.throwIfAborted();
      const lock = await contender.tryHold();
      if (lock !== undefined) return releasing(lock, contender);
      const delayMs = retryDelayMs(attempt);
      if (performance.now() + delayMs > deadline) throw lockBusy(home, name, timeoutMs);
      await sleep(delayMs, signal);
    }
  } catch (error) {
    contender.leave();
    throw error;
  }
}

/** Takes the lock if it is free at this moment; undefined when somebody holds it, in this process or another. */
export async function tryHold(home: string, name: LockName): Promise<HeldLock | undefined> {
  const leave = queueOf(home, name).tryEnter();
  if (leave === undefined) return undefined;
  const contender = new Contender(home, name, leave);
  try {
    const lock = await contender.tryHold();
    if (lock !== undefined) return releasing(lock, contender);
  } catch (error) {
    contender.leave();
    throw error;
  }
  contender.leave();
  return undefined;
}

/**
 * Enters the queue of this process for the lock: whoever is in it may try for the lock as often as it likes, until it
 * leaves. @throws {LockBusyError} after `timeoutMs`.
 */
export async function contend(home: string, name: LockName, options: LockOptions = {}): Promise<Contender> {
  const {timeoutMs = 10_000, signal} = options;
  const leave = await queueOf(home, name).enter(performance.now() + timeoutMs, signal);
  if (leave === undefined) throw lockBusy(home, name, timeoutMs);
  return new Contender(home, name, leave);
}

/** One caller's attempts at a lock. Each is cheap while the lock's mark names a holder. */
export class Contender {
  private readonly startedMs = performance.now();
  private readonly place: Place;
  private markedFile: number | undefined;
  private nextTryMs = 0;
  private tryEveryMs = 10;
  private nextLookMs = this.startedMs + 250;
  private seen: Look | undefined;

  constructor(
    private readonly home: string,
    private readonly name: LockName,
    private readonly leaveQueue: () => void,
  ) {
    this.place = placeOf(home, name);
  }

  /** The lock, if it is free or its holder is frozen; release it before `leave`. */
  async tryHold(): Promise<HeldLock | undefined> {
    if (this.looksHeld() && performance.now() < this.nextTryMs) return undefined;
    // A holder that died leaves its mark: a try now and then finds that out.
    this.nextTryMs = performance.now() + this.tryEveryMs * (0.6 + 0.4 * Math.random());
    this.tryEveryMs = Math.min(18, this.tryEveryMs * 1.4);
    try {
      return (await tryAcquire(this.place)) ?? (await this.passFrozen());
    } catch (error) {
      throw fileError(`cannot lock ${this.name} in ${this.home}`, error);
    }
  }

  /** Lets the next caller of this process try. */
  leave(): void {
    if (this.markedFile !== undefined) closeSync(this.markedFile);
    this.markedFile = undefined;
    this.leaveQueue();
  }

  private looksHeld(): boolean {
    if (this.place.guarded === undefined) return false;
    try {
      this.markedFile ??= openSync(
        this.place.lockFile,
        constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
      );
      return readMark(this.markedFile) !== '';
    } catch {
      return false; // the attempt itself says what is wrong
    }
  }

  private async passFrozen(): Promise<HeldLock | undefined> {
    const {guarded} = this.place;
    const native = await kernelLocks();
    if (guarded === undefined || native === undefined || performance.now() < this.nextLookMs) return undefined;
    this.nextLookMs = performance.now() + 100;
    const {isStuck, lookAgain, passHolder, patienceMs} = await import('./takeover.js');
    this.seen = lookAgain(native, guarded, this.seen);
    if (this.seen === undefined || performance.now() - this.startedMs < patienceMs) return undefined;
    if (!(await isStuck(this.seen, guarded))) return undefined;
    const kernel = await passHolder(native, guarded, this.seen);
    return kernel && takeInside(kernel, guarded.seedPath);
  }
}

const queues = new Map<string, Fifo>();

/** Kernel locks exclude processes, not callers within one: these queue here. */
function queueOf(home: string, name: LockName): Fifo {
  const key = `${home}\0${name}`;
  const queue = queues.get(key) ?? new Fifo();
  queues.set(key, queue);
  return queue;
}

async function tryAcquire({lockFile, guarded}: Place): Promise<HeldLock | undefined> {
  const native = await kernelLocks();
  if (native === undefined) return takeFolderLock(guarded?.seedPath ?? lockFile.replace(/\.kernel$/, ''), undefined);
  if (guarded !== undefined) await prepareFolderLocks();
  const kernel = openKernelLock(native, lockFile);
  if (kernel === undefined || guarded === undefined) return kernel;
  return takeInside(kernel, guarded.seedPath);
}

interface Place {
  readonly lockFile: string;
  /** Of a lock whose holder can be passed. */
  readonly guarded: Guarded | undefined;
}

/**
 * Guarded are the locks that tools of the seed know, each around one file that is written whole under it: that is what
 * makes it possible to fence a holder that is passed. Under other locks files are removed, too, and a removal can't be
 * fenced.
 */
function placeOf(home: string, name: LockName): Place {
  const {locks, registrationLock, portAllocationLock, registry, ports} = statePaths(home);
  const lockFile = `${locks}/${name}.kernel`;
  if (name === 'registration') return {lockFile, guarded: {lockFile, seedPath: registrationLock, file: registry}};
  if (name === 'port_allocation') return {lockFile, guarded: {lockFile, seedPath: portAllocationLock, file: ports}};
  return {lockFile, guarded: undefined};
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

function releasing(lock: HeldLock, contender: Contender): HeldLock {
  let held = true;
  return {
    assertHeld: () => {
      if (!held) throw new LockBusyError('internal error: the lock was released before the commit');
      lock.assertHeld();
    },
    release: async () => {
      if (!held) return;
      held = false;
      // The kernel lock ends with its descriptor, and closing that frees it even when it reports an error.
      await lock.release().catch(() => undefined);
      contender.leave();
    },
  };
}

export function lockBusy(home: string, name: string, timeoutMs: number): LockBusyError {
  return new LockBusyError(`cannot lock ${name} in ${home}: others held it for ${timeoutMs} ms`, {
    hint: 'Nothing was changed; try again. If it stays, look for a stopped tekton-ai process (state T in ps).',
  });
}
