/** Environments that end by themselves: what `up --ttl` recorded is carried out by the controller. */
import {describeError} from '../api/errors.js';
import type {FleetRecord, FleetStatus} from '../api/types.js';
import type {Controller} from '../reconciler/controller.js';
import {recordId} from '../reconciler/desired.js';
import type {Logger} from '../reconciler/ports.js';
import {appendEvent} from '../registry/events.js';
import {readFleetRecords, updateFleet} from '../registry/fleet-records.js';
import {statePaths} from '../registry/paths.js';
import {watchFolder} from '../registry/watch-folder.js';

export interface ExpiryOptions {
  readonly home: string;
  readonly controller: Pick<Controller, 'loadRecords' | 'subscribe'>;
  readonly log: Logger;
  /** Called when the last fleet has expired and nothing of any runs any more. */
  readonly done: () => void;
}

/** The wall clock may jump, and the machine may have been suspended: it is looked at this often while a fleet is to end, ms. */
const longestWaitMs = 30_000;

/** Follows the records from now on. @returns ends it; resolves when nothing is under way any more */
export function keepExpiry(options: ExpiryOptions): () => Promise<void> {
  const {home, controller, log} = options;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let expired = false;
  const statuses = new Map<string, FleetStatus>();

  const look = async (): Promise<void> => {
    clearTimeout(timer);
    const due = readFleetRecords(home).filter(record => leftMs(record) <= 0);
    for (const record of due) expired = (await expire(home, record)) || expired;
    if (due.length > 0) await controller.loadRecords();
    const leftMsOfAll = Math.min(...readFleetRecords(home).map(leftMs));
    if (!closed && leftMsOfAll < Infinity) timer = setTimeout(again, Math.min(leftMsOfAll, longestWaitMs));
    endIfNothingRuns();
  };
  let looking = Promise.resolve();
  const again = (): void => {
    looking = looking.then(look).catch((error: unknown) => {
      log.warn({error: describeError(error)}, 'cannot see which fleets are to end');
      if (!closed) timer = setTimeout(again, longestWaitMs);
    });
  };
  const endIfNothingRuns = (): void => {
    if (!expired || closed) return;
    const records = readFleetRecords(home);
    const runs = (record: FleetRecord): boolean => {
      const status = statuses.get(recordId(record));
      return !record.stopped || status === undefined || status.specialists.some(one => one.status.instance);
    };
    if (!records.some(runs)) options.done();
  };

  const unsubscribe = controller.subscribe(status => {
    statuses.set(recordId(status), status);
    if (expired) endIfNothingRuns();
  });
  const unwatch = watchFolder(statePaths(home).fleets, again);
  again();
  return async () => {
    closed = true;
    clearTimeout(timer);
    unwatch();
    unsubscribe();
    await looking;
  };
}

/** Infinity: it is not to end by itself, or has ended. */
function leftMs({expiresAt, stopped}: FleetRecord): number {
  return expiresAt === undefined || stopped ? Infinity : Date.parse(expiresAt) - Date.now();
}

/** @returns whether it was this that stopped it: somebody may just have given it more time */
async function expire(home: string, {namespace, name}: FleetRecord): Promise<boolean> {
  let did = false;
  const record = await updateFleet(home, {namespace, name}, before => {
    did = before !== undefined && leftMs(before) <= 0;
    return before && did ? {...before, stopped: true} : before;
  });
  if (!did || !record) return false;
  const message = `its time was up at ${record.expiresAt ?? ''} (up --ttl): all of it is stopped`;
  await appendEvent(home, {
    at: new Date().toISOString(),
    type: 'Normal',
    reason: 'Expired',
    namespace,
    fleet: name,
    message,
  });
  return true;
}
