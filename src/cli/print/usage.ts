/** The rows of `usage`. */
import type {UsageOptions} from '../options.js';
import {errorCount, type BudgetRow, type UsageRow} from '../usage-report.js';
import {qualifiedName} from '../view.js';

export interface UsageRowOptions {
  readonly by: UsageOptions['by'];
  readonly wide: boolean;
  /** Somebody has a budget. */
  readonly budgets: boolean;
  /** In place of what the row is about. */
  readonly label?: string;
}

const keyColumns = {specialist: ['NAME'], provider: ['PROVIDER'], model: ['PROVIDER', 'MODEL'], day: ['DAY']};

export function usageColumns({by, wide, budgets}: UsageRowOptions): readonly string[] {
  return [
    ...keyColumns[by],
    ...['REQUESTS', 'ERRORS', 'TOKENS-IN', 'TOKENS-OUT', 'COST'],
    ...(budgets ? ['BUDGET-TODAY'] : []),
    ...(wide ? ['CACHED-IN', 'CANCELLED', 'P50', 'P95', 'FIRST-P50', 'FIRST-P95', 'ERROR-CODES'] : []),
  ];
}

export function usageRow(row: UsageRow, {by, wide, budgets, label}: UsageRowOptions): readonly string[] {
  const {latency, firstToken, cancelled} = row;
  return [
    ...(label === undefined ? keyOf(row, by) : [label, ...keyColumns[by].slice(1).map(() => '')]),
    String(row.requests),
    String(errorCount(row)),
    String(row.inputTokens),
    String(row.outputTokens),
    costText(row.cost),
    ...(budgets ? [row.budget === undefined ? (label === undefined ? '<none>' : '') : budgetText(row.budget)] : []),
    ...(wide
      ? [
          String(row.cachedInputTokens),
          cancelled === undefined ? '<none>' : String(cancelled),
          ...[latency.p50, latency.p95, firstToken.p50, firstToken.p95].map(secondsText),
          codesText(row.errors),
        ]
      : []),
  ];
}

/** "0.0042", "12.35"; `<none>` where nothing had a price. */
export function costText(cost: number | undefined): string {
  if (cost === undefined) return '<none>';
  return cost !== 0 && Math.abs(cost) < 1 ? cost.toPrecision(3).replace(/0+$/, '') : cost.toFixed(2);
}

/** "80ms", "1.25s", "42s"; `<none>` where there is nothing to tell. */
export function secondsText(seconds: number | undefined): string {
  if (seconds === undefined) return '<none>';
  if (seconds < 1) return `${Math.round(seconds * 1000)}ms`;
  return `${seconds.toFixed(seconds < 10 ? 2 : 0)}s`;
}

/** "82% (hard)", "spent (soft)": of the limit that is nearest. */
export function budgetText({mode, exceeded, tokensPerDay, costPerDay, tokensToday, costToday = 0}: BudgetRow): string {
  if (exceeded) return `spent (${mode})`;
  const shares = [
    tokensPerDay === undefined ? 0 : tokensToday / tokensPerDay,
    costPerDay === undefined ? 0 : costToday / costPerDay,
  ];
  return `${Math.floor(100 * Math.max(...shares))}% (${mode})`;
}

function keyOf(
  {name = '', namespace = 'default', provider = '', model = '', day = ''}: UsageRow,
  by: UsageOptions['by'],
) {
  const keys = {
    specialist: [qualifiedName({name, namespace})],
    provider: [provider],
    model: [provider, model],
    day: [day],
  };
  return keys[by];
}

function codesText(errors: Readonly<Record<string, number>>): string {
  const codes = Object.entries(errors).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return codes.length === 0 ? '<none>' : codes.map(([code, count]) => `${code}=${count}`).join(',');
}
