/**
 * The loop: what triggers a pass, and what a pass may reach. Level-based: every pass looks at what is declared and
 * what is there, takes one step, and says when to look again. It may be killed between any two steps; the next
 * controller observes and finishes.
 */
import {describeError} from '../api/errors.js';
import type {GitSourceRecord} from '../api/git-source.js';
import type {FleetStatus} from '../api/types.js';
import type {Worker} from '../runtime/runtime.js';
import {EventLog} from './events.js';
import {Fleets, fleetId} from './fleets.js';
import type {Fleet} from './fleets.js';
import {Gates} from './gates.js';
import {notReadyOf} from './health-gate.js';
import {GitFollower} from './git-follower.js';
import {Keeper} from './keeper.js';
import {Launcher} from './launcher.js';
import {ModelMonitor} from './models.js';
import {Ownerless} from './ownerless.js';
import {startOrder} from './order.js';
import type {FleetKey, Ports, SourceKey} from './ports.js';
import {KeyedQueue} from './queue.js';
import {registryFact, RegistrySync} from './registry-sync.js';
import {observe} from './specialist.js';
import type {Specialist} from './specialist.js';
import {Specialists} from './specialists.js';
import {StatusBoard} from './status-board.js';
import {Steps} from './steps.js';
import type {Observed} from './types.js';

export interface ControllerOptions {
  readonly ports: Ports;
  readonly version: string;
  /** Follow the sources of the fleets, and go on healing. false: a one-shot apply, which converges and leaves. */
  readonly follow: boolean;
  /** Act for this fleet alone. */
  readonly only?: FleetKey;
  /** A person applies: what was changed by hand is put right, whatever the fleet's drift policy is. */
  readonly heal?: boolean;
  /** Called with the records of all git sources whenever they were read. */
  readonly gitSources?: (records: readonly GitSourceRecord[]) => void;
  /** Launches and stops under way at once. */
  readonly parallel: number;
}

/** Everything is looked at again this often though nothing called for it, ms; plus up to a quarter of it. */
const resyncMs = 300_000;
const retryAfterErrorMs = 2000;
/** Chats under way with a second instance may take this long, ms. */
const superfluousGraceMs = 10_000;
/** How long the first statuses wait for the first look at the models, ms. */
const firstLookMs = 1000;

/** What is still to be told when the loop ends, ms: the next controller goes on with what is left. */
const tellWithinMs = 1000;
/** The same of a one-shot apply, after which nobody may come. */
const tellAllWithinMs = 10_000;

export class Controller {
  readonly #options: ControllerOptions;
  readonly #ports: Ports;
  readonly #specialists = new Specialists();
  readonly #fleets: Fleets;
  readonly #queue: KeyedQueue;
  readonly #models: ModelMonitor;
  readonly #keeper: Keeper;
  readonly #steps: Steps;
  readonly #board: StatusBoard;
  readonly #registry: RegistrySync;
  readonly #events: EventLog;
  readonly #ownerless: Ownerless;
  readonly #gates: Gates;
  readonly #git: GitFollower | undefined;
  #cancelResync: (() => void) | undefined;
  #cancelReadAgain: (() => void) | undefined;
  #catchingUp: Promise<void> = Promise.resolve();
  #unwatchRegistry: (() => Promise<void>) | undefined;
  #unwatchFleets: (() => void) | undefined;
  /** Of second instances, which are on their way out. */
  readonly #leaving = new Set<Promise<unknown>>();
  /** Workers of fleets that we don't act for. */
  readonly #elsewhere = new Map<string, Observed>();
  #closed = false;

  constructor(options: ControllerOptions) {
    const {ports, version, follow, only, parallel} = options;
    const specialists = this.#specialists;
    const {clock, log} = ports;
    this.#options = options;
    this.#ports = ports;
    const events = (this.#events = new EventLog(ports));
    ports.notifications?.connect((key, message) =>
      events.add({type: 'Warning', reason: 'NotificationFailed', message, key}),
    );
    const queue = (this.#queue = new KeyedQueue({
      clock,
      parallel,
      work: id => this.#pass(id),
      failed: (id, error) => this.#passFailed(id, error),
    }));
    const models = (this.#models = new ModelMonitor({
      clock,
      log,
      models: ports.models,
      changed: id => this.#modelChanged(id),
    }));
    const fleets = (this.#fleets = new Fleets({
      ports,
      version,
      follow,
      ...(only && {only}),
      changed: fleet => this.#declare(fleet),
      notReady: key =>
        notReadyOf(specialists.inFleet(key).flatMap(({aiId, status}) => (status ? [{aiId, status}] : []))),
      runs: key => specialists.inFleet(key).some(({worker}) => worker !== undefined),
      whyNotReady: key => this.#board.whyNotReady(key),
      touched: ({key}) => this.#board.touch(key),
      mayGo: ({record: {source}}) => source.type === 'git' && this.#git?.again(source.source),
      event: ({key}, type, reason, message, revision) => events.add({type, reason, message, key, revision}),
    }));
    const registry = (this.#registry = new RegistrySync(
      ports,
      () => [...fleets.all.keys(), ...this.#ownerless.givenUp],
      () => specialists.all.flatMap(s => (s.worker && s.desired ? [registryFact(s.worker, s.desired)] : [])),
    ));
    const board = (this.#board = new StatusBoard({
      ports,
      specialists,
      fleets,
      models,
      events,
      becameReady: specialist => {
        for (const other of specialists.dependentsOf(specialist)) queue.add(other.id);
      },
    }));
    this.#gates = new Gates({ports, specialists, fleets, events, judges: follow});
    this.#ownerless = new Ownerless({
      ports,
      vanished: () => this.#withoutRecord(),
      read: () => this.#load(),
      prune: key => this.#giveUp(key),
      hold: (key, workers) =>
        events.add({type: 'Warning', reason: 'MassPruneHeld', message: heldText(key, workers), key}),
    });
    const read = options.gitSources;
    this.#git =
      follow && ports.git ? new GitFollower({ports, git: ports.git, fleets, events, ...(read && {read})}) : undefined;
    const touch = (key: FleetKey): void => board.touch(key);
    const registryChanged = (): void => registry.request();
    const keeper = (this.#keeper = new Keeper({
      ports,
      models,
      events,
      touch,
      gone: registryChanged,
      passAfter: ({id}, ms) => queue.addAfter(id, ms),
    }));
    this.#steps = new Steps({
      ports,
      specialists,
      fleets,
      models,
      launcher: new Launcher(ports, models),
      keeper,
      events,
      runsElsewhere: specialist => this.#runsElsewhere(specialist),
      isReady: specialist => board.isReady(specialist),
      touch,
      listenersChanged: registryChanged,
      pass: ({id}) => queue.add(id),
      heal: options.heal ?? false,
    });
  }

  /** Takes every living worker in hand, then converges in the background. @throws {TektonError} if state can't be read. */
  async start(): Promise<void> {
    await this.#takeInHand();
    await this.#load();
    await this.#fleets.reloadAll();
    await this.#withinMs(firstLookMs, this.#models.looked());
    this.#board.open();
    this.#gates.begin(listener => this.#board.subscribe(listener));
    this.#registry.request();
    if (!this.#options.follow) return;
    this.#resyncLater();
    this.#board.subscribe(({namespace, name}) => this.#noticeReady({namespace, fleet: name}));
    await this.#git?.start();
    // What a hand changes in the registry, or takes away with it, is put right at once.
    this.#unwatchRegistry = await this.#ports.registry.watch(() => this.#registry.request());
    this.#unwatchFleets = this.#ports.store.watchFleets(() => {
      this.#catchingUp = this.#catchingUp.then(() => this.#tryRead(() => this.#lookForRecords()));
    });
  }

  /**
   * Reads the fleet records again: an apply has written one.
   *
   * @param applied fleets (`<namespace>/<fleet>`) whose workers are to be put right, whatever their drift policy is
   */
  async loadRecords(applied: readonly string[] = []): Promise<void> {
    await this.#load().catch((error: unknown) => {
      this.#readAgain();
      throw error;
    });
    await this.#git?.read();
    for (const specialist of this.#specialists.all) {
      if (applied.includes(fleetId(specialist.key))) this.#heal(specialist);
    }
    // Somebody looks at the fleet just now: what a hand has changed in the registry is put right with it.
    this.#registry.request();
  }

  #heal(specialist: Specialist): void {
    specialist.healAsked = {};
    const message = 'puts right what was changed by hand';
    // Whoever applied and looks at the status now is not to take it for done.
    if (specialist.drift) specialist.progress = {reason: 'Reconfiguring', message};
    this.#queue.add(specialist.id);
  }

  /** Calls back with every fleet's status now and after each change, until the returned function is called. */
  subscribe(listener: (status: FleetStatus) => void): () => void {
    return this.#board.subscribe(listener);
  }

  /** Somebody says that the remote of the git source `<namespace>/<name>` has something new: it is looked at now. */
  pushed(id: string): void {
    this.#git?.pushed(id);
  }

  /** Nobody can tell of pushes to this git source. */
  webhookUnavailable(source: SourceKey, message: string): void {
    if (!this.#closed) this.#events.ofSource(source, 'Warning', 'WebhookUnavailable', message);
  }

  /** Ends the loop and lets go of the workers: they live on. Status, registry and events are written first. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelResync?.();
    this.#cancelReadAgain?.();
    this.#ownerless.close();
    this.#unwatchFleets?.();
    await this.#catchingUp;
    await this.#gates.close();
    await this.#unwatchRegistry?.();
    await this.#git?.close();
    await this.#fleets.close();
    await this.#queue.close();
    await Promise.all(this.#leaving);
    this.#models.close();
    this.#keeper.release(this.#specialists.all);
    await this.#registry.settle();
    await this.#board.settle();
    await this.#events.settle();
    await this.#ports.notifications?.settle(this.#options.follow ? tellWithinMs : tellAllWithinMs);
    await this.#events.settle();
  }

  async #takeInHand(): Promise<void> {
    const {workers, remains, retiring, superfluous = [], ended = []} = await this.#ports.runtime.discover();
    for (const worker of workers) {
      const {namespace, fleet} = worker.hello;
      const specialist = this.#minds({namespace, fleet}) && this.#specialists.of({namespace, fleet}, worker.aiId);
      if (!specialist || specialist.worker) {
        if (fleet !== '') this.#elsewhere.set(worker.aiId, observe(worker));
        worker.release();
        continue;
      }
      this.#keeper.hold(specialist, worker);
      // By our own word: what a hand gave it may claim any.
      specialist.observedGeneration = worker.told.generation;
      if (!this.#options.follow) continue; // in hand for a moment only
      const {pid} = worker.instance.identity;
      this.#events.of(specialist, 'Normal', 'Adopted', `took over pid ${pid} on port ${worker.port}`);
    }
    for (const worker of retiring) {
      const {namespace, fleet} = worker.hello;
      if (this.#minds({namespace, fleet})) {
        this.#keeper.retire(this.#specialists.of({namespace, fleet}, worker.aiId), worker);
      } else worker.release();
    }
    for (const worker of superfluous) this.#sendAway(worker);
    if (ended.length > 0) this.#ports.log.info({pids: ended}, 'ended what workers that are gone had left running');
    for (const one of remains) if (this.#minds(one)) this.#specialists.of(one, one.aiId).remember(one);
  }

  /** A second instance of a name, or one that nothing reaches: never adopted, and never left alone. */
  #sendAway(worker: Worker): void {
    const {aiId, instance, hello, port} = worker;
    const key = {namespace: hello.namespace, fleet: hello.fleet};
    if (!this.#minds(key)) return worker.release();
    const where = port > 0 ? ` on port ${port}` : '';
    const message = `stopped pid ${instance.identity.pid}${where}: a second instance of ${aiId}`;
    const gone = worker
      .stop(superfluousGraceMs)
      .then(() => this.#events.of({key, aiId}, 'Warning', 'DuplicateStopped', message))
      .catch((error: unknown) => this.#ports.log.warn({aiId, error: describeError(error)}, 'cannot stop a duplicate'))
      .finally(() => this.#leaving.delete(gone));
    this.#leaving.add(gone);
  }

  /** Reads the records, and notices whose are gone. @throws {TektonError} they can't be read */
  async #load(): Promise<void> {
    await this.#fleets.load();
    // A one-shot apply minds its own fleet, whose record was just written.
    if (this.#options.follow && !this.#closed) this.#ownerless.look();
  }

  async #lookForRecords(): Promise<void> {
    await this.#fleets.loadIfOthers();
    if (!this.#closed) this.#ownerless.look();
  }

  #withoutRecord(): readonly {readonly key: FleetKey; readonly workers: number}[] {
    const known = new Map([...this.#fleets.all.values()].map(({key}) => [fleetId(key), key]));
    for (const {key, worker} of this.#specialists.all) if (worker) known.set(fleetId(key), key);
    return [...known.values()]
      .filter(key => !this.#fleets.hasRecord(key))
      .map(key => ({key, workers: this.#specialists.inFleet(key).filter(({worker}) => worker).length}));
  }

  #giveUp(key: FleetKey): void {
    this.#fleets.drop(key).catch((error: unknown) => {
      this.#ports.log.warn({fleet: fleetId(key), error: describeError(error)}, 'cannot let go of a fleet');
    });
    for (const specialist of this.#specialists.inFleet(key)) {
      specialist.desired = undefined;
      this.#models.drop(specialist.id);
      this.#queue.add(specialist.id);
    }
  }

  #runsElsewhere(specialist: Specialist): Observed | undefined {
    const other = this.#specialists.namesakesOf(specialist).find(s => s.worker);
    return other?.observed() ?? this.#elsewhere.get(specialist.aiId);
  }

  /** Workers that were started by hand have no fleet: nobody declares them, and they look after themselves. */
  #minds(key: FleetKey): boolean {
    const {only} = this.#options;
    return key.fleet !== '' && (!only || fleetId(only) === fleetId(key));
  }

  /** Those that wait for a fleet go on when it is Ready as declared. */
  #noticeReady(key: FleetKey): void {
    const waiting = [...this.#fleets.all.values()].filter(
      ({record, launched, sourceError}) =>
        sourceError?.reason === 'DependencyNotReady' || (!launched && record.dependsOn?.includes(fleetId(key))),
    );
    if (this.#closed || waiting.length === 0 || this.#board.whyNotReady(key) !== undefined) return;
    for (const fleet of waiting) {
      for (const {id, blocked} of this.#specialists.inFleet(fleet.key)) if (blocked) this.#queue.add(id);
      this.#fleets.lookAgain(fleet);
    }
  }

  /** A record is new or another: who is declared, who is not any more, and a pass over each. */
  #declare(fleet: Fleet): void {
    const {record, key} = fleet;
    this.#ports.notifications?.declare(record);
    const declared = new Set(record.specialists.map(d => d.aiId));
    for (const specialist of this.#specialists.inFleet(key)) {
      if (declared.has(specialist.aiId)) continue;
      specialist.desired = undefined;
      this.#models.drop(specialist.id);
      this.#queue.add(specialist.id);
    }
    const before = new Map(fleet.statusBefore?.specialists.map(named => [named.aiId, named.status]));
    const specialists = startOrder(record.specialists).map(desired => {
      const specialist = this.#specialists.of(key, desired.aiId);
      const status = before.get(desired.aiId);
      if (status && !specialist.status) specialist.restore(status);
      specialist.declare(desired, record);
      if (specialist.off) this.#models.drop(specialist.id);
      else this.#models.want(specialist.id, desired, record.envFile);
      return specialist;
    });
    // Passes begin when all is declared: who may be stopped depends on the others.
    for (const {id} of specialists) this.#queue.add(id);
    // What this fleet gave up may be what another waits for.
    for (const {id, blocked} of this.#specialists.all) if (blocked?.reason === 'Conflict') this.#queue.add(id);
    this.#board.touch(key);
    this.#gates.look(key);
  }

  async #pass(id: string): Promise<number | undefined> {
    const specialist = this.#specialists.get(id);
    const fleet = specialist && this.#fleets.all.get(fleetId(specialist.key));
    if (!specialist || this.#closed) return undefined;
    try {
      if (fleet) return await this.#steps.step(specialist, fleet);
      // Without a record we do not know what was declared, until it has been missed for long enough.
      if (!this.#ownerless.isGivenUp(specialist.key)) return undefined;
      return await this.#steps.prune(specialist, `the record of its fleet ${fleetId(specialist.key)} is gone`);
    } finally {
      this.#board.touch(specialist.key);
    }
  }

  #passFailed(id: string, error: unknown): number {
    const message = describeError(error);
    this.#ports.log.warn({id, error: message}, 'pass failed');
    const specialist = this.#specialists.get(id);
    if (specialist) {
      specialist.progress = {reason: 'LaunchFailed', message};
      this.#board.touch(specialist.key);
    }
    return retryAfterErrorMs;
  }

  #modelChanged(id: string): void {
    const specialist = this.#specialists.get(id);
    if (!specialist || this.#closed) return;
    this.#keeper.tellModel(specialist);
    this.#queue.add(id);
    this.#board.touch(specialist.key);
  }

  #resyncLater(): void {
    this.#cancelResync = this.#ports.clock.after(resyncMs * (1 + this.#ports.random() / 4), () => {
      for (const {id} of this.#specialists.all) this.#queue.add(id);
      this.#registry.request();
      this.#catchingUp = this.#catchUp();
      this.#resyncLater();
    });
  }

  /** What nobody told us of: a record whose writer died before it said so, a change of a source without an event. */
  #catchUp(): Promise<void> {
    return this.#tryRead(async () => {
      await this.#load();
      await this.#fleets.reloadAll();
    });
  }

  async #tryRead(read: () => Promise<void>): Promise<void> {
    try {
      await read();
    } catch (error) {
      this.#ports.log.warn({error: describeError(error)}, 'cannot read the fleets');
      this.#readAgain();
    }
  }

  /** Nobody tells us when the records can be read again. */
  #readAgain(): void {
    if (this.#closed) return;
    this.#cancelReadAgain ??= this.#ports.clock.after(retryAfterErrorMs, () => {
      this.#cancelReadAgain = undefined;
      this.#catchingUp = this.#catchingUp.then(() => this.#tryRead(() => this.#load()));
    });
  }

  async #withinMs(ms: number, work: Promise<void>): Promise<void> {
    let cancel: () => void = () => undefined;
    const late = new Promise<void>(resolve => (cancel = this.#ports.clock.after(ms, resolve)));
    await Promise.race([work, late]);
    cancel();
  }
}

function heldText({namespace, fleet}: FleetKey, workers: number): string {
  const scope = namespace === 'default' ? `--fleet ${fleet}` : `-n ${namespace} --fleet ${fleet}`;
  return (
    `the record of fleet ${namespace}/${fleet} is gone, and ${workers} specialists of it run; nothing was changed. ` +
    `Apply its file again, or stop them: tekton-ai down ${scope}`
  );
}
