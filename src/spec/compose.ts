/** Makes one fleet document of the layers of a fleet, with every specialist in its list. Pure. */
import type {ExpertiseDocument, FleetDocument, SpecialistDocument} from '../api/documents.js';
import type {Problem} from '../api/errors.js';
import type {Declared} from './checked.js';
import type {Written} from './document.js';
import {Layered, leaf, partOf, partsOf} from './layered.js';
import type {Branch, Tree} from './layered.js';
import {itemsOf, listOfTrees, merge, mergeSpecialists, without} from './merge.js';
import {applyPatches} from './patches.js';

/** One fleet document and what it brings along. */
export interface Layer {
  readonly fleet: Declared<FleetDocument>;
  readonly by: 'own' | 'base';
  /** Of its file and its includes. */
  readonly specialists: readonly Declared<SpecialistDocument>[];
  readonly expertise: readonly Declared<ExpertiseDocument>[];
}

export interface Composed {
  readonly source: Layered;
  readonly problems: readonly Problem[];
}

/** What concerns the layer alone, and has done its part when it is merged. */
const ofLayer = ['bases', 'include', 'patches', 'variables', 'specialists'] as const;

/** @param layers the lowest first; at least one */
export function compose(layers: readonly Layer[]): Composed {
  const top = layers.at(-1)?.fleet.source;
  if (!top) throw new Error('internal error: a fleet without layers');
  let spec: Tree | undefined;
  let entries: readonly Tree[] = [];
  const problems: Problem[] = [];
  for (const {fleet, by, specialists} of layers) {
    const own = leaf({document: fleet.source, path: ['spec'], by}, fleet.value.spec);
    spec = merge(spec, without(own, ...ofLayer));
    const listed = partOf(own, 'specialists');
    const merged = mergeSpecialists(isNull(listed) ? [] : entries, itemsOf(listed));
    const documented = specialists.map(declared => entryOf(declared, by));
    const patched = applyPatches([...merged.entries, ...documented], itemsOf(partOf(own, 'patches')));
    entries = patched.entries;
    problems.push(...merged.problems, ...patched.problems);
  }
  const at: Written = {document: top, path: ['spec'], by: 'own'};
  const fields = new Map(spec ? partsOf(spec) : []);
  if (entries.length > 0) fields.set('specialists', listOfTrees({...at, path: [...at.path, 'specialists']}, entries));
  const whole: Branch = {type: 'branch', kind: 'mapping', at, fields};
  const parts = Object.keys(top.value).map(key => [key, key === 'spec' ? whole : topPart(top, key)] as const);
  const tree: Branch = {type: 'branch', kind: 'mapping', at: {...at, path: []}, fields: new Map(parts)};
  return {source: new Layered(top, tree), problems};
}

function topPart(document: Written['document'], key: string): Tree {
  return leaf({document, path: [key], by: 'own'}, document.value[key]);
}

/** A Specialist document as an entry of a list would say it. */
function entryOf({source, value: {metadata, spec}}: Declared<SpecialistDocument>, by: 'own' | 'base'): Tree {
  const at: Written = {document: source, path: ['spec'], by};
  const own = leaf(at, spec);
  const fields = new Map(partsOf(own));
  const about: Written = {document: source, path: ['metadata'], by};
  for (const key of ['name', 'labels'] as const) {
    const part = partOf(leaf(about, metadata), key);
    if (part) fields.set(key, part);
  }
  return {type: 'branch', kind: 'mapping', at, fields};
}

function isNull(tree: Tree | undefined): boolean {
  return tree?.type === 'leaf' && tree.value === null;
}
