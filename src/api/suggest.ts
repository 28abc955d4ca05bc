import {closest, distance} from 'fastest-levenshtein';

/** "did you mean `model`?", or undefined where nothing known comes close. */
export function suggest(written: unknown, known: readonly string[]): string | undefined {
  if (typeof written !== 'string' || known.length === 0 || written.length > 100) return undefined;
  const exact = known.find(name => name.toLowerCase() === written.toLowerCase());
  const best = exact ?? closest(written, known);
  const reach = best.length <= 3 ? 1 : Math.max(2, Math.floor(best.length / 3));
  return exact !== undefined || distance(written, best) <= reach ? `did you mean \`${best}\`?` : undefined;
}
