/** The reconciler's own nouns: what was observed, and the steps from there to what is desired. */
import type {Desired, FieldChange, Instance, Json} from '../api/types.js';
import type {Reason} from '../api/conditions.js';
import type {Running, Told} from '../protocol/running.js';

/**
 * One specialist as the process table, the launch record and the control socket show it.
 *
 * absent ──launch──▶ starting ──listens──▶ running ──drain──▶ draining ──▶ exited
 *
 * `exited` keeps what is known of the last instance (its port above all); `absent` means that nothing is known.
 */
export type ObservedState = 'absent' | 'starting' | 'running' | 'draining' | 'exited';

export interface Observed {
  readonly aiId: string;
  readonly name: string;
  readonly namespace: string;
  readonly fleet: string;
  readonly component: string;
  readonly state: ObservedState;
  readonly instance?: Instance;
  readonly host?: string;
  readonly port?: number;
  /** What the instance runs with, from itself or from its launch record. */
  readonly declared?: Readonly<Record<string, Json>>;
  readonly specHash?: string;
  readonly generation?: number;
  /** What it runs with, whatever is claimed above; absent where it can't say. */
  readonly running?: Running;
  /** What its owner told it last: what differs from that is drift. Absent: nobody can tell. */
  readonly told?: Told;
  /** It was told to end, and does when it has drained. */
  readonly ending?: true;
}

/** One step that brings one specialist closer to its spec. */
export type Action =
  | {readonly type: 'create'; readonly desired: Desired; readonly reason: string}
  | {
      readonly type: 'reconfigure';
      readonly desired: Desired;
      readonly observed: Observed;
      readonly changes: readonly FieldChange[];
      /** Nothing new is declared: somebody else changed it. */
      readonly drift?: true;
      /** What else somebody changed, and the fleet's policy has left so: the worker keeps it. */
      readonly left?: readonly FieldChange[];
    }
  | {
      readonly type: 'restart';
      readonly desired: Desired;
      readonly observed: Observed;
      readonly changes: readonly FieldChange[];
      /** Why no reconfigure would do. */
      readonly reason: string;
    }
  /** Somebody else changed it, and the fleet's policy has it left so. */
  | {
      readonly type: 'leave';
      readonly desired: Desired;
      readonly observed: Observed;
      readonly changes: readonly FieldChange[];
      readonly message: string;
    }
  /** Runs as declared; only our record of what is declared is brought up to date. */
  | {readonly type: 'keep'; readonly desired: Desired; readonly observed: Observed}
  /** Declared, but not to run. */
  | {readonly type: 'stop'; readonly desired: Desired; readonly observed: Observed; readonly reason: string}
  /** No longer declared by the fleet that owns it. */
  | {readonly type: 'prune'; readonly observed: Observed}
  /** Nothing can be done before a person or another specialist acts. */
  | {readonly type: 'block'; readonly desired: Desired; readonly reason: Reason; readonly message: string};

/** Steps in the order in which they are taken: prunes first, then along `dependsOn`. */
export interface Plan {
  readonly namespace: string;
  readonly fleet: string;
  readonly actions: readonly Action[];
  /** More than half of a fleet of more than 4 would be pruned: needs a confirmation. */
  readonly massPrune: boolean;
}
