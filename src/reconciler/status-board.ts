/** What is said of the fleets: statuses written when they differ, told to listeners, and turns of Ready noticed. */
import {condition, isTrue} from '../api/conditions.js';
import type {Condition} from '../api/conditions.js';
import {describeError} from '../api/errors.js';
import {formatVersion} from '../api/types.js';
import type {FleetStatus, NamedStatus, SpecialistStatus} from '../api/types.js';
import type {EventLog} from './events.js';
import {fleetId} from './fleets.js';
import type {Fleet, Fleets} from './fleets.js';
import {gateError, isAsDeclared} from './health-gate.js';
import type {ModelMonitor} from './models.js';
import type {FleetKey, Ports} from './ports.js';
import {countsOf} from './rollup.js';
import type {Specialist} from './specialist.js';
import type {Specialists} from './specialists.js';
import {computeStatus} from './status.js';

export interface StatusBoardOptions {
  readonly ports: Pick<Ports, 'clock' | 'store' | 'log'>;
  readonly specialists: Specialists;
  readonly fleets: Fleets;
  readonly models: ModelMonitor;
  readonly events: EventLog;
  /** A specialist is Ready that was not, or that we had not seen so yet. */
  readonly becameReady: (specialist: Specialist) => void;
}

/** What changes within so short a time, in ms, is said in one write. */
const gatherMs = 5;
/** After a write the next one rests this long, ms; and of any longer time than a burst a tenth at most goes into writing. */
const restMs = 25;
const restFactor = 9;
/** A few writes that follow each other, as of a worker's end and its return, owe their rest afterwards, ms. */
const burstMs = 500;
/** However long a write took: the machine may have been suspended in the middle of it. */
const longestRestMs = 2000;
/** Until a status that could not be written is written again, ms. */
const retryMs = 2000;

export class StatusBoard {
  readonly #options: StatusBoardOptions;
  readonly #listeners = new Set<(status: FleetStatus) => void>();
  readonly #dirty = new Set<string>();
  readonly #written = new Map<string, string>();
  readonly #readyRevisions = new Map<string, string>();
  readonly #knownReady = new WeakSet<Specialist>();
  #flushing: Promise<void> = Promise.resolve();
  #cancelFlush: (() => void) | undefined;
  #isFlushing = false;
  /** Monotonic ms before which nothing is written. */
  #restUntil = 0;
  /** Monotonic ms until which the rest reaches that the writes of now have earned. */
  #owedUntil = 0;
  #open = false;
  #settling = false;

  constructor(options: StatusBoardOptions) {
    this.#options = options;
  }

  /** Nothing is said before: what an earlier controller found Ready is not unready because we haven't looked yet. */
  open(): void {
    this.#open = true;
    for (const fleet of this.#options.fleets.all.values()) this.touch(fleet.key);
  }

  /** Something about this fleet may have changed. */
  touch(key: FleetKey): void {
    this.#dirty.add(fleetId(key));
    if (this.#open && !this.#isFlushing) this.#flushSoon();
  }

  /** Calls back with every fleet's status now and after each change, until the returned function is called. */
  subscribe(listener: (status: FleetStatus) => void): () => void {
    this.#listeners.add(listener);
    for (const fleet of this.#options.fleets.all.values()) listener(this.#look(fleet));
    return () => this.#listeners.delete(listener);
  }

  /** Who is told no here is woken by `becameReady`, even if nobody else ever saw that it wasn't. */
  isReady(specialist: Specialist): boolean {
    const ready = isTrue(this.#statusOf(specialist).conditions, 'Ready');
    if (!ready) this.#knownReady.delete(specialist);
    return ready;
  }

  /** Why not everything of a fleet that is to run is Ready as declared, in words; undefined: it is. */
  whyNotReady(key: FleetKey): string | undefined {
    const {specialists, fleets} = this.#options;
    const all = specialists.inFleet(key);
    const known = new Map(all.map(({aiId, desired}) => [aiId, desired?.generation]));
    for (const {aiId, name, generation} of fleets.all.get(fleetId(key))?.record.specialists ?? []) {
      // Its record has been read, and nobody has come to it yet.
      if (known.get(aiId) !== generation) return `${name} is not looked at yet`;
    }
    for (const specialist of all) {
      const {desired, off, aiId} = specialist;
      if (off && !specialist.worker) continue;
      const name = desired?.name ?? aiId;
      if (!desired || off) return `${name} is being stopped`;
      const {conditions, observedGeneration} = this.#statusOf(specialist);
      const [ready, progressing] = [condition(conditions, 'Ready'), condition(conditions, 'Progressing')];
      if (progressing?.status === 'True') return `${name} is Progressing: ${progressing.message}`;
      if (ready?.status !== 'True') return `${name} is not Ready: ${ready?.reason ?? 'NotChecked'}`;
      if (observedGeneration < desired.generation) return `${name} does not run as declared yet`;
    }
    return undefined;
  }

  /** Writes what is still to be written. */
  async settle(): Promise<void> {
    this.#settling = true;
    this.#cancelFlush?.();
    await this.#flushing;
    await this.#flush();
  }

  /** At once after a quiet time, for somebody may wait for it. */
  #flushSoon(): void {
    this.#flushAfter(Math.max(gatherMs, this.#restUntil - this.#options.ports.clock.monotonic()));
  }

  #flushAfter(ms: number): void {
    if (this.#settling) return;
    this.#cancelFlush ??= this.#options.ports.clock.after(ms, () => {
      this.#cancelFlush = undefined;
      this.#flushing = this.#flushing.then(() => this.#flush());
    });
  }

  async #flush(): Promise<void> {
    const {fleets, ports} = this.#options;
    const dirty = [...this.#dirty];
    const began = ports.clock.monotonic();
    this.#dirty.clear();
    this.#isFlushing = true;
    for (const id of dirty) {
      const fleet = fleets.all.get(id);
      if (!fleet) continue;
      const status = this.#look(fleet);
      const text = JSON.stringify({...status, syncedAt: ''});
      if (text === this.#written.get(id)) continue;
      this.#written.set(id, text);
      // Who begins to listen during the write is told what is newer than this.
      const listeners = [...this.#listeners];
      try {
        await ports.store.writeStatus(status);
      } catch (error) {
        ports.log.warn({fleet: id, error: describeError(error)}, 'cannot write the status');
        this.#written.delete(id);
        this.#dirty.add(id);
        this.#flushAfter(retryMs);
      }
      for (const listener of listeners) if (this.#listeners.has(listener)) listener(status);
    }
    const now = ports.clock.monotonic();
    const owed = Math.max(now, this.#owedUntil + (now - began)); // while it wrote, it did not rest
    this.#owedUntil = owed + Math.min(longestRestMs, (now - began) * restFactor);
    this.#restUntil = Math.max(now + restMs, this.#owedUntil - burstMs);
    this.#isFlushing = false;
    if (this.#dirty.size > 0) this.#flushSoon();
  }

  /** Computes a fleet's status and remembers it: the next one's transition times follow from it. */
  #look(fleet: Fleet): FleetStatus {
    const {key, record, statusBefore, sourceError, revision: found} = fleet;
    const {specialists, ports, events} = this.#options;
    const {name, namespace} = record;
    // The record keeps the commit that last changed it.
    const known = record.source.type === 'git' ? (found ?? statusBefore?.revision) : undefined;
    const revision = known ?? record.revision;
    const sorted = [...specialists.inFleet(key)].sort((a, b) => (a.aiId < b.aiId ? -1 : 1));
    const named = sorted.flatMap((specialist): readonly NamedStatus[] => {
      const who = specialist.who();
      if (!who) return [];
      const status = this.#statusOf(specialist);
      this.#noticeReady(specialist, status);
      this.#noticeBudget(specialist, status);
      this.#noticeMoved(specialist);
      specialist.status = status;
      return [{...who, status}];
    });
    const syncedAt = ports.clock.iso();
    const error = sourceError ?? gateError(record);
    const lastError = events.lastError(key) ?? statusBefore?.lastError;
    const status: FleetStatus = {
      ...{formatVersion, name, namespace, syncedAt},
      ...(revision !== undefined && {revision}),
      counts: countsOf(named.map(({status}) => status)),
      ...(lastError && {lastError}),
      ...(error && {sourceError: error}),
      specialists: named,
    };
    const readyRevision = this.#noticeRevision(fleet, status);
    return readyRevision === undefined ? status : {...status, readyRevision};
  }

  /** Once for each commit: what was told is in the status, and that outlives the controller. */
  #noticeRevision({key, record, statusBefore}: Fleet, status: FleetStatus): string | undefined {
    const {revision, counts} = status;
    if (record.source.type !== 'git') return undefined;
    const before = this.#readyRevisions.get(fleetId(key)) ?? statusBefore?.readyRevision;
    if (revision === undefined || revision === before || !isAsDeclared(record, status)) return before;
    this.#readyRevisions.set(fleetId(key), revision);
    const message = `${revision.slice(0, 12)} is in force: ${counts.ready} of ${counts.enabled} enabled are Ready`;
    this.#options.events.add({type: 'Normal', reason: 'RevisionReady', message, key, revision});
    return revision;
  }

  #statusOf(specialist: Specialist): SpecialistStatus {
    const check = this.#options.models.check(specialist.id);
    const pull = this.#options.models.pull(specialist.id);
    const facts = {...specialist.facts(check), ...(pull && {pull})};
    return computeStatus(facts, specialist.status, this.#options.ports.clock.iso());
  }

  /** The model behind a name is another one than the digest that was declared. */
  #noticeMoved(specialist: Specialist): void {
    const check = this.#options.models.check(specialist.id);
    const warning = check?.available === true ? check.warning : undefined;
    const before = specialist.status && condition(specialist.status.conditions, 'ModelAvailable')?.message;
    if (warning === undefined || before?.includes(warning)) return;
    this.#options.events.of(specialist, 'Warning', 'ModelMoved', warning);
  }

  /** Its own model went away or came back while a fallback answers. */
  #noticeFallback(specialist: Specialist, conditions: readonly Condition[]): void {
    const {events} = this.#options;
    const ready = condition(conditions, 'Ready');
    const before = specialist.status && condition(specialist.status.conditions, 'Ready');
    if (ready?.reason === 'Fallback' && before?.reason !== 'Fallback') {
      events.of(specialist, 'Warning', 'FellBack', ready.message);
    }
    if (before?.reason === 'Fallback' && ready?.reason === 'Ready') {
      events.of(specialist, 'Normal', 'ModelRecovered', condition(conditions, 'ModelAvailable')?.message ?? '');
    }
  }

  /** Once a day: what was told is in the status, and that outlives the controller. */
  #noticeBudget(specialist: Specialist, {budget}: SpecialistStatus): void {
    const before = specialist.status?.budget;
    if (budget?.exceeded !== true || (before?.exceeded === true && before.day === budget.day)) return;
    const effect = budget.mode === 'hard' ? 'refused until midnight UTC' : 'answered all the same';
    const message = `${budget.message ?? 'the budget was spent'}; chats are ${effect}`;
    this.#options.events.of(specialist, 'Warning', 'BudgetExceeded', message);
  }

  #noticeReady(specialist: Specialist, {conditions}: SpecialistStatus): void {
    const {events, becameReady} = this.#options;
    const ready = isTrue(conditions, 'Ready');
    const before = specialist.status !== undefined && isTrue(specialist.status.conditions, 'Ready');
    if (ready && !before) events.of(specialist, 'Normal', 'BecameReady', 'a chat would be answered now');
    this.#noticeFallback(specialist, conditions);
    if (!ready && before && specialist.worker && !specialist.stopping) {
      events.of(specialist, 'Warning', 'BecameNotReady', condition(conditions, 'Ready')?.message ?? '');
    }
    // Not by `before`: an earlier controller's word wakes nobody here.
    if (ready && !this.#knownReady.has(specialist)) becameReady(specialist);
    if (ready) this.#knownReady.add(specialist);
    else this.#knownReady.delete(specialist);
  }
}
