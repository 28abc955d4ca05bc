/** What notifications need of the world; `cli/wire.ts` builds the real one. */
import type {FleetEvent, FleetRecord, SecretRef} from '../api/types.js';

/** How far a destination has come in the event log. */
export interface Position {
  /** ISO 8601: of the last event that was delivered or given up. */
  readonly at: string;
  /** How many events of that very moment were. */
  readonly count: number;
}

export type FleetName = Pick<FleetRecord, 'namespace' | 'name'>;

/** By the destination's name. */
export type Positions = Readonly<Record<string, Position>>;

export interface NotifyDeps {
  readonly resolve: (
    ref: SecretRef,
    envFile: string | undefined,
  ) => Promise<{readonly value: string} | {readonly missing: string}>;
  /** The variables that a command gets beside its own: where programs and the user's folder are. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Appends to a file that may be anybody's, and is never a link. @throws {TektonError} */
  readonly append: (path: string, text: string) => Promise<void>;
  readonly positions: {
    /** undefined: none were written, or they can't be read. */
    readonly read: (fleet: FleetName) => Positions | undefined;
    readonly write: (fleet: FleetName, positions: Positions) => Promise<void>;
  };
  /** Events that were written since (ISO 8601), in order. */
  readonly eventsSince: (at: string) => readonly FleetEvent[];
  readonly log: {
    readonly warn: (fields: Readonly<Record<string, unknown>>, message: string) => void;
    readonly debug: (fields: Readonly<Record<string, unknown>>, message: string) => void;
  };
  readonly clock: NotifyClock;
}

export interface NotifyClock {
  readonly iso: () => string;
  readonly after: (ms: number, run: () => void) => () => void;
  /** Resolves early when `signal` aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Between the first try and the second; every later wait is twice as long, up to half a minute. */
  readonly firstRetryMs: number;
}

/** Whose notification it is. */
export interface About {
  readonly fleet: FleetName;
  readonly revision: string;
  /** Of the git source that it follows, if it does. */
  readonly repositoryUrl: string | undefined;
}

/** One event on its way to one destination. */
export interface Message extends About {
  readonly event: FleetEvent;
  /** How many of the same reason and specialist were left out before it. */
  readonly leftOut: number;
}
