/** Fields for every specialist that a target means. Pure. */
import type {Problem} from '../api/errors.js';
import {globMatches} from '../api/glob.js';
import {componentKey} from '../api/names.js';
import {suggest} from '../api/suggest.js';
import {leaf, partOf, partsOf, valueOf} from './layered.js';
import type {Tree} from './layered.js';
import {isMapping, merge, nameOf, textAt} from './merge.js';

export interface Patched {
  readonly entries: readonly Tree[];
  readonly problems: readonly Problem[];
}

/** @param patches entries of `spec.patches`, applied in their order */
export function applyPatches(entries: readonly Tree[], patches: readonly Tree[]): Patched {
  const problems: Problem[] = [];
  let patched = entries;
  for (const item of patches) {
    const target = partOf(item, 'target');
    const patch = partOf(item, 'patch');
    if (!target || !patch || !isMapping(target) || !isMapping(patch)) continue; // taken out: its problem is told
    const isMeant = targetOf(target);
    const over = leaf({...patch.at, by: 'patch'}, valueOf(patch));
    let meant = 0;
    patched = patched.map(entry => {
      if (!isMeant(entry)) return entry;
      meant++;
      return merge(entry, over) ?? entry;
    });
    if (meant === 0 && !isOptional(target)) problems.push(meansNobody(target, patched));
  }
  return {entries: patched, problems};
}

function targetOf(target: Tree): (entry: Tree) => boolean {
  const name = textAt(target, 'name');
  const component = textAt(target, 'component');
  const labels = partOf(target, 'labels');
  const wanted = labels ? [...partsOf(labels)].map(([key, value]) => [key, valueOf(value)] as const) : [];
  return entry => {
    const own = textAt(entry, 'component');
    if (name !== undefined && !globMatches(name, nameOf(entry) ?? '')) return false;
    if (component !== undefined && (own === undefined || componentKey(own) !== componentKey(component))) return false;
    const has = partOf(entry, 'labels');
    return wanted.every(([key, value]) => has !== undefined && textAt(has, key) === value);
  };
}

function isOptional(target: Tree): boolean {
  const optional = partOf(target, 'optional');
  return optional !== undefined && valueOf(optional) === true;
}

function meansNobody(target: Tree, entries: readonly Tree[]): Problem {
  const {document, path} = target.at;
  const name = textAt(target, 'name');
  const component = textAt(target, 'component');
  const hint =
    suggest(
      name,
      entries.flatMap(entry => nameOf(entry) ?? []),
    ) ??
    suggest(
      component,
      entries.flatMap(entry => textAt(entry, 'component') ?? []),
    ) ??
    'if that may be so, say `optional: true`';
  return document.problem(path, 'value', 'this patch means no specialist', hint);
}
