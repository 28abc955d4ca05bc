/** Which fleets lie under a fleet, in the order in which they are laid over one another. */
import {stat} from 'node:fs/promises';
import {dirname, resolve} from 'node:path';
import {SourceUnavailableError} from '../api/errors.js';
import type {Path} from '../api/validate.js';
import type {SourceDocument} from './document.js';
import {yamlFilesIn} from './glob.js';
import {isFleet} from './reader.js';
import type {Reader} from './reader.js';
import {OutsideError} from './within.js';

/** One fleet document of several that make up a fleet. */
export interface LayerSource {
  readonly document: SourceDocument;
  /** Where its relative paths start from. */
  readonly folder: string;
  /** The other documents of its file, where they belong to it. */
  readonly companions: readonly SourceDocument[];
  readonly by: 'own' | 'base';
}

export interface Layers {
  /** The lowest first, the fleet itself last; each once. */
  readonly layers: readonly LayerSource[];
  /** Absolute. */
  readonly files: readonly string[];
  /** Folders that were named as bases. */
  readonly folders: readonly string[];
  /** Something is wrong with a base, which is told. */
  readonly isBroken: boolean;
}

/** Bases have bases only so far: more is a mistake, or malice. */
const maxDepth = 16;

export async function layersOf(top: LayerSource, reader: Reader): Promise<Layers> {
  const search = new Search(reader);
  await search.add(top, []);
  const {layers, files, folders, isBroken} = search;
  return {layers, files: [...files], folders: [...folders], isBroken};
}

class Search {
  readonly layers: LayerSource[] = [];
  readonly files = new Set<string>();
  readonly folders = new Set<string>();
  isBroken = false;
  private readonly done = new Set<SourceDocument>();

  constructor(private readonly reader: Reader) {}

  async add(layer: LayerSource, trail: readonly SourceDocument[]): Promise<void> {
    const {document, folder} = layer;
    const way = [...trail, document];
    for (const [index, base] of basesOf(document).entries()) {
      if (typeof base !== 'string') continue; // the schema tells
      const path = ['spec', 'bases', String(index)];
      const found = await this.find(base, folder, document, path);
      if (!found) continue;
      const circle = way.indexOf(found.document);
      if (circle !== -1) {
        const names = [...way.slice(circle), found.document].map(({file}) => file);
        this.tell(document, path, `\`bases\` go round in a circle: ${names.join(' → ')}`);
      } else if (way.length > maxDepth) {
        this.tell(
          document,
          path,
          `bases have bases more than ${maxDepth} deep: ${way.map(({file}) => file).join(' → ')}`,
        );
      } else if (!this.done.has(found.document)) await this.add(found, way);
    }
    this.done.add(document);
    this.layers.push(layer);
  }

  /** The one fleet that a base means; undefined: it is told why there is none. */
  private async find(
    base: string,
    from: string,
    document: SourceDocument,
    path: Path,
  ): Promise<LayerSource | undefined> {
    const target = resolve(from, base);
    try {
      const read = await this.read(target);
      const fleets = read.flatMap(({file, documents}) =>
        documents.filter(isFleet).map(fleet => ({file, fleet, documents})),
      );
      const [only, ...others] = fleets;
      if (only && others.length === 0) {
        this.files.add(only.file);
        const companions = only.documents.filter(other => other !== only.fleet);
        return {document: only.fleet, folder: dirname(only.file), companions, by: 'base'};
      }
      const many = only ? `has ${fleets.length} fleets, and a base is one` : 'has no Fleet document';
      const hint = only && read.length > 1 ? 'name the file of the one that is meant' : undefined;
      this.tell(document, path, `\`${base}\` ${many}`, hint);
    } catch (error) {
      if (!(error instanceof SourceUnavailableError)) throw error;
      this.tell(document, path, `cannot read the base \`${base}\`: ${error.message}`, hintOf(error));
    }
    return undefined;
  }

  private async read(target: string): Promise<readonly {file: string; documents: readonly SourceDocument[]}[]> {
    const {disk} = this.reader;
    const found = await disk.locate(target).then(stat).catch(goneOrOutside);
    if (!found.isDirectory()) return [{file: target, documents: await this.reader.file(target)}];
    this.folders.add(target);
    const files = await yamlFilesIn(target, disk);
    return Promise.all(files.map(async file => ({file, documents: await this.reader.file(file)})));
  }

  private tell(document: SourceDocument, path: Path, message: string, hint?: string): void {
    this.isBroken = true;
    this.reader.problems.push(document.problem(path, 'value', message, hint));
  }
}

function basesOf({value}: SourceDocument): readonly unknown[] {
  const spec = value['spec'];
  const bases: unknown = typeof spec === 'object' && spec !== null && 'bases' in spec ? spec.bases : undefined;
  return Array.isArray(bases) ? bases : [];
}

function goneOrOutside(error: unknown): never {
  if (error instanceof OutsideError) throw error;
  const {code} = error as NodeJS.ErrnoException; // every error of node:fs has one
  const cause = code === 'ENOENT' ? 'there is no such file or folder' : (code ?? 'unknown error');
  throw new SourceUnavailableError(cause);
}

function hintOf(error: SourceUnavailableError): string | undefined {
  if (!(error instanceof OutsideError)) return undefined;
  return 'the bases of a fleet in a repository lie in the repository';
}
