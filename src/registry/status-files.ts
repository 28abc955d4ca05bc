/** `status/<namespace>.<fleet>.json`: what the controller, or an apply without one, last saw. */
import type {FleetStatus} from '../api/types.js';
import {keyOfFile} from './fleet-records.js';
import {statePaths} from './paths.js';
import type {FleetKey} from './paths.js';
import {DamagedRecordError, readRecord, recordNames, writeRecord} from './records.js';

const required = ['name', 'namespace', 'specialists'] as const;

/** A damaged status is as good as none: the next pass writes it anew. @throws {ConflictError} a newer format. */
export function readFleetStatus(home: string, key: FleetKey): FleetStatus | undefined {
  try {
    return readRecord<FleetStatus>(statePaths(home).fleetStatus(key), required);
  } catch (error) {
    if (error instanceof DamagedRecordError) return undefined;
    throw error;
  }
}

export function readFleetStatuses(home: string): readonly FleetStatus[] {
  return recordNames(statePaths(home).status)
    .toSorted()
    .filter(file => file.split('.').length === 2) // git sources have three parts
    .flatMap(file => readFleetStatus(home, keyOfFile(file)) ?? []);
}

/** Not synced to disk: after a crash of the machine it is out of date anyway. */
export async function writeFleetStatus(home: string, status: FleetStatus): Promise<void> {
  await writeRecord(statePaths(home).fleetStatus(status), status, {durable: false});
}
