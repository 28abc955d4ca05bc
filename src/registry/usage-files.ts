/**
 * Daily counters of a specialist on disk: `usage/<ai-id>/<day>.<uid>.json`, one file per launch and day, written whole by
 * that launch alone. So a worker and its successor may count at once, and nobody needs a lock. What launches that are gone
 * have left is taken over by a later one:
 *
 * 1. the taker renames the file (`….taken-<uid>.json`): only one of two takers can,
 * 2. writes its own file with those counts added and the file's launch in `includes`,
 * 3. removes the file, and at its next write drops the name from `includes`.
 *
 * A reader leaves out every file whose launch another one of the day includes. So what counts is there once at any moment.
 */
import {mkdirSync, readdirSync, renameSync} from 'node:fs';
import {join} from 'node:path';
import {formatVersion} from '../api/types.js';
import {Tally} from '../api/usage.js';
import type {Histogram, TargetUsage, UsageCounts} from '../api/usage.js';
import {errorCode, fileError, removeFile, writeWhole} from './files.js';
import {readOwnText} from './own-files.js';
import {statePaths} from './paths.js';

/** Days that are kept, today included. */
export const usageDaysKept = 60;

/** What one launch counted on one day. */
export interface UsageFile {
  readonly day: string;
  /** Of the launch. */
  readonly uid: string;
  /** Its process: while it lives, the file is its own. */
  readonly pid: number;
  /** Launches whose counts are in these. */
  readonly includes: readonly string[];
  readonly counts: UsageCounts;
}

export interface UsageFileName {
  readonly name: string;
  readonly day: string;
  readonly uid: string;
}

const namePattern = /^(\d{4}-\d{2}-\d{2})\.([\w-]+)(?:\.taken-[\w-]+)?\.json$/;

/** Names of the files in a specialist's folder, oldest day first; none where there is no folder. */
export function listUsageFiles(home: string, aiId: string): readonly UsageFileName[] {
  return namesIn(statePaths(home).usage(aiId))
    .flatMap(name => {
      const [, day, uid] = namePattern.exec(name) ?? [];
      return day === undefined || uid === undefined ? [] : [{name, day, uid}];
    })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** undefined: it isn't there, or isn't one of ours, or is torn. */
export function readUsageFile(home: string, aiId: string, name: string): UsageFile | undefined {
  const text = readOwnText(join(statePaths(home).usage(aiId), name));
  return text === undefined ? undefined : parseUsageFile(text);
}

/** In place of what stands under the launch's own name. @throws {TektonError} nothing has changed */
export async function writeUsageFile(home: string, aiId: string, file: UsageFile): Promise<void> {
  const folder = statePaths(home).usage(aiId);
  const {day, uid, pid, includes, counts} = file;
  const content = {formatVersion, aiId, day, uid, pid, ...(includes.length > 0 && {includes}), ...counts};
  // A crash of the process leaves the old content or the new one; that of the machine may cost the last seconds.
  const write = (): Promise<void> =>
    writeWhole(join(folder, ownName(day, uid)), `${JSON.stringify(content)}\n`, {durable: false});
  try {
    await write();
  } catch (error) {
    if (!(error instanceof Error) || errorCode(error.cause) !== 'ENOENT') throw error;
    try {
      mkdirSync(folder, {recursive: true, mode: 0o700});
    } catch (cause) {
      throw fileError(`cannot make the folder ${folder}`, cause);
    }
    await write();
  }
}

export function ownName(day: string, uid: string): string {
  return `${day}.${uid}.json`;
}

/** Claims a file of a launch that is gone. @returns its name from now on; undefined: somebody else has it */
export function takeUsageFile(home: string, aiId: string, file: UsageFileName, taker: string): string | undefined {
  const folder = statePaths(home).usage(aiId);
  const name = `${file.day}.${file.uid}.taken-${taker}.json`;
  try {
    renameSync(join(folder, file.name), join(folder, name));
    return name;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw fileError(`cannot take over ${join(folder, file.name)}`, error);
  }
}

export async function removeUsageFile(home: string, aiId: string, name: string): Promise<void> {
  await removeFile(join(statePaths(home).usage(aiId), name));
}

export interface UsageHistory {
  /** By day, oldest first. */
  readonly days: ReadonlyMap<string, UsageCounts>;
  /** Paths of files that can't be read: what they hold is missing. */
  readonly unreadable: readonly string[];
}

/** How often a reader begins anew when files go away while it reads: they are being taken over. */
const attempts = 5;

/** What a specialist counted from day `from` to day `to`, both inclusive. Needs nothing that runs. */
export function readUsage(
  home: string,
  aiId: string,
  {from, to}: {readonly from: string; readonly to: string},
): UsageHistory {
  for (let attempt = 1; ; attempt++) {
    const files = listUsageFiles(home, aiId).filter(({day}) => from <= day && day <= to);
    const read = files.map(({name}) => ({name, file: readUsageFile(home, aiId, name)}));
    const missing = read.filter(({file}) => file === undefined).map(({name}) => name);
    const there = new Set(missing.length === 0 ? [] : namesIn(statePaths(home).usage(aiId)));
    if (missing.some(name => !there.has(name)) && attempt < attempts) continue;
    const folder = statePaths(home).usage(aiId);
    const known = read.flatMap(({file}) => file ?? []);
    return {days: sumByDay(known), unreadable: missing.filter(name => there.has(name)).map(name => join(folder, name))};
  }
}

/** Ai ids of which there are counters. */
export function usageKeepers(home: string): readonly string[] {
  return namesIn(statePaths(home).usageFolder).toSorted();
}

/** Each launch once. */
export function sumByDay(files: readonly UsageFile[]): ReadonlyMap<string, UsageCounts> {
  const included = new Set(files.flatMap(({day, includes}) => includes.map(uid => `${day} ${uid}`)));
  const days = new Map<string, Tally>();
  for (const {day, uid, counts} of files) {
    if (included.has(`${day} ${uid}`)) continue;
    const tally = days.get(day) ?? new Tally();
    tally.add(counts);
    days.set(day, tally);
  }
  return new Map([...days].map(([day, tally]) => [day, tally.counts]));
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')) return [];
    throw fileError(`cannot read ${folder}`, error);
  }
}

function parseUsageFile(text: string): UsageFile | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value) || Number(value['formatVersion']) > formatVersion) return undefined;
  const {day, uid, pid, includes = [], targets, errors, cancelled} = value;
  if (typeof day !== 'string' || typeof uid !== 'string' || !isCount(pid) || !isCount(cancelled)) return undefined;
  if (!Array.isArray(includes) || !Array.isArray(targets) || !targets.every(isTarget) || !areCounts(errors)) {
    return undefined;
  }
  return {day, uid, pid, includes: includes.map(String), counts: {targets, errors, cancelled}};
}

function isTarget(value: unknown): value is TargetUsage {
  if (!isRecord(value)) return false;
  const {provider, model, requests, errors, inputTokens, outputTokens, cachedInputTokens, cost, latency, firstToken} =
    value;
  return (
    typeof provider === 'string' &&
    typeof model === 'string' &&
    [requests, inputTokens, outputTokens, cachedInputTokens].every(isCount) &&
    (cost === undefined || isCount(cost)) &&
    areCounts(errors) &&
    isHistogram(latency) &&
    isHistogram(firstToken)
  );
}

function isHistogram(value: unknown): value is Histogram {
  return isRecord(value) && isCount(value['sum']) && Array.isArray(value['counts']) && value['counts'].every(isCount);
}

function areCounts(value: unknown): value is Record<string, number> {
  return isRecord(value) && Object.values(value).every(isCount);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
