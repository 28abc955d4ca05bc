/**
 * A line of processes before something that only so many may use at once: a model server with few slots. First come
 * first served, without anybody who would have to run for it.
 *
 * Each that wants a turn puts a ticket, an empty file, into the line's folder. Its name begins with a number higher than
 * every number there. It has its turn while fewer than `limit` tickets with lower numbers are there, and takes its ticket
 * away when it is done. A ticket says which process it is of, so whoever waits removes those of the dead.
 *
 * Never more than `limit` have their turn: of those that have it, let T be the one with the highest number. The others
 * were there before T came (below), and are there still, so T saw them all, and had its turn nevertheless: they are
 * fewer than `limit`.
 *
 * Two that come at once can't end up in the wrong order: after it has put its ticket there, each looks once more, and one
 * that finds a higher number takes its own away and comes anew. So whoever of two living tickets has the higher number
 * looked at the folder, to count those before it, after the other was in it.
 */
import {closeSync, mkdirSync, openSync, readdirSync, unlinkSync, watch} from 'node:fs';
import type {FSWatcher} from 'node:fs';
import {join} from 'node:path';
import type {ProcessIdentity} from '../api/types.js';
import {errorCode, fileError} from './files.js';
import {statePaths} from './paths.js';
import {identify, processRow} from './processes.js';
import {retryDelayMs, sleep} from './waiting.js';

export interface TurnOptions {
  /** The state folder: a line is for all processes of one. */
  readonly home: string;
  /** What is waited for: those who name the same stand in one line. */
  readonly server: string;
  /** How many may have their turn at once. Where others say otherwise, each keeps to its own. */
  readonly limit: number;
  /** An ai id; for people who look into the folder. */
  readonly who: string;
  readonly signal: AbortSignal;
}

/**
 * Waits for a turn.
 *
 * @returns ends the turn; calling it again does nothing. The end of this process ends it, too.
 * @throws {TektonError} the folder can't be written
 * @throws the signal's reason
 */
export async function takeTurn({home, server, limit, who, signal}: TurnOptions): Promise<() => void> {
  const folder = join(statePaths(home).slots, encodeURIComponent(server));
  self ??= await identify(process.pid);
  if (self === undefined) throw new Error('internal error: this process is not in the process table');
  try {
    for (;;) {
      signal.throwIfAborted();
      const ticket = await comeInto(folder, who, signal);
      if (await isItsTurn(ticket, limit, signal)) return ticket.leave;
      // Somebody cleared the folder away, its ticket included: it comes anew.
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw fileError(`cannot wait in ${folder}`, error);
  }
}

let self: ProcessIdentity | undefined;

interface Ticket {
  readonly folder: string;
  readonly name: string;
  /** Tickets before it that may still be there. None is ever added. */
  readonly before: Set<string>;
  readonly leave: () => void;
}

/** Puts a ticket behind all others. */
async function comeInto(folder: string, who: string, signal: AbortSignal): Promise<Ticket> {
  for (let attempt = 0; ; attempt++) {
    const name = nameAfter(list(folder).at(-1), who);
    const leave = put(folder, name);
    const names = listOr(folder, leave);
    if (names.at(-1) === name) return {folder, name, before: new Set(names.slice(0, -1)), leave};
    const isLast = !names.some(other => other > name);
    // A higher number came at the same moment; or, not there at all, it was cleared away.
    leave();
    if (!isLast) await sleep(retryDelayMs(attempt), signal);
  }
}

/** False: the ticket is gone. @throws the signal's reason, or an error; the ticket is taken away then */
async function isItsTurn(ticket: Ticket, limit: number, signal: AbortSignal): Promise<boolean> {
  const {before, leave} = ticket;
  let watcher: Watch | undefined;
  try {
    for (;;) {
      if (before.size < limit) return true;
      // Before the look: what changes after it is noticed.
      watcher ??= watchFor(ticket);
      if (!look(ticket)) return false;
      if (before.size >= limit) await removeDead(ticket, limit);
      if (before.size < limit) return true;
      await watcher.changed(lookAgainMs(before.size - limit), signal);
    }
  } catch (error) {
    leave();
    throw error;
  } finally {
    watcher?.close();
  }
}

/** Forgets tickets that were taken away. False: its own was, too. */
function look({folder, name, before}: Ticket): boolean {
  const there = new Set(list(folder));
  for (const other of before) if (!there.has(other)) before.delete(other);
  return there.has(name);
}

/**
 * Takes away tickets before it whose process is gone: their names are never used again. The next in line looks at all
 * before it, for any of them makes room. The others look no further than to the nearest that lives, which does the same:
 * so every ticket of the dead is found, and a look is cheap however long the line is.
 */
async function removeDead({folder, before}: Ticket, limit: number): Promise<void> {
  const looksAtAll = before.size === limit;
  for (const name of [...before].reverse()) {
    const owner = ownerOf(name);
    if (owner !== undefined && (await isDead(owner))) {
      remove(folder, name);
      before.delete(name);
    } else if (!looksAtAll) return;
  }
}

interface Owner {
  readonly pid: number;
  readonly startTime: string;
  readonly boot: string;
}

async function isDead({pid, startTime, boot}: Owner): Promise<boolean> {
  if (boot !== bootOf(self)) return true;
  if (pid === process.pid) return startTime !== encodeURIComponent(self?.startTime ?? '');
  try {
    const row = await processRow(pid);
    return row === undefined || /^[ZX]/.test(row.state) || encodeURIComponent(row.startTime) !== startTime;
  } catch {
    return false; // a process table that can't be read says nothing
  }
}

/** "000000000042.athena-ai.1234-56789-3f2a9c01": number, ai id, pid, start time and the beginning of the boot id. */
const ticketPattern = /^(\d{12})\.(.+)\.(\d+)-([^-.]+)-([0-9A-Za-z]+)$/;

function nameAfter(last: string | undefined, who: string): string {
  const number = Number(ticketPattern.exec(last ?? '')?.[1] ?? 0) + 1;
  const startTime = encodeURIComponent(self?.startTime ?? '0');
  return `${String(number).padStart(12, '0')}.${who}.${process.pid}-${startTime}-${bootOf(self)}`;
}

function ownerOf(name: string): Owner | undefined {
  const [, , , pid, startTime, boot] = ticketPattern.exec(name) ?? [];
  if (pid === undefined || startTime === undefined || boot === undefined) return undefined;
  return {pid: Number(pid), startTime, boot};
}

function bootOf(identity: ProcessIdentity | undefined): string {
  return identity?.bootId.replace(/[^0-9A-Za-z]/g, '').slice(0, 8) || 'unknown';
}

/** Tickets in their order; what isn't one is none of ours. */
function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
      .filter(name => ticketPattern.test(name))
      .sort();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/** As `list`. @throws what it throws, after `leave` was called */
function listOr(folder: string, leave: () => void): readonly string[] {
  try {
    return list(folder);
  } catch (error) {
    leave();
    throw error;
  }
}

/** @returns takes it away again, once */
function put(folder: string, name: string): () => void {
  const path = join(folder, name);
  const make = (): void => closeSync(openSync(path, 'wx', 0o600));
  try {
    make();
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    mkdirSync(folder, {recursive: true, mode: 0o700});
    make();
  }
  let there = true;
  return () => {
    if (there) remove(folder, name);
    there = false;
  };
}

function remove(folder: string, name: string): void {
  try {
    unlinkSync(join(folder, name));
  } catch {
    // Gone already; or on a disk that takes no changes any more, where it ends with this process.
  }
}

interface Watch {
  /** Resolves when a ticket before it was taken away, or after `ms`. @throws the signal's reason */
  changed(ms: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** Where the kernel has no watch left to give, the look after `ms` has to do. */
function watchFor({folder, before}: Ticket): Watch {
  let changed = false;
  let wake: () => void = () => undefined;
  const tell = (): void => {
    changed = true;
    wake();
  };
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(folder, {persistent: false}, (_type, name) => {
      // Who comes after it is none of its business.
      if (name === null || before.has(name)) tell();
    }).on('error', tell);
  } catch {
    // as said above
  }
  return {
    changed: async (ms, signal) => {
      if (!changed) {
        await new Promise<void>((resolve, reject) => {
          const settle = (): void => {
            clearTimeout(timer);
            signal.removeEventListener('abort', leave);
            wake = () => undefined;
          };
          const leave = (): void => {
            settle();
            reject(signal.reason as Error);
          };
          wake = () => {
            settle();
            resolve();
          };
          const timer = setTimeout(() => wake(), ms);
          if (signal.aborted) leave();
          else signal.addEventListener('abort', leave, {once: true});
        });
      }
      changed = false;
    },
    close: () => watcher?.close(),
  };
}

/**
 * Tickets that are taken away wake us; those of a process that was killed have to be looked for. The next in line does
 * that often, the others are woken by what it takes away, and look now and then in case it was killed itself. Without
 * /proc each look is a run of `ps`.
 */
function lookAgainMs(ahead: number): number {
  const ms = ahead === 0 ? nextLooksMs : othersLookMs;
  return ms * (0.8 + 0.4 * Math.random());
}

const nextLooksMs = process.platform === 'linux' ? 100 : 1_000;
const othersLookMs = process.platform === 'linux' ? 1_000 : 10_000;
