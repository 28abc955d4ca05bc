/** A kernel lock: one holder at a time, and free as soon as its holder's process is gone. */
import {LockBusyError} from '../../src/api/errors.js';
import type {Life, Scheduler} from './scheduler.js';

interface Waiter {
  readonly life: Life;
  readonly got: () => void;
}

export class KernelLock {
  readonly name: string;
  readonly #scheduler: Scheduler;
  readonly #waiters = new Set<Waiter>();
  #holder: Life | undefined;

  constructor(name: string, scheduler: Scheduler) {
    this.name = name;
    this.#scheduler = scheduler;
  }

  get holder(): Life | undefined {
    return this.#holder;
  }

  /** @throws {LockBusyError} after `timeoutMs` */
  hold(life: Life, timeoutMs: number): Promise<void> {
    const scheduler = this.#scheduler;
    return new Promise((resolve, reject) => {
      scheduler.after(scheduler.latency(life.random, 'quick'), life, `asks for the ${this.name} lock`, () => {
        if (!this.#holder) {
          this.#give(life);
          return resolve();
        }
        const cancel = scheduler.after(timeoutMs, life, `the ${this.name} lock is busy`, () => {
          this.#waiters.delete(waiter);
          reject(new LockBusyError(`the ${this.name} lock is busy`));
        });
        const waiter: Waiter = {
          life,
          got: () => {
            cancel();
            resolve();
          },
        };
        this.#waiters.add(waiter);
      });
    });
  }

  release(life: Life): void {
    if (this.#holder !== life) return;
    this.#holder = undefined;
    this.#next();
  }

  #give(life: Life): void {
    this.#holder = life;
    life.onEnd.push(() => this.release(life));
  }

  /** Who waits asks again after a moment of its own: whoever comes first has it. */
  #next(): void {
    const scheduler = this.#scheduler;
    for (const waiter of this.#waiters) {
      scheduler.after(waiter.life.random.between(0.1, 8), waiter.life, `tries the ${this.name} lock again`, () => {
        if (this.#holder || !this.#waiters.delete(waiter)) return;
        this.#give(waiter.life);
        waiter.got();
      });
    }
  }
}
