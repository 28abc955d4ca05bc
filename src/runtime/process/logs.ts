/** Output of workers: one file each, appended to, put aside when it has grown. */
import {closeSync, fstatSync, readSync, writeSync} from 'node:fs';
import {fileError} from '../../registry/files.js';
import {NotOurFileError, openToAppend, openToRead, renameOver, setAside} from '../../registry/own-files.js';
import type {OpenFile} from '../../registry/own-files.js';

/** A log is put aside at the next launch once it is larger than this, bytes. */
const rotateAt = 5 * 1024 * 1024;
const tailBytes = 4096;
const tailLines = 5;

export interface OpenLog {
  readonly fd: number;
  /** Where the output of this launch begins. */
  readonly offset: number;
}

/**
 * Opens a log for a new launch; the caller closes `fd`. What stands in its place and is not a file of ours is moved aside. A
 * large log that can't be put aside is appended to.
 *
 * @throws {TektonError} with the system's reason
 */
export function openLog(path: string): OpenLog {
  const log = openOwn(path);
  if (log.size <= rotateAt) return {fd: log.fd, offset: log.size};
  try {
    renameOver(path, `${path}.1`);
    const fresh = openToAppend(path);
    closeSync(log.fd);
    return {fd: fresh.fd, offset: fresh.size};
  } catch {
    return {fd: log.fd, offset: log.size};
  }
}

/**
 * The last lines of trouble that were written since `offset`: what a worker says of its good days is left out. None where the
 * log can't be read.
 */
export function tailOf(path: string, offset: number): readonly string[] {
  let fd: number | undefined;
  try {
    fd = openToRead(path);
    if (fd === undefined) return [];
    const {size} = fstatSync(fd);
    const from = Math.max(Math.min(offset, size), size - tailBytes);
    const buffer = Buffer.alloc(size - from);
    const read = readSync(fd, buffer, 0, buffer.length, from);
    const lines = buffer.toString('utf8', 0, read).split('\n');
    return lines.filter(line => line.trim() !== '' && !/^\S+Z info /.test(line)).slice(-tailLines);
  } catch {
    return [];
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function openOwn(path: string): OpenFile {
  try {
    return openToAppend(path);
  } catch (error) {
    if (!(error instanceof NotOurFileError)) throw error;
    const movedTo = setAside(path);
    const log = openToAppend(path);
    if (movedTo === undefined) return log;
    return {
      fd: log.fd,
      size: log.size + say(path, log.fd, `tekton-ai: ${error.message}; it was moved to ${movedTo}\n`),
    };
  }
}

/** Bytes written. */
function say(path: string, fd: number, line: string): number {
  try {
    return writeSync(fd, line);
  } catch (error) {
    closeSync(fd);
    throw fileError(`cannot write ${path}`, error);
  }
}
