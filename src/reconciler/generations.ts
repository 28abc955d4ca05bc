/** Generations: how often what is declared of a specialist has changed. */
import type {Desired, FleetRecord} from '../api/types.js';

/** Counts on from `previous` where a declaration differs from what stands there. */
export function withGenerations(
  specialists: readonly Desired[],
  previous: FleetRecord | undefined,
): readonly Desired[] {
  const before = new Map(previous?.specialists.map(desired => [desired.aiId, desired]));
  return specialists.map(desired => {
    const old = before.get(desired.aiId);
    const same = old?.specHash === desired.specHash && old.spec.enabled === desired.spec.enabled;
    const last = previous?.generations[desired.aiId] ?? 0;
    return {...desired, generation: same ? old.generation : last + 1};
  });
}
