/** Output of workers: one file each, appended to, put aside when it has grown. */
import {closeSync, fstatSync, openSync, readSync, renameSync} from 'node:fs';
import {constants} from 'node:fs';

/** A log is put aside at the next launch once it is larger than this, bytes. */
const rotateAt = 5 * 1024 * 1024;
const tailBytes = 4096;
const tailLines = 5;

export interface OpenLog {
  readonly fd: number;
  /** Where the output of this launch begins. */
  readonly offset: number;
}

/** Opens a log for a new launch; the caller closes `fd`. A link in its place is not followed. */
export function openLog(path: string): OpenLog {
  const fd = open(path);
  const {size} = fstatSync(fd);
  if (size <= rotateAt) return {fd, offset: size};
  closeSync(fd);
  renameSync(path, `${path}.1`);
  return {fd: open(path), offset: 0};
}

/** The last lines of trouble that were written since `offset`: what a worker says of its good days is left out. */
export function tailOf(path: string, offset: number): readonly string[] {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return [];
  }
  try {
    const {size} = fstatSync(fd);
    const from = Math.max(Math.min(offset, size), size - tailBytes);
    const buffer = Buffer.alloc(size - from);
    const read = readSync(fd, buffer, 0, buffer.length, from);
    const lines = buffer.toString('utf8', 0, read).split('\n');
    return lines.filter(line => line.trim() !== '' && !/^\S+Z info /.test(line)).slice(-tailLines);
  } finally {
    closeSync(fd);
  }
}

function open(path: string): number {
  return openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
}
