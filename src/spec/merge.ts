/** Lays one fleet over another, field by field. Pure: what can't be done is told, and left undone. */
import type {Problem} from '../api/errors.js';
import {defaultName} from '../api/names.js';
import {suggest} from '../api/suggest.js';
import {leaf, partOf, partsOf, valueOf} from './layered.js';
import type {Branch, Leaf, Tree} from './layered.js';

/**
 * `over` laid over `under`: mappings field by field, `null` takes away what is under it, anything else replaces it. A
 * reference to a secret is one value.
 *
 * @returns undefined where nothing is left
 */
export function merge(under: Tree | undefined, over: Tree): Tree | undefined {
  const value = over.type === 'leaf' ? over.value : {};
  if (value === null || value === undefined) return undefined;
  if (!isMapping(over)) return over;
  if (!under || !isMapping(under) || (isReference(under) && isReference(over))) return withoutNulls(over);
  const fields = new Map(partsOf(under));
  for (const [key, part] of partsOf(over)) {
    const merged = merge(fields.get(key), part);
    if (merged) fields.set(key, merged);
    else fields.delete(key);
  }
  return {type: 'branch', kind: 'mapping', at: under.at, fields};
}

/**
 * Entries of `specialists` laid over others by name: one of a name that is there is merged with it, others follow.
 * `$patch` says otherwise.
 */
export function mergeSpecialists(
  under: readonly Tree[],
  over: readonly Tree[],
): {
  readonly entries: readonly Tree[];
  readonly problems: readonly Problem[];
} {
  const entries: (Tree | undefined)[] = [...under];
  const places = new Map(under.flatMap((entry, index) => place(entry, index)));
  const problems: Problem[] = [];
  const added: Tree[] = [];
  const seen = new Set<string>();
  for (const entry of over) {
    if (!isMapping(entry)) continue; // taken out: its problem is told already
    const name = nameOf(entry);
    const index = name === undefined ? undefined : places.get(name);
    const patch = textAt(entry, '$patch');
    const own = without(entry, '$patch');
    if (name !== undefined && seen.has(name)) {
      problems.push(problemAt(entry, `\`specialists\` names \`${name}\` twice`));
      continue;
    }
    if (name !== undefined) seen.add(name);
    if (index === undefined) {
      const unknown = unknownName(own, patch, name, places);
      if (unknown) problems.push(unknown);
      const whole = merge(undefined, own);
      if (whole && !unknown) added.push(whole);
    } else if (patch === 'delete') {
      problems.push(...saysMore(own));
      entries[index] = undefined;
    } else {
      entries[index] = merge(patch === 'replace' ? undefined : entries[index], own);
    }
  }
  return {entries: [...entries.flatMap(entry => entry ?? []), ...added], problems};
}

function place(entry: Tree, index: number): readonly (readonly [string, number])[] {
  const name = nameOf(entry);
  return name === undefined ? [] : [[name, index]];
}

/** Of an entry that finds nobody under it and can't stand alone. */
function unknownName(
  entry: Tree,
  patch: string | undefined,
  name: string | undefined,
  known: ReadonlyMap<string, number>,
): Problem | undefined {
  if (patch === undefined && textAt(entry, 'component') !== undefined) return undefined;
  const isLayer = Object.hasOwn(entry.at.document.value['spec'] ?? {}, 'bases'); // of a checked document
  if (name === undefined || !isLayer) return undefined; // told already
  const names = [...known.keys()];
  const hint = suggest(name, names) ?? (names.length === 0 ? 'the bases declare none' : listOf(names));
  return problemAt(entry, `the bases have no specialist \`${name}\``, hint);
}

/** At its name, or what the name comes from. */
function problemAt(entry: Tree, message: string, hint?: string): Problem {
  const {document, path} = entry.at;
  return document.problem([...path, partOf(entry, 'name') ? 'name' : 'component'], 'value', message, hint);
}

function listOf(names: readonly string[]): string {
  const first = names.slice(0, 10).sort().join(', ');
  return names.length > 10 ? `there are ${first} and ${names.length - 10} more` : `there are ${first}`;
}

function saysMore(entry: Tree): readonly Problem[] {
  return [...partsOf(entry).keys()]
    .filter(key => key !== 'name' && key !== 'component')
    .map(key => {
      const {document, path} = entry.at;
      return document.problem([...path, key], 'key', `\`${key}\` says nothing beside \`$patch: delete\``);
    });
}

/** As entries get their names: by default from the component. */
export function nameOf(entry: Tree): string | undefined {
  const component = textAt(entry, 'component');
  return textAt(entry, 'name') ?? (component === undefined ? undefined : defaultName(component));
}

export function textAt(tree: Tree, key: string): string | undefined {
  const part = partOf(tree, key);
  const value = part && valueOf(part);
  return typeof value === 'string' ? value : undefined;
}

/** `null` over nothing says nothing. */
function withoutNulls(tree: Tree): Tree {
  const parts = partsOf(tree);
  if (![...parts.values()].some(hasNull)) return tree;
  const fields = new Map<string, Tree>();
  for (const [key, part] of parts) {
    const kept = merge(undefined, part);
    if (kept) fields.set(key, kept);
  }
  return {type: 'branch', kind: 'mapping', at: tree.at, fields};
}

function hasNull(tree: Tree): boolean {
  if (tree.type === 'leaf' && (tree.value === null || tree.value === undefined)) return true;
  return isMapping(tree) && [...partsOf(tree).values()].some(hasNull);
}

export function without(tree: Tree, ...keys: readonly string[]): Branch {
  const fields = [...partsOf(tree)].filter(([key]) => !keys.includes(key));
  return {type: 'branch', kind: 'mapping', at: tree.at, fields: new Map(fields)};
}

export function isMapping(tree: Tree): boolean {
  if (tree.type === 'branch') return tree.kind === 'mapping';
  return typeof tree.value === 'object' && tree.value !== null && !Array.isArray(tree.value);
}

/** `{env: NAME}` and `{file: path}`; the mapping `env` of a specialist may have a variable of that name. */
function isReference(tree: Tree): boolean {
  const key = tree.at.path.at(-1);
  const declaresVariable = tree.at.path.at(-2) === 'variables';
  const keys = [...partsOf(tree).keys()];
  return key !== 'env' && !declaresVariable && keys.length === 1 && (keys[0] === 'env' || keys[0] === 'file');
}

/** The items of a list, each with its own place. */
export function itemsOf(tree: Tree | undefined): readonly Tree[] {
  if (!tree) return [];
  if (tree.type === 'branch') return [...tree.fields.values()];
  const {value, at} = tree;
  if (!Array.isArray(value)) return [];
  return value.map((item: unknown, index): Leaf => leaf({...at, path: [...at.path, String(index)]}, item));
}

export function listOfTrees(at: Tree['at'], items: readonly Tree[]): Branch {
  return {type: 'branch', kind: 'list', at, fields: new Map(items.map((item, index) => [String(index), item]))};
}
