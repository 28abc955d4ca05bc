/** `fleets/<namespace>.<fleet>.json`: the desired state as last applied. */
import type {FleetRecord} from '../api/types.js';
import {asideName, removeFile} from './files.js';
import {withLock} from './locks.js';
import type {LockOptions} from './locks.js';
import {statePaths} from './paths.js';
import type {FleetKey} from './paths.js';
import {renameOver} from './own-files.js';
import {DamagedRecordError, readRecord, recordNames, writeRecord} from './records.js';
import {forgetRevisions, keepRevisions} from './revisions.js';

const required = ['name', 'namespace', 'specialists', 'generations', 'source'] as const;

/**
 * @throws {ConflictError} a newer version of tekton-ai wrote it.
 * @throws {DamagedRecordError} it is not whole: never taken for an empty fleet, which would prune everything.
 */
export function readFleetRecord(home: string, key: FleetKey): FleetRecord | undefined {
  try {
    return readRecord<FleetRecord>(statePaths(home).fleet(key), required);
  } catch (error) {
    if (!(error instanceof DamagedRecordError)) throw error;
    throw new DamagedRecordError(error.message, {
      hint: `Nothing was stopped. Apply the file of fleet ${key.name} again (tekton-ai up, or apply): the record is made anew.`,
    });
  }
}

/**
 * Moves a damaged record of `key` out of the way, for somebody who has the fleet's declaration at hand and applies it
 * anew. @returns its new path; undefined: it wasn't damaged.
 */
export async function setAsideIfDamaged(home: string, key: FleetKey): Promise<string | undefined> {
  if (!isDamaged(home, key)) return undefined;
  return withLock(home, 'fleets', lock => {
    if (!isDamaged(home, key)) return undefined;
    lock.assertHeld();
    const path = statePaths(home).fleet(key);
    const aside = asideName(path);
    renameOver(path, aside);
    return aside;
  });
}

function isDamaged(home: string, key: FleetKey): boolean {
  try {
    readFleetRecord(home, key);
    return false;
  } catch (error) {
    if (error instanceof DamagedRecordError) return true;
    throw error;
  }
}

/** Every fleet of the state folder, sorted by namespace and name. Throws as `readFleetRecord` does. */
export function readFleetRecords(home: string): readonly FleetRecord[] {
  return recordNames(statePaths(home).fleets)
    .toSorted()
    .flatMap(file => readFleetRecord(home, keyOfFile(file)) ?? []);
}

export async function removeFleetRecord(home: string, key: FleetKey): Promise<void> {
  await withLock(home, 'fleets', async () => {
    await removeFile(statePaths(home).fleet(key));
    await forgetRevisions(home, key);
  });
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
      await forgetRevisions(home, key);
    } else {
      await writeRecord(path, after, {beforeCommit: assertHeld});
      // What is to be is written; that the way back to what was could not be kept is no reason to fail.
      await keepRevisions(home, before, after).catch(() => undefined);
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
