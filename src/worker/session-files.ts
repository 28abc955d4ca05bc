/**
 * Conversations on disk, so that they outlive the worker: one file of JSON lines for each, `<hash of its name>.jsonl`. Each
 * exchange is appended in one write and stands for itself. Two workers of one specialist may use a file at once, for a
 * while (the one that was replaced still answers those who are connected): neither takes a lock, both see what the other
 * wrote. Why so: docs/decisions/sessions.md.
 */
import {createHash} from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import type {Stats} from 'node:fs';
import {join} from 'node:path';
import type {ChatMessage} from '../providers/provider.js';
import {TektonError} from '../api/errors.js';
import {errorCode} from '../registry/files.js';
import {openToAppend, openToRead} from '../registry/own-files.js';
import {statePaths} from '../registry/paths.js';
import {joinLines, lineOf} from './session-lines.js';
import type {StoredConversation} from './session-lines.js';

/** The state of a file. Equal: nobody has written to it since. */
export type FileVersion = Pick<Stats, 'ino' | 'size' | 'mtimeMs'>;

export interface StoredSession extends StoredConversation {
  readonly version: FileVersion;
}

/** What was said since, or all of it. */
export interface Addition {
  readonly name: string;
  readonly messages: readonly ChatMessage[];
  /** `messages` is the whole conversation, whatever stands in the file. */
  readonly whole: boolean;
  /** Unix ms. */
  readonly at: number;
}

const filePattern = /^[0-9a-f]{32}\.jsonl$/;
/** A rewrite takes milliseconds: what is older was left by a worker that was killed in it. */
const leftoverMs = 60_000;
/** Up to this a file may hold what is long forgotten. */
const compactBytes = 64 * 1024;

/** All methods throw the system's errors. A link, a pipe or a folder in the place of a file is an error, never followed. */
export class SessionFiles {
  readonly #folder: string;

  /** Nothing is made before the first write. */
  constructor(home: string, aiId: string) {
    this.#folder = statePaths(home).sessions(aiId);
  }

  /** Of the session `name`, in this folder. */
  fileOf(name: string): string {
    return `${createHash('sha256').update(name).digest('hex').slice(0, 32)}.jsonl`;
  }

  /** Files of sessions; clears away what killed workers left. */
  list(): readonly string[] {
    const names = this.#entries();
    for (const name of names.filter(one => one.endsWith('.tmp'))) {
      const stat = lstatSync(this.#path(name), {throwIfNoEntry: false});
      if (stat !== undefined && Date.now() - stat.mtimeMs > leftoverMs) this.#unlink(name);
    }
    return names.filter(name => filePattern.test(name));
  }

  /** `same`: as it was in `version`. undefined: not there, or no conversation can be read from it. */
  read(file: string, version?: FileVersion): StoredSession | 'same' | undefined {
    if (version !== undefined && isSame(this.#versionAt(file), version)) return 'same';
    const fd = openToRead(this.#path(file));
    if (fd === undefined) return undefined;
    try {
      const now = versionOf(fstatSync(fd));
      const conversation = joinLines(readFileSync(fd, 'utf8'));
      return conversation === undefined || this.fileOf(conversation.name) !== file
        ? undefined
        : {...conversation, version: now};
    } finally {
      closeSync(fd);
    }
  }

  /**
   * Writes before it returns, but not through to the disk: what is lost in a power cut is lost.
   *
   * @returns the file as it is now; undefined where somebody else has written to it since `version`
   */
  append(addition: Addition, version: FileVersion | undefined): FileVersion | undefined {
    const file = this.fileOf(addition.name);
    this.#makeFolder();
    const line = Buffer.from(lineOf(addition));
    const {before, after} = this.#append(file, line);
    const now = this.#versionAt(file);
    // Rewritten by another worker in this moment: our line may have come too late for it.
    if (now !== undefined && now.ino !== after.ino) return void this.#append(file, line);
    const alone = addition.whole || (version === undefined ? before.size === 0 : isSame(before, version));
    return alone && isSame(now, after) ? after : undefined;
  }

  /**
   * Puts the whole conversation in the place of the file, where that is `version` and large, and would be half as large:
   * what is no longer remembered need not stand there.
   *
   * @returns the file as it is now; undefined where it is not known
   */
  compact(addition: Addition, version: FileVersion): FileVersion | undefined {
    if (version.size < compactBytes) return version;
    const line = Buffer.from(lineOf(addition));
    return 2 * line.length > version.size ? version : this.#replace(this.fileOf(addition.name), line, version);
  }

  /** That it isn't there is fine. `version`: only where nobody has written to it since. @returns whether it is gone */
  remove(file: string, version?: FileVersion): boolean {
    const now = this.#versionAt(file);
    if (now !== undefined && version !== undefined && !isSame(now, version)) return false;
    if (now !== undefined) this.#unlink(file);
    return true;
  }

  /** The folder with all that is in it. @returns the files of sessions among that */
  removeAll(): readonly string[] {
    const files = this.list();
    rmSync(this.#folder, {recursive: true, force: true});
    return files;
  }

  #path(file: string): string {
    return join(this.#folder, file);
  }

  #entries(): readonly string[] {
    try {
      return readdirSync(this.#folder);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return [];
      throw error;
    }
  }

  #replace(file: string, line: Uint8Array, version: FileVersion): FileVersion | undefined {
    const old = openToRead(this.#path(file));
    if (old === undefined) return undefined;
    const draft = `${file}.${process.pid}.tmp`;
    try {
      if (!isSame(fstatSync(old), version)) return undefined;
      this.#writeNew(draft, line);
      renameSync(this.#path(draft), this.#path(file));
      // What another worker has appended to the old file since.
      const late = readFileSync(old).subarray(version.size);
      if (late.length > 0) this.#append(file, late);
      return this.#versionAt(file);
    } catch (error) {
      this.#unlink(draft);
      throw error;
    } finally {
      closeSync(old);
    }
  }

  #makeFolder(): void {
    const stat = lstatSync(this.#folder, {throwIfNoEntry: false});
    if (stat === undefined) mkdirSync(this.#folder, {recursive: true, mode: 0o700});
    else if (!stat.isDirectory()) throw new TektonError(`${this.#folder} is not a folder (links are not followed)`);
  }

  #append(file: string, data: Uint8Array): {readonly before: FileVersion; readonly after: FileVersion} {
    const {fd} = openToAppend(this.#path(file));
    try {
      const before = fstatSync(fd);
      // What follows a line that was torn must not be torn with it.
      const torn = before.size > 0 && !endsLine(fd, before.size);
      writeAll(fd, torn ? Buffer.concat([Buffer.from('\n'), data]) : data);
      const after = fstatSync(fd);
      return {before: versionOf(before), after: versionOf(after)};
    } finally {
      closeSync(fd);
    }
  }

  #writeNew(file: string, data: Uint8Array): void {
    const {O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW} = constants;
    const fd = openSync(this.#path(file), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      writeAll(fd, data);
    } finally {
      closeSync(fd);
    }
  }

  #versionAt(file: string): FileVersion | undefined {
    const stat = lstatSync(this.#path(file), {throwIfNoEntry: false});
    return stat && versionOf(stat);
  }

  #unlink(file: string): void {
    try {
      unlinkSync(this.#path(file));
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
    }
  }
}

function versionOf({ino, size, mtimeMs}: Stats): FileVersion {
  return {ino, size, mtimeMs};
}

function isSame(a: FileVersion | undefined, b: FileVersion): boolean {
  return a?.ino === b.ino && a.size === b.size && a.mtimeMs === b.mtimeMs;
}

function endsLine(fd: number, size: number): boolean {
  const last = Buffer.alloc(1);
  readSync(fd, last, 0, 1, size - 1);
  return last[0] === 0x0a;
}

function writeAll(fd: number, data: Uint8Array): void {
  for (let done = 0; done < data.length;) done += writeSync(fd, data, done);
}
