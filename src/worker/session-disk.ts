/**
 * Keeps the conversations in memory and those on disk in step. What stands on disk counts: another worker of the same
 * specialist may have gone on with it, or somebody may have removed it. A disk that fails costs nobody an answer: what
 * could not be written is written with the next exchange.
 */
import {describeError} from '../api/errors.js';
import type {SessionLimits} from '../api/types.js';
import type {ChatMessage} from '../providers/provider.js';
import type {Log} from './log.js';
import {SessionFiles} from './session-files.js';
import type {StoredSession} from './session-files.js';
import type {SessionMemory} from './session-memory.js';
import {newestTurns} from './session-turns.js';

export interface SessionDiskOptions {
  /** The state folder. */
  readonly home: string;
  readonly aiId: string;
  readonly memory: SessionMemory;
  readonly limits: () => SessionLimits;
  /** A chat is under way in it. */
  readonly inUse: (name: string) => boolean;
  readonly log: Log;
  /** ms, monotonic, as in memory. */
  readonly now: () => number;
  /** Unix ms, as in the files: the other clock begins anew with each worker. */
  readonly wallNow: () => number;
}

/** Read in one turn of the event loop. */
const filesAtOnce = 20;

/** No method throws. */
export class SessionDisk {
  readonly #options: SessionDiskOptions;
  readonly #files: SessionFiles;
  #failing = false;

  constructor(options: SessionDiskOptions) {
    this.#options = options;
    this.#files = new SessionFiles(options.home, options.aiId);
  }

  /** Takes over what stands on disk; what was silent for too long is removed there. */
  async scan(): Promise<void> {
    const {memory} = this.#options;
    const files = this.#files;
    const known = new Map(memory.entries().map(([name, {saved}]) => [files.fileOf(name), saved]));
    const found = this.#attempt(() => files.list()) ?? [];
    for (const [n, file] of found.entries()) {
      if (n % filesAtOnce === filesAtOnce - 1) await new Promise(resolve => setImmediate(resolve));
      const saved = known.get(file);
      this.#attempt(() => {
        const stored = files.read(file, typeof saved === 'object' ? saved : undefined);
        if (stored !== undefined && stored !== 'same') this.#take(stored);
      });
    }
    for (const [name] of memory.entries()) this.refresh(name);
  }

  /** The session as it stands on disk, where memory is not ahead. */
  refresh(name: string): void {
    const {memory} = this.#options;
    const saved = memory.get(name)?.saved;
    if (saved === 'ahead') return;
    this.#attempt(() => {
      const stored = this.#files.read(this.#files.fileOf(name), saved === 'behind' ? undefined : saved);
      if (stored === undefined) memory.forget(name);
      else if (stored !== 'same') this.#take(stored);
    });
  }

  /** Writes down what has just been put to memory: `exchange` is the end of it, or all of it. */
  save(name: string, exchange: readonly ChatMessage[], {whole}: {readonly whole: boolean}): void {
    const {memory, wallNow} = this.#options;
    const session = memory.get(name);
    if (session === undefined) return;
    const {messages, saved} = session;
    const all = {name, messages, whole: true, at: wallNow()};
    const addition = whole || saved === 'ahead' ? all : {...all, messages: exchange, whole: false};
    memory.mark(name, 'ahead');
    this.#attempt(() => {
      const version = this.#files.append(addition, typeof saved === 'object' ? saved : undefined);
      memory.mark(name, version ?? 'behind');
      this.#recovered();
      if (version !== undefined) memory.mark(name, this.#files.compact(all, version) ?? 'behind');
    });
  }

  /** Forgets it in memory and on disk, unless another worker has gone on with it. */
  drop(name: string): void {
    const {memory} = this.#options;
    const saved = memory.get(name)?.saved;
    if (saved === 'behind') return this.refresh(name);
    const removed = this.#attempt(() =>
      this.#files.remove(this.#files.fileOf(name), typeof saved === 'object' ? saved : undefined),
    );
    if (removed === false) this.refresh(name);
    else memory.forget(name);
  }

  /** @returns whether there was one on disk */
  remove(name: string): boolean {
    const file = this.#files.fileOf(name);
    const there = this.#attempt(() => this.#files.list().includes(file)) ?? false;
    this.#attempt(() => this.#files.remove(file));
    return there;
  }

  /** @returns the files that there were */
  removeAll(): readonly string[] {
    return this.#attempt(() => this.#files.removeAll()) ?? [];
  }

  /** Of the session `name`: no two have the same. */
  fileOf(name: string): string {
    return this.#files.fileOf(name);
  }

  #take(stored: StoredSession): void {
    const {name, messages, at, version} = stored;
    const {memory, limits, inUse, now, wallNow} = this.#options;
    const before = memory.get(name);
    if (before?.saved === 'ahead') return;
    const idleMs = Math.max(0, wallNow() - at);
    if (idleMs > limits().idleMinutes * 60_000 && !inUse(name)) {
      memory.forget(name);
      this.#files.remove(this.#files.fileOf(name), version);
      return;
    }
    memory.put(name, {messages: newestTurns(messages, limits()), usedAt: now() - idleMs, saved: version});
  }

  /** Says once that the disk fails, and once that it works again. */
  #attempt<T>(act: () => T): T | undefined {
    try {
      return act();
    } catch (error) {
      if (!this.#failing) this.#options.log('error', 'sessions are kept in memory only', {error: describeError(error)});
      this.#failing = true;
      return undefined;
    }
  }

  #recovered(): void {
    if (this.#failing) this.#options.log('info', 'sessions are kept on disk again');
    this.#failing = false;
  }
}
