/** From a file to documents of known kind and shape, with everything that is wrong about them. */
import type {AnyDocument} from '../api/documents.js';
import type {Problem} from '../api/errors.js';
import {looksLikeKey, namesSecret} from '../api/mask.js';
import {schemas} from '../api/schema.js';
import type {DocumentKind} from '../api/schema.js';
import {suggest} from '../api/suggest.js';
import {apiVersion} from '../api/types.js';
import {validate} from '../api/validate.js';
import type {Path, SchemaProblem} from '../api/validate.js';
import type {SourceDocument} from './document.js';
import {asLayer} from './layer.js';

/**
 * A document and where it stands. Parts that its schema refuses are taken out of `value`, so that the rest can be
 * checked further: what the types call required may be absent until all problems are told.
 */
export interface Declared<T extends AnyDocument> {
  readonly source: SourceDocument;
  readonly value: T;
}

export interface Checked {
  /** undefined: it is of no kind that we know. */
  readonly declared: Declared<AnyDocument> | undefined;
  readonly problems: readonly Problem[];
}

export function isKind<T extends AnyDocument>(kind: T['kind']) {
  return (declared: Declared<AnyDocument>): declared is Declared<T> => declared.value.kind === kind;
}

/** A document of a fleet as its schema has it, with everything that is wrong about it. */
export async function checkOneOfFleet(source: SourceDocument): Promise<Checked> {
  const kind = source.value['kind'];
  if (!isKnownKind(kind)) return {declared: undefined, problems: [unknownKind(source, kind)]};
  const {value, problems} = await checkDocument(kind, source);
  return {declared: {source, value: value as unknown as AnyDocument}, problems}; // what the schema accepts
}

/** A document of a kind against its schema; what that refuses is taken out of `value`. */
export async function checkDocument(
  kind: DocumentKind,
  source: SourceDocument,
): Promise<{readonly value: Readonly<Record<string, unknown>>; readonly problems: readonly Problem[]}> {
  const layer = kind === 'Fleet' ? asLayer(source) : {value: source.value, problems: [], isOpen: () => false};
  const wrong = (await validate(kind, layer.value)).filter(({path, at}) => at !== 'inside' || !layer.isOpen(path));
  const problems = [
    ...layer.problems,
    ...wrong
      .filter(({path, at}) => at === 'key' || !source.isOpen?.(path))
      .map(({path, at, message, hint}) => source.problem(path, at === 'key' ? 'key' : 'value', message, hint)),
  ];
  const literal = literalSecrets(source).filter(({path}) => !wrong.some(problem => isWithin(path, problem.path)));
  problems.push(...literal.map(({path, message}) => source.problem(path, 'value', message, secretHint)));
  return {value: wrong.length === 0 ? source.value : withoutWrong(source.value, wrong), problems};
}

/** Of what fleets are made of. */
const fleetKinds: readonly string[] = Object.keys(schemas).filter(kind => kind !== 'Policy');

function isKnownKind(kind: unknown): kind is DocumentKind {
  return typeof kind === 'string' && fleetKinds.includes(kind);
}

function unknownKind(source: SourceDocument, kind: unknown): Problem {
  if (kind === 'Policy') {
    const hint = 'it is read from $TEKTON_AI_POLICY, or policy.yaml in the state folder';
    return source.problem(['kind'], 'value', 'a policy is no part of a fleet', hint);
  }
  const kinds = fleetKinds;
  if (kind === undefined) {
    return source.problem(
      [],
      'value',
      '`kind` is missing',
      `one of ${kinds.join(', ')}, with \`apiVersion: ${apiVersion}\``,
    );
  }
  return source.problem(['kind'], 'value', `\`kind\` must be one of ${kinds.join(', ')}`, suggest(kind, kinds));
}

function withoutWrong(
  value: Readonly<Record<string, unknown>>,
  wrong: readonly SchemaProblem[],
): Record<string, unknown> {
  const copy = structuredClone(value) as Record<string, unknown>; // what a copy of a mapping is
  for (const {path, at} of wrong) if (at !== 'inside') remove(copy, path);
  for (const part of ['metadata', 'spec']) if (!isMapping(copy[part])) copy[part] = {};
  return copy;
}

/** Positions of lists stay: an item becomes undefined. */
function remove(top: Record<string, unknown>, path: Path): void {
  let parent: unknown = top;
  for (const segment of path.slice(0, -1)) {
    parent = isMapping(parent) || Array.isArray(parent) ? (parent as Record<string, unknown>)[segment] : undefined;
  }
  const last = path.at(-1);
  if (last === undefined) return;
  if (Array.isArray(parent)) parent[Number(last)] = undefined;
  else if (isMapping(parent)) delete parent[last];
}

const secretHint = 'refer to it: {env: NAME} or {file: path}';

interface Literal {
  readonly path: Path;
  readonly message: string;
}

/** Texts that are keys, wherever they stand, and variables whose name says that they hold one. */
function literalSecrets(source: SourceDocument): Literal[] {
  const found: Literal[] = [];
  const walk = (value: unknown, path: Path): void => {
    if (typeof value === 'string') {
      const message = literalMessage(value, path);
      if (message !== undefined) found.push({path, message});
    } else if (value !== null && typeof value === 'object') {
      for (const [key, field] of Object.entries(value)) walk(field, [...path, key]);
    }
  };
  walk(source.value, []);
  return found;
}

function literalMessage(value: string, path: Path): string | undefined {
  const name = path.at(-1) ?? '';
  if (looksLikeKey(value)) return `\`${name}\` holds a secret: secrets are only ever referred to`;
  if (name === 'baseUrl' && /^https?:\/\/[^/?#]*@/.test(value)) {
    return '`baseUrl` holds a password: secrets are only ever referred to';
  }
  const isVariable = path.at(-2) === 'env' && namesSecret(name) && !/^(\d+|true|false|)$/i.test(value);
  return isVariable ? `\`${name}\` seems to hold a secret: secrets are only ever referred to` : undefined;
}

function isWithin(path: Path, outer: Path): boolean {
  return outer.length <= path.length && outer.length > 0 && outer.every((segment, i) => path[i] === segment);
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
