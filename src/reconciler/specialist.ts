/** What the controller holds in memory of one specialist between two passes. Everything in it can be observed anew. */
import type {Desired, FleetRecord, LastExit, ModelCheck, NamedStatus, SpecialistStatus, Usage} from '../api/types.js';
import {addUsage, noUsage, subtractUsage} from '../api/usage.js';
import type {Remains, Worker} from '../runtime/runtime.js';
import {isCrashLoop, noFailures} from './backoff.js';
import type {Backoff} from './backoff.js';
import {canaryView} from './canary-record.js';
import type {CanaryView} from './canary-record.js';
import type {FleetKey} from './ports.js';
import {offReason} from './status.js';
import type {Facts, Why} from './status.js';
import type {Observed} from './types.js';

/** A restart that failed, and when it is tried again. */
export interface Rollout {
  readonly why: Why;
  readonly backoff: Backoff;
  /** Monotonic ms. */
  readonly retryAt: number;
}

export class Specialist {
  /** Key of queue and models. */
  readonly id: string;
  readonly aiId: string;
  readonly key: FleetKey;
  /** Absent: no longer declared, to be pruned. */
  desired: Desired | undefined;
  /** Why it is not to run, though declared. */
  off: Why | undefined;
  /** How it stands with its canary, by its fleet's record. */
  canary: CanaryView | undefined;
  worker: Worker | undefined;
  /** Predecessors of `worker` that still serve the connections that they have. */
  readonly retiring = new Set<Worker>();
  /** The worker is being replaced: until this resolves, its silence and its end mean nothing. */
  handover: Promise<unknown> | undefined;
  /** The successor of `worker` did not come up; it serves on with what it was declared before. */
  rollout: Rollout | undefined;
  /** We asked the worker to go: its exit is no failure. */
  stopping = false;
  /** It was sent a configuration and gave no answer: it may take it over yet, whatever is declared by then. */
  unsure = false;
  /** Somebody else configured it since it was told last: though it says the same, its secrets may be others. */
  toldByOther = false;
  /** Somebody told it to end: it does when it has drained, and what its end means is dealt with then. */
  ending = false;
  /** Somebody else changed it, and the fleet's policy has it left so. */
  drift: Why | undefined;
  /** Of `drift` what was told of as a Warning. */
  warned: string | undefined;
  /** A person asked for it to be as declared, whatever the policy is; until it is. */
  healAsked: object | undefined;
  /** As `healAsked` when the pass under way began. */
  healing: object | undefined;
  missedProbes = 0;
  cancelProbe: (() => void) | undefined;
  /** Generation that was acted on last. */
  observedGeneration = 0;
  /** Port of the last instance: taken again if it is free. */
  lastPort: number | undefined;
  backoff: Backoff = noFailures;
  /** Monotonic ms before which nothing is launched. */
  holdUntil = 0;
  /** Monotonic ms of the last time that a worker began to listen. */
  listeningSince = 0;
  progress: Why | undefined;
  blocked: Why | undefined;
  restarts = 0;
  lastExit: LastExit | undefined;
  /** Of instances that are gone; the running one's come on top. */
  usageBefore: Usage = noUsage;
  usage: Usage = noUsage;
  /** As last computed: transition times live on in it. */
  status: SpecialistStatus | undefined;

  constructor(aiId: string, key: FleetKey) {
    this.id = `${key.namespace}/${key.fleet}/${aiId}`;
    this.aiId = aiId;
    this.key = key;
  }

  /** Takes over what an earlier controller wrote, so that counts and transition times go on. */
  restore(status: SpecialistStatus): void {
    this.status = status;
    this.restarts = status.restarts;
    this.lastExit = status.lastExit;
    this.lastPort ??= status.port;
    // What the running instance counted itself is in the status, too.
    const counted = status.instance?.uid === this.worker?.instance.uid ? this.usage : noUsage;
    this.usageBefore = subtractUsage(status.usage, [...this.retiring].map(usageOf).reduce(addUsage, counted));
  }

  declare(desired: Desired | undefined, record: FleetRecord): void {
    const changed = desired?.specHash !== this.desired?.specHash || desired?.generation !== this.desired?.generation;
    this.desired = desired;
    this.off = desired && offReason(desired, record);
    this.canary = desired && canaryView(record, desired);
    // The record was lost and made anew, and counts from 1: what was acted on before counts for nothing.
    if (desired && desired.generation < this.observedGeneration) this.observedGeneration = 0;
    if (!changed) return;
    this.backoff = noFailures;
    this.holdUntil = 0;
    this.rollout = undefined;
    this.blocked = undefined;
  }

  take(worker: Worker, now: number): void {
    this.worker = worker;
    this.lastPort = worker.port;
    this.missedProbes = 0;
    this.stopping = false;
    this.unsure = false;
    this.toldByOther = false;
    this.listeningSince = now;
    this.progress = undefined;
    this.blocked = undefined;
    this.rollout = undefined;
    this.usage = worker.hello.usage;
  }

  remember(remains: Remains): void {
    this.lastPort = remains.port ?? this.lastPort;
    this.lastExit = remains.exit ?? this.lastExit;
  }

  lose(exit: LastExit): void {
    this.#letGo();
    this.rollout = undefined;
    this.lastExit = exit;
    this.usageBefore = addUsage(this.usageBefore, this.usage);
    this.usage = noUsage;
  }

  /** The worker has a successor: it is no longer the one that counts, and ends by itself. */
  retire(worker: Worker): void {
    if (this.worker === worker) {
      this.#letGo();
      this.usage = noUsage;
    }
    this.retiring.add(worker);
  }

  /** A predecessor is gone. */
  retired(worker: Worker): void {
    if (this.retiring.delete(worker)) this.usageBefore = addUsage(this.usageBefore, usageOf(worker));
  }

  totalUsage(): Usage {
    return [...this.retiring].map(usageOf).reduce(addUsage, addUsage(this.usageBefore, this.usage));
  }

  #letGo(): void {
    this.worker = undefined;
    this.ending = false;
    this.drift = undefined;
    this.cancelProbe?.();
    this.cancelProbe = undefined;
  }

  observed(): Observed {
    const {worker} = this;
    const {namespace, fleet} = this.key;
    const name = this.desired?.name ?? this.aiId;
    const component = this.desired?.spec.component ?? '';
    const who = {aiId: this.aiId, name, namespace, fleet, component};
    if (!worker) return {...who, state: 'exited', ...(this.lastPort !== undefined && {port: this.lastPort})};
    const {told, ...said} = observe(worker);
    // It may have taken over what we gave it without an answer: then that is no drift.
    return this.unsure || !told ? said : {...said, told};
  }

  /** For a status of it; what is being pruned is known by what it says of itself. Undefined when nothing is left. */
  who(): Omit<NamedStatus, 'status'> | undefined {
    const {aiId, desired, worker} = this;
    if (desired) {
      const {name, labels, generation, spec} = desired;
      return {aiId, name, component: spec.component, roles: spec.expertise.roles, labels, generation};
    }
    if (!worker) return undefined;
    const {name, component} = worker.hello;
    // One that ran as declared already was not told of a later generation that declared the same.
    const generation = Math.max(worker.hello.generation, this.observedGeneration);
    return {aiId, name, component, roles: [], labels: {}, generation};
  }

  facts(model: ModelCheck | undefined): Facts {
    const {worker} = this;
    return {
      generation: this.desired?.generation ?? this.observedGeneration,
      ...(this.off && {off: this.off}),
      ...(worker && {
        worker: {
          instance: worker.instance,
          host: worker.host,
          port: worker.port,
          choice: worker.hello.choice,
          generation: this.observedGeneration,
          specHash: worker.hello.specHash,
          draining: this.stopping || worker.hello.draining,
          missed: this.missedProbes,
        },
      }),
      model,
      budgeted: this.desired?.spec.budget !== undefined,
      ...(worker?.hello.budget && {budget: worker.hello.budget}),
      ...(this.rollout && {rollout: this.rollout.why, rolloutStuck: isCrashLoop(this.rollout.backoff)}),
      ...(this.drift && {drift: this.drift}),
      ...(this.canary && {canary: this.canary}),
      ...(this.progress && {progress: this.progress}),
      ...(this.blocked && {blocked: this.blocked}),
      crashLoop: !worker && isCrashLoop(this.backoff),
      restarts: this.restarts,
      lastExit: this.lastExit,
      usage: this.totalUsage(),
    };
  }
}

function usageOf({hello}: Worker): Usage {
  return hello.usage;
}

/** What a worker in hand shows of itself. */
export function observe({aiId, hello, told, instance, host, port}: Worker): Observed {
  const {name, namespace, fleet, component, declared, specHash, generation, running, ending} = hello;
  return {
    ...{aiId, name, namespace, fleet, component, instance, host, port, declared, specHash, generation, told},
    state: hello.draining ? 'draining' : 'running',
    ...(running && {running}),
    ...(ending && {ending}),
  };
}
