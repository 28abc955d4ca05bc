/** The reconciler's world in memory: everything `Ports` asks for, in a test's hand. */
import {genericExpertise, specialistDefaults} from '../../src/api/defaults.js';
import {condition} from '../../src/api/conditions.js';
import type {Condition, ConditionType} from '../../src/api/conditions.js';
import {TektonError} from '../../src/api/errors.js';
import {flatten, hashOf} from '../../src/api/hash.js';
import {defaultPorts} from '../../src/api/types.js';
import type {
  Desired,
  FleetEvent,
  FleetRecord,
  FleetStatus,
  Json,
  LoadedFleet,
  ModelCheck,
  NamedProvider,
  NamedStatus,
  ResolvedProvider,
  SecretRef,
  SpecialistSpec,
} from '../../src/api/types.js';
import {answerChecks} from '../../src/cli/canary-ports.js';
import type {Asked, CanaryChat} from '../../src/reconciler/canary-run.js';
import {Controller} from '../../src/reconciler/controller.js';
import type {ControllerOptions} from '../../src/reconciler/controller.js';
import {nextRecord} from '../../src/reconciler/desired.js';
import {fleetId} from '../../src/reconciler/fleets.js';
import type {
  Chats,
  FleetKey,
  GitSources,
  Models,
  PortAnswer,
  PortRequest,
  Ports,
  Registry,
  RegistryFact,
  Secrets,
  Sources,
  Store,
} from '../../src/reconciler/ports.js';
import type {AutoChoice} from '../../src/providers/auto.js';
import type {PullProgress} from '../../src/providers/provider.js';
import {loadSchedules} from '../../src/spec/schedule.js';
import {FakeClock} from './clock.js';
import {FakeRuntime} from './runtime.js';

// ── what is declared ────────────────────────────────────────────────────────────────────────────

export const dev: FleetKey = {namespace: 'default', fleet: 'dev'};

export const providers = {
  ollama: {name: 'ollama', type: 'ollama', baseUrl: 'http://127.0.0.1:11434'},
  hosted: {name: 'hosted', type: 'anthropic', apiKey: {env: 'HOSTED_KEY'}},
  auto: {name: 'auto', type: 'auto'},
  offline: {name: 'offline', type: 'offline'},
} as const satisfies Record<string, NamedProvider>;

/** What a test says of a specialist; everything else is a built-in default. */
export interface Says extends Partial<Omit<SpecialistSpec, 'provider' | 'probes'>> {
  readonly provider?: keyof typeof providers;
  readonly probes?: Partial<SpecialistSpec['probes']>;
  readonly fleet?: FleetKey;
  readonly aiId?: string;
  readonly generation?: number;
}

export function desire(name: string, says: Says = {}): Desired {
  const {fleet = dev, aiId = `${name}-ai`, generation = 0, provider = 'ollama', probes, ...fields} = says;
  const said = {component: name, ...fields, ...(says.provider && {provider}), ...(probes && {probes})};
  const declared = flatten(JSON.parse(JSON.stringify(said)) as Json); // drops what is undefined
  const spec: SpecialistSpec = {
    ...specialistDefaults,
    component: name,
    model: 'llama3',
    expertise: genericExpertise(name),
    ...fields,
    provider,
    probes: {...specialistDefaults.probes, ...probes},
  };
  return {
    aiId,
    name,
    namespace: fleet.namespace,
    fleet: fleet.fleet,
    labels: {},
    spec,
    provider: providers[provider],
    ...(spec.fallback.length > 0 && {fallbackProviders: spec.fallback.map(one => fallbackProvider(one.provider))}),
    generation,
    declared,
    specHash: hashOf(declared),
    origins: Object.fromEntries(Object.keys(declared).map(path => [path, {type: 'file', file: '/f.yaml'}])),
  };
}

function fallbackProvider(name: string): NamedProvider {
  const found: NamedProvider | undefined = Object.values(providers).find(provider => provider.name === name);
  if (!found) throw new Error(`no provider ${name}`);
  return found;
}

export function loaded(specialists: readonly Desired[], changes: Partial<LoadedFleet> = {}): LoadedFleet {
  return {
    name: dev.fleet,
    namespace: dev.namespace,
    enabled: true,
    ports: defaultPorts,
    allowMassPrune: false,
    source: {type: 'files', paths: ['/work/tekton-ai.yaml']},
    files: ['/work/tekton-ai.yaml'],
    watch: [],
    specialists,
    overrides: {},
    notices: [],
    ...changes,
  };
}

// ── the world ───────────────────────────────────────────────────────────────────────────────────

export class FakeStore implements Store {
  readonly records = new Map<string, string>();
  readonly statuses = new Map<string, FleetStatus>();
  readonly written: FleetStatus[] = [];
  readonly events: FleetEvent[] = [];
  unreadable: Error | undefined;
  unwritable: Error | undefined;
  #changed: (() => void) | undefined;

  async readFleets(): Promise<readonly FleetRecord[]> {
    if (this.unreadable) throw this.unreadable;
    return [...this.records.values()].map(text => JSON.parse(text) as FleetRecord);
  }

  watchFleets(changed: () => void): () => void {
    this.#changed = changed;
    return () => (this.#changed = undefined);
  }

  /** A hand removes a record; whoever watches is told. */
  removeFleet(key: FleetKey): void {
    this.records.delete(fleetId(key));
    this.#changed?.();
  }

  async updateFleet(
    key: FleetKey,
    change: (record: FleetRecord | undefined) => FleetRecord | undefined,
  ): Promise<FleetRecord | undefined> {
    const text = this.records.get(fleetId(key));
    const next = change(text === undefined ? undefined : (JSON.parse(text) as FleetRecord));
    if (next) this.records.set(fleetId(key), JSON.stringify(next));
    return next;
  }

  async readStatus(key: FleetKey): Promise<FleetStatus | undefined> {
    return this.statuses.get(fleetId(key));
  }

  async writeStatus(status: FleetStatus): Promise<void> {
    if (this.unwritable) throw this.unwritable;
    this.written.push(status);
    this.statuses.set(fleetId({namespace: status.namespace, fleet: status.name}), status);
  }

  async appendEvents(events: readonly FleetEvent[]): Promise<void> {
    if (this.unwritable) throw this.unwritable;
    this.events.push(...events);
  }
}

export class FakeSources implements Sources {
  /** What each fleet's files say now. */
  readonly content = new Map<string, LoadedFleet | Error>();
  readonly reads: string[] = [];
  watching = 0;
  readonly #clock: FakeClock;
  readonly #watchers = new Map<string, () => void>();

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  /** Somebody saves the file; a watcher is told. */
  edit(content: LoadedFleet | Error, key: FleetKey = dev): void {
    this.content.set(fleetId(key), content);
    this.#watchers.get(fleetId(key))?.();
  }

  async reload(record: FleetRecord): Promise<LoadedFleet> {
    this.reads.push(this.#clock.iso());
    const content = this.content.get(fleetId({namespace: record.namespace, fleet: record.name}));
    if (content === undefined) return record;
    if (content instanceof Error) throw content;
    return content;
  }

  async watch(record: FleetRecord, changed: () => void): Promise<{update(): void; close(): Promise<void>}> {
    const id = fleetId({namespace: record.namespace, fleet: record.name});
    this.#watchers.set(id, changed);
    this.watching += 1;
    return {
      update: () => undefined,
      close: async () => {
        this.watching -= 1;
        this.#watchers.delete(id);
      },
    };
  }
}

export class FakeRegistry implements Registry {
  /** Ports that it knows to be taken by others. */
  readonly taken = new Set<number>();
  /** Who has which of the taken ports; where the system tells. */
  readonly holders = new Map<number, string>();
  /** Those of the taken ports that nobody listens on: somebody's client ports. */
  readonly transient = new Set<number>();
  /** Living programs that registered themselves, by ai id. */
  readonly strangers = new Map<string, string>();
  readonly passes: (readonly PortRequest[])[] = [];
  readonly syncs: {readonly fleets: readonly string[]; readonly aiIds: readonly string[]}[] = [];
  entries: readonly RegistryFact[] = [];
  /** So many of the next syncs fail. */
  failSyncs = 0;
  failed = 0;
  watching = 0;
  readonly #held = new Map<number, string>();
  #changed: (() => void) | undefined;

  async allocate(requests: readonly PortRequest[]): Promise<readonly PortAnswer[]> {
    this.passes.push(requests);
    return requests.map(request => this.#allocate(request));
  }

  async sync(fleets: readonly string[], facts: readonly RegistryFact[]): Promise<void> {
    if (this.failSyncs > 0) {
      this.failSyncs -= 1;
      this.failed += 1;
      throw new TektonError('cannot write the registry: no space left on device');
    }
    this.syncs.push({fleets, aiIds: facts.map(f => f.aiId).sort()});
    if (JSON.stringify(facts) !== JSON.stringify(this.entries)) this.edit(facts);
  }

  async strangerAt(aiId: string): Promise<string | undefined> {
    return this.strangers.get(aiId);
  }

  async watch(changed: () => void): Promise<() => Promise<void>> {
    this.#changed = changed;
    this.watching += 1;
    return async () => {
      this.watching -= 1;
      this.#changed = undefined;
    };
  }

  /** A reservation runs out. */
  expire(aiId: string): void {
    for (const [port, holder] of this.#held) if (holder === aiId) this.#held.delete(port);
  }

  /** Somebody writes into the registry: a hand, or we. */
  edit(entries: readonly RegistryFact[]): void {
    this.entries = entries;
    this.#changed?.();
  }

  #allocate({aiId, preferred, pinned, avoid, range}: PortRequest): PortAnswer {
    const free = (port: number): boolean =>
      !this.taken.has(port) && !avoid.includes(port) && (this.#held.get(port) ?? aiId) === aiId;
    this.expire(aiId);
    if (pinned !== undefined && !free(pinned)) {
      const transient = this.#isTransient(pinned) && {transient: true};
      const holder = this.holders.get(pinned) ?? 'another program';
      return {ok: false, reason: 'PortTaken', message: `port ${pinned} is taken by ${holder}`, ...transient};
    }
    const all = Array.from({length: range.to - range.from + 1}, (_, i) => range.from + i);
    const port = pinned ?? [preferred ?? range.from, ...all].find(free);
    if (port === undefined) {
      return {ok: false, reason: 'PortsExhausted', message: `no free port in ${range.from}-${range.to}`};
    }
    this.#held.set(port, aiId);
    if (preferred === undefined || preferred === port || pinned !== undefined) return {ok: true, port};
    const movedFrom = {port: preferred, holder: this.holders.get(preferred), transient: this.#isTransient(preferred)};
    return {ok: true, port, movedFrom};
  }

  #isTransient(port: number): boolean {
    return this.taken.has(port) && this.transient.has(port);
  }
}

/** A download: its progress comes when a test says so, and it ends when a test ends it. */
export class FakePull {
  readonly provider: string;
  readonly model: string;
  readonly signal: AbortSignal;
  readonly #steps: (PullProgress | 'done' | Error)[] = [];
  #wake: () => void = () => undefined;

  constructor(provider: string, model: string, signal: AbortSignal) {
    this.provider = provider;
    this.model = model;
    this.signal = signal;
    signal.addEventListener('abort', () => this.#wake(), {once: true});
  }

  step(step: PullProgress | 'done' | Error): void {
    this.#steps.push(step);
    this.#wake();
  }

  async *run(): AsyncGenerator<PullProgress, void, void> {
    for (;;) {
      this.signal.throwIfAborted();
      const step = this.#steps.shift();
      if (step === 'done') return;
      if (step instanceof Error) throw step;
      if (step) yield step;
      else await new Promise<void>(resolve => (this.#wake = resolve));
    }
  }
}

export class FakeModels implements Models {
  /** By name of the provider; absent: available. `hang`: no answer before the question is taken back. */
  readonly answers = new Map<string, ModelCheck | 'hang'>();
  readonly asked: {readonly provider: string; readonly models: readonly string[]}[] = [];
  auto: AutoChoice = autoOf('ollama');
  /** How often `auto` was asked about. */
  choices = 0;
  /** Set: every question waits for it. */
  gate: Promise<void> | undefined;
  /** Downloads as they were begun, in a test's hand. */
  readonly pulls: FakePull[] = [];
  readonly #secrets: Secrets;

  constructor(secrets: Secrets) {
    this.#secrets = secrets;
  }

  async resolve({name, type, baseUrl, apiKey}: NamedProvider): Promise<ResolvedProvider> {
    await this.gate;
    const secret = apiKey && (await this.#secrets.resolve(apiKey, undefined));
    return {
      name,
      type: type === 'auto' ? 'offline' : type,
      ...(baseUrl !== undefined && {baseUrl}),
      ...(secret && ('value' in secret ? {apiKey: secret.value} : {missingSecret: secret.missing})),
    };
  }

  async client(provider: ResolvedProvider): ReturnType<Models['client']> {
    return {
      check: async (models, signal) => {
        this.asked.push({provider: provider.name, models});
        await this.gate;
        const answer = this.answers.get(provider.name) ?? {available: true};
        signal.throwIfAborted();
        if (answer !== 'hang') return new Map(models.map(model => [model, answer]));
        return new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error), {once: true});
        });
      },
      chat: () => {
        throw new Error('the reconciler never chats');
      },
      pull: (model, signal) => {
        const pull = new FakePull(provider.name, model, signal);
        this.pulls.push(pull);
        return pull.run();
      },
    };
  }

  async chooser(): ReturnType<Models['chooser']> {
    await this.gate;
    return {
      choose: async () => {
        this.choices += 1;
        return this.auto;
      },
    };
  }
}

export function autoOf(type: 'ollama' | 'anthropic' | 'offline', model = 'm'): AutoChoice {
  return {provider: {name: type, type}, model, choice: {provider: type, type, model, why: `${type} it is`}};
}

/** Workers that answer as a test says; what they were asked is kept. */
export class FakeChats implements Chats {
  readonly asked: {readonly port: number; readonly content: string; readonly token?: string}[] = [];
  /** A text is the answer; `hang` is none before the question is taken back. */
  answer: (port: number, chat: CanaryChat) => string | Asked = () => 'fine';

  async ask(
    to: {readonly port: number; readonly token?: string},
    chat: CanaryChat,
    signal: AbortSignal,
  ): Promise<Asked> {
    signal.throwIfAborted();
    const {port, token} = to;
    this.asked.push({port, content: chat.content, ...(token !== undefined && {token})});
    const answer = this.answer(port, chat);
    if (answer === 'hang') {
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), {once: true});
      });
    }
    if (typeof answer !== 'string') return answer;
    return {ok: true, answer: {content: answer, seconds: 0.1, outputTokens: answer.length}};
  }
}

/** Everything at once, and short ways to say what happens in it. */
export class World {
  readonly clock = new FakeClock();
  readonly runtime = new FakeRuntime(this.clock);
  readonly registry = new FakeRegistry();
  readonly store = new FakeStore();
  readonly sources = new FakeSources(this.clock);
  /** By variable or path. */
  readonly secretValues = new Map<string, string>();
  readonly secrets: Secrets = {
    resolve: async (ref: SecretRef) => {
      const name = 'env' in ref ? ref.env : ref.file;
      const value = this.secretValues.get(name);
      return value === undefined ? {missing: `${name} is not set`} : {value};
    },
  };
  readonly models = new FakeModels(this.secrets);
  readonly chats = new FakeChats();
  readonly warnings: string[] = [];
  readonly #crashes = new Map<Controller, () => void>();
  #uids = 0;
  #applies = 0;

  constructor({git}: {readonly git?: GitSources} = {}) {
    if (git) this.ports = {...this.ports, git};
  }

  readonly ports: Ports = {
    clock: this.clock,
    random: () => 0.5,
    newUid: () => `uid-${++this.#uids}`,
    runtime: this.runtime,
    registry: this.registry,
    models: this.models,
    chats: this.chats,
    checks: answerChecks,
    secrets: this.secrets,
    store: this.store,
    sources: this.sources,
    schedules: {load: loadSchedules},
    log: {
      info: () => undefined,
      debug: () => undefined,
      warn: (fields, message) => this.warnings.push(`${message} ${JSON.stringify(fields)}`),
    },
  };

  /** As `apply --yes` does: the record is written, and the source says the same. */
  async apply(specialists: readonly Desired[], changes: Partial<LoadedFleet> = {}): Promise<FleetRecord> {
    const fleet = loaded(specialists, changes);
    const key = {namespace: fleet.namespace, fleet: fleet.name};
    this.sources.content.set(fleetId(key), fleet);
    const appliedAt = `apply ${++this.#applies}`;
    const options = {confirmed: true, takeOver: true, prune: true, appliedAt, version: '1'};
    const record = await this.store.updateFleet(key, previous => nextRecord(previous, fleet, options));
    if (!record) throw new Error('nothing was applied');
    return record;
  }

  controller(options: Partial<ControllerOptions> = {}): Controller {
    const {ports, crash} = mortal(this.ports);
    const controller = new Controller({ports, version: '1', follow: true, parallel: 4, ...options});
    this.#crashes.set(controller, crash);
    return controller;
  }

  /** As kill -9 does: nothing that it does or waits for has any effect from now on. */
  crash(controller: Controller): void {
    this.#crashes.get(controller)?.();
  }

  /** A controller that has converged what was applied. */
  async start(options: Partial<ControllerOptions> = {}): Promise<Controller> {
    const controller = this.controller(options);
    let waiting = true;
    const started = controller.start().finally(() => (waiting = false));
    await this.clock.advance(500);
    while (waiting) await this.clock.advance(100);
    await started;
    return controller;
  }

  async close(controller: Controller): Promise<void> {
    const closed = controller.close();
    await this.clock.advance(1000);
    await closed;
  }

  named(name: string, key: FleetKey = dev): NamedStatus {
    const found = this.store.statuses.get(fleetId(key))?.specialists.find(s => s.name === name);
    if (!found) throw new Error(`no status of ${name}`);
    return found;
  }

  condition(name: string, type: ConditionType, key: FleetKey = dev): Condition {
    const found = condition(this.named(name, key).status.conditions, type);
    if (!found) throw new Error(`${name} has no condition ${type}`);
    return found;
  }

  /** Reasons of what happened, in order; of one specialist or of all. */
  reasons(name?: string): readonly string[] {
    return this.events(name).map(event => event.reason);
  }

  events(name?: string): readonly FleetEvent[] {
    return this.store.events.filter(event => name === undefined || event.aiId === `${name}-ai`);
  }
}

function mortal(ports: Ports): {readonly ports: Ports; readonly crash: () => void} {
  let dead = false;
  const never = new Promise<never>(() => undefined);
  const guard = <T extends object>(port: T): T =>
    new Proxy(port, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => (dead ? never : value.apply(target, args));
      },
    });
  const {clock, runtime, registry, models, chats, secrets, store, sources, git} = ports;
  const mortalClock: Ports['clock'] = {
    iso: () => clock.iso(),
    monotonic: () => clock.monotonic(),
    after: (ms, run) => clock.after(ms, () => dead || run()),
  };
  return {
    ports: {
      ...ports,
      clock: mortalClock,
      runtime: guard(runtime),
      registry: guard(registry),
      models: guard(models),
      chats: guard(chats),
      secrets: guard(secrets),
      store: guard(store),
      sources: guard(sources),
      ...(git && {git: guard(git)}),
    },
    crash: () => {
      dead = true;
    },
  };
}
