/**
 * What the reading verbs show. With a live controller its status file is true; without one each worker's process
 * and sockets are looked at here and now. A stored Ready is never shown.
 */
import {setMaxListeners} from 'node:events';
import type {Desired, FleetRecord, FleetStatus, SpecialistStatus} from '../api/types.js';
import {findController} from '../registry/controller-record.js';
import {readFleetRecords} from '../registry/fleet-records.js';
import {readLaunchRecords, type LaunchRecord} from '../registry/launch-records.js';
import {readFleetStatuses} from '../registry/status-files.js';
import type {CommandContext} from './context.js';
import {askController} from './controller-link.js';
import type {GlobalOptions} from './options.js';
import {fleetlessViews} from './observe-registry.js';
import {unknownStatus, verifiedStatus} from './observed-status.js';
import {tokenOf} from './secrets.js';
import {verify} from './verify.js';
import type {SpecialistView} from './view.js';

export interface Observation {
  /** The controller that runs now. */
  readonly controller: {readonly pid: number; readonly version: string; readonly hung: boolean} | undefined;
  /** Sorted by namespace and name. */
  readonly specialists: readonly SpecialistView[];
  readonly fleets: readonly FleetRecord[];
  /** Of those fleets whose status is vouched for by the controller that runs now. */
  readonly statuses: readonly FleetStatus[];
}

export interface ObserveScope extends GlobalOptions {
  /** Only these are looked at; the others are left out. Absent: all. */
  readonly aiIds?: ReadonlySet<string>;
}

/**
 * All that is looked at beyond the files must be answered within this time: a little more than a worker itself takes
 * at most to ask its provider.
 */
const looksMs = 2500;
const helloMs = 1000;

/**
 * Looks once. Waits for sockets for two and a half seconds at most, all of them at the same time.
 *
 * @throws {TektonError} when records can't be read.
 */
export async function observe(context: CommandContext, scope: ObserveScope = {}): Promise<Observation> {
  const {home} = context;
  const fleets = readFleetRecords(home).filter(record => inScope(record, scope));
  const running = await findController(home);
  const stored = readFleetStatuses(home);
  // A status from before this controller's start tells of another time.
  const hung = running !== undefined && !(await answers(running.socketPath));
  const statuses = running === undefined || hung ? [] : stored.filter(s => s.syncedAt >= running.record.startedAt);
  const [vouched, past] = [byKey(statuses), byKey(stored)];
  const launches = lazily(() => new Map(readLaunchRecords(home).records.map(record => [record.aiId, record])));
  const signal = AbortSignal.any([AbortSignal.timeout(looksMs), context.signal]);
  setMaxListeners(0, signal); // every specialist's connections listen to it

  const isMeant = ({aiId}: {readonly aiId: string}) => scope.aiIds?.has(aiId) ?? true;
  const declared = fleets.flatMap(fleet =>
    fleet.specialists.filter(isMeant).map(async desired => {
      const told = vouched.get(keyOf(fleet, desired.aiId));
      const from = revisionOf(fleet, stored);
      if (told !== undefined) return {...viewOf(desired, told), ...from};
      const before = past.get(keyOf(fleet, desired.aiId));
      const launched = launches().get(desired.aiId);
      // Another fleet may run a worker of this name: it is not this one's.
      const own = launched?.fleet === fleet.name && launched.namespace === fleet.namespace;
      const launch = own ? launched : undefined;
      return {...viewOf(desired, await lookAt({context, fleet, desired, before, launch, signal})), ...from};
    }),
  );
  const known = new Set(fleets.flatMap(fleet => fleet.specialists.map(desired => desired.aiId)));
  const others = scope.fleet === undefined ? fleetlessViews({context, scope, known, launches, signal}) : [];
  const specialists = (await Promise.all([Promise.all(declared), others])).flat();
  const controller = running && {pid: running.record.identity.pid, version: running.record.version, hung};
  return {controller, specialists: specialists.toSorted(byName), fleets, statuses};
}

/** A process that lives but hangs vouches for nothing. */
async function answers(socketPath: string): Promise<boolean> {
  return askController(socketPath, {type: 'hello'}, AbortSignal.timeout(helloMs)).then(
    () => true,
    () => false,
  );
}

interface Look {
  readonly context: CommandContext;
  readonly fleet: FleetRecord;
  readonly desired: Desired;
  readonly before: SpecialistStatus | undefined;
  readonly launch: LaunchRecord | undefined;
  readonly signal: AbortSignal;
}

async function lookAt({context, fleet, desired, before, launch, signal}: Look): Promise<SpecialistStatus> {
  const now = new Date().toISOString();
  if (launch === undefined) return verifiedStatus({fleet, desired, before, launch, found: {type: 'gone'}, now});
  const token = await tokenOf(desired, fleet, context);
  const found = await verify({...launch, ...(token !== undefined && {token})}, signal);
  if (context.signal.aborted) return unknownStatus(desired, before, now);
  return verifiedStatus({fleet, desired, before, launch, found, now});
}

function byKey(statuses: readonly FleetStatus[]): ReadonlyMap<string, SpecialistStatus> {
  return new Map(
    statuses.flatMap(fleet => fleet.specialists.map(({aiId, status}) => [keyOf(fleet, aiId), status] as const)),
  );
}

function keyOf({namespace, name}: {readonly namespace: string; readonly name: string}, aiId: string): string {
  return `${namespace}.${name}/${aiId}`;
}

function viewOf(desired: Desired, status: SpecialistStatus): SpecialistView {
  const {aiId, name, namespace, fleet, labels, generation, spec} = desired;
  const {component, expertise} = spec;
  return {aiId, name, namespace, fleet, component, roles: expertise.roles, labels, generation, spec, status};
}

/** The status knows of commits that changed nothing of the fleet, too. */
function revisionOf(fleet: FleetRecord, statuses: readonly FleetStatus[]): Pick<SpecialistView, 'revision'> {
  if (fleet.source.type !== 'git') return {};
  const status = statuses.find(one => one.name === fleet.name && one.namespace === fleet.namespace);
  const commit = status?.revision ?? fleet.revision;
  return commit === undefined ? {} : {revision: {commit, source: fleet.source.source}};
}

export function inScope(
  {namespace, name}: {readonly namespace: string; readonly name: string},
  scope: GlobalOptions,
): boolean {
  return (scope.namespace ?? namespace) === namespace && (scope.fleet ?? name) === name;
}

function byName(a: SpecialistView, b: SpecialistView): number {
  return compare(a.namespace, b.namespace) || compare(a.name, b.name);
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function lazily<T>(make: () => T): () => T {
  let made: {readonly value: T} | undefined;
  return () => (made ??= {value: make()}).value;
}
