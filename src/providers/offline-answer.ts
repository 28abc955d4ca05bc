/** What a specialist can say without a model: the parts of its own expertise that fit the question. Pure. */
import {displayName} from '../api/display.js';
import type {Expertise} from '../api/types.js';
import {questionTerms, search, sentencesOf, top, type Findings, type Referral} from './offline-findings.js';
import type {Terms} from './relevance.js';

export interface OfflineSpecialist {
  readonly component: string;
  readonly expertise: Expertise;
}

/**
 * An answer in the order of speaking, in pieces of about a sentence that make the whole text when joined. It opens
 * with the fact that no model is connected and closes with how to connect one, whatever was asked.
 *
 * @param questions what the user said so far, oldest first; a last one without content of its own ("tell me more")
 *   is about the one before
 */
export function offlineAnswer(specialist: OfflineSpecialist, questions: readonly string[]): readonly string[] {
  const name = displayName(specialist.component);
  return pieces([
    `No model is connected, so this answer is put together from the stored expertise of ${name} alone.`,
    ...body(specialist, name, questions),
    'To connect a model: start Ollama and run `ollama pull llama3.3:70b`, or put ANTHROPIC_API_KEY=… into ' +
      '.env.tekton beside tekton-ai.yaml (`provider: auto` finds both by itself), or name a provider in tekton-ai.yaml.',
  ]);
}

/** One paragraph: a text, or sentences and list items one by one. */
type Paragraph = string | readonly string[];

function body(specialist: OfflineSpecialist, name: string, questions: readonly string[]): readonly Paragraph[] {
  const {expertise} = specialist;
  const question = questionTerms(name, questions);
  if (question.size === 0) return introduction(name, expertise);

  const findings = search(question, expertise);
  const own = findings.shared.length;
  const elsewhere = Math.max(0, ...findings.referrals.map(({shared}) => shared));
  if (own === 0 && elsewhere === 0) return offTopic(name, expertise, question);
  return elsewhere > own ? referral(name, expertise, findings) : onTopic(name, expertise, findings);
}

function introduction(name: string, expertise: Expertise): readonly Paragraph[] {
  return [
    [whoIAm(name, expertise), ...focusOf(expertise)],
    ...bullets('Ask me to', expertise.capabilities),
    ...bullets('For other things', covers(expertise.refersTo)),
  ];
}

function onTopic(name: string, expertise: Expertise, findings: Findings): readonly Paragraph[] {
  const principles = top(findings.sentences, 2).map(found => found.text);
  const [step] = top(findings.capabilities, 1);
  const questions = sentencesOf(expertise.expertise).find(text => /^Ask /.test(text) && !principles.includes(text));
  const other = top(findings.referrals, 1).find(({shared}) => shared >= findings.shared.length / 2);
  return [
    [`${whoIAm(name, expertise)} Your question touches on what I cover: ${findings.shared.join(', ')}.`],
    principles.map(ended),
    [
      ...(step ? [`What I would do first: ${lowerFirst(ended(step.text))}`] : []),
      ...(questions === undefined ? [] : [`To go further I would ask ${ended(questions.slice('Ask '.length))}`]),
    ],
    [...(other ? [`A part of it may belong elsewhere: ${cover(other)}`] : [])],
  ];
}

function referral(name: string, expertise: Expertise, findings: Findings): readonly Paragraph[] {
  const near = findings.shared.length > 1 ? [...top(findings.capabilities, 1), ...top(findings.sentences, 1)] : [];
  return [
    [`${whoIAm(name, expertise)} This is better asked elsewhere.`, ...top(findings.referrals, 2).map(cover)],
    near.length === 0
      ? focusOf(expertise)
      : near.slice(0, 1).map(found => `What I can add from my own side: ${lowerFirst(ended(found.text))}`),
  ];
}

function offTopic(name: string, expertise: Expertise, question: Terms): readonly Paragraph[] {
  const words = [...question.values()].slice(0, 5).map(word => word.slice(0, 40));
  return [
    [`${whoIAm(name, expertise)} My stored expertise doesn't speak of ${words.join(', ')}.`, ...focusOf(expertise)],
    ...bullets('I could', expertise.capabilities.slice(0, 3)),
    ...bullets('Others may know', covers(expertise.refersTo)),
  ];
}

function whoIAm(name: string, {title}: Expertise): string {
  return `I am ${name}, ${ended(title)}`;
}

function focusOf({focus}: Expertise): readonly string[] {
  return focus === '' ? [] : [`My focus is ${ended(focus)}`];
}

function covers(refersTo: Expertise['refersTo']): readonly string[] {
  return Object.entries(refersTo).map(([component, text]) => `${displayName(component)}: ${text}`);
}

function cover({component, text}: Referral): string {
  return `${displayName(component)} covers ${ended(text)}`;
}

function bullets(heading: string, items: readonly string[]): readonly Paragraph[] {
  return items.length === 0 ? [] : [[`${heading}:`, ...items.map(item => `\n- ${item}`)]];
}

function ended(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function lowerFirst(text: string): string {
  return /^\p{Lu}\p{Ll}/u.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text; // not of an acronym
}

function pieces(paragraphs: readonly Paragraph[]): readonly string[] {
  return paragraphs
    .map(paragraph => (typeof paragraph === 'string' ? [paragraph] : paragraph))
    .filter(paragraph => paragraph.length > 0)
    .flatMap((paragraph, nth) =>
      paragraph.map((piece, i) => {
        if (i === 0) return nth === 0 ? piece : `\n\n${piece}`;
        return piece.startsWith('\n') ? piece : ` ${piece}`;
      }),
    );
}
