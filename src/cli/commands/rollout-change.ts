import {exitCodes, TektonError} from '../../api/errors.js';
import type {Desired, FleetRecord} from '../../api/types.js';
import {recordId} from '../../reconciler/desired.js';
import {refusalLifted} from '../../reconciler/health-gate.js';
import {held, restarted, resumed, revisionToUndoTo} from '../../reconciler/rollouts.js';
import {readFleetRecords, updateFleet} from '../../registry/fleet-records.js';
import {readRevisions} from '../../registry/revisions.js';
import type {Command, CommandContext} from '../context.js';
import {converge} from '../converge.js';
import {asApplied, loadSources} from '../load.js';
import {inScope} from '../observe.js';
import type {RolloutChangeOptions} from '../options.js';
import {writeLine} from '../output.js';
import {interrupted, progressLines, reportConvergence} from '../report.js';
import {selectMany} from '../select.js';
import {qualifiedName} from '../view.js';

/** `rollout restart|pause|resume|undo`: a person's word that stands over the source's, recorded and carried out. */
export const run: Command<RolloutChangeOptions> = async (context, names, options) => {
  const fleets = readFleetRecords(context.home).filter(record => inScope(record, options));
  const declared = fleets.flatMap(fleet => fleet.specialists);
  const chosen = await selectMany(declared, names);
  const records: FleetRecord[] = [];
  for (const fleet of fleets) {
    const own = chosen.filter(one => one.namespace === fleet.namespace && one.fleet === fleet.name);
    if (own.length === 0) continue;
    if (fleet.stopped) {
      throw new TektonError(`cannot ${options.action} ${own.map(qualifiedName).join(', ')}: the fleet is stopped`, {
        hint: 'start it with: tekton-ai up',
      });
    }
    refuseSenseless(fleet, own, options.action);
    records.push(await changeFleet(context, fleet, own, options));
  }
  for (const one of chosen) {
    await writeLine(context.stdout, `specialist/${qualifiedName(one)} ${outcome(records, one, options)}`);
  }
  const goal = options.wait ? 'ready' : 'live';
  const meant = new Set(chosen.map(({aiId}) => aiId));
  const progress = progressLines(context, meant);
  const convergence = await converge(context, records, {...options, goal, progress});
  if (context.signal.aborted) return interrupted(context, convergence);
  const unmet = convergence.unmet.filter(({specialist}) => meant.has(specialist.aiId));
  // That another specialist of the fleet is not well is not this command's business.
  if (unmet.length === 0 && convergence.result !== 'late') return exitCodes.ok;
  return reportConvergence(context, {...convergence, unmet}, {...options, goal});
};

/** @throws {TektonError} where it would change nothing, and say that it did */
function refuseSenseless(fleet: FleetRecord, chosen: readonly Desired[], action: RolloutChangeOptions['action']): void {
  const off = chosen.filter(({spec}) => !fleet.enabled || !spec.enabled);
  if (action === 'restart' && off.length > 0) {
    throw new TektonError(`cannot restart ${off.map(qualifiedName).join(', ')}: declared, and not to run`);
  }
  const free = chosen.filter(({aiId}) => fleet.rollouts?.[aiId]?.held === undefined);
  const isRefused = fleet.gate?.refused !== undefined;
  if (action === 'resume' && free.length > 0 && !isRefused) {
    throw new TektonError(`cannot resume ${free.map(qualifiedName).join(', ')}: not held, the source counts already`);
  }
}

async function changeFleet(
  context: CommandContext,
  fleet: FleetRecord,
  chosen: readonly Desired[],
  {action, toRevision}: RolloutChangeOptions,
): Promise<FleetRecord> {
  const aiIds = chosen.map(({aiId}) => aiId);
  const bySource = action === 'resume' ? await declaredBySource(context, fleet) : [];
  const at = new Date().toISOString();
  return updateFleet(context.home, fleet, previous => {
    if (previous === undefined) throw new TektonError(`cannot ${action}: fleet ${recordId(fleet)} is gone`);
    const current = previous.specialists.filter(({aiId}) => aiIds.includes(aiId));
    switch (action) {
      case 'restart':
        return restarted(previous, aiIds, at);
      case 'pause':
        return current.reduce((record, desired) => held(record, desired, 'pause', at), previous);
      case 'resume':
        // What was rolled back is the whole fleet's: its source counts again, and is judged anew.
        return previous.gate?.refused
          ? refusalLifted(resumed(previous, aiIds, [], at), at)
          : resumed(previous, aiIds, bySource, at);
      case 'undo': {
        const revisions = readRevisions(context.home, fleet);
        return current.reduce((record, desired) => {
          const revision = revisionToUndoTo(revisions, desired, toRevision);
          if (revision === undefined) throw noRevision(desired, toRevision);
          return held(record, revision.desired, 'undo', at);
        }, previous);
      }
    }
  });
}

/** What the fleet's files say now; standard input says it again with the next apply. */
async function declaredBySource(context: CommandContext, record: FleetRecord) {
  const {source, name, namespace} = record;
  if (source.type !== 'files') return [];
  const loaded = await loadSources(asApplied(context, record), {files: source.paths, fleet: name, namespace});
  return loaded.flatMap(fleet => fleet.specialists);
}

function noRevision(desired: Desired, toRevision: number | undefined): TektonError {
  const what = toRevision === undefined ? 'no earlier declaration is' : `generation ${toRevision} is not`;
  return new TektonError(`cannot undo ${qualifiedName(desired)}: ${what} known`, {
    hint: `tekton-ai rollout history ${qualifiedName(desired)}`,
  });
}

function outcome(
  records: readonly FleetRecord[],
  {aiId, name, namespace}: Desired,
  {action, toRevision}: RolloutChangeOptions,
): string {
  const desired = records.flatMap(record => record.specialists).find(one => one.aiId === aiId);
  const generation = `generation ${desired?.generation ?? '?'}`;
  const resume = `until: tekton-ai rollout resume ${qualifiedName({name, namespace})}`;
  switch (action) {
    case 'restart':
      return `is to be restarted (${generation})`;
    case 'pause':
      return `held as it is (${generation}) ${resume}`;
    case 'resume':
      return `follows its source again (${generation})`;
    case 'undo':
      return `back to ${toRevision === undefined ? 'what it was before' : `generation ${toRevision}`} (as ${generation}), and held there ${resume}`;
  }
}
