/** Locks that the kernel releases when their holder dies, on files that are never deleted. */
import {closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, statSync, writeSync} from 'node:fs';
import {LockBusyError} from '../api/errors.js';
import {errorCode} from './files.js';
import type {HeldLock} from './locks.js';

/** The part of fs-native-extensions that we use. */
export interface NativeLocks {
  /** False: somebody else holds it. Open-file-description locks on Linux, flock(2) on macOS. */
  tryLock(fd: number): boolean;
  unlock(fd: number): void;
}

export interface KernelLock extends HeldLock {
  /** What the last holder left in the lock file: not empty when it died while it held a proper-lockfile folder. */
  readonly mark: string;
  /** Tells whoever comes next, should this process die now. Synchronous and without fsync: only a crash of the process matters. */
  writeMark(mark: string): void;
}

let loading: Promise<NativeLocks | undefined> | undefined;

/**
 * The native module, loaded at the first lock; undefined where it has no prebuilt binary (musl): then
 * proper-lockfile stands alone, and that is said once on standard error.
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
  } catch {
    process.emitWarning(
      'no kernel file locks on this system: after a crash of tekton-ai the next command may wait up to 10 seconds',
      'TektonWarning',
    );
    return undefined;
  }
}

/** It has no types of its own; a name that the compiler can't resolve spares a declaration file. */
const nativeModule: string = 'fs-native-extensions';

/**
 * Takes the lock file `path` if nobody holds it. A file that was replaced between open and lock is not the lock any
 * more: whoever locked the new one and we would both be in.
 */
export function openKernelLock(native: NativeLocks, path: string): KernelLock | undefined {
  const {O_RDWR, O_CREAT, O_NOFOLLOW} = constants;
  const fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    if (native.tryLock(fd) && isStillAt(fd, path)) return held(native, fd, path);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return undefined;
}

function held(native: NativeLocks, fd: number, path: string): KernelLock {
  const buffer = Buffer.alloc(200);
  let open = true;
  return {
    mark: buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, 0)),
    writeMark: mark => {
      ftruncateSync(fd, 0);
      if (mark !== '') writeSync(fd, mark, 0);
    },
    assertHeld: () => {
      if (!open || !isStillAt(fd, path)) throw new LockBusyError(`lost the lock ${path}: its file was replaced`);
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
