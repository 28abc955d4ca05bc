/** One launch's daily counters in the state folder, beside those of the launches before, with and after it. */
import {Tally} from '../api/usage.js';
import type {UsageCounts} from '../api/usage.js';
import {errorCode} from '../registry/files.js';
import {
  listUsageFiles,
  ownName,
  readUsageFile,
  removeUsageFile,
  sumByDay,
  takeUsageFile,
  usageDaysKept,
  writeUsageFile,
} from '../registry/usage-files.js';
import type {UsageFile, UsageFileName} from '../registry/usage-files.js';
import type {Log} from './log.js';

export interface UsageStoreOptions {
  /** The state folder. */
  readonly home: string;
  readonly aiId: string;
  /** Of this launch. */
  readonly uid: string;
  readonly log: Log;
  /** Whether the process that wrote a file is gone for certain. */
  readonly isGone?: (pid: number) => boolean;
}

export class UsageStore {
  readonly #options: UsageStoreOptions;
  readonly #isGone: (pid: number) => boolean;
  /** Launches whose counts are in our file of a day, while their own files may still be there. */
  readonly #includes = new Map<string, readonly string[]>();

  constructor(options: UsageStoreOptions) {
    this.#options = options;
    this.#isGone = options.isGone ?? isGone;
  }

  /**
   * Clears up: files that are too old go, and those of launches that are gone become part of ours, so that there are about
   * as many files as days. Never rejects: what can't be done is left for the next launch.
   */
  async open(today: string): Promise<void> {
    try {
      const files = listUsageFiles(this.#options.home, this.#options.aiId);
      const oldest = daysBefore(today, usageDaysKept - 1);
      await Promise.all(files.filter(({day}) => day < oldest).map(({name}) => this.#remove(name)));
      for (const [day, names] of byDay(files.filter(({day}) => day >= oldest))) {
        // One alone of an earlier day is as it should be.
        if (day === today || names.length > 1) await this.#takeOver(day, names);
      }
    } catch (error) {
      this.#options.log('warn', 'cannot read the usage', {error: messageOf(error)});
    }
  }

  /** What our file of `day` holds. */
  own(day: string): UsageCounts | undefined {
    const {home, aiId, uid} = this.#options;
    return quietly(() => readUsageFile(home, aiId, ownName(day, uid)))?.counts;
  }

  /** What other launches counted on `day`, and is not in our file. */
  others(day: string): UsageCounts | undefined {
    const {home, aiId, uid} = this.#options;
    const included = this.#includes.get(day) ?? [];
    const files = quietly(() => listUsageFiles(home, aiId)) ?? [];
    const read = files
      .filter(file => file.day === day && file.uid !== uid && !included.includes(file.uid))
      .flatMap(({name}) => quietly(() => readUsageFile(home, aiId, name)) ?? []);
    return sumByDay(read).get(day);
  }

  /** @throws {TektonError} nothing has changed */
  async save(day: string, counts: UsageCounts, includes = this.#includes.get(day) ?? []): Promise<void> {
    const {home, aiId, uid} = this.#options;
    await writeUsageFile(home, aiId, {day, uid, pid: process.pid, includes, counts});
  }

  async #takeOver(day: string, names: readonly UsageFileName[]): Promise<void> {
    const {home, aiId, uid} = this.#options;
    const taken: {name: string; file: UsageFile}[] = [];
    for (const found of names) {
      const file = found.uid === uid ? undefined : readUsageFile(home, aiId, found.name);
      if (file === undefined || !this.#isGone(file.pid)) continue;
      const name = takeUsageFile(home, aiId, found, uid);
      if (name !== undefined) taken.push({name, file});
    }
    if (taken.length === 0) return;
    const sum = new Tally(this.own(day));
    for (const counts of sumByDay(taken.map(({file}) => file)).values()) sum.add(counts);
    const includes = [...new Set(taken.flatMap(({file}) => [file.uid, ...file.includes]))];
    // Only what is written is included: until then the files taken count for themselves.
    await this.save(day, sum.counts, includes);
    await Promise.all(taken.map(({name}) => this.#remove(name)));
    const left = new Set(listUsageFiles(home, aiId).flatMap(file => (file.day === day ? [file.uid] : [])));
    this.#includes.set(
      day,
      includes.filter(one => left.has(one)),
    );
  }

  async #remove(name: string): Promise<void> {
    const {home, aiId, log} = this.#options;
    await removeUsageFile(home, aiId, name).catch((error: unknown) => {
      log('warn', 'cannot remove counters', {file: name, error: messageOf(error)});
    });
  }
}

function byDay(files: readonly UsageFileName[]): ReadonlyMap<string, readonly UsageFileName[]> {
  const days = new Map<string, UsageFileName[]>();
  for (const file of files) days.set(file.day, [...(days.get(file.day) ?? []), file]);
  return days;
}

function daysBefore(day: string, count: number): string {
  return new Date(Date.parse(`${day}T00:00:00Z`) - count * 24 * 3_600_000).toISOString().slice(0, 10);
}

/** A pid that somebody else has by now looks alive: then the file is left for another time. */
function isGone(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return errorCode(error) === 'ESRCH';
  }
}

function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined; // it can't be read now: it counts again when it can
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
