/**
 * Opening what stands in the state folder. A link, a pipe or a folder in the place of one of our files is an accident or a
 * trick: it is neither followed nor waited for, and what it leads to is never written to.
 */
import {closeSync, constants, fchmodSync, fstatSync, lstatSync, openSync, readFileSync, renameSync} from 'node:fs';
import type {Stats} from 'node:fs';
import {TektonError} from '../api/errors.js';
import {asideName, errorCode, fileError} from './files.js';

/** What stands in the place of one of our files is not a file of ours. */
export class NotOurFileError extends TektonError {
  override readonly name: string = 'NotOurFileError';
}

export interface OpenFile {
  readonly fd: number;
  /** Bytes when it was opened. */
  readonly size: number;
}

/**
 * The text of the file `path`, or undefined where there is none.
 *
 * @throws {NotOurFileError} a link, a pipe, a socket or a folder stands there
 * @throws {TektonError} with the system's reason
 */
export function readText(path: string): string | undefined {
  const fd = openToRead(path);
  if (fd === undefined) return undefined;
  try {
    return readFileSync(fd, 'utf8');
  } catch (error) {
    throw fileError(`cannot read ${path}`, error);
  } finally {
    closeSync(fd);
  }
}

/** The same for a file that is as good as not there when it is none of ours. */
export function readOwnText(path: string): string | undefined {
  try {
    return readText(path);
  } catch (error) {
    if (error instanceof NotOurFileError) return undefined;
    throw error;
  }
}

/** A descriptor to read `path` by, or undefined where there is nothing; the caller closes it. Throws as `readText`. */
export function openToRead(path: string): number | undefined {
  const {O_RDONLY, O_NOFOLLOW, O_NONBLOCK} = constants;
  try {
    return openOwn(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).fd;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw fileError(`cannot read ${path}`, error);
  }
}

/**
 * Opens `path` to append to and to read from, made (0600) if it is not there; the caller closes `fd`. A looser mode is mended,
 * unless it is kept: that of a file that a person has chosen.
 *
 * @throws {NotOurFileError} something else stands there, or the file has a second name: another file of somebody's
 * @throws {TektonError} with the system's reason
 */
export function openToAppend(path: string, {keepMode = false}: {readonly keepMode?: boolean} = {}): OpenFile {
  const {O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK} = constants;
  try {
    const {fd, stat} = openOwn(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, {
      isOurs: isSingle,
      keepMode,
    });
    return {fd, size: stat.size};
  } catch (error) {
    throw fileError(`cannot write ${path}`, error);
  }
}

/**
 * Moves aside what stands at `path` if it is no file of ours (see `openToAppend`), so that a new one can be begun. For one
 * process at a time.
 *
 * @returns where it is now; undefined: there was nothing to move.
 */
export function setAside(path: string): string | undefined {
  const aside = asideName(path);
  try {
    const stat = lstatSync(path, {throwIfNoEntry: false});
    if (stat === undefined || (stat.isFile() && isSingle(stat))) return undefined;
    renameSync(path, aside);
    return aside;
  } catch (error) {
    throw fileError(`cannot move ${path} aside`, error);
  }
}

/** Like rename(2), but a folder in the place of `to` is moved aside. */
export function renameOver(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (lstatSync(to, {throwIfNoEntry: false})?.isDirectory() !== true) throw error;
    setAside(to);
    renameSync(from, to);
  }
}

function openOwn(
  path: string,
  flags: number,
  {
    isOurs = () => true,
    keepMode = false,
  }: {readonly isOurs?: (stat: Stats) => boolean; readonly keepMode?: boolean} = {},
): {fd: number; stat: Stats} {
  const fd = openNow(path, flags);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw notOurs(path, stat.isDirectory() ? 'a folder' : 'a pipe or a device');
    if (!isOurs(stat)) throw notOurs(path, 'a file that has another name as well (a hard link)');
    if (!keepMode && (flags & constants.O_CREAT) !== 0 && (stat.mode & 0o077) !== 0) fchmodSync(fd, 0o600);
    return {fd, stat};
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openNow(path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (error) {
    const found = {
      ELOOP: 'a symbolic link',
      EMLINK: 'a symbolic link',
      ENXIO: 'a pipe or a socket',
      EISDIR: 'a folder',
    };
    const what = found[errorCode(error) as keyof typeof found]; // undefined where it is another error
    throw what === undefined ? error : notOurs(path, what, error);
  }
}

/** One name only. A file that was unlinked meanwhile has none. */
function isSingle({nlink}: Stats): boolean {
  return nlink <= 1;
}

function notOurs(path: string, what: string, cause?: unknown): NotOurFileError {
  return new NotOurFileError(`cannot use ${path}: ${what} stands in its place`, {
    ...(cause === undefined ? {} : {cause}),
    hint: 'Move it away; tekton-ai makes a new file.',
  });
}
