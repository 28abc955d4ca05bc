/** proper-lockfile on one path: the convention that other tools honour, fenced, and cleared of dead holders at once. */
import {mkdirSync, rmdir, rmdirSync, statSync, utimesSync} from 'node:fs';
import {resolve} from 'node:path';
import type {lock} from 'proper-lockfile';
import {errorCode} from './files.js';
import {LockLostError} from './kernel-lock.js';
import type {KernelLock} from './kernel-lock.js';
import type {HeldLock} from './locks.js';
import {identify} from './processes.js';

/** proper-lockfile's own default: other tools take a lock over that was not refreshed for so long. */
const staleMs = 10_000;

/** What the kernel lock's mark says. */
export interface Mark {
  /** `making <ms>`: about to make the folder; `held <identity>`: made it. */
  readonly state: string;
  readonly value: string;
  /** The holder. */
  readonly pid: number;
  readonly startTime: string;
}

export function parseMark(mark: string): Mark | undefined {
  const [state, value, pid, startTime] = mark.split(' ');
  if (state === undefined || value === undefined || startTime === undefined) return undefined;
  return {state, value, pid: Number(pid), startTime};
}

let prepared: Promise<{readonly lock: typeof lock}> | undefined;

/** Loads what a lock needs before any is held: nothing is waited for between the lock and its mark. */
export function prepareFolderLocks(): Promise<{readonly lock: typeof lock}> {
  prepared ??= Promise.all([import('proper-lockfile'), identify(process.pid)]).then(([lockfile, self]) => {
    holder = `${process.pid} ${self?.startTime ?? '0'}`;
    return lockfile;
  });
  prepared.catch(() => (prepared = undefined)); // too many open files, say: whoever locks next tries again
  return prepared;
}

/** This process as the mark names it. */
let holder = '';

/**
 * Takes the proper-lockfile lock of `path` if nobody holds it. `kernel` is the lock that is held around it: its mark
 * tells the next holder which folder to clear away if this process dies.
 */
export async function takeFolderLock(path: string, kernel: KernelLock | undefined): Promise<HeldLock | undefined> {
  const {lock} = await prepareFolderLocks();
  const folder = `${resolve(path)}.lock`;
  if (kernel !== undefined && kernel.mark !== '') clearAfterDeath(folder, kernel);
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
    if (errorCode(error) === 'ELOCKED' || isPassed(kernel)) return undefined;
    throw error;
  } finally {
    around.delete(folder);
  }
}

/** Frozen while it took the lock, it finds the folder that it made cleared away. */
function isPassed(kernel: KernelLock | undefined): boolean {
  try {
    kernel?.assertHeld();
    return false;
  } catch (error) {
    return error instanceof LockLostError;
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
        throw new LockLostError(`lost the lock ${folder}: held for too long`);
      }
    },
    release: async () => {
      try {
        // A folder that somebody else made meanwhile is theirs, but proper-lockfile must still stop its timer.
        if (isOurs()) await release();
        else await abandon(folder, release);
        kernel?.writeMark('');
      } catch {
        // The folder may still stand. Its mark stays, too, so that whoever locks next clears it away.
        await abandon(folder, release);
      }
      owned.delete(folder);
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

/** Whether the folder of `path` was not refreshed for so long that any tool may take it over. */
export function isStale(path: string): boolean {
  const folder = `${resolve(path)}.lock`;
  return statSync(folder, {throwIfNoEntry: false}) !== undefined && ageMs(folder) > staleMs;
}

/**
 * The holder before us died or was passed (we have the kernel lock), and its mark says which folder was its own. A foreign tool's
 * folder has another identity and is left alone.
 */
function clearAfterDeath(folder: string, kernel: KernelLock): void {
  const mark = parseMark(kernel.mark);
  const theirs =
    mark?.state === 'held' ? identityOf(folder) === mark.value : wasMadeSince(folder, Number(mark?.value ?? NaN));
  if (theirs) removeFolder(folder);
  kernel.writeMark('');
}

function removeFolder(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error; // a holder that was frozen removed it itself
  }
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
 * What proper-lockfile does on disk, synchronously where the kernel only touches memory, and with the kernel lock's
 * mark around the mkdir. One object for all locks, for proper-lockfile notes the file system's precision of times on it.
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
  kernel?.writeMark(`making ${Date.now()} ${holder}`);
  try {
    mkdirSync(folder, {mode: 0o700});
  } catch (error) {
    kernel?.writeMark('');
    throw error;
  }
  try {
    kernel?.writeMark(`held ${identityOf(folder) ?? '-'} ${holder}`);
  } catch (error) {
    removeFolder(folder);
    throw error;
  }
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
