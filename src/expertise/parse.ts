/**
 * The door for shipped Expertise documents: YAML in, typed out. A fleet's own documents go through the schema.
 * To be imported only where a document is read: this brings the YAML parser.
 */
import {parse} from 'yaml';
import {apiVersion, type Expertise} from '../api/types.js';

export type ExpertiseDocument =
  | {readonly type: 'expertise'; readonly component: string; readonly expertise: Expertise}
  /** Another name for a component that has its own document. */
  | {readonly type: 'alias'; readonly component: string; readonly aliasOf: string};

type Fields = Readonly<Record<string, unknown>>;

/** @throws {Error} saying where it isn't YAML, or the first field that is missing, unknown or of a wrong type */
export function parseExpertise(yaml: string): ExpertiseDocument {
  const root = fields(parse(yaml), 'the document', ['apiVersion', 'kind', 'metadata', 'spec']);
  if (root['apiVersion'] !== apiVersion) throw new Error(`apiVersion must be ${apiVersion}`);
  if (root['kind'] !== 'Expertise') throw new Error('kind must be Expertise');
  const component = text(fields(root['metadata'], 'metadata', ['name'])['name'], 'metadata.name');

  const spec = fields(root['spec'], 'spec', [...specFields, 'aliasOf']);
  if (spec['aliasOf'] === undefined) return {type: 'expertise', component, expertise: expertiseOf(spec)};
  if (Object.keys(spec).length > 1) throw new Error('spec.aliasOf must stand alone');
  return {type: 'alias', component, aliasOf: text(spec['aliasOf'], 'spec.aliasOf')};
}

const specFields = [
  'title',
  'expertise',
  'focus',
  'roles',
  'capabilities',
  'personality',
  'refersTo',
  'systemPrompt',
] as const satisfies readonly (keyof Expertise)[];

function expertiseOf(spec: Fields): Expertise {
  const systemPrompt = spec['systemPrompt'];
  return {
    title: text(spec['title'], 'spec.title'),
    expertise: text(spec['expertise'], 'spec.expertise'),
    focus: text(spec['focus'], 'spec.focus'),
    roles: texts(spec['roles'], 'spec.roles'),
    capabilities: texts(spec['capabilities'], 'spec.capabilities'),
    personality: text(spec['personality'], 'spec.personality'),
    refersTo: Object.fromEntries(
      Object.entries(fields(spec['refersTo'], 'spec.refersTo')).map(([component, what]) => [
        component,
        text(what, `spec.refersTo.${component}`),
      ]),
    ),
    ...(systemPrompt === undefined ? {} : {systemPrompt: text(systemPrompt, 'spec.systemPrompt')}),
  };
}

function fields(value: unknown, path: string, known?: readonly string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${path} must be a mapping`);
  const unknown = known && Object.keys(value).find(key => !known.includes(key));
  if (unknown !== undefined) throw new Error(`${path} has an unknown field ${unknown}`);
  return value as Fields; // a mapping's keys are strings; its values stay unknown
}

function text(value: unknown, path: string): string {
  if (typeof value !== 'string' || value.trim() === '') throw new Error(`${path} must be a text that isn't empty`);
  return value.trim();
}

function texts(value: unknown, path: string): readonly string[] {
  if (!Array.isArray(value) || value.length === 0) throw new Error(`${path} must be a list that isn't empty`);
  return value.map((item, index) => text(item, `${path}[${index}]`));
}
