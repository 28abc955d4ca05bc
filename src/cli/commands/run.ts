import {ConflictError, exitCodes} from '../../api/errors.js';
import type {FleetEvent} from '../../api/types.js';
import {findController} from '../../registry/controller-record.js';
import {recordId} from '../../reconciler/desired.js';
import {updateFleet} from '../../registry/fleet-records.js';
import {mendRecords} from '../apply-records.js';
import type {Command, CommandContext} from '../context.js';
import {alreadyRuns, lead} from '../lead.js';
import {liveTable} from '../live-table.js';
import {applyDeclarations, loadDeclarations} from '../declarations.js';
import {silentLogger} from '../logger.js';
import type {RunOptions} from '../options.js';
import {writeLine} from '../output.js';
import {closedFor} from '../sync-windows.js';
import type {Closed} from '../sync-windows.js';
import type {Logger} from '../../reconciler/ports.js';

/** The controller in the foreground: a live table on a terminal, one line per event elsewhere. Ctrl-C ends it; workers live on. */
export const run: Command<RunOptions> = async (context, _args, options) => {
  const declared = await loadDeclarations(context, options);
  const loaded = declared.fleets;
  for (const fleet of loaded) for (const notice of fleet.notices) await writeLine(context.stderr, notice);
  const running = await findController(context.home);
  if (running) throw alreadyRuns(context.home, running.record.identity.pid); // before anything is changed
  await mendRecords(context, loaded);
  const closed = options.ignoreWindows ? [] : await closedFor(context.home, loaded);
  await keepInForce(context, closed);
  const open = loaded.filter(fleet => !closed.some(one => one.fleet === fleet));
  const flags = {yes: false, takeOver: false, prune: true, ignoreWindows: true, byPerson: false};
  await applyDeclarations(context, {...declared, fleets: open}, flags);
  const table = context.isTerminal.stdout ? liveTable(context) : undefined;
  await lead(context, {log: table ? silentLogger : eventLines(context), ...(table && {status: table.show})});
  await writeLine(context.stderr, 'the controller has ended; the specialists live on. Stop them with: tekton-ai down');
  return context.signal.aborted ? exitCodes.interrupted : exitCodes.ok;
};

/**
 * A service manager starts this at any hour: it is the controller's doing, not a person's, so what a closed window holds
 * waits. What was applied last runs meanwhile.
 */
async function keepInForce(context: CommandContext, closed: readonly Closed[]): Promise<void> {
  for (const {fleet, text} of closed) {
    await updateFleet(context.home, fleet, record => {
      if (!record) throw new ConflictError(`cannot run fleet ${recordId(fleet)}: its record has just gone`);
      return record.stopped ? {...record, stopped: false, appliedAt: new Date().toISOString()} : record;
    });
    await writeLine(context.stderr, `fleet ${recordId(fleet)}: ${text}: what was applied last runs until then`);
  }
}

/** Events and warnings as plain lines. */
function eventLines(context: CommandContext): Logger {
  const say = (fields: Readonly<Record<string, unknown>>, message: string): void => {
    const {reason, aiId, message: text} = fields as Partial<FleetEvent>;
    if (message === 'event') void writeLine(context.stdout, `${aiId} ${reason}: ${text}`);
    else {
      void writeLine(
        context.stderr,
        Object.keys(fields).length === 0 ? message : `${message} ${JSON.stringify(fields)}`,
      );
    }
  };
  return {info: say, warn: say, debug: () => undefined};
}
