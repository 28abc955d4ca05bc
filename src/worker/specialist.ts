/** The one specialist that a worker is: its configuration, its provider, and everything that is counted about it. */
import {formatVersion} from '../api/types.js';
import type {BudgetState, Expertise, ModelCheck, ResolvedProvider, Usage} from '../api/types.js';
import type {WorkerConfig} from '../protocol/control.js';
import type {Provider} from '../providers/provider.js';
import {Breaker} from './breaker.js';
import {checkTargets} from './check-targets.js';
import {Limiter} from './limiter.js';
import type {Log} from './log.js';
import {ModelState} from './model-state.js';
import {Slots} from './slots.js';
import {Sessions} from './sessions.js';
import type {Ledger} from './usage.js';

export interface ProviderContext {
  readonly component: string;
  readonly expertise: Expertise;
}

/** Builds a provider's client; loads its package only now. */
export type CreateProvider = (resolved: ResolvedProvider, context: ProviderContext) => Promise<Provider>;

export interface SpecialistOptions {
  readonly config: WorkerConfig;
  readonly uid: string;
  readonly createProvider: CreateProvider;
  readonly log: Log;
  /** ms, monotonic. */
  readonly now: () => number;
  /** ms since 1970. Default: the system's. */
  readonly wallNow?: (() => number) | undefined;
  /** The state folder. Absent: nothing is kept beyond this process, and no slots are shared with others. */
  readonly home?: string | undefined;
}

/** What a chat runs with from its begin to its end, whatever is reconfigured meanwhile. */
export interface Engine {
  readonly config: WorkerConfig;
  /** Whom to ask, in order: the first is the one that was declared, the rest its fallbacks. */
  readonly targets: readonly [EngineTarget, ...EngineTarget[]];
}

/** One model behind one provider. */
export interface EngineTarget {
  readonly resolved: ResolvedProvider;
  readonly model: string;
  /** As replies and usage name it. */
  readonly providerName: string;
  /** Created at the first call; one that couldn't be created is tried again at the next. */
  readonly provider: () => Promise<Provider>;
  readonly breaker: Breaker;
}

/** Why a chat is stopped from outside. */
export class ChatStopped extends Error {
  override readonly name = 'ChatStopped';
  readonly why: 'cancelled' | 'disconnected' | 'draining';

  constructor(why: ChatStopped['why']) {
    super(`chat stopped: ${why}`);
    this.why = why;
  }
}

/** Carries a code of the protocol's error table. */
export class SecretMissingError extends Error {
  override readonly name = 'SecretMissingError';
  readonly code = 'secret_missing';
  readonly retryable = false;
}

export class Specialist {
  readonly uid: string;
  readonly log: Log;
  readonly now: () => number;
  readonly wallNow: () => number;
  readonly home: string | undefined;
  readonly limiter: Limiter;
  readonly sessions: Sessions;
  readonly slots: Slots;
  readonly model: ModelState;
  /** Set once it listens. */
  port = 0;
  /** Open client connections. */
  clients = 0;
  /** A successor is being started. */
  replacing = false;
  /** A successor listens in its place. */
  retired = false;
  /** It was told to end, and does when it has drained. */
  ending = false;
  /** Configurations taken over since its start. */
  revision = 0;
  readonly startedAt: number;
  readonly #createProvider: CreateProvider;
  readonly #chats = new Set<AbortController>();
  readonly #idle = new Set<() => void>();
  readonly #usageListeners = new Set<() => void>();
  readonly #suspectListeners = new Set<(code: string) => void>();
  #engine: Engine;
  readonly #budgetListeners = new Set<(state: BudgetState) => void>();
  #ledger: Ledger | undefined;
  #opening: Promise<Ledger> | undefined;
  #draining = false;

  constructor({config, uid, createProvider, log, now, wallNow = Date.now, home}: SpecialistOptions) {
    this.home = home;
    this.wallNow = wallNow;
    this.uid = uid;
    this.log = log;
    this.now = now;
    this.startedAt = now();
    this.#createProvider = createProvider;
    const {aiId, sessions, concurrency} = config;
    const clock = {now, after};
    this.limiter = new Limiter(concurrency, clock);
    this.slots = new Slots({aiId, home, now, timeout: () => this.limiter.timeout()});
    this.sessions = new Sessions({aiId, limits: sessions, concurrency, clock, wallNow, log, home});
    this.#engine = this.#makeEngine(config);
    this.model = new ModelState({
      now,
      check: signal => checkTargets(this.#engine, signal),
      onSuspect: code => this.#suspectListeners.forEach(listener => listener(code)),
      onChecked: check => this.#closeBreakers(check),
    });
  }

  get engine(): Engine {
    return this.#engine;
  }

  get config(): WorkerConfig {
    return this.#engine.config;
  }

  /** Since this process began. */
  get usage(): Usage {
    return this.#ledger?.usage ?? {requests: 0, inputTokens: 0, outputTokens: 0};
  }

  /** Absent until the first chat, or the first look at the budget. */
  get ledger(): Ledger | undefined {
    return this.#ledger;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /**
   * Chats that begin from now on run with `config`.
   *
   * @returns why not: what only a restart can change; then nothing has changed
   */
  configure(config: WorkerConfig): string | undefined {
    const old = this.config;
    if (config.formatVersion > formatVersion) {
      return `configuration has format version ${config.formatVersion}; this worker knows ${formatVersion}`;
    }
    const fixed = (['aiId', 'component', 'host'] as const).find(field => config[field] !== old[field]);
    if (fixed !== undefined) return `${fixed} cannot change without a restart: ${old[fixed]} to ${config[fixed]}`;
    const before = this.#engine;
    this.#engine = this.#makeEngine(config, before);
    if (!sameTargets(this.#engine, before)) this.model.forget();
    this.limiter.configure(config.concurrency);
    this.sessions.configure(config.sessions, config.concurrency);
    this.#ledger?.configure(config.budget);
    this.watchBudget();
    this.revision += 1;
    return undefined;
  }

  /** A chat is under way until the result is called. */
  beginChat(stop: AbortController): () => void {
    this.#chats.add(stop);
    return () => {
      this.#chats.delete(stop);
      if (this.#chats.size > 0) return;
      for (const resolve of this.#idle) resolve();
      this.#idle.clear();
    };
  }

  /** Loads it; what of it can't be read from the state folder is logged. */
  async openLedger(): Promise<Ledger> {
    this.#opening ??= this.#loadLedger();
    try {
      return await this.#opening;
    } catch (error) {
      this.#opening = undefined; // the next chat tries again
      throw error;
    }
  }

  /** Writes what was counted last. Never rejects. */
  async closeLedger(): Promise<void> {
    const ledger = await this.#opening?.catch(() => undefined);
    await ledger?.close();
  }

  /** Where there is a budget: whether it is spent is told from now on, also by those who don't ask. */
  watchBudget(): void {
    this.budget().catch((error: unknown) => {
      this.log('error', 'cannot look at the budget', {error: error instanceof Error ? error.message : String(error)});
    });
  }

  /** How the budget stands; undefined: there is none. */
  async budget(): Promise<BudgetState | undefined> {
    if (this.config.budget === undefined) return undefined;
    return (this.#ledger ?? (await this.openLedger())).budget;
  }

  /** @returns unregisters */
  onUsage(listener: () => void): () => void {
    this.#usageListeners.add(listener);
    return () => void this.#usageListeners.delete(listener);
  }

  /** The budget is spent that was not, or has begun anew. @returns unregisters */
  onBudget(listener: (state: BudgetState) => void): () => void {
    this.#budgetListeners.add(listener);
    return () => void this.#budgetListeners.delete(listener);
  }

  /** @returns unregisters */
  onSuspect(listener: (code: string) => void): () => void {
    this.#suspectListeners.add(listener);
    return () => void this.#suspectListeners.delete(listener);
  }

  /** No new chats from now on. Resolves when those under way have ended, or after `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    await this.idle(graceMs);
  }

  /** Resolves when no chat is under way, or after `timeoutMs`. */
  async idle(timeoutMs: number): Promise<void> {
    if (this.#chats.size === 0) return;
    await new Promise<void>(resolve => {
      const done = (): void => {
        clearTimeout(timer);
        this.#idle.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#idle.add(done);
    });
  }

  stopChats(why: ChatStopped['why']): void {
    for (const chat of this.#chats) chat.abort(new ChatStopped(why));
  }

  async #loadLedger(): Promise<Ledger> {
    const {Ledger} = await import('./usage.js');
    const {home, uid, log, now, wallNow} = this;
    const ledger = await Ledger.open({
      ...{home, uid, log, now, wallNow},
      aiId: this.config.aiId,
      onCount: () => this.#usageListeners.forEach(listener => listener()),
      onBudget: state => this.#budgetListeners.forEach(listener => listener(state)),
    });
    this.#ledger = ledger;
    // As it stands now: it may have been reconfigured meanwhile.
    ledger.configure(this.config.budget);
    return ledger;
  }

  /** Clients of providers that `before` had as well are kept, and what is known of how their models fail. */
  #makeEngine(config: WorkerConfig, before?: Engine): Engine {
    const {provider, model, choice, fallback = []} = config;
    const known = (before?.targets ?? []).map(target => ({...target, key: keyOf(before?.config ?? config, target)}));
    const target = (resolved: ResolvedProvider, providerName: string, model: string): EngineTarget => {
      const same = known.filter(({key}) => key === keyOf(config, {resolved}));
      const provider = same[0]?.provider ?? this.#client(config, resolved);
      const breaker = same.find(other => other.model === model)?.breaker ?? this.#breaker();
      return {resolved, model, providerName, provider, breaker};
    };
    const rest = fallback.map(({provider: resolved, model: other}) => target(resolved, resolved.name, other));
    return {config, targets: [target(provider, choice.provider, model), ...rest]};
  }

  #breaker(): Breaker {
    return new Breaker({now: this.now, random: Math.random});
  }

  #client({component, expertise}: WorkerConfig, resolved: ResolvedProvider): () => Promise<Provider> {
    let made: Promise<Provider> | undefined;
    const make = async (): Promise<Provider> => {
      if (resolved.missingSecret !== undefined) {
        throw new SecretMissingError(`provider "${resolved.name}" needs a key: set ${resolved.missingSecret}`);
      }
      return this.#createProvider(resolved, {component, expertise});
    };
    return () => {
      made ??= make().catch((error: unknown) => {
        made = undefined;
        throw error;
      });
      return made;
    };
  }

  /** What a check has found out needs no chat to find it out once more. */
  #closeBreakers(check: ModelCheck): void {
    if (!check.available) return;
    const {targets} = this.#engine;
    const by = check.fallback?.by;
    const found =
      by === undefined ? targets[0] : targets.find(({providerName, model}) => `${providerName}:${model}` === by);
    found?.breaker.cleared();
  }
}

/** Whether what is known of the model of `b` holds for that of `a`. */
function sameTargets({targets: a}: Engine, {targets: b}: Engine): boolean {
  return a.length === b.length && a.every(({breaker}, i) => breaker === b[i]?.breaker);
}

/** Configurations with the same key can share a provider's client. */
function keyOf({component, expertise}: WorkerConfig, {resolved}: Pick<EngineTarget, 'resolved'>): string {
  return JSON.stringify([resolved, component, expertise]);
}

function after(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}
