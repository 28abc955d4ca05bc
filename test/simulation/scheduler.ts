/**
 * Simulated time, and everything that is to happen in it. Each call of a port becomes an item with a drawn time; items
 * happen one by one, and all that only waits for promises runs to its end in between. Nothing depends on real time.
 */
import {setImmediate} from 'node:timers';
import {Random, hashText} from './random.js';

/** How long an effect takes: mostly little, now and then much. */
export type Latency = 'quick' | 'file' | 'socket';

/** One process of an actor, a controller's or a command's. Its end takes everything with it that it was about to do. */
export class Life {
  readonly name: string;
  readonly random: Random;
  readonly pid: number;
  alive = true;
  /** As under SIGSTOP: what would happen to it waits. */
  frozen = false;
  /** Dies after so many more effects. */
  doomedAfter: number | undefined;
  readonly held: Item[] = [];
  readonly onEnd: (() => void)[] = [];

  constructor(name: string, pid: number, seed: number) {
    this.name = name;
    this.pid = pid;
    this.random = Random.of(seed, name);
  }
}

interface Item {
  /** Monotonic ms. */
  readonly at: number;
  readonly order: number;
  readonly life: Life | undefined;
  readonly label: string;
  readonly run: () => void;
  cancelled: boolean;
}

const tails = {
  quick: {usualMs: 0.5, rare: 0, rareMs: 0},
  file: {usualMs: 3, rare: 0.04, rareMs: 300},
  socket: {usualMs: 2, rare: 0.03, rareMs: 600},
} as const satisfies Record<Latency, unknown>;

const epochMs = Date.UTC(2026, 0, 1);
/** What an actor learns of an effect may come later than the effect: others act in between. */
const lateNews = 0.25;

export class Scheduler {
  /** Monotonic ms. */
  now = 0;
  /** Of the wall clock against the monotonic one. */
  wallOffsetMs = 0;
  steps = 0;
  /** Of everything that happened, in order. */
  hash = 0x811c9dc5;
  /** Everything that happened, readable; absent unless asked for. */
  readonly lines: string[] | undefined;
  readonly seed: number;
  readonly #heap: Item[] = [];
  #order = 0;

  constructor(seed: number, trace: boolean) {
    this.seed = seed;
    this.lines = trace ? [] : undefined;
  }

  iso(): string {
    return new Date(epochMs + this.now + this.wallOffsetMs).toISOString();
  }

  /** Unix ms as the machine's wall clock shows it. */
  wall(): number {
    return epochMs + this.now + this.wallOffsetMs;
  }

  /** Happens after `ms`, unless the result is called first or `life` has ended by then. */
  after(ms: number, life: Life | undefined, label: string, run: () => void): () => void {
    const item: Item = {at: this.now + Math.max(0, ms), order: this.#order++, life, label, run, cancelled: false};
    this.#push(item);
    return () => {
      item.cancelled = true;
    };
  }

  /** Something that `life` does to the world: happens whole, at a drawn time, and is known at once or a while later. */
  effect<T>(life: Life, label: string, act: () => T, latency: Latency = 'file'): Promise<T> {
    return new Promise((resolve, reject) => {
      this.after(this.latency(life.random, latency), life, label, () => {
        let tell: () => void;
        try {
          const value = act();
          // One that fails at once is told of later.
          if (value instanceof Promise) value.catch(() => undefined);
          tell = () => resolve(value);
        } catch (error) {
          tell = () => reject(error instanceof Error ? error : new Error(String(error)));
        }
        if (!life.random.chance(lateNews)) tell();
        else this.after(this.latency(life.random, latency), life, `${label} is known`, tell);
      });
    });
  }

  sleep(life: Life, ms: number): Promise<void> {
    return new Promise(resolve => void this.after(ms, life, 'timer', resolve));
  }

  latency(random: Random, kind: Latency): number {
    const {usualMs, rare, rareMs} = tails[kind];
    return random.chance(rare) ? random.between(0, rareMs) : random.between(0.05, usualMs);
  }

  /** Ends a process of an actor as kill -9 does. */
  end(life: Life): void {
    if (!life.alive) return;
    life.alive = false;
    life.held.length = 0;
    this.note(`${life.name} ends`);
    for (const told of life.onEnd.splice(0)) told();
  }

  thaw(life: Life): void {
    life.frozen = false;
    for (const {life: owner, label, run} of life.held.splice(0)) {
      this.after(life.random.between(0, 5), owner, label, run);
    }
  }

  /** Lets the next thing happen. False: there is nothing left to happen until `until` (monotonic ms). */
  async step(until: number): Promise<boolean> {
    for (;;) {
      const item = this.#heap[0];
      if (item === undefined || item.at > until) return false;
      this.#pop();
      const {life} = item;
      if (item.cancelled || life?.alive === false) continue;
      if (life?.frozen) {
        life.held.push(item);
        continue;
      }
      this.now = Math.max(this.now, item.at);
      this.steps += 1;
      this.note(life ? `${life.name}: ${item.label}` : item.label);
      item.run();
      await settled();
      if (life?.doomedAfter !== undefined && life.doomedAfter-- <= 0) this.end(life);
      return true;
    }
  }

  /** Written into the trace. */
  note(text: string): void {
    this.hash = hashText(text, hashText(String(Math.round(this.now * 1000)), this.hash));
    this.lines?.push(`${(this.now / 1000).toFixed(4).padStart(11)}  ${text}`);
  }

  #push(item: Item): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(item);
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || !isBefore(item, parent)) break;
      heap[i] = parent;
      i = up;
    }
    heap[i] = item;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let i = 0;
    for (;;) {
      const left = heap[2 * i + 1];
      const right = heap[2 * i + 2];
      const child = left && right && isBefore(right, left) ? right : left;
      if (child === undefined || !isBefore(child, last)) break;
      heap[i] = child;
      i = child === right ? 2 * i + 2 : 2 * i + 1;
    }
    heap[i] = last;
  }
}

/** Resolves when everything that only waits for promises has run. */
export function settled(): Promise<void> {
  return new Promise(resolve => void setImmediate(resolve));
}

function isBefore(a: Item, b: Item): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
