/** Times and sizes as people read them. */
import type {PullStatus} from '../../api/types.js';
import {percentOf} from '../../reconciler/pulls.js';

/**
 * A span as kubectl prints it: two units where the second still matters ("45s", "5m3s", "3h5m", "2d3h", "40d").
 * Never negative, so that a clock that jumped back shows "0s".
 */
export function spanText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return withRest(minutes, 'm', seconds % 60, 's');
  if (hours < 3) return `${minutes}m`;
  if (hours < 8) return withRest(hours, 'h', minutes % 60, 'm');
  if (days < 2) return `${hours}h`;
  if (days < 8) return withRest(days, 'd', hours % 24, 'h');
  return `${days}d`;
}

/** Time since `iso`, or `<unknown>`. */
export function ageText(iso: string | undefined, now: number): string {
  const then = iso === undefined ? NaN : Date.parse(iso);
  return Number.isNaN(then) ? '<unknown>' : spanText(now - then);
}

/** "41 MB": millions of bytes, as `ps` and the docs of providers count. */
export function bytesText(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return `${Math.round(bytes / 1e6)} MB`;
}

/** "1 specialist", "2 specialists". */
export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** "Pulling 43%"; no number while the size isn't known. `step`: only multiples of it are shown. */
export function pullText(pull: PullStatus, step = 1): string {
  const percent = percentOf(pull);
  return percent === undefined ? 'Pulling' : `Pulling ${Math.floor(percent / step) * step}%`;
}

function withRest(amount: number, unit: string, rest: number, restUnit: string): string {
  return rest === 0 ? `${amount}${unit}` : `${amount}${unit}${rest}${restUnit}`;
}

/** How a process ended. */
export function exitText({code, signal}: {readonly code?: number; readonly signal?: string}): string {
  if (signal !== undefined) return `signal ${signal}`;
  return code === undefined ? 'not known how (it was no child of the controller)' : `exit code ${code}`;
}
