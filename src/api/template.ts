/**
 * Templates of messages: Mustache, which has no code in it. What values are escaped for follows from what the text is:
 * JSON, HTML, a form, or plain.
 */
import type {FleetEvent} from './types.js';

/** What a template is filled in from. Absent parts are empty, so a section on them is left out. */
export interface MessageView {
  readonly at: string;
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  readonly namespace: string;
  readonly fleet: string;
  /** Name of the specialist; empty: it is about the fleet. */
  readonly specialist: string;
  readonly aiId: string;
  /** `<namespace>/<name>` of the git source that it is about; empty: it is about the fleet, or a specialist. */
  readonly gitSource: string;
  readonly revision: string;
  /** How many of the same were left out before this one; empty for none. */
  readonly leftOut: number | '';
  /** The event as JSON, for `{{{event}}}`. */
  readonly event: string;
}

export const viewFields = [
  'at',
  'type',
  'reason',
  'message',
  'namespace',
  'fleet',
  'specialist',
  'aiId',
  'gitSource',
  'revision',
  'leftOut',
  'event',
] as const satisfies readonly (keyof MessageView)[];

/** What a template makes. */
export type TextKind = 'json' | 'html' | 'form' | 'text';

/** By the content type that a body is sent with. */
export function kindOfContent(contentType: string): TextKind {
  const [type = ''] = contentType.toLowerCase().split(';');
  const name = type.trim();
  if (/[/+]json$/.test(name)) return 'json';
  if (name === 'text/html' || /[/+]xml$/.test(name)) return 'html';
  return name === 'application/x-www-form-urlencoded' ? 'form' : 'text';
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const escapes: Readonly<Record<TextKind, (value: unknown) => string>> = {
  json: value => JSON.stringify(String(value)).slice(1, -1),
  html: value => String(value).replaceAll(/[&<>"']/g, sign => entities[sign] ?? sign),
  form: value => encodeURIComponent(String(value)),
  text: String,
};

export async function render(template: string, view: MessageView, kind: TextKind): Promise<string> {
  const {default: mustache} = await import('mustache');
  return mustache.render(template, view, {}, {escape: escapes[kind]});
}

/** What is wrong with a template, or undefined. */
export async function templateProblem(template: string, kind: TextKind): Promise<string | undefined> {
  const {default: mustache} = await import('mustache');
  let tokens: unknown;
  try {
    tokens = mustache.parse(template);
  } catch (error) {
    return `this is no Mustache template: ${error instanceof Error ? error.message : String(error)}`;
  }
  const unknown = [...new Set(namesIn(tokens))].find(name => name !== '.' && !fields.has(name));
  if (unknown !== undefined) return `the template has \`${unknown}\`; there are ${viewFields.join(', ')}`;
  if (kind !== 'json') return undefined;
  for (const view of [sampleView, {...sampleView, specialist: '', aiId: '', revision: '', leftOut: '' as const}]) {
    try {
      JSON.parse(await render(template, view, kind));
    } catch (error) {
      return `what the template makes is not JSON: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
  return undefined;
}

const fields: ReadonlySet<string> = new Set(viewFields);

/** mustache's tokens: [type, value, start, end, tokens of a section?]. Its types call them `any`. */
function namesIn(tokens: unknown): readonly string[] {
  if (!Array.isArray(tokens)) return [];
  return tokens.flatMap((token: unknown) => {
    if (!Array.isArray(token)) return [];
    const [type, value, , , inner] = token as readonly unknown[];
    const isName = typeof type === 'string' && ['name', '&', '#', '^'].includes(type);
    return [...(isName && typeof value === 'string' ? [value] : []), ...namesIn(inner)];
  });
}

export function viewOf(event: FleetEvent, leftOut = 0, revision = ''): MessageView {
  const {at, type, reason, message, namespace = '', fleet = '', aiId = '', gitSource = ''} = event;
  return {
    ...{at, type, reason, message, namespace, fleet, aiId, gitSource},
    revision: event.revision ?? revision,
    specialist: specialistOf(event) ?? '',
    leftOut: leftOut === 0 ? '' : leftOut,
    event: JSON.stringify({...event, ...(leftOut > 0 && {leftOut})}),
  };
}

/** The name within its namespace that an event is about. */
export function specialistOf({aiId, namespace}: FleetEvent): string | undefined {
  if (aiId === undefined) return undefined;
  const own = namespace !== undefined && aiId.startsWith(`${namespace}.`) ? aiId.slice(namespace.length + 1) : aiId;
  return own.replace(/-ai$/, '').replaceAll('_', '-');
}

/** What a destination is tried with. */
export function sampleEvent(namespace: string, fleet: string, at: string): FleetEvent {
  return {
    at,
    type: 'Warning',
    reason: 'CrashLoop',
    namespace,
    fleet,
    aiId: namespace === 'default' ? 'sample-ai' : `${namespace}.sample-ai`,
    message: 'this is a test: "nothing" happened',
  };
}

const sampleView: MessageView = viewOf(sampleEvent('default', 'dev', '2000-01-01T00:00:00.000Z'), 3, '0123456789');
