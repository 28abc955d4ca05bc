/** Random numbers from a seed. A stream is named, so that what one actor draws doesn't depend on what others drew. */

/** @returns a generator in [0, 1) with helpers; the same `seed` and `names` always give the same stream. */
export function stream(seed, ...names) {
  let state = hash([seed, ...names].join('/'));
  const next = () => {
    // mulberry32: 32 bits of state are plenty for a schedule.
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const between = (low, high) => low + next() * (high - low);
  const int = (low, high) => Math.floor(between(low, high + 1));
  return {
    next,
    between,
    /** Both ends included. */
    int,
    chance: probability => next() < probability,
    pick: list => list[int(0, list.length - 1)],
    /** A key of `weights`, as often as its weight says. */
    weighted: weights => {
      const entries = Object.entries(weights);
      let rest = next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      return (entries.find(([, weight]) => (rest -= weight) < 0) ?? entries.at(-1))[0];
    },
  };
}

/** FNV-1a. */
function hash(text) {
  let value = 0x811c9dc5;
  for (const char of text) value = Math.imul(value ^ char.codePointAt(0), 0x01000193);
  return value >>> 0;
}
