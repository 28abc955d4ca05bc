/** proper-lockfile on one path: the convention that other tools honour, fenced, and cleared of dead holders at once. */
import {mkdirSync, rmdir, rmdirSync, statSync, utimesSync} from 'node:fs';
import {resolve} from 'node:path';
import {LockBusyError} from '../api/errors.js';
import {errorCode} from './files.js';
import type {KernelLock} from './kernel-lock.js';
import type {HeldLock} from './locks.js';

/** proper-lockfile's own default: other tools take a lock over that was not refreshed for so long. */
const staleMs = 10_000;

/**
 * Takes the proper-lockfile lock of `path` if nobody holds it. `kernel` is the lock that is held around it: its mark
 * tells the next holder which folder to clear away if this process dies.
 */
export async function takeFolderLock(path: string, kernel: KernelLock | undefined): Promise<HeldLock | undefined> {
  const folder = `${resolve(path)}.lock`;
  if (kernel !== undefined && kernel.mark !== '') clearAfterDeath(folder, kernel);
  const {lock} = await import('proper-lockfile');
  let compromised = false;
  if (kernel !== undefined) around.set(folder, kernel);
  try {
    const release = await lock(path, {
      realpath: false, // the path itself need not exist, and the predecessor may have left a file there
      stale: staleMs,
      fs: steps,
      onCompromised: () => {
        compromised = true;
      },
    });
    return heldFolder(folder, identityOf(folder), () => compromised, release, kernel);
  } catch (error) {
    if (errorCode(error) === 'ELOCKED') return undefined;
    throw error;
  } finally {
    around.delete(folder);
  }
}

function heldFolder(
  folder: string,
  identity: string | undefined,
  isCompromised: () => boolean,
  release: () => Promise<void>,
  kernel: KernelLock | undefined,
): HeldLock {
  if (identity !== undefined) owned.set(folder, identity);
  const isOurs = (): boolean => !isCompromised() && identity !== undefined && identityOf(folder) === identity;
  return {
    assertHeld: () => {
      // Near the stale limit another tool may be about to take it over: too late to commit.
      if (!isOurs() || ageMs(folder) > staleMs * 0.7) {
        throw new LockBusyError(`lost the lock ${folder}: held for too long`);
      }
    },
    release: async () => {
      // A folder that somebody else made meanwhile is theirs, but proper-lockfile must still stop its timer.
      if (isOurs()) await release().catch(() => undefined);
      else await abandon(folder, release);
      owned.delete(folder);
      kernel?.writeMark('');
    },
  };
}

/** Lets proper-lockfile forget the lock. It would remove the folder of the new owner: so that is taken to be absent. */
async function abandon(folder: string, release: () => Promise<void>): Promise<void> {
  abandoned.add(folder);
  await release().catch(() => undefined);
  abandoned.delete(folder);
}

const abandoned = new Set<string>();

/** Folders of the locks that this process holds, with their identity. */
const owned = new Map<string, string>();

/** The folder as one that was made once: an inode number alone is used again. */
function identityOf(folder: string): string | undefined {
  const stat = statSync(folder, {bigint: true, throwIfNoEntry: false});
  return stat && `${stat.ino}.${stat.birthtimeNs}`;
}

function ageMs(folder: string): number {
  return Date.now() - (statSync(folder, {throwIfNoEntry: false})?.mtimeMs ?? 0);
}

/**
 * The holder before us died (we have its kernel lock), and its mark says which folder was its own. A foreign tool's
 * folder has another identity and is left alone.
 */
function clearAfterDeath(folder: string, kernel: KernelLock): void {
  const [state, value] = kernel.mark.split(' ');
  const theirs = state === 'held' ? identityOf(folder) === value : wasMadeSince(folder, Number(value));
  if (theirs) rmdirSync(folder);
  kernel.writeMark('');
}

/** It died within microseconds around its mkdir. Timestamps of the kernel are up to a tick (10 ms) old. */
function wasMadeSince(folder: string, timeMs: number): boolean {
  const stat = statSync(folder, {throwIfNoEntry: false});
  return stat !== undefined && stat.mtimeMs >= timeMs - 10;
}

type Callback<T> = (error: Error | null, value?: T) => void;

/** Kernel locks by the folder inside them. */
const around = new Map<string, KernelLock>();

/**
 * What proper-lockfile does on disk, synchronously where the kernel only touches memory, and with the kernel lock's mark around the mkdir. One object for
 * all locks, for proper-lockfile notes the file system's precision of times on it.
 */
const steps = {
  mkdir: (path: string, done: Callback<void>) => call(done, () => makeMarked(path, around.get(path))),
  stat: (path: string, done: Callback<unknown>) => call(done, () => statSync(path)),
  utimes: (path: string, atime: Date, mtime: Date, done: Callback<void>) =>
    call(done, () => utimesSync(path, atime, mtime)),
  // The journal may make it wait for somebody's fsync: not at the cost of our event loop.
  rmdir: (path: string, done: Callback<void>) => (abandoned.has(path) ? done(null) : rmdir(path, done)),
  rmdirSync: removeIfOurs,
};

function makeMarked(folder: string, kernel: KernelLock | undefined): void {
  kernel?.writeMark(`making ${Date.now()}`);
  try {
    mkdirSync(folder, {mode: 0o700});
  } catch (error) {
    kernel?.writeMark('');
    throw error;
  }
  kernel?.writeMark(`held ${identityOf(folder) ?? ''}`);
}

/** proper-lockfile's farewell when the process ends while it holds locks. */
function removeIfOurs(folder: string): void {
  if (owned.has(folder) && owned.get(folder) === identityOf(folder)) rmdirSync(folder);
}

function call<T>(done: Callback<T>, step: () => T): void {
  let value: T;
  try {
    value = step();
  } catch (error) {
    return done(error as Error);
  }
  return done(null, value);
}
