/** `run/<aiId>.json`: what was launched, and before that the intent to launch it. */
import type {Json, ProcessIdentity} from '../api/types.js';
import {canonicalJson} from '../api/hash.js';
import type {Running, Told} from '../protocol/running.js';
import {removeFile} from './files.js';
import {statePaths} from './paths.js';
import {DamagedRecordError, readRecord, recordNames, writeRecord} from './records.js';

export interface LaunchRecord {
  readonly formatVersion: number;
  readonly aiId: string;
  readonly name: string;
  readonly namespace: string;
  readonly fleet: string;
  readonly component: string;
  readonly uid: string;
  /** Absent while the launch is only an intent: whether a process came of it is found out by scanning for `uid`. */
  readonly identity?: ProcessIdentity;
  readonly host: string;
  readonly port: number;
  readonly controlPath: string;
  readonly generation: number;
  readonly specHash: string;
  readonly declared: Readonly<Record<string, Json>>;
  /**
   * What it was told to run with, as are the three above: what it says otherwise, somebody else had it do. Absent from
   * records of versions that noted no such thing.
   */
  readonly running?: Running;
  /** It is being told another thing, the above: whether it has taken that over, or still runs with this, it says itself. */
  readonly before?: Told;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly state: 'intent' | 'running';
  /** Where in the log this instance's output begins, in bytes. */
  readonly logOffset?: number;
}

export interface LaunchRecords {
  readonly records: readonly LaunchRecord[];
  /** Ai ids whose record can't be read: their workers, if any, are found in the process table. */
  readonly damaged: readonly string[];
}

/** What its owner had it run with last, as far as the record and its own word tell. */
export function toldBy(
  record: LaunchRecord,
  said: Omit<Told, 'running'> & {readonly running?: Running | undefined},
): Told {
  const {before} = record;
  const same = before?.specHash === said.specHash && textOf(before.running) === textOf(said.running);
  return before && same ? before : record;
}

function textOf(running: Running | undefined): string | undefined {
  return running && canonicalJson(running);
}

const required = ['aiId', 'uid', 'host', 'port', 'controlPath', 'state', 'declared'] as const;

/**
 * @throws {ConflictError} a newer version of tekton-ai wrote it.
 * @throws {DamagedRecordError} it is not whole.
 */
export function readLaunchRecord(home: string, aiId: string): LaunchRecord | undefined {
  return readRecord<LaunchRecord>(statePaths(home).launchRecord(aiId), required);
}

/** All of them. Read synchronously: a hundred take a few milliseconds. @throws {ConflictError} as above. */
export function readLaunchRecords(home: string): LaunchRecords {
  const records: LaunchRecord[] = [];
  const damaged: string[] = [];
  for (const aiId of recordNames(statePaths(home).run)) {
    if (aiId === 'controller') continue;
    try {
      const record = readLaunchRecord(home, aiId);
      if (record !== undefined) records.push(record);
    } catch (error) {
      if (!(error instanceof DamagedRecordError)) throw error;
      damaged.push(aiId);
    }
  }
  return {records, damaged};
}

/**
 * Not synced to disk: after a crash of the machine no worker is left that it could speak of. Changes of one record are
 * made in the order in which they were asked for: what is said late of an instance never stands over its successor's.
 */
export function writeLaunchRecord(home: string, record: LaunchRecord): Promise<void> {
  const path = statePaths(home).launchRecord(record.aiId);
  return inTurn(path, () => writeRecord(path, record, {durable: false}));
}

/** That there was none is success too. */
export function removeLaunchRecord(home: string, aiId: string): Promise<void> {
  const path = statePaths(home).launchRecord(aiId);
  return inTurn(path, () => removeFile(path));
}

/** The last change of each record that is under way in this process, by path. */
const changing = new Map<string, Promise<void>>();

function inTurn(path: string, change: () => Promise<void>): Promise<void> {
  const before = changing.get(path);
  const mine = before ? before.then(change, change) : change();
  changing.set(path, mine);
  const done = (): void => {
    if (changing.get(path) === mine) changing.delete(path);
  };
  mine.then(done, done);
  return mine;
}
