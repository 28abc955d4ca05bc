/**
 * Group commit across processes. Whoever holds the lock commits, in one write, what all the others want changed: they
 * hand it over as data (see request-file.ts) while they wait for the lock, so thirty-two writers make some thirty
 * changes a commit instead of thirty-two commits. Who finds the lock free takes the direct way, without such files.
 */
import {statSync} from 'node:fs';
import type {ProcessIdentity} from '../api/types.js';
import {ConflictError, TektonError} from '../api/errors.js';
import {LockLostError} from './kernel-lock.js';
import {contend, lockBusy} from './locks.js';
import type {Contender, HeldLock} from './locks.js';
import {statePaths} from './paths.js';
import {identify, isSame} from './processes.js';
import {OpenRequest, PostedRequest, changesFolder, nothingWritten, removeIfOld, requestPaths} from './request-file.js';
import {sleep} from './waiting.js';

/** Called right before the new file takes the place of the old one, with the name that it still has. Throws to call the commit off. */
export type Prepare<Outcome> = (temporary: string, outcomes: readonly Outcome[]) => void;

/** What is combined: changes of one file under one lock. */
export interface Work<Change, Outcome> {
  readonly home: string;
  readonly lock: string;
  readonly timeoutMs?: number;
  /** The guarded file. */
  readonly file: string;
  /** A change that another process handed over; undefined: not one that we know. */
  readonly parse: (value: unknown) => Change | undefined;
  /** Whether other processes can make the change: it and its outcome are JSON. */
  readonly isData: (change: Change) => boolean;
  /** Makes all changes, in order, in one commit. One that can't be made has an outcome that says so, and stops no other. */
  readonly commit: (
    changes: readonly Change[],
    lock: HeldLock,
    prepare: Prepare<Outcome>,
  ) => Promise<readonly Outcome[]>;
}

/** The holder of the lock had begun with the change when the time was up, and didn't say what became of it. */
export class OutcomeUnknownError extends ConflictError {
  override readonly name: string = 'OutcomeUnknownError';
}

interface Waiting<Change, Outcome> {
  readonly change: Change;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * How long a holder goes on committing for others once its own changes are made, and how long at most, in ms. It has the
 * registry in memory and its code is hot: a process that writes much had better stay than hand over.
 */
const helpMs = 50;
const mostHelpMs = 2_000;
/** How long to wait for the word of a holder that had begun when the time was up, in ms. */
const graceMs = 5_000;

export class Combiner<Change, Outcome> {
  private waiting: Waiting<Change, Outcome>[] = [];
  private running = false;
  private wake: () => void = () => undefined;
  /** How long other holders take to answer, in ms. */
  private typicalMs = 4;

  constructor(private readonly work: Work<Change, Outcome>) {}

  /**
   * Makes the change, together with whatever else waits, here or in other processes.
   *
   * @throws {LockBusyError} nothing was changed.
   * @throws {OutcomeUnknownError} it may have been made.
   */
  submit(change: Change): Promise<Outcome> {
    const result = new Promise<Outcome>((resolve, reject) => this.waiting.push({change, resolve, reject}));
    if (!this.running) void this.run();
    else this.wake();
    return result;
  }

  private async run(): Promise<void> {
    this.running = true;
    while (this.waiting.length > 0) await this.turn();
    this.running = false;
  }

  /** Until what waits has been answered. Never throws: errors go to who waits. */
  private async turn(): Promise<void> {
    const {home, lock: name, timeoutMs = 10_000} = this.work;
    const deadline = performance.now() + timeoutMs;
    const hand = new Hand<Change, Outcome>();
    try {
      const contender = await contend(home, name, {timeoutMs});
      try {
        await this.getIn(contender, hand, deadline);
      } finally {
        contender.leave();
      }
    } catch (error) {
      // Before the lock was had nothing was taken in hand, and all that wait share the fate.
      if (hand.isEmpty) hand.take(this.waiting.splice(0));
      hand.reject(error);
    }
  }

  /** Tries for the lock until it is had or another holder has made our changes. */
  private async getIn(contender: Contender, hand: Hand<Change, Outcome>, deadline: number): Promise<void> {
    const {home, lock: name, timeoutMs = 10_000} = this.work;
    let lastMs = deadline;
    for (;;) {
      const lock = await contender.tryHold();
      if (lock !== undefined) await this.hold(lock, hand);
      else if (hand.posted === undefined) await this.post(hand);
      if (lock !== undefined && hand.isEmpty) return;
      const answer = hand.look();
      if (answer === 'done') {
        this.typicalMs += 0.3 * (performance.now() - hand.postedMs - this.typicalMs);
        return;
      }
      if (answer === 'withdrawn') throw lockBusy(home, name, timeoutMs);
      if (performance.now() > lastMs) {
        if (hand.posted === undefined) throw lockBusy(home, name, timeoutMs);
        if (lastMs > deadline) throw outcomeUnknown(name, home, timeoutMs);
        hand.posted.withdraw();
        lastMs = deadline + graceMs;
        continue;
      }
      await sleep(this.pollDelayMs(hand));
    }
  }

  /**
   * Before the next look, in ms. An answer comes with the holder's next commit, about as fast as the last one did: looking
   * much earlier only takes the processor from who is working at it.
   */
  private pollDelayMs(hand: Hand<Change, Outcome>): number {
    const leftMs = hand.posted === undefined ? 0 : 0.8 * this.typicalMs - (performance.now() - hand.postedMs);
    const delayMs = Math.max(leftMs, this.typicalMs / 4, 1);
    return Math.min(delayMs, 20) * (0.7 + 0.3 * Math.random());
  }

  /** Hands over what waits in this process, if other processes can make it. */
  private async post(hand: Hand<Change, Outcome>): Promise<void> {
    const {home, lock, isData} = this.work;
    const owner = await ownIdentity();
    const all = [...hand.waiting, ...this.waiting];
    if (!all.every(({change}) => isData(change))) return;
    hand.take(this.waiting.splice(0));
    const changes = hand.waiting.map(({change}) => change);
    hand.postedMs = performance.now();
    hand.posted = PostedRequest.post(changesFolder(statePaths(home).run), lock, owner, changes);
  }

  /** Commits for everybody. Who was in hand before and is so afterwards has lost the lock with nothing written. */
  private async hold(lock: HeldLock, hand: Hand<Change, Outcome>): Promise<void> {
    const lastMs = performance.now() + mostHelpMs;
    let untilMs = 0;
    try {
      for (let helped = false; ;) {
        if (hand.posted === undefined) hand.take(this.waiting.splice(0));
        if (!hand.isEmpty) untilMs = Math.min(lastMs, performance.now() + helpMs);
        const served = await this.round(lock, hand);
        helped ||= served > 0;
        if (!helped || performance.now() > untilMs) break;
        // Those who were just answered come back soon: gathered for a moment they are one commit.
        if (served === 0) await this.moreToDo();
      }
    } catch (error) {
      // Others wait for the lock themselves and will meet the error, if it stays.
      if (!hand.isEmpty && !isLost(error, lock)) throw error;
    } finally {
      await lock.release();
    }
  }

  /** A millisecond, or until this process has a change to make. */
  private moreToDo(): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, 1);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** One commit. Returns how many requests of other processes it served. */
  private async round(lock: HeldLock, hand: Hand<Change, Outcome>): Promise<number> {
    const skipped = new Set<string>();
    for (;;) {
      const requests = await this.openRequests(skipped);
      const own = hand.posted === undefined ? hand.waiting : [];
      try {
        if (requests.length === 0 && own.length === 0) return 0;
        const {outcomes, commit} = await this.commit(lock, requests, own);
        for (const [index, {request}] of requests.entries()) {
          if (commit !== undefined) request.done(commit);
          else if (request.prepare(nothingWritten, outcomes.of[index] ?? [])) {
            // No file proves this word: said by a holder that was passed, it would stand against the next one's commit.
            lock.assertHeld();
            request.done(nothingWritten);
          }
        }
        if (hand.posted === undefined) hand.settle(outcomes.own);
        else hand.look();
        return requests.length;
      } catch (error) {
        if (!hasCause(error, CalledOffError)) throw error;
      } finally {
        for (const {request} of requests) request.close();
      }
    }
  }

  private async commit(
    lock: HeldLock,
    requests: readonly Handed<Change>[],
    own: readonly Waiting<Change, Outcome>[],
  ): Promise<{readonly outcomes: Divided<Outcome>; readonly commit: string | undefined}> {
    let commit: string | undefined;
    const changes = [...requests.flatMap(request => request.changes), ...own.map(({change}) => change)];
    const outcomes = await this.work.commit(changes, lock, (temporary, those) => {
      if (requests.length === 0) return;
      const name = commitName(temporary);
      if (name === undefined) throw new LockLostError(`lost the lock ${this.work.lock}: ${temporary} was removed`);
      const {of} = divide(requests, those);
      for (const [index, {request, skip}] of requests.entries()) {
        if (request.prepare(name, of[index] ?? [])) continue;
        skip();
        throw new CalledOffError();
      }
      commit = name;
    });
    return {outcomes: divide(requests, outcomes), commit};
  }

  /** What others wait for, oldest first. Says `done` where a holder that is gone had only that left to say. */
  private async openRequests(skipped: Set<string>): Promise<readonly Handed<Change>[]> {
    const {home, lock} = this.work;
    const open: Handed<Change>[] = [];
    try {
      for (const path of requestPaths(changesFolder(statePaths(home).run), lock)) {
        if (skipped.has(path)) continue;
        const request = OpenRequest.open(path);
        if (request === undefined) {
          removeIfOld(path);
          continue;
        }
        const changes = await this.openChanges(request);
        if (changes !== undefined) open.push({request, changes, skip: () => skipped.add(path)});
      }
      return open;
    } catch (error) {
      for (const {request} of open) request.close();
      throw error;
    }
  }

  /** What is to be made of the request; undefined: nothing, and it is closed. */
  private async openChanges(request: OpenRequest): Promise<readonly Change[] | undefined> {
    const {file, parse} = this.work;
    let changes: readonly (Change | undefined)[] | undefined;
    try {
      const made = request.state === 'closed' || request.prepared.size === 0 ? undefined : commitName(file);
      if (made !== undefined && request.prepared.has(made)) request.done(made);
      else if (!(await isSame(request.owner))) request.remove();
      else if (request.state === 'withdrawn') request.drop();
      else if (request.state === 'open') changes = request.changes.map(parse);
      if (changes?.every(change => change !== undefined)) return changes;
      request.close();
      return undefined;
    } catch (error) {
      request.close();
      throw error;
    }
  }
}

/** A request of another process with its changes. */
interface Handed<Change> {
  readonly request: OpenRequest;
  readonly changes: readonly Change[];
  /** It is no part of this round any more. */
  readonly skip: () => void;
}

interface Divided<Outcome> {
  /** By request. */
  readonly of: readonly (readonly Outcome[])[];
  readonly own: readonly Outcome[];
}

function divide<Outcome>(requests: readonly Handed<unknown>[], outcomes: readonly Outcome[]): Divided<Outcome> {
  let next = 0;
  const of = requests.map(({changes}) => outcomes.slice(next, (next += changes.length)));
  return {of, own: outcomes.slice(next)};
}

/** The changes of this process that are being made, and the file in which they were handed over. */
class Hand<Change, Outcome> {
  waiting: readonly Waiting<Change, Outcome>[] = [];
  posted: PostedRequest | undefined;
  /** performance.now() when it was handed over. */
  postedMs = 0;

  get isEmpty(): boolean {
    return this.waiting.length === 0;
  }

  take(more: readonly Waiting<Change, Outcome>[]): void {
    this.waiting = [...this.waiting, ...more];
  }

  /** Whether what was handed over has been answered; settles it. */
  look(): 'open' | 'done' | 'withdrawn' {
    const answer = this.posted?.answer();
    if (answer?.type === 'done') this.settle(answer.outcomes as readonly Outcome[]); // as this program wrote them
    return answer?.type ?? 'open';
  }

  settle(outcomes: readonly Outcome[]): void {
    for (const [index, {resolve, reject}] of this.waiting.entries()) {
      const outcome = outcomes[index];
      if (outcome === undefined) reject(new TektonError('internal error: a change was made, but not answered'));
      else resolve(outcome);
    }
    this.empty();
  }

  reject(error: unknown): void {
    for (const {reject} of this.waiting) reject(error);
    this.empty();
  }

  private empty(): void {
    this.waiting = [];
    this.posted?.close();
    this.posted = undefined;
  }
}

class CalledOffError extends Error {}

/** A file as one that was written once: the name stays with it when it is renamed or somebody writes into it. */
function commitName(path: string): string | undefined {
  const stat = statSync(path, {bigint: true, throwIfNoEntry: false});
  return stat && `${stat.dev}.${stat.ino}.${stat.birthtimeNs || stat.mtimeNs}`;
}

/** A holder that was passed finds its lock file replaced, or its temporary file gone. */
function isLost(error: unknown, lock: HeldLock): boolean {
  if (hasCause(error, LockLostError)) return true;
  try {
    lock.assertHeld();
    return false;
  } catch (lost) {
    return lost instanceof LockLostError;
  }
}

function hasCause(error: unknown, type: new (...args: never[]) => Error): boolean {
  if (error instanceof type) return true;
  return error instanceof Error && hasCause(error.cause, type);
}

let self: Promise<ProcessIdentity | undefined> | undefined;

/** This process as others see it. @throws {TektonError} it is not in the process table, or that can't be read now. */
export async function ownIdentity(): Promise<ProcessIdentity> {
  self ??= identify(process.pid).catch((error: unknown) => {
    self = undefined; // the next caller looks again
    throw error;
  });
  const identity = await self;
  if (identity === undefined) throw new TektonError('this process is not in the process table');
  return identity;
}

function outcomeUnknown(lock: string, home: string, timeoutMs: number): OutcomeUnknownError {
  return new OutcomeUnknownError(
    `waited ${timeoutMs} ms for a change under ${lock} in ${home}: who makes it had begun, and gave no answer`,
    {hint: 'Look whether it was made before you try again.'},
  );
}
