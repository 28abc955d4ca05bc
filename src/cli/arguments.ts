/** Parsing of single argument values, each in one place. */
import {InvalidArgumentError} from 'commander';
import {conditionTypes} from '../api/conditions.js';
import type {LabelSelector, OutputFormat, WaitFor} from './options.js';

const unitMs: Readonly<Record<string, number>> = {ms: 1, s: 1000, m: 60_000, h: 3_600_000};

/** Longest duration that is accepted: what Node's timers can hold. */
const longestMs = 2 ** 31 - 1;

/**
 * "500ms", "60s", "2m", "1h", also "1m30s" and "1.5s", in milliseconds; "0" is 0. A bare number has no unit and
 * is refused.
 *
 * @throws {InvalidArgumentError}
 */
export function parseDuration(text: string): number {
  if (text === '0') return 0;
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    const meant = /^\d+(\.\d+)?$/.test(text) ? ` Did you mean ${text}s?` : '';
    throw new InvalidArgumentError(`Expected a duration such as 500ms, 60s or 2m.${meant}`);
  }
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  const ms = parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (unitMs[unit ?? ''] ?? 0), 0);
  if (ms > longestMs) throw new InvalidArgumentError('Expected at most 24 days.');
  return Math.round(ms);
}

/** @throws {InvalidArgumentError} for anything but a whole number from 0. */
export function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a whole number, 0 or more.');
  return Number(text);
}

/** A generation (3) or a commit, or the first digits of one (1a2b3c4). @throws {InvalidArgumentError} */
export function parseRevision(text: string): number | string {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  if (/^[0-9a-f]{7,64}$/.test(text)) return text;
  throw new InvalidArgumentError('Expected a generation such as 3, or at least 7 digits of a commit.');
}

/** @throws {InvalidArgumentError} for anything but a whole number from 1. */
export function parsePositive(text: string): number {
  const count = parseCount(text);
  if (count === 0) throw new InvalidArgumentError('Expected a whole number, 1 or more.');
  return count;
}

/** @throws {InvalidArgumentError} */
export function parsePort(text: string): number {
  const port = parseCount(text);
  if (port < 1 || port > 65_535) throw new InvalidArgumentError('Expected a port from 1 to 65535.');
  return port;
}

/** `delete`, `condition=Ready` or `condition=Ready=False`, in any case. @throws {InvalidArgumentError} */
export function parseWaitFor(text: string): WaitFor {
  if (text.toLowerCase() === 'delete') return {type: 'delete'};
  const [word, name = '', value = 'True', ...rest] = text.split('=');
  const condition = conditionTypes.find(type => type.toLowerCase() === name.toLowerCase());
  const status = (['True', 'False', 'Unknown'] as const).find(one => one.toLowerCase() === value.toLowerCase());
  if (word?.toLowerCase() !== 'condition' || condition === undefined || status === undefined || rest.length > 0) {
    throw new InvalidArgumentError(
      `Expected delete, or condition=TYPE or condition=TYPE=STATUS with ${conditionTypes.join(', ')} and True, False or Unknown.`,
    );
  }
  return {type: 'condition', condition, status};
}

/** "2026-11-22". @throws {InvalidArgumentError} */
export function parseDay(text: string): string {
  const day = /^\d{4}-\d{2}-\d{2}$/.test(text) ? new Date(`${text}T00:00:00Z`) : undefined;
  if (day && !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text)) return text;
  throw new InvalidArgumentError('Expected a day such as 2026-11-22.');
}

/** "7d": 7; or a day. @throws {InvalidArgumentError} */
export function parseSince(text: string): number | string {
  const [, days] = /^(\d{1,4})d$/.exec(text) ?? [];
  if (days !== undefined && Number(days) > 0) return Number(days);
  if (/^\d{4}-/.test(text)) return parseDay(text);
  throw new InvalidArgumentError('Expected days such as 7d, or a day such as 2026-11-22.');
}

/** "team=a,tier!=b,gpu,!old", as kubectl has it. @throws {InvalidArgumentError} */
export function parseLabels(text: string): LabelSelector {
  return text.split(',').map(term => {
    const [, not, key = '', operator, value = ''] =
      /^\s*(!?)([\w./-]+)\s*(?:(!=|==?)\s*([\w.-]*))?\s*$/.exec(term) ?? [];
    if (key === '' || (not === '!' && operator !== undefined)) {
      throw new InvalidArgumentError('Expected labels such as team=a, tier!=b, gpu or !gpu, with commas between.');
    }
    if (operator === undefined) return {type: not === '!' ? 'lacks' : 'has', key};
    return {type: operator === '!=' ? 'differs' : 'equals', key, value};
  });
}

/** Value of `--prune[=…]`. @throws {InvalidArgumentError} */
export function parseBoolean(text: string): boolean {
  if (text === 'true') return true;
  if (text === 'false') return false;
  throw new InvalidArgumentError('Expected true or false.');
}

/** Gathers the values of a flag that may be repeated. */
export function collect(value: string, previous: readonly string[]): readonly string[] {
  return [...previous, value];
}

/** `NAME=VALUE` of `--var`, gathered by name; the last of a name counts. @throws {InvalidArgumentError} */
export function collectVariables(
  text: string,
  previous: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const [, name, value] = /^([A-Za-z_]\w*)=(.+)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new InvalidArgumentError('Expected NAME=VALUE, such as REGION=eu.');
  }
  return {...previous, [name]: value};
}

export const outputFormats: readonly OutputFormat[] = ['table', 'wide', 'json', 'yaml', 'name'];
