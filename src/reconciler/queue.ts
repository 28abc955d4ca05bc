/** One pass per name at a time, many names at once, however many triggers came. */
import type {Clock} from './ports.js';

export interface QueueOptions {
  readonly clock: Clock;
  /** Names in work at once. */
  readonly parallel: number;
  /** One pass; what it returns is the delay in ms until the next look, if there is to be one. */
  readonly work: (key: string) => Promise<number | undefined>;
  /** A pass threw: our bug, or the state folder's trouble. Returns the delay until it is tried again. */
  readonly failed: (key: string, error: unknown) => number;
}

/**
 * A key that is added while its pass runs gets one more pass afterwards; added twice while it waits, one.
 * An explicit `add` goes before a delay that is pending for the same key.
 */
export class KeyedQueue {
  readonly #options: QueueOptions;
  readonly #waiting: string[] = [];
  readonly #queued = new Set<string>();
  readonly #running = new Set<string>();
  readonly #again = new Set<string>();
  readonly #delayed = new Map<string, () => void>();
  #idle: (() => void)[] = [];
  #closed = false;

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  add(key: string): void {
    if (this.#closed) return;
    this.#cancelDelay(key);
    if (this.#running.has(key)) {
      this.#again.add(key);
      return;
    }
    if (this.#queued.has(key)) return;
    this.#queued.add(key);
    this.#waiting.push(key);
    this.#start();
  }

  addAfter(key: string, ms: number): void {
    if (this.#closed) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    if (this.#queued.has(key)) return;
    this.#cancelDelay(key);
    const cancel = this.#options.clock.after(ms, () => {
      this.#delayed.delete(key);
      this.add(key);
    });
    this.#delayed.set(key, cancel);
  }

  /** Takes no more keys; resolves when the passes under way have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#waiting.length = 0;
    this.#queued.clear();
    this.#again.clear();
    for (const key of [...this.#delayed.keys()]) this.#cancelDelay(key);
    if (this.#running.size > 0) await new Promise<void>(resolve => this.#idle.push(resolve));
  }

  #start(): void {
    while (this.#running.size < this.#options.parallel) {
      const key = this.#waiting.shift();
      if (key === undefined) return;
      this.#queued.delete(key);
      this.#running.add(key);
      void this.#pass(key);
    }
  }

  async #pass(key: string): Promise<void> {
    let delay: number | undefined;
    try {
      delay = await this.#options.work(key);
    } catch (error) {
      delay = this.#options.failed(key, error);
    }
    this.#running.delete(key);
    if (this.#again.delete(key)) this.add(key);
    else if (delay !== undefined) this.addAfter(key, delay);
    this.#start();
    if (this.#running.size === 0) this.#idle.splice(0).forEach(resolve => resolve());
  }

  #cancelDelay(key: string): void {
    this.#delayed.get(key)?.();
    this.#delayed.delete(key);
  }
}
