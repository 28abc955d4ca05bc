/** The one specialist that a worker is: its configuration, its provider, and everything that is counted about it. */
import {formatVersion} from '../api/types.js';
import type {Expertise, ModelCheck, ResolvedProvider, Usage} from '../api/types.js';
import type {WorkerConfig} from '../protocol/control.js';
import type {Provider} from '../providers/provider.js';
import {Limiter} from './limiter.js';
import type {Log} from './log.js';
import {ModelState} from './model-state.js';
import {Sessions} from './sessions.js';

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
  readonly home: string | undefined;
  readonly limiter: Limiter;
  readonly sessions: Sessions;
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
  #usage: Usage = {requests: 0, inputTokens: 0, outputTokens: 0};
  #draining = false;

  constructor({config, uid, createProvider, log, now, home}: SpecialistOptions) {
    this.home = home;
    this.uid = uid;
    this.log = log;
    this.now = now;
    this.startedAt = now();
    this.#createProvider = createProvider;
    this.limiter = new Limiter(config.concurrency);
    const {aiId, sessions, concurrency} = config;
    this.sessions = new Sessions({aiId, limits: sessions, queue: concurrency.queue, now, log, home});
    this.#engine = this.#makeEngine(config);
    this.model = new ModelState({
      now,
      check: signal => this.#checkModel(signal),
      onSuspect: code => this.#suspectListeners.forEach(listener => listener(code)),
    });
  }

  get engine(): Engine {
    return this.#engine;
  }

  get config(): WorkerConfig {
    return this.#engine.config;
  }

  get usage(): Usage {
    return this.#usage;
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
    const sameProvider = this.#engine.targets[0].provider === before.targets[0].provider;
    if (!sameProvider || config.model !== old.model) this.model.forget();
    this.limiter.configure(config.concurrency);
    this.sessions.configure(config.sessions, config.concurrency.queue);
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

  /** One more answered chat. */
  count(inputTokens: number, outputTokens: number): void {
    this.#usage = {
      requests: this.#usage.requests + 1,
      inputTokens: this.#usage.inputTokens + inputTokens,
      outputTokens: this.#usage.outputTokens + outputTokens,
    };
    for (const listener of this.#usageListeners) listener();
  }

  /** @returns unregisters */
  onUsage(listener: () => void): () => void {
    this.#usageListeners.add(listener);
    return () => void this.#usageListeners.delete(listener);
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

  /** Clients of providers that `before` had as well are kept. */
  #makeEngine(config: WorkerConfig, before?: Engine): Engine {
    const {provider, model, choice, fallback = []} = config;
    const known = new Map(
      before?.targets.map(target => [fingerprint(before.config, target.resolved), target.provider]),
    );
    const target = (resolved: ResolvedProvider, name: string, model: string): EngineTarget => {
      const client = known.get(fingerprint(config, resolved)) ?? this.#client(config, resolved);
      return {resolved, model, providerName: name, provider: client};
    };
    const rest = fallback.map(({provider: resolved, model: other}) => target(resolved, resolved.name, other));
    return {config, targets: [target(provider, choice.provider, model), ...rest]};
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

  async #checkModel(signal: AbortSignal): Promise<ModelCheck> {
    const {model, provider} = this.#engine.targets[0];
    try {
      const checks = await (await provider()).check([model], signal);
      const unsaid: ModelCheck = {available: false, reason: 'ProviderError', message: 'the provider did not say'};
      return checks.get(model) ?? unsaid;
    } catch (error) {
      if (!(error instanceof SecretMissingError)) throw error;
      return {available: false, reason: 'SecretMissing', message: error.message};
    }
  }
}

/** Configurations with the same fingerprint can share a provider's client. */
function fingerprint({component, expertise}: WorkerConfig, resolved: ResolvedProvider): string {
  return JSON.stringify([resolved, component, expertise]);
}
