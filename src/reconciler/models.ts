/**
 * Which model answers for a specialist, and whether it would now. Asked once per provider, however many specialists
 * stand behind it, at the pace of their probes.
 */
import {describeError} from '../api/errors.js';
import {withFallbacks} from '../api/model-check.js';
import type {Desired, ModelCheck, ModelChoice, NamedProvider, PullStatus, ResolvedProvider} from '../api/types.js';
import type {Provider} from '../providers/provider.js';
import type {Clock, Logger, Models} from './ports.js';
import {pullKey, Pulls} from './pulls.js';

/** What a specialist is to run with. Holds secrets: never goes to disk. */
export interface Target {
  readonly provider: ResolvedProvider;
  readonly model: string;
  readonly choice: ModelChoice;
}

export interface ModelMonitorOptions {
  readonly clock: Clock;
  readonly models: Models;
  readonly log: Logger;
  /** The check or the target of this specialist is another than before. */
  readonly changed: (id: string) => void;
}

/** A hosted service is not asked more often than this while it answers, ms. */
const hostedPeriodMs = 60_000;
const checkTimeoutMs = 10_000;
/** `auto` leaves a provider that it chose only after this many looks without it. */
const leaveAfter = 3;

interface Wish {
  readonly model: string;
  /** Somebody asked for the model; else it is a built-in default. */
  readonly modelDeclared: boolean;
  readonly periodMs: number;
  /** A model that its server lacks is to be fetched. */
  readonly pull: boolean;
  target?: Target;
  /** Resolves when there is a target: before the model behind it has been asked about. */
  readonly targeted: Promise<void>;
  readonly settle: () => void;
  check?: ModelCheck;
  /** Looks in a row at which `auto` would have come to less than it has. */
  misses: number;
}

interface Group {
  readonly spec: NamedProvider;
  readonly envFile: string | undefined;
  readonly wishes: Map<string, Wish>;
  readonly clients: Map<string, Promise<Provider>>;
  cancelTimer: (() => void) | undefined;
  looking: Promise<void> | undefined;
  again: boolean;
}

export class ModelMonitor {
  readonly #options: ModelMonitorOptions;
  readonly #groups = new Map<string, Group>();
  readonly #groupOf = new Map<string, Group>();
  readonly #abort = new AbortController();
  readonly #pulls: Pulls;

  constructor(options: ModelMonitorOptions) {
    this.#options = options;
    const {clock, models, log} = options;
    const each = (key: string, tell: (id: string, group: Group) => void): void => {
      for (const [id, group] of this.#groupOf) if (keyOf(group.wishes.get(id)?.target) === key) tell(id, group);
    };
    this.#pulls = new Pulls({
      clock,
      log,
      client: provider => models.client(provider),
      ended: key => each(key, (_, group) => void this.#look(group)),
      progressed: key => each(key, id => this.#changed(id)),
    });
  }

  /** Watches over what `desired` needs from now on; said again with the same needs, it changes nothing. */
  want(id: string, desired: Desired, envFile: string | undefined): void {
    const modelDeclared = desired.declared['model'] !== undefined;
    this.#want(id, desired, {provider: desired.provider, model: desired.spec.model, modelDeclared}, envFile);
    const {fallbackProviders = [], spec} = desired;
    for (const [i, provider] of fallbackProviders.entries()) {
      const model = spec.fallback[i]?.model ?? '';
      this.#want(fallbackId(id, i), desired, {provider, model, modelDeclared: true}, envFile);
    }
    this.#dropFallbacks(id, fallbackProviders.length);
  }

  #want(
    id: string,
    desired: Desired,
    {provider, model, modelDeclared}: {provider: NamedProvider; model: string; modelDeclared: boolean},
    envFile: string | undefined,
  ): void {
    const key = JSON.stringify([provider, envFile ?? null]);
    const before = this.#groupOf.get(id);
    const periodMs = desired.spec.probes.periodSeconds * 1000;
    const group = this.#groups.get(key) ?? newGroup(provider, envFile);
    const wish = group.wishes.get(id);
    const pull = desired.spec.pull === 'IfNotPresent';
    const same = wish?.model === model && wish.periodMs === periodMs && wish.pull === pull;
    if (before === group && same) return;
    if (before && before !== group) this.#drop(id);
    this.#groups.set(key, group);
    this.#groupOf.set(id, group);
    let settle: () => void = () => undefined;
    const targeted = new Promise<void>(resolve => (settle = resolve));
    group.wishes.set(id, {model, modelDeclared, periodMs, pull, misses: 0, targeted, settle});
    void this.#look(group);
  }

  drop(id: string): void {
    this.#drop(id);
    this.#dropFallbacks(id, 0);
  }

  #dropFallbacks(id: string, from: number): void {
    for (let i = from; this.#groupOf.has(fallbackId(id, i)); i++) this.#drop(fallbackId(id, i));
  }

  #drop(id: string): void {
    const group = this.#groupOf.get(id);
    this.#groupOf.delete(id);
    group?.wishes.delete(id);
    this.#keepPulls();
    if (group?.wishes.size !== 0) return;
    group.cancelTimer?.();
    for (const [key, value] of this.#groups) if (value === group) this.#groups.delete(key);
  }

  /** Resolves when every look that is under way has ended. */
  async looked(): Promise<void> {
    await Promise.all([...this.#groups.values()].map(async ({looking}) => looking));
  }

  /** Whether a chat would be answered, by the model or by a fallback; undefined while the model wasn't checked. */
  check(id: string): ModelCheck | undefined {
    const standIns = this.#fallbackIds(id).map(fallback => ({
      name: nameOf(this.#wish(fallback)?.target),
      check: this.#wish(fallback)?.check,
    }));
    return withFallbacks(this.#wish(id)?.check, standIns);
  }

  /** How far the download is that a specialist waits for. */
  pull(id: string): PullStatus | undefined {
    const wish = this.#wish(id);
    return wish?.target && wish.pull ? this.#pulls.status(wish.target.provider, wish.target.model) : undefined;
  }

  /** What to run with; waits for the first look only where something has to be looked up. */
  async target(id: string): Promise<Target> {
    for (;;) {
      const group = this.#groupOf.get(id);
      const wish = group?.wishes.get(id);
      if (!group || !wish) throw new Error(`nobody wants the model of ${id} any more`);
      if (wish.target) return wish.target;
      await Promise.race([wish.targeted, group.looking ?? this.#look(group)]);
      // Another wish may have come in its place meanwhile; this one was looked at.
      const inVain = !wish.target && group.wishes.get(id) === wish;
      if (inVain || this.#abort.signal.aborted) throw new Error(`cannot find out the provider of ${id}`);
    }
  }

  known(id: string): Target | undefined {
    return this.#wish(id)?.target;
  }

  /** As `target`, of the fallbacks in their order. */
  async fallbacks(id: string): Promise<readonly Target[]> {
    return Promise.all(this.#fallbackIds(id).map(fallback => this.target(fallback)));
  }

  /** As `known`, of the fallbacks in their order; undefined while one isn't known. */
  knownFallbacks(id: string): readonly Target[] | undefined {
    const targets = this.#fallbackIds(id).map(fallback => this.#wish(fallback)?.target);
    return targets.every(target => target !== undefined) ? targets : undefined;
  }

  /** Something went wrong, or right, at the provider: looks now, and resolves when that is done. */
  async suspect(id: string): Promise<void> {
    const groups = [id, ...this.#fallbackIds(id)].map(part => this.#groupOf.get(part));
    await Promise.all([...new Set(groups)].map(async group => group && this.#look(group)));
  }

  #wish(id: string): Wish | undefined {
    return this.#groupOf.get(id)?.wishes.get(id);
  }

  #fallbackIds(id: string): readonly string[] {
    const ids: string[] = [];
    while (this.#groupOf.has(fallbackId(id, ids.length))) ids.push(fallbackId(id, ids.length));
    return ids;
  }

  #changed(id: string): void {
    this.#options.changed(specialistOf(id));
  }

  close(): void {
    this.#abort.abort(new Error('the controller stops'));
    this.#pulls.close();
    for (const group of this.#groups.values()) group.cancelTimer?.();
    this.#groups.clear();
  }

  /** One look at a time; asked for during one, another follows. */
  async #look(group: Group): Promise<void> {
    if (group.looking) {
      group.again = true;
      return group.looking;
    }
    group.cancelTimer?.();
    group.looking = (async () => {
      do {
        // Wishes of one burst (a fleet being loaded) share the look.
        await Promise.resolve();
        group.again = false;
        await this.#lookOnce(group).catch(error => this.#lookFailed(group, error));
      } while (group.again && !this.#abort.signal.aborted);
      // In the same breath as the last look at `again`, so that nobody joins a look that is over.
      group.looking = undefined;
      this.#schedule(group);
    })();
    return group.looking;
  }

  #lookFailed({spec}: Group, error: unknown): void {
    if (this.#abort.signal.aborted) return;
    this.#options.log.warn({provider: spec.name, error: describeError(error)}, 'model check failed');
  }

  async #lookOnce(group: Group): Promise<void> {
    // A wish that takes the place of one of these during the look gets a look of its own.
    const wishes = new Map(group.wishes);
    const current = (id: string): Wish | undefined => {
      const wish = group.wishes.get(id);
      return wish === wishes.get(id) ? wish : undefined;
    };
    const targets = await this.#targets(group, wishes);
    const byProvider = new Map<string, {provider: ResolvedProvider; ids: string[]}>();
    for (const [id, target] of targets) {
      const key = JSON.stringify(target.provider);
      const one = byProvider.get(key) ?? {provider: target.provider, ids: []};
      one.ids.push(id);
      byProvider.set(key, one);
      this.#setTarget(current(id), id, target);
    }
    for (const key of group.clients.keys()) if (!byProvider.has(key)) group.clients.delete(key);
    await Promise.all(
      [...byProvider].map(async ([key, {provider, ids}]) => {
        const models = [...new Set(ids.map(id => targets.get(id)?.model ?? ''))];
        const askedAt = this.#options.clock.monotonic();
        const checks = await this.#checkModels(group, key, provider, models);
        for (const id of ids) {
          const check = checks.get(targets.get(id)?.model ?? '');
          if (check) this.#setCheck(current(id), id, this.#orPull(current(id), check, askedAt));
        }
      }),
    );
    this.#keepPulls();
  }

  /** A model that isn't there is fetched where that is wanted; the check then says how that goes. */
  #orPull(wish: Wish | undefined, check: ModelCheck, askedAt: number): ModelCheck {
    if (!wish?.pull || wish.target?.provider.type !== 'ollama') return check;
    const {provider, model} = wish.target;
    if (check.available) this.#pulls.found(provider, model);
    if (check.available || check.reason !== 'ModelNotFound') return check;
    return this.#pulls.fetch(provider, model, askedAt);
  }

  #keepPulls(): void {
    if (this.#pulls.size === 0) return;
    const wishes = [...this.#groups.values()].flatMap(({wishes}) => [...wishes.values()]);
    this.#pulls.keep(new Set(wishes.flatMap(({pull, target}) => (pull && target ? [keyOf(target) ?? ''] : []))));
  }

  async #targets(group: Group, wishes: ReadonlyMap<string, Wish>): Promise<Map<string, Target>> {
    const targets = new Map<string, Target>();
    if (group.spec.type !== 'auto') {
      const provider = await this.#options.models.resolve(group.spec, group.envFile);
      for (const [id, wish] of wishes) {
        const choice = {provider: group.spec.name, type: group.spec.type, model: wish.model};
        targets.set(id, {provider, model: wish.model, choice});
      }
      return targets;
    }
    const chooser = await this.#options.models.chooser(group.spec, group.envFile);
    for (const [id, wish] of wishes) {
      const {model: wantedModel, modelDeclared} = wish;
      const chosen = await chooser.choose({wantedModel, modelDeclared}, this.#abort.signal);
      targets.set(id, keepOrLeave(wish, chosen));
    }
    return targets;
  }

  async #checkModels(
    group: Group,
    key: string,
    provider: ResolvedProvider,
    models: readonly string[],
  ): Promise<ReadonlyMap<string, ModelCheck>> {
    const client = group.clients.get(key) ?? this.#options.models.client(provider);
    group.clients.set(key, client);
    const timeout = new AbortController();
    const cancel = this.#options.clock.after(checkTimeoutMs, () => timeout.abort(new Error('timed out')));
    try {
      return await (await client).check(models, AbortSignal.any([timeout.signal, this.#abort.signal]));
    } catch (error) {
      if (this.#abort.signal.aborted) return new Map();
      const message = timeout.signal.aborted
        ? `${provider.name}${provider.baseUrl ? ` at ${provider.baseUrl}` : ''} did not answer within ${checkTimeoutMs / 1000} s`
        : `cannot check ${provider.name}: ${error instanceof Error ? error.message : String(error)}`;
      return new Map(models.map(model => [model, {available: false, reason: 'ProviderUnreachable', message}]));
    } finally {
      cancel();
    }
  }

  #setTarget(wish: Wish | undefined, id: string, target: Target): void {
    if (!wish || JSON.stringify(wish.target) === JSON.stringify(target)) return;
    const first = wish.target === undefined;
    wish.target = target;
    wish.settle();
    if (!first) this.#changed(id);
  }

  #setCheck(wish: Wish | undefined, id: string, check: ModelCheck): void {
    if (!wish || JSON.stringify(wish.check) === JSON.stringify(check)) return;
    wish.check = check;
    this.#changed(id);
  }

  #schedule(group: Group): void {
    if (this.#abort.signal.aborted || group.wishes.size === 0) return;
    const wishes = [...group.wishes.values()];
    if (group.spec.type === 'offline') return; // has nothing that could change
    const healthy = wishes.every(w => w.check?.available === true);
    const period = Math.min(...wishes.map(w => w.periodMs));
    const hosted = wishes.some(w => w.target?.provider.type === 'anthropic');
    group.cancelTimer?.();
    group.cancelTimer = this.#options.clock.after(hosted && healthy ? Math.max(period, hostedPeriodMs) : period, () => {
      void this.#look(group);
    });
  }
}

/** A better choice is taken at once; a lesser one only when it has been the answer several times in a row. */
function keepOrLeave(wish: Wish, chosen: Target): Target {
  const rank = {ollama: 3, anthropic: 2, openai: 2, scripted: 2, offline: 1} as const;
  const current = wish.target;
  if (!current || rank[chosen.provider.type] >= rank[current.provider.type] || ++wish.misses >= leaveAfter) {
    wish.misses = 0;
    return chosen;
  }
  return current;
}

function keyOf(target: Target | undefined): string | undefined {
  return target && pullKey(target.provider, target.model);
}

/** A fallback's model is watched like any other, under an id of its own. */
function fallbackId(id: string, index: number): string {
  return `${id}#${index + 1}`;
}

function specialistOf(id: string): string {
  return id.split('#', 1)[0] ?? id;
}

function nameOf(target: Target | undefined): string {
  return target ? `${target.choice.provider}:${target.model}` : '';
}

function newGroup(spec: NamedProvider, envFile: string | undefined): Group {
  return {
    spec,
    envFile,
    wishes: new Map(),
    clients: new Map(),
    cancelTimer: undefined,
    looking: undefined,
    again: false,
  };
}
