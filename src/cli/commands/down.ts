import {exitCodes, TektonError} from '../../api/errors.js';
import type {ExitCode} from '../../api/errors.js';
import type {FleetRecord} from '../../api/types.js';
import {readFleetRecords, updateFleet} from '../../registry/fleet-records.js';
import {findController} from '../../registry/controller-record.js';
import {recordId} from '../../reconciler/desired.js';
import {ensureStateHome} from '../../registry/home.js';
import type {FleetKey} from '../../registry/paths.js';
import {endController, stopController} from '../background.js';
import type {Command, CommandContext} from '../context.js';
import {converge} from '../converge.js';
import {loadAll, meant} from '../load.js';
import type {DownOptions} from '../options.js';
import {adoptToStop, forgetAdopted, ownerlessFleets} from '../ownerless.js';
import {writeLine} from '../output.js';
import {reportConvergence} from '../report.js';
import {stopSources} from '../stop-sources.js';
import {qualifiedName} from '../view.js';

/**
 * Stops every specialist of the fleets, and the controller when nothing is left for it to keep. Forgets nothing but
 * processes: ports, generations and logs are there at the next `up`.
 */
export const run: Command<DownOptions> = async (context, _args, options) => {
  const {home} = context;
  const isMeant = await scopeOf(context, options);
  // First of all, so that it begins nothing new, and whether or not it answers.
  if (options.all && (await endController(home))) await writeLine(context.stdout, 'the controller has ended');
  // The next controller would start what is new in them. Where that fails, all else is stopped nevertheless.
  const [sources] = await Promise.allSettled([options.all ? stopSources(home, () => true) : []]);
  if (sources.status === 'fulfilled') {
    for (const source of sources.value) {
      await writeLine(context.stdout, `git source ${qualifiedName(source)} is stopped`);
    }
  }
  const exitCode = await stopFleets(context, options, isMeant);
  if (sources.status === 'rejected') throw sources.reason;
  return exitCode;
};

async function stopFleets(
  context: CommandContext,
  options: DownOptions,
  isMeant: (fleet: FleetKey) => boolean,
): Promise<ExitCode> {
  const {home} = context;
  const records = readFleetRecords(home).filter(isMeant);
  const ownerless = (await ownerlessFleets(home)).filter(isMeant);
  if (records.length === 0 && ownerless.length === 0) return nothingMeant(context, options);
  const stopped: FleetRecord[] = [];
  for (const record of records) {
    const next = await updateFleet(home, record, before => before && {...before, stopped: true});
    if (next) stopped.push(next);
  }
  try {
    if (ownerless.length > 0) {
      for (const warning of await ensureStateHome(home)) await writeLine(context.stderr, warning);
    }
    for (const key of ownerless) stopped.push(await adoptToStop(home, key));
    const convergence = await converge(context, stopped, {...options, goal: 'ready'});
    if (context.signal.aborted) return exitCodes.interrupted;
    const exitCode = await reportConvergence(context, convergence, {...options, goal: 'ready'});
    for (const record of stopped) await writeLine(context.stdout, `fleet ${qualifiedName(record)} is stopped`);
    if (readFleetRecords(home).every(record => record.stopped) && (await findController(home))) {
      await stopController(home);
      await writeLine(context.stdout, 'the controller has ended');
    }
    return exitCode;
  } finally {
    await forgetAdopted(home, ownerless);
  }
}

/** @throws {TektonError} where there are fleets, and none of them was meant */
async function nothingMeant(context: CommandContext, {namespace, fleet, files}: DownOptions): Promise<ExitCode> {
  const known = readFleetRecords(context.home).map(qualifiedName);
  if (known.length > 0 && (namespace !== undefined || fleet !== undefined || files.length > 0)) {
    const where = namespace === undefined ? '' : ` in namespace "${namespace}"`;
    const what = `there is no fleet${fleet === undefined ? '' : ` "${fleet}"`}${where}`;
    throw new TektonError(files.length > 0 ? 'none of the fleets that were applied is meant' : what, {
      hint: `there are ${known.join(', ')}`,
    });
  }
  await writeLine(context.stderr, 'no fleet was applied here: nothing to stop');
  // One whose last fleet lost its record.
  if (known.length === 0 && (await findController(context.home))) {
    await stopController(context.home);
    await writeLine(context.stdout, 'the controller has ended');
  }
  return exitCodes.ok;
}

/** Those that -f declares, else those that -n and --fleet leave, else all. */
async function scopeOf(context: CommandContext, options: DownOptions): Promise<(fleet: FleetKey) => boolean> {
  const {namespace, fleet, files, variables} = options;
  const {fleets, gitSources} =
    files.length > 0 ? await loadAll(context, files, variables) : {fleets: [], gitSources: []};
  const sources = new Set(gitSources.map(recordId));
  const ofSources = readFleetRecords(context.home).filter(
    ({source}) => source.type === 'git' && sources.has(source.source),
  );
  const declared = files.length > 0 && new Set([...meant(fleets, options), ...ofSources].map(qualifiedName));
  return key =>
    (fleet === undefined || key.name === fleet) &&
    (namespace === undefined || key.namespace === namespace) &&
    (!declared || declared.has(qualifiedName(key)));
}
