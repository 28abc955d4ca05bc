/** `fleets/<namespace>.<fleet>.history.jsonl`: earlier declarations of each specialist, for `rollout history` and `undo`. */
import type {Desired, FleetRecord, Revision} from '../api/types.js';
import {removeFile, writeWhole} from './files.js';
import {readOwnText} from './own-files.js';
import {statePaths} from './paths.js';
import type {FleetKey} from './paths.js';

/** Generations that are kept of each specialist. */
const kept = 10;

/** All that is known of the fleet, oldest first. A damaged line is left out. */
export function readRevisions(home: string, key: FleetKey): readonly Revision[] {
  return (readOwnText(statePaths(home).fleetHistory(key)) ?? '').split('\n').flatMap(parse);
}

/**
 * Adds what `after` declares otherwise than `before`, and what `before` had where that is not known yet. For the holder
 * of the `fleets` lock. Not synced to disk: it is what a person may want to go back to, not what is to be.
 */
export async function keepRevisions(home: string, before: FleetRecord | undefined, after: FleetRecord): Promise<void> {
  const old = new Map(before?.specialists.map(desired => [desired.aiId, desired]));
  const changed = after.specialists.filter(({aiId, generation}) => old.get(aiId)?.generation !== generation);
  if (changed.length === 0) return;
  // Generations begin again with a record that was lost: what was kept of the time before would be mixed up with it.
  const known = before === undefined ? [] : readRevisions(home, after);
  const isKnown = ({aiId, generation}: Desired): boolean =>
    known.some(one => one.aiId === aiId && one.generation === generation);
  const missed = changed.flatMap(({aiId}) => old.get(aiId) ?? []).filter(desired => !isKnown(desired));
  const revisions = newest([
    ...known,
    ...missed.map(desired => revisionOf(desired, before ?? after)),
    ...changed.map(desired => revisionOf(desired, after)),
  ]);
  const text = revisions.map(revision => `${JSON.stringify(revision)}\n`).join('');
  await writeWhole(statePaths(home).fleetHistory(after), text, {durable: false});
}

function revisionOf(desired: Desired, {appliedAt, revision, rollouts}: FleetRecord): Revision {
  const {aiId, generation} = desired;
  // What a person holds is not as the commit says.
  const isFrom = revision !== undefined && !rollouts?.[aiId]?.held;
  return {aiId, generation, at: appliedAt, ...(isFrom && {revision}), desired};
}

export async function forgetRevisions(home: string, key: FleetKey): Promise<void> {
  await removeFile(statePaths(home).fleetHistory(key));
}

function newest(revisions: readonly Revision[]): readonly Revision[] {
  const counts = new Map<string, number>();
  return revisions
    .toReversed()
    .filter(({aiId}) => {
      const count = (counts.get(aiId) ?? 0) + 1;
      counts.set(aiId, count);
      return count <= kept;
    })
    .toReversed();
}

function parse(line: string): readonly Revision[] {
  if (line === '') return [];
  try {
    const revision = JSON.parse(line) as Revision | null; // written by keepRevisions, whole
    return typeof revision?.aiId === 'string' && typeof revision.generation === 'number' ? [revision] : [];
  } catch {
    return [];
  }
}
