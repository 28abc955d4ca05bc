/** What a fleet's record says of canaries: who is to be asked, who failed, and what follows from an answer. Pure. */
import {hashOf} from '../api/hash.js';
import type {CanaryState, Desired, FleetRecord, Rollout} from '../api/types.js';
import {answersOf, hasCanary} from './canary.js';
import {heldByCanary} from './rollouts.js';

type Rollouts = Readonly<Record<string, Rollout>>;
type Canaries = Readonly<Record<string, CanaryState>>;

/** How a specialist stands with its canary; undefined: it has none, or passed. */
export type CanaryView =
  /** What answers has changed since it was asked, or it never was. */
  | {readonly state: 'due'; readonly answers: string}
  | {
      readonly state: 'failed';
      readonly message: string;
      /** The change that failed is to be undone where that is possible; else it is only told of. */
      readonly rollsBack: boolean;
    };

export function canaryView({rollouts, canaries}: FleetRecord, desired: Desired): CanaryView | undefined {
  const {canary} = desired.spec;
  const {asked} = canaries?.[desired.aiId] ?? {};
  const held = rollouts?.[desired.aiId]?.held;
  if (held?.by === 'canary') return {state: 'failed', message: asked?.message ?? 'its canary failed', rollsBack: true};
  if (!hasCanary(canary)) return undefined;
  const answers = answersOf(desired);
  if (asked?.answers !== answers) return {state: 'due', answers};
  if (asked.passed) return undefined;
  // A person's word stands: the canary only warns of it.
  return {state: 'failed', message: asked.message, rollsBack: canary.onFailure === 'rollback' && held === undefined};
}

/** Lets go of what a canary holds where its source says something else by now, or a person applied. */
export function withoutStaleHolds(rollouts: Rollouts, declared: readonly Desired[], byPerson: boolean): Rollouts {
  const bySource = new Map(declared.map(desired => [desired.aiId, desired]));
  return Object.fromEntries(
    Object.entries(rollouts).flatMap(([aiId, rollout]): readonly [string, Rollout][] => {
      const {held, ...rest} = rollout;
      const says = bySource.get(aiId)?.specHash;
      if (held?.by !== 'canary' || (!byPerson && held.refused === says)) return [[aiId, rollout]];
      return Object.keys(rest).length === 0 ? [] : [[aiId, rest]];
    }),
  );
}

/** The states under a new record: what answered before a change is kept until the change is judged. */
export function nextCanaries(
  previous: FleetRecord | undefined,
  specialists: readonly Desired[],
  rollouts: Rollouts,
  byPerson: boolean,
): Canaries {
  const before = new Map(previous?.specialists.map(desired => [desired.aiId, desired]));
  return Object.fromEntries(
    specialists.flatMap((desired): readonly [string, CanaryState][] => {
      const {aiId, spec} = desired;
      if (!hasCanary(spec.canary)) return [];
      const state = previous?.canaries?.[aiId] ?? {};
      if (rollouts[aiId]?.held?.by === 'canary') return [[aiId, state]];
      const next = changed(state, before.get(aiId), desired, previous?.rollouts?.[aiId]);
      const {asked, ...rest} = next;
      return [[aiId, byPerson && asked?.passed === false ? rest : next]];
    }),
  );
}

function changed(
  state: CanaryState,
  old: Desired | undefined,
  desired: Desired,
  rollout: Rollout | undefined,
): CanaryState {
  if (!old || answersOf(old) === answersOf(desired)) return state;
  const {asked} = state;
  const passed = asked?.passed === true && asked.answers === answersOf(old);
  const wasGood = passed || !hasCanary(old.spec.canary) || rollout?.held?.by === 'canary';
  const before = wasGood ? old : state.before;
  return {...(asked && {asked}), ...(before && {before})};
}

export interface CanaryOutcome {
  readonly answers: string;
  readonly passed: boolean;
  readonly message: string;
}

/**
 * The record once a specialist was asked: promoted, or back to what it was before. Where its whole fleet goes back, or
 * there is nothing to go back to, it stays and the failure stands in the record. The same record: nobody asked for that.
 */
export function canaryAsked(record: FleetRecord, aiId: string, outcome: CanaryOutcome, at: string): FleetRecord {
  const desired = record.specialists.find(one => one.aiId === aiId);
  const view = desired && canaryView(record, desired);
  if (!desired || view?.state !== 'due' || view.answers !== outcome.answers) return record;
  const {before} = record.canaries?.[aiId] ?? {};
  const state: CanaryState = {asked: {...outcome, at}, ...(before && !outcome.passed && {before})};
  const next = {...record, canaries: {...record.canaries, [aiId]: state}};
  const rollsBack = canaryView(next, desired);
  if (rollsBack?.state !== 'failed' || !rollsBack.rollsBack || !before || fleetGoesBack(record)) return next;
  const {restartedAt: _, ...declared} = desired.declared;
  return heldByCanary(next, before, hashOf(declared), at);
}

/** Whether a failure takes the whole fleet back. */
function fleetGoesBack({rollback, gate}: FleetRecord): boolean {
  return rollback?.enabled === true && gate?.healthy !== undefined && gate.judging?.of === 'change';
}
