/** `sources/<namespace>.<name>.json`: git sources as last applied; `status/git.<namespace>.<name>.json`: how they stand. */
import {mkdirSync} from 'node:fs';
import type {GitSourceRecord, GitSourceStatus} from '../api/git-source.js';
import {fileError, removeFile} from './files.js';
import {keyOfFile} from './fleet-records.js';
import {withLock} from './locks.js';
import {statePaths} from './paths.js';
import type {FleetKey} from './paths.js';
import {DamagedRecordError, readRecord, recordNames, writeRecord} from './records.js';

const required = ['name', 'namespace', 'spec', 'appliedAt', 'overrides'] as const;
const statusRequired = ['name', 'namespace', 'ready', 'reason', 'fleets'] as const;

/**
 * @throws {ConflictError} a newer version of tekton-ai wrote it.
 * @throws {DamagedRecordError} it is not whole.
 */
export function readGitSourceRecord(home: string, key: FleetKey): GitSourceRecord | undefined {
  try {
    return readRecord<GitSourceRecord>(statePaths(home).gitSource(key), required);
  } catch (error) {
    if (!(error instanceof DamagedRecordError)) throw error;
    throw new DamagedRecordError(error.message, {
      hint: `Nothing was stopped. Remove it and apply the git source ${key.name} again: it is made anew.`,
    });
  }
}

/** Every git source of the state folder, sorted by namespace and name. @throws as `readGitSourceRecord` */
export function readGitSourceRecords(home: string): readonly GitSourceRecord[] {
  return recordNames(statePaths(home).sources)
    .toSorted()
    .flatMap(file => readGitSourceRecord(home, keyOfFile(file)) ?? []);
}

/**
 * Reads the source, calls `change` and writes what it answers, all under the `sources` lock. The record that it was
 * given means: nothing to write; undefined: no such source any more.
 *
 * @throws {LockBusyError} nothing was written.
 */
export async function updateGitSource(
  home: string,
  key: FleetKey,
  change: (record: GitSourceRecord | undefined) => GitSourceRecord | undefined,
): Promise<GitSourceRecord | undefined> {
  const {sources, gitSource, gitSourceStatus} = statePaths(home);
  return withLock(home, 'sources', async lock => {
    const before = readGitSourceRecord(home, key);
    const after = change(before);
    if (after === before) return after;
    lock.assertHeld();
    if (after === undefined) {
      await removeFile(gitSource(key));
      await removeFile(gitSourceStatus(key));
      return undefined;
    }
    try {
      mkdirSync(sources, {recursive: true, mode: 0o700});
    } catch (error) {
      throw fileError(`cannot make the folder ${sources}`, error);
    }
    await writeRecord(gitSource(key), after, {beforeCommit: () => lock.assertHeld()});
    return after;
  });
}

/** A damaged status is as good as none: the next look writes it anew. @throws {ConflictError} a newer format. */
export function readGitSourceStatus(home: string, key: FleetKey): GitSourceStatus | undefined {
  try {
    return readRecord<GitSourceStatus>(statePaths(home).gitSourceStatus(key), statusRequired);
  } catch (error) {
    if (error instanceof DamagedRecordError) return undefined;
    throw error;
  }
}

export async function writeGitSourceStatus(home: string, status: GitSourceStatus): Promise<void> {
  await writeRecord(statePaths(home).gitSourceStatus(status), status, {durable: false});
}
