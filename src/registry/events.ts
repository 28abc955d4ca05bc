/** `events.jsonl`: one line for each thing that happened. */
import {closeSync, readSync, statSync, writeSync} from 'node:fs';
import type {FleetEvent} from '../api/types.js';
import {errorCode, fileError} from './files.js';
import {withLock} from './locks.js';
import {statePaths} from './paths.js';
import type {StatePaths} from './paths.js';
import {NotOurFileError, openToAppend, readOwnText, renameOver, setAside} from './own-files.js';

/** At this size the file becomes `events.1.jsonl`, whose predecessor is dropped. */
const rotateAtBytes = 5 * 1024 * 1024;

export interface EventQuery {
  /** ISO 8601; events before it are left out. */
  readonly since?: string;
  /** The last so many of those that match. */
  readonly limit?: number;
  readonly aiId?: string;
}

export async function appendEvent(home: string, event: FleetEvent): Promise<void> {
  await appendEvents(home, [event]);
}

/**
 * Appends the events in one write, so that lines of several processes never mix. Not synced to disk.
 *
 * @throws {TektonError} with the system's reason (no space, no permission).
 */
export async function appendEvents(home: string, events: readonly FleetEvent[]): Promise<void> {
  if (events.length === 0) return;
  const paths = statePaths(home);
  const lines = events.map(lineOf).join('');
  const sizeBytes = await append(home, lines).catch((error: unknown) => {
    if (!(error instanceof NotOurFileError)) throw error;
    return appendToNew(home, lines, error);
  });
  // The lines are written: a rotation that fails is the next append's business.
  if (sizeBytes >= rotateAtBytes) await withLock(home, 'events', () => rotate(paths)).catch(() => undefined);
}

/** Events in the order they happened. Damaged lines (a crash in the middle of a write) are left out. */
export function readEvents(home: string, {since, limit, aiId}: EventQuery = {}): readonly FleetEvent[] {
  const {previousEvents, events} = statePaths(home);
  const from = since === undefined ? undefined : new Date(since).getTime();
  const found = [previousEvents, events]
    .flatMap(path => (readOwnText(path) ?? '').split('\n'))
    .flatMap(parseLine)
    .filter(event => aiId === undefined || event.aiId === aiId)
    .filter(event => from === undefined || new Date(event.at).getTime() >= from);
  return limit === undefined ? found : found.slice(Math.max(0, found.length - limit));
}

function lineOf(event: FleetEvent): string {
  return `${JSON.stringify(event)}\n`;
}

/** Size of the file afterwards, in bytes. */
async function append(home: string, lines: string): Promise<number> {
  const path = statePaths(home).events;
  const {fd, size} = openToAppend(path);
  try {
    try {
      const data = Buffer.from(endsTorn(fd, size) ? `\n${lines}` : lines);
      for (let done = 0; done < data.length;) done += writeSync(fd, data, done);
      return size + data.length;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw fileError(`cannot write ${path}`, error);
  }
}

/** Under the lock: of two that found something else in the file's place, the second finds a file. */
async function appendToNew(home: string, lines: string, found: NotOurFileError): Promise<number> {
  const {events} = statePaths(home);
  return withLock(home, 'events', () => {
    const movedTo = setAside(events);
    const notice: FleetEvent = {
      at: new Date().toISOString(),
      type: 'Warning',
      reason: 'FileSetAside',
      message: `${found.message}; it was moved to ${movedTo ?? 'nowhere'}`,
    };
    return append(home, movedTo === undefined ? lines : lineOf(notice) + lines);
  });
}

function endsTorn(fd: number, size: number): boolean {
  if (size === 0) return false;
  const last = Buffer.alloc(1);
  readSync(fd, last, 0, 1, size - 1);
  return last[0] !== 0x0a;
}

/** Under the lock: of two that found the file full, the second finds it rotated. */
function rotate({events, previousEvents}: StatePaths): void {
  try {
    if (statSync(events).size >= rotateAtBytes) renameOver(events, previousEvents);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw fileError(`cannot rotate ${events}`, error);
  }
}

function parseLine(line: string): readonly FleetEvent[] {
  if (line === '') return [];
  try {
    const event = JSON.parse(line) as FleetEvent | null; // written by appendEvents; checked for the two fields we use
    return typeof event?.at === 'string' && typeof event.reason === 'string' ? [event] : [];
  } catch {
    return [];
  }
}
