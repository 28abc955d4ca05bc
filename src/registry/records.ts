/** Records that we write for ourselves: JSON with a `formatVersion`. A newer one than we know is left alone. */
import {readdirSync} from 'node:fs';
import {basename} from 'node:path';
import {formatVersion} from '../api/types.js';
import {ConflictError, TektonError} from '../api/errors.js';
import {errorCode, fileError, writeWhole} from './files.js';
import type {WriteOptions} from './files.js';
import {NotOurFileError, readOwnText, readText} from './own-files.js';

export {readText};

export interface Versioned {
  readonly formatVersion: number;
}

/** How records of this version begin: one that is only replaced needn't be parsed for its version. */
const ownBeginning = `{"formatVersion":${formatVersion},`;

/** A record's file that holds no record: a power cut, or somebody's editor. */
export class DamagedRecordError extends TektonError {
  override readonly name: string = 'DamagedRecordError';
}

/**
 * The record at `path`, or undefined where there is none. Records are written by us alone, so beyond JSON, version
 * and the presence of `required` they are taken for what their type says.
 *
 * @throws {ConflictError} a newer version of tekton-ai wrote it.
 * @throws {DamagedRecordError} it is not whole.
 */
export function readRecord<T extends Versioned>(path: string, required: readonly (keyof T & string)[]): T | undefined {
  const text = readRecordText(path);
  if (text === undefined) return undefined;
  const value = parseObject(text);
  const version = value?.['formatVersion'];
  if (value === undefined || typeof version !== 'number') throw damaged(path);
  if (version > formatVersion) throw newer(path, version);
  if (required.some(field => value[field] === undefined)) throw damaged(path);
  return value as unknown as T; // parsed at this door: see above
}

/** Writes a record whole. @throws {ConflictError} a newer version's record stands there; it is not touched. */
export async function writeRecord<T extends Versioned>(path: string, record: T, options?: WriteOptions): Promise<void> {
  const standing = readOwnText(path) ?? '';
  const version = standing.startsWith(ownBeginning) ? formatVersion : parseObject(standing)?.['formatVersion'];
  if (typeof version === 'number' && version > formatVersion) throw newer(path, version);
  await writeWhole(path, `${JSON.stringify(record)}\n`, options);
}

/** File names in `folder` that end in `.json`, without that ending. None where the folder doesn't exist. */
export function recordNames(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
      .filter(name => name.endsWith('.json') && !name.startsWith('.'))
      .map(name => basename(name, '.json'));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw fileError(`cannot read ${folder}`, error);
  }
}

/** What is no file was not written by us. */
function readRecordText(path: string): string | undefined {
  try {
    return readText(path);
  } catch (error) {
    if (!(error instanceof NotOurFileError)) throw error;
    throw new DamagedRecordError(error.message, {cause: error.cause});
  }
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function damaged(path: string): DamagedRecordError {
  return new DamagedRecordError(`cannot read ${path}: it is damaged`);
}

function newer(path: string, version: number): ConflictError {
  return new ConflictError(
    `cannot use ${path}: a newer tekton-ai wrote it (format ${version}, this one knows ${formatVersion})`,
    {hint: 'Upgrade tekton-ai, or set TEKTON_AI_HOME to another folder.'},
  );
}
