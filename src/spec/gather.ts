/** From what a command was pointed at to the documents of each fleet. */
import {stat} from 'node:fs/promises';
import {dirname, isAbsolute, join, relative, resolve} from 'node:path';
import type {ExpertiseDocument, FleetDocument, SpecialistDocument} from '../api/documents.js';
import {exitCodes, SourceUnavailableError} from '../api/errors.js';
import type {Problem} from '../api/errors.js';
import type {Source} from '../api/types.js';
import type {Path} from '../api/validate.js';
import {checkText} from './checked.js';
import type {CheckedFile, Declared} from './checked.js';
import {envFileName} from './environment.js';
import {expand, yamlFilesIn} from './glob.js';
import type {Expansion} from './glob.js';
import {readStream, readText} from './source.js';
import type {ReadResult} from './source.js';
import {anywhere, filesWithin, OutsideError} from './within.js';
import type {Files, Within} from './within.js';

export interface GatherOptions {
  /** Files, folders (the `*.yaml` and `*.yml` directly in them) and `-` for standard input. */
  readonly paths: readonly string[];
  /** Absolute. */
  readonly cwd: string;
  /** Called at most once, for `-`; `process.stdin` will do. */
  readonly readStdin: () => AsyncIterable<Uint8Array | string>;
  /**
   * Confines the load to a folder, `-` and standard input excluded. `cwd` is its `root` then: problems name files
   * relative to that.
   */
  readonly within?: Within;
}

/** All documents of one fleet-to-be. */
export interface Group {
  /** Absent for the implicit fleet `default` of bare Specialist documents. */
  readonly fleet: Declared<FleetDocument> | undefined;
  readonly specialists: readonly Declared<SpecialistDocument>[];
  readonly expertise: readonly Declared<ExpertiseDocument>[];
  readonly source: Source;
  /** Where `.env.tekton` is looked for. */
  readonly folder: string;
  readonly files: readonly string[];
  readonly watch: readonly string[];
  readonly notices: readonly string[];
}

export interface Gathered {
  readonly groups: readonly Group[];
  readonly problems: readonly Problem[];
  /** Names of the files, as problems have them, in the order in which they were named and included. */
  readonly order: readonly string[];
  /** How the files were got at. */
  readonly disk: Files;
  /** As problems name a file. */
  readonly nameOf: (path: string) => string;
}

/** @throws {SourceUnavailableError} where a path can't be read */
export async function gather(options: GatherOptions): Promise<Gathered> {
  const disk = options.within ? await filesWithin(options.within) : anywhere;
  const reader = new Reader(options, disk);
  const inputs = await Promise.all([...new Set(options.paths)].map(path => reader.inputsOf(path)));
  const read: Input[] = [...new Map(inputs.flat().map(input => [input.path ?? '-', input])).values()];
  const groups: Group[] = [];
  for (const input of read) {
    for (const fleet of input.content.fleets) groups.push(await fleetGroup(fleet, input, reader));
  }
  const included = new Set(groups.flatMap(group => group.files));
  const bare = read.filter(
    ({path, content}) => content.fleets.length === 0 && (path === undefined || !included.has(path)),
  );
  return {
    groups: [...groups, ...bareGroups(bare, reader.cwd)],
    problems: [...reader.problems, ...read.flatMap(ambiguous)],
    order: reader.order,
    disk,
    nameOf: path => reader.nameOf(path),
  };
}

interface Input {
  /** Absolute; undefined for standard input. */
  readonly path: string | undefined;
  /** What was asked for: the path itself, or the folder that it lies in. */
  readonly from: string;
  readonly content: CheckedFile;
}

/** Reads each file once, however many ask for it, and keeps all that is wrong. */
class Reader {
  readonly problems: Problem[] = [];
  readonly order: string[] = [];
  private readonly known = new Map<string, Promise<CheckedFile>>();

  readonly cwd: string;

  constructor(
    private readonly options: GatherOptions,
    readonly disk: Files,
  ) {
    this.cwd = disk.recorded(options.cwd);
  }

  async inputsOf(given: string): Promise<readonly Input[]> {
    if (given === '-' && !this.options.within) {
      const content = await this.check(undefined, '<stdin>', readStream(this.options.readStdin(), '<stdin>'));
      return [{path: undefined, from: '-', content}];
    }
    const path = this.disk.recorded(resolve(this.cwd, given));
    const found = await this.disk
      .locate(path)
      .then(stat)
      .catch((error: unknown) => unavailable(this.nameOf(path), error));
    if (!found.isDirectory()) return [{path, from: path, content: await this.named(path)}];
    const files = await yamlFilesIn(path, this.disk).catch((error: unknown) => unavailable(this.nameOf(path), error));
    if (files.length === 0) {
      const hint = 'files named *.yaml and *.yml directly in the folder are read';
      throw new SourceUnavailableError(`cannot read ${this.nameOf(path)}: the folder has no YAML files`, {
        exitCode: exitCodes.invalidInput,
        hint,
      });
    }
    return Promise.all(files.map(async file => ({path: file, from: path, content: await this.named(file)})));
  }

  file(path: string): Promise<CheckedFile> {
    const known = this.known.get(path) ?? this.check(path, this.nameOf(path), this.read(path));
    this.known.set(path, known);
    return known;
  }

  /** A file that a folder has: where it can't be one of ours, that is a problem of its own. */
  private async named(path: string): Promise<CheckedFile> {
    return this.file(path).catch((error: unknown) => {
      if (!(error instanceof OutsideError)) throw error;
      this.problems.push({file: this.nameOf(path), line: 1, column: 1, message: error.message});
      return {...nothing, problems: []};
    });
  }

  private async read(path: string): Promise<ReadResult> {
    return readText(await this.disk.locate(path), this.nameOf(path));
  }

  private async check(path: string | undefined, file: string, reading: Promise<ReadResult>): Promise<CheckedFile> {
    this.order.push(file);
    const result = await reading.catch((error: unknown) => {
      if (error instanceof OutsideError) throw error; // told where the file is named
      return unavailable(file, error);
    });
    const content = result.ok
      ? await checkText({file, path, text: result.text})
      : {...nothing, problems: [result.problem]};
    this.problems.push(...content.problems);
    return content;
  }

  nameOf(path: string): string {
    const name = relative(this.options.within?.as ?? this.cwd, path);
    return name.startsWith('..') || isAbsolute(name) || name === '' ? path : name;
  }
}

const nothing = {fleets: [], specialists: [], expertise: []} as const;

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

async function fleetGroup(fleet: Declared<FleetDocument>, input: Input, reader: Reader): Promise<Group> {
  const folder = input.path === undefined ? reader.cwd : dirname(input.path);
  const alone = input.content.fleets.length === 1;
  const included = await readIncludes(fleet, folder, reader);
  const files = [...(input.path === undefined ? [] : [input.path]), ...included.files];
  return {
    fleet,
    specialists: [
      ...(alone ? input.content.specialists : []),
      ...included.contents.flatMap(({specialists}) => specialists),
    ],
    expertise: [...(alone ? input.content.expertise : []), ...included.contents.flatMap(({expertise}) => expertise)],
    source: input.path === undefined ? {type: 'stdin'} : {type: 'files', paths: [input.path]},
    folder,
    files,
    watch: [...files, ...included.bases, join(folder, envFileName)],
    notices: included.notices,
  };
}

async function readIncludes(fleet: Declared<FleetDocument>, folder: string, reader: Reader) {
  const files = new Set<string>();
  const bases = new Set<string>();
  const contents: CheckedFile[] = [];
  const notices: string[] = [];
  for (const [index, pattern] of (fleet.value.spec.include ?? []).entries()) {
    if (typeof pattern !== 'string') continue; // taken out: its problem is told already
    const place = ['spec', 'include', String(index)];
    const expansion = await expand(pattern, folder, reader.disk).catch((error: unknown) => {
      if (!(error instanceof OutsideError)) throw error;
      reader.problems.push(cannotInclude(fleet, place, pattern, error));
      return nowhere;
    });
    if (expansion.base !== undefined) bases.add(expansion.base);
    if (expansion.files.length === 0) {
      if (expansion === nowhere) continue;
      if (expansion.exact) {
        reader.problems.push(
          fleet.source.problem(place, 'value', `cannot include \`${pattern}\`: there is no such file`),
        );
      } else notices.push(`include \`${pattern}\` of ${fleet.source.file} matches no file`);
    }
    for (const file of expansion.files) {
      if (file === fleet.source.path || files.has(file)) continue;
      try {
        const content = await reader.file(file);
        files.add(file);
        contents.push(content);
        const wrong = content.fleets.map(({source}) =>
          source.problem(
            ['kind'],
            'value',
            'a fleet cannot be included in a fleet',
            'included files hold Specialist and Expertise documents',
          ),
        );
        reader.problems.push(...wrong);
      } catch (error) {
        if (!(error instanceof SourceUnavailableError)) throw error;
        reader.problems.push(cannotInclude(fleet, place, pattern, error));
      }
    }
  }
  return {files, bases, contents, notices};
}

const nowhere: Expansion = {files: [], base: undefined, exact: true};

function cannotInclude(
  fleet: Declared<FleetDocument>,
  place: Path,
  pattern: string,
  error: SourceUnavailableError,
): Problem {
  const hint =
    error instanceof OutsideError
      ? 'only the local policy of the machine lets includes reach other folders (`includes`)'
      : undefined;
  return fleet.source.problem(place, 'value', `cannot include \`${pattern}\`: ${error.message}`, hint);
}

/** Bare Specialist documents, one implicit fleet for each namespace that they name. */
function bareGroups(inputs: readonly Input[], cwd: string): Group[] {
  const specialists = inputs.flatMap(({content}) => content.specialists);
  const namespaces = [...new Set(specialists.map(({value}) => value.metadata.namespace ?? 'default'))];
  const files = inputs.flatMap(({path}) => path ?? []);
  const from = [...new Set(inputs.map(input => input.from))];
  const folder = files[0] === undefined ? cwd : dirname(files[0]);
  const folders = from.filter(path => path !== '-' && !files.includes(path));
  return namespaces.map(namespace => ({
    fleet: undefined,
    specialists: specialists.filter(({value}) => (value.metadata.namespace ?? 'default') === namespace),
    expertise: inputs.flatMap(({content}) => content.expertise),
    source: from.includes('-') ? {type: 'stdin'} : {type: 'files', paths: from},
    folder,
    files,
    watch: [...files, ...folders, join(folder, envFileName)],
    notices: [],
  }));
}

/** Which fleet of a file would its other documents belong to? */
function ambiguous({content}: Input): readonly Problem[] {
  if (content.fleets.length < 2) return [];
  const message = `this file has ${content.fleets.length} fleets: which does it belong to?`;
  const hint = 'put it into a file of its own that one of them includes';
  return [...content.specialists, ...content.expertise].map(({source}) =>
    source.problem(['kind'], 'value', message, hint),
  );
}
