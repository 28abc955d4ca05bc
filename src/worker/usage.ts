/**
 * What this specialist's chats took: since the process began for /metrics and `top`, and per day for budgets and
 * `tekton-ai usage`, kept in the state folder. Loaded with the first chat, or at once where there is a budget.
 */
import type {Budget, BudgetState, Usage} from '../api/types.js';
import {addUsage, budgetState, costOf, dayOf, endOfDay, priceOf, Tally, totalOf} from '../api/usage.js';
import type {TargetName, TokenCounts, UsageCounts} from '../api/usage.js';
import type {Log} from './log.js';
import type {EngineTarget} from './specialist.js';
import {Recent} from './usage-recent.js';
import type {RecentUsage} from './usage-recent.js';
import {UsageStore} from './usage-store.js';

export interface LedgerOptions {
  readonly aiId: string;
  /** Of this launch. */
  readonly uid: string;
  /** The state folder; absent: nothing outlives the process, and nobody else's chats count. */
  readonly home?: string | undefined;
  readonly log: Log;
  /** ms, monotonic. */
  readonly now: () => number;
  /** ms since 1970. */
  readonly wallNow: () => number;
  /** Something was counted. */
  readonly onCount: () => void;
  /** The budget is spent that was not, or has begun anew. */
  readonly onBudget: (state: BudgetState) => void;
}

/** What one answered chat took. */
export interface Answered extends TokenCounts {
  /** From the request to the end, and to the first piece of the answer; ms. */
  readonly latencyMs: number;
  readonly firstTokenMs: number | undefined;
}

/** A chat that the day's hard budget has no room for. Told from other errors by its name, as a ProviderError is. */
export class BudgetExceededError extends Error {
  override readonly name = 'BudgetExceededError';
  readonly code = 'budget_exceeded';
  readonly retryable = true;
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** Until what was counted is on disk at the latest, ms; a process that is killed loses no more. */
const saveAfterMs = 1_000;
/** The same after a write that failed. */
const retryAfterMs = 5_000;
/** A spent budget is looked at this often: a timer until midnight would be late after the machine slept. */
const lookEveryMs = 30_000;

export class Ledger {
  readonly #options: LedgerOptions;
  readonly #store: UsageStore | undefined;
  /** Since the process began. */
  readonly #total = new Tally();
  readonly #recent: Recent;
  #budget: Budget | undefined;
  #day: string;
  /** Of `#day`, by this process and those whose counters it took over. */
  #today: Tally;
  #state: BudgetState | undefined;
  /** By day: what is not on disk yet. */
  readonly #unsaved = new Map<string, Tally>();
  #failing = false;
  #writing: Promise<void> = Promise.resolve();
  #nextWrite: Promise<void> | undefined;
  #saveTimer: NodeJS.Timeout | undefined;
  #lookTimer: NodeJS.Timeout | undefined;
  #closed = false;

  /** Never rejects: what can't be read is logged and counts for nothing. */
  static async open(options: LedgerOptions): Promise<Ledger> {
    const {home, aiId, uid, log, wallNow} = options;
    const store = home === undefined ? undefined : new UsageStore({home, aiId, uid, log});
    await store?.open(dayOf(wallNow()));
    return new Ledger(options, store);
  }

  private constructor(options: LedgerOptions, store: UsageStore | undefined) {
    const {now, wallNow} = options;
    this.#options = options;
    this.#store = store;
    this.#recent = new Recent(now);
    this.#day = dayOf(wallNow());
    this.#today = new Tally(store?.own(this.#day));
  }

  /** Since the process began, by model and by error code. */
  get counts(): UsageCounts {
    return this.#total.counts;
  }

  /** The same in one line. */
  get usage(): Usage {
    return totalOf(this.#total.counts);
  }

  /** The last few minutes. */
  get recent(): RecentUsage {
    return this.#recent.usage;
  }

  /** How the budget stands now; undefined: there is none. */
  get budget(): BudgetState | undefined {
    this.#look();
    return this.#state;
  }

  configure(budget: Budget | undefined): void {
    this.#budget = budget;
    this.#look();
  }

  /** @throws {BudgetExceededError} where the budget is hard and spent */
  assertBudget(): void {
    const state = this.budget;
    if (state?.exceeded !== true || state.mode !== 'hard') return;
    const end = endOfDay(state.day);
    const message = `${state.message ?? 'the budget is spent'}; chats are answered again from ${new Date(end).toISOString().replace('.000', '')}`;
    throw new BudgetExceededError(`${this.#options.aiId}: ${message}`, Math.max(1, end - this.#options.wallNow()));
  }

  /** One chat was answered by `target`. With a hard budget it resolves when that is on disk. Never rejects. */
  answered(target: EngineTarget, {latencyMs, firstTokenMs, ...tokens}: Answered): Promise<void> | undefined {
    const chat = {...tokens, latencyMs, firstTokenMs, cost: costAt(target, tokens)};
    this.#recent.answered(tokens.outputTokens, latencyMs, firstTokenMs);
    return this.#count(tally => tally.answered(nameOf(target), chat));
  }

  /** A call of `target` failed; what becomes of the chat is another matter. */
  callFailed(target: EngineTarget, code: string): void {
    void this.#count(tally => tally.callFailed(nameOf(target), code));
  }

  /** A chat ended in an error, with this code. */
  failed(code: string): void {
    void this.#count(tally => tally.failed(code));
  }

  /** A chat was stopped, or left, by its client. */
  cancelled(): void {
    void this.#count(tally => tally.cancelled());
  }

  /** A chat that ended early took this of `target`, as far as anybody can tell. */
  spent(target: EngineTarget, tokens: TokenCounts): void {
    void this.#count(tally => tally.spent(nameOf(target), tokens, costAt(target, tokens)));
  }

  /** Writes what is unsaved. Nothing is counted afterwards. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#lookTimer);
    clearTimeout(this.#saveTimer);
    if (this.#unsaved.size > 0) await this.#save();
    else await this.#writing;
  }

  #count(change: (tally: Tally) => void): Promise<void> | undefined {
    this.#turn();
    change(this.#total);
    change(this.#today);
    this.#unsaved.set(this.#day, this.#today);
    this.#options.onCount();
    this.#look();
    if (this.#budget?.mode === 'hard') return this.#save();
    this.#saveSoon();
    return undefined;
  }

  /** A new day begins with what our file of it says: nothing, unless the clock was put back. */
  #turn(): void {
    const day = dayOf(this.#options.wallNow());
    if (day === this.#day) return;
    this.#day = day;
    this.#today = this.#unsaved.get(day) ?? new Tally(this.#store?.own(day));
  }

  #look(): void {
    this.#turn();
    clearTimeout(this.#lookTimer);
    if (this.#budget === undefined) {
      this.#tell(undefined);
      return;
    }
    const own = totalOf(this.#today.counts);
    const others = this.#store?.others(this.#day);
    const state = budgetState(this.#budget, this.#day, others ? addUsage(own, totalOf(others)) : own);
    this.#tell(state);
    if (!state.exceeded || this.#closed) return;
    const untilMs = endOfDay(this.#day) - this.#options.wallNow();
    this.#lookTimer = setTimeout(() => this.#look(), Math.max(1, Math.min(untilMs, lookEveryMs))).unref();
  }

  #tell(state: BudgetState | undefined): void {
    const before = this.#state;
    this.#state = state;
    if (JSON.stringify(before) === JSON.stringify(state)) return;
    const exceeded = state?.exceeded === true;
    if (exceeded || before?.exceeded === true) {
      this.#options.onBudget(state ?? {day: this.#day, mode: before?.mode ?? 'soft', exceeded: false});
    }
  }

  #saveSoon(afterMs = saveAfterMs): void {
    if (this.#store === undefined || this.#closed) return;
    this.#saveTimer ??= setTimeout(() => void this.#save(), afterMs).unref();
  }

  /** All that is counted by now is on disk when it resolves, or could not be written. */
  #save(): Promise<void> {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    this.#nextWrite ??= this.#writing.then(() => {
      this.#nextWrite = undefined;
      return this.#write();
    });
    this.#writing = this.#nextWrite;
    return this.#writing;
  }

  async #write(): Promise<void> {
    for (const [day, tally] of [...this.#unsaved]) {
      this.#unsaved.delete(day);
      try {
        await this.#store?.save(day, tally.counts);
        this.#failing = false;
      } catch (error) {
        if (!this.#unsaved.has(day)) this.#unsaved.set(day, tally);
        if (!this.#failing) this.#options.log('warn', 'cannot keep the usage', {error: messageOf(error)});
        this.#failing = true;
        this.#saveSoon(retryAfterMs);
      }
    }
  }
}

function costAt({resolved, model}: EngineTarget, tokens: TokenCounts): number | undefined {
  return costOf(priceOf(resolved.prices, model), tokens);
}

function nameOf({providerName, model}: EngineTarget): TargetName {
  return {provider: providerName, model};
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
