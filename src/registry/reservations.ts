/** `ports.json`: ports that were handed out and on which nobody has registered yet. */
import {formatVersion} from '../api/types.js';
import type {ProcessIdentity} from '../api/types.js';
import type {HeldLock} from './locks.js';
import {readLaunchRecord} from './launch-records.js';
import {statePaths} from './paths.js';
import {findWorkers, isSame} from './processes.js';
import {DamagedRecordError, readRecord, writeRecord} from './records.js';

export interface Reservation {
  readonly port: number;
  readonly aiId: string;
  /** The launch that the port is for. */
  readonly uid: string;
  /** Who asked for it. */
  readonly owner: ProcessIdentity;
  /** Unix ms: until then it holds while its owner lives, whether or not a worker does. */
  readonly expiresAt: number;
}

interface PortsRecord {
  readonly formatVersion: number;
  readonly reservations: readonly Reservation[];
}

/**
 * All reservations, void ones included. A damaged file counts as empty: it is not synced to disk, for after a crash of
 * the machine nobody is left who could use what it says; and the kernel still refuses a port that is in use.
 */
export function readReservations(home: string): readonly Reservation[] {
  try {
    const found: unknown = readRecord<PortsRecord>(statePaths(home).ports, ['reservations'])?.reservations;
    return Array.isArray(found) ? found.filter(isReservation) : [];
  } catch (error) {
    if (error instanceof DamagedRecordError) return [];
    throw error;
  }
}

function isReservation(value: unknown): value is Reservation {
  if (typeof value !== 'object' || value === null) return false;
  const {port, aiId, uid, owner, expiresAt} = value as Partial<Record<keyof Reservation, unknown>>; // checked in these lines
  const isWhole = typeof aiId === 'string' && typeof uid === 'string' && typeof owner === 'object' && owner !== null;
  return isWhole && Number.isInteger(port) && typeof expiresAt === 'number';
}

/** For the holder of the `port_allocation` lock. `ready` is called with the new file's temporary name, right before it counts. */
export async function writeReservations(
  home: string,
  reservations: readonly Reservation[],
  lock: HeldLock,
  ready: (temporary: string) => void = () => undefined,
): Promise<void> {
  const record: PortsRecord = {formatVersion, reservations};
  const beforeCommit = (temporary: string): void => {
    ready(temporary);
    lock.assertHeld();
  };
  await writeRecord(statePaths(home).ports, record, {durable: false, beforeCommit});
}

/**
 * Those that still hold: their owner lives and they have not expired, or the worker that they are for lives. What a
 * dead owner left and nobody uses is free.
 */
export async function liveReservations(
  home: string,
  reservations: readonly Reservation[],
  now: number,
): Promise<readonly Reservation[]> {
  const ownerLives = remember(
    (owner: ProcessIdentity) => isSame(owner),
    owner => `${owner.pid} ${owner.startTime}`,
  );
  const workerLives = workerFinder(home);
  const live: Reservation[] = [];
  for (const reservation of reservations) {
    const held = reservation.expiresAt > now && (await ownerLives(reservation.owner));
    if (held || (await workerLives(reservation))) live.push(reservation);
  }
  return live;
}

/** Asks the launch record first; only for what that doesn't answer is the process table walked, once. */
function workerFinder(home: string): (reservation: Reservation) => Promise<boolean> {
  let scanned: Promise<ReadonlySet<string>> | undefined;
  return async ({aiId, uid}) => {
    const identity = launchIdentity(home, aiId, uid);
    if (identity !== undefined && (await isSame(identity))) return true;
    scanned ??= findWorkers(home).then(workers => new Set(workers.map(worker => worker.uid)));
    return (await scanned).has(uid);
  };
}

function launchIdentity(home: string, aiId: string, uid: string): ProcessIdentity | undefined {
  try {
    const record = readLaunchRecord(home, aiId);
    return record?.uid === uid ? record.identity : undefined;
  } catch {
    return undefined; // damaged, newer, or an id that is no file name: the process table answers
  }
}

function remember<K, V>(ask: (key: K) => Promise<V>, name: (key: K) => string): (key: K) => Promise<V> {
  const answers = new Map<string, Promise<V>>();
  return key => {
    const known = answers.get(name(key)) ?? ask(key);
    answers.set(name(key), known);
    return known;
  };
}
