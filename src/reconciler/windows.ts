/** Sync windows: whether changes of a fleet's source are taken over now, and when that turns. Pure. */
import type {SyncWindow} from '../api/types.js';
import type {NextRun} from '../spec/schedule.js';

export interface WindowState {
  readonly open: boolean;
  /** Whether a person may apply: always while it is open. */
  readonly manual: boolean;
  /** ms since 1970 at which `open` turns; absent: it doesn't, as far as can be seen. */
  readonly untilMs?: number;
}

export const alwaysOpen: WindowState = {open: true, manual: true};

/** Turns that lie further ahead than so many beginnings and ends of windows are not looked for. */
const mostSteps = 200;

/** Of a fleet with these windows; without any it is always open. */
export function stateOf(windows: readonly SyncWindow[], nowMs: number, nextRun: NextRun): WindowState {
  const closers = closersAt(windows, nowMs, nextRun);
  const open = closers.length === 0;
  const state = {open, manual: closers.every(window => window.manual)};
  let at = nowMs;
  for (let step = 0; step < mostSteps; step++) {
    const next = nextTurn(windows, open, at, nextRun);
    if (next === undefined) return state;
    at = next;
    if ((closersAt(windows, at, nextRun).length === 0) !== open) return {...state, untilMs: at};
  }
  return state;
}

/** The windows that keep it closed: those that deny now; else, where some allow and none does now, all of these. */
function closersAt(windows: readonly SyncWindow[], at: number, nextRun: NextRun): readonly SyncWindow[] {
  const active = windows.filter(window => endOf(window, at, nextRun) !== undefined);
  const denies = active.filter(({kind}) => kind === 'deny');
  if (denies.length > 0) return denies;
  return active.some(({kind}) => kind === 'allow') ? [] : windows.filter(({kind}) => kind === 'allow');
}

/** The earliest time at which it could turn, and need not. */
function nextTurn(windows: readonly SyncWindow[], open: boolean, at: number, nextRun: NextRun): number | undefined {
  const begin = ({schedule, timeZone}: SyncWindow) => nextRun(schedule, timeZone, at);
  const end = (window: SyncWindow) => endOf(window, at, nextRun);
  const times = (kind: SyncWindow['kind'], time: (window: SyncWindow) => number | undefined): readonly number[] =>
    windows.filter(window => window.kind === kind).flatMap(window => time(window) ?? []);
  // While one denies, what is allowed makes no difference.
  const denied = times('deny', end);
  const otherwise = open ? [...times('deny', begin), ...times('allow', end)] : times('allow', begin);
  const candidates = denied.length > 0 ? denied : otherwise;
  return candidates.length === 0 ? undefined : Math.min(...candidates);
}

/** When the oldest of its runs that last at `at` ends; undefined: none does. */
function endOf({schedule, timeZone, durationSeconds}: SyncWindow, at: number, nextRun: NextRun): number | undefined {
  const durationMs = durationSeconds * 1000;
  const began = nextRun(schedule, timeZone, at - durationMs);
  return began !== undefined && began <= at ? began + durationMs : undefined;
}
