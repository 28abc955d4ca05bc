/** Whether a changed declaration of a fleet is taken over now, or waits. Pure. */
import {isoOf} from '../api/time.js';
import type {FleetRecord, FleetStatus} from '../api/types.js';
import type {WaitsFor} from './fleet-dependencies.js';
import type {WindowState} from './windows.js';

/** Why a change waits; it stands in the fleet's status until it doesn't. */
export type HoldReason = Extract<
  NonNullable<FleetStatus['sourceError']>['reason'],
  'SyncWindowClosed' | 'DependencyNotReady' | 'Conflict'
>;

export type Admission = {readonly admit: true} | Held;

export interface Held {
  readonly admit: false;
  readonly reason: HoldReason;
  readonly message: string;
  /** ms after which it may be another answer, though nothing calls for it. */
  readonly lookAgainMs: number;
}

const holdReasons: ReadonlySet<string> = new Set<HoldReason>(['SyncWindowClosed', 'DependencyNotReady', 'Conflict']);

/** Whether a source's error is none, but that it waits. */
export function isHold(error: FleetStatus['sourceError']): boolean {
  return error !== undefined && holdReasons.has(error.reason);
}

export interface Change {
  /** The declaration in force: by its windows the change is judged, so that none opens its own. */
  readonly record: FleetRecord;
  /** The record as it would be. */
  readonly next: FleetRecord;
  /** Of the windows of `record`. */
  readonly window: WindowState;
  /** Why it has to wait for another fleet, if it has. */
  readonly dependency: WaitsFor | undefined;
  /** ms since 1970. */
  readonly nowMs: number;
}

/** So often the wall clock is looked at while a window is waited for: it may be set, and the machine may sleep. */
const longestWaitMs = 60_000;

/** Nothing calls for a look when a dependency is mended by what the controller doesn't see. */
const dependencyAgainMs = 10_000;

export function admissionOf({record, next, window, dependency, nowMs}: Change): Admission {
  const waiting = whatWaits(record, next);
  if (!window.open) {
    return {
      admit: false,
      reason: 'SyncWindowClosed',
      message: `${closedText(window)}; until then these wait: ${waiting}`,
      lookAgainMs: Math.min(longestWaitMs, Math.max(1, (window.untilMs ?? Infinity) - nowMs)),
    };
  }
  if (!dependency) return {admit: true};
  const message = `${dependency.message}; until then these wait: ${waiting}`;
  return {admit: false, reason: dependency.reason, message, lookAgainMs: dependencyAgainMs};
}

/** "the sync window opens at 2026-01-05T08:00:00Z" */
export function closedText({untilMs}: WindowState): string {
  return untilMs === undefined
    ? 'the sync window is closed, and no opening is in sight'
    : `the sync window opens at ${isoOf(untilMs)}`;
}

const mostNames = 6;

/** "athena (changed), numa (new), hermes (removed)" */
export function whatWaits(record: FleetRecord, next: FleetRecord): string {
  const before = new Map(record.specialists.map(desired => [desired.aiId, desired.generation]));
  const after = new Set(next.specialists.map(({aiId}) => aiId));
  const all = [
    ...next.specialists.flatMap(({aiId, name, generation}) => {
      const was = before.get(aiId);
      if (was === generation) return [];
      return `${name} (${was === undefined ? 'new' : 'changed'})`;
    }),
    ...record.specialists.flatMap(({aiId, name}) => (after.has(aiId) ? [] : `${name} (removed)`)),
  ];
  if (all.length === 0) return 'settings of the fleet';
  const more = all.length - mostNames;
  return more > 0 ? `${all.slice(0, mostNames).join(', ')} and ${more} more` : all.join(', ');
}
