/** What `rollout` does to a fleet's record: restarts that a person asked for, and declarations that are held. Pure. */
import {diffDeclared, hashOf} from '../api/hash.js';
import type {CanaryState, Desired, FleetRecord, Revision, Rollout} from '../api/types.js';
import {withGenerations} from './generations.js';

type Rollouts = Readonly<Record<string, Rollout>>;

/** The declarations that count: those of the source, with what was laid over them. */
export function laidOver(specialists: readonly Desired[], rollouts: Rollouts = {}): readonly Desired[] {
  return specialists.map(desired => {
    const {held, restartedAt} = rollouts[desired.aiId] ?? {};
    return startedSince(held?.desired ?? desired, restartedAt);
  });
}

/** Those of names that are still declared: what is declared anew later begins without a past. */
export function stillDeclared(rollouts: Rollouts = {}, specialists: readonly Desired[]): Rollouts {
  const declared = new Set(specialists.map(desired => desired.aiId));
  return Object.fromEntries(Object.entries(rollouts).filter(([aiId]) => declared.has(aiId)));
}

/** Has every worker of `aiIds` replaced by one that starts after `at` (ISO 8601). */
export function restarted(record: FleetRecord, aiIds: readonly string[], at: string): FleetRecord {
  return changed(record, at, aiIds, rollout => ({...rollout, restartedAt: at}));
}

/** Holds a specialist at `desired`, whatever its source says, until `resumed`. */
export function held(record: FleetRecord, desired: Desired, by: 'pause' | 'undo', at: string): FleetRecord {
  return changed(record, at, [desired.aiId], rollout => ({...rollout, held: {by, at, desired}}));
}

/** As `held`, by a canary that what is declared (of spec hash `refused`) has failed. */
export function heldByCanary(record: FleetRecord, desired: Desired, refused: string, at: string): FleetRecord {
  return changed(record, at, [desired.aiId], rollout => ({...rollout, held: {by: 'canary', at, desired, refused}}));
}

/** Lets go of what was held: what the source declares counts again. Of a name that isn't in `declared`, at its next reading. */
export function resumed(
  record: FleetRecord,
  aiIds: readonly string[],
  declared: readonly Desired[],
  at: string,
): FleetRecord {
  const bySource = new Map(declared.map(desired => [desired.aiId, desired]));
  const specialists = record.specialists.map(desired =>
    aiIds.includes(desired.aiId) ? (bySource.get(desired.aiId) ?? desired) : desired,
  );
  const next = changed(record, at, aiIds, ({held: _held, ...rollout}) => rollout, specialists);
  if (!record.canaries) return next;
  // What a canary refused is to be asked again.
  const canaries = Object.entries(record.canaries).map(([aiId, {asked, ...state}]): [string, CanaryState] => [
    aiId,
    aiIds.includes(aiId) && asked?.passed === false ? state : {...(asked && {asked}), ...state},
  ]);
  return {...next, canaries: Object.fromEntries(canaries)};
}

/** The newest earlier declaration that is another one than now, a mere restart aside; or the one of `generation`. */
export function revisionToUndoTo(
  revisions: readonly Revision[],
  current: Desired,
  generation: number | undefined,
): Revision | undefined {
  const own = revisions.filter(revision => revision.aiId === current.aiId);
  if (generation !== undefined) return own.findLast(revision => revision.generation === generation);
  return own.findLast(
    revision =>
      revision.generation < current.generation &&
      diffDeclared(revision.desired.declared, current.declared, {}).some(change => change.path !== 'restartedAt'),
  );
}

function changed(
  record: FleetRecord,
  at: string,
  aiIds: readonly string[],
  change: (rollout: Rollout) => Rollout,
  declared: readonly Desired[] = record.specialists,
): FleetRecord {
  const rollouts: Record<string, Rollout> = {...record.rollouts};
  for (const aiId of aiIds) rollouts[aiId] = change(rollouts[aiId] ?? {});
  const specialists = withGenerations(laidOver(declared, rollouts), record);
  const generations = {...record.generations};
  for (const {aiId, generation} of specialists) generations[aiId] = generation;
  return {...record, rollouts, specialists, generations, appliedAt: at};
}

/** The time stands in what is declared, so that a worker from before it differs, in a field that no running one takes over. */
function startedSince(desired: Desired, restartedAt: string | undefined): Desired {
  if (restartedAt === undefined || desired.declared['restartedAt'] === restartedAt) return desired;
  const declared = {...desired.declared, restartedAt};
  return {...desired, declared, specHash: hashOf(declared)};
}
