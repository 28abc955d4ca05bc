/** Environments that end by themselves: what `up --ttl` recorded is carried out by the controller. */
import {describeError} from '../api/errors.js';
import type {GitSourceRecord} from '../api/git-source.js';
import type {FleetEvent, FleetRecord, FleetStatus} from '../api/types.js';
import type {Controller} from '../reconciler/controller.js';
import {recordId} from '../reconciler/desired.js';
import {isSuspended} from '../reconciler/git-flow.js';
import type {Logger} from '../reconciler/ports.js';
import {appendEvent} from '../registry/events.js';
import {readFleetRecords, updateFleet} from '../registry/fleet-records.js';
import {readGitSourceRecords} from '../registry/git-source-records.js';
import {statePaths} from '../registry/paths.js';
import {watchFolder} from '../registry/watch-folder.js';
import {stopSources} from './stop-sources.js';

export interface ExpiryOptions {
  readonly home: string;
  readonly controller: Pick<Controller, 'loadRecords' | 'subscribe'>;
  readonly log: Logger;
  /** Called when the last fleet has expired, nothing of any runs any more, and no git source may bring another. */
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
  let leftMsOfSources = Infinity;
  const statuses = new Map<string, FleetStatus>();

  const look = async (): Promise<void> => {
    clearTimeout(timer);
    await lookAtSources();
    const due = readFleetRecords(home).filter(record => leftMs(record) <= 0);
    for (const record of due) expired = (await expire(home, record)) || expired;
    if (due.length > 0) await controller.loadRecords();
    const leftMsOfAll = Math.min(...readFleetRecords(home).map(leftMs), leftMsOfSources);
    if (!closed && leftMsOfAll < Infinity) timer = setTimeout(again, Math.min(leftMsOfAll, longestWaitMs));
    endIfNothingRuns();
  };
  /** Before their fleets, so that they bring no other ones. A source that can't be read keeps no fleet from ending. */
  const lookAtSources = async (): Promise<void> => {
    leftMsOfSources = Infinity;
    try {
      for (const source of await stopSources(home, record => sourceLeftMs(record) <= 0)) {
        expired = true;
        await tellExpired(home, source, {gitSource: recordId(source)}, 'it is not followed any more');
      }
      leftMsOfSources = Math.min(...readGitSourceRecords(home).map(sourceLeftMs));
    } catch (error) {
      leftMsOfSources = longestWaitMs;
      log.warn({error: describeError(error)}, 'cannot see which git sources are to end');
    }
  };
  let looking = Promise.resolve();
  const again = (): void => {
    looking = looking.then(look).catch((error: unknown) => {
      log.warn({error: describeError(error)}, 'cannot see which fleets are to end');
      if (!closed) timer = setTimeout(again, longestWaitMs);
    });
  };
  const mayBring = (): boolean => {
    try {
      return readGitSourceRecords(home).some(record => !isSuspended(record));
    } catch {
      return false; // those that can't be read are not followed
    }
  };
  const endIfNothingRuns = (): void => {
    if (!expired || closed) return;
    const records = readFleetRecords(home);
    const runs = (record: FleetRecord): boolean => {
      const status = statuses.get(recordId(record));
      return !record.stopped || status === undefined || status.specialists.some(one => one.status.instance);
    };
    if (!records.some(runs) && !mayBring()) options.done();
  };

  const unsubscribe = controller.subscribe(status => {
    statuses.set(recordId(status), status);
    if (expired) endIfNothingRuns();
  });
  const unwatch = [statePaths(home).fleets, statePaths(home).sources].map(folder => watchFolder(folder, again));
  again();
  return async () => {
    closed = true;
    clearTimeout(timer);
    for (const end of unwatch) end();
    unsubscribe();
    await looking;
  };
}

/** Infinity: it is not to end by itself, or has ended. */
function leftMs({expiresAt, stopped}: FleetRecord): number {
  return expiresAt === undefined || stopped ? Infinity : Date.parse(expiresAt) - Date.now();
}

function sourceLeftMs({expiresAt, stoppedAt}: GitSourceRecord): number {
  return expiresAt === undefined || stoppedAt !== undefined ? Infinity : Date.parse(expiresAt) - Date.now();
}

/** @returns whether it was this that stopped it: somebody may just have given it more time */
async function expire(home: string, {namespace, name}: FleetRecord): Promise<boolean> {
  let did = false;
  const record = await updateFleet(home, {namespace, name}, before => {
    did = before !== undefined && leftMs(before) <= 0;
    return before && did ? {...before, stopped: true} : before;
  });
  if (!did || !record) return false;
  await tellExpired(home, record, {fleet: name}, 'all of it is stopped');
  return true;
}

async function tellExpired(
  home: string,
  {namespace, expiresAt = ''}: Pick<FleetRecord, 'namespace' | 'expiresAt'>,
  whose: Pick<FleetEvent, 'fleet' | 'gitSource'>,
  what: string,
): Promise<void> {
  const message = `its time was up at ${expiresAt} (up --ttl): ${what}`;
  const at = new Date().toISOString();
  await appendEvent(home, {at, type: 'Normal', reason: 'Expired', namespace, ...whose, message});
}
