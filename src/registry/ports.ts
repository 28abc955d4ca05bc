/** Ports handed out under `.port_allocation.lock` and reserved from that moment. */
import type {PortRange, ProcessIdentity} from '../api/types.js';
import {TektonError} from '../api/errors.js';
import {choosePorts} from './choose-ports.js';
import type {Choice, Holdings, PortRequest, Probe} from './choose-ports.js';
import {entryIdentity, entryUid} from './entry-facts.js';
import {readLaunchRecords} from './launch-records.js';
import {withLock} from './locks.js';
import type {HeldLock, LockOptions} from './locks.js';
import {HostUnusableError, PortTakenError, PortsExhaustedError, holderText} from './port-errors.js';
import {describeHolder, describeHolders, isListenedOn} from './port-holders.js';
import {probePort} from './port-probe.js';
import {identify, isSame} from './processes.js';
import type {RegistryState} from './registry-file.js';
import {liveReservations, readReservations, writeReservations} from './reservations.js';
import type {Reservation} from './reservations.js';

export type {PortRequest} from './choose-ports.js';

export type PortResult =
  | {
      readonly ok: true;
      readonly port: number;
      /** The preferred port that was not to be had, and who has it where the system tells. */
      readonly movedFrom?: {readonly port: number; readonly holder: string | undefined};
    }
  | {readonly ok: false; readonly error: PortsExhaustedError | PortTakenError | HostUnusableError};

export interface AllocateOptions extends LockOptions {
  readonly home: string;
  readonly range: PortRange;
  /** Reads the registry without a lock. */
  readonly registry: () => Promise<RegistryState>;
  /** How long a reservation holds for a launch that comes to nothing while its owner lives. Default 120,000 ms. */
  readonly holdMs?: number;
  readonly probe?: Probe;
}

/**
 * One port for each request, in order; a batch is one pass under one lock. The ports are reserved for the requests'
 * uids until their workers register, and bound once to be sure. A stranger may still come first: the worker that
 * finds its port taken reports it, and its owner asks again with `avoid`, which replaces the reservation. So does
 * the same process's request for another launch of the same specialist.
 *
 * @throws {LockBusyError} nothing was reserved.
 */
export async function allocatePorts(
  requests: readonly PortRequest[],
  options: AllocateOptions,
): Promise<readonly PortResult[]> {
  if (requests.length === 0) return [];
  const {choices, holdings} = await withLock(
    options.home,
    'port_allocation',
    lock => reserve(requests, options, lock),
    options,
  );
  return Promise.all(choices.map((choice, index) => result(choice, requests[index], holdings)));
}

/** Gives reservations back: launches that came to nothing. */
export async function releasePorts(home: string, uids: readonly string[], options: LockOptions = {}): Promise<void> {
  const gone = new Set(uids);
  await withLock(
    home,
    'port_allocation',
    async lock => {
      const before = readReservations(home);
      const after = before.filter(reservation => !gone.has(reservation.uid));
      if (after.length < before.length) await writeReservations(home, after, lock);
    },
    options,
  );
}

interface Outcome {
  readonly choices: readonly Choice[];
  readonly holdings: Holdings;
}

async function reserve(requests: readonly PortRequest[], options: AllocateOptions, lock: HeldLock): Promise<Outcome> {
  const {home, range, holdMs = 120_000, probe = probePort} = options;
  const now = Date.now();
  const owner = await ownIdentity();
  const before = await options.registry();
  const others = readReservations(home).filter(reservation => !isReplaced(reservation, requests, owner));
  const open = withoutRegistered(others, before);
  const standing = await liveReservations(home, open, now);
  // An owner that is dead by now may have registered since: what it registered still counts.
  const state = standing.length === open.length ? before : await options.registry();
  const kept = new Map(readLaunchRecords(home).records.map(({port, aiId}) => [port, aiId]));
  let holdings = holdingsOf(state, standing, kept);
  const wishes = requests.map(request => withOwnPort(request, state));
  let choices = await choosePorts(wishes, range, holdings, probe);
  if (choices.some(choice => choice.type !== 'port')) {
    // Entries of ours whose process is dead give way when a port is needed that they stand on.
    holdings = holdingsOf(await withoutDead(state), standing, kept);
    choices = await choosePorts(wishes, range, holdings, probe);
  }
  const made = choices.flatMap((choice, index): Reservation[] => {
    const request = requests[index];
    if (choice.type !== 'port' || request === undefined) return [];
    return [{port: choice.port, aiId: request.aiId, uid: request.uid, owner, expiresAt: now + holdMs}];
  });
  await writeReservations(home, [...standing, ...made], lock);
  return {choices, holdings};
}

/** A process that asks again for the same launch, or for the next one of the same specialist, has given up the former. */
function isReplaced(reservation: Reservation, requests: readonly PortRequest[], owner: ProcessIdentity): boolean {
  const own = reservation.owner.pid === owner.pid && reservation.owner.startTime === owner.startTime;
  return requests.some(({aiId, uid}) => uid === reservation.uid || (own && aiId === reservation.aiId));
}

/** A launch that has registered holds its port by its entry. */
function withoutRegistered(reservations: readonly Reservation[], state: RegistryState): readonly Reservation[] {
  return reservations.filter(({aiId, uid, port}) => {
    const entry = state.get(aiId);
    return entry === undefined || entry.port !== port || entryUid(entry) !== uid;
  });
}

function holdingsOf(state: RegistryState, reservations: readonly Reservation[], kept: Holdings['kept']): Holdings {
  return {
    kept,
    registered: new Map([...state].map(([aiId, entry]) => [entry.port, aiId])),
    reserved: new Map(reservations.map(reservation => [reservation.port, reservation])),
  };
}

/** The port that the registry has for a specialist is the one it would like again. */
function withOwnPort(request: PortRequest, state: RegistryState): PortRequest {
  const own = state.get(request.aiId)?.port;
  return request.preferred !== undefined || request.pinned !== undefined || own === undefined
    ? request
    : {...request, preferred: own};
}

async function withoutDead(state: RegistryState): Promise<RegistryState> {
  const living = new Map(state);
  for (const [aiId, entry] of state) {
    const identity = entryUid(entry) === undefined ? undefined : entryIdentity(entry);
    if (identity !== undefined && !(await isSame(identity))) living.delete(aiId);
  }
  return living;
}

async function ownIdentity(): Promise<ProcessIdentity> {
  const identity = await identify(process.pid);
  if (identity === undefined) throw new TektonError('cannot reserve ports: this process is not in the process table');
  return identity;
}

async function result(choice: Choice, request: PortRequest | undefined, holdings: Holdings): Promise<PortResult> {
  switch (choice.type) {
    case 'port': {
      const wanted = request?.pinned ?? request?.preferred;
      if (wanted === undefined || wanted === choice.port) return {ok: true, port: choice.port};
      const holder = ourHolder(wanted, holdings, request) ?? (await strangeHolder(wanted));
      return {ok: true, port: choice.port, movedFrom: {port: wanted, holder}};
    }
    case 'taken': {
      const holder = choice.by ?? (await strangeHolder(choice.port));
      const transient = holder === undefined && isListenedOn(choice.port) === false;
      return {ok: false, error: new PortTakenError(choice.port, holder, transient)};
    }
    case 'unusable':
      return {ok: false, error: new HostUnusableError(choice.host, choice.port)};
    case 'exhausted':
      return {ok: false, error: new PortsExhaustedError(choice.range, await namesOfHolders(choice.range, holdings))};
  }
}

function ourHolder(port: number, {registered, reserved}: Holdings, request?: PortRequest): string | undefined {
  const names = [registered.get(port), reserved.get(port)?.aiId];
  return names.find(name => name !== undefined && name !== request?.aiId);
}

async function strangeHolder(port: number): Promise<string | undefined> {
  const holder = await describeHolder(port);
  return holder && holderText(holder);
}

/** Names only the first dozen of strangers: each costs nothing more, but nobody reads five thousand. */
async function namesOfHolders(range: PortRange, holdings: Holdings): Promise<readonly string[]> {
  const ports = Array.from({length: range.to - range.from + 1}, (_, index) => range.from + index);
  const strangers = await describeHolders(ports.filter(port => ourHolder(port, holdings) === undefined));
  return ports.map(port => {
    const stranger = strangers.get(port);
    return `${ourHolder(port, holdings) ?? (stranger ? holderText(stranger) : 'another program')} (${port})`;
  });
}
