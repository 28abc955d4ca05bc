/** Reads each file once, however many ask for it, and keeps all that is wrong. */
import {stat} from 'node:fs/promises';
import {isAbsolute, relative, resolve} from 'node:path';
import type {ExpertiseDocument, FleetDocument, GitSourceDocument, SpecialistDocument} from '../api/documents.js';
import {exitCodes, SourceUnavailableError} from '../api/errors.js';
import type {Problem} from '../api/errors.js';
import {checkOneOfFleet, isKind} from './checked.js';
import type {Checked, Declared} from './checked.js';
import {parse} from './document.js';
import type {SourceDocument} from './document.js';
import type {GatherOptions} from './gather.js';
import {yamlFilesIn} from './glob.js';
import {readStream, readText} from './source.js';
import type {ReadResult} from './source.js';
import {OutsideError} from './within.js';
import type {Files} from './within.js';

export interface Input {
  /** Absolute; undefined for standard input. */
  readonly path: string | undefined;
  /** What was asked for: the path itself, or the folder that it lies in. */
  readonly from: string;
  /** Not looked at any closer yet. */
  readonly documents: readonly SourceDocument[];
}

/** Checked documents by kind. */
export interface Content {
  readonly fleets: readonly Declared<FleetDocument>[];
  readonly specialists: readonly Declared<SpecialistDocument>[];
  readonly expertise: readonly Declared<ExpertiseDocument>[];
  readonly gitSources: readonly Declared<GitSourceDocument>[];
  /** Something is wrong with one of them, which is told. */
  readonly isBroken: boolean;
}

export class Reader {
  readonly problems: Problem[] = [];
  readonly order: string[] = [];
  readonly cwd: string;
  private readonly known = new Map<string, Promise<readonly SourceDocument[]>>();
  private readonly checked = new Map<SourceDocument, Promise<Checked>>();

  constructor(
    private readonly options: GatherOptions,
    readonly disk: Files,
  ) {
    this.cwd = disk.recorded(options.cwd);
  }

  async inputsOf(given: string): Promise<readonly Input[]> {
    if (given === '-' && !this.options.within) {
      const reading = readStream(this.options.readStdin(), '<stdin>');
      return [{path: undefined, from: '-', documents: await this.parse(undefined, '<stdin>', reading)}];
    }
    const path = this.disk.recorded(resolve(this.cwd, given));
    const found = await this.disk
      .locate(path)
      .then(stat)
      .catch((error: unknown) => unavailable(this.nameOf(path), error));
    if (!found.isDirectory()) return [{path, from: path, documents: await this.named(path)}];
    const files = await yamlFilesIn(path, this.disk).catch((error: unknown) => unavailable(this.nameOf(path), error));
    if (files.length === 0) {
      const hint = 'files named *.yaml and *.yml directly in the folder are read';
      throw new SourceUnavailableError(`cannot read ${this.nameOf(path)}: the folder has no YAML files`, {
        exitCode: exitCodes.invalidInput,
        hint,
      });
    }
    return Promise.all(files.map(async file => ({path: file, from: path, documents: await this.named(file)})));
  }

  /** @throws {SourceUnavailableError} where it can't be read */
  file(path: string): Promise<readonly SourceDocument[]> {
    const known = this.known.get(path) ?? this.parse(path, this.nameOf(path), this.read(path));
    this.known.set(path, known);
    return known;
  }

  /** Checked as they stand; one that is asked for twice is checked once. */
  async contentOf(documents: readonly SourceDocument[]): Promise<Content> {
    const checked = await Promise.all(documents.map(document => this.check(document)));
    const declared = checked.flatMap(({declared}) => declared ?? []);
    return {
      fleets: declared.filter(isKind<FleetDocument>('Fleet')),
      specialists: declared.filter(isKind<SpecialistDocument>('Specialist')),
      expertise: declared.filter(isKind<ExpertiseDocument>('Expertise')),
      gitSources: declared.filter(isKind<GitSourceDocument>('GitSource')),
      isBroken: checked.some(({problems}) => problems.length > 0),
    };
  }

  nameOf(path: string): string {
    const name = relative(this.options.within?.as ?? this.cwd, path);
    return name.startsWith('..') || isAbsolute(name) || name === '' ? path : name;
  }

  private check(document: SourceDocument): Promise<Checked> {
    const known = this.checked.get(document);
    if (known) return known;
    const checking = checkOneOfFleet(document).then(checked => {
      this.problems.push(...checked.problems);
      return checked;
    });
    this.checked.set(document, checking);
    return checking;
  }

  /** A file that a folder has: where it can't be one of ours, that is a problem of its own. */
  private async named(path: string): Promise<readonly SourceDocument[]> {
    return this.file(path).catch((error: unknown) => {
      if (!(error instanceof OutsideError)) throw error;
      this.problems.push({file: this.nameOf(path), line: 1, column: 1, message: error.message});
      return [];
    });
  }

  private async read(path: string): Promise<ReadResult> {
    return readText(await this.disk.locate(path), this.nameOf(path));
  }

  private async parse(
    path: string | undefined,
    file: string,
    reading: Promise<ReadResult>,
  ): Promise<readonly SourceDocument[]> {
    this.order.push(file);
    const result = await reading.catch((error: unknown) => {
      if (error instanceof OutsideError) throw error; // told where the file is named
      return unavailable(file, error);
    });
    const {documents, problems} = result.ok
      ? parse({file, path, text: result.text})
      : {documents: [], problems: [result.problem]};
    this.problems.push(...problems);
    return documents;
  }
}

/** As documents say it; whether it is one of ours is looked at later. */
export function isFleet(document: SourceDocument): boolean {
  return document.value['kind'] === 'Fleet';
}

/** As `isFleet`. */
export function isGitSource(document: SourceDocument): boolean {
  return document.value['kind'] === 'GitSource';
}

function unavailable(file: string, error: unknown): never {
  if (error instanceof OutsideError) {
    throw new SourceUnavailableError(`cannot read ${file}: ${error.message}`, {exitCode: exitCodes.invalidInput});
  }
  const code = (error as NodeJS.ErrnoException).code; // every error of node:fs has one
  const missing = code === 'ENOENT';
  const cause = missing ? 'there is no such file' : code === 'EACCES' ? 'permission denied' : (code ?? 'unknown error');
  const hint = missing
    ? 'tekton-ai looks for `tekton-ai.yaml` here and in the folders above; name another file with -f'
    : undefined;
  throw new SourceUnavailableError(`cannot read ${file}: ${cause}`, {
    exitCode: exitCodes.invalidInput,
    ...(hint !== undefined && {hint}),
  });
}
