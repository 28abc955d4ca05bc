/** From a declaration to a listening worker: secrets, a port, the process; again with another port where it was taken. */
import {TektonError} from '../api/errors.js';
import {formatVersion} from '../api/types.js';
import type {Reason} from '../api/conditions.js';
import type {Desired, FleetRecord, LastExit, ResolvedProvider} from '../api/types.js';
import type {WorkerConfig} from '../protocol/control.js';
import type {Worker} from '../runtime/runtime.js';
import type {ModelMonitor, Target} from './models.js';
import type {MovedFrom, PortAnswer, PortRequest, Ports} from './ports.js';

/** Why nothing can be launched for now: each is an event as well. */
type BlockedReason = Extract<Reason, 'PortsExhausted' | 'PortTaken' | 'RegistryUnavailable' | 'SecretMissing'>;

export interface Obstacle {
  readonly reason: BlockedReason;
  readonly message: string;
}

export type LaunchResult =
  | {
      readonly type: 'listening';
      readonly worker: Worker;
      /** Why it is not on the port that it had. */
      readonly movedFrom?: MovedFrom;
    }
  /** Launching would be of no use now; looked at again after `retryAfterMs`, or when the declaration changes. */
  | {readonly type: 'blocked'; readonly reason: BlockedReason; readonly message: string; readonly retryAfterMs: number}
  | {readonly type: 'failed'; readonly message: string; readonly exit: LastExit | undefined};

const portAttempts = 5;
const retryBlockedMs = 10_000;
/** A pinned port that is somebody's client port, a lock that was busy, a folder that somebody removed: over in a moment. */
const retryTransientMs = 1000;
/** How long such a port is waited for where another would do, ms, and how often it is looked at. */
const transientMs = 3000;
const lookEveryMs = 250;

type Blocked = Extract<LaunchResult, {type: 'blocked'}>;

export class Launcher {
  readonly #ports: Ports;
  readonly #models: ModelMonitor;
  readonly #allocator: BatchedAllocator;
  /** Keys of the providers that a worker was told last, by ai id: in memory only. */
  readonly #told = new Map<string, string | undefined>();

  constructor(ports: Ports, models: ModelMonitor) {
    this.#ports = ports;
    this.#models = models;
    this.#allocator = new BatchedAllocator(ports);
  }

  /** @param lastPort taken again if it is free, so that a specialist keeps its port across restarts. */
  async launch(desired: Desired, record: FleetRecord, lastPort: number | undefined): Promise<LaunchResult> {
    const env = await this.#environment(desired, record);
    if ('type' in env) return env;
    const token = await this.#authToken(desired, record);
    if (typeof token === 'object') return token;
    const config = await this.config(desired, record, token);
    const {aiId} = desired;
    const {host, port: pinned} = desired.spec;
    const sticky = lastPort !== undefined && inRange(lastPort, record) ? lastPort : undefined;
    const avoid: number[] = [];
    for (let attempt = 0; attempt < portAttempts; attempt++) {
      const uid = this.#ports.newUid();
      // Where somebody takes the lowest ports as fast as we do, another state folder perhaps, any other is better.
      const raced = avoid.some(port => port !== sticky);
      const preferred = raced ? this.#anyPort(record) : avoid.length === 0 ? sticky : undefined;
      const answer = await this.#port({
        ...{aiId, uid, host, range: record.ports, avoid: [...avoid]},
        ...(preferred !== undefined && {preferred}),
        ...(pinned !== undefined && {pinned}),
      });
      if (!answer.ok) {
        const {reason, message, transient = reason === 'RegistryUnavailable'} = answer;
        return {...blocked(reason, message), ...(transient && {retryAfterMs: retryTransientMs})};
      }
      const {port, movedFrom} = answer;
      const startupMs = desired.spec.probes.startupSeconds * 1000;
      const outcome = await this.#ports.runtime.launch({uid, port, config, env: env.values, startupMs});
      if (outcome.type === 'listening') {
        this.taken(config);
        return {...outcome, ...(movedFrom && {movedFrom})};
      }
      if (outcome.reason !== 'PortTaken') return {type: 'failed', message: outcome.message, exit: outcome.exit};
      // Asked for once more, a port that it must or should have is there again, or its holder is named.
      if (pinned !== undefined && attempt > 0) return blocked('PortTaken', outcome.message);
      if (pinned === undefined && (port !== sticky || attempt > 0)) avoid.push(port);
    }
    return {
      type: 'failed',
      message: `ports ${avoid.join(', ')} were taken by other programs one after the other`,
      exit: undefined,
    };
  }

  /**
   * A port that it had, and that is only the local end of somebody's connection, is waited for: the range may lie among
   * those that the system gives to clients.
   */
  async #port(request: PortRequest): Promise<PortAnswer> {
    const {clock} = this.#ports;
    const deadline = clock.monotonic() + transientMs;
    for (;;) {
      const answer = await this.#allocator.allocate(request);
      const isTransient = answer.ok && answer.movedFrom?.transient === true && request.avoid.length === 0;
      if (!isTransient || clock.monotonic() >= deadline) return answer;
      await new Promise<void>(resolve => clock.after(lookEveryMs, resolve));
    }
  }

  #anyPort({ports: {from, to}}: FleetRecord): number {
    return from + Math.floor(this.#ports.random() * (to - from + 1));
  }

  /** Puts a new instance with what is declared in the place of `worker`, on its host and port, while it serves. */
  async replace(worker: Worker, desired: Desired, record: FleetRecord): Promise<LaunchResult> {
    const env = await this.#environment(desired, record);
    if ('type' in env) return env;
    const token = await this.#authToken(desired, record);
    if (typeof token === 'object') return token;
    const config = await this.config(desired, record, token);
    const startupMs = desired.spec.probes.startupSeconds * 1000;
    const request = {uid: this.#ports.newUid(), port: worker.port, config, env: env.values, startupMs};
    const outcome = await this.#ports.runtime.replace(worker, request);
    if (outcome.type === 'failed') return {type: 'failed', message: outcome.message, exit: outcome.exit};
    this.taken(config);
    return outcome;
  }

  /** What would keep a launch from beginning, a secret that is missing: asked before a serving worker is stopped for it. */
  async obstacle(desired: Desired, record: FleetRecord): Promise<Obstacle | undefined> {
    const env = await this.#environment(desired, record);
    if ('type' in env) return env;
    const token = await this.#authToken(desired, record);
    return typeof token === 'object' ? token : undefined;
  }

  /** What the worker is told now. @throws {TektonError} its token is not to be had: without one it would be open. */
  async config(desired: Desired, record: FleetRecord, token?: string): Promise<WorkerConfig> {
    const {aiId, name, namespace, fleet, generation, specHash, declared, spec} = desired;
    const id = `${namespace}/${fleet}/${aiId}`;
    const target = await this.#models.target(id);
    const fallback = (await this.#models.fallbacks(id)).map(({provider, model}) => ({provider, model}));
    const authToken = token ?? (await this.#authToken(desired, record));
    if (typeof authToken === 'object') throw new TektonError(`cannot configure ${name}: ${authToken.message}`);
    return {
      formatVersion,
      aiId,
      name,
      component: spec.component,
      namespace,
      fleet,
      generation,
      specHash,
      declared,
      host: spec.host,
      provider: target.provider,
      model: target.model,
      choice: target.choice,
      parameters: spec.parameters,
      expertise: spec.expertise,
      concurrency: spec.concurrency,
      sessions: spec.sessions,
      overflow: spec.overflow,
      ...(fallback.length > 0 && {fallback}),
      ...(spec.budget && {budget: spec.budget}),
      ...(authToken !== undefined && {authToken}),
      graceMs: spec.terminationGracePeriodSeconds * 1000,
    };
  }

  /** A worker has taken `config` over. */
  taken({aiId, provider, fallback = []}: WorkerConfig): void {
    this.#told.set(aiId, keysOf([provider, ...fallback.map(one => one.provider)]));
  }

  /**
   * Whether the worker was told other keys than its providers have now, or (adopted) we don't know what it was told.
   *
   * @param targets its own, then its fallbacks
   */
  secretsDiffer({aiId, spec}: Desired, targets: readonly Target[]): boolean {
    const now = keysOf(targets.map(({provider}) => provider));
    return this.secretsUnknown(aiId) ? now !== undefined || spec.auth !== undefined : this.#told.get(aiId) !== now;
  }

  secretsUnknown(aiId: string): boolean {
    return !this.#told.has(aiId);
  }

  async #environment(desired: Desired, record: FleetRecord): Promise<{values: Record<string, string>} | Blocked> {
    const values: Record<string, string> = {};
    for (const [name, value] of Object.entries(desired.spec.env)) {
      if (typeof value === 'string') {
        values[name] = value;
        continue;
      }
      const secret = await this.#ports.secrets.resolve(value, record.envFile);
      if ('missing' in secret) return blocked('SecretMissing', `env ${name}: ${secret.missing}`);
      values[name] = secret.value;
    }
    return {values};
  }

  async #authToken(desired: Desired, record: FleetRecord): Promise<string | undefined | Blocked> {
    const {auth} = desired.spec;
    if (!auth) return undefined;
    const secret = await this.#ports.secrets.resolve(auth.token, record.envFile);
    return 'missing' in secret ? blocked('SecretMissing', `auth.token: ${secret.missing}`) : secret.value;
  }
}

/** Allocates for all who ask while an allocation runs in one locked pass: 100 launches are not 100 rewrites. */
class BatchedAllocator {
  readonly #ports: Pick<Ports, 'registry'>;
  #waiting: {request: PortRequest; done: (answer: PortAnswer) => void}[] = [];
  #running = false;

  constructor(ports: Pick<Ports, 'registry'>) {
    this.#ports = ports;
  }

  allocate(request: PortRequest): Promise<PortAnswer> {
    return new Promise(done => {
      this.#waiting.push({request, done});
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    await Promise.resolve(); // requests of the same turn share a pass
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0);
      const answers = await this.#ports.registry.allocate(batch.map(b => b.request));
      batch.forEach(({done}, i) => done(answers[i] ?? lost));
    }
    this.#running = false;
  }
}

const lost: PortAnswer = {ok: false, reason: 'RegistryUnavailable', message: 'internal error: a port request was lost'};

function blocked(reason: BlockedReason, message: string): Blocked {
  return {type: 'blocked', reason, message, retryAfterMs: retryBlockedMs};
}

function inRange(port: number, {ports}: FleetRecord): boolean {
  return port >= ports.from && port <= ports.to;
}

/** undefined: none of them has one. */
function keysOf(providers: readonly ResolvedProvider[]): string | undefined {
  const keys = providers.map(({apiKey, missingSecret}) => apiKey ?? missingSecret ?? null);
  return keys.every(key => key === null) ? undefined : JSON.stringify(keys);
}
