/** What a fleet over bases may say that one alone may not, and what any fleet may say in its patches. */
import type {Problem} from '../api/errors.js';
import {layerPatches} from '../api/schema.js';
import {suggest} from '../api/suggest.js';
import type {Path} from '../api/validate.js';
import type {SourceDocument} from './document.js';

export interface Layer {
  /** What the schema of a whole fleet can check: without the nulls and `$patch` of a layer. */
  readonly value: Readonly<Record<string, unknown>>;
  readonly problems: readonly Problem[];
  /** Whether something may be missing there: it is the bases' to say, or the patched specialists'. */
  readonly isOpen: (path: Path) => boolean;
}

export function asLayer(source: SourceDocument): Layer {
  const spec = source.value['spec'];
  if (!isMapping(spec)) return {value: source.value, problems: [], isOpen: () => false};
  const isOver = Object.hasOwn(spec, 'bases');
  const problems: Problem[] = [];
  const fields = Object.entries(spec).flatMap(([key, value]): [string, unknown][] => {
    if (key === 'patches') return [[key, mapItems(value, patch => withoutNullsIn(patch, 'patch'))]];
    if (!isOver || key === 'bases' || key === 'include') return [[key, value]];
    if (value === null) return [];
    if (key !== 'specialists') return withoutNulls(value).map(kept => [key, kept]);
    return [[key, mapItems(value, (entry, index) => withoutPatch(entry, index, source, problems))]];
  });
  return {
    value: {...source.value, spec: Object.fromEntries(fields)},
    problems,
    isOpen: path => isOpen(path, isOver),
  };
}

/** Lists are written whole, so what is missing in one is missing: but `specialists` and `patches` are lists of layers. */
function isOpen(path: Path, isOver: boolean): boolean {
  const [top, field, index, part, ...rest] = path;
  if (top !== 'spec') return false;
  const inList = (segments: Path): boolean => segments.some(segment => /^\d+$/.test(segment));
  if (field === 'patches') return part === 'patch' && !inList(rest);
  if (!isOver || index === undefined) return false;
  if (field === 'specialists') return !inList(path.slice(3));
  return !inList(path.slice(2));
}

function withoutPatch(entry: unknown, index: string, source: SourceDocument, problems: Problem[]): unknown {
  if (!isMapping(entry)) return entry;
  const {$patch, ...fields} = entry;
  if ($patch !== undefined && !layerPatches.some(known => known === $patch)) {
    const message = `\`$patch\` must be one of ${layerPatches.join(', ')}`;
    const path = ['spec', 'specialists', index, '$patch'];
    problems.push(source.problem(path, 'value', message, suggest($patch, layerPatches)));
  }
  if (fields['name'] === undefined && fields['component'] === undefined) {
    const path = ['spec', 'specialists', index];
    problems.push(source.problem(path, 'value', '`name` is missing: whom of the bases does this mean?'));
  }
  return withoutNulls(fields)[0] ?? {};
}

function withoutNullsIn(value: unknown, key: string): unknown {
  if (!isMapping(value) || !isMapping(value[key])) return value;
  return {...value, [key]: withoutNulls(value[key])[0] ?? {}};
}

/** Empty: nothing is left of it but nulls. */
function withoutNulls(value: unknown): readonly unknown[] {
  if (value === null) return [];
  if (!isMapping(value)) return [value];
  const entries = Object.entries(value);
  const kept = entries.flatMap(([key, field]) => withoutNulls(field).map(rest => [key, rest] as const));
  return kept.length === 0 && entries.length > 0 ? [] : [Object.fromEntries(kept)];
}

function mapItems(value: unknown, change: (item: unknown, index: string) => unknown): unknown {
  return Array.isArray(value) ? value.map((item, index) => change(item, String(index))) : value;
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
