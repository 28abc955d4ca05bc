/**
 * A change handed to whoever holds a lock: one file in `run/changes/`, which only ever grows. Each line is one party's
 * word as JSON, appended in one write, so all parties see the words in one order and the first one counts:
 *
 *     {"owner": {pid, startTime, bootId}, "changes": […]}   the requester asks
 *     {"prepared": "<commit>", "outcomes": […]}             a holder is about to commit it, under that commit's name
 *     {"done": "<commit>"}                                  that commit was made: its outcomes hold
 *     {"withdrawn": true}                                   the requester gives up; void when a commit is made that was
 *                                                           prepared before
 *     {"dropped": true}                                     a holder to the latter: no such commit was made
 *
 * A holder that dies or is frozen between the second and the third word leaves the question to the next one, who sees
 * whether the guarded file is the one that the commit names. So a change takes effect once, whoever dies.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  readdirSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import {join} from 'node:path';
import type {ProcessIdentity} from '../api/types.js';
import {errorCode, fileError} from './files.js';

/** The words of one file, in their order. */
interface Words {
  readonly owner: ProcessIdentity | undefined;
  readonly changes: readonly unknown[];
  /** By commit. Those that stand before `withdrawn`, if that was said. */
  readonly prepared: ReadonlyMap<string, readonly unknown[]>;
  readonly done: string | undefined;
  readonly withdrawn: boolean;
  readonly dropped: boolean;
}

/** What the requester learns when it looks. */
export type Answer =
  | {readonly type: 'open'}
  | {readonly type: 'done'; readonly outcomes: readonly unknown[]}
  /** It was withdrawn in time: nothing was changed, and nothing will be. */
  | {readonly type: 'withdrawn'};

/**
 * The name of a commit that wrote nothing, for nothing was to be changed. As no file tells whether it was made, its `done`
 * counts only while nobody has prepared another commit since.
 */
export const nothingWritten = 'nothing written';

export function changesFolder(run: string): string {
  return join(run, 'changes');
}

let counter = 0;

/** The requester's end. */
export class PostedRequest {
  private constructor(
    private readonly path: string,
    private readonly fd: number,
    /** Bytes that were looked at. */
    private seen: number,
  ) {}

  /** undefined: it can't be written (a full disk, say); whoever wants the change waits for the lock instead. */
  static post(
    folder: string,
    lock: string,
    owner: ProcessIdentity,
    changes: readonly unknown[],
  ): PostedRequest | undefined {
    const {O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW} = constants;
    const time = Date.now().toString(36).padStart(9, '0'); // names sort by age
    const path = join(folder, `${lock}.${time}-${process.pid}-${++counter}.json`);
    let fd: number | undefined;
    try {
      fd = openInFolder(folder, path, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW);
      return new PostedRequest(path, fd, append(fd, {owner, changes}));
    } catch {
      if (fd === undefined) return undefined;
      closeSync(fd);
      unlink(path);
      return undefined;
    }
  }

  answer(): Answer {
    const words = this.newWords();
    if (words === undefined) return {type: 'open'};
    const outcomes = words.done === undefined ? undefined : words.prepared.get(words.done);
    if (outcomes !== undefined) return {type: 'done', outcomes};
    const isOff = words.withdrawn && (words.prepared.size === 0 || words.dropped);
    return isOff ? {type: 'withdrawn'} : {type: 'open'};
  }

  /** undefined: nothing was said since the last look, or it can't be read now: it is looked at again. */
  private newWords(): Words | undefined {
    try {
      const {size} = fstatSync(this.fd);
      if (size === this.seen) return undefined;
      const words = parseWords(readAll(this.fd, size));
      this.seen = size;
      return words;
    } catch {
      return undefined;
    }
  }

  /** From now on no holder takes the change up. One that has already may still commit it: `answer` tells. */
  withdraw(): void {
    quietly(() => append(this.fd, {withdrawn: true})); // unsaid, it stays open until its outcome is called unknown
  }

  close(): void {
    quietly(() => closeSync(this.fd)); // what a disk says only now is no news to anybody
    unlink(this.path);
  }
}

/** A file that nobody has asked anything in for so long is nobody's, in ms. */
const abandonedMs = 60_000;

/** The holder's end. */
export class OpenRequest {
  private constructor(
    readonly path: string,
    private readonly fd: number,
    private size: number,
    readonly owner: ProcessIdentity,
    readonly changes: readonly unknown[],
    /** By commit, of holders before this one. */
    readonly prepared: ReadonlyMap<string, readonly unknown[]>,
    readonly state: 'open' | 'withdrawn' | 'closed',
  ) {}

  /** undefined: it is gone, still being written, or nothing that we would write. Close what you get. */
  static open(path: string): OpenRequest | undefined {
    const {O_RDWR, O_APPEND, O_NOFOLLOW, O_NONBLOCK} = constants;
    let fd: number | undefined;
    try {
      fd = openSync(path, O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK);
      const stat = fstatSync(fd);
      // A second name would make us write into somebody's other file.
      if (stat.isFile() && stat.nlink === 1) {
        const {owner, changes, prepared, done, withdrawn, dropped} = parseWords(readAll(fd, stat.size));
        const isClosed = done !== undefined || dropped || (withdrawn && prepared.size === 0);
        const state = isClosed ? 'closed' : withdrawn ? 'withdrawn' : 'open';
        if (owner !== undefined) return new OpenRequest(path, fd, stat.size, owner, changes, prepared, state);
      }
    } catch {
      // It goes on waiting for the lock by itself.
    }
    if (fd !== undefined) closeSync(fd);
    return undefined;
  }

  /** Says what `commit` will have answered. False: withdrawn, answered, or it can't be said: it must not be part of the commit. */
  prepare(commit: string, outcomes: readonly unknown[]): boolean {
    try {
      this.size += append(this.fd, {prepared: commit, outcomes});
    } catch {
      return false;
    }
    const {size} = fstatSync(this.fd);
    if (size === this.size) return true;
    this.size = size;
    const words = parseWords(readAll(this.fd, size));
    return words.done === undefined && (!words.withdrawn || words.prepared.has(commit));
  }

  /** The commit was made. That it can't be said (a full disk) is left to the next holder to say. */
  done(commit: string): void {
    quietly(() => append(this.fd, {done: commit}));
  }

  /** It was withdrawn, and what was prepared before came to nothing. */
  drop(): void {
    quietly(() => append(this.fd, {dropped: true}));
  }

  close(): void {
    quietly(() => closeSync(this.fd));
  }

  /** The requester is dead, nobody will read the answer. */
  remove(): void {
    unlink(this.path);
  }
}

/** Paths of what waits for `lock`, oldest first. */
export function requestPaths(folder: string, lock: string): readonly string[] {
  try {
    return readdirSync(folder)
      .filter(name => name.startsWith(`${lock}.`) && name.endsWith('.json'))
      .sort()
      .map(name => join(folder, name));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw fileError(`cannot read ${folder}`, error);
  }
}

/** For what is no request: half of one whose requester died, or not ours. One that is being written is young. */
export function removeIfOld(path: string): void {
  const stat = lstatSync(path, {throwIfNoEntry: false});
  if (stat?.isFile() && Date.now() - stat.mtimeMs > abandonedMs) unlink(path);
}

function openInFolder(folder: string, path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    mkdirSync(folder, {mode: 0o700});
    return openSync(path, flags, 0o600);
  }
}

/** A line that somebody left half is ended first. Returns the number of bytes. */
function append(fd: number, word: object): number {
  const data = Buffer.from(`\n${JSON.stringify(word)}\n`);
  if (writeSync(fd, data) < data.length) throw new Error('short write');
  return data.length;
}

function readAll(fd: number, size: number): string {
  const buffer = Buffer.allocUnsafe(size);
  let done = 0;
  while (done < size) {
    const count = readSync(fd, buffer, done, size - done, done);
    if (count === 0) break;
    done += count;
  }
  return buffer.toString('utf8', 0, done);
}

function parseWords(text: string): Words {
  const prepared = new Map<string, readonly unknown[]>();
  let owner: ProcessIdentity | undefined;
  let changes: readonly unknown[] = [];
  let done: string | undefined;
  let withdrawn = false;
  let dropped = false;
  let last: string | undefined;
  const end = text.lastIndexOf('\n');
  for (const line of text.slice(0, Math.max(end, 0)).split('\n')) {
    const word = parseWord(line);
    if (word === undefined) continue;
    if (isIdentity(word['owner']) && Array.isArray(word['changes']) && owner === undefined) {
      owner = word['owner'];
      changes = word['changes'];
    } else if (typeof word['prepared'] === 'string' && Array.isArray(word['outcomes'])) {
      last = word['prepared'];
      if (!withdrawn) prepared.set(last, word['outcomes']);
    } else if (typeof word['done'] === 'string') {
      const counts = prepared.has(word['done']) && (word['done'] !== nothingWritten || last === nothingWritten);
      if (counts) done ??= word['done'];
    } else if (word['withdrawn'] === true) {
      withdrawn = true;
    } else if (word['dropped'] === true) {
      dropped = true;
    }
  }
  return {owner, changes, prepared, done, withdrawn, dropped};
}

function parseWord(line: string): Record<string, unknown> | undefined {
  if (line === '') return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // torn
  }
}

function isIdentity(value: unknown): value is ProcessIdentity {
  if (typeof value !== 'object' || value === null) return false;
  const {pid, startTime, bootId} = value as Partial<Record<keyof ProcessIdentity, unknown>>; // checked in this line's end
  return typeof pid === 'number' && typeof startTime === 'string' && typeof bootId === 'string';
}

function unlink(path: string): void {
  quietly(() => unlinkSync(path)); // else the holder that comes next clears it away
}

function quietly(step: () => unknown): void {
  try {
    step();
  } catch {
    // The caller has something better to report.
  }
}
