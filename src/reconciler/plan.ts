/** From observed to desired, as data. `diff` prints it, `apply` and the controller carry it out. */
import {diffDeclared} from '../api/hash.js';
import type {Desired, DriftPolicy, FieldChange} from '../api/types.js';
import {defaultAction, drainedText, driftOf, isTold, leftSo, leftText} from './drift.js';
import {startOrder} from './order.js';
import type {Action, Observed, Plan} from './types.js';

/** What a plan for a whole fleet is made from. */
export interface PlanInput {
  readonly namespace: string;
  readonly fleet: string;
  readonly desired: readonly Desired[];
  /** false: nothing of the fleet is to run. */
  readonly enabled: boolean;
  /** Specialists of any fleet; those of other fleets serve to notice conflicts and are never acted on. */
  readonly observed: readonly Observed[];
  /** ai ids that the fleet's last applied record declares, for the mass-prune guard. */
  readonly recorded: readonly string[];
  /** Other fleets' declared ai ids → fleet, and pinned ports → ai id. */
  readonly claims?: Claims;
  /** false: what is no longer declared stays. */
  readonly prune?: boolean;
  /** Names what the fleet leaves as a hand made it until it is applied; in the plan it is put right all the same. */
  readonly driftPolicy?: DriftPolicy;
}

export interface Claims {
  readonly aiIds: ReadonlyMap<string, string>;
  readonly ports: ReadonlyMap<number, string>;
}

/** The claims of these fleets. */
export function claimsOf(records: readonly {readonly specialists: readonly Desired[]}[]): Claims {
  const all = records.flatMap(record => record.specialists);
  return {
    aiIds: new Map(all.map(d => [d.aiId, `${d.namespace}/${d.fleet}`])),
    ports: new Map(all.flatMap(({spec, aiId}) => (spec.port === undefined ? [] : [[spec.port, aiId] as const]))),
  };
}

export const noClaims: Claims = {aiIds: new Map(), ports: new Map()};

/**
 * Decides what would make `observed` match `desired`. Pure: the same input always gives the same plan, so `diff`
 * and `apply` can't disagree.
 *
 * Order is part of the answer: prunes first, then stops, to free ports and memory, then the rest along `dependsOn`.
 */
export function planFleet(input: PlanInput): Plan {
  const observed = new Map(input.observed.map(o => [o.aiId, o]));
  const declared = new Set(input.desired.map(d => d.aiId));
  const prunes = input.prune === false ? [] : input.observed.filter(o => isOf(o, input) && !declared.has(o.aiId));
  const steps = startOrder(input.desired).flatMap(desired => {
    const enabled = input.enabled && desired.spec.enabled;
    const action = planSpecialist({
      ...{desired, enabled, observed: observed.get(desired.aiId)},
      ...{claims: input.claims ?? noClaims, driftPolicy: input.driftPolicy ?? 'heal', heal: true},
    });
    return action ? [action] : [];
  });
  const stops = steps.filter(a => a.type === 'stop').reverse();
  const removed = input.recorded.filter(aiId => !declared.has(aiId));
  return {
    namespace: input.namespace,
    fleet: input.fleet,
    actions: [
      ...prunes.map(o => ({type: 'prune' as const, observed: o})),
      ...stops,
      ...steps.filter(a => a.type !== 'stop'),
    ],
    massPrune: isMassPrune(input.recorded.length, removed.length) && input.prune !== false,
  };
}

/** More than half of a fleet of more than 4. */
export function isMassPrune(before: number, removed: number): boolean {
  return before > 4 && removed * 2 > before;
}

export interface SpecialistInput {
  readonly desired: Desired;
  /** Whether it is to run, its fleet's word included. */
  readonly enabled: boolean;
  readonly observed: Observed | undefined;
  readonly claims: Claims;
  readonly driftPolicy: DriftPolicy;
  /** A person applies: what a hand changed is put right, whatever the policy is. */
  readonly heal?: boolean;
  /** The commit that declares it, for those who read of drift. */
  readonly revision?: string | undefined;
}

/** The next step for one declared specialist; undefined when it is not to run and does not. */
export function planSpecialist(input: SpecialistInput): Action | undefined {
  const {desired, enabled, observed, claims, driftPolicy, heal = false, revision} = input;
  const runs = observed !== undefined && observed.state !== 'absent' && observed.state !== 'exited';
  // What is not to run needs no name and no port: it is stopped, whoever claims them.
  if (!enabled) {
    return runs && isOf(observed, desired) ? {type: 'stop', desired, observed, reason: 'disabled'} : undefined;
  }
  const conflict = findConflict(desired, runs ? observed : undefined, claims);
  if (conflict) return {type: 'block', desired, reason: 'Conflict', message: conflict};
  if (!runs) return {type: 'create', desired, reason: observed?.state === 'exited' ? 'it is not running' : 'it is new'};
  if (observed.state === 'draining') {
    const action = defaultAction(driftPolicy);
    // One that ends can't be left as it is.
    if (!heal && action !== 'heal' && isTold(desired, observed) && !observed.ending) {
      const message = `${drainedText} ${leftSo(action)}`;
      return {type: 'leave', desired, observed, changes: [], message};
    }
    return {type: 'restart', desired, observed, changes: [], reason: 'it is draining and takes no new chats'};
  }
  const drift = driftOf(desired, observed, driftPolicy);
  if (drift.length > 0) {
    const left = heal ? [] : drift.filter(change => change.left);
    if (left.length === drift.length) {
      const message = leftText(left, driftPolicy, revision);
      return {type: 'leave', desired, observed, changes: left, message};
    }
    // What a running worker can't change no hand has changed either: where it claims so, it is only told again.
    const changes = heal ? drift : drift.filter(change => !change.left);
    return {type: 'reconfigure', desired, observed, changes, drift: true, ...(left.length > 0 && {left})};
  }
  const same = observed.specHash === desired.specHash;
  const changes = same ? [] : diffDeclared(observed.declared ?? {}, desired.declared, desired.origins);
  if (changes.length === 0) return {type: 'keep', desired, observed};
  const hard = changes.filter(change => needsRestart(change, observed));
  if (hard.length === 0) return {type: 'reconfigure', desired, observed, changes};
  return {type: 'restart', desired, observed, changes, reason: whyRestart(hard)};
}

/** Whether it is a worker of this very fleet. */
function isOf(observed: Observed, {namespace, fleet}: {readonly namespace: string; readonly fleet: string}): boolean {
  return observed.namespace === namespace && observed.fleet === fleet;
}

/** Who runs a name has it, and the port that it listens on; while nobody does, the claims decide. */
function findConflict(desired: Desired, running: Observed | undefined, claims: Claims): string | undefined {
  const {aiId, spec} = desired;
  if (running && !isOf(running, desired)) return `${aiId} runs for fleet ${running.namespace}/${running.fleet}`;
  const owner = running ? undefined : claims.aiIds.get(aiId);
  if (owner !== undefined) return `${aiId} belongs to fleet ${owner}`;
  const hasIt = spec.port === undefined || running?.port === spec.port;
  const holder = hasIt ? undefined : claims.ports.get(spec.port);
  return holder === undefined ? undefined : `port ${spec.port} is pinned by ${holder} of another fleet`;
}

function whyRestart(hard: readonly FieldChange[]): string {
  const fields = hard.filter(change => change.path !== 'restartedAt').map(change => change.path);
  return fields.length === 0 ? 'that was asked for' : `a running worker cannot change its ${fields.join(', ')}`;
}

/** Fields that a process can't change while it lives; everything else is a reconfigure (table in docs/reference/fleet.md). */
function needsRestart(change: FieldChange, observed: Observed): boolean {
  const root = change.path.split('.', 1)[0] ?? '';
  if (root === 'port') return change.to !== undefined && change.to !== observed.port;
  if (root === 'host') return (change.to ?? '127.0.0.1') !== observed.host;
  return (
    root === 'component' || root === 'env' || root === 'auth' || (root === 'restartedAt' && change.to !== undefined)
  );
}
