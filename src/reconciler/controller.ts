/**
 * The loop. Level-based: every pass looks at what is declared and what is there, takes one step, and says when to
 * look again. It may be killed between any two steps; the next one observes and finishes.
 */
import {isTrue} from '../api/conditions.js';
import {describeError} from '../api/errors.js';
import {formatVersion} from '../api/types.js';
import type {Desired, FleetStatus, LastExit, NamedStatus, SpecialistStatus} from '../api/types.js';
import type {Worker} from '../runtime/runtime.js';
import {afterFailure, isCrashLoop} from './backoff.js';
import {EventLog} from './events.js';
import {Fleets, fleetId} from './fleets.js';
import type {Fleet} from './fleets.js';
import {Launcher} from './launcher.js';
import {ModelMonitor} from './models.js';
import {startOrder} from './order.js';
import {planSpecialist} from './plan.js';
import type {Claims} from './plan.js';
import type {FleetKey, Ports} from './ports.js';
import {KeyedQueue} from './queue.js';
import {registryFact, RegistrySync} from './registry-sync.js';
import {Specialist} from './specialist.js';
import {computeStatus} from './status.js';

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

/** Statuses are written at most this often, ms. */
const statusEveryMs = 50;
/** Everything is looked at again this often though nothing called for it, ms; plus up to a quarter of it. */
const resyncMs = 300_000;
const retryAfterErrorMs = 2000;
/** How long the first statuses wait for the first look at the models, ms. */
const firstLookMs = 1000;

export class Controller {
  readonly #options: ControllerOptions;
  readonly #ports: Ports;
  readonly #specialists = new Map<string, Specialist>();
  readonly #fleets: Fleets;
  readonly #queue: KeyedQueue;
  readonly #models: ModelMonitor;
  readonly #launcher: Launcher;
  readonly #registry: RegistrySync;
  readonly #events: EventLog;
  readonly #listeners = new Set<(status: FleetStatus) => void>();
  readonly #dirty = new Set<string>();
  readonly #lastStatus = new Map<string, string>();
  #cancelFlush: (() => void) | undefined;
  #flushing: Promise<void> = Promise.resolve();
  #cancelResync: (() => void) | undefined;
  #silent = true;
  #closed = false;

  constructor(options: ControllerOptions) {
    const {ports} = options;
    this.#options = options;
    this.#ports = ports;
    this.#events = new EventLog(ports);
    this.#registry = new RegistrySync(
      ports,
      () => [...this.#fleets.all.keys()],
      () => this.#facts(),
    );
    this.#models = new ModelMonitor({...ports, changed: aiId => this.#modelChanged(aiId)});
    this.#launcher = new Launcher(ports, this.#models);
    this.#queue = new KeyedQueue({
      clock: ports.clock,
      parallel: options.parallel,
      work: aiId => this.#pass(aiId),
      failed: (aiId, error) => this.#passFailed(aiId, error),
    });
    this.#fleets = new Fleets({
      ports,
      version: options.version,
      follow: options.follow,
      ...(options.only && {only: options.only}),
      changed: fleet => this.#declare(fleet),
      event: (fleet, type, reason, message) => this.#events.add({type, reason, message, key: fleet.key}),
    });
  }

  /** Takes every living worker in hand, then converges in the background. @throws {TektonError} if state can't be read. */
  async start(): Promise<void> {
    const {runtime} = this.#ports;
    const discovery = await runtime.discover();
    for (const worker of discovery.workers) {
      if (!this.#minds({namespace: worker.hello.namespace, fleet: worker.hello.fleet})) {
        worker.release();
        continue;
      }
      const specialist = this.#specialist(worker.aiId, worker.hello);
      if (specialist.worker) continue;
      this.#hold(specialist, worker);
      specialist.observedGeneration = worker.hello.generation;
    }
    for (const remains of discovery.remains) {
      if (this.#minds(remains)) this.#specialist(remains.aiId, remains).remember(remains);
    }
    await this.#fleets.load();
    await this.#restore();
    for (const specialist of this.#specialists.values()) this.#greet(specialist);
    await this.#fleets.reloadAll();
    // What an earlier controller found Ready is not said to be unready only because we haven't looked yet.
    await this.#withinMs(firstLookMs, this.#models.looked());
    this.#silent = false;
    for (const fleet of this.#fleets.all.values()) this.#touch(fleet.key);
    this.#registry.request();
    if (this.#options.follow) this.#resyncLater();
  }

  /** Reads the fleet records again: an apply has written one. */
  async loadRecords(): Promise<void> {
    await this.#fleets.load();
  }

  /** Calls back with every fleet's status now and after each change, until the returned function is called. */
  subscribe(listener: (status: FleetStatus) => void): () => void {
    this.#listeners.add(listener);
    for (const fleet of this.#fleets.all.values()) listener(this.#fleetStatus(fleet));
    return () => this.#listeners.delete(listener);
  }

  /** Whether any fleet is to run: without one, a controller has nothing to do. */
  get hasWork(): boolean {
    return [...this.#fleets.all.values()].some(fleet => !fleet.record.stopped);
  }

  /** Pids of the workers in hand, by ai id. */
  get pids(): ReadonlyMap<string, number> {
    const held = [...this.#specialists.values()].flatMap(s =>
      s.worker ? [[s.aiId, s.worker.instance.identity.pid] as const] : [],
    );
    return new Map(held);
  }

  /** Ends the loop and lets go of the workers: they live on. Status and events are written first. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelResync?.();
    await this.#fleets.close();
    await this.#queue.close();
    this.#models.close();
    for (const {worker, cancelProbe} of this.#specialists.values()) {
      cancelProbe?.();
      worker?.release();
    }
    await this.#registry.settle();
    this.#cancelFlush?.();
    await this.#flush();
    await this.#events.settle();
  }

  // ── what is declared ──────────────────────────────────────────────────────────────────────────

  #minds(key: FleetKey): boolean {
    const {only} = this.#options;
    if (key.fleet === '') return false; // started by hand: nobody declares it, and it looks after itself
    return !only || (only.fleet === key.fleet && only.namespace === key.namespace);
  }

  #specialist(aiId: string, {namespace, fleet}: FleetKey): Specialist {
    const known = this.#specialists.get(aiId);
    if (known) return known;
    const specialist = new Specialist(aiId, {namespace, fleet});
    this.#specialists.set(aiId, specialist);
    return specialist;
  }

  #declare(fleet: Fleet): void {
    const declared = new Map(fleet.record.specialists.map(d => [d.aiId, d]));
    for (const desired of declared.values()) {
      const specialist = this.#specialist(desired.aiId, fleet.key);
      if (fleetId(specialist.key) === fleetId(fleet.key)) specialist.declare(desired, fleet.record);
      if (specialist.off) this.#models.drop(desired.aiId);
      else this.#models.want(desired, fleet.record.envFile);
    }
    for (const specialist of this.#specialists.values()) {
      if (fleetId(specialist.key) !== fleetId(fleet.key) || declared.has(specialist.aiId)) continue;
      specialist.desired = undefined;
      this.#models.drop(specialist.aiId);
      this.#queue.add(specialist.aiId);
    }
    for (const desired of startOrder(fleet.record.specialists)) this.#queue.add(desired.aiId);
    this.#touch(fleet.key);
  }

  async #restore(): Promise<void> {
    for (const fleet of this.#fleets.all.values()) {
      const status = await this.#ports.store.readStatus(fleet.key);
      for (const named of status?.specialists ?? []) {
        const specialist = this.#specialists.get(named.aiId);
        if (specialist && !specialist.status) specialist.restore(named.status);
      }
    }
  }

  /** Says who was adopted: a worker that an earlier controller launched. */
  #greet(specialist: Specialist): void {
    const {worker} = specialist;
    if (!worker || !this.#fleets.all.has(fleetId(specialist.key))) return;
    this.#record(
      specialist,
      'Normal',
      'Adopted',
      `took over pid ${worker.instance.identity.pid} on port ${worker.port}`,
    );
  }

  // ── one pass ──────────────────────────────────────────────────────────────────────────────────

  async #pass(aiId: string): Promise<number | undefined> {
    const specialist = this.#specialists.get(aiId);
    // Without a record we do not know what was declared: nothing is concluded from that, nothing stopped.
    if (!specialist || this.#closed || !this.#fleets.all.has(fleetId(specialist.key))) return undefined;
    try {
      return await this.#step(specialist);
    } finally {
      this.#touch(specialist.key);
    }
  }

  async #step(specialist: Specialist): Promise<number | undefined> {
    const {desired} = specialist;
    if (!desired) return this.#prune(specialist);
    const action = planSpecialist(desired, !specialist.off, specialist.observed(), this.#claims(specialist));
    switch (action?.type) {
      case undefined:
        specialist.progress = undefined;
        specialist.blocked = undefined;
        specialist.observedGeneration = desired.generation;
        return undefined;
      case 'create':
        return this.#create(specialist, desired);
      case 'keep':
        return this.#keep(specialist, desired);
      case 'reconfigure':
        await this.#configure(specialist, desired, action.changes.map(c => c.path).join(', '));
        return undefined;
      case 'restart':
        specialist.progress = {reason: 'Restarting', message: action.reason};
        await this.#stop(specialist, 'Restarted', action.reason);
        return 0;
      case 'stop':
        specialist.progress = undefined;
        // Dependents go first; the last of them calls again.
        if (this.#dependents(specialist).some(other => other.worker && other.off)) return undefined;
        await this.#stop(specialist, 'Stopped', specialist.off?.message ?? action.reason);
        specialist.observedGeneration = desired.generation;
        return undefined;
      case 'block':
        specialist.progress = undefined;
        specialist.blocked = {reason: action.reason, message: action.message};
        return undefined;
      case 'prune':
        return this.#prune(specialist);
      default:
        return action satisfies never;
    }
  }

  #passFailed(aiId: string, error: unknown): number {
    const specialist = this.#specialists.get(aiId);
    const message = describeError(error);
    this.#ports.log.warn({aiId, error: message}, 'pass failed');
    if (specialist) {
      specialist.progress = {reason: 'LaunchFailed', message};
      this.#touch(specialist.key);
    }
    return retryAfterErrorMs;
  }

  async #create(specialist: Specialist, desired: Desired): Promise<number | undefined> {
    const waitMs = specialist.holdUntil - this.#ports.clock.monotonic();
    if (waitMs > 0) return waitMs;
    if (!mayRestart(specialist, desired)) {
      specialist.progress = undefined;
      const message = `it ended and restartPolicy is ${desired.spec.restartPolicy}`;
      specialist.blocked = {reason: 'Exited', message};
      return undefined;
    }
    const waitsFor = desired.spec.dependsOn.filter(name => !this.#isReady(specialist.key, name));
    if (waitsFor.length > 0) {
      specialist.progress = undefined;
      specialist.blocked = {reason: 'DependencyNotReady', message: `waits for ${waitsFor.join(', ')} to be Ready`};
      return undefined;
    }
    return this.#launch(specialist, desired);
  }

  async #launch(specialist: Specialist, desired: Desired): Promise<number | undefined> {
    const again = specialist.lastExit !== undefined && specialist.backoff.failures > 0;
    const blockedBefore = specialist.blocked?.message;
    specialist.blocked = undefined;
    specialist.progress = {reason: 'Launching', message: again ? 'starting it again' : 'starting it'};
    this.#touch(specialist.key);
    const fleet = this.#fleets.all.get(fleetId(specialist.key));
    if (!fleet) return undefined;
    const outcome = await this.#launcher.launch(desired, fleet.record, specialist.lastPort);
    switch (outcome.type) {
      case 'listening': {
        const {worker} = outcome;
        const before = specialist.lastPort;
        if (again) specialist.restarts += 1;
        specialist.observedGeneration = desired.generation;
        this.#hold(specialist, worker);
        this.#record(
          specialist,
          'Normal',
          again ? 'Relaunched' : 'Launched',
          `pid ${worker.instance.identity.pid} listens on port ${worker.port}`,
        );
        if (before !== undefined && before !== worker.port) {
          this.#record(
            specialist,
            'Warning',
            'PortMoved',
            `port ${before} was taken by another program; now on ${worker.port}`,
          );
        }
        this.#registry.request();
        return 0;
      }
      case 'blocked':
        specialist.progress = undefined;
        if (blockedBefore !== outcome.message) {
          this.#record(specialist, 'Warning', outcome.reason, outcome.message);
        }
        specialist.blocked = {reason: outcome.reason, message: outcome.message};
        return outcome.retryAfterMs;
      case 'failed':
        return this.#failed(specialist, outcome.exit, outcome.message, 0);
      default:
        return outcome satisfies never;
    }
  }

  async #keep(specialist: Specialist, desired: Desired): Promise<undefined> {
    specialist.progress = undefined;
    specialist.blocked = undefined;
    const target = this.#models.known(specialist.aiId);
    const choice = specialist.worker?.hello.choice;
    if (target && choice && (target.choice.type !== choice.type || target.model !== choice.model)) {
      await this.#configure(specialist, desired, `provider (${target.choice.why ?? target.choice.provider})`);
    } else if (target && this.#launcher.secretsDiffer(desired, target)) {
      await this.#configure(specialist, desired, 'secret of its provider');
    }
    specialist.observedGeneration = desired.generation;
    return undefined;
  }

  async #configure(specialist: Specialist, desired: Desired, what: string): Promise<void> {
    const fleet = this.#fleets.all.get(fleetId(specialist.key));
    const {worker} = specialist;
    if (!fleet || !worker) return;
    specialist.progress = {reason: 'Reconfiguring', message: `takes over a changed ${what}`};
    const first = this.#launcher.secretsUnknown(specialist.aiId);
    await worker.configure(await this.#launcher.config(desired, fleet.record));
    specialist.progress = undefined;
    specialist.blocked = undefined;
    specialist.observedGeneration = desired.generation;
    const check = this.#models.check(specialist.aiId);
    if (check) await worker.tellModelStatus(check);
    if (!(first && what.startsWith('secret'))) {
      this.#record(specialist, 'Normal', 'Reconfigured', `changed ${what}, without a restart`);
    }
    this.#registry.request();
  }

  async #stop(specialist: Specialist, reason: string, message: string): Promise<void> {
    const {worker} = specialist;
    if (!worker) return;
    specialist.stopping = true;
    this.#touch(specialist.key);
    const graceMs = (specialist.desired?.spec.terminationGracePeriodSeconds ?? 30) * 1000;
    const exit = await worker.stop(graceMs);
    if (specialist.worker === worker) specialist.lose(exit);
    specialist.stopping = false;
    this.#record(specialist, 'Normal', reason, message);
    this.#registry.request();
    for (const name of specialist.desired?.spec.dependsOn ?? []) {
      for (const other of this.#named(specialist.key, name)) if (other.off) this.#queue.add(other.aiId);
    }
  }

  async #prune(specialist: Specialist): Promise<undefined> {
    if (specialist.worker) await this.#stop(specialist, 'Pruned', 'no longer declared');
    await this.#ports.runtime.forget(specialist.aiId);
    // It may have been declared again while it was being stopped.
    if (specialist.desired) this.#queue.add(specialist.aiId);
    else this.#specialists.delete(specialist.aiId);
    this.#registry.request();
    return undefined;
  }

  #isReady(key: FleetKey, name: string): boolean {
    return this.#named(key, name).some(other => isTrue(this.#statusOf(other).conditions, 'Ready'));
  }

  #named(key: FleetKey, name: string): readonly Specialist[] {
    return [...this.#specialists.values()].filter(s => s.desired?.name === name && fleetId(s.key) === fleetId(key));
  }

  #dependents({key, desired}: Specialist): readonly Specialist[] {
    if (!desired) return [];
    return [...this.#specialists.values()].filter(
      s => s.desired?.spec.dependsOn.includes(desired.name) && fleetId(s.key) === fleetId(key),
    );
  }

  #claims(specialist: Specialist): Claims {
    const aiIds = new Map<string, string>();
    const ports = new Map<number, string>();
    const own = fleetId(specialist.key);
    const mine = specialist.desired;
    if (this.#fleets.all.size < 2 || !mine) return {aiIds, ports};
    for (const [id, fleet] of this.#fleets.all) {
      // Of two fleets that declare the same, the one that was there first in order of names keeps it.
      if (id === own || fleet.record.stopped) continue;
      for (const other of fleet.record.specialists) {
        if (other.aiId === mine.aiId && id < own) aiIds.set(other.aiId, id);
        if (other.spec.port !== undefined && other.spec.port === mine.spec.port && id < own) {
          ports.set(other.spec.port, other.aiId);
        }
      }
    }
    return {aiIds, ports};
  }

  // ── what happens by itself ────────────────────────────────────────────────────────────────────

  #hold(specialist: Specialist, worker: Worker): void {
    specialist.take(worker, this.#ports.clock.monotonic());
    void worker.exited.then(exit => this.#exited(specialist, worker, exit));
    worker.onNotice(notice => {
      if (notice.type === 'usage') {
        specialist.usage = notice.usage;
        this.#touch(specialist.key);
      } else {
        this.#models.suspect(specialist.aiId);
      }
    });
    const check = this.#models.check(specialist.aiId);
    if (check) void worker.tellModelStatus(check).catch(() => undefined);
    this.#probeLater(specialist, worker);
  }

  #exited(specialist: Specialist, worker: Worker, exit: LastExit): void {
    if (this.#closed || specialist.worker !== worker) return;
    const uptimeMs = this.#ports.clock.monotonic() - specialist.listeningSince;
    const expected = specialist.stopping;
    specialist.lose(exit);
    this.#registry.request();
    this.#touch(specialist.key);
    if (expected) return;
    this.#record(specialist, 'Warning', 'Exited', `pid ${worker.instance.identity.pid} ended ${describeExit(exit)}`);
    this.#queue.addAfter(specialist.aiId, this.#failed(specialist, exit, `it ended ${describeExit(exit)}`, uptimeMs));
  }

  #failed(specialist: Specialist, exit: LastExit | undefined, message: string, uptimeMs: number): number {
    const {next, delayMs} = afterFailure(specialist.backoff, uptimeMs, this.#ports.random());
    const wasLoop = isCrashLoop(specialist.backoff);
    specialist.backoff = next;
    specialist.lastExit = exit ?? specialist.lastExit;
    specialist.holdUntil = this.#ports.clock.monotonic() + delayMs;
    const tail = exit?.stderrTail.at(-1);
    const text = tail && !message.includes(tail) ? `${message}: ${tail}` : message;
    specialist.progress = {reason: 'BackingOff', message: text};
    if (isCrashLoop(next) && !wasLoop) this.#record(specialist, 'Warning', 'CrashLoop', text);
    return delayMs;
  }

  #probeLater(specialist: Specialist, worker: Worker): void {
    const probes = specialist.desired?.spec.probes;
    const periodMs = (probes?.periodSeconds ?? 10) * 1000;
    specialist.cancelProbe = this.#ports.clock.after(periodMs * (0.9 + this.#ports.random() / 5), () => {
      void this.#probe(specialist, worker);
    });
  }

  async #probe(specialist: Specialist, worker: Worker): Promise<void> {
    const probes = specialist.desired?.spec.probes;
    const alive = await worker.ping((probes?.timeoutSeconds ?? 2) * 1000);
    if (this.#closed || specialist.worker !== worker) return;
    const before = specialist.missedProbes;
    specialist.missedProbes = alive ? 0 : before + 1;
    if (before > 0 !== specialist.missedProbes > 0) this.#touch(specialist.key);
    if (specialist.missedProbes < (probes?.failureThreshold ?? 3)) {
      this.#probeLater(specialist, worker);
      return;
    }
    this.#record(
      specialist,
      'Warning',
      'ProbeFailed',
      `no answer to ${specialist.missedProbes} pings in a row; killing pid ${worker.instance.identity.pid}`,
    );
    await worker.kill();
  }

  #modelChanged(aiId: string): void {
    const specialist = this.#specialists.get(aiId);
    if (!specialist || this.#closed) return;
    const check = this.#models.check(aiId);
    if (check) void specialist.worker?.tellModelStatus(check).catch(() => undefined);
    this.#queue.add(aiId);
    this.#touch(specialist.key);
  }

  #resyncLater(): void {
    this.#cancelResync = this.#ports.clock.after(resyncMs * (1 + this.#ports.random() / 4), () => {
      for (const aiId of this.#specialists.keys()) this.#queue.add(aiId);
      this.#registry.request();
      this.#resyncLater();
    });
  }

  #facts(): ReturnType<typeof registryFact>[] {
    return [...this.#specialists.values()].flatMap(s =>
      s.worker && s.desired ? [registryFact(s.worker, s.desired)] : [],
    );
  }

  async #withinMs(ms: number, work: Promise<void>): Promise<void> {
    let cancel: () => void = () => undefined;
    const late = new Promise<void>(resolve => (cancel = this.#ports.clock.after(ms, resolve)));
    await Promise.race([work, late]);
    cancel();
  }

  // ── what is said ──────────────────────────────────────────────────────────────────────────────

  #record(specialist: Specialist, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#events.add({type, reason, message, key: specialist.key, aiId: specialist.aiId});
  }

  #touch(key: FleetKey): void {
    this.#dirty.add(fleetId(key));
    if (this.#silent) return;
    this.#cancelFlush ??= this.#ports.clock.after(statusEveryMs, () => {
      this.#cancelFlush = undefined;
      this.#flushing = this.#flushing.then(() => this.#flush());
    });
  }

  async #flush(): Promise<void> {
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    for (const id of dirty) {
      const fleet = this.#fleets.all.get(id);
      if (!fleet) continue;
      const status = this.#fleetStatus(fleet);
      const text = JSON.stringify({...status, syncedAt: ''});
      if (text === this.#lastStatus.get(id)) continue;
      this.#lastStatus.set(id, text);
      try {
        await this.#ports.store.writeStatus(status);
      } catch (error) {
        this.#ports.log.warn({fleet: id, error: describeError(error)}, 'cannot write the status');
        this.#lastStatus.delete(id);
      }
      for (const listener of this.#listeners) listener(status);
    }
  }

  /** What is being pruned is in it until it is gone. */
  #fleetStatus(fleet: Fleet): FleetStatus {
    const {name, namespace} = fleet.record;
    const specialists = [...this.#specialists.values()].flatMap((specialist): readonly NamedStatus[] => {
      const who = specialist.who();
      if (!who || fleetId(specialist.key) !== fleetId(fleet.key)) return [];
      const status = this.#statusOf(specialist);
      this.#noticeReady(specialist, isTrue(status.conditions, 'Ready'));
      specialist.status = status;
      return [{...who, status}];
    });
    const syncedAt = this.#ports.clock.iso();
    return {
      formatVersion,
      name,
      namespace,
      syncedAt,
      ...(fleet.sourceError && {sourceError: fleet.sourceError}),
      specialists,
    };
  }

  #statusOf(specialist: Specialist): SpecialistStatus {
    return computeStatus(
      specialist.facts(this.#models.check(specialist.aiId)),
      specialist.status,
      this.#ports.clock.iso(),
    );
  }

  /** Turns of Ready are events, and wake those that wait for it. */
  #noticeReady(specialist: Specialist, ready: boolean): void {
    const before = specialist.status;
    if (ready === (before !== undefined && isTrue(before.conditions, 'Ready'))) return;
    if (ready) this.#record(specialist, 'Normal', 'BecameReady', 'a chat would be answered now');
    else if (specialist.worker && !specialist.stopping) {
      const check = this.#models.check(specialist.aiId);
      const message = check && !check.available ? check.message : 'it does not answer pings';
      this.#record(specialist, 'Warning', 'BecameNotReady', message);
    }
    if (ready) for (const other of this.#dependents(specialist)) this.#queue.add(other.aiId);
  }
}

function mayRestart(specialist: Specialist, desired: Desired): boolean {
  const exit = specialist.lastExit;
  if (!exit || specialist.backoff.failures === 0) return true;
  switch (desired.spec.restartPolicy) {
    case 'Always':
      return true;
    case 'OnFailure':
      return exit.code !== 0;
    case 'Never':
      return false;
    default:
      return desired.spec.restartPolicy satisfies never;
  }
}

function describeExit(exit: LastExit): string {
  if (exit.signal !== undefined) return `with signal ${exit.signal}`;
  return exit.code === undefined ? 'for a reason unknown' : `with exit code ${exit.code}`;
}
