/**
 * What the worker remembers of conversations, bounded in every direction: turns and tokens of each, how long one may be
 * silent, how many there are and how much text they hold together. With `persist` they stand on disk, too
 * (session-disk.ts, loaded only then), and outlive the worker.
 *
 * One chat at a time in each session: the next one waits for its answer, so that it is part of what that one continues.
 */
import type {SessionLimits} from '../api/types.js';
import type {ChatMessage} from '../providers/provider.js';
import {Limiter} from './limiter.js';
import type {LimiterClock, Limits, Waiting} from './limiter.js';
import type {Log} from './log.js';
import type {SessionDisk} from './session-disk.js';
import {SessionMemory} from './session-memory.js';
import {goOn, newestTurns, summaryOf} from './session-turns.js';

export interface SessionsOptions {
  readonly aiId: string;
  readonly limits: SessionLimits;
  /** How many chats may wait for their turn in one session, and for how long. */
  readonly concurrency: Limits;
  readonly clock: LimiterClock;
  /** Unix ms. */
  readonly wallNow?: () => number;
  readonly log: Log;
  /** The state folder. Absent: nothing outlives the worker, whatever the limits say. */
  readonly home?: string | undefined;
}

export interface SessionSummary {
  readonly name: string;
  /** Exchanges that are remembered. */
  readonly turns: number;
  /** As estimated. */
  readonly tokens: number;
  readonly idleMs: number;
}

/** One chat's turn in a session. */
export interface Conversation {
  /** What was said before, oldest first. */
  readonly turns: readonly ChatMessage[];
  /**
   * Adds what was said now; where the client gave a `history` of its own, that stands in the place of what was said
   * before. On disk, if it is to be, when this returns. Does nothing where the session was deleted meanwhile. Never throws.
   */
  remember(exchange: readonly ChatMessage[], history?: readonly ChatMessage[]): void;
  /** Lets the next chat of the session go on. */
  close(): void;
}

/** What Node's timers can hold. */
const longestMs = 2 ** 31 - 1;

export class Sessions {
  readonly #options: SessionsOptions;
  readonly #memory = new SessionMemory();
  #limits: SessionLimits;
  #concurrency: Limits;
  /** By the name of each session in which chats are under way or wait. */
  readonly #order = new Map<string, Limiter>();
  /** The chat that is under way in a session. */
  readonly #open = new Map<string, {deleted: boolean}>();
  #disk: Promise<SessionDisk | undefined> | undefined;
  #sweep: NodeJS.Timeout | undefined;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#limits = options.limits;
    this.#concurrency = {...options.concurrency, max: 1};
  }

  /** In memory. */
  get size(): number {
    return this.#memory.size;
  }

  /** Whether they outlive the worker. */
  get persistent(): boolean {
    return this.#limits.persist && this.#options.home !== undefined;
  }

  /** For chats that begin from now on; a session that isn't used is as it was until it is. */
  configure(limits: SessionLimits, concurrency: Limits): void {
    this.#limits = limits;
    this.#concurrency = {...concurrency, max: 1};
    for (const order of this.#order.values()) order.configure(this.#concurrency);
    if (!this.persistent) this.#disk = undefined;
    else void this.load();
  }

  /** Takes over what an earlier worker left, where it was to, and removes what was silent for too long meanwhile. */
  async load(): Promise<void> {
    this.#tidy(await this.#loaded());
  }

  /**
   * Waits until no other chat is under way in the session; first come first served, but that clients take turns. An expired
   * session is a new one.
   *
   * @throws {QueueFullError} too many wait already
   * @throws {QueueTimeoutError}
   * @throws the signal's reason
   */
  async open(name: string, signal: AbortSignal, waiting: Waiting = {}): Promise<Conversation> {
    const [release, disk] = [await this.#turnIn(name, signal, waiting), await this.#loaded()];
    this.#tidy(disk);
    disk?.refresh(name);
    const chat = {deleted: false};
    this.#open.set(name, chat);
    return {
      turns: newestTurns(this.#memory.get(name)?.messages ?? [], this.#limits),
      remember: (exchange, history) => {
        if (!chat.deleted) this.#remember(disk, name, exchange, history);
      },
      close: () => {
        this.#open.delete(name);
        release();
      },
    };
  }

  /** The one used last first; without those in which nothing was answered yet. */
  async list(): Promise<readonly SessionSummary[]> {
    const disk = await this.#loaded();
    await disk?.scan();
    this.#tidy(disk);
    const now = this.#options.clock.now();
    return this.#memory
      .entries()
      .map(([name, {messages, usedAt}]) => ({
        name,
        ...summaryOf(messages),
        idleMs: now - usedAt,
      }))
      .sort((a, b) => a.idleMs - b.idleMs);
  }

  /** In memory and on disk, also where it is left from a time with `persist`. @returns whether there was one */
  async delete(name: string): Promise<boolean> {
    const disk = await this.#anyDisk();
    this.#markDeleted(name);
    const onDisk = disk?.remove(name) ?? false;
    return this.#memory.forget(name) || onDisk;
  }

  /** All of them, as `delete` does. @returns how many there were */
  async deleteAll(): Promise<number> {
    const disk = await this.#anyDisk();
    for (const name of this.#open.keys()) this.#markDeleted(name);
    const names = this.#memory.entries().map(([name]) => name);
    this.#memory.clear();
    return disk === undefined
      ? names.length
      : new Set([...names.map(name => disk.fileOf(name)), ...disk.removeAll()]).size;
  }

  #markDeleted(name: string): void {
    const chat = this.#open.get(name);
    if (chat !== undefined) chat.deleted = true;
  }

  async #turnIn(name: string, signal: AbortSignal, waiting: Waiting): Promise<() => void> {
    const order = this.#order.get(name) ?? new Limiter(this.#concurrency, this.#options.clock);
    this.#order.set(name, order);
    const leave = (): void => {
      if (order.active + order.queued === 0) this.#order.delete(name);
    };
    try {
      const release = await order.acquire(signal, waiting);
      return () => {
        release();
        leave();
      };
    } catch (error) {
      leave();
      throw error;
    }
  }

  #remember(
    disk: SessionDisk | undefined,
    name: string,
    exchange: readonly ChatMessage[],
    history: readonly ChatMessage[] | undefined,
  ): void {
    // Another worker may have gone on with it while this one's provider spoke.
    disk?.refresh(name);
    const before = this.#memory.get(name);
    const messages = newestTurns(goOn(history ?? before?.messages ?? [], exchange), this.#limits);
    const saved = (disk && before?.saved) ?? 'ahead';
    this.#memory.put(name, {messages, usedAt: this.#options.clock.now(), saved});
    disk?.save(name, exchange, {whole: history !== undefined});
    this.#tidy(disk);
  }

  /** Forgets what was silent for too long, and what is too much. */
  #tidy(disk: SessionDisk | undefined): void {
    const memory = this.#memory;
    const forget = (name: string): void => void (disk === undefined ? memory.forget(name) : disk.drop(name));
    const oldest = this.#options.clock.now() - this.#limits.idleMinutes * 60_000;
    for (const name of memory.silentSince(oldest)) if (!this.#open.has(name)) forget(name);
    for (const name of memory.surplus()) forget(name);
    this.#tidyLater();
  }

  /** Nobody may ask for a long time; what expires is gone within twice its time all the same. */
  #tidyLater(): void {
    if (this.#sweep !== undefined || this.#memory.size === 0) return;
    const sweep = async (): Promise<void> => {
      this.#sweep = undefined;
      this.#tidy(await this.#loaded());
    };
    this.#sweep = setTimeout(() => void sweep(), Math.min(this.#limits.idleMinutes * 60_000 + 1, longestMs)).unref();
  }

  /** undefined: they aren't to outlive the worker. */
  #loaded(): Promise<SessionDisk | undefined> {
    if (!this.persistent) return Promise.resolve(undefined);
    this.#disk ??= this.#openDisk().then(async disk => {
      await disk?.scan();
      return disk;
    });
    return this.#disk;
  }

  /** To remove what is left of a time when they were to. */
  #anyDisk(): Promise<SessionDisk | undefined> {
    return this.persistent ? this.#loaded() : this.#openDisk();
  }

  async #openDisk(): Promise<SessionDisk | undefined> {
    const {home, aiId, log, clock, wallNow = Date.now} = this.#options;
    if (home === undefined) return undefined;
    const {SessionDisk} = await import('./session-disk.js');
    const [limits, inUse] = [() => this.#limits, (name: string) => this.#open.has(name)];
    return new SessionDisk({home, aiId, memory: this.#memory, limits, inUse, log, now: clock.now, wallNow});
  }
}
