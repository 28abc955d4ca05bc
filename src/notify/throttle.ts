/** Of one reason and specialist one message in a while, and in it how many there were. */
import type {FleetEvent} from '../api/types.js';
import type {NotifyClock} from './deps.js';

interface Window {
  /** The last of those that came since it was opened. */
  held: FleetEvent | undefined;
  count: number;
  cancel: () => void;
}

export class Throttle {
  readonly #windows = new Map<string, Window>();

  constructor(
    private readonly clock: Pick<NotifyClock, 'after'>,
    private readonly pass: (event: FleetEvent, leftOut: number) => void,
  ) {}

  /** Passes it on now, or, when the time is over, the last of those that came meanwhile. */
  add(event: FleetEvent, intervalMs: number): void {
    if (intervalMs === 0) return this.pass(event, 0);
    const key = `${event.reason} ${event.aiId ?? ''}`;
    const open = this.#windows.get(key);
    if (open) {
      open.held = event;
      open.count += 1;
      return;
    }
    this.#open(key, intervalMs);
    this.pass(event, 0);
  }

  /** Passes on what is held. */
  flush(): void {
    for (const [key, window] of this.#windows) {
      window.cancel();
      this.#windows.delete(key);
      this.#release(window);
    }
  }

  #open(key: string, intervalMs: number): void {
    const cancel = this.clock.after(intervalMs, () => {
      const window = this.#windows.get(key);
      this.#windows.delete(key);
      if (!window?.held) return;
      this.#open(key, intervalMs);
      this.#release(window);
    });
    this.#windows.set(key, {held: undefined, count: 0, cancel});
  }

  #release({held, count}: Window): void {
    if (held) this.pass(held, count - 1);
  }
}
