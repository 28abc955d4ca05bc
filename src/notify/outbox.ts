/** One destination's queue: in order, one at a time, bounded, and never in anybody's way. */
import type {NotificationSpec} from '../api/notifications.js';
import {describeError} from '../api/errors.js';
import type {FleetEvent} from '../api/types.js';
import type {Reported} from './commit-status.js';
import type {About, Message, NotifyDeps, Position} from './deps.js';
import {matches} from './match.js';
import {describeDestination, send} from './send.js';
import {Throttle} from './throttle.js';

export interface OutboxOptions {
  readonly deps: NotifyDeps;
  /** Waits for a place among all that is on its way; the result gives it back. */
  readonly place: () => Promise<() => void>;
  /** It could not be delivered; called once until something is delivered again. */
  readonly failed: (message: string) => void;
  /** Its position is another one. */
  readonly moved: () => void;
  readonly position: Position;
}

/** What is declared of it now. */
export interface Target {
  readonly spec: NotificationSpec;
  readonly envFile: string | undefined;
  readonly about: About;
}

/** Messages that wait for one destination; of more the oldest is given up. */
const maxWaiting = 256;

export class Outbox {
  target: Target;
  readonly #options: OutboxOptions;
  readonly #abort = new AbortController();
  readonly #throttle: Throttle;
  readonly #waiting: Message[] = [];
  readonly #reported: Reported = new Map();
  #position: Position;
  #isFailing = false;
  #running: Promise<void> | undefined;

  constructor(target: Target, options: OutboxOptions) {
    this.target = target;
    this.#options = options;
    this.#position = options.position;
    this.#throttle = new Throttle(options.deps.clock, (event, leftOut) => this.#enqueue(event, leftOut));
  }

  get position(): Position {
    return this.#position;
  }

  /** Takes what it is to be told of. Returns at once. */
  offer(event: FleetEvent): void {
    const {on, minIntervalSeconds} = this.target.spec;
    if (this.#abort.signal.aborted || !matches(on, event)) return;
    this.#throttle.add(event, minIntervalSeconds * 1000);
  }

  /** Somebody else tells the same destination of it. */
  skip(event: FleetEvent): void {
    if (this.#waiting.length === 0 && !this.#running) this.#advance(event.at);
  }

  /** Resolves when nothing waits. What the throttle holds is sent now. */
  async idle(): Promise<void> {
    this.#throttle.flush();
    while (this.#running) await this.#running;
  }

  /** Gives up what waits, and what is on its way. */
  close(): void {
    this.#abort.abort();
    this.#throttle.flush();
    this.#waiting.length = 0;
  }

  #enqueue(event: FleetEvent, leftOut: number): void {
    if (this.#abort.signal.aborted) return;
    this.#waiting.push({...this.target.about, event, leftOut});
    if (this.#waiting.length > maxWaiting) {
      this.#waiting.shift();
      this.#fail(`more than ${maxWaiting} messages wait for it: the oldest were given up`);
    }
    this.#start();
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#waiting.length > 0) this.#start();
    });
  }

  async #run(): Promise<void> {
    for (let message = this.#waiting.shift(); message; message = this.#waiting.shift()) {
      const leave = await this.#options.place();
      await this.#deliver(message).finally(leave);
      if (this.#abort.signal.aborted) return;
      this.#advance(message.event.at);
    }
  }

  async #deliver(message: Message): Promise<void> {
    const {spec, envFile} = this.target;
    const {deps} = this.#options;
    const {signal} = this.#abort;
    try {
      signal.throwIfAborted();
      await send(spec.to, message, {deps, envFile, signal, reported: this.#reported});
      this.#isFailing = false;
    } catch (error) {
      if (!signal.aborted) this.#fail(`${describeError(error)}; the message was given up`);
    }
  }

  #fail(why: string): void {
    const {deps, failed} = this.#options;
    const {name, to} = this.target.spec;
    deps.log.debug({notification: name, why}, 'cannot notify');
    if (this.#isFailing) return;
    this.#isFailing = true;
    failed(`cannot notify ${name} (${to.type}, ${describeDestination(to)}): ${why}`);
  }

  /** What the throttle held back is older than what was delivered since. */
  #advance(at: string): void {
    const {at: before, count} = this.#position;
    if (at < before) return;
    this.#position = at === before ? {at, count: count + 1} : {at, count: 1};
    this.#options.moved();
  }
}
