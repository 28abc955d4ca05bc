import {describe, expect, test} from '@jest/globals';
import {Steadiness, type SteadyOptions} from '../../src/cli/steady.js';
import type {FleetStatus, SpecialistStatus} from '../../src/api/types.js';

/** A look at one specialist: which process it is, and how often it was started again. */
function look(uid: string, restarts = 0): FleetStatus {
  const identity = {pid: 1, startTime: '1', bootId: 'b'};
  const status: SpecialistStatus = {
    phase: 'Ready',
    observedGeneration: 1,
    specHash: 'h',
    instance: {uid, identity, startedAt: ''},
    restarts,
    lastExit: {at: '', code: 7, stderrTail: ['out of words']},
    usage: {requests: 0, inputTokens: 0, outputTokens: 0},
    conditions: [],
  };
  const named = {aiId: 'athena-ai', name: 'athena', component: 'athena', roles: [], labels: {}, generation: 1, status};
  const counts = {declared: 1, enabled: 1, live: 1, ready: 1, progressing: 0, stalled: 0};
  return {formatVersion: 1, name: 'dev', namespace: 'default', syncedAt: '', counts, specialists: [named]};
}

function seen(options: SteadyOptions, ...looks: readonly FleetStatus[]): Steadiness {
  const steady = new Steadiness(options);
  for (const status of looks) steady.see(status);
  return steady;
}

describe('the time that all stays as wanted', () => {
  test('is over at once where a moment is enough', () => {
    expect(seen({stableForMs: 0}, look('a')).leftMs(true, 1000)).toBe(0);
  });

  test('goes on while nothing changes', () => {
    const steady = seen({stableForMs: 500}, look('a'));
    expect([1000, 1200, 1500, 9000].map(now => steady.leftMs(true, now))).toEqual([500, 300, 0, 0]);
  });

  test('begins anew after a moment in which all was not as wanted', () => {
    const steady = seen({stableForMs: 500}, look('a'));
    expect(steady.leftMs(true, 1000)).toBe(500);
    expect(steady.leftMs(false, 1400)).toBeUndefined();
    expect(steady.leftMs(true, 1450)).toBe(500);
  });

  test('begins anew with another process, though nobody ever saw it away', () => {
    const steady = seen({stableForMs: 500}, look('a'));
    expect(steady.leftMs(true, 1000)).toBe(500);
    steady.see(look('b', 1));
    expect(steady.leftMs(true, 1400)).toBe(500);
  });
});

describe('crashes', () => {
  test('are counted from the first look on', () => {
    expect(seen({stableForMs: 0, failAfterCrashes: 2}, look('a', 40), look('b', 41)).crashed).toBeUndefined();
    expect(seen({stableForMs: 0, failAfterCrashes: 2}, look('a', 40), look('b', 42)).crashed).toEqual({
      namespace: 'default',
      name: 'athena',
      crashes: 2,
      lastExit: {at: '', code: 7, stderrTail: ['out of words']},
    });
  });

  test('are waited out where nobody counts them', () => {
    expect(seen({stableForMs: 0}, look('a'), look('b', 1000)).crashed).toBeUndefined();
  });
});
