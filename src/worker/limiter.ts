/**
 * Bounds how many chats run at once, how many wait, and for how long. Clients take turns: among those who wait each has
 * one chat begun before any has its next, in the order in which they came; the chats of one client begin in their order.
 * When all places are taken, a client with fewer waiting chats gets the place of the newest chat of the one with the
 * most. So one client with hundreds of chats costs another a round, never its turn.
 */

/** `max` run at once, `queue` more may wait. */
export interface Limits {
  readonly max: number;
  readonly queue: number;
  /** How long a chat may wait before its call to the provider begins. Absent: 300. */
  readonly queueSeconds?: number;
}

export interface LimiterClock {
  /** ms, monotonic. */
  readonly now: () => number;
  /** @returns calls it off */
  readonly after: (ms: number, run: () => void) => () => void;
}

/** Carries a code of the protocol's error table, as the next one does. */
export class QueueFullError extends Error {
  override readonly name = 'QueueFullError';
  readonly code = 'queue_full';
  readonly retryable = true;
  /** When a place in the queue should be free, ms from now. */
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** A chat waited for longer than `queueSeconds`; nothing was sent to the provider. */
export class QueueTimeoutError extends Error {
  override readonly name = 'QueueTimeoutError';
  readonly code = 'queue_timeout';
  readonly retryable = true;
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

const defaultQueueSeconds = 300;
/** Bounds of a retry hint, ms: of one that is too short nobody gains, and after a minute much has changed. */
const shortestHintMs = 1_000;
const longestHintMs = 60_000;
/** Weight of the newest chat in the mean duration: the last half dozen count. */
const newest = 0.25;

interface Waiter {
  readonly enter: () => void;
  readonly refuse: (error: Error) => void;
}

export interface Waiting {
  /** Whose chat it is: those of one client share its turns. Absent: a client of its own. */
  readonly client?: object | undefined;
  /** Moment of the clock at which it has waited for too long. Default: `queueSeconds` from now. */
  readonly deadline?: number | undefined;
}

export class Limiter {
  #limits: Limits;
  readonly #clock: LimiterClock;
  #active = 0;
  #queued = 0;
  /** By client; whose turn is next comes first. */
  readonly #queues = new Map<object, Waiter[]>();
  /** Of the chats that ended lately, ms. */
  #meanMs: number | undefined;

  constructor(limits: Limits, clock: LimiterClock = realClock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  get active(): number {
    return this.#active;
  }

  get queued(): number {
    return this.#queued;
  }

  /** When a chat that comes now has waited for too long. */
  get deadline(): number {
    return this.#clock.now() + this.#queueSeconds * 1000;
  }

  /** When the next of those who wait should begin, ms from now, judged by how long chats took lately. */
  get retryAfterMs(): number {
    const perPlaceMs = (this.#meanMs ?? 0) / Math.max(1, this.#limits.max);
    return Math.min(longestHintMs, Math.max(shortestHintMs, Math.round(perPlaceMs)));
  }

  /** New limits count from now on; nothing that runs or waits is thrown out. */
  configure(limits: Limits): void {
    this.#limits = limits;
    this.#admit();
  }

  /** What a chat is told that has waited for too long, here or for its provider. */
  timeout(): QueueTimeoutError {
    const {max} = this.#limits;
    return new QueueTimeoutError(
      `waited ${this.#queueSeconds} s without a turn: ${max} chats run at once and ${this.#queued} are waiting; try again later`,
      this.retryAfterMs,
    );
  }

  /**
   * Waits for a place.
   *
   * @returns gives the place back; calling it again does nothing
   * @throws {QueueFullError} at once, or when a client with fewer waiting chats takes the place
   * @throws {QueueTimeoutError}
   * @throws the signal's reason
   */
  async acquire(signal: AbortSignal, waiting: Waiting = {}): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#active >= this.#limits.max) await this.#wait(signal, waiting);
    else this.#active++;
    const begin = this.#clock.now();
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#active--;
      const tookMs = this.#clock.now() - begin;
      this.#meanMs = this.#meanMs === undefined ? tookMs : this.#meanMs + (tookMs - this.#meanMs) * newest;
      this.#admit();
    };
  }

  get #queueSeconds(): number {
    return this.#limits.queueSeconds ?? defaultQueueSeconds;
  }

  #wait(signal: AbortSignal, {client = {}, deadline = this.deadline}: Waiting): Promise<void> {
    if (this.#queued >= this.#limits.queue && !this.#makeRoom(client)) throw this.#full();
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        cancelTimer();
        signal.removeEventListener('abort', leave);
      };
      const waiter: Waiter = {
        enter: () => {
          settle();
          resolve();
        },
        refuse: error => {
          settle();
          this.#forget(client, waiter);
          reject(error);
        },
      };
      const leave = (): void => waiter.refuse(signal.reason as Error);
      const cancelTimer = this.#clock.after(Math.max(0, deadline - this.#clock.now()), () =>
        waiter.refuse(this.timeout()),
      );
      signal.addEventListener('abort', leave, {once: true});
      const queue = this.#queues.get(client);
      if (queue === undefined) this.#queues.set(client, [waiter]);
      else queue.push(waiter);
      this.#queued++;
    });
  }

  /** The client with the most waiting chats gives up its newest, where it still has no fewer than `client` then. */
  #makeRoom(client: object): boolean {
    let longest: Waiter[] = [];
    for (const queue of this.#queues.values()) if (queue.length > longest.length) longest = queue;
    if (longest.length <= (this.#queues.get(client)?.length ?? 0) + 1) return false;
    longest.at(-1)?.refuse(this.#full(', most of them of this client'));
    return true;
  }

  #full(remark = ''): QueueFullError {
    const {max} = this.#limits;
    const text = `Queue full: ${max} chats are under way and ${this.#queued} are waiting${remark}; try again later`;
    return new QueueFullError(text, this.retryAfterMs);
  }

  #forget(client: object, waiter: Waiter): void {
    const queue = this.#queues.get(client) ?? [];
    queue.splice(queue.indexOf(waiter), 1);
    if (queue.length === 0) this.#queues.delete(client);
    this.#queued--;
  }

  /** Counts a place as taken before its waiter runs, so that nobody overtakes it. */
  #admit(): void {
    while (this.#active < this.#limits.max) {
      const [next] = this.#queues;
      if (next === undefined) return;
      const [client, queue] = next;
      const waiter = queue.shift();
      this.#queues.delete(client);
      if (queue.length > 0) this.#queues.set(client, queue); // behind all who wait: its next turn is theirs first
      this.#queued--;
      this.#active++;
      waiter?.enter();
    }
  }
}

const realClock: LimiterClock = {
  now: () => performance.now(),
  after: (ms, run) => {
    if (ms === Infinity) return () => undefined;
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
