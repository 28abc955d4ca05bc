/** The other side of `diff --against`: the same fleets as they stand in a commit, or in other files. Offline. */
import {mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {parseEnv} from 'node:util';
import {exitCodes, InvalidInputError, TektonError} from '../api/errors.js';
import type {LoadedFleet} from '../api/types.js';
import {shippedExpertise} from '../expertise/catalogue.js';
import {Repository} from '../git/tree.js';
import type {TreeFile} from '../git/tree.js';
import {envFileName, isOverride} from '../spec/environment.js';
import {fleetFileName, findFleetFile} from '../spec/find.js';
import {loadFleets} from '../spec/load.js';
import type {CommandContext} from './context.js';
import {shortPath} from './errors.js';
import {loadPaths, meant, nearestFile, noneIsMeant, withVariables} from './load.js';
import type {FileOptions} from './options.js';

export interface Sides {
  /** What the files say now. */
  readonly now: readonly LoadedFleet[];
  /** What the other side says. */
  readonly before: readonly LoadedFleet[];
  /** "main", "old/tekton-ai.yaml" */
  readonly name: string;
  /** With the commit: "main (ae5780b1c2d3)" */
  readonly against: string;
  /** Where the other side is a commit: its full name. */
  readonly commit?: string;
  /** What a person should know of the comparison. */
  readonly remarks: readonly string[];
}

/**
 * Loads both sides. `against` is a path where it has a `/` or ends in .yaml or .yml and something is there; else it is
 * a branch, tag or commit of the repository that the files lie in.
 *
 * @throws {TektonError} (exit code 4) there is neither, or no fleet is meant
 * @throws {InvalidInputError} with every problem of one side; those of the other side say which it is
 */
export async function loadSides(context: CommandContext, options: FileOptions, against: string): Promise<Sides> {
  const file = path.resolve(context.cwd, against);
  const sides = (await isPath(against, file))
    ? await againstFiles(context, options, file)
    : await againstCommit(context, options, against);
  const [now, before] = [meant(sides.now, options), meant(sides.before, options)];
  if (now.length === 0 && before.length === 0) throw noneIsMeant([...sides.now, ...sides.before]);
  return {...sides, now, before};
}

async function isPath(text: string, file: string): Promise<boolean> {
  if (!/\/|\.ya?ml$/.test(text) || text.startsWith('-')) return false;
  return stat(file).then(
    () => true,
    () => false,
  );
}

async function againstFiles(context: CommandContext, options: FileOptions, file: string): Promise<Sides> {
  const {cwd} = context;
  const paths = options.files.length > 0 ? options.files : [await nearestFile(cwd)];
  const now = await loadPaths(context, paths, options.variables);
  const here = paths[0] === undefined || paths[0] === '-' ? cwd : await folderOf(path.resolve(cwd, paths[0]));
  const root = await realpath(await folderOf(file));
  const real = await realpath(file);
  const name = shortPath(file, cwd);
  const before = await loadOther(withVariables(context, options), {
    paths: [real],
    root,
    as: here,
    label: below => shortPath(path.join(root, below), cwd),
    what: name,
    variables: await overridesBeside(here),
  });
  return {now, before, name, against: name, remarks: []};
}

/** One path of this side, and what stands for it in the other: none where there was nothing of the kind. */
interface Counterpart {
  /** Absolute, links resolved; undefined where it is gone. */
  readonly now: string | undefined;
  /** From the top of the repository. */
  readonly before: readonly string[];
}

async function againstCommit(context: CommandContext, options: FileOptions, ref: string): Promise<Sides> {
  const {cwd} = context;
  refuseOddRef(ref);
  if (options.files.includes('-')) {
    throw invalid('cannot compare standard input with a commit: it lies in no repository');
  }
  const nearest = options.files.length > 0 ? undefined : await findFleetFile(cwd);
  const given = options.files.length > 0 ? options.files : [nearest ?? fleetFileName];
  let places = await Promise.all(given.map(file => placeOf(path.resolve(cwd, file))));
  const repository = await repositoryOf(context, places);
  const {commit, name} = await commitOf(repository, ref);
  const files = await repository.filesOf(commit);
  if (options.files.length === 0 && nearest === undefined) places = [await goneFile(context, repository, files)];
  const remarks: string[] = [];
  const counterparts: Counterpart[] = [];
  for (const place of places) {
    const found = await counterpartOf(place, repository, commit, files);
    counterparts.push(found);
    const shown = shortPath(place.real, cwd);
    const own = slashed(path.relative(repository.root, place.real));
    const moved = found.before.filter(old => old !== own);
    if (found.before.length === 0) remarks.push(`${shown} is not in ${name}: all that it declares is new`);
    else if (found.now === undefined) remarks.push(`${shown} is gone: all that it declared in ${name} is removed`);
    else if (moved.length > 0) remarks.push(`${shown} is ${moved.join(', ')} in ${name}`);
  }
  const paths = counterparts.flatMap(({now}) => now ?? []);
  const now = paths.length === 0 ? [] : await loadPaths(context, paths, options.variables);
  const before = await loadCommit(withVariables(context, options), {repository, files, counterparts, what: name, ref});
  return {now, before, name, against: `${name} (${commit.slice(0, 12)})`, commit, remarks};
}

/** A leading `-` would be an option to git; the others have no place in a name, or mean something else than a commit. */
function refuseOddRef(ref: string): void {
  if (ref !== '' && !/^-|\.\.|[\s\p{Cc}:?*[\\]/u.test(ref)) return;
  throw invalid(`cannot compare with \`${ref}\`: it is no branch, tag or commit, and there is no such file`, neither);
}

const neither = 'name a file or folder (with a / or the ending .yaml), or a branch, tag or commit';

/** The nearest fleet file that the commit has, where there is none now. */
async function goneFile({cwd}: CommandContext, {root}: Repository, files: readonly TreeFile[]): Promise<Place> {
  const real = await realpath(cwd);
  for (let folder = real; folder !== path.dirname(root); folder = path.dirname(folder)) {
    const file = path.join(folder, fleetFileName);
    if (files.some(one => one.path === slashed(path.relative(root, file)))) return placeOf(file);
  }
  return placeOf(await nearestFile(cwd)); // there is none: it says so
}

interface Place {
  /** Absolute, links in the way to it resolved. */
  readonly real: string;
  /** The nearest folder that exists. */
  readonly folder: string;
  readonly kind: 'file' | 'folder' | 'gone';
}

async function placeOf(file: string): Promise<Place> {
  const found = await stat(file).catch(() => undefined);
  if (found?.isDirectory()) {
    const real = await realpath(file);
    const holds = (await readdir(real).catch((): string[] => [])).some(name => isYaml(name));
    return {real, folder: real, kind: holds ? 'folder' : 'gone'};
  }
  let folder = path.dirname(file);
  let rest = path.basename(file);
  for (;;) {
    const real = await realpath(folder).catch(() => undefined);
    if (real !== undefined) return {real: path.join(real, rest), folder: real, kind: found ? 'file' : 'gone'};
    rest = path.join(path.basename(folder), rest);
    folder = path.dirname(folder);
  }
}

async function repositoryOf(context: CommandContext, places: readonly Place[]): Promise<Repository> {
  let first: Repository | undefined;
  for (const {folder, real} of places) {
    const found = await Repository.of(folder, context);
    if (found === undefined) {
      throw invalid(
        `cannot compare ${shortPath(real, context.cwd)} with a commit: it lies in no git repository`,
        'compare with a file instead: --against path/to/tekton-ai.yaml',
      );
    }
    first ??= found;
    if (first.root !== found.root) {
      throw invalid(`cannot compare with one commit: the files lie in ${first.root} and in ${found.root}`);
    }
  }
  if (first === undefined) throw new Error('internal error: no path to compare');
  return first;
}

/** A branch that only the remote has is found by its own name, too: a CI's checkout has no other branches. */
async function commitOf(repository: Repository, ref: string): Promise<{commit: string; name: string}> {
  const remote = /^[\w./-]+$/.test(ref) && !ref.startsWith('origin/') ? [`origin/${ref}`] : [];
  for (const name of [ref, ...remote]) {
    const commit = await repository.commitOf(name);
    if (commit !== undefined) return {commit, name};
  }
  const branch = ref.replace(/^origin\//, '').replace(/[~^@].*$/, '') || 'main';
  const hint = (await repository.isShallow())
    ? `it is a shallow clone: get it with \`git fetch --depth=1 origin ${branch}\` (it is FETCH_HEAD then, too), ` +
      'or set `fetch-depth: 0` of actions/checkout (GitLab: GIT_DEPTH: 0)'
    : `get it with \`git fetch origin ${branch}\`; ${neither}`;
  throw invalid(
    `cannot compare with \`${ref}\`: the repository ${repository.root} has no such branch, tag or commit`,
    hint,
  );
}

async function counterpartOf(
  {real, kind}: Place,
  repository: Repository,
  commit: string,
  files: readonly TreeFile[],
): Promise<Counterpart> {
  const own = slashed(path.relative(repository.root, real));
  const isFolder = (folder: string, file: string): boolean => dirOf(file) === folder && isYaml(path.basename(file));
  const before = files.some(file => file.path === own || isFolder(own, file.path)) ? [own] : [];
  // What is on neither side is left for the load to complain of.
  if (kind === 'gone') return {now: before.length > 0 ? undefined : real, before};
  if (kind === 'file' && before.length > 0) return {now: real, before};
  const renames = [...(await repository.renamesSince(commit))];
  const moved = renames.filter(([to, from]) =>
    kind === 'folder' ? isFolder(own, to) && !isFolder(own, from) : to === own,
  );
  return {now: real, before: [...before, ...moved.map(([, from]) => from)]};
}

interface CommitOptions {
  readonly repository: Repository;
  readonly files: readonly TreeFile[];
  readonly counterparts: readonly Counterpart[];
  readonly what: string;
  readonly ref: string;
}

async function loadCommit(context: CommandContext, options: CommitOptions): Promise<readonly LoadedFleet[]> {
  const {repository, files, counterparts, what} = options;
  const paths = counterparts.flatMap(({before}) => before);
  if (paths.length === 0) return [];
  const folder = await realpath(await mkdtemp(path.join(tmpdir(), 'tekton-ai-')));
  try {
    const first = files.filter(file => isRead(file) || paths.includes(file.path));
    await repository.writeFiles(first, folder);
    // Includes may name files of any ending.
    const texts = await Promise.all(
      first.map(async ({type, path: file}) => (type === 'file' ? readFile(path.join(folder, file), 'utf8') : '')),
    );
    const words = new Set(
      texts.filter(text => text.includes('tekton.ai/')).flatMap(text => text.match(/[^\s/"',[\]{}]+/g) ?? []),
    );
    await repository.writeFiles(
      files.filter(file => !first.includes(file) && words.has(path.basename(file.path))),
      folder,
    );
    await writeEnvFiles(folder, options);
    return await loadOther(context, {
      paths: paths.map(file => path.join(folder, file)),
      root: folder,
      as: repository.root,
      label: file => `${what}:${slashed(file)}`,
      what,
      variables: {},
    });
  } finally {
    await rm(folder, {recursive: true, force: true});
  }
}

/** What a load looks at, whatever it is called in an include. */
function isRead({path: file, type}: TreeFile): boolean {
  return type === 'link' || /\.(ya?ml|json)$/.test(file) || path.basename(file) === envFileName;
}

/** `.env.tekton` is nobody's to commit: one that only this machine has counts for both sides. Keys in it stay where they are. */
async function writeEnvFiles(folder: string, {repository, files, counterparts}: CommitOptions): Promise<void> {
  for (const {now, before} of counterparts) {
    if (now === undefined) continue;
    const here = path.join(await folderOf(now), envFileName);
    const variables = await overridesIn(here);
    if (variables === undefined || (await repository.isTracked(slashed(path.relative(repository.root, here))))) {
      continue;
    }
    for (const old of before) {
      const isFile = files.some(file => file.path === old);
      const there = path.posix.join(isFile ? dirOf(old) : old, envFileName);
      if (files.some(file => file.path === there)) continue;
      const lines = Object.entries(variables).map(([name, value]) => `${name}=${quoted(value)}\n`);
      await mkdir(path.dirname(path.join(folder, there)), {recursive: true});
      await writeFile(path.join(folder, there), lines.join(''));
    }
  }
}

async function overridesBeside(folder: string): Promise<Readonly<Record<string, string>>> {
  return (await overridesIn(path.join(folder, envFileName))) ?? {};
}

async function overridesIn(file: string): Promise<Readonly<Record<string, string>> | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const all = Object.entries(parseEnv(text));
  return Object.fromEntries(all.flatMap(([name, value]) => (isOverride(name) ? [[name, value ?? '']] : [])));
}

/** As Node reads it: a quote of any kind, and no escapes within. */
function quoted(value: string): string {
  const quote = [`'`, '"', '`'].find(one => !value.includes(one)) ?? '';
  return `${quote}${value}${quote}`;
}

interface Other {
  /** Absolute, `root` or below it. */
  readonly paths: readonly string[];
  readonly root: string;
  readonly as: string;
  /** Name of a file with a problem, from its path below `root`. */
  readonly label: (file: string) => string;
  readonly what: string;
  readonly variables: Readonly<Record<string, string>>;
}

async function loadOther(context: CommandContext, other: Other): Promise<readonly LoadedFleet[]> {
  const {paths, root, as, what, variables} = other;
  try {
    return await loadFleets({
      paths,
      cwd: root,
      environment: {...variables, ...context.environment},
      readStdin: async function* () {},
      shippedExpertise,
      // Where this side's includes lead out of the repository, the other side's may, too.
      within: {root, as, also: ['/']},
    });
  } catch (error) {
    if (error instanceof InvalidInputError) {
      throw new InvalidInputError(error.problems.map(problem => ({...problem, file: nameOf(problem.file, other)})));
    }
    if (!(error instanceof TektonError)) throw error;
    throw invalid(`cannot compare with ${what}: ${error.message}`, error.hint);
  }
}

/** The commit's or file's own name of what a problem is in; it may lie in neither. */
function nameOf(file: string, {as, label}: Other): string {
  if (file.startsWith('environment variable ')) return file;
  if (!path.isAbsolute(file)) return label(file);
  const below = path.relative(as, file);
  return below.startsWith('..') ? file : label(below);
}

async function folderOf(file: string): Promise<string> {
  const found = await stat(file).catch(() => undefined);
  return found?.isDirectory() ? file : path.dirname(file);
}

/** As a folder is read: `*.yaml` and `*.yml` directly in it. */
function isYaml(name: string): boolean {
  return /^[^.].*\.ya?ml$/.test(name);
}

/** Of a path within a repository; its top is ''. */
function dirOf(file: string): string {
  const folder = path.posix.dirname(file);
  return folder === '.' ? '' : folder;
}

function slashed(file: string): string {
  return file.split(path.sep).join('/');
}

function invalid(message: string, hint?: string): TektonError {
  return new TektonError(message, {exitCode: exitCodes.invalidInput, ...(hint !== undefined && {hint})});
}
