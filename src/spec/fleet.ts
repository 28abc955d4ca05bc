/** A group of documents as a fleet: its name, its entries, and where each field of an entry was written. */
import {dirname, resolve} from 'node:path';
import type {FleetFields, SpecialistFields} from '../api/documents.js';
import {componentKey, defaultName} from '../api/names.js';
import type {Expertise, Origin, SecretRef} from '../api/types.js';
import type {Path} from '../api/validate.js';
import type {SourceDocument} from './document.js';
import type {Overrides} from './environment.js';
import type {Group} from './gather.js';

/** One declared specialist, wherever it was declared. */
export interface Entry {
  readonly source: SourceDocument;
  /** Where its fields stand in the document. */
  readonly path: Path;
  /** Where its name comes from. */
  readonly namePath: Path;
  /** undefined only where the component is missing, which is told already. */
  readonly name: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly fields: SpecialistFields;
}

export interface Fleet {
  readonly group: Group;
  readonly name: string;
  readonly namespace: string;
  readonly fields: FleetFields;
  readonly entries: readonly Entry[];
  readonly overrides: Overrides;
}

/** Where the defaults of a fleet stand in its document. */
export const defaultsPath: Path = ['spec', 'defaults'];

export function fleetOf(group: Group, overrides: Overrides): Fleet {
  const document = group.fleet?.value;
  const namespace = document?.metadata.namespace ?? group.specialists[0]?.value.metadata.namespace ?? 'default';
  const fields = document?.spec ?? {};
  return {
    group,
    name: document?.metadata.name ?? 'default',
    namespace: group.fleet ? (document?.metadata.namespace ?? 'default') : namespace,
    fields,
    entries: [...listed(group, fields), ...documented(group)],
    overrides,
  };
}

function listed({fleet}: Group, fields: FleetFields): readonly Entry[] {
  if (!fleet) return [];
  return (fields.specialists ?? []).flatMap((entry, index) => {
    if (typeof entry !== 'object') return []; // taken out: its problem is told already
    const path = ['spec', 'specialists', String(index)];
    const {name, labels, ...own} = entry;
    const namePath = [...path, name === undefined ? 'component' : 'name'];
    return {source: fleet.source, path, namePath, name: nameOf(name, own), labels: labels ?? {}, fields: own};
  });
}

function documented({specialists}: Group): readonly Entry[] {
  return specialists.map(({source, value: {metadata, spec}}) => ({
    source,
    path: ['spec'],
    namePath: ['metadata', 'name'],
    name: nameOf(metadata.name, spec),
    labels: metadata.labels ?? {},
    fields: spec,
  }));
}

function nameOf(name: string | undefined, {component}: SpecialistFields): string | undefined {
  return name ?? (component === undefined ? undefined : defaultName(component));
}

/** An Expertise document of the fleet's own for a component; an alias has its target's fields under its own. */
export function includedExpertise(
  fleet: Fleet,
  component: string,
): {source: SourceDocument; fields: Partial<Expertise>} | undefined {
  const found = expertiseDocument(fleet, component);
  if (!found) return undefined;
  const {aliasOf, ...own} = found.value.spec;
  const target = aliasOf === undefined ? undefined : expertiseDocument(fleet, aliasOf)?.value.spec;
  const {aliasOf: _, ...inherited} = target ?? {};
  return {source: found.source, fields: {...inherited, ...own}};
}

/** The component whose shipped expertise is meant: another where a document of the fleet makes it an alias. */
export function shippedComponent(fleet: Fleet, component: string): string {
  return expertiseDocument(fleet, component)?.value.spec.aliasOf ?? component;
}

function expertiseDocument(fleet: Fleet, component: string): Fleet['group']['expertise'][number] | undefined {
  return fleet.group.expertise.find(({value}) => componentKey(value.metadata.name) === componentKey(component));
}

/** Name that an entry of `dependsOn` means: components may be named in their own spelling. */
export function dependencyName(written: string): string {
  return defaultName(written);
}

/** What an entry waits for; itself doesn't count where the fleet's defaults name it. */
export function dependenciesOf(fleet: Fleet, {fields, name}: Entry): readonly string[] {
  if (fields.dependsOn) return fields.dependsOn.filter(isText).map(dependencyName);
  const inherited = fleet.fields.defaults?.dependsOn ?? [];
  return inherited
    .filter(isText)
    .map(dependencyName)
    .filter(other => other !== name);
}

/** A field of an entry, or the fleet's default for it, and where it was written. */
export function effective<K extends keyof Omit<SpecialistFields, 'component'>>(
  fleet: Fleet,
  entry: Entry,
  field: K,
): {value: Omit<SpecialistFields, 'component'>[K] | undefined; source: SourceDocument; path: Path} {
  const own = entry.fields[field];
  const fallback = fleet.group.fleet;
  if (own !== undefined || !fallback) return {value: own, source: entry.source, path: [...entry.path, field]};
  return {value: fleet.fields.defaults?.[field], source: fallback.source, path: [...defaultsPath, field]};
}

/** The layer that a value was written in says where it comes from; `fleet-default` is said of the defaults of any. */
export function originAt(type: 'file' | 'fleet-default', source: SourceDocument, path: Path): Origin {
  const {document, path: within, by} = source.written(path);
  const place = {file: document.path ?? document.file, line: document.place(within).line};
  const variables = document.usedAt?.(within);
  if (variables) return {type: 'variable', variables, ...place};
  return {type: type === 'file' && by !== 'own' ? by : type, ...place};
}

/** A reference whose file is absolute: relative ones start from the document that they are written in. */
export function absolute(ref: SecretRef, source: SourceDocument, path: Path, cwd: string): SecretRef {
  return 'file' in ref ? {file: absolutePath(ref.file, source, path, cwd)} : ref;
}

/** @param path where `file` stands, or the reference that it stands in */
export function absolutePath(file: string, source: SourceDocument, path: Path, cwd: string): string {
  const {document} = source.written(path);
  return resolve(document.path === undefined ? cwd : dirname(document.path), file);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
