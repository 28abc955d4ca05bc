/** Fleets that have workers, but no record: somebody removed it. */
import {version} from '../api/version.js';
import {defaultPorts, formatVersion} from '../api/types.js';
import type {FleetRecord} from '../api/types.js';
import {readFleetRecords, removeFleetRecord, updateFleet} from '../registry/fleet-records.js';
import {readLaunchRecords} from '../registry/launch-records.js';
import type {FleetKey} from '../registry/paths.js';
import {findWorkers, isSame} from '../registry/processes.js';
import {qualifiedName} from './view.js';

/** By launch records and by the marks in the workers' environment; what was started by hand has no fleet. */
export async function ownerlessFleets(home: string): Promise<readonly FleetKey[]> {
  const found = new Map<string, FleetKey>();
  const add = (key: FleetKey): void => void (key.name !== '' && found.set(qualifiedName(key), key));
  for (const {identity, namespace, fleet} of readLaunchRecords(home).records) {
    if (identity && (await isSame(identity))) add({namespace, name: fleet});
  }
  for (const {fleet} of await findWorkers(home)) {
    const [namespace, name] = fleet?.split('/') ?? [];
    if (namespace && name) add({namespace, name});
  }
  for (const record of readFleetRecords(home)) found.delete(qualifiedName(record));
  return [...found.values()];
}

/** A record that declares nothing, so that what runs of the fleet is stopped as is every fleet's. */
export function adoptToStop(home: string, {namespace, name}: FleetKey): Promise<FleetRecord> {
  return updateFleet(home, {namespace, name}, before => ({
    ...(before ?? {
      ...{formatVersion, name, namespace, enabled: true, ports: defaultPorts, allowMassPrune: true},
      ...{source: {type: 'stdin' as const}, files: [], watch: [], specialists: [], overrides: {}, notices: []},
      ...{appliedAt: new Date().toISOString(), version, generations: {}},
    }),
    stopped: true,
  }));
}

/** Takes back what `adoptToStop` wrote: it must not bar the next apply as another source. */
export async function forgetAdopted(home: string, keys: readonly FleetKey[]): Promise<void> {
  for (const key of keys) await removeFleetRecord(home, key);
}
