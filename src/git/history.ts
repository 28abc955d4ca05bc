/** Whether one commit descends from another, told from a history that is cut off somewhere. */
import type {GitRepository} from './copy.js';

export type Descent =
  /** The older one is an ancestor of the newer one. */
  | 'descends'
  /** It is none, whatever lies beyond the cut. */
  | 'forced'
  /** What is here doesn't tell; a deeper history would. */
  | 'unknown';

/** A day: what clocks of people who commit may be wrong by. */
const clockSlackS = 86_400;

/**
 * "descends" is proven by the way from one to the other. "forced" is proven when every way back from `newer` ends in
 * commits that `older` descends from, or in a first commit. With `byDate`, ways that go on beyond the cut count as ended,
 * too, if they are a day older than `older` at the cut: its ancestors are all that could follow.
 */
export async function descent(
  repository: GitRepository,
  older: string,
  newer: string,
  {byDate, signal}: {readonly byDate: boolean; readonly signal: AbortSignal},
): Promise<Descent> {
  if (older === newer) return 'descends';
  const cut = repository.shallowCommits();
  const isHere = await repository.has(older, signal);
  if (!isHere) return cut.size > 0 ? 'unknown' : 'forced';
  if (await repository.isAncestor(older, newer, signal)) return 'descends';
  if (cut.size === 0) return 'forced';
  const known = await repository.parentsBeyondCut(older, cut, signal);
  const unseen = (await repository.commitsNotIn(newer, [older, ...known], signal)).filter(id => cut.has(id));
  if (unseen.length === 0) return 'forced';
  if (!byDate) return 'unknown';
  const times = await repository.commitTimes([older, ...unseen], signal);
  const limit = (times.get(older) ?? Infinity) - clockSlackS;
  return unseen.every(id => (times.get(id) ?? Infinity) < limit) ? 'forced' : 'unknown';
}
