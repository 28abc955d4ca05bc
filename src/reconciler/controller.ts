/**
 * The loop: what triggers a pass, and what a pass may reach. Level-based: every pass looks at what is declared and
 * what is there, takes one step, and says when to look again. It may be killed between any two steps; the next
 * controller observes and finishes.
 */
import {describeError} from '../api/errors.js';
import type {FleetStatus} from '../api/types.js';
import {EventLog} from './events.js';
import {Fleets, fleetId} from './fleets.js';
import type {Fleet} from './fleets.js';
import {Keeper} from './keeper.js';
import {Launcher} from './launcher.js';
import {ModelMonitor} from './models.js';
import {startOrder} from './order.js';
import type {FleetKey, Ports} from './ports.js';
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
  /** Launches and stops under way at once. */
  readonly parallel: number;
}

/** Everything is looked at again this often though nothing called for it, ms; plus up to a quarter of it. */
const resyncMs = 300_000;
const retryAfterErrorMs = 2000;
/** How long the first statuses wait for the first look at the models, ms. */
const firstLookMs = 1000;

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
  #cancelResync: (() => void) | undefined;
  #catchingUp: Promise<void> = Promise.resolve();
  #unwatchRegistry: (() => Promise<void>) | undefined;
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
      event: ({key}, type, reason, message) => events.add({type, reason, message, key}),
    }));
    const registry = (this.#registry = new RegistrySync(
      ports,
      () => [...fleets.all.keys()],
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
    });
  }

  /** Takes every living worker in hand, then converges in the background. @throws {TektonError} if state can't be read. */
  async start(): Promise<void> {
    await this.#takeInHand();
    await this.#fleets.load();
    await this.#fleets.reloadAll();
    await this.#withinMs(firstLookMs, this.#models.looked());
    this.#board.open();
    this.#registry.request();
    if (!this.#options.follow) return;
    this.#resyncLater();
    // What a hand changes in the registry, or takes away with it, is put right at once.
    this.#unwatchRegistry = await this.#ports.registry.watch(() => this.#registry.request());
  }

  /** Reads the fleet records again: an apply has written one. */
  async loadRecords(): Promise<void> {
    await this.#fleets.load();
    // Somebody looks at the fleet just now: what a hand has changed in the registry is put right with it.
    this.#registry.request();
  }

  /** Calls back with every fleet's status now and after each change, until the returned function is called. */
  subscribe(listener: (status: FleetStatus) => void): () => void {
    return this.#board.subscribe(listener);
  }

  /** Ends the loop and lets go of the workers: they live on. Status, registry and events are written first. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelResync?.();
    await this.#catchingUp;
    await this.#unwatchRegistry?.();
    await this.#fleets.close();
    await this.#queue.close();
    this.#models.close();
    this.#keeper.release(this.#specialists.all);
    await this.#registry.settle();
    await this.#board.settle();
    await this.#events.settle();
  }

  async #takeInHand(): Promise<void> {
    const {workers, remains} = await this.#ports.runtime.discover();
    for (const worker of workers) {
      const {namespace, fleet, generation} = worker.hello;
      const specialist = this.#minds({namespace, fleet}) && this.#specialists.of({namespace, fleet}, worker.aiId);
      if (!specialist || specialist.worker) {
        if (fleet !== '') this.#elsewhere.set(worker.aiId, observe(worker));
        worker.release();
        continue;
      }
      this.#keeper.hold(specialist, worker);
      specialist.observedGeneration = generation;
      if (!this.#options.follow) continue; // in hand for a moment only
      const {pid} = worker.instance.identity;
      this.#events.of(specialist, 'Normal', 'Adopted', `took over pid ${pid} on port ${worker.port}`);
    }
    for (const one of remains) if (this.#minds(one)) this.#specialists.of(one, one.aiId).remember(one);
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

  /** A record is new or another: who is declared, who is not any more, and a pass over each. */
  #declare(fleet: Fleet): void {
    const {record, key} = fleet;
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
  }

  async #pass(id: string): Promise<number | undefined> {
    const specialist = this.#specialists.get(id);
    const fleet = specialist && this.#fleets.all.get(fleetId(specialist.key));
    // Without a record we do not know what was declared: nothing is concluded from that, nothing stopped.
    if (!fleet || this.#closed) return undefined;
    try {
      return await this.#steps.step(specialist, fleet);
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
  async #catchUp(): Promise<void> {
    try {
      await this.#fleets.load();
      await this.#fleets.reloadAll();
    } catch (error) {
      this.#ports.log.warn({error: describeError(error)}, 'cannot read the fleets');
    }
  }

  async #withinMs(ms: number, work: Promise<void>): Promise<void> {
    let cancel: () => void = () => undefined;
    const late = new Promise<void>(resolve => (cancel = this.#ports.clock.after(ms, resolve)));
    await Promise.race([work, late]);
    cancel();
  }
}
