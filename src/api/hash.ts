/** Comparing specs: flat paths, canonical text, a hash, and the fields that differ. */
import {createHash} from 'node:crypto';
import type {FieldChange, Json, Origin} from './types.js';

type Declared = Readonly<Record<string, Json>>;

/** JSON with sorted keys and no spaces: equal values give equal text, whatever the order of their keys. */
export function canonicalJson(value: Json): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (isList(value)) return `[${value.map(canonicalJson).join(',')}]`;
  const fields = Object.entries(value)
    .sort(([a], [b]) => compare(a, b))
    .map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`);
  return `{${fields.join(',')}}`;
}

/** First 16 hex digits of the SHA-256 of the canonical JSON. */
export function hashOf(value: Json): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex').slice(0, 16);
}

/** One entry per dotted path. Lists are values, not folders; an empty mapping says nothing and gives no entry. */
export function flatten(value: Json): Record<string, Json> {
  return Object.fromEntries(leaves(value).map(({keys, value: leaf}) => [keys.join('.'), leaf]));
}

/** A value within a mapping. Keys may hold dots (`llama3.3:70b`): a dotted path can't be taken apart again. */
export interface Leaf {
  readonly keys: readonly string[];
  readonly value: Json;
}

/** As `flatten`, with the keys that lead to each. */
export function leaves(value: Json): readonly Leaf[] {
  return [...walk(value, [])];
}

/** What differs between two declarations, field by field, sorted by path. `origins` are those of `to`. */
export function diffDeclared(from: Declared, to: Declared, origins: Readonly<Record<string, Origin>>): FieldChange[] {
  const paths = [...new Set([...Object.keys(from), ...Object.keys(to)])].sort(compare);
  return paths
    .filter(path => !same(own(from, path), own(to, path)))
    .map(path => ({path, from: own(from, path), to: own(to, path), origin: own(origins, path)}));
}

function* walk(value: Json, keys: readonly string[]): Generator<Leaf> {
  if (value === null || typeof value !== 'object' || isList(value)) {
    yield {keys, value};
    return;
  }
  for (const [key, field] of Object.entries(value)) yield* walk(field, [...keys, key]);
}

function same(a: Json | undefined, b: Json | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return canonicalJson(a) === canonicalJson(b);
}

function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** By code unit: the same in every locale. */
function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** Array.isArray doesn't narrow readonly arrays out of a union. */
function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}
