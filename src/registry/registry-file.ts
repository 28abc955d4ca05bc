/** The registry on disk: read without a lock, changed under one, healed when it is damaged. */
import {constants, closeSync, linkSync, lstatSync, openSync, readFileSync, renameSync} from 'node:fs';
import {LockBusyError} from '../api/errors.js';
import {errorCode, fileError, writeWhole} from './files.js';
import type {FileSteps} from './files.js';
import {withLock} from './locks.js';
import type {HeldLock} from './locks.js';
import {statePaths} from './paths.js';
import {parseRegistry, serializeRegistry} from './registry-text.js';
import type {LineCache, ParsedRegistry, RegistryEntry, StoredEntries, StoredEntry} from './registry-text.js';
import {sleep} from './waiting.js';

export type RegistryState = ReadonlyMap<string, RegistryEntry>;

/**
 * One change. Pure and quick, for the lock is held while it runs, and it runs again when a foreign writer came in
 * between. The state that it was given means: nothing to write.
 */
export type RegistryChange = (state: RegistryState) => RegistryState;

export interface RegistryFileOptions {
  readonly home: string;
  /** How long a change waits for the lock, in ms. Default 10,000. */
  readonly lockTimeoutMs?: number;
  /** Entries of the workers that are known to run, for a registry that is missing or damaged. */
  readonly rebuild: () => Promise<RegistryState>;
  /** Told once per healing, after the commit. */
  readonly onHealed?: (healing: {readonly damage: string; readonly movedTo: string}) => Promise<void>;
  readonly steps?: FileSteps;
}

/** A change that waits for its commit. */
interface Waiting {
  readonly change: RegistryChange;
  readonly resolve: (state: RegistryState) => void;
  readonly reject: (error: unknown) => void;
}

interface Loaded extends ParsedRegistry {
  /** undefined: there was no file, or something that can't be read stands there. */
  readonly content: Buffer | undefined;
}

export class RegistryFile {
  private readonly path: string;
  private waiting: Waiting[] = [];
  private committing = false;
  private readonly lines: LineCache = new Map();
  private last: Loaded | undefined;
  private lastState: {readonly of: StoredEntries; readonly state: RegistryState} | undefined;

  constructor(private readonly options: RegistryFileOptions) {
    this.path = statePaths(options.home).registry;
  }

  /** The entries at this moment. Takes no lock and waits for no writer. */
  async read(): Promise<RegistryState> {
    let loaded = this.load();
    // The predecessor writes in place: a file that is torn for a moment is not damaged.
    for (let attempt = 0; loaded.damage !== undefined && attempt < 3; attempt++) {
      await sleep(5);
      loaded = this.load();
    }
    if (loaded.content !== undefined && loaded.damage === undefined) return this.stateOf(loaded.entries);
    return this.stateOf(await this.withRebuilt(loaded.entries));
  }

  /**
   * Commits `change` under the registration lock. Changes that come while another commit is under way are
   * committed together, in the order they came; one that throws rejects alone.
   *
   * @throws {LockBusyError} nothing was written, the caller may retry.
   */
  update(change: RegistryChange): Promise<RegistryState> {
    const result = new Promise<RegistryState>((resolve, reject) => this.waiting.push({change, resolve, reject}));
    if (!this.committing) void this.commitAll();
    return result;
  }

  private async commitAll(): Promise<void> {
    this.committing = true;
    while (this.waiting.length > 0) {
      let batch: Waiting[] = [];
      try {
        await this.locked(async lock => {
          batch = this.waiting;
          this.waiting = [];
          await this.commit(batch, lock);
        });
      } catch (error) {
        // Before the lock was had nothing was taken from the queue, and all that wait share the fate.
        const failed = batch.length > 0 ? batch : this.waiting.splice(0);
        for (const {reject} of failed) reject(error);
      }
    }
    this.committing = false;
  }

  private locked(run: (lock: HeldLock) => Promise<void>): Promise<void> {
    const {home, lockTimeoutMs} = this.options;
    return withLock(home, 'registration', run, lockTimeoutMs === undefined ? {} : {timeoutMs: lockTimeoutMs});
  }

  /** Reads, applies, writes; from the start when a writer that takes no lock came in between. */
  private async commit(batch: readonly Waiting[], lock: HeldLock): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const before = this.load();
      const healthy = before.content !== undefined && before.damage === undefined;
      const base = healthy ? before.entries : await this.withRebuilt(before.entries);
      const {entries, settle} = this.apply(batch, base);
      const unchanged = entries === before.entries && before.damage === undefined;
      if (unchanged || (await this.write(before, entries, lock))) return settle();
      if (attempt === 20) {
        throw new LockBusyError(`cannot commit to ${this.path}: a writer that takes no lock keeps changing it`);
      }
    }
  }

  private apply(batch: readonly Waiting[], base: StoredEntries): {entries: StoredEntries; settle: () => void} {
    const before = this.stateOf(base);
    let state = before;
    const outcomes: (() => void)[] = [];
    for (const {change, resolve, reject} of batch) {
      try {
        const after = change(state);
        state = after;
        outcomes.push(() => resolve(after));
      } catch (error) {
        outcomes.push(() => reject(error));
      }
    }
    const entries = state === before ? base : this.store(base, state);
    return {entries, settle: () => outcomes.forEach(outcome => outcome())};
  }

  /** Entries that the change left alone keep their text. */
  private store(entries: StoredEntries, next: RegistryState): StoredEntries {
    const stored = new Map<string, StoredEntry>();
    for (const [aiId, entry] of next) {
      const before = entries.get(aiId);
      stored.set(aiId, before?.entry === entry ? before : {entry, text: JSON.stringify(entry)});
    }
    this.lastState = {of: stored, state: next};
    return stored;
  }

  /** False: the file is not the one that was read any more, nothing was written. */
  private async write(before: Loaded, entries: StoredEntries, lock: HeldLock): Promise<boolean> {
    const content = Buffer.from(serializeRegistry(entries));
    const {steps, onHealed} = this.options;
    let movedTo = '';
    try {
      await writeWhole(this.path, content, {
        beforeCommit: () => {
          lock.assertHeld();
          if (!sameContent(this.readContent(), before.content)) throw new OvertakenError();
          if (before.damage !== undefined) movedTo = this.setAside(before);
        },
        ...(steps && {steps}),
      });
    } catch (error) {
      if (error instanceof Error && error.cause instanceof OvertakenError) return false;
      throw error;
    }
    this.last = {content, entries, damage: undefined};
    // The change is committed, whether or not the event about the healing can be written.
    if (before.damage !== undefined) await onHealed?.({damage: before.damage, movedTo}).catch(() => undefined);
    return true;
  }

  /**
   * Keeps the damaged file for a person. A file gets a second name, so that there is a registry at every moment; a
   * folder in its place can only be moved.
   */
  private setAside(before: Loaded): string {
    const time = new Date().toISOString().replace(/[:.]/g, '-');
    const path = `${this.path}.corrupt-${time}-${process.pid}`;
    try {
      if (before.content === undefined) renameSync(this.path, path);
      else linkSync(this.path, path);
    } catch (error) {
      throw fileError(`cannot move ${this.path} aside`, error);
    }
    return path;
  }

  private async withRebuilt(entries: StoredEntries): Promise<StoredEntries> {
    const merged = new Map(entries);
    const takenPorts = new Set([...entries.values()].map(stored => stored.entry.port));
    for (const [aiId, entry] of await this.options.rebuild()) {
      if (merged.has(aiId) || takenPorts.has(entry.port)) continue;
      merged.set(aiId, {entry, text: JSON.stringify(entry)});
    }
    // The same entries mean: nothing to write, when there was no file and nobody runs.
    return merged.size === entries.size ? entries : merged;
  }

  private load(): Loaded {
    const content = this.readContent();
    if (content === undefined) return this.absent();
    if (this.last?.content !== undefined && content.equals(this.last.content)) return this.last;
    this.last = {content, ...parseRegistry(content.toString('utf8'), this.lines)};
    return this.last;
  }

  private absent(): Loaded {
    const stands = lstatSync(this.path, {throwIfNoEntry: false});
    return {content: undefined, entries: new Map(), damage: stands && 'it is not a regular file'};
  }

  /** undefined: no file, or a folder or a link in its place. Other errors are no reason to call it damaged. */
  private readContent(): Buffer | undefined {
    let fd: number;
    try {
      fd = openSync(this.path, constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      if (['ENOENT', 'ELOOP', 'EMLINK'].includes(errorCode(error) ?? '')) return undefined;
      throw fileError(`cannot read ${this.path}`, error);
    }
    try {
      return readFileSync(fd);
    } catch (error) {
      if (errorCode(error) === 'EISDIR') return undefined;
      throw fileError(`cannot read ${this.path}`, error);
    } finally {
      closeSync(fd);
    }
  }

  private stateOf(entries: StoredEntries): RegistryState {
    if (this.lastState?.of !== entries) {
      const state = new Map([...entries].map(([aiId, stored]) => [aiId, stored.entry] as const));
      this.lastState = {of: entries, state};
    }
    return this.lastState.state;
  }
}

class OvertakenError extends Error {}

function sameContent(now: Buffer | undefined, read: Buffer | undefined): boolean {
  return now === undefined || read === undefined ? now === read : now.equals(read);
}
