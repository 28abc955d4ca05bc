/** Circles among names that lead to each other. */

/**
 * Depth first without recursion (5,000 specialists may stand in one row). Names that were left behind are in
 * `done`: no circle leads through them, or it has been found.
 */
export function circleFrom(
  start: string,
  next: (name: string) => readonly string[],
  done: Set<string>,
): readonly string[] | undefined {
  const trail: {name: string; rest: string[]}[] = [{name: start, rest: done.has(start) ? [] : [...next(start)]}];
  const onTrail = new Set([start]);
  let found: readonly string[] | undefined;
  for (let step = trail.at(-1); step; step = trail.at(-1)) {
    const name = step.rest.shift();
    if (name === undefined) {
      done.add(step.name);
      onTrail.delete(step.name);
      trail.pop();
    } else if (onTrail.has(name)) {
      const names = trail.map(step => step.name);
      found ??= [...names.slice(names.indexOf(name)), name];
    } else if (!done.has(name)) {
      onTrail.add(name);
      trail.push({name, rest: [...next(name)]});
    }
  }
  return found;
}
