/** `notifications/<namespace>.<fleet>.json`: how far each of a fleet's notifications has come in the event log. */
import {closeSync, mkdirSync, writeSync} from 'node:fs';
import {dirname} from 'node:path';
import {formatVersion} from '../api/types.js';
import type {Positions} from '../notify/deps.js';
import {fileError} from './files.js';
import {openToAppend} from './own-files.js';
import {statePaths} from './paths.js';
import type {FleetKey} from './paths.js';
import {readRecord, writeRecord} from './records.js';

interface PositionsRecord {
  readonly formatVersion: number;
  readonly positions: Positions;
}

/** undefined where there are none, or none that can be read: then telling begins with now. */
export function readPositions(home: string, key: FleetKey): Positions | undefined {
  try {
    return readRecord<PositionsRecord>(statePaths(home).notifications(key), ['positions'])?.positions;
  } catch {
    return undefined;
  }
}

/** Not synced to disk: what a crash of the machine takes is told twice. @throws {TektonError} */
export async function writePositions(home: string, key: FleetKey, positions: Positions): Promise<void> {
  const path = statePaths(home).notifications(key);
  mkdirSync(dirname(path), {recursive: true, mode: 0o700});
  await writeRecord(path, {formatVersion, positions}, {durable: false});
}

/** Appends to a file that a person has chosen: no link is followed, and its mode is left as it is. @throws {TektonError} */
export function appendText(path: string, text: string): void {
  const {fd} = openToAppend(path, {keepMode: true});
  try {
    const data = Buffer.from(text);
    for (let done = 0; done < data.length;) done += writeSync(fd, data, done);
  } catch (error) {
    throw fileError(`cannot write ${path}`, error);
  } finally {
    closeSync(fd);
  }
}
