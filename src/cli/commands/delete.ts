import {existsSync} from 'node:fs';
import {ConflictError, exitCodes, SourceUnavailableError} from '../../api/errors.js';
import type {FleetRecord} from '../../api/types.js';
import {updateFleet} from '../../registry/fleet-records.js';
import type {Command, CommandContext} from '../context.js';
import {converge} from '../converge.js';
import {observe} from '../observe.js';
import type {DeleteOptions} from '../options.js';
import {writeLine} from '../output.js';
import {reportConvergence} from '../report.js';
import {selectOne} from '../select.js';
import {qualifiedName} from '../view.js';
import {describeSource} from '../../reconciler/desired.js';
import {asApplied, loadSources} from '../load.js';

const timeoutMs = 60_000;

/**
 * Stops a specialist that nothing declares any more: one that `apply --no-prune` left, or one of standard input.
 *
 * @throws {ConflictError} its source still declares it: the next reading would bring it back.
 */
export const run: Command<DeleteOptions> = async (context, [name = ''], options) => {
  const {specialists, fleets} = await observe(context, options);
  const view = await selectOne(specialists, name);
  const record = fleets.find(fleet => fleet.name === view.fleet && fleet.namespace === view.namespace);
  if (!record) {
    throw new ConflictError(`cannot delete ${qualifiedName(view)}: it was started by hand and belongs to no fleet`, {
      hint: `end the process that serves it (pid ${view.status.instance?.identity.pid ?? 'unknown'})`,
    });
  }
  await refuseDeclared(context, record, view.aiId);
  const next = await updateFleet(context.home, record, before => before && without(before, view.aiId));
  if (!next) return exitCodes.ok;
  const convergence = await converge(context, [next], {goal: 'live', timeoutMs, only: new Set([view.aiId])});
  const exitCode = await reportConvergence(context, convergence, {goal: 'live', timeoutMs});
  if (exitCode === exitCodes.ok) await writeLine(context.stdout, `specialist/${qualifiedName(view)} deleted`);
  return exitCode;
};

async function refuseDeclared(context: CommandContext, record: FleetRecord, aiId: string): Promise<void> {
  if (record.source.type !== 'files') return;
  const loaded = await loadSources(asApplied(context, record), {files: record.source.paths}).catch((error: unknown) => {
    // A file that is gone declares nothing; one that can't be read, or is wrong, may.
    if (error instanceof SourceUnavailableError && !record.files.some(file => existsSync(file))) return [];
    throw error;
  });
  const found = loaded.flatMap(fleet => fleet.specialists).find(desired => desired.aiId === aiId);
  if (!found) return;
  throw new ConflictError(`cannot delete ${qualifiedName(found)}: ${describeSource(record.source)} declares it`, {
    hint: 'remove it there, or set `enabled: false` to stop it and keep its declaration',
  });
}

function without(record: FleetRecord, aiId: string): FleetRecord {
  return {...record, specialists: record.specialists.filter(d => d.aiId !== aiId), appliedAt: new Date().toISOString()};
}
