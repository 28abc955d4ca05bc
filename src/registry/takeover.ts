/** Takes a lock away from a holder that doesn't move: stopped (SIGSTOP, Ctrl-Z, a debugger), suspended or hung. */
import {readdirSync, unlinkSync} from 'node:fs';
import {basename, dirname, join} from 'node:path';
import {errorCode, sweepLeftovers} from './files.js';
import {isStale, parseMark} from './folder-lock.js';
import {lookAtHolder, openKernelLock, replaceLockFile} from './kernel-lock.js';
import type {KernelLock, NativeLocks} from './kernel-lock.js';
import {processRow} from './processes.js';

export interface Guarded {
  /** The kernel lock's file. */
  readonly lockFile: string;
  /** The path of the proper-lockfile lock inside it. */
  readonly seedPath: string;
  /** The file that is only replaced under this lock. */
  readonly file: string;
}

/** One look at the holder; the next one tells whether it moved. */
export interface Look {
  readonly file: string;
  readonly mark: string;
  /** performance.now() of the first look that found it so. */
  readonly sinceMs: number;
}

/** How long a contender waits before it looks at the holder, in ms, and how long a holder that nobody knows may last. */
export const patienceMs = 500;
const unknownMs = 1_000;

/** undefined: nobody holds the lock. */
export function lookAgain(native: NativeLocks, guarded: Guarded, before: Look | undefined): Look | undefined {
  const seen = lookAtHolder(native, guarded.lockFile);
  if (seen === undefined) return undefined;
  if (before !== undefined && before.file === seen.file && before.mark === seen.mark) return before;
  return {...seen, sinceMs: performance.now()};
}

/**
 * Whether to pass the holder that `look` found. Passing is safe whoever it is (see `passHolder`), so being wrong costs
 * it a retry, nothing more.
 */
export async function isStuck(look: Look, guarded: Guarded): Promise<boolean> {
  const mark = parseMark(look.mark);
  const row = mark === undefined ? undefined : await processRow(mark.pid);
  const lastedMs = performance.now() - look.sinceMs;
  // Frozen in the few instructions between lock and mark: nobody knows who it is.
  if (mark === undefined || row === undefined || row.startTime !== mark.startTime) return lastedMs > unknownMs;
  return row.state.startsWith('T') || row.state.startsWith('t') || isStale(guarded.seedPath);
}

/**
 * Takes the lock from the holder that `look` found, in an order that leaves it no way to commit (the argument stands in
 * docs/decisions/locks.md): first a new lock file, so that its `assertHeld` fails from then on; then its temporary
 * files are removed, so that a rename for which it has asserted already finds nothing; only then may the caller read.
 *
 * undefined: the holder moved, or somebody else is passing it.
 */
export async function passHolder(native: NativeLocks, guarded: Guarded, look: Look): Promise<KernelLock | undefined> {
  const agreement = openKernelLock(native, `${guarded.lockFile}.takeover`);
  // Agreeing spares work, safety doesn't hang on it: one that is frozen right here must not stop everybody else.
  if (agreement === undefined && performance.now() - look.sinceMs < 3 * patienceMs) return undefined;
  try {
    const now = lookAgain(native, guarded, look);
    if (now !== look) return undefined;
    const lock = replaceLockFile(native, guarded.lockFile, look.mark);
    try {
      removeTemporaries(guarded.file);
      await sweepLeftovers(dirname(guarded.lockFile));
    } catch (error) {
      await lock.release();
      throw error;
    }
    return lock;
  } finally {
    await agreement?.release();
  }
}

/** Those of other processes: in ours the lock has one holder at a time, and that is the caller. */
function removeTemporaries(file: string): void {
  const prefix = `.${basename(file)}.`;
  for (const name of readdirSync(dirname(file))) {
    if (!name.startsWith(prefix) || !name.endsWith('.tmp')) continue;
    if (name.startsWith(`${prefix}${process.pid}-`)) continue;
    try {
      unlinkSync(join(dirname(file), name));
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error; // it was renamed before we came: committed before we read
    }
  }
}
