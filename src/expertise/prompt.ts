/** What a model is told about who it is. Pure. */
import {displayName} from '../api/display.js';
import type {Expertise} from '../api/types.js';

export interface PromptInput {
  readonly component: string;
  readonly expertise: Expertise;
}

/**
 * The expertise's own template, filled in, or else a composed prompt. Templates know `{{title}}`, `{{component}}`
 * (as people write it: `Tekton Core`), `{{expertise}}`, `{{focus}}`, `{{personality}}`, `{{roles}}` (comma-separated),
 * and, as lists with one `- ` line each, `{{capabilities}}` and `{{refersTo}}`. Any other placeholder stays as it is.
 */
export function systemPrompt(input: PromptInput): string {
  const template = input.expertise.systemPrompt;
  return template === undefined ? compose(input) : fill(template, placeholders(input));
}

/** One line for lists and the protocol's `info`: `AI specialist for Athena - The Knowledge Weaver: …` */
export function description({component, expertise}: PromptInput): string {
  const head = `AI specialist for ${displayName(component)} - ${expertise.title}`;
  return oneLine(expertise.focus === '' ? head : `${head}: ${expertise.focus}`);
}

// The opening carries the identity: the protocol's `info` shows the first 200 characters only.
function compose({component, expertise}: PromptInput): string {
  const {title, focus, roles, personality, capabilities, refersTo} = expertise;
  const name = displayName(component);
  const sections = [
    `You are ${name}, ${title}: the AI specialist for the ${name} component of a Tekton platform.` +
      (focus === '' ? '' : ` Your focus: ${focus}.`),
    section('How you work', expertise.expertise),
    section('What you do', list(capabilities)),
    section('Your roles', roles.join(', ')),
    section('Your manner', personality),
    section('Outside of this expertise, say so and name the specialist to ask', list(referrals(refersTo))),
    section(
      'In every answer',
      list([
        'Answer the question first, then give the reasons that matter; leave out what the person knows already.',
        'Use the methods above. If a fact that decides the answer is missing, ask for it, one or two questions at most.',
        'You see only this conversation. State what you infer as inference, and invent no measurement, file, command output or state of the platform.',
        'Name the risk or failure that you would look at first, and end with a next step that can be carried out.',
      ]),
    ),
  ];
  return sections.filter(text => text !== '').join('\n\n');
}

function section(heading: string, body: string): string {
  return body.trim() === '' ? '' : `${heading}:\n${body}`;
}

function placeholders({component, expertise}: PromptInput): ReadonlyMap<string, string> {
  return new Map([
    ['title', expertise.title],
    ['component', displayName(component)],
    ['expertise', expertise.expertise],
    ['focus', expertise.focus],
    ['roles', expertise.roles.join(', ')],
    ['capabilities', list(expertise.capabilities)],
    ['personality', expertise.personality],
    ['refersTo', list(referrals(expertise.refersTo))],
  ]);
}

// One pass: a placeholder inside of a filled-in value is text, not a template.
function fill(template: string, values: ReadonlyMap<string, string>): string {
  return template.replace(/\{\{\s*(\w+)\s*\}\}/g, (whole, name: string) => values.get(name) ?? whole);
}

function referrals(refersTo: Expertise['refersTo']): readonly string[] {
  return Object.entries(refersTo).map(([component, what]) => `${displayName(component)}: ${what}`);
}

function list(items: readonly string[]): string {
  return items.map(item => `- ${item}`).join('\n');
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
