/** Checks a document against its kind's schema and says what is wrong in words that need no schema to understand. */
import type {ErrorObject, ValidateFunction} from 'ajv';
import {maskKeys} from './mask.js';
import {patternMeanings, unsupportedFields} from './schema.js';
import type {DocumentKind, JsonSchema} from './schema.js';
import {suggest} from './suggest.js';

/** Keys and list positions from the top of a document down to a value. */
export type Path = readonly string[];

export interface SchemaProblem {
  readonly path: Path;
  /** Whether the last key of the path is wrong, or its value, or something is missing inside of the value. */
  readonly at: 'key' | 'value' | 'inside';
  readonly message: string;
  readonly hint?: string;
}

/** All that is wrong with `value` as a document of this kind, in the order of the schema. Never throws for what it is given. */
export async function validate(kind: DocumentKind, value: unknown): Promise<readonly SchemaProblem[]> {
  const check = await validatorOf(kind);
  if (check(value)) return [];
  return (check.errors ?? []).flatMap(error => translate(error) ?? []);
}

/** Loaded where it is first needed; the build puts validators there that were compiled beforehand. */
async function validatorOf(kind: DocumentKind): Promise<ValidateFunction> {
  const {validators} = await import('./validators.js');
  return validators[kind];
}

/** undefined: another error of the same value says it better. */
function translate(error: ErrorObject): SchemaProblem | undefined {
  const path = error.instancePath.split('/').slice(1).map(unescapePointer);
  const name = `\`${maskKeys(nameOf(path))}\``;
  const params = error.params as Readonly<Record<string, unknown>>;
  const schema = (error.parentSchema ?? {}) as JsonSchema;
  const wrong = (message: string, hint?: string): SchemaProblem => ({path, at: 'value', message, ...(hint && {hint})});
  switch (error.keyword) {
    case 'additionalProperties':
      return unknownField(path, String(params['additionalProperty']), schema);
    case 'required':
      return {path, at: 'inside', message: `\`${String(params['missingProperty'])}\` is missing`};
    case 'type':
      return wrongType(path, name, schema, error.data);
    case 'const':
      return wrong(`${name} must be ${String(schema.const)}`, otherVersion(schema.const, error.data));
    case 'enum': {
      const known = (schema.enum ?? []).map(String);
      if (error.propertyName !== undefined) {
        const hint = suggest(error.propertyName, known);
        const message = `unknown field \`${maskKeys(error.propertyName)}\``;
        return {path: [...path, error.propertyName], at: 'key', message, ...(hint && {hint})};
      }
      return wrong(`${name} must be one of ${known.join(', ')}`, suggest(error.data, known));
    }
    case 'pattern':
      return wrongPattern(error, path, name, schema);
    case 'propertyNames':
    case 'if':
      return undefined;
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
      return wrong(`${name} must be ${rangeOf(schema)}`);
    case 'minLength':
    case 'minItems':
      return wrong(`${name} must not be empty`);
    case 'maxLength':
      return tooLong(error, path, name, schema);
    case 'minProperties':
    case 'maxProperties':
      return wrong(`${name} needs ${schema.maxProperties === 1 ? 'exactly' : 'at least'} one of ${fieldsOf(schema)}`);
    case 'uniqueItems':
      return {...wrong(`${name} names the same thing twice`), path: [...path, String(params['i'])]};
    case 'maxItems':
      return wrong(`${name} has more than ${schema.maxItems} entries`);
    default:
      return wrong(`${name} is not as this version expects it`);
  }
}

function tooLong({propertyName}: ErrorObject, path: Path, name: string, schema: JsonSchema): SchemaProblem {
  const limit = `longer than ${schema.maxLength} characters`;
  if (propertyName === undefined) return {path, at: 'value', message: `${name} is ${limit}`};
  return {path: [...path, propertyName], at: 'key', message: `this name is ${limit}`};
}

function unknownField(path: Path, field: string, schema: JsonSchema): SchemaProblem {
  const hint = hintFor(field, schema.properties ?? {});
  return {path: [...path, field], at: 'key', message: `unknown field \`${maskKeys(field)}\``, ...(hint && {hint})};
}

function hintFor(field: string, properties: Readonly<Record<string, JsonSchema>>): string | undefined {
  const deeper = Object.entries(properties).find(([, schema]) => Object.hasOwn(schema.properties ?? {}, field));
  if (deeper) return `did you mean \`${deeper[0]}.${field}\`?`;
  if (unsupportedFields.has(field)) return 'not supported by this version';
  if (field === '<<') return 'YAML 1.2 has no merge keys; what specialists share goes into `defaults`';
  if (field === 'status') return 'tekton-ai writes the status; it has no place in a file';
  return suggest(field, Object.keys(properties));
}

function wrongType(path: Path, name: string, schema: JsonSchema, data: unknown): SchemaProblem {
  const at = 'value';
  if (schema.title === 'Reference to a secret' && typeof data === 'string') {
    return {
      path,
      at,
      message: `${name} must refer to a secret, not hold it`,
      hint: 'write {env: NAME} or {file: path}',
    };
  }
  const wanted = [schema.type ?? []].flat().map(type => typeNames[type] ?? type);
  const hint =
    wanted[0] === 'text' && (typeof data === 'number' || typeof data === 'boolean') ? 'put it in quotes' : undefined;
  const message = `${name} must be ${wanted.join(' or ')}, not ${kindOf(data)}`;
  return {path, at, message, ...(hint && {hint})};
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'text',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping',
};

/** What a value is, for people. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'number' && !Number.isFinite(value)) return 'NaN or infinity';
  if (Number.isInteger(value)) return 'a whole number';
  return {string: 'text', number: 'a number', boolean: 'true or false'}[typeof value as string] ?? 'a mapping';
}

function wrongPattern(error: ErrorObject, path: Path, name: string, schema: JsonSchema): SchemaProblem {
  const meaning = patternMeanings[schema.pattern ?? ''] ?? 'of the right form';
  const {propertyName} = error;
  if (propertyName !== undefined) {
    const message = `\`${maskKeys(propertyName)}\` is not ${meaning}`;
    return {path: [...path, propertyName], at: 'key', message};
  }
  const hint = respelled(error.data, schema);
  return {path, at: 'value', message: `${name} must be ${meaning}`, ...(hint && {hint})};
}

/** `Athena` or `my name`: the spelling that would do. */
function respelled(data: unknown, schema: JsonSchema): string | undefined {
  if (typeof data !== 'string' || schema.pattern === undefined) return undefined;
  const pattern = new RegExp(schema.pattern);
  const tries = [
    data.trim(),
    data.toLowerCase(),
    data
      .toLowerCase()
      .trim()
      .replaceAll(/[\s_.]+/g, '-'),
  ];
  const found = tries.find(text => text !== '' && pattern.test(text));
  return found === undefined ? undefined : `did you mean \`${maskKeys(found)}\`?`;
}

function rangeOf({minimum, exclusiveMinimum, maximum}: JsonSchema): string {
  const least = exclusiveMinimum === undefined ? `at least ${minimum}` : `more than ${exclusiveMinimum}`;
  return maximum === undefined ? least : `${least} and at most ${maximum}`;
}

function otherVersion(wanted: string | undefined, data: unknown): string | undefined {
  const isVersion = wanted?.includes('/') === true && typeof data === 'string' && data.startsWith('tekton.ai/');
  return isVersion ? 'this version of tekton-ai reads no other' : undefined;
}

function fieldsOf(schema: JsonSchema): string {
  return Object.keys(schema.properties ?? {})
    .map(field => `\`${field}\``)
    .join(', ');
}

/** `stop[1]` for list positions, else the last key; the place says the rest. */
function nameOf(path: Path): string {
  const name = path.at(-1) ?? 'the document';
  const list = path.at(-2);
  return /^\d+$/.test(name) && list !== undefined ? `${list}[${name}]` : name;
}

function unescapePointer(segment: string): string {
  return segment.replaceAll('~1', '/').replaceAll('~0', '~');
}
