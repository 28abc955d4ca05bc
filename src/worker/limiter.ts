/** Bounds how many chats run at once and how many wait. */

/** `max` run at once, `queue` more may wait. */
export interface Limits {
  readonly max: number;
  readonly queue: number;
}

export class QueueFullError extends Error {
  override readonly name = 'QueueFullError';
}

export class Limiter {
  #limits: Limits;
  #active = 0;
  readonly #waiting = new Set<() => void>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  get active(): number {
    return this.#active;
  }

  get queued(): number {
    return this.#waiting.size;
  }

  /** New limits count from now on; nothing that runs or waits is thrown out. */
  configure(limits: Limits): void {
    this.#limits = limits;
    this.#admit();
  }

  /**
   * Waits for a place, first come first served.
   *
   * @returns gives the place back; calling it again does nothing
   * @throws {QueueFullError} at once
   * @throws the signal's reason
   */
  async acquire(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#active >= this.#limits.max) await this.#wait(signal);
    else this.#active++;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#active--;
      this.#admit();
    };
  }

  #wait(signal: AbortSignal): Promise<void> {
    const {max, queue} = this.#limits;
    if (this.#waiting.size >= queue) {
      throw new QueueFullError(`Queue full: ${max} chats are under way and ${queue} are waiting; try again later`);
    }
    return new Promise((resolve, reject) => {
      const enter = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.delete(enter);
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', leave, {once: true});
      this.#waiting.add(enter);
    });
  }

  /** Counts a place as taken before its waiter runs, so that nobody overtakes it. */
  #admit(): void {
    for (const enter of this.#waiting) {
      if (this.#active >= this.#limits.max) return;
      this.#active++;
      this.#waiting.delete(enter);
      enter();
    }
  }
}
