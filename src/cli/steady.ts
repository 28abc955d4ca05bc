/** Whether what is Ready stays so: the time that it has been, and the crashes meanwhile. Pure, but for the clock passed in. */
import type {FleetStatus, LastExit, NamedStatus} from '../api/types.js';

export interface SteadyOptions {
  /** How long all has to stay as wanted, ms; 0: a moment is enough. */
  readonly stableForMs: number;
  /** As many crashes of one specialist since the first look are enough to give up; absent: any number is waited out. */
  readonly failAfterCrashes?: number;
}

export interface Crashed {
  readonly namespace: string;
  readonly name: string;
  readonly crashes: number;
  readonly lastExit?: LastExit;
}

/** Follows the statuses of some fleets. */
export class Steadiness {
  readonly #options: SteadyOptions;
  /** By ai id: restarts when it was first seen, and what ran when it was last seen. */
  readonly #first = new Map<string, number>();
  readonly #instances = new Map<string, string | undefined>();
  #sinceMs: number | undefined;
  #crashed: Crashed | undefined;

  constructor(options: SteadyOptions) {
    this.#options = options;
  }

  /** Another process than at the last look, or a crash since, begins the time anew. */
  see({namespace, specialists}: FleetStatus): void {
    for (const specialist of specialists) {
      const {aiId, status} = specialist;
      if (this.#instances.has(aiId) && this.#instances.get(aiId) !== status.instance?.uid) this.#sinceMs = undefined;
      this.#instances.set(aiId, status.instance?.uid);
      this.#countCrashes(namespace, specialist);
    }
  }

  /** ms that all has to stay as it is; 0: it has stayed for long enough. undefined: it isn't as wanted now. */
  leftMs(isDone: boolean, nowMs: number): number | undefined {
    if (!isDone) {
      this.#sinceMs = undefined;
      return undefined;
    }
    this.#sinceMs ??= nowMs;
    return Math.max(0, this.#options.stableForMs - (nowMs - this.#sinceMs));
  }

  /** The first specialist that crashed too often. */
  get crashed(): Crashed | undefined {
    return this.#crashed;
  }

  #countCrashes(namespace: string, {aiId, name, status}: NamedStatus): void {
    const {restarts, lastExit} = status;
    const first = this.#first.get(aiId) ?? restarts;
    this.#first.set(aiId, first);
    const crashes = restarts - first;
    if (crashes < (this.#options.failAfterCrashes ?? Infinity)) return;
    this.#crashed ??= {namespace, name, crashes, ...(lastExit && {lastExit})};
  }
}
