/** What of a specialist's expertise a question is about. Pure. */
import {displayName} from '../api/display.js';
import type {Expertise} from '../api/types.js';
import {scores, terms, type Terms} from './relevance.js';

export interface Ranked {
  readonly text: string;
  readonly score: number;
}

export interface Referral extends Ranked {
  readonly component: string;
  /** How many words of the question it shares. */
  readonly shared: number;
}

export interface Findings {
  readonly sentences: readonly Ranked[];
  readonly capabilities: readonly Ranked[];
  readonly referrals: readonly Referral[];
  /** Words of the question that the specialist's own texts contain. */
  readonly shared: readonly string[];
}

/** Terms of the last question that has any; of none where the last one greets or asks who is there. */
export function questionTerms(name: string, questions: readonly string[]): Terms {
  const ownName = terms(name);
  for (const question of questions.toReversed()) {
    // Enough to tell what it is about; a pasted file of megabytes isn't worth the time.
    const found = terms(question.slice(0, 20_000));
    const about = new Map([...found].filter(([key]) => !ownName.has(key)));
    if (about.size > 0 || /\b(hi|hello|hey|who|you|your|yourself|help)\b/i.test(question)) return about;
  }
  return new Map();
}

/** Weighs everything that the specialist could say or refer to against the question. */
export function search(question: Terms, expertise: Expertise): Findings {
  const sentences = sentencesOf(expertise.expertise);
  const {capabilities} = expertise;
  const referrals = Object.entries(expertise.refersTo).map(([component, text]) => ({component, text}));
  const texts = [
    ...sentences.map((text, i) => terms(i === 0 ? text : withoutVerb(text))),
    ...capabilities.map(text => terms(withoutVerb(text))),
    ...referrals.map(({component, text}) => terms(`${displayName(component)} ${text}`)),
    terms(`${expertise.title} ${expertise.focus} ${expertise.roles.join(' ')}`),
  ];
  const found = scores(question, texts);
  const scoreAt = (index: number) => found[index] ?? 0;

  const ownCount = sentences.length + capabilities.length;
  const own = [...texts.slice(0, ownCount), ...texts.slice(-1)];
  const general = scoreAt(texts.length - 1);
  return {
    // A question that meets title, focus or roles only is still ours: the opening sentence says what we are about.
    sentences: sentences.map((text, i) => ({text, score: Math.max(scoreAt(i), i === 0 ? general : 0)})),
    capabilities: capabilities.map((text, i) => ({text, score: scoreAt(sentences.length + i)})),
    referrals: referrals.map((entry, i) => ({
      ...entry,
      score: scoreAt(ownCount + i),
      shared: sharedWords(question, texts.slice(ownCount + i, ownCount + i + 1)).length,
    })),
    shared: sharedWords(question, own),
  };
}

/** Words of the question, as it wrote them, that any of the texts contains. */
function sharedWords(question: Terms, texts: readonly Terms[]): readonly string[] {
  return [...question].filter(([key]) => texts.some(text => text.has(key))).map(([, word]) => word);
}

/** "Plan dead-letter queues" is about queues; a question about planning isn't answered by its verb. */
function withoutVerb(imperative: string): string {
  return imperative.replace(/^\s*\S+/, '');
}

function best(found: readonly Ranked[]): number {
  return Math.max(0, ...found.map(({score}) => score));
}

/** The best `count` that score at least half as well as the best of all, best first; order of writing breaks ties. */
export function top<T extends Ranked>(found: readonly T[], count: number): readonly T[] {
  const enough = best(found) / 2;
  return found
    .filter(({score}) => score > 0 && score >= enough)
    .toSorted((a, b) => b.score - a.score)
    .slice(0, count);
}

export function sentencesOf(text: string): readonly string[] {
  const sentences = text.trim().split(/(?<=[.!?])\s+(?=\p{Lu})/u);
  return sentences.filter(sentence => sentence !== '');
}
