/** Locks that the kernel releases when their holder dies, on files that are never deleted. */
import {closeSync, constants, fstatSync, openSync, readSync, renameSync, statSync, writeSync} from 'node:fs';
import {basename, dirname, join} from 'node:path';
import {LockBusyError, TektonError} from '../api/errors.js';
import {errorCode, fileError} from './files.js';
import type {HeldLock} from './locks.js';

/** The part of fs-native-extensions that we use. */
export interface NativeLocks {
  /** False: somebody else holds it. Open-file-description locks on Linux, flock(2) on macOS. */
  tryLock(fd: number): boolean;
  unlock(fd: number): void;
}

export interface KernelLock extends HeldLock {
  /** What the last holder left in the lock file: not empty when it died, or was passed, while it held the lock. */
  readonly mark: string;
  /** Tells the others who holds it and what is to be cleared away, should this process die now. Synchronous and without fsync: only a crash of the process matters. */
  writeMark(mark: string): void;
}

/** The lock is no longer ours: its holder was frozen for long, or somebody replaced the file. Nothing was written. */
export class LockLostError extends LockBusyError {
  override readonly name: string = 'LockLostError';
}

let loading: Promise<NativeLocks | undefined> | undefined;

/**
 * The native module, loaded at the first lock; undefined where it has no prebuilt binary (musl): then
 * proper-lockfile stands alone, and that is said once on standard error.
 *
 * @throws {TektonError} it is there, and can't be loaded now: to do without would exclude nobody who has it
 */
export function kernelLocks(): Promise<NativeLocks | undefined> {
  loading ??= load();
  return loading;
}

async function load(): Promise<NativeLocks | undefined> {
  // For tests of the fallback, and for file systems whose kernel locks are broken; all processes must agree on it.
  if (process.env['TEKTON_AI_NO_KERNEL_LOCKS'] === '1') return undefined;
  try {
    const module = (await import(nativeModule)) as {readonly default: NativeLocks};
    return module.default;
  } catch (error) {
    if (isPassing(error)) throw fileError('cannot load the file locks', error);
    process.emitWarning(
      'no kernel file locks on this system: after a crash of tekton-ai the next command may wait up to 10 seconds',
      'TektonWarning',
    );
    return undefined;
  }
}

/** A want of this process or machine at this moment; the loader of shared libraries has no codes for it. */
function isPassing(error: unknown): boolean {
  if (['EMFILE', 'ENFILE', 'ENOMEM', 'EIO'].includes(errorCode(error) ?? '')) return true;
  if (!(error instanceof Error)) return false;
  return /too many open files|cannot allocate memory/i.test(error.message) || isPassing(error.cause);
}

/** It has no types of its own; a name that the compiler can't resolve spares a declaration file. */
const nativeModule: string = 'fs-native-extensions';

/**
 * Takes the lock file `path` if nobody holds it. A file that was replaced between open and lock is not the lock any
 * more: whoever locked the new one and we would both be in. A file with a second name is replaced: what we write
 * into it would change somebody's other file.
 */
export function openKernelLock(native: NativeLocks, path: string): KernelLock | undefined {
  const fd = openLockFile(path);
  try {
    if (native.tryLock(fd) && isStillAt(fd, path)) {
      if (fstatSync(fd).nlink === 1) return held(native, fd, path);
      const replaced = replaceLockFile(native, path, readMark(fd));
      closeSync(fd);
      return replaced;
    }
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return undefined;
}

function openLockFile(path: string): number {
  const {O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK} = constants;
  const fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    if (fstatSync(fd).isFile()) return fd;
    throw new TektonError(`cannot lock ${path}: it is not a regular file`, {
      hint: 'Move it away; tekton-ai makes a new one.',
    });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Who seems to hold the lock file, and which file that is; undefined: nobody holds it at this moment. */
export function lookAtHolder(
  native: NativeLocks,
  path: string,
): {readonly file: string; readonly mark: string} | undefined {
  const fd = openLockFile(path);
  try {
    if (native.tryLock(fd)) {
      native.unlock(fd);
      return undefined;
    }
    const {dev, ino} = fstatSync(fd, {bigint: true});
    return {file: `${dev}.${ino}`, mark: readMark(fd)};
  } finally {
    closeSync(fd);
  }
}

let counter = 0;

/**
 * Puts a new lock file, locked by us, in the place of the one at `path`: whoever holds the old one has lost the lock
 * from then on. `mark` is what the old one said, so that the next holder clears up what that one left.
 */
export function replaceLockFile(native: NativeLocks, path: string, mark: string): KernelLock {
  const {O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW} = constants;
  // Named like every temporary file of ours, so that the sweep of leftovers finds it.
  const random = Math.random().toString(36).slice(2, 10) || '0';
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}-${++counter}-${random}.tmp`);
  const fd = openSync(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    native.tryLock(fd); // nobody else knows of it yet
    writeSync(fd, mark.padEnd(markBytes), 0);
    renameSync(temporary, path);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return held(native, fd, path);
}

/** Of fixed size, so that a change is one write and nothing is ever truncated. */
const markBytes = 128;

const markBuffer = Buffer.alloc(markBytes);

/** '' while nobody holds the lock, but also for a moment after somebody got it. */
export function readMark(fd: number): string {
  return markBuffer.toString('latin1', 0, readSync(fd, markBuffer, 0, markBytes, 0)).trim();
}

function held(native: NativeLocks, fd: number, path: string): KernelLock {
  let open = true;
  return {
    mark: readMark(fd),
    writeMark: mark => {
      writeSync(fd, mark.padEnd(markBytes), 0);
    },
    assertHeld: () => {
      if (!open || !isStillAt(fd, path)) throw new LockLostError(`lost the lock ${path}: its file was replaced`);
    },
    release: async () => {
      if (!open) return;
      open = false;
      // Closing alone would do, were no copy of the descriptor alive in a child that is being spawned right now.
      native.unlock(fd);
      closeSync(fd);
    },
  };
}

function isStillAt(fd: number, path: string): boolean {
  try {
    const [mine, there] = [fstatSync(fd, {bigint: true}), statSync(path, {bigint: true})];
    return mine.ino === there.ino && mine.dev === there.dev;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
