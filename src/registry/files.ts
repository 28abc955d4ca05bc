/** Files that are always whole: the old content or the new, whatever happens in between. */
import {
  closeSync,
  constants,
  fsync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import {rename} from 'node:fs/promises';
import {basename, dirname, join} from 'node:path';
import {TektonError} from '../api/errors.js';

/**
 * The steps that a write consists of. Injected, so that tests can fail or stop at each of them. The real ones are
 * synchronous where the kernel only touches memory, and asynchronous where it waits for the disk.
 */
export interface FileSteps {
  readonly open: (path: string, flags: number, mode: number) => number | Promise<number>;
  /** Writes all of `data`. */
  readonly write: (fd: number, data: Uint8Array) => void | Promise<void>;
  readonly sync: (fd: number) => void | Promise<void>;
  readonly close: (fd: number) => void | Promise<void>;
  /** `isSynced`: what is renamed is on disk already. */
  readonly rename: (from: string, to: string, isSynced?: boolean) => void | Promise<void>;
  readonly link: (from: string, to: string) => void | Promise<void>;
  readonly unlink: (path: string) => void | Promise<void>;
  readonly list: (folder: string) => readonly string[] | Promise<readonly string[]>;
  readonly modifiedMs: (path: string) => number | Promise<number>;
}

export const realSteps: FileSteps = {
  open: openSync,
  write: (fd, data) => {
    for (let done = 0; done < data.length;) done += writeSync(fd, data, done);
  },
  sync: fd =>
    new Promise((resolve, reject) => {
      fsync(fd, error => (error === null ? resolve() : reject(error)));
    }),
  close: closeSync,
  // Replacing a file makes ext4 write the new one's data out first, unless that was done: milliseconds that the event
  // loop has better uses for.
  rename: (from, to, isSynced) => (isSynced ? renameSync(from, to) : rename(from, to)),
  link: linkSync,
  unlink: unlinkSync,
  list: folder => readdirSync(folder),
  modifiedMs: path => statSync(path).mtimeMs,
};

export interface WriteOptions {
  /**
   * false: no fsync. For files whose content means nothing after the machine has crashed (launch records, port
   * reservations, status): a crash of a process still leaves the old or the new content, for the kernel lives on.
   * Default: true.
   */
  readonly durable?: boolean;
  /** Called when the new content is on disk under its temporary name, right before the rename: throw to call it off. */
  readonly beforeCommit?: (temporary: string) => void | Promise<void>;
  readonly steps?: FileSteps;
}

/**
 * Replaces the file `path` (mode 0600) by `content`: written to a temporary name in the same folder, synced,
 * renamed, the folder synced. A reader sees the old file or the new one. A link at `path` is replaced, never followed; a
 * folder is moved aside.
 *
 * @throws {TektonError} naming the path and the system's reason; `path` is unchanged then, unless only the last
 * sync of the folder failed: then the new content is there, but might not survive a power cut.
 */
export async function writeWhole(
  path: string,
  content: string | Uint8Array,
  options: WriteOptions = {},
): Promise<void> {
  const {durable = true, beforeCommit, steps = realSteps} = options;
  const temporary = temporaryName(path);
  const data = typeof content === 'string' ? Buffer.from(content) : content;
  try {
    await writeTemporary(temporary, data, durable, steps);
    try {
      await beforeCommit?.(temporary);
      await replace(temporary, path, durable, steps);
    } catch (error) {
      await quietly(() => steps.unlink(temporary));
      throw error;
    }
    if (durable) await syncFolder(dirname(path), steps);
  } catch (error) {
    throw fileError(`cannot write ${path}`, error);
  }
  await sweepAtTimes(dirname(path), steps);
}

/** Removes `path`; that it was not there is success too. A folder in its place is moved aside. */
export async function removeFile(path: string, steps: FileSteps = realSteps): Promise<void> {
  try {
    await steps.unlink(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    if (!isFolder(path)) throw fileError(`cannot remove ${path}`, error);
    await moveAside(path, steps);
  }
}

async function replace(temporary: string, path: string, isSynced: boolean, steps: FileSteps): Promise<void> {
  try {
    await steps.rename(temporary, path, isSynced);
  } catch (error) {
    if (!isFolder(path)) throw error;
    await moveAside(path, steps);
    await steps.rename(temporary, path);
  }
}

async function moveAside(path: string, steps: FileSteps): Promise<void> {
  try {
    await steps.rename(path, asideName(path));
  } catch (error) {
    throw fileError(`cannot move ${path} aside`, error);
  }
}

function isFolder(path: string): boolean {
  return lstatSync(path, {throwIfNoEntry: false})?.isDirectory() ?? false;
}

/** Under this name somebody may look at what stood at `path` and was not ours. */
export function asideName(path: string): string {
  return `${path}.aside-${new Date().toISOString().replace(/[:.]/g, '-')}-${process.pid}`;
}

let counter = 0;
const temporaryPattern = /^\..+\.(\d+)-\d+-[0-9a-z]+\.tmp$/;

/** The pid in the name tells who is to finish it. */
function temporaryName(path: string): string {
  const random = Math.random().toString(36).slice(2, 10);
  return join(dirname(path), `.${basename(path)}.${process.pid}-${++counter}-${random || '0'}.tmp`);
}

async function writeTemporary(path: string, data: Uint8Array, durable: boolean, steps: FileSteps): Promise<void> {
  const {O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW} = constants;
  const fd = await steps.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    try {
      await steps.write(fd, data);
      if (durable) await steps.sync(fd);
    } finally {
      await steps.close(fd);
    }
  } catch (error) {
    await quietly(() => steps.unlink(path));
    throw error;
  }
}

async function syncFolder(folder: string, steps: FileSteps): Promise<void> {
  const fd = await steps.open(folder, constants.O_RDONLY | constants.O_DIRECTORY, 0);
  try {
    await steps.sync(fd);
  } finally {
    await steps.close(fd);
  }
}

/** What is younger may still be somebody's, ms. */
const leftAfterMs = 60_000;
/** By the monotonic clock, ms. */
const sweptAt = new Map<string, number>();

/**
 * The first write to a folder, and one a minute from then on, also clears it of what dead writers left: they may have died
 * a moment ago, and this process may live for months. A failure of that harms nobody.
 */
async function sweepAtTimes(folder: string, steps: FileSteps): Promise<void> {
  const now = performance.now();
  if (now - (sweptAt.get(folder) ?? -Infinity) < leftAfterMs) return;
  sweptAt.set(folder, now);
  await quietly(() => sweepLeftovers(folder, {steps}));
}

/** Removes the temporary files in `folder` that are older than a minute and whose writer is dead. */
export async function sweepLeftovers(
  folder: string,
  {steps = realSteps, now = Date.now()}: {readonly steps?: FileSteps; readonly now?: number} = {},
): Promise<void> {
  for (const name of await steps.list(folder)) {
    const pid = Number(temporaryPattern.exec(name)?.[1] ?? NaN);
    if (Number.isNaN(pid)) continue;
    const path = join(folder, name);
    await quietly(async () => {
      const ageMs = now - (await steps.modifiedMs(path));
      // A pid that was reused looks like a living writer; nobody takes an hour for a write.
      const abandoned = ageMs > leftAfterMs && (!isAlive(pid) || ageMs > 3_600_000);
      if (abandoned) await steps.unlink(path);
    });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) !== 'ESRCH';
  }
}

async function quietly(step: () => void | Promise<void>): Promise<void> {
  try {
    await step();
  } catch {
    // The caller has something better to report.
  }
}

/** `ENOENT` and the like. Asks for the field alone, for errors may come from another realm (a worker's vm, Jest). */
export function errorCode(error: unknown): string | undefined {
  const code: unknown = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

const notOurs = 'The state folder must belong to the user who runs tekton-ai; TEKTON_AI_HOME names another one.';

const systemReasons: Readonly<Record<string, {readonly text: string; readonly hint?: string}>> = {
  EACCES: {text: 'permission denied', hint: notOurs},
  EPERM: {text: 'operation not permitted', hint: notOurs},
  EROFS: {text: 'the file system is read-only', hint: 'Set TEKTON_AI_HOME to a folder that can be written to.'},
  ENOSPC: {text: 'no space left on the device', hint: 'Free some space; running workers are not affected.'},
  EDQUOT: {text: 'the disk quota is used up', hint: 'Free some space; running workers are not affected.'},
  EMFILE: {text: 'too many open files in this process'},
  ENFILE: {text: 'too many open files on this machine'},
  EIO: {text: 'the disk reported an error (EIO)'},
  ENOTDIR: {text: 'a part of the path is not a folder'},
  EISDIR: {text: 'a folder stands in its place'},
  ELOOP: {text: 'a symbolic link stands in its place'},
  ENOENT: {text: 'no such file or folder'},
  ENOLCK: {text: 'the system has no locks available'},
};

/** The error of a file operation as people read it. What is a TektonError already passes unchanged. */
export function fileError(tried: string, error: unknown): TektonError {
  if (error instanceof TektonError) return error;
  const known = systemReasons[errorCode(error) ?? ''];
  if (known === undefined) return new TektonError(tried, {cause: error});
  const options = {cause: error, saysCause: true, ...(known.hint !== undefined && {hint: known.hint})};
  return new TektonError(`${tried}: ${known.text}`, options);
}
