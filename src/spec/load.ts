/** Files to desired state. The one door: what comes out is typed, checked and complete, or nothing does. */
import {isAbsolute, join} from 'node:path';
import {rollbackDefaults} from '../api/defaults.js';
import {
  exitCodes,
  InvalidInputError,
  PolicyViolationError,
  SourceUnavailableError,
  TektonError,
} from '../api/errors.js';
import type {Problem} from '../api/errors.js';
import type {FleetFields, GitSourceDocument} from '../api/documents.js';
import {suggest} from '../api/suggest.js';
import type {DriftPolicy, LoadedFleet} from '../api/types.js';
import {checkWindows} from './check-windows.js';
import {fleetDependencies} from './check-fleet-dependencies.js';
import type {Declared} from './checked.js';
import {checkFleet, checkTogether, rangeOf} from './check.js';
import {checkCanarySchemas} from './check-canary.js';
import {desire} from './desire.js';
import type {ShippedExpertise} from './desire.js';
import {checkLinks} from './check-links.js';
import {envFileName, Overrides, readEnvFile} from './environment.js';
import type {Variables} from './environment.js';
import {fleetOf} from './fleet.js';
import type {Fleet} from './fleet.js';
import {gather} from './gather.js';
import type {Gathered, GatherOptions, Group} from './gather.js';
import {checkNotifications, notificationsOf} from './notifications.js';
import {checkPolicy} from './policy-check.js';
import type {PolicyFacts} from './policy-check.js';
import {gitSourceOf} from './git-source.js';
import type {DeclaredGitSource} from './git-source.js';
import {declaredProviders, knownProviders} from './providers.js';
import type {DeclaredProviders} from './providers.js';
import {revisionOf} from './revision.js';
import {OutsideError} from './within.js';

export type {DeclaredProviders} from './providers.js';

export interface LoadOptions extends GatherOptions {
  /** Where overrides are looked up, too, before `.env.tekton` beside the fleet file. Secrets are not looked up here. */
  readonly environment: Variables;
  /** Expertise that comes with tekton-ai; a component that is in neither place gets a generic one. */
  readonly shippedExpertise: ShippedExpertise;
}

/** Everything that files declare. */
export interface Loaded {
  /** In their order; bare Specialist documents make up the implicit fleet `default`, which comes last. */
  readonly fleets: readonly LoadedFleet[];
  readonly gitSources: readonly DeclaredGitSource[];
  /** Of each fleet, whether a specialist has them or not. */
  readonly providers: ReadonlyMap<LoadedFleet, DeclaredProviders>;
}

/** The fleets alone, of `loadDocuments`. Empty where there are other documents only. @throws as `loadDocuments` */
export async function loadFleets(options: LoadOptions): Promise<readonly LoadedFleet[]> {
  return (await loadDocuments(options)).fleets;
}

/**
 * Fleets and git sources that the files declare. What git sources lead to is not read.
 *
 * @throws {InvalidInputError} with every problem of every file
 * @throws {SourceUnavailableError} where a path can't be read: that is never an empty desired list
 */
export async function loadDocuments(options: LoadOptions): Promise<Loaded> {
  if (!isAbsolute(options.cwd)) throw new Error(`internal error: cwd is not absolute: ${options.cwd}`);
  if (options.paths.length === 0) {
    const hint = 'create a file `tekton-ai.yaml`, or name one with -f';
    throw new SourceUnavailableError('cannot load a fleet: no file was named', {hint});
  }
  const {groups: all, gitSources, problems, order, disk, nameOf} = await gather(options);
  // That a repository has none of the name shows when it is read.
  if (gitSources.length === 0) refuseUnknown(options.variables ?? {}, all);
  const groups = all.filter(group => !group.isBroken);
  const read = await Promise.all(groups.map(group => withEnvironment(group, options.environment, {disk, nameOf})));
  const links = options.within
    ? checkLinks(
        read.map(({fleet}) => fleet),
        options.within,
      )
    : [];
  const known = read.map(({fleet, envFile}) => ({fleet, envFile, providers: knownProviders(fleet)}));
  const windows = await Promise.all(known.map(({fleet}) => checkWindows(fleet)));
  const followed = gitSources.map(declared => gitSourceOf(declared, options.cwd));
  const wrong = [
    ...problems,
    ...followed.flatMap(({problems}) => problems),
    ...declaredTwice(gitSources),
    ...read.flatMap(({misplaced}) => misplaced),
    ...(await links),
    ...windows.flat(),
    ...known.flatMap(({fleet, providers}) => checkFleet(fleet, providers)),
    ...(await Promise.all(known.map(({fleet}) => checkNotifications(fleet)))).flat(),
    ...checkTogether(known.map(({fleet}) => fleet)),
    ...(await Promise.all(known.map(({fleet}) => checkCanarySchemas(fleet)))).flat(),
  ];
  if (wrong.length > 0) throw new InvalidInputError(inOrder(wrong, order));
  const fleets = await Promise.all(
    known.map(async ({fleet, envFile, providers}): Promise<LoadedFleet> => {
      const specialists = await Promise.all(
        fleet.entries.map(entry => desire(fleet, entry, providers, options.shippedExpertise)),
      );
      const isOwnFile = fleet.group.source.type === 'files' && !options.within;
      const revision = isOwnFile ? await revisionOf(fleet.group.folder) : undefined;
      return {
        ...outline(fleet),
        ...(revision !== undefined && {revision}),
        ...(envFile !== undefined && {envFile}),
        specialists,
        overrides: {...fleet.overrides.recorded, ...fleet.group.variables.recorded},
      };
    }),
  );
  const declared = known.flatMap(({fleet, providers}, index) => {
    const loaded = fleets[index];
    return loaded ? [[loaded, declaredProviders(fleet, providers)] as const] : [];
  });
  return {fleets, gitSources: followed.map(({declared}) => declared), providers: new Map(declared)};
}

function declaredTwice(gitSources: readonly Declared<GitSourceDocument>[]): readonly Problem[] {
  const ids = gitSources.map(({value}) => `${value.metadata.namespace ?? 'default'}/${value.metadata.name}`);
  return gitSources.flatMap(({source}, index) => {
    const id = ids[index] ?? '';
    if (ids.indexOf(id) === index) return [];
    return source.problem(['metadata', 'name'], 'value', `the git source \`${id}\` is declared twice`);
  });
}

/** @throws {TektonError} (exit code 4) a value was given for a variable that no fleet has: a slip of the pen */
function refuseUnknown(given: Readonly<Record<string, string>>, groups: readonly Group[]): void {
  const known = new Set(groups.flatMap(({variables}) => [...variables.values.keys()]));
  const unknown = Object.keys(given).find(name => !known.has(name));
  if (unknown === undefined) return;
  const declared = known.size === 0 ? 'they declare none' : `declared are ${[...known].join(', ')}`;
  throw new TektonError(`the files declare no variable \`${unknown}\``, {
    exitCode: exitCodes.invalidInput,
    hint: suggest(unknown, [...known]) ?? declared,
  });
}

interface Read {
  readonly fleet: Fleet;
  readonly envFile: string | undefined;
  readonly misplaced: readonly Problem[];
}

async function withEnvironment(
  group: Group,
  environment: Variables,
  {disk, nameOf}: Pick<Gathered, 'disk' | 'nameOf'>,
): Promise<Read> {
  try {
    const envFile = await readEnvFile(group.folder, disk);
    return {fleet: fleetOf(group, new Overrides(environment, envFile)), envFile: envFile?.path, misplaced: []};
  } catch (error) {
    if (!(error instanceof OutsideError)) throw error;
    const place = {file: nameOf(join(group.folder, envFileName)), line: 1, column: 1};
    const fleet = fleetOf(group, new Overrides(environment, undefined));
    return {fleet, envFile: undefined, misplaced: [{...place, message: error.message}]};
  }
}

export interface CheckoutOptions extends PolicyFacts {
  /** Absolute: where the commit was checked out. Recorded paths say `trust.source.checkout` in its place. */
  readonly root: string;
  /** Of the GitSource: a file, or a folder for the `*.yaml` directly in it, relative to `root`. */
  readonly path: string;
  /** The commit. */
  readonly revision: string;
  readonly environment: Variables;
  readonly shippedExpertise: ShippedExpertise;
}

/**
 * The fleets that a checkout of a repository declares, below `path`, all of them allowed by the policy. Nothing is read
 * outside of the checkout and the folders that the policy adds.
 *
 * @throws {PolicyViolationError} with all that the policy forbids, files named relative to `root`
 * @throws {InvalidInputError} with every other problem
 * @throws {SourceUnavailableError} where there is no such path, or nothing in it: never an empty desired list
 */
export async function loadCheckout(options: CheckoutOptions): Promise<readonly LoadedFleet[]> {
  const {root, trust, path, revision, environment, shippedExpertise} = options;
  const {name: source, url, checkout} = trust.source;
  const fleets = await loadFleets({
    paths: [path],
    cwd: root,
    environment,
    shippedExpertise,
    readStdin: async function* () {},
    within: {root, as: checkout, also: trust.includes},
    trust,
  });
  const forbidden = fleets.flatMap(fleet => checkPolicy(fleet, options));
  if (forbidden.length > 0) throw new PolicyViolationError(forbidden);
  return fleets.map(fleet => ({...fleet, source: {type: 'git', source, url, path}, revision}));
}

function outline(fleet: Fleet): Omit<LoadedFleet, 'specialists' | 'overrides' | 'envFile' | 'revision'> {
  const {group, name, namespace, fields, overrides} = fleet;
  const {off} = overrides;
  const dependsOn = fleetDependencies(fleet);
  const notices = [...group.notices];
  const notifications = notificationsOf(fleet);
  if (off) {
    notices.push(
      `TEKTON_REGISTER_AI=${off.value} (${off.origin.file ?? 'environment'}): no specialist of fleet \`${name}\` is to run`,
    );
  }
  if (fleet.entries.length === 0) notices.push(`fleet \`${name}\` declares no specialists`);
  return {
    name,
    namespace,
    enabled: (fields.enabled ?? true) && !off,
    ports: rangeOf(fleet),
    allowMassPrune: fields.allowMassPrune ?? false,
    driftPolicy: driftPolicyOf(fields),
    ...(notifications.length > 0 && {notifications}),
    ...(dependsOn.length > 0 && {dependsOn}),
    ...(fields.syncWindows &&
      fields.syncWindows.length > 0 && {
        syncWindows: fields.syncWindows.map(window => ({timeZone: 'UTC', manual: true, ...window})),
      }),
    ...(fields.rollback && {rollback: {...rollbackDefaults, ...fields.rollback}}),
    source: group.source,
    files: group.files,
    watch: [...new Set(group.watch)],
    notices,
  };
}

/** By place; what two checks say of one place is said once. */
function inOrder(problems: readonly Problem[], order: readonly string[]): readonly Problem[] {
  const unique = new Map(
    problems.map(problem => [`${problem.file}:${problem.line}:${problem.column}:${problem.message}`, problem]),
  );
  return [...unique.values()].sort(
    (a, b) => order.indexOf(a.file) - order.indexOf(b.file) || a.line - b.line || a.column - b.column,
  );
}

function driftPolicyOf({driftPolicy = 'heal'}: FleetFields): DriftPolicy {
  if (typeof driftPolicy === 'string') return driftPolicy;
  return {default: driftPolicy.default ?? 'heal', fields: driftPolicy.fields ?? {}};
}
