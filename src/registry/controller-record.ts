/** `run/controller.json`: which process is the controller of the state folder. */
import type {ProcessIdentity} from '../api/types.js';
import {removeFile} from './files.js';
import {controlSocketPath, statePaths} from './paths.js';
import {isSame} from './processes.js';
import {DamagedRecordError, readRecord, writeRecord} from './records.js';

export interface ControllerRecord {
  readonly formatVersion: number;
  readonly identity: ProcessIdentity;
  readonly version: string;
  /** Hash of the built program: the same version built anew is another controller. */
  readonly build: string;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Where it listens; where absent, the usual place. */
  readonly socketPath?: string;
}

export interface RunningController {
  readonly record: ControllerRecord;
  readonly socketPath: string;
}

/** The controller that runs now, verified against the process table; undefined where there is none. */
export async function findController(home: string): Promise<RunningController | undefined> {
  const record = readController(home);
  if (record === undefined || !(await isSame(record.identity))) return undefined;
  return {record, socketPath: record.socketPath ?? controllerSocketPath(home)};
}

/** For the holder of the `leader` lock alone. */
export async function writeControllerRecord(home: string, record: ControllerRecord): Promise<void> {
  await writeRecord(statePaths(home).controllerRecord, record, {durable: false});
}

/** For the holder of the `leader` lock alone. */
export async function removeControllerRecord(home: string): Promise<void> {
  await removeFile(statePaths(home).controllerRecord);
}

/** Where a controller listens: `run/controller.sock`, or a short path (see `controlSocketPath`). */
export function controllerSocketPath(home: string): string {
  return controlSocketPath(home, 'controller');
}

function readController(home: string): ControllerRecord | undefined {
  try {
    return readRecord<ControllerRecord>(statePaths(home).controllerRecord, ['identity', 'version']);
  } catch (error) {
    if (error instanceof DamagedRecordError) return undefined;
    throw error;
  }
}
