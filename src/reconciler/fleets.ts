/** The declared side of the controller: fleet records, and the sources that they follow. */
import {describeError, InvalidInputError, SourceUnavailableError} from '../api/errors.js';
import type {EventReason} from '../api/events.js';
import type {FleetRecord, FleetStatus, LoadedFleet} from '../api/types.js';
import {isHold} from './admission.js';
import type {Held, HoldReason} from './admission.js';
import {Admissions} from './admissions.js';
import {declaresSame, MassPruneError, nextRecord, recordId} from './desired.js';
import {isRefused} from './health-gate.js';
import type {GateReason, NotReady} from './health-gate.js';
import {waitsFor} from './fleet-dependencies.js';
import type {WaitsFor} from './fleet-dependencies.js';
import {claimsOf} from './plan.js';
import type {Claims} from './plan.js';
import type {FleetKey, Ports, Watch} from './ports.js';

export interface Fleet {
  readonly key: FleetKey;
  record: FleetRecord;
  /** What an earlier controller wrote: counts and transition times go on from it. */
  readonly statusBefore: FleetStatus | undefined;
  sourceError: FleetStatus['sourceError'];
  /** What was said last of a change that waits, by an earlier controller perhaps; while one does. */
  heldFor: string | undefined;
  /** Something of it has been started, or ran already: its dependencies don't hold it back any more. */
  launched: boolean;
  /** Commit of its git source that it was last found to agree with. */
  revision: string | undefined;
  watch: Watch | undefined;
}

export interface FleetsOptions {
  readonly ports: Ports;
  readonly version: string;
  /** Follow the sources. false: only what was applied counts (a one-shot apply). */
  readonly follow: boolean;
  /** Only this fleet is looked at; absent: all of the state folder. */
  readonly only?: FleetKey;
  /** The record is another one than before, or its source's state is. */
  readonly changed: (fleet: Fleet) => void;
  readonly event: (
    fleet: Fleet,
    type: 'Normal' | 'Warning',
    reason: EventReason,
    message: string,
    revision?: string,
  ) => void;
  /** Whether a worker of the fleet is in hand. */
  readonly runs: (key: FleetKey) => boolean;
  /** Why a fleet isn't as declared and Ready, in words; undefined: it is. */
  readonly whyNotReady: (key: FleetKey) => string | undefined;
  /** What is in force of a fleet from a repository may be another than the repository says: it is to be read again. */
  readonly mayGo?: (fleet: Fleet) => void;
  /** Who is not Ready, by its last status. */
  readonly notReady?: (key: FleetKey) => NotReady;
  /** The record is the same, what is said of its source is not. */
  readonly touched: (fleet: Fleet) => void;
}

/** What a source says of a fleet. */
export interface Declaration {
  readonly key: FleetKey;
  readonly loaded: LoadedFleet;
  /** `appliedAt` of the record that stood there before the source was read; undefined: there was none. */
  readonly since: string | undefined;
  /** What the event says where it changes something. */
  readonly what?: string;
  /** Done before it is taken over, and not for what is held or refused. */
  readonly prepare?: () => Promise<void>;
  /** When the source is to end (ISO 8601): what it brings, or changes, ends with it. */
  readonly expiresAt?: string | undefined;
}

/** What is wrong with a fleet's source. */
export type SourceProblem = Pick<NonNullable<FleetStatus['sourceError']>, 'reason' | 'message'>;

/**
 * `outdated`: somebody applied after the source was read, so it has to be read again. `unwanted`: it was stopped, or
 * its record is gone. `refused`: it was rolled back, and the source says nothing new.
 */
export type TakenOver = 'changed' | 'unchanged' | 'held' | 'outdated' | 'unwanted' | 'refused';

type ErrorReason = Exclude<NonNullable<Fleet['sourceError']>['reason'], HoldReason | GateReason>;

/** A watch prunes only what was missing at two readings this far apart, ms: a half-written file can be valid. */
const secondReadingMs = 1000;
const retryMs = 2000;

export class Fleets {
  readonly all = new Map<string, Fleet>();
  /** Every fleet of the state folder, those included that we don't act for: their claims count. */
  #records: readonly FleetRecord[] = [];
  #turn: Promise<void> = Promise.resolve();
  readonly #options: FleetsOptions;
  readonly #reloading = new Map<string, Promise<void>>();
  readonly #cancels = new Set<() => void>();
  readonly #admissions: Admissions;
  /** By fleet: cancels the next look at whether what waits may go. */
  readonly #looksAgain = new Map<string, () => void>();
  #closed = false;

  constructor(options: FleetsOptions) {
    this.#options = options;
    this.#admissions = new Admissions(options.ports);
  }

  /** @throws {TektonError} when a record can't be read; then nothing was changed here. */
  load(): Promise<void> {
    return this.#inTurn(() => this.#loadOnce());
  }

  /** Records are read and written one after the other: what was read earlier never stands over what was written later. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const before = this.#turn.catch(() => undefined); // whoever asked for that one was told
    this.#turn = before.then(work);
    return this.#turn;
  }

  async #loadOnce(): Promise<void> {
    const {only, ports} = this.#options;
    this.#records = await ports.store.readFleets();
    const meant = this.#records.filter(
      ({name, namespace}) => !only || (only.fleet === name && only.namespace === namespace),
    );
    // The known ones first, while what was read is still what stands there: a new one's watch takes a while.
    const isKnown = (record: FleetRecord): boolean => this.all.has(recordId(record));
    for (const record of [...meant.filter(isKnown), ...meant.filter(r => !isKnown(r))]) await this.#adopt(record);
  }

  /** Whether the fleet had a record when they were last read. */
  hasRecord(key: FleetKey): boolean {
    return this.#records.some(record => recordId(record) === fleetId(key));
  }

  /** Forgets a fleet whose record is gone for good. */
  async drop(key: FleetKey): Promise<void> {
    const fleet = this.all.get(fleetId(key));
    this.all.delete(fleetId(key));
    await fleet?.watch?.close();
  }

  /** Reads the records where another one stands there than was last read, or one does no longer. @throws as `load` */
  async loadIfOthers(): Promise<void> {
    const names = (records: readonly FleetRecord[]): string => records.map(recordId).sort().join();
    const before = names(this.#records);
    if (names(await this.#options.ports.store.readFleets()) !== before) await this.load();
  }

  /** What other fleets have: of two that declare the same, the first in the order of names keeps it. */
  claimsAgainst({key}: Fleet): Claims {
    return claimsOf(this.#records.filter(record => !record.stopped && recordId(record) < fleetId(key)));
  }

  /** Goes through the sources once: they may have changed while nobody watched. */
  async reloadAll(): Promise<void> {
    if (this.#options.follow) await Promise.all([...this.all.keys()].map(id => this.reload(id)));
  }

  /** Reads a fleet's source again and applies it; one reading at a time, errors end up on the fleet's status. */
  reload(id: string): Promise<void> {
    const running = this.#reloading.get(id) ?? Promise.resolve();
    const next = running
      .then(() => this.#reloadOnce(id))
      .finally(() => {
        if (this.#reloading.get(id) === next) this.#reloading.delete(id);
      });
    this.#reloading.set(id, next);
    return next;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const cancel of [...this.#cancels, ...this.#looksAgain.values()]) cancel();
    await Promise.all([...this.all.values()].map(async ({watch}) => watch?.close()));
    await Promise.all(this.#reloading.values());
  }

  async #adopt(record: FleetRecord): Promise<void> {
    const key = {namespace: record.namespace, fleet: record.name};
    const known = this.all.get(fleetId(key));
    if (known) {
      const isOthers = known.record.appliedAt !== record.appliedAt || known.record.stopped !== record.stopped;
      if (isOthers) known.sourceError = undefined;
      const isLifted = known.record.gate?.refused !== undefined && record.gate?.refused === undefined;
      known.record = record;
      if (record.stopped || !record.enabled) known.launched = false;
      known.watch?.update(record);
      this.#options.changed(known);
      if (isLifted && this.#options.follow) this.#readAgain(known);
      // A command let go of a specialist, say: nobody watches a repository for that.
      else if (isOthers && record.source.type === 'git') this.#readAgain(known);
      // Watching may have failed before, or its source was standard input.
      return this.#follow(known);
    }
    const statusBefore = await this.#options.ports.store.readStatus(key);
    const before = statusBefore?.sourceError;
    const heldFor = isHold(before) ? before?.message : undefined;
    const fleet: Fleet = {
      key,
      record,
      statusBefore,
      sourceError: undefined,
      heldFor,
      launched: false,
      revision: undefined,
      watch: undefined,
    };
    this.all.set(fleetId(key), fleet);
    await this.#follow(fleet);
    this.#options.changed(fleet);
  }

  /** Watches its files, unless that is done already. */
  async #follow(fleet: Fleet): Promise<void> {
    if (fleet.watch || !this.#options.follow || fleet.record.source.type !== 'files') return;
    fleet.watch = await this.#options.ports.sources.watch(fleet.record, () => {
      if (!fleet.record.stopped) void this.reload(fleetId(fleet.key));
    });
  }

  async #reloadOnce(id: string): Promise<void> {
    const fleet = this.all.get(id);
    if (!fleet || this.#closed || fleet.record.stopped || fleet.record.source.type !== 'files') return;
    const {appliedAt} = fleet.record;
    try {
      const loaded = await this.#readTwiceIfShorter(fleet);
      if (!loaded || this.#closed) return;
      const result = await this.takeOver({key: fleet.key, loaded, since: appliedAt});
      if (result === 'outdated') void this.reload(id);
      if (result === 'held') return;
      if (fleet.sourceError) this.#options.event(fleet, 'Normal', 'SourceRecovered', 'the source is valid again');
      this.#setError(fleet, undefined);
    } catch (error) {
      this.#fail(fleet, error);
    }
  }

  /**
   * Takes over what a source declares of a fleet: the one way in, whoever read it. Writes nothing where nothing differs;
   * a fleet that was stopped stays as it is, and what no record stands for yet is new. What has to wait is said in the
   * fleet's status, and is to be read again when it may go.
   *
   * @throws {ConflictError} another source owns it, or a mass prune is held; nothing was written then
   */
  async takeOver(declaration: Declaration): Promise<TakenOver> {
    if (await this.#waits(declaration)) return 'held';
    if (this.#mayTake(declaration)) await declaration.prepare?.();
    let result: TakenOver = 'unchanged';
    await this.#inTurn(async () => {
      result = await this.#takeOverOnce(declaration);
    });
    this.#release(declaration.key, result);
    return result;
  }

  /** As far as the record that was last read tells. */
  #mayTake({key, loaded, since}: Declaration): boolean {
    const record = this.all.get(fleetId(key))?.record;
    return !record || (!record.stopped && record.appliedAt === since && !isRefused(record, loaded));
  }

  async #waits({key, loaded, since}: Declaration): Promise<boolean> {
    const fleet = this.all.get(fleetId(key));
    if (!fleet || fleet.record.stopped || fleet.record.appliedAt !== since) return false;
    if (isRefused(fleet.record, loaded)) return false; // it waits for no window
    const options = {confirmed: false, takeOver: false, prune: true, appliedAt: since, version: this.#options.version};
    const next = nextRecord(fleet.record, loaded, options);
    const admission = await this.#admissions.of(fleet.record, next, () => this.#waitsFor(fleet, next));
    if (!admission.admit && !this.#closed) this.#hold(fleet, admission);
    return !admission.admit;
  }

  /** Nothing of a fleet that doesn't run yet is changed by a change: its launch waits instead. */
  async #waitsFor(fleet: Fleet, next: FleetRecord): Promise<WaitsFor | undefined> {
    if (!this.#isLaunched(fleet)) return undefined;
    const found = this.#dependencyOf(next);
    if (found) return found;
    for (const id of next.dependsOn ?? []) {
      const dependency = this.all.get(id);
      if (!dependency || !(await this.#isBehind(dependency))) continue;
      void this.reload(id).then(() => this.lookAgain(fleet));
      return {reason: 'DependencyNotReady', message: `waits for fleet ${id}: its own source has changed`};
    }
    return undefined;
  }

  /** Two files may have been saved at once: the dependency's is taken over first. */
  async #isBehind({record}: Fleet): Promise<boolean> {
    if (record.source.type !== 'files') return false;
    try {
      const options = {confirmed: true, takeOver: false, prune: true, appliedAt: '', version: this.#options.version};
      return !declaresSame(record, nextRecord(record, await this.#options.ports.sources.reload(record), options));
    } catch {
      return true;
    }
  }

  #dependencyOf(declared: FleetRecord): WaitsFor | undefined {
    const {follow, whyNotReady} = this.#options;
    if (!follow) return undefined;
    return waitsFor(declared, {
      records: this.#records,
      whyNotReady: id => {
        const fleet = this.all.get(id);
        if (!fleet) return 'it is not looked after yet';
        return fleet.sourceError ? `${fleet.sourceError.reason}: ${fleet.sourceError.message}` : whyNotReady(fleet.key);
      },
    });
  }

  /** Why nothing of the fleet is to be launched yet. What ran once is started again whatever becomes of the others. */
  launchWaitsFor(fleet: Fleet): WaitsFor | undefined {
    if (this.#isLaunched(fleet)) return undefined;
    const found = this.#dependencyOf(fleet.record);
    fleet.launched = !found;
    return found;
  }

  #isLaunched(fleet: Fleet): boolean {
    fleet.launched ||= this.#options.runs(fleet.key);
    return fleet.launched;
  }

  /** What waits of a fleet may go, perhaps: its source is read again. */
  lookAgain(fleet: Fleet): void {
    if (isHold(fleet.sourceError)) this.#readAgain(fleet);
  }

  #readAgain(fleet: Fleet): void {
    if (fleet.record.source.type === 'git') this.#options.mayGo?.(fleet);
    else void this.reload(fleetId(fleet.key));
  }

  #hold(fleet: Fleet, {reason, message, lookAgainMs}: Held): void {
    const id = fleetId(fleet.key);
    if (fleet.heldFor !== message) this.#options.event(fleet, 'Normal', 'ChangeHeld', message);
    fleet.heldFor = message;
    if (fleet.sourceError?.message !== message) {
      fleet.sourceError = {reason, message, at: isoNow(this.#options.ports)};
      this.#options.changed(fleet);
    }
    this.#looksAgain.get(id)?.();
    this.#looksAgain.set(
      id,
      this.#options.ports.clock.after(lookAgainMs, () => this.lookAgain(fleet)),
    );
  }

  /** Nothing of it waits any more. */
  #release(key: FleetKey, result: TakenOver): void {
    const id = fleetId(key);
    const fleet = this.all.get(id);
    this.#looksAgain.get(id)?.();
    this.#looksAgain.delete(id);
    if (fleet) fleet.heldFor = undefined;
    if (!fleet || !isHold(fleet.sourceError)) return;
    if (result === 'unchanged') {
      this.#options.event(fleet, 'Normal', 'ChangeWithdrawn', 'the source says again what is in force');
    }
    this.#setError(fleet, undefined);
  }

  async #takeOverOnce({
    key,
    loaded,
    since,
    what = 'took over a changed source',
    expiresAt,
  }: Declaration): Promise<TakenOver> {
    const {ports, version} = this.#options;
    let result: TakenOver = 'unchanged';
    const record = await ports.store.updateFleet(key, previous => {
      if (previous ? previous.stopped : since !== undefined) {
        result = 'unwanted';
        return previous;
      }
      // Somebody applied meanwhile, from a newer reading perhaps: ours must not undo that.
      if (previous?.appliedAt !== since) {
        result = 'outdated';
        return previous;
      }
      const appliedAt = isoNow(ports);
      if (previous && isRefused(previous, loaded)) {
        result = 'refused';
        return previous;
      }
      const notReady = this.#options.notReady?.(key) ?? {};
      const options = {confirmed: false, takeOver: false, prune: true, appliedAt, version, notReady};
      const next = nextRecord(previous, loaded, options);
      if (previous && sameContent(previous, next)) return previous;
      result = 'changed';
      return expiresAt === undefined ? next : nextRecord(previous, loaded, {...options, expiresAt});
    });
    if (record) await this.#recorded(key, record, {result, what});
    return result;
  }

  /** Changes a record for a reason of our own, which its source has not said. The same record: nothing is written. */
  async change(key: FleetKey, change: (record: FleetRecord) => FleetRecord): Promise<void> {
    await this.#inTurn(async () => {
      let result: TakenOver = 'unchanged';
      let isRolledBack = false;
      const record = await this.#options.ports.store.updateFleet(key, previous => {
        const next = previous && change(previous);
        if (next !== previous) result = 'outdated'; // as if another had written it
        isRolledBack = next?.gate?.refused !== undefined && next.gate.refused !== previous?.gate?.refused;
        return next;
      });
      if (record) await this.#recorded(key, record, {result, what: ''});
      const fleet = this.all.get(fleetId(key));
      // Its git source no longer stands as it said.
      if (fleet && isRolledBack && fleet.record.source.type === 'git') this.#options.mayGo?.(fleet);
    });
  }

  async #recorded(
    key: FleetKey,
    record: FleetRecord,
    {result, what}: {readonly result: TakenOver; readonly what: string},
  ): Promise<void> {
    const isKnown = this.#records.some(known => recordId(known) === recordId(record));
    this.#records = isKnown
      ? this.#records.map(known => (recordId(known) === recordId(record) ? record : known))
      : [...this.#records, record];
    const fleet = this.all.get(fleetId(key));
    if (!fleet) {
      await this.#adopt(record);
    } else {
      fleet.record = record;
      fleet.watch?.update(record);
      if (result !== 'unchanged' && result !== 'refused') this.#options.changed(fleet);
    }
    const taken = this.all.get(fleetId(key));
    if (taken && result === 'changed') {
      // Files may differ from the commit that their folder is at.
      const revision = record.source.type === 'git' ? record.revision : undefined;
      this.#options.event(taken, 'Normal', 'SourceApplied', what, revision);
    }
  }

  /**
   * What a git source has to say of one of its fleets; `undefined`: it agrees with `revision`. Its events are the git
   * source's own.
   *
   * @returns whether that is new
   */
  setProblem(fleet: Fleet, problem: SourceProblem | undefined, revision = fleet.revision): boolean {
    const isNew = (fleet.sourceError ?? fleet.statusBefore?.sourceError)?.message !== problem?.message;
    if (fleet.sourceError?.message === problem?.message && fleet.revision === revision) return false;
    fleet.sourceError = problem && {...problem, at: isoNow(this.#options.ports)};
    fleet.revision = revision;
    this.#options.touched(fleet);
    return isNew;
  }

  async #readTwiceIfShorter(fleet: Fleet): Promise<LoadedFleet | undefined> {
    const {sources} = this.#options.ports;
    const first = await sources.reload(fleet.record);
    if (missing(fleet.record, first).length === 0) return first;
    await this.#pause(secondReadingMs);
    if (this.#closed) return undefined;
    const second = await sources.reload(fleet.record);
    const same = missing(fleet.record, first).join() === missing(fleet.record, second).join();
    if (same) return second;
    void this.reload(fleetId(fleet.key));
    return undefined;
  }

  #pause(ms: number): Promise<void> {
    return new Promise(resolve => {
      const cancel = this.#options.ports.clock.after(ms, () => {
        this.#cancels.delete(stop);
        resolve();
      });
      const stop = (): void => {
        cancel();
        resolve();
      };
      this.#cancels.add(stop);
    });
  }

  #fail(fleet: Fleet, error: unknown): void {
    const reason = reasonOf(error);
    if (!reason) {
      this.#options.ports.log.warn(
        {fleet: fleetId(fleet.key), error: describeError(error)},
        'cannot take over the source',
      );
    }
    this.#setError(fleet, {reason: reason ?? 'SourceUnavailable', message: problemText(error)});
    // A lock that was busy, a disk that was full: nobody tells us when that is over.
    if (!reason) void this.#pause(retryMs).then(() => (this.#closed ? undefined : this.reload(fleetId(fleet.key))));
  }

  #setError(fleet: Fleet, error: {reason: ErrorReason; message: string} | undefined): void {
    if (fleet.sourceError?.message === error?.message) return;
    fleet.sourceError = error && {...error, at: isoNow(this.#options.ports)};
    if (error) this.#options.event(fleet, 'Warning', error.reason, error.message);
    this.#options.changed(fleet);
  }
}

export function fleetId(key: FleetKey): string {
  return `${key.namespace}/${key.fleet}`;
}

function missing(record: FleetRecord, loaded: LoadedFleet): readonly string[] {
  const declared = new Set(loaded.specialists.map(d => d.aiId));
  return record.specialists.filter(d => !declared.has(d.aiId)).map(d => d.aiId);
}

/** A commit that touches nothing of what is declared changes nothing. */
function sameContent(a: FleetRecord, b: FleetRecord): boolean {
  const content = (record: FleetRecord): string => JSON.stringify({...record, appliedAt: '', revision: undefined});
  return content(a) === content(b);
}

function reasonOf(error: unknown): ErrorReason | undefined {
  if (error instanceof InvalidInputError) return 'SourceInvalid';
  if (error instanceof MassPruneError) return 'MassPruneHeld';
  if (error instanceof SourceUnavailableError) return 'SourceUnavailable';
  return undefined;
}

function problemText(error: unknown): string {
  if (!(error instanceof InvalidInputError)) return describeError(error);
  return error.problems.map(p => `${p.file}:${p.line}:${p.column}: ${p.message}`).join('; ');
}

function isoNow(ports: Ports): string {
  return ports.clock.iso();
}
