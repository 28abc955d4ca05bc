import {describe, expect, it, test} from '@jest/globals';
import fc from 'fast-check';
import {afterFailure, crashLoopAfter, isCrashLoop, noFailures, stableAfterMs} from '../../src/reconciler/backoff.js';

const random = fc.double({min: 0, max: 1, maxExcluded: true, noNaN: true});

/** Delays of `count` failures in a row, none of which ran for long. */
function delays(count: number, factor = 0.5): readonly number[] {
  let backoff = noFailures;
  return Array.from({length: count}, () => {
    const {next, delayMs} = afterFailure(backoff, 0, factor);
    backoff = next;
    return delayMs;
  });
}

describe('backoff', () => {
  it('restarts at once, then waits half a second, doubling up to a minute', () => {
    expect(delays(10)).toEqual([0, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
  });

  it('keeps within a quarter of the figure, above and below, whatever the chance', () => {
    fc.assert(
      fc.property(fc.integer({min: 1, max: 2000}), random, (failures, chance) => {
        const {next, delayMs} = afterFailure({failures}, 0, chance);
        const middle = Math.min(60_000, 500 * 2 ** (failures - 1));
        expect(next.failures).toBe(failures + 1);
        expect(delayMs).toBeGreaterThanOrEqual(Math.floor(middle * 0.75));
        expect(delayMs).toBeLessThanOrEqual(Math.ceil(middle * 1.25));
        expect(Number.isInteger(delayMs)).toBe(true);
      }),
    );
  });

  it('spreads over that whole range', () => {
    expect(afterFailure({failures: 1}, 0, 0).delayMs).toBe(375);
    expect(afterFailure({failures: 1}, 0, 0.999).delayMs).toBe(625);
  });

  it('forgets after a stable run, so that the next restart is immediate', () => {
    fc.assert(
      fc.property(fc.nat(), random, fc.integer({min: stableAfterMs, max: 1e9}), (failures, chance, uptimeMs) => {
        expect(afterFailure({failures}, uptimeMs, chance)).toEqual({next: {failures: 1}, delayMs: 0});
      }),
    );
  });

  it('remembers after a run that was just not stable', () => {
    expect(afterFailure({failures: 4}, stableAfterMs - 1, 0.5).next).toEqual({failures: 5});
  });

  test.each([
    [0, false],
    [crashLoopAfter - 1, false],
    [crashLoopAfter, true],
    [100, true],
  ])('%i failures in a row are a crash loop: %s', (failures, loop) => {
    expect(isCrashLoop({failures})).toBe(loop);
  });
});
