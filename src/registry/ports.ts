/** Ports handed out under `.port_allocation.lock` and reserved from that moment. */
import {statSync} from 'node:fs';
import type {BigIntStats} from 'node:fs';
import type {PortRange} from '../api/types.js';
import {choosePorts} from './choose-ports.js';
import type {Choice, Holdings, PortRequest, Probe} from './choose-ports.js';
import {Combiner, ownIdentity} from './combiner.js';
import type {Prepare} from './combiner.js';
import {entryIdentity, entryUid} from './entry-facts.js';
import {readLaunchRecords} from './launch-records.js';
import type {HeldLock} from './locks.js';
import {statePaths} from './paths.js';
import {parsePortAction, unexpectedPortOutcome} from './port-actions.js';
import type {Allocation, PortAction, PortOutcome} from './port-actions.js';
import {HostUnusableError, PortTakenError, PortsExhaustedError, holderText} from './port-errors.js';
import {describeHolder, describeHolders, isListenedOn} from './port-holders.js';
import {probePort} from './port-probe.js';
import {isSame} from './processes.js';
import type {RegistryState} from './registry-file.js';
import {liveReservations, readReservations, writeReservations} from './reservations.js';
import type {Reservation} from './reservations.js';

export type {PortRequest} from './choose-ports.js';

export interface MovedFrom {
  readonly port: number;
  readonly holder: string | undefined;
  /** Nobody listens on it: it is the local end of somebody's connection, and free again soon. */
  readonly transient: boolean;
}

export type PortResult =
  | {
      readonly ok: true;
      readonly port: number;
      /** The preferred port that was not to be had, and who has it where the system tells. */
      readonly movedFrom?: MovedFrom;
    }
  | {readonly ok: false; readonly error: PortsExhaustedError | PortTakenError | HostUnusableError};

export interface PortOptions {
  readonly home: string;
  /** Reads the registry without a lock. */
  readonly registry: () => Promise<RegistryState>;
  /** How long to wait for other allocations, in ms. Default 10,000. */
  readonly timeoutMs?: number;
  readonly probe?: Probe;
}

export interface AllocateOptions {
  readonly range: PortRange;
  /** How long a reservation holds for a launch that comes to nothing while its owner lives. Default 120,000 ms. */
  readonly holdMs?: number;
}

/** The ports of one state folder, for this process. */
export class PortAllocator {
  private readonly combiner: Combiner<PortAction, PortOutcome>;
  private kept: {readonly stamp: string; readonly ports: ReadonlyMap<number, string>} | undefined;

  constructor(private readonly options: PortOptions) {
    const {home, timeoutMs} = options;
    this.combiner = new Combiner({
      home,
      lock: 'port_allocation',
      ...(timeoutMs === undefined ? {} : {timeoutMs}),
      file: statePaths(home).ports,
      parse: parsePortAction,
      isData: () => true,
      commit: (actions, lock, prepare) => this.commit(actions, lock, prepare),
    });
  }

  /**
   * One port for each request, in order; a batch is one pass under one lock. The ports are reserved for the requests'
   * uids until their workers register, and bound once to be sure. A stranger may still come first: the worker that
   * finds its port taken reports it, and its owner asks again with `avoid`, which replaces the reservation. So does
   * the same process's request for another launch of the same specialist.
   *
   * @throws {LockBusyError} nothing was reserved.
   */
  async allocate(
    requests: readonly PortRequest[],
    {range, holdMs = 120_000}: AllocateOptions,
  ): Promise<readonly PortResult[]> {
    if (requests.length === 0) return [];
    const owner = await ownIdentity();
    const outcome = await this.combiner.submit({type: 'allocate', requests, range, holdMs, owner});
    if (outcome.type !== 'allocated') throw unexpectedPortOutcome(outcome);
    return Promise.all(outcome.allocations.map((allocation, index) => this.result(allocation, requests[index])));
  }

  /** Gives reservations back: launches that came to nothing. */
  async release(uids: readonly string[]): Promise<void> {
    await this.combiner.submit({type: 'release', uids});
  }

  /** Serves all that wait with one look at registry, reservations and launch records. */
  private async commit(
    actions: readonly PortAction[],
    lock: HeldLock,
    prepare: Prepare<PortOutcome>,
  ): Promise<readonly PortOutcome[]> {
    const {home} = this.options;
    const table = await this.table(actions);
    const outcomes: PortOutcome[] = [];
    for (const action of actions) outcomes.push(await this.perform(action, table));
    if (table.changed) {
      await writeReservations(home, table.reservations, lock, temporary => prepare(temporary, outcomes));
    }
    return outcomes;
  }

  private async table(actions: readonly PortAction[]): Promise<Table> {
    const {home, registry} = this.options;
    const before = await registry();
    const read = readReservations(home);
    const open = withoutRegistered(read, before);
    // Those that are given up or replaced needn't be looked at.
    const doubtful = open.filter(reservation => !actions.some(action => gives(action, reservation)));
    const standing = await liveReservations(home, doubtful, Date.now());
    // An owner that is dead by now may have registered since: what it registered still counts.
    const state = standing.length === doubtful.length ? before : await registry();
    const isStanding = new Set<Reservation>(standing);
    const isDoubtful = new Set<Reservation>(doubtful);
    const reservations = open.filter(reservation => isStanding.has(reservation) || !isDoubtful.has(reservation));
    let known: ReadonlyMap<number, string> | undefined;
    const kept = (): ReadonlyMap<number, string> => (known ??= this.keptPorts());
    return {state, registered: portsOf(state), reservations, kept, changed: false};
  }

  private async perform(action: PortAction, table: Table): Promise<PortOutcome> {
    const rest = table.reservations.filter(reservation => !gives(action, reservation));
    if (action.type === 'release') {
      table.changed ||= rest.length < table.reservations.length;
      table.reservations = rest;
      return {type: 'released'};
    }
    const {requests, range, holdMs, owner} = action;
    const {probe = probePort} = this.options;
    const wishes = requests.map(request => withOwnPort(request, table.state));
    const reserved = new Map(rest.map(reservation => [reservation.port, reservation]));
    let holdings: Holdings = {kept: table.kept, registered: table.registered, reserved};
    let choices = await choosePorts(wishes, range, holdings, probe);
    if (choices.some(choice => choice.type !== 'port')) {
      // Entries of ours whose process is dead give way when a port is needed that they stand on.
      holdings = {...holdings, registered: portsOf(await withoutDead(table.state))};
      choices = await choosePorts(wishes, range, holdings, probe);
    }
    const expiresAt = Date.now() + holdMs;
    const made = choices.flatMap((choice, index): Reservation[] => {
      const request = requests[index];
      if (choice.type !== 'port' || request === undefined) return [];
      return [{port: choice.port, aiId: request.aiId, uid: request.uid, owner, expiresAt}];
    });
    table.reservations = [...rest, ...made];
    table.changed = true;
    return {
      type: 'allocated',
      allocations: choices.map((choice, index) => allocation(choice, requests[index], holdings)),
    };
  }

  /** Read again only when the folder of the launch records was written to. */
  private keptPorts(): ReadonlyMap<number, string> {
    const {home} = this.options;
    const stat = statOf(statePaths(home).run);
    const stamp = `${stat?.ino}.${stat?.mtimeNs}.${stat?.ctimeNs}`;
    // Two changes within one tick of the kernel's clock have one time: a folder that was just changed may change again.
    const isSettled = stat !== undefined && Date.now() - Number(stat.mtimeMs) > 50;
    if (this.kept !== undefined && this.kept.stamp === stamp) return this.kept.ports;
    const ports = new Map(readLaunchRecords(home).records.map(({port, aiId}) => [port, aiId]));
    this.kept = isSettled ? {stamp, ports} : undefined;
    return ports;
  }

  private async result({choice, rival}: Allocation, request: PortRequest | undefined): Promise<PortResult> {
    switch (choice.type) {
      case 'port': {
        const wanted = request?.pinned ?? request?.preferred;
        if (wanted === undefined || wanted === choice.port) return {ok: true, port: choice.port};
        const holder = rival ?? (await strangeHolder(wanted));
        const transient = holder === undefined && isListenedOn(wanted) === false;
        return {ok: true, port: choice.port, movedFrom: {port: wanted, holder, transient}};
      }
      case 'taken': {
        const holder = choice.by ?? (await strangeHolder(choice.port));
        const transient = holder === undefined && isListenedOn(choice.port) === false;
        return {ok: false, error: new PortTakenError(choice.port, holder, transient)};
      }
      case 'unusable':
        return {ok: false, error: new HostUnusableError(choice.host, choice.port)};
      case 'exhausted':
        return {ok: false, error: new PortsExhaustedError(choice.range, await this.namesOfHolders(choice.range))};
    }
  }

  /** Names only the first dozen of strangers: each costs nothing more, but nobody reads five thousand. */
  private async namesOfHolders(range: PortRange): Promise<readonly string[]> {
    const {home, registry} = this.options;
    const reserved = new Map(readReservations(home).map(reservation => [reservation.port, reservation]));
    const holdings: Holdings = {kept: () => new Map(), registered: portsOf(await registry()), reserved};
    const ports = Array.from({length: range.to - range.from + 1}, (_, index) => range.from + index);
    const strangers = await describeHolders(ports.filter(port => ourHolder(port, holdings) === undefined));
    return ports.map(port => {
      const stranger = strangers.get(port);
      return `${ourHolder(port, holdings) ?? (stranger ? holderText(stranger) : 'another program')} (${port})`;
    });
  }
}

/** Who has which port, while one commit is made. */
interface Table {
  readonly state: RegistryState;
  readonly registered: Holdings['registered'];
  readonly kept: Holdings['kept'];
  reservations: readonly Reservation[];
  changed: boolean;
}

/**
 * Whether the action gives the reservation up: a process that asks again for the same launch, or for the next one of
 * the same specialist, has no use for the former.
 */
function gives(action: PortAction, {uid, aiId, owner}: Reservation): boolean {
  if (action.type === 'release') return action.uids.includes(uid);
  const own = owner.pid === action.owner.pid && owner.startTime === action.owner.startTime;
  return action.requests.some(request => uid === request.uid || (own && aiId === request.aiId));
}

/** A launch that has registered holds its port by its entry. */
function withoutRegistered(reservations: readonly Reservation[], state: RegistryState): readonly Reservation[] {
  return reservations.filter(({aiId, uid, port}) => {
    const entry = state.get(aiId);
    return entry === undefined || entry.port !== port || entryUid(entry) !== uid;
  });
}

function portsOf(state: RegistryState): Holdings['registered'] {
  const ports = new Map<number, string>();
  for (const [aiId, {port}] of state) ports.set(port, aiId);
  return ports;
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

function allocation(choice: Choice, request: PortRequest | undefined, holdings: Holdings): Allocation {
  const wanted = request?.pinned ?? request?.preferred;
  const rival = wanted === undefined ? undefined : ourHolder(wanted, holdings, request);
  return rival === undefined ? {choice} : {choice, rival};
}

function ourHolder(port: number, {registered, reserved}: Holdings, request?: PortRequest): string | undefined {
  const names = [registered.get(port), reserved.get(port)?.aiId];
  return names.find(name => name !== undefined && name !== request?.aiId);
}

async function strangeHolder(port: number): Promise<string | undefined> {
  const holder = await describeHolder(port);
  return holder && holderText(holder);
}

/** Where it can't be had, the folder is read, which says why. */
function statOf(folder: string): BigIntStats | undefined {
  try {
    return statSync(folder, {bigint: true, throwIfNoEntry: false});
  } catch {
    return undefined;
  }
}
