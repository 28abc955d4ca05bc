/** The state folder: what survives every process. Writes are whole or not at all; reads and writes fail where the disk does. */
import {TektonError} from '../../src/api/errors.js';
import {formatVersion} from '../../src/api/types.js';
import type {FleetEvent, FleetRecord, FleetStatus, ProcessIdentity} from '../../src/api/types.js';
import type {LaunchRecord} from '../../src/registry/launch-records.js';
import type {RegistryEntry} from '../../src/registry/registry-text.js';
import type {Reservation} from '../../src/registry/reservations.js';
import {identityFacts} from '../../src/registry/entry-facts.js';
import type {Machine} from './machine.js';
import type {Scheduler} from './scheduler.js';

/** A fleet's record at the time that it was committed. */
export interface Commit {
  readonly at: number;
  readonly id: string;
  readonly record: FleetRecord | undefined;
  /** Name of the actor. */
  readonly by: string;
}

export interface ControllerRecord {
  readonly identity: ProcessIdentity;
}

/** What counts as something happening, once the world is to be at rest. */
export type Activity = (what: string) => void;

export class StateFolder {
  /** No write succeeds. */
  full = false;
  /** A write did not succeed. */
  failedWrites = false;
  /** No read of a record succeeds. */
  unreadable = false;
  readonly fleets = new Map<string, FleetRecord>();
  readonly commits: Commit[] = [];
  readonly statuses = new Map<string, FleetStatus>();
  readonly events: FleetEvent[] = [];
  readonly launches = new Map<string, LaunchRecord>();
  reservations: readonly Reservation[] = [];
  controller: ControllerRecord | undefined;
  registry: ReadonlyMap<string, RegistryEntry> | 'damaged' = new Map();
  onActivity: Activity = () => undefined;
  onCommit: (commit: Commit) => void = () => undefined;
  /** One of ours is about to write the registry. */
  onRegistered: (entries: ReadonlyMap<string, RegistryEntry>) => void = () => undefined;
  /** Something in this part of the folder changed: watchers are told. */
  onChange: (topic: 'fleets' | 'registry') => void = () => undefined;
  readonly #scheduler: Scheduler;
  readonly #machine: Machine;

  constructor(scheduler: Scheduler, machine: Machine) {
    this.#scheduler = scheduler;
    this.#machine = machine;
  }

  readFleets(): readonly FleetRecord[] {
    this.#reads('fleets');
    return [...this.fleets].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, record]) => record);
  }

  readFleet(id: string): FleetRecord | undefined {
    this.#reads(`fleets/${id}`);
    return this.fleets.get(id);
  }

  commitFleet(id: string, record: FleetRecord | undefined, by: string): void {
    this.#writes(`fleets/${id}`);
    this.putFleet(id, record, by);
  }

  /** Without a look at the disk: also what a hand does. */
  putFleet(id: string, record: FleetRecord | undefined, by: string): void {
    if (record) this.fleets.set(id, record);
    else this.fleets.delete(id);
    const commit = {at: this.#scheduler.now, id, record, by};
    this.commits.push(commit);
    this.onCommit(commit);
    this.onActivity(`the record of ${id} is written`);
    this.onChange('fleets');
  }

  readStatus(id: string): FleetStatus | undefined {
    this.#reads(`status/${id}`);
    return this.statuses.get(id);
  }

  writeStatus(id: string, status: FleetStatus): void {
    this.#writes(`status/${id}`);
    this.statuses.set(id, status);
    this.onActivity(`the status of ${id} is written`);
  }

  appendEvents(events: readonly FleetEvent[]): void {
    this.#writes('events.jsonl');
    this.events.push(...events);
    this.onActivity(`events: ${events.map(({reason, aiId = ''}) => `${reason} ${aiId}`).join(', ')}`);
  }

  readLaunches(): ReadonlyMap<string, LaunchRecord> {
    this.#reads('run');
    return this.launches;
  }

  writeLaunch(record: LaunchRecord): void {
    this.#writes(`run/${record.aiId}.json`);
    this.launches.set(record.aiId, record);
    this.onActivity(`the launch record of ${record.aiId} is written`);
  }

  removeLaunch(aiId: string): void {
    if (!this.launches.delete(aiId)) return;
    this.onActivity(`the launch record of ${aiId} is removed`);
  }

  writeController(record: ControllerRecord | undefined): void {
    if (record) this.#writes('run/controller.json');
    this.controller = record;
  }

  /** The entries; rebuilt where the file is damaged, as registry/rebuild.ts does. */
  readRegistry(): ReadonlyMap<string, RegistryEntry> {
    this.#reads('the registry');
    if (this.registry !== 'damaged') return this.registry;
    const rebuilt = this.#rebuilt();
    if (!this.full) this.registry = rebuilt;
    return rebuilt;
  }

  writeRegistry(entries: ReadonlyMap<string, RegistryEntry>): void {
    this.#writes('the registry');
    this.onRegistered(entries);
    this.registry = entries;
    this.onActivity('the registry is written');
    this.onChange('registry');
  }

  writeReservations(reservations: readonly Reservation[]): void {
    this.#writes('ports.json');
    this.reservations = reservations;
  }

  #rebuilt(): ReadonlyMap<string, RegistryEntry> {
    const entries = new Map<string, RegistryEntry>();
    const {workers} = this.#machine;
    for (const record of this.launches.values()) {
      const identity = record.identity ?? [...workers].find(({uid}) => uid === record.uid)?.identity;
      if (!identity || !this.#machine.isSame(identity)) continue;
      const {uid, component, name, namespace, fleet, host, specHash, port} = record;
      const facts = {uid, ...identityFacts(identity), name, namespace, fleet: `${namespace}/${fleet}`, host};
      entries.set(record.aiId, {port, component, metadata: {...facts, spec_hash: specHash}, registered_at: 0});
    }
    const recorded = new Set([...this.launches.values()].map(({uid}) => uid));
    for (const {aiId, uid, identity, port, fleet} of workers) {
      const listens = this.#machine.listeners.get(port)?.uid === uid;
      if (recorded.has(uid) || entries.has(aiId) || !listens) continue;
      const metadata = {uid, ...identityFacts(identity), fleet};
      entries.set(aiId, {port, component: aiId, metadata, registered_at: 0});
    }
    return entries;
  }

  #reads(what: string): void {
    if (this.unreadable) throw new TektonError(`cannot read ${what}: input/output error`);
  }

  #writes(what: string): void {
    this.failedWrites ||= this.full;
    if (this.full) throw new TektonError(`cannot write ${what}: no space left on device`);
  }
}

/** Fleets as records and statuses name them. */
export function idOf({namespace, name}: {readonly namespace: string; readonly name: string}): string {
  return `${namespace}/${name}`;
}

export {formatVersion};
