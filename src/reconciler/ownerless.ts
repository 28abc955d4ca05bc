/**
 * Workers whose fleet's record vanished. Nobody declares them any more, so they are pruned; but a record that isn't there
 * may also be on its way back (a restored backup, an editor's save), so it is missed twice, a while apart, and where more
 * than a few hang on it a person decides.
 */
import {describeError} from '../api/errors.js';
import {fleetId} from './fleets.js';
import type {FleetKey, Ports} from './ports.js';

export interface OwnerlessOptions {
  readonly ports: Pick<Ports, 'clock' | 'log'>;
  /** Fleets without a record of which we know anything, by the records as last read, and how many workers each has. */
  readonly vanished: () => readonly {readonly key: FleetKey; readonly workers: number}[];
  /** Reads the records anew. @throws {TektonError} they can't be read: then nothing is concluded */
  readonly read: () => Promise<void>;
  readonly prune: (key: FleetKey) => void;
  /** Too many to be stopped without a person's word. Called once for each time that the record vanishes. */
  readonly hold: (key: FleetKey, workers: number) => void;
}

/** Between the first time that a record is missed and the second, ms. */
const confirmMs = 30_000;
/** One record stands for a whole fleet, so its loss is a mass prune where more workers than these hang on what vanished. */
const smallFleet = 4;

export class Ownerless {
  readonly #options: OwnerlessOptions;
  /** Fleet id → monotonic ms of when its record was first missed. */
  readonly #missedAt = new Map<string, number>();
  readonly #held = new Set<string>();
  readonly #givenUp = new Map<string, FleetKey>();
  #cancel: (() => void) | undefined;

  constructor(options: OwnerlessOptions) {
    this.#options = options;
  }

  /** To be called whenever the records were read. */
  look(): void {
    const {ports, vanished, prune, hold} = this.#options;
    const now = ports.clock.monotonic();
    const missing = new Map(vanished().map(one => [fleetId(one.key), one]));
    for (const known of [this.#missedAt, this.#givenUp]) {
      for (const id of known.keys()) if (!missing.has(id)) known.delete(id);
    }
    for (const id of this.#held) if (!missing.has(id)) this.#held.delete(id);
    // Many small ones that vanish together are a folder that was emptied, not many decisions.
    const gone = [...missing].filter(([id]) => !this.#givenUp.has(id)).map(([, {workers}]) => workers);
    const isMass = gone.reduce((sum, workers) => sum + workers, 0) > smallFleet;
    for (const [id, {key, workers}] of missing) {
      const since = this.#missedAt.get(id) ?? now;
      this.#missedAt.set(id, since);
      if (now - since < confirmMs || this.#givenUp.has(id) || this.#held.has(id)) continue;
      if (isMass) {
        this.#held.add(id);
        hold(key, workers);
      } else {
        this.#givenUp.set(id, key);
        prune(key);
      }
    }
    this.#lookAgain(now);
  }

  /** Whether the fleet was given up: what is left of it is to go. */
  isGivenUp(key: FleetKey): boolean {
    return this.#givenUp.has(fleetId(key));
  }

  get givenUp(): readonly string[] {
    return [...this.#givenUp.keys()];
  }

  close(): void {
    this.#cancel?.();
  }

  #lookAgain(now: number): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const open = [...this.#missedAt].filter(([id]) => !this.#givenUp.has(id) && !this.#held.has(id));
    if (open.length === 0) return;
    const first = Math.min(...open.map(([, since]) => since));
    const {clock, log} = this.#options.ports;
    this.#cancel = clock.after(Math.max(0, first + confirmMs - now), () => {
      // Reading them looks, too; where that fails, it is tried again in as much time.
      this.#options.read().catch((error: unknown) => {
        log.warn({error: describeError(error)}, 'cannot read the fleets');
        for (const [id] of open) this.#missedAt.set(id, clock.monotonic());
        this.#lookAgain(clock.monotonic());
      });
    });
  }
}
