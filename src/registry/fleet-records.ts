/** `fleets/<namespace>.<fleet>.json`: the desired state as last applied. */
import type {FleetRecord} from '../api/types.js';
import {removeFile} from './files.js';
import {withLock} from './locks.js';
import type {LockOptions} from './locks.js';
import {statePaths} from './paths.js';
import type {FleetKey} from './paths.js';
import {readRecord, recordNames, writeRecord} from './records.js';

const required = ['name', 'namespace', 'specialists', 'generations', 'source'] as const;

/**
 * @throws {ConflictError} a newer version of tekton-ai wrote it.
 * @throws {DamagedRecordError} it is not whole: never taken for an empty fleet, which would prune everything.
 */
export function readFleetRecord(home: string, key: FleetKey): FleetRecord | undefined {
  return readRecord<FleetRecord>(statePaths(home).fleet(key), required);
}

/** Every fleet of the state folder, sorted by namespace and name. Throws as `readFleetRecord` does. */
export function readFleetRecords(home: string): readonly FleetRecord[] {
  return recordNames(statePaths(home).fleets)
    .toSorted()
    .flatMap(file => readFleetRecord(home, keyOfFile(file)) ?? []);
}

/** For callers that hold the `fleets` lock; others use `updateFleet`. */
export async function writeFleetRecord(home: string, record: FleetRecord): Promise<void> {
  await writeRecord(statePaths(home).fleet(record), record);
}

export async function removeFleetRecord(home: string, key: FleetKey): Promise<void> {
  await withLock(home, 'fleets', () => removeFile(statePaths(home).fleet(key)));
}

/**
 * Reads the fleet, calls `change`, and writes what it answers, all under the `fleets` lock: two `apply` at once
 * come one after the other. The record that it was given means: nothing to write; undefined: no such fleet any more.
 * An error that `change` throws passes through, and nothing is written.
 *
 * @throws {LockBusyError} nothing was written.
 */
export async function updateFleet<T extends FleetRecord | undefined>(
  home: string,
  key: FleetKey,
  change: (record: FleetRecord | undefined) => T | Promise<T>,
  options: LockOptions = {},
): Promise<T> {
  const path = statePaths(home).fleet(key);
  const update = async (assertHeld: () => void): Promise<T> => {
    const before = readFleetRecord(home, key);
    const after = await change(before);
    if (after === before) return after;
    if (after === undefined) {
      assertHeld();
      await removeFile(path);
    } else {
      await writeRecord(path, after, {beforeCommit: assertHeld});
    }
    return after;
  };
  return withLock(home, 'fleets', lock => update(() => lock.assertHeld()), options);
}

/** Both parts are DNS labels, so the first dot divides them. */
export function keyOfFile(file: string): FleetKey {
  const dot = file.indexOf('.');
  return {namespace: file.slice(0, dot), name: file.slice(dot + 1)};
}
