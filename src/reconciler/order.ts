/** Start order along `dependsOn`. Cycles were refused when the spec was loaded; one that slips in breaks at its first name. */
import type {Desired} from '../api/types.js';

/** Dependencies before dependents, otherwise in the order given. */
export function startOrder(desired: readonly Desired[]): readonly Desired[] {
  const byName = new Map(desired.map(d => [d.name, d]));
  const ordered = new Set<Desired>();
  const entered = new Set<Desired>();
  const visit = (one: Desired): void => {
    if (entered.has(one)) return;
    entered.add(one);
    for (const name of one.spec.dependsOn) {
      const dependency = byName.get(name);
      if (dependency) visit(dependency);
    }
    ordered.add(one);
  };
  desired.forEach(visit);
  return [...ordered];
}
