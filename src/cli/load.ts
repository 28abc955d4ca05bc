/** From `-f` flags to loaded fleets. */
import {Readable} from 'node:stream';
import {exitCodes, TektonError} from '../api/errors.js';
import type {LoadedFleet} from '../api/types.js';
import {shippedExpertise} from '../expertise/catalogue.js';
import {variablePrefix} from '../spec/environment.js';
import {fleetFileName, findFleetFile} from '../spec/find.js';
import {loadDocuments, loadFleets} from '../spec/load.js';
import type {Loaded} from '../spec/load.js';
import type {CommandContext} from './context.js';
import type {FileOptions, GlobalOptions} from './options.js';

/**
 * The fleets that the files declare, less those that `-n` and `--fleet` leave out. Without files: those of the
 * nearest tekton-ai.yaml.
 *
 * @throws {TektonError} (exit code 4) where there is no file, or nothing in it is meant
 * @throws {InvalidInputError} with every problem
 * @throws {SourceUnavailableError}
 */
export async function loadSources(context: CommandContext, options: FileOptions): Promise<readonly LoadedFleet[]> {
  const paths = options.files.length > 0 ? options.files : [await nearestFile(context.cwd)];
  const fleets = await loadPaths(context, paths, options.variables);
  const found = meant(fleets, options);
  if (found.length === 0) throw noneIsMeant(fleets);
  return found;
}

/** The fleets that these files, folders and `-` declare. @throws as above */
export async function loadPaths(
  context: CommandContext,
  paths: readonly string[],
  variables: FileOptions['variables'] = {},
): Promise<readonly LoadedFleet[]> {
  return (await loadAll(context, paths, variables)).fleets;
}

/** All that they declare, git sources included. @throws as above */
export function loadAll(
  context: CommandContext,
  paths: readonly string[],
  variables: FileOptions['variables'] = {},
): Promise<Loaded> {
  const {cwd, environment} = context;
  return loadDocuments({paths, cwd, environment, variables, readStdin: () => context.openStdin(), shippedExpertise});
}

/** As if the environment said what `--var` says: for what is loaded where there may be no variable of the name. */
export function withVariables(
  context: CommandContext,
  {variables = {}}: Pick<FileOptions, 'variables'>,
): CommandContext {
  const said = Object.entries(variables).map(([name, value]) => [`${variablePrefix}${name}`, value] as const);
  return {...context, environment: {...context.environment, ...Object.fromEntries(said)}};
}

/** With the values that a fleet's variables had when it was applied, where the environment says none. */
export function asApplied(context: CommandContext, {overrides}: Pick<LoadedFleet, 'overrides'>): CommandContext {
  const recorded = Object.entries(overrides).filter(([variable]) => variable.startsWith(variablePrefix));
  return {...context, environment: {...Object.fromEntries(recorded), ...context.environment}};
}

/** Those that `-n` and `--fleet` leave. */
export function meant(fleets: readonly LoadedFleet[], {namespace, fleet: name}: GlobalOptions): readonly LoadedFleet[] {
  return fleets.filter(f => (namespace ?? f.namespace) === f.namespace && (name ?? f.name) === f.name);
}

export function noneIsMeant(fleets: readonly LoadedFleet[]): TektonError {
  const declared = [...new Set(fleets.map(fleet => `${fleet.namespace}/${fleet.name}`))].join(', ');
  return new TektonError('none of the fleets in the files is meant', {
    exitCode: exitCodes.invalidInput,
    hint: declared === '' ? 'the files declare no fleet' : `the files declare ${declared}`,
  });
}

/** Fleets that are declared in `text`, as if it came from standard input. @throws as above */
export function loadText({cwd, environment}: CommandContext, text: string): Promise<readonly LoadedFleet[]> {
  const readStdin = () => Readable.from([text]);
  return loadFleets({paths: ['-'], cwd, environment, readStdin, shippedExpertise});
}

/** @throws {TektonError} (exit code 4) */
export async function nearestFile(cwd: string): Promise<string> {
  const file = await findFleetFile(cwd);
  if (file !== undefined) return file;
  throw new TektonError(`there is no ${fleetFileName} in ${cwd} or a folder above it`, {
    exitCode: exitCodes.invalidInput,
    hint: 'create one, or name a file with -f',
  });
}
