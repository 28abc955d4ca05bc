/** What chats took: counters and histograms, how they add up, and what they cost. Pure. */
import {splitDigest} from './model-name.js';
import type {Budget, BudgetState, Price, Usage} from './types.js';

/**
 * Upper bounds of the histograms' buckets, seconds, inclusive; one more bucket holds what is beyond. Narrow enough that
 * a quantile read off them is good for a table, and the same for ever: files and scrapers hold counts by position.
 */
export const histogramBounds: readonly number[] = [
  0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600,
];

export interface Histogram {
  /** By bucket, not cumulative: one per bound, and the last for what is beyond. */
  readonly counts: readonly number[];
  /** Seconds, of all together. */
  readonly sum: number;
}

/** A model behind a provider, as it was declared (a server may name it otherwise in its answers). */
export interface TargetName {
  readonly provider: string;
  readonly model: string;
}

export interface TokenCounts {
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Part of `inputTokens`. */
  readonly cachedInputTokens: number;
}

/** What one model did. */
export interface TargetUsage extends TargetName, TokenCounts {
  /** Chats that it answered to the end. */
  readonly requests: number;
  /** Calls that failed, by code; the chat may have been answered by a fallback all the same. */
  readonly errors: Readonly<Record<string, number>>;
  /** Absent: nothing of it was priced. */
  readonly cost?: number;
  /** Of answered chats, from the request (its wait in the queue included) to the end, and to the first piece. */
  readonly latency: Histogram;
  readonly firstToken: Histogram;
}

/** What one specialist did in some span of time. */
export interface UsageCounts {
  readonly targets: readonly TargetUsage[];
  /** Chats that ended in an error, by the code that the client was told. */
  readonly errors: Readonly<Record<string, number>>;
  /** Chats that their client stopped or left. */
  readonly cancelled: number;
}

/** A chat that was answered. */
export interface AnsweredChat extends TokenCounts {
  readonly latencyMs: number;
  /** Absent: the answer was empty. */
  readonly firstTokenMs: number | undefined;
  /** Absent: the model has no price. */
  readonly cost: number | undefined;
}

export const noUsage: Usage = {requests: 0, inputTokens: 0, outputTokens: 0};

/** Counts up; in size it depends on the number of models and of error codes alone. */
export class Tally {
  readonly #targets = new Map<string, CountedTarget>();
  readonly #errors = new Map<string, number>();
  #cancelled = 0;

  constructor(counts?: UsageCounts) {
    if (counts) this.add(counts);
  }

  answered(target: TargetName, {latencyMs, firstTokenMs, cost, ...tokens}: AnsweredChat): void {
    const counted = this.#target(target);
    counted.requests += 1;
    counted.spend(tokens, cost);
    observe(counted.latency, latencyMs / 1000);
    if (firstTokenMs !== undefined) observe(counted.firstToken, firstTokenMs / 1000);
  }

  /** A chat that was not answered to the end took this all the same. */
  spent(target: TargetName, tokens: TokenCounts, cost: number | undefined): void {
    this.#target(target).spend(tokens, cost);
  }

  callFailed(target: TargetName, code: string): void {
    increase(this.#target(target).errors, code, 1);
  }

  failed(code: string): void {
    increase(this.#errors, code, 1);
  }

  cancelled(): void {
    this.#cancelled += 1;
  }

  add({targets, errors, cancelled}: UsageCounts): void {
    for (const target of targets) this.#target(target).add(target);
    for (const [code, count] of Object.entries(errors)) increase(this.#errors, code, count);
    this.#cancelled += cancelled;
  }

  /** A copy; targets in the order in which they came up. */
  get counts(): UsageCounts {
    return {
      targets: [...this.#targets.values()].map(target => target.usage),
      errors: Object.fromEntries(this.#errors),
      cancelled: this.#cancelled,
    };
  }

  #target(name: TargetName): CountedTarget {
    const key = `${name.provider}:${name.model}`;
    const known = this.#targets.get(key);
    if (known) return known;
    const target = new CountedTarget(name);
    this.#targets.set(key, target);
    return target;
  }
}

interface CountedHistogram {
  readonly counts: number[];
  sum: number;
}

class CountedTarget {
  requests = 0;
  readonly errors = new Map<string, number>();
  readonly latency = emptyHistogram();
  readonly firstToken = emptyHistogram();
  readonly #name: TargetName;
  #inputTokens = 0;
  #outputTokens = 0;
  #cachedInputTokens = 0;
  #cost: number | undefined;

  constructor({provider, model}: TargetName) {
    this.#name = {provider, model};
  }

  spend({inputTokens, outputTokens, cachedInputTokens}: TokenCounts, cost: number | undefined): void {
    this.#inputTokens += inputTokens;
    this.#outputTokens += outputTokens;
    this.#cachedInputTokens += cachedInputTokens;
    if (cost !== undefined) this.#cost = (this.#cost ?? 0) + cost;
  }

  add(other: TargetUsage): void {
    this.requests += other.requests;
    this.spend(other, other.cost);
    for (const [code, count] of Object.entries(other.errors)) increase(this.errors, code, count);
    merge(this.latency, other.latency);
    merge(this.firstToken, other.firstToken);
  }

  get usage(): TargetUsage {
    return {
      ...this.#name,
      requests: this.requests,
      errors: Object.fromEntries(this.errors),
      inputTokens: this.#inputTokens,
      outputTokens: this.#outputTokens,
      cachedInputTokens: this.#cachedInputTokens,
      ...(this.#cost !== undefined && {cost: this.#cost}),
      latency: {counts: [...this.latency.counts], sum: this.latency.sum},
      firstToken: {counts: [...this.firstToken.counts], sum: this.firstToken.sum},
    };
  }
}

/** Everything that a specialist did, in one line. */
export function totalOf({targets, errors, cancelled}: UsageCounts): Usage {
  const sum = (count: (target: TargetUsage) => number): number =>
    targets.reduce((total, target) => total + count(target), 0);
  const failed = countOf(errors);
  const cached = sum(({cachedInputTokens}) => cachedInputTokens);
  return {
    requests: sum(({requests}) => requests),
    inputTokens: sum(({inputTokens}) => inputTokens),
    outputTokens: sum(({outputTokens}) => outputTokens),
    ...(cached > 0 && {cachedInputTokens: cached}),
    ...(failed > 0 && {errors: failed}),
    ...(cancelled > 0 && {cancelled}),
    ...(targets.some(({cost}) => cost !== undefined) && {cost: sum(({cost = 0}) => cost)}),
  };
}

const optional = ['cachedInputTokens', 'errors', 'cancelled', 'cost'] as const;

export function addUsage(a: Usage, b: Usage): Usage {
  return combine(a, b, (x, y) => x + y);
}

/** Never less than nothing. */
export function subtractUsage(total: Usage, part: Usage): Usage {
  return combine(total, part, (x, y) => Math.max(0, x - y));
}

/** What neither of them says stays unsaid: no cost is another thing than a cost of 0. */
function combine(a: Usage, b: Usage, apply: (x: number, y: number) => number): Usage {
  const said = optional.filter(field => a[field] !== undefined || b[field] !== undefined);
  return {
    requests: apply(a.requests, b.requests),
    inputTokens: apply(a.inputTokens, b.inputTokens),
    outputTokens: apply(a.outputTokens, b.outputTokens),
    ...Object.fromEntries(said.map(field => [field, apply(a[field] ?? 0, b[field] ?? 0)])),
  };
}

/** Sum of counts by code. */
export function countOf(errors: Readonly<Record<string, number>>): number {
  return Object.values(errors).reduce((total, count) => total + count, 0);
}

export function emptyHistogram(): CountedHistogram {
  return {counts: new Array<number>(histogramBounds.length + 1).fill(0), sum: 0};
}

/** One more value, seconds. */
export function observe(histogram: CountedHistogram, seconds: number): void {
  const at = histogramBounds.findIndex(bound => seconds <= bound);
  const bucket = at === -1 ? histogramBounds.length : at;
  histogram.counts[bucket] = (histogram.counts[bucket] ?? 0) + 1;
  histogram.sum += seconds;
}

export function sumHistograms(histograms: readonly Histogram[]): Histogram {
  const total = emptyHistogram();
  for (const histogram of histograms) merge(total, histogram);
  return total;
}

/**
 * Seconds below which the share `q` (0 to 1) of the values is, read off its bucket in proportion; for values beyond the last
 * bound, that bound. undefined: there are no values.
 */
export function quantile({counts}: Histogram, q: number): number | undefined {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return undefined;
  const rank = q * total;
  let below = 0;
  for (const [bucket, count] of counts.entries()) {
    if (count > 0 && below + count >= rank) {
      const from = histogramBounds[bucket - 1] ?? 0;
      const to = histogramBounds[bucket] ?? from;
      return from + (to - from) * ((rank - below) / count);
    }
    below += count;
  }
  return histogramBounds.at(-1);
}

function merge(into: CountedHistogram, {counts, sum}: Histogram): void {
  for (const bucket of into.counts.keys()) into.counts[bucket] = (into.counts[bucket] ?? 0) + (counts[bucket] ?? 0);
  into.sum += sum;
}

function increase(counts: Map<string, number>, code: string, by: number): void {
  counts.set(code, (counts.get(code) ?? 0) + by);
}

/** The price of `model`: its own, with its digest or without, or that of `*`. */
export function priceOf(prices: Readonly<Record<string, Price>> | undefined, model: string): Price | undefined {
  if (prices === undefined) return undefined;
  const name = [model, splitDigest(model).name, '*'].find(name => Object.hasOwn(prices, name));
  return name === undefined ? undefined : prices[name];
}

const million = 1_000_000;

/** In the currency of the price; undefined without one. */
export function costOf(price: Price | undefined, tokens: TokenCounts): number | undefined {
  if (price === undefined) return undefined;
  const {inputTokens, outputTokens, cachedInputTokens} = tokens;
  const cached = Math.min(cachedInputTokens, inputTokens);
  const {input, output, cachedInput = input} = price;
  return ((inputTokens - cached) * input + cached * cachedInput + outputTokens * output) / million;
}

/** The day (UTC) that a moment falls into, as ISO 8601 has it. */
export function dayOf(epochMs: number): string {
  return new Date(epochMs).toISOString().slice(0, 10);
}

/** When the day after begins, ms since 1970. */
export function endOfDay(day: string): number {
  return Date.parse(`${day}T00:00:00Z`) + 24 * 3_600_000;
}

/** How a budget stands with what was used on `day`. */
export function budgetState(budget: Budget, day: string, {inputTokens, outputTokens, cost = 0}: Usage): BudgetState {
  const {tokensPerDay, costPerDay, mode} = budget;
  const spent = [
    ...(tokensPerDay !== undefined && inputTokens + outputTokens >= tokensPerDay ? [`${tokensPerDay} tokens`] : []),
    ...(costPerDay !== undefined && cost >= costPerDay ? [`a cost of ${costPerDay}`] : []),
  ];
  return {
    day,
    mode,
    exceeded: spent.length > 0,
    ...(spent.length > 0 && {message: `the day's budget of ${spent.join(' and ')} is spent`}),
  };
}
