/** A queue of callers within one process: one is in, the others wait in the order they came. */
export class Fifo {
  private taken = false;
  private readonly waiting: ((entered: true) => void)[] = [];

  /** Enters if nobody is in. The answer leaves again; call it once. */
  tryEnter(): (() => void) | undefined {
    if (this.taken) return undefined;
    this.taken = true;
    return () => this.leave();
  }

  /**
   * Enters when it is this caller's turn; undefined when `deadline` (performance.now() in ms) came first.
   * Throws the reason of `signal` when that aborts.
   */
  async enter(deadline: number, signal?: AbortSignal): Promise<(() => void) | undefined> {
    signal?.throwIfAborted();
    const atOnce = this.tryEnter();
    if (atOnce !== undefined) return atOnce;
    const entered = await this.waitForTurn(deadline, signal);
    // Aborted in the very moment of entering: the place goes on to the next.
    if (signal?.aborted && entered) this.leave();
    signal?.throwIfAborted();
    return entered ? () => this.leave() : undefined;
  }

  private waitForTurn(deadline: number, signal: AbortSignal | undefined): Promise<boolean> {
    return new Promise(resolve => {
      const giveUp = (): void => {
        const place = this.waiting.indexOf(settle);
        if (place !== -1) this.waiting.splice(place, 1);
        settle(false);
      };
      const settle = (entered: boolean): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', giveUp);
        resolve(entered);
      };
      const timer = setTimeout(giveUp, Math.max(0, deadline - performance.now()));
      signal?.addEventListener('abort', giveUp);
      this.waiting.push(settle);
    });
  }

  private leave(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.taken = false;
    else next(true);
  }
}
