/** A clock that stands still until a test turns it. */
import type {Clock} from '../../src/reconciler/ports.js';

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

const epoch = Date.UTC(2026, 0, 1);

export class FakeClock implements Clock {
  #now = 0;
  /** What the wall clock is ahead of `#now`, ms since 1970. */
  #wall = epoch;
  #timers: Timer[] = [];

  iso(): string {
    return new Date(this.#wall + this.#now).toISOString();
  }

  /** Somebody sets the wall clock; no delay knows of it. */
  set(iso: string): void {
    this.#wall = Date.parse(iso) - this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = {at: this.#now + Math.max(0, ms), run};
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter(other => other !== timer);
    };
  }

  /** ms until each timer that is set, the next one first. */
  get pending(): readonly number[] {
    return this.#timers.map(({at}) => at - this.#now).sort((a, b) => a - b);
  }

  /** Turns on by `ms`; what falls due on the way runs in its order, and what follows from it before the next. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const [next] = this.#timers.filter(({at}) => at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.#timers = this.#timers.filter(other => other !== next);
      this.#now = next.at;
      next.run();
    }
    this.#now = end;
  }
}

/** Resolves when everything that only waits for promises has run. */
export function settle(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}
