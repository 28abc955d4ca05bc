/** When a worker that went down is started again: exponential with jitter, capped, forgotten after a stable run. */

export interface Backoff {
  /** Failures in a row, stable runs not counted. */
  readonly failures: number;
}

export const noFailures: Backoff = {failures: 0};

/** A run of this length, in ms, is a healthy one: the next failure counts as the first. */
export const stableAfterMs = 30_000;
const baseMs = 500;
const capMs = 60_000;
/** Failures in a row from which on it is called a crash loop. */
export const crashLoopAfter = 3;

/**
 * The state after one more failure, and how long to wait, in ms. The first restart is immediate; from then on
 * 0.5 s doubling up to a minute, each multiplied by a factor in [0.75, 1.25) so that a fleet does not restart in step.
 */
export function afterFailure(backoff: Backoff, uptimeMs: number, random: number): {next: Backoff; delayMs: number} {
  const failures = (uptimeMs >= stableAfterMs ? 0 : backoff.failures) + 1;
  if (failures === 1) return {next: {failures}, delayMs: 0};
  const delayMs = Math.min(capMs, baseMs * 2 ** Math.min(failures - 2, 20)) * (0.75 + random / 2);
  return {next: {failures}, delayMs: Math.round(delayMs)};
}

export function isCrashLoop(backoff: Backoff): boolean {
  return backoff.failures >= crashLoopAfter;
}
