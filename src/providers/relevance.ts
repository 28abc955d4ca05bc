/** How well pieces of text fit a question, by the words they share. Pure and deterministic; no model, no index on disk. */

/** Word stem → the word as it was written first. */
export type Terms = ReadonlyMap<string, string>;

/**
 * Words of `text` that say what it is about. Inflected forms of a regular English word meet in one stem; words of
 * other languages count as they are written.
 */
export function terms(text: string): Terms {
  const found = new Map<string, string>();
  for (const [word] of text.matchAll(/[\p{L}\p{N}]+/gu)) {
    const lower = word.toLowerCase();
    if (lower.length < 2 || stopWords.has(lower)) continue;
    const key = stem(lower);
    if (!found.has(key)) found.set(key, word);
  }
  return found;
}

/**
 * One score per text: the sum over the words that it shares with `question`. A word counts the less, the more of
 * the texts contain it, so that what only one text speaks of decides. 0: nothing shared.
 */
export function scores(question: Terms, texts: readonly Terms[]): readonly number[] {
  const weights = new Map<string, number>();
  for (const key of question.keys()) {
    const holders = texts.filter(text => text.has(key)).length;
    if (holders > 0) weights.set(key, 1 / holders);
  }
  return texts.map(text => [...weights].reduce((sum, [key, weight]) => (text.has(key) ? sum + weight : sum), 0));
}

const endings: readonly (readonly [RegExp, string])[] = [
  [/ies$/, 'y'],
  [/(ss|x|ch|sh)es$/, '$1'],
  [/([^s])s$/, '$1'],
  [/(ing|ed|ation|ment|ly)$/, ''],
  [/([^aeiouls])\1$/, '$1'],
  [/e$/, ''],
];

/** Cuts regular English endings off, one of each kind at most; a stem keeps three letters at least. */
function stem(word: string): string {
  return endings.reduce((current, [ending, rest]) => {
    const shorter = current.replace(ending, rest);
    return shorter.length < 3 ? current : shorter;
  }, word);
}

const stopWords: ReadonlySet<string> = new Set(
  `a about after again all already also always am an and another any anything are as at be because been before being
  best better between both but by can cannot could did do does doing done don during each either else ever every few
  find first for from get gets give given go goes going good got had has have having he hello help her here hey hi him his
  how i if in into is isn it its just keep know last least let like ll look make makes many may me mean might mine more
  most much must my need needs never new next no not nothing now of off ok on once one only or other our out over own
  part please put really right s said same say see she should show so some someone something still such sure t take
  tell than thank thanks that the their them then there these they thing things this those through to too try two under
  until up us use used using ve very want was way we well went were what when where whether which while who whom whose
  why will with without won work works would yes yet you your yours yourself`.split(/\s+/),
);
