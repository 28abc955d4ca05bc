/** The registry on disk: read without a lock, changed under one, healed when it is damaged. */
import {constants, closeSync, fstatSync, linkSync, lstatSync, openSync, readSync, renameSync} from 'node:fs';
import {LockBusyError} from '../api/errors.js';
import {Combiner} from './combiner.js';
import type {Prepare} from './combiner.js';
import {errorCode, fileError, writeWhole} from './files.js';
import type {FileSteps} from './files.js';
import type {HeldLock} from './locks.js';
import {statePaths} from './paths.js';
import {Draft} from './registration.js';
import {parseAction, perform, unexpected} from './registry-actions.js';
import type {RegistryAction, RegistryChange, RegistryOutcome, RegistryState} from './registry-actions.js';
import {compareRegistries, isLinewise, spliceRegistry} from './registry-splice.js';
import type {EntryChanges} from './registry-splice.js';
import {parseRegistry, serializeRegistry, storedEntry} from './registry-text.js';
import type {RegistryEntry, StoredEntry} from './registry-text.js';
import {sleep} from './waiting.js';

export type {RegistryChange, RegistryState} from './registry-actions.js';

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

interface Loaded {
  /** undefined: there was no file, or something that can't be read stands there. */
  readonly content: Buffer | undefined;
  /** What could be saved, when it is damaged. */
  readonly state: RegistryState;
  /** Why it needs healing: undefined when it is sound. */
  readonly damage: string | undefined;
  /** One entry a line, and sound: it can be spliced, and later changes of it are read alone. */
  readonly linewise: boolean;
}

export class RegistryFile {
  private readonly path: string;
  private readonly combiner: Combiner<RegistryAction, RegistryOutcome>;
  private last: Loaded | undefined;

  constructor(private readonly options: RegistryFileOptions) {
    const {home, lockTimeoutMs} = options;
    this.path = statePaths(home).registry;
    this.combiner = new Combiner({
      home,
      lock: 'registration',
      ...(lockTimeoutMs === undefined ? {} : {timeoutMs: lockTimeoutMs}),
      file: this.path,
      parse: parseAction,
      isData: action => action.type !== 'apply',
      commit: (actions, lock, prepare) => this.commit(actions, lock, prepare),
    });
  }

  /** The entries at this moment. Takes no lock and waits for no writer. */
  async read(): Promise<RegistryState> {
    let loaded = this.load();
    // The predecessor writes in place: a file that is torn for a moment is not damaged.
    for (let attempt = 0; loaded.damage !== undefined && attempt < 3; attempt++) {
      await sleep(5);
      loaded = this.load();
    }
    if (loaded.content !== undefined && loaded.damage === undefined) return loaded.state;
    return this.withRebuilt(loaded.state);
  }

  /**
   * Commits `action` under the registration lock. What comes while another commit is under way, in this process or
   * another, is committed together, in the order it came; an action that can't be done stops no other.
   *
   * @throws {LockBusyError} nothing was written, the caller may retry.
   * @throws {OutcomeUnknownError} it may have been written.
   */
  act(action: RegistryAction): Promise<RegistryOutcome> {
    return this.combiner.submit(action);
  }

  /** `act` for a change that is code: it waits for the lock, for no other process can make it. Throws what `change` throws. */
  async update(change: RegistryChange): Promise<RegistryState> {
    const outcome = await this.act({type: 'apply', change});
    if (outcome.type === 'failed') throw outcome.error;
    if (outcome.type !== 'applied') throw unexpected(outcome);
    return outcome.state;
  }

  /** Reads, applies, writes; from the start when a writer that takes no lock came in between. */
  private async commit(
    actions: readonly RegistryAction[],
    lock: HeldLock,
    prepare: Prepare<RegistryOutcome>,
  ): Promise<readonly RegistryOutcome[]> {
    for (let attempt = 1; ; attempt++) {
      const before = this.load();
      const healthy = before.content !== undefined && before.damage === undefined;
      const base = healthy ? before.state : await this.withRebuilt(before.state);
      const draft = new Draft(base);
      const outcomes = actions.map(action => perform(draft, action));
      const state = draft.state;
      const unchanged = state === before.state && before.damage === undefined;
      const ready = (temporary: string): void => prepare(temporary, outcomes);
      if (unchanged || (await this.write(before, state, lock, ready))) return outcomes;
      if (attempt === 20) {
        throw new LockBusyError(`cannot commit to ${this.path}: a writer that takes no lock keeps changing it`);
      }
    }
  }

  /** Entries that the change left alone keep their text. */
  private serialize({content, linewise, state}: Loaded, next: RegistryState): Buffer {
    if (content !== undefined && linewise) {
      const changes = changesBetween(state, next);
      const isIn = (aiId: string): boolean => state.has(aiId);
      const spliced = spliceRegistry(content, isIn, changes);
      if (spliced !== undefined) return spliced;
    }
    const known = content === undefined ? undefined : parseRegistry(content.toString('utf8')).entries;
    const stored = new Map<string, StoredEntry>();
    for (const [aiId, entry] of next) {
      const before = state.get(aiId) === entry ? known?.get(aiId) : undefined;
      stored.set(aiId, before ?? storedEntry(aiId, entry));
    }
    return Buffer.from(serializeRegistry(stored));
  }

  /** False: the file is not the one that was read any more, nothing was written. */
  private async write(
    before: Loaded,
    state: RegistryState,
    lock: HeldLock,
    ready: (temporary: string) => void,
  ): Promise<boolean> {
    const content = this.serialize(before, state);
    const {steps, onHealed} = this.options;
    let movedTo = '';
    try {
      await writeWhole(this.path, content, {
        beforeCommit: temporary => {
          ready(temporary);
          if (!sameContent(this.readContent(), before.content)) throw new OvertakenError();
          lock.assertHeld();
          if (before.damage !== undefined) movedTo = this.setAside();
        },
        ...(steps && {steps}),
      });
    } catch (error) {
      if (error instanceof Error && error.cause instanceof OvertakenError) return false;
      throw error;
    }
    this.last = {content, state, damage: undefined, linewise: isLinewise(content)};
    // The change is committed, whether or not the event about the healing can be written.
    if (before.damage !== undefined) await onHealed?.({damage: before.damage, movedTo}).catch(() => undefined);
    return true;
  }

  /**
   * Keeps the damaged file for a person. A file gets a second name, so that there is a registry at every moment; a
   * folder in its place can only be moved.
   */
  private setAside(): string {
    const time = new Date().toISOString().replace(/[:.]/g, '-');
    const path = `${this.path}.corrupt-${time}-${process.pid}`;
    try {
      // The slash makes sure that it is a folder at this moment: a file would be a good registry that came meanwhile.
      if (lstatSync(this.path).isDirectory()) renameSync(`${this.path}/`, path);
      else linkSync(this.path, path);
    } catch (error) {
      throw fileError(`cannot move ${this.path} aside`, error);
    }
    return path;
  }

  /** The same state means: nothing to write, when there was no file and nobody runs. */
  private async withRebuilt(state: RegistryState): Promise<RegistryState> {
    const draft = new Draft(state);
    const takenPorts = new Set([...state.values()].map(({port}) => port));
    for (const [aiId, entry] of await this.options.rebuild()) {
      if (!state.has(aiId) && !takenPorts.has(entry.port)) draft.set(aiId, entry);
    }
    return draft.state;
  }

  private load(): Loaded {
    const content = this.readContent();
    if (content === undefined) return this.absent();
    const {last} = this;
    if (last?.content !== undefined && content.equals(last.content)) return last;
    const own = Buffer.from(content);
    this.last = {content: own, ...(parseChanges(last, own) ?? parseWhole(own))};
    return this.last;
  }

  private absent(): Loaded {
    const damage = this.isThere() ? 'it is not a regular file' : undefined;
    return {content: undefined, state: new Map(), damage, linewise: false};
  }

  private isThere(): boolean {
    try {
      return lstatSync(this.path, {throwIfNoEntry: false}) !== undefined;
    } catch (error) {
      throw fileError(`cannot read ${this.path}`, error);
    }
  }

  /**
   * undefined: no file, or a folder or a link in its place. Other errors are no reason to call it damaged. What it
   * answers is good until the next call.
   */
  private readContent(): Buffer | undefined {
    let fd: number;
    try {
      fd = openSync(this.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (['ENOENT', 'ELOOP', 'EMLINK', 'ENXIO'].includes(errorCode(error) ?? '')) return undefined;
      throw fileError(`cannot read ${this.path}`, error);
    }
    try {
      return readAll(fd);
    } catch (error) {
      if (errorCode(error) === 'EISDIR') return undefined;
      throw fileError(`cannot read ${this.path}`, error);
    } finally {
      closeSync(fd);
    }
  }
}

class OvertakenError extends Error {}

/** What was parsed before needn't be again. */
function parseChanges(last: Loaded | undefined, now: Buffer): Omit<Loaded, 'content'> | undefined {
  if (last?.content === undefined || !last.linewise) return undefined;
  const changes = compareRegistries(last.content, now, last.state);
  if (changes === undefined) return undefined;
  const draft = new Draft(last.state);
  for (const [aiId, entry] of changes) {
    if (entry === undefined) draft.delete(aiId);
    else draft.set(aiId, entry);
  }
  return {state: draft.state, damage: undefined, linewise: true};
}

function parseWhole(content: Buffer): Omit<Loaded, 'content'> {
  const {entries, damage, linewise} = parseRegistry(content.toString('utf8'));
  return {state: new Map([...entries].map(([aiId, {entry}]) => [aiId, entry])), damage, linewise};
}

function changesBetween(before: RegistryState, after: RegistryState): EntryChanges {
  const changes = new Map<string, RegistryEntry | undefined>();
  for (const [aiId, entry] of after) if (before.get(aiId) !== entry) changes.set(aiId, entry);
  for (const aiId of before.keys()) if (!after.has(aiId)) changes.set(aiId, undefined);
  return changes;
}

/** Read into again and again: a registry of 5,000 entries would cost the garbage collector megabytes at each look. */
let scratch: Buffer = Buffer.allocUnsafe(64 << 10);

function readAll(fd: number): Buffer {
  const {size} = fstatSync(fd);
  let length = 0;
  for (;;) {
    // One byte more than expected, to see that there is no more.
    if (scratch.length <= Math.max(size, length)) scratch = grown(scratch, 2 * Math.max(size, length) + 1);
    const count = readSync(fd, scratch, length, scratch.length - length, length);
    if (count === 0) return scratch.subarray(0, length);
    length += count;
  }
}

function grown(buffer: Buffer, length: number): Buffer {
  const larger = Buffer.allocUnsafeSlow(length);
  buffer.copy(larger);
  return larger;
}

function sameContent(now: Buffer | undefined, read: Buffer | undefined): boolean {
  return now === undefined || read === undefined ? now === read : now.equals(read);
}
