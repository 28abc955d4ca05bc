/** `*`, `?` and `**` in paths: what `include` needs (Node 20 has no glob of its own). */
import type {Dirent} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {join, parse, resolve, sep} from 'node:path';
import {OutsideError} from './within.js';
import type {Files} from './within.js';

/** What one entry of `include` stands for. */
export interface Expansion {
  /** Absolute paths, sorted. */
  readonly files: readonly string[];
  /**
   * What to watch for new files that match: a folder, or `folder/**` where they may be at any depth; undefined where
   * the entry names one file.
   */
  readonly base: string | undefined;
  /** Whether to match nothing is an error: the entry names one file or folder. */
  readonly exact: boolean;
}

/**
 * Files that `pattern` means, relative to `folder`. A folder means the YAML files directly in it.
 *
 * @throws {OutsideError} where it would have to look where `disk` may not
 */
export async function expand(pattern: string, folder: string, disk: Files): Promise<Expansion> {
  const absolute = resolve(folder, pattern);
  if (!/[*?]/.test(pattern)) {
    const found = await disk.locate(absolute).then(stat).catch(nothingButOutside);
    if (found?.isDirectory()) return {files: await yamlFilesIn(absolute, disk), base: absolute, exact: true};
    return {files: found ? [absolute] : [], base: undefined, exact: true};
  }
  const {root} = parse(absolute);
  const segments = absolute.slice(root.length).split(sep);
  const magic = segments.findIndex(segment => /[*?]/.test(segment));
  const base = join(root, ...segments.slice(0, magic));
  const files = await match(base, segments.slice(magic), disk);
  const isFlat = magic === segments.length - 1;
  return {files: [...new Set(files)].sort(), base: isFlat ? base : join(base, '**'), exact: false};
}

/** `*.yaml` and `*.yml` directly in a folder, sorted; files that editors hide are left out. */
export async function yamlFilesIn(folder: string, disk: Files): Promise<readonly string[]> {
  const entries = await readdir(await disk.locate(folder), {withFileTypes: true});
  const named = entries.filter(entry => /^[^.].*\.ya?ml$/.test(entry.name) && !entry.isDirectory());
  return named.map(entry => join(folder, entry.name)).sort();
}

async function match(folder: string, [segment, ...rest]: readonly string[], disk: Files): Promise<string[]> {
  if (segment === undefined) return [];
  const entries: Dirent[] =
    (await disk
      .locate(folder)
      .then(path => readdir(path, {withFileTypes: true}))
      .catch(nothingButOutside)) ?? [];
  if (segment === '**') {
    const below = entries.filter(entry => entry.isDirectory() && !isSkipped(entry.name));
    const deeper = await Promise.all(below.map(entry => match(join(folder, entry.name), [segment, ...rest], disk)));
    return [...(await match(folder, rest, disk)), ...deeper.flat()];
  }
  const pattern = patternOf(segment);
  const found = entries.filter(
    entry => pattern.test(entry.name) && (segment.startsWith('.') || !entry.name.startsWith('.')),
  );
  if (rest.length > 0) {
    const deeper = await Promise.all(found.map(entry => match(join(folder, entry.name), rest, disk)));
    return deeper.flat();
  }
  return found.filter(entry => !entry.isDirectory()).map(entry => join(folder, entry.name));
}

/** What isn't there matches nothing; what may not be looked at is an error. */
function nothingButOutside(error: unknown): undefined {
  if (error instanceof OutsideError) throw error;
}

function isSkipped(name: string): boolean {
  return name.startsWith('.') || name === 'node_modules';
}

function patternOf(segment: string): RegExp {
  const escaped = segment.replaceAll(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll(/\*+/g, '.*').replaceAll('?', '.')}$`, 'u');
}
