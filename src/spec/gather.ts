/** From what a command was pointed at to the documents of each fleet. */
import {dirname, join} from 'node:path';
import type {ExpertiseDocument, FleetDocument, GitSourceDocument, SpecialistDocument} from '../api/documents.js';
import {SourceUnavailableError} from '../api/errors.js';
import type {Problem} from '../api/errors.js';
import type {Trust} from '../api/policy.js';
import type {Source} from '../api/types.js';
import type {Path} from '../api/validate.js';
import {layersOf} from './bases.js';
import type {Layers} from './bases.js';
import type {Declared} from './checked.js';
import {compose} from './compose.js';
import type {Layer} from './compose.js';
import type {SourceDocument} from './document.js';
import {envFileName} from './environment.js';
import type {Variables as Environment} from './environment.js';
import {expand} from './glob.js';
import type {Expansion} from './glob.js';
import {isFleet, isGitSource, Reader} from './reader.js';
import type {Content, Input} from './reader.js';
import {substitute} from './substitute.js';
import {variablesOf} from './variables.js';
import type {FleetVariables} from './variables.js';
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
  /** Where values of variables are looked up, as far as `trust` lets it. */
  readonly environment: Environment;
  /** Values of variables by name, as a person gave them: before all others. */
  readonly variables?: Readonly<Record<string, string>>;
  /** What a repository's files may do while they are loaded. Absent: they are the operator's own, and may do all. */
  readonly trust?: Trust;
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
  readonly variables: Pick<FleetVariables, 'values' | 'recorded'>;
  /** So much is wrong that nothing can be said of the whole; all of it is told. */
  readonly isBroken: boolean;
}

export interface Gathered {
  readonly groups: readonly Group[];
  readonly gitSources: readonly Declared<GitSourceDocument>[];
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
  for (const fleet of await fleetsOf(read, reader)) groups.push(await fleetGroup(fleet, reader, options));
  const taken = new Set(groups.flatMap(group => group.files));
  const bare = read.filter(({path, documents}) => !documents.some(isFleet) && (path === undefined || !taken.has(path)));
  for (const input of read) await tellAmbiguous(input, reader);
  const {gitSources} = await reader.contentOf(read.flatMap(({documents}) => documents.filter(isGitSource)));
  if (options.within) reader.problems.push(...gitSources.map(({source}) => misplacedSource(source)));
  return {
    groups: [...groups, ...(await bareGroups(bare, reader))],
    gitSources,
    problems: reader.problems,
    order: reader.order,
    disk,
    nameOf: path => reader.nameOf(path),
  };
}

interface FleetInput {
  readonly input: Input;
  readonly found: Layers;
}

/** A fleet that only its folder was named for, and that another one lies over, is none of its own. */
async function fleetsOf(inputs: readonly Input[], reader: Reader): Promise<readonly FleetInput[]> {
  const all: (FleetInput & {readonly document: SourceDocument})[] = [];
  for (const input of inputs) {
    const fleets = input.documents.filter(isFleet);
    for (const document of fleets) {
      const companions = fleets.length === 1 ? input.documents.filter(other => other !== document) : [];
      const found = await layersOf({document, folder: folderOf(input, reader), companions, by: 'own'}, reader);
      all.push({input, found, document});
    }
  }
  const bases = new Set(
    all.flatMap(({found}) => found.layers.filter(({by}) => by === 'base')).map(base => base.document),
  );
  return all.filter(({input, document}) => input.from === (input.path ?? '-') || !bases.has(document));
}

function folderOf({path}: Input, reader: Reader): string {
  return path === undefined ? reader.cwd : dirname(path);
}

async function fleetGroup({input, found}: FleetInput, reader: Reader, options: GatherOptions): Promise<Group> {
  const folder = folderOf(input, reader);
  const variables = await variablesOf(
    found.layers.map(({document}) => document),
    {
      ...{environment: options.environment, given: options.variables ?? {}, trust: options.trust},
      ...{disk: reader.disk, cwd: reader.cwd},
    },
  );
  const filled = new Filled(variables, reader);
  const layers: Layer[] = [];
  const files = new Set([...(input.path === undefined ? [] : [input.path]), ...found.files, ...variables.files]);
  const folders = new Set(found.folders);
  const notices: string[] = [];
  let {isBroken} = found;
  for (const {document, folder: from, companions, by} of found.layers) {
    const {fleets, ...own} = await filled.contentOf([document]);
    const beside = await filled.contentOf(companions);
    for (const fleet of fleets) {
      const included = await readIncludes(fleet, from, reader, filled);
      for (const file of included.files) files.add(file);
      for (const base of included.bases) folders.add(base);
      notices.push(...included.notices);
      const contents = [beside, ...included.contents];
      isBroken ||= [own, ...contents].some(content => content.isBroken);
      layers.push({
        ...{fleet, by},
        specialists: contents.flatMap(({specialists}) => specialists),
        expertise: contents.flatMap(({expertise}) => expertise),
      });
    }
  }
  return {
    ...(await oneOf(layers, isBroken, reader, filled)),
    source: input.path === undefined ? {type: 'stdin'} : {type: 'files', paths: [input.path]},
    folder,
    files: [...files],
    watch: [...files, ...folders, ...variables.watch, join(folder, envFileName)],
    notices,
    variables,
  };
}

/** Documents of a fleet with its variables filled in, each once. */
class Filled {
  isBroken: boolean;
  private readonly known = new Map<SourceDocument, SourceDocument>();

  constructor(
    private readonly variables: FleetVariables,
    private readonly reader: Reader,
  ) {
    reader.problems.push(...variables.problems);
    this.isBroken = variables.problems.length > 0;
  }

  contentOf(documents: readonly SourceDocument[]): Promise<Content> {
    if (this.variables.values.size === 0) return this.reader.contentOf(documents);
    return this.reader.contentOf(documents.map(document => this.fill(document)));
  }

  private fill(document: SourceDocument): SourceDocument {
    const known = this.known.get(document);
    if (known) return known;
    const {document: filled, problems} = substitute(document, this.variables.values);
    this.known.set(document, filled);
    this.reader.problems.push(...problems);
    this.isBroken ||= problems.length > 0;
    return filled;
  }
}

/** What the layers come to. One alone that patches nobody stays as it was written, and is checked whatever is wrong with it. */
async function oneOf(
  layers: readonly Layer[],
  isBroken: boolean,
  reader: Reader,
  filled: Filled,
): Promise<Pick<Group, 'fleet' | 'specialists' | 'expertise' | 'isBroken'>> {
  const top = layers.at(-1);
  if (!top) throw new Error('internal error: a fleet without a document');
  // Of the Expertise documents for one component the first one counts.
  const expertise = layers.toReversed().flatMap(layer => layer.expertise);
  const {fleet, specialists} = top;
  const isLayered = layers.length > 1 || 'bases' in fleet.value.spec || 'patches' in fleet.value.spec;
  if (!isLayered) return {fleet, specialists, expertise, isBroken: filled.isBroken};
  const {source, problems} = compose(layers);
  reader.problems.push(...problems, ...foreign(top));
  if (isBroken || filled.isBroken || problems.length > 0) return {fleet, specialists: [], expertise, isBroken: true};
  const whole = await reader.contentOf([source]);
  return {fleet: whole.fleets[0] ?? fleet, specialists: [], expertise, isBroken: whole.isBroken};
}

/** Specialists of the fleet's own documents that say another namespace; those of bases come into this one. */
function foreign({fleet, specialists}: Layer): readonly Problem[] {
  const {name, namespace = 'default'} = fleet.value.metadata;
  return specialists.flatMap(({source, value}) => {
    const own = value.metadata.namespace;
    if (own === undefined || own === namespace) return [];
    const message = `namespace \`${own}\` is not that of the fleet \`${name}\`, which is \`${namespace}\``;
    return [source.problem(['metadata', 'namespace'], 'value', message)];
  });
}

async function readIncludes(fleet: Declared<FleetDocument>, folder: string, reader: Reader, filled: Filled) {
  const files = new Set<string>();
  const bases = new Set<string>();
  const contents: Content[] = [];
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
        const content = await filled.contentOf(await reader.file(file));
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
        reader.problems.push(...wrong, ...content.gitSources.map(({source}) => misplacedSource(source)));
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
async function bareGroups(inputs: readonly Input[], reader: Reader): Promise<Group[]> {
  const contents = await Promise.all(inputs.map(({documents}) => reader.contentOf(documents)));
  const specialists = contents.flatMap(content => content.specialists);
  const namespaces = [...new Set(specialists.map(({value}) => value.metadata.namespace ?? 'default'))];
  const files = inputs.flatMap(({path}) => path ?? []);
  const from = [...new Set(inputs.map(input => input.from))];
  const folder = files[0] === undefined ? reader.cwd : dirname(files[0]);
  const folders = from.filter(path => path !== '-' && !files.includes(path));
  return namespaces.map(namespace => ({
    fleet: undefined,
    specialists: specialists.filter(({value}) => (value.metadata.namespace ?? 'default') === namespace),
    expertise: contents.flatMap(content => content.expertise),
    source: from.includes('-') ? {type: 'stdin'} : {type: 'files', paths: from},
    folder,
    files,
    watch: [...files, ...folders, join(folder, envFileName)],
    notices: [],
    variables: {values: new Map(), recorded: {}},
    isBroken: false,
  }));
}

/** What a repository declares must not lead to another repository: where an environment comes from is its owner's word. */
function misplacedSource(source: SourceDocument): Problem {
  return source.problem(
    ['kind'],
    'value',
    'a GitSource cannot be declared here: only in a file of your own that -f names',
  );
}

/** Which fleet of a file would its other documents belong to? */
async function tellAmbiguous({documents}: Input, reader: Reader): Promise<void> {
  const count = documents.filter(isFleet).length;
  if (count < 2) return;
  const content = await reader.contentOf(documents.filter(document => !isFleet(document)));
  const message = `this file has ${count} fleets: which does it belong to?`;
  const hint = 'put it into a file of its own that one of them includes';
  const others = [...content.specialists, ...content.expertise];
  reader.problems.push(...others.map(({source}) => source.problem(['kind'], 'value', message, hint)));
}
