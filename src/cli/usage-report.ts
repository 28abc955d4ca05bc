/** What was used, from the state folder alone. */
import type {Budget, BudgetState, Desired, Usage} from '../api/types.js';
import {budgetState, countOf, dayOf, quantile, sumHistograms, Tally, totalOf} from '../api/usage.js';
import type {Histogram, UsageCounts} from '../api/usage.js';
import {readFleetRecords} from '../registry/fleet-records.js';
import {readUsage, usageKeepers} from '../registry/usage-files.js';
import {knownSpecialists} from './names.js';
import type {LabelSelector, UsageOptions} from './options.js';
import {inScope} from './observe.js';
import {selectMany, type Named} from './select.js';

/** What a row is about: which of these it has depends on `--by`. */
export interface UsageKey {
  readonly aiId?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly provider?: string;
  readonly model?: string;
  readonly day?: string;
}

/** Seconds; absent where no chat was answered. */
export interface Quantiles {
  readonly p50?: number;
  readonly p95?: number;
}

export interface UsageRow extends UsageKey, Omit<Usage, 'errors' | 'cancelled' | 'cachedInputTokens'> {
  readonly cachedInputTokens: number;
  /** By code. Of a specialist or a day: chats that failed; of a provider or a model: calls that did. */
  readonly errors: Readonly<Record<string, number>>;
  /** Of a specialist or a day. */
  readonly cancelled?: number;
  readonly latency: Quantiles;
  readonly firstToken: Quantiles;
  /** Of a specialist that has one, where today is among the days. */
  readonly budget?: BudgetRow;
}

export interface BudgetRow extends Budget, Omit<BudgetState, 'mode'> {
  readonly tokensToday: number;
  readonly costToday?: number;
}

export interface UsageReport {
  /** First and last day, UTC. */
  readonly from: string;
  readonly to: string;
  readonly rows: readonly UsageRow[];
  readonly total: UsageRow;
  /** Files that can't be read. */
  readonly unreadable: readonly string[];
}

interface One {
  readonly who: Named;
  readonly desired: Desired | undefined;
  readonly days: ReadonlyMap<string, UsageCounts>;
}

/** @throws {TektonError} for a name that nobody has */
export async function reportUsage(
  home: string,
  names: readonly string[],
  options: Pick<UsageOptions, 'namespace' | 'fleet' | 'since' | 'day' | 'by' | 'selector'>,
  nowMs: number,
): Promise<UsageReport> {
  const today = dayOf(nowMs);
  const {from, to} = spanOf(options, today);
  const declared = new Map(readFleetRecords(home).flatMap(({specialists}) => specialists.map(one => [one.aiId, one])));
  const known = [...knownSpecialists(home, options), ...formerOnes(home, options)];
  const meant = await selectMany(known, names);
  const unreadable: string[] = [];
  const all = meant.flatMap((who): readonly One[] => {
    const desired = declared.get(who.aiId);
    if (!matches(desired?.labels ?? {}, options.selector)) return [];
    const history = readUsage(home, who.aiId, {from, to});
    unreadable.push(...history.unreadable);
    return [{who, desired, days: history.days}];
  });
  const rows = rowsBy[options.by](all, to === today ? today : undefined);
  const whole = sumOf(all.flatMap(({days}) => [...days.values()]));
  const perCall = options.by === 'provider' || options.by === 'model';
  return {from, to, rows, total: rowOf({}, whole, perCall), unreadable};
}

function spanOf({since, day}: Pick<UsageOptions, 'since' | 'day'>, today: string): {from: string; to: string} {
  if (day !== undefined) return {from: day, to: day};
  if (typeof since === 'string') return {from: since, to: today};
  const days = since ?? 1;
  return {from: dayOf(Date.parse(`${today}T00:00:00Z`) - (days - 1) * 24 * 3_600_000), to: today};
}

/** They are neither declared nor run any more; what they used stays. */
function formerOnes(home: string, scope: UsageOptions | Pick<UsageOptions, 'namespace' | 'fleet'>): readonly Named[] {
  const known = new Set(knownSpecialists(home, {}).map(({aiId}) => aiId));
  return usageKeepers(home)
    .filter(aiId => !known.has(aiId))
    .map(aiId => {
      const [, namespace = 'default', name = aiId] = /^(?:([^.]+)\.)?(.+?)(?:-ai)?$/.exec(aiId) ?? [];
      return {aiId, name, namespace};
    })
    .filter(({namespace}) => inScope({namespace, name: ''}, scope));
}

function matches(labels: Readonly<Record<string, string>>, selector: LabelSelector): boolean {
  return selector.every(term => {
    const value = Object.hasOwn(labels, term.key) ? labels[term.key] : undefined;
    switch (term.type) {
      case 'equals':
        return value === term.value;
      case 'differs':
        return value !== term.value;
      case 'has':
        return value !== undefined;
      case 'lacks':
        return value === undefined;
    }
  });
}

type Rows = (all: readonly One[], today: string | undefined) => readonly UsageRow[];

const rowsBy: Readonly<Record<UsageOptions['by'], Rows>> = {
  specialist: (all, today) =>
    all
      .filter(({days, desired}) => days.size > 0 || desired !== undefined)
      .map(({who: {aiId, name, namespace}, desired, days}) => {
        const row = rowOf({aiId, name, namespace}, sumOf([...days.values()]));
        const budget = today === undefined ? undefined : budgetOf(desired, today, days.get(today));
        return budget ? {...row, budget} : row;
      })
      .toSorted(byKey),
  day: all => {
    const days = [...new Set(all.flatMap(one => [...one.days.keys()]))].toSorted();
    return days.map(day => rowOf({day}, sumOf(all.flatMap(one => one.days.get(day) ?? []))));
  },
  provider: all => byTarget(all, ({provider}) => ({provider})),
  model: all => byTarget(all, ({provider, model}) => ({provider, model})),
};

function byTarget(
  all: readonly One[],
  keyOf: (target: {readonly provider: string; readonly model: string}) => UsageKey,
): readonly UsageRow[] {
  const {targets} = sumOf(all.flatMap(({days}) => [...days.values()]));
  const groups = new Map<string, {key: UsageKey; targets: UsageCounts['targets'][number][]}>();
  for (const target of targets) {
    const key = keyOf(target);
    const group = groups.get(JSON.stringify(key)) ?? {key, targets: []};
    group.targets.push(target);
    groups.set(JSON.stringify(key), group);
  }
  return [...groups.values()]
    .map(({key, targets: own}) => rowOf(key, {targets: own, errors: {}, cancelled: 0}, true))
    .toSorted(byKey);
}

function sumOf(all: readonly UsageCounts[]): UsageCounts {
  const tally = new Tally();
  for (const counts of all) tally.add(counts);
  return tally.counts;
}

function rowOf(key: UsageKey, counts: UsageCounts, perCall = false): UsageRow {
  const {errors: _, cancelled: __, cachedInputTokens = 0, ...usage} = totalOf(counts);
  const callErrors = new Map<string, number>();
  for (const {errors} of counts.targets) {
    for (const [code, count] of Object.entries(errors)) callErrors.set(code, (callErrors.get(code) ?? 0) + count);
  }
  return {
    ...key,
    ...usage,
    cachedInputTokens,
    errors: perCall ? Object.fromEntries(callErrors) : counts.errors,
    ...(!perCall && {cancelled: counts.cancelled}),
    latency: quantilesOf(counts.targets.map(({latency}) => latency)),
    firstToken: quantilesOf(counts.targets.map(({firstToken}) => firstToken)),
  };
}

function quantilesOf(histograms: readonly Histogram[]): Quantiles {
  const all = sumHistograms(histograms);
  const [p50, p95] = [quantile(all, 0.5), quantile(all, 0.95)];
  return p50 === undefined || p95 === undefined ? {} : {p50: rounded(p50), p95: rounded(p95)};
}

/** More digits would say more than a bucket knows. */
function rounded(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}

function budgetOf(desired: Desired | undefined, today: string, counts: UsageCounts | undefined): BudgetRow | undefined {
  const budget = desired?.spec.budget;
  if (!budget) return undefined;
  const used = totalOf(counts ?? {targets: [], errors: {}, cancelled: 0});
  return {
    ...budget,
    ...budgetState(budget, today, used),
    tokensToday: used.inputTokens + used.outputTokens,
    ...(used.cost !== undefined && {costToday: used.cost}),
  };
}

/** How many chats or calls failed. */
export function errorCount({errors}: Pick<UsageRow, 'errors'>): number {
  return countOf(errors);
}

function byKey(a: UsageKey, b: UsageKey): number {
  const text = ({namespace, name, provider, model}: UsageKey): string =>
    [namespace, name, provider, model].map(part => part ?? '').join('\0');
  const [one, other] = [text(a), text(b)];
  return one < other ? -1 : Number(one > other);
}
