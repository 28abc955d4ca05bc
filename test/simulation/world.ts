/** Everything that survives the actors: machine, state folder, fleet files, providers, secrets. */
import type {DriftPolicy, FleetRecord, ModelCheck} from '../../src/api/types.js';
import type {Controller} from '../../src/reconciler/controller.js';
import type {WorkerConfig} from '../../src/protocol/control.js';
import type {Content} from './declarations.js';
import {KernelLock} from './lock.js';
import {Machine} from './machine.js';
import {Random} from './random.js';
import {Scheduler} from './scheduler.js';
import type {Life} from './scheduler.js';
import type {SimulatedWorker} from './runtime.js';
import {StateFolder} from './state-folder.js';
import type {Defect, Surroundings, WorkerProcess} from './worker-process.js';

export type ProviderState = 'up' | 'down' | 'slow' | 'no-model';

/** A controller whose socket answers. */
export interface Server {
  readonly life: Life;
  readonly controller: Controller;
  readonly stop: () => void;
}

interface Watcher {
  readonly life: Life;
  readonly topic: string;
  readonly changed: () => void;
  cancel: (() => void) | undefined;
}

/** As `debounceMs` of spec/watch.ts and `gatherMs` of registry/watch-folder.ts. */
const gatherMs = 50;

export class World implements Surroundings {
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly machine: Machine;
  readonly files: StateFolder;
  /** For what nobody does: weather, clients, latencies of the world. */
  readonly random: Random;
  readonly sources = new Map<string, Content>();
  readonly providers = new Map<string, ProviderState>();
  /** Environment variables that secrets are looked up in. */
  readonly secrets = new Map<string, string>();
  readonly defects = new Map<string, Defect>();
  /** How watchers are served now. */
  watching: 'well' | 'late' | 'twice' | 'not' = 'well';
  server: Server | undefined;
  /** Of every fleet. */
  driftPolicy: DriftPolicy = 'heal';
  /** Holders of a worker, past ones included, by uid. */
  readonly handles = new Map<string, SimulatedWorker[]>();
  /** Launches and replacements under way, by uid: their own cleaning up needs no other reason. */
  readonly launching = new Set<string>();
  /** Second instances that a look found, by uid. */
  readonly superfluous = new Set<string>();
  onPing: (worker: SimulatedWorker, answers: boolean) => void = () => undefined;
  /** An actor read what is declared: all fleets, or one. */
  onRead: (life: Life, records: ReadonlyMap<string, FleetRecord | undefined>, all: boolean) => void = () => undefined;
  /** An actor read a fleet's source. */
  onLoad: (life: Life, id: string) => void = () => undefined;
  onReplace: (life: Life, victim: WorkerProcess) => void = () => undefined;
  /** An owner's configuration is about to be taken over. */
  onConfigure: (life: Life, worker: WorkerProcess, config: WorkerConfig) => void = () => undefined;
  readonly #locks = new Map<string, KernelLock>();
  readonly #watchers = new Set<Watcher>();

  constructor(seed: number, trace: boolean) {
    this.seed = seed;
    this.scheduler = new Scheduler(seed, trace);
    this.machine = new Machine(this.scheduler);
    this.files = new StateFolder(this.scheduler, this.machine);
    this.files.onChange = topic => this.changed(topic);
    this.random = Random.of(seed, 'world');
  }

  readonly defectOf = (aiId: string): Defect | undefined => this.defects.get(aiId);

  lock(name: string): KernelLock {
    const lock = this.#locks.get(name) ?? new KernelLock(name, this.scheduler);
    this.#locks.set(name, lock);
    return lock;
  }

  /** Tells `changed` of changes of a topic, a moment after them, many as one. The result ends it. */
  watch(life: Life, topic: string, changed: () => void): () => void {
    const watcher: Watcher = {life, topic, changed, cancel: undefined};
    this.#watchers.add(watcher);
    life.onEnd.push(() => this.#watchers.delete(watcher));
    return () => {
      watcher.cancel?.();
      this.#watchers.delete(watcher);
    };
  }

  changed(topic: string): void {
    if (this.watching === 'not') return;
    for (const watcher of this.#watchers) if (watcher.topic === topic) this.#tell(watcher);
  }

  #tell(watcher: Watcher): void {
    const {life, topic, changed} = watcher;
    const ms = this.watching === 'late' ? this.random.between(100, 20_000) : gatherMs + this.random.between(0, 5);
    watcher.cancel?.();
    watcher.cancel = this.scheduler.after(ms, life, `sees a change of ${topic}`, changed);
    if (this.watching === 'twice') {
      this.scheduler.after(ms + this.random.between(0, 400), life, `sees a change of ${topic} again`, () => {
        if (this.#watchers.has(watcher)) changed();
      });
    }
  }

  /** What a provider would say of its models now. */
  modelCheck(provider: string): ModelCheck {
    const state = this.providers.get(provider) ?? 'up';
    if (state === 'down') return {available: false, reason: 'ProviderUnreachable', message: `${provider} is down`};
    if (state === 'no-model') {
      return {available: false, reason: 'ModelNotFound', message: `${provider} has no such model`};
    }
    return {available: true};
  }
}
