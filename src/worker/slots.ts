/**
 * How many calls a provider's server gets at once (`maxConcurrency`), over all specialists of the state folder. The
 * chats of this worker stand in one line; its head stands in the line of all workers (registry/turns.ts), so that a
 * specialist with many waiting chats gets no more turns than one with a single chat. docs/decisions/provider-slots.md.
 */
import type {ResolvedProvider} from '../api/types.js';
import {Limiter} from './limiter.js';

/** Waits for a turn among the workers. @returns gives the slot back */
export type TakeTurn = (signal: AbortSignal) => Promise<() => void>;

export interface SlotsOptions {
  readonly aiId: string;
  /** Absent: the limit holds within this process alone. */
  readonly home?: string | undefined;
  /** ms, monotonic. */
  readonly now: () => number;
  /** What a chat is told whose deadline is over. */
  readonly timeout: () => Error;
}

/** The line can't be joined, for the state folder can't be written: the limit that was declared could not be kept. */
export class SlotsError extends Error {
  override readonly name = 'SlotsError';
  readonly code = 'slots_unavailable';
  readonly retryable = true;
}

export interface SlotWait {
  readonly signal: AbortSignal;
  /** Moment of the clock at which the wait has been too long. */
  readonly deadline: number;
}

const nothing = (): void => undefined;

export class Slots {
  readonly #options: SlotsOptions;
  readonly #lines = new Map<string, Line>();

  constructor(options: SlotsOptions) {
    this.#options = options;
  }

  /** Chats that wait for a slot. */
  get waiting(): number {
    return [...this.#lines.values()].reduce((sum, line) => sum + line.waiting, 0);
  }

  /**
   * Resolves at once for a provider without a limit.
   *
   * @returns gives the slot back; calling it again does nothing
   * @throws what `timeout` gives, after the deadline
   * @throws {SlotsError}
   * @throws the signal's reason
   */
  async acquire(provider: ResolvedProvider, wait: SlotWait): Promise<() => void> {
    const {maxConcurrency: limit} = provider;
    if (limit === undefined) return nothing;
    const server = serverOf(provider);
    const key = `${limit} ${server}`;
    const line = this.#lines.get(key) ?? new Line(this.#turns(server, limit), this.#options);
    this.#lines.set(key, line);
    try {
      return await line.acquire(wait);
    } finally {
      if (line.waiting === 0 && this.#lines.get(key) === line) this.#lines.delete(key);
    }
  }

  #turns(server: string, limit: number): TakeTurn {
    const {home, aiId} = this.#options;
    if (home === undefined) return this.#turnsHere(server, limit);
    return async signal => {
      const {takeTurn} = await import('../registry/turns.js');
      return takeTurn({home, server, limit, who: aiId, signal});
    };
  }

  readonly #here = new Map<string, Limiter>();

  #turnsHere(server: string, limit: number): TakeTurn {
    const limits = {max: limit, queue: Infinity};
    const limiter = this.#here.get(server) ?? new Limiter(limits);
    limiter.configure(limits);
    this.#here.set(server, limiter);
    return signal => limiter.acquire(signal, {deadline: Infinity});
  }
}

/**
 * What shares one count: the server, by its address, whatever the providers before it are called and whichever fleet they
 * are of; where none is declared, the service that the type stands for.
 */
export function serverOf({type, baseUrl, script}: ResolvedProvider): string {
  if (baseUrl === undefined || !URL.canParse(baseUrl)) return script === undefined ? type : `${type} ${script}`;
  const {protocol, hostname, port, host} = new URL(baseUrl);
  const local = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])\.?$/.test(hostname);
  return local ? `${protocol}//localhost${port === '' ? '' : `:${port}`}` : `${protocol}//${host}`;
}

interface Waiter {
  readonly enter: (release: () => void) => void;
  readonly refuse: (error: Error) => void;
}

/** The chats of this worker that wait for one server, first come first served. */
class Line {
  readonly #takeTurn: TakeTurn;
  readonly #options: SlotsOptions;
  readonly #waiters = new Set<Waiter>();
  /** Aborted when nobody waits any more. */
  #standing: AbortController | undefined;

  constructor(takeTurn: TakeTurn, options: SlotsOptions) {
    this.#takeTurn = takeTurn;
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  acquire({signal, deadline}: SlotWait): Promise<() => void> {
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const leave = (): void => waiter.refuse(signal.reason as Error);
      const late = setTimeout(
        () => waiter.refuse(this.#options.timeout()),
        Math.max(0, Math.min(deadline - this.#options.now(), longestTimerMs)),
      );
      const settle = (): void => {
        clearTimeout(late);
        signal.removeEventListener('abort', leave);
        this.#waiters.delete(waiter);
        if (this.#waiters.size === 0) this.#standing?.abort(new Error('nobody waits any more'));
      };
      const waiter: Waiter = {
        enter: release => {
          settle();
          resolve(release);
        },
        refuse: error => {
          settle();
          reject(error);
        },
      };
      signal.addEventListener('abort', leave, {once: true});
      this.#waiters.add(waiter);
      if (this.#standing === undefined) void this.#stand();
    });
  }

  /** One turn after the other, each for the first of those who wait then. */
  async #stand(): Promise<void> {
    while (this.#waiters.size > 0) {
      const standing = (this.#standing = new AbortController());
      try {
        const release = await this.#takeTurn(standing.signal);
        const [next] = this.#waiters;
        if (next === undefined) release();
        else next.enter(release);
      } catch (error) {
        // Whoever came after the last had left waits on.
        if (standing.signal.aborted) continue;
        const [next] = this.#waiters;
        const message = `cannot wait for a slot of the provider: ${error instanceof Error ? error.message : String(error)}`;
        next?.refuse(new SlotsError(message, {cause: error}));
      }
    }
    this.#standing = undefined;
  }
}

/** setTimeout fires at once for more. */
const longestTimerMs = 2 ** 31 - 1;
