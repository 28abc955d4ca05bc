/** Files to desired state. The one door: what comes out is typed, checked and complete, or nothing does. */
import {isAbsolute} from 'node:path';
import {InvalidInputError, SourceUnavailableError} from '../api/errors.js';
import type {Problem} from '../api/errors.js';
import type {LoadedFleet} from '../api/types.js';
import {checkFleet, checkTogether, rangeOf} from './check.js';
import {desire} from './desire.js';
import type {ShippedExpertise} from './desire.js';
import {Overrides, readEnvFile} from './environment.js';
import type {Variables} from './environment.js';
import {fleetOf} from './fleet.js';
import type {Fleet} from './fleet.js';
import {gather} from './gather.js';
import type {GatherOptions, Group} from './gather.js';
import {knownProviders} from './providers.js';
import {revisionOf} from './revision.js';

export interface LoadOptions extends GatherOptions {
  /** Where overrides are looked up, before `.env.tekton` beside the fleet file. Secrets are not looked up here. */
  readonly environment: Variables;
  /** Expertise that comes with tekton-ai; a component that is in neither place gets a generic one. */
  readonly shippedExpertise: ShippedExpertise;
}

/**
 * The fleets that the sources declare, in their order; bare Specialist documents make up the implicit fleet
 * `default`, which comes last. Empty where there are Expertise documents only.
 *
 * @throws {InvalidInputError} with every problem of every file
 * @throws {SourceUnavailableError} where a path can't be read: that is never an empty desired list
 */
export async function loadFleets(options: LoadOptions): Promise<readonly LoadedFleet[]> {
  if (!isAbsolute(options.cwd)) throw new Error(`internal error: cwd is not absolute: ${options.cwd}`);
  if (options.paths.length === 0) {
    const hint = 'create a file `tekton-ai.yaml`, or name one with -f';
    throw new SourceUnavailableError('cannot load a fleet: no file was named', {hint});
  }
  const {groups, problems, order} = await gather(options);
  const fleets = await Promise.all(groups.map(async group => fleetWithEnvironment(group, options)));
  const known = fleets.map(({fleet, envFile}) => ({fleet, envFile, providers: knownProviders(fleet)}));
  const all = [
    ...problems,
    ...known.flatMap(({fleet, providers}) => checkFleet(fleet, providers)),
    ...checkTogether(known.map(({fleet}) => fleet)),
  ];
  if (all.length > 0) throw new InvalidInputError(inOrder(all, order));
  return Promise.all(
    known.map(async ({fleet, envFile, providers}): Promise<LoadedFleet> => {
      const specialists = await Promise.all(
        fleet.entries.map(entry => desire(fleet, entry, providers, options.shippedExpertise)),
      );
      const revision = fleet.group.source.type === 'files' ? await revisionOf(fleet.group.folder) : undefined;
      return {
        ...outline(fleet),
        ...(revision !== undefined && {revision}),
        ...(envFile !== undefined && {envFile}),
        specialists,
        overrides: fleet.overrides.recorded,
      };
    }),
  );
}

async function fleetWithEnvironment(
  group: Group,
  {environment}: LoadOptions,
): Promise<{fleet: Fleet; envFile: string | undefined}> {
  const envFile = await readEnvFile(group.folder);
  return {fleet: fleetOf(group, new Overrides(environment, envFile)), envFile: envFile?.path};
}

function outline(fleet: Fleet): Omit<LoadedFleet, 'specialists' | 'overrides' | 'envFile' | 'revision'> {
  const {group, name, namespace, fields, overrides} = fleet;
  const {off} = overrides;
  const notices = [...group.notices];
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
    driftPolicy: fields.driftPolicy ?? 'heal',
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
