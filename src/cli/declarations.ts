/** Everything that a command was pointed at: the fleets of files, and those of git sources, fetched just now. */
import type {FleetRecord, LoadedFleet} from '../api/types.js';
import {applyRecords, refuseBefore} from './apply-records.js';
import type {ApplyFlags} from './apply-records.js';
import type {CommandContext} from './context.js';
import type {PreparedSource} from './git-declared.js';
import {loadAll, meant, nearestFile, noneIsMeant, withVariables} from './load.js';
import type {FileOptions} from './options.js';

export interface Declarations {
  readonly fleets: readonly LoadedFleet[];
  readonly sources: readonly PreparedSource[];
}

/**
 * Of files the fleets that `-n` and `--fleet` leave; of git sources all, for they move together. Nothing is recorded.
 *
 * @throws as `loadSources`, and what a git source's repository gives reason for
 */
export async function loadDeclarations(context: CommandContext, options: FileOptions): Promise<Declarations> {
  const {files, git, namespace} = options;
  // Whether a repository has such a variable shows later, and its policy decides whether it counts.
  const varied = withVariables(context, options);
  const paths = files.length > 0 ? files : git ? [] : [await nearestFile(context.cwd)];
  const all =
    paths.length === 0
      ? {fleets: [], gitSources: []}
      : await loadAll(git ? varied : context, paths, git ? {} : options.variables);
  const declared = all.gitSources.filter(source => (namespace ?? source.namespace) === source.namespace);
  const fleets = meant(all.fleets, options);
  if (declared.length === 0 && !git) {
    if (fleets.length === 0) throw noneIsMeant(all.fleets);
    return {fleets, sources: []};
  }
  // Costs the start of programs, so it is loaded where it is needed.
  const {prepareSource, sourceOfFlags, fleetsOf} = await import('./git-declared.js');
  const flagged = git ? [sourceOfFlags(git, {cwd: context.cwd, namespace: namespace ?? 'default'})] : [];
  const sources: PreparedSource[] = [];
  for (const source of [...declared, ...flagged]) sources.push(await prepareSource(varied, source));
  return {fleets: [...fleets, ...fleetsOf(sources)], sources};
}

/** As `applyRecords`, with the git sources that the fleets come from around it. */
export async function applyDeclarations(
  context: CommandContext,
  {fleets, sources}: Declarations,
  flags: ApplyFlags,
): Promise<readonly FleetRecord[]> {
  if (sources.length === 0) return applyRecords(context, fleets, flags);
  await refuseBefore(context, fleets, flags); // a source that was recorded would be followed all the same
  const {recordSource, tellSource} = await import('./git-declared.js');
  for (const source of sources) await recordSource(context, source, flags.expiresAt);
  const records = await applyRecords(context, fleets, flags);
  for (const source of sources) await tellSource(context, source);
  return records;
}
