/** When a model that fails is asked again. */
import {describe, expect, it} from '@jest/globals';
import {ProviderError} from '../../src/providers/provider.js';
import type {ProviderErrorCode} from '../../src/providers/provider.js';
import {Breaker} from '../../src/worker/breaker.js';
import type {Attempt} from '../../src/worker/breaker.js';

let now = 0;

function breaker(random = 0.5): Breaker {
  now = 0;
  return new Breaker({now: () => now, random: () => random});
}

function fault(code: ProviderErrorCode = 'provider_error', retryAfterMs?: number): ProviderError {
  return new ProviderError(`it said ${code}`, {
    code,
    retryable: true,
    ...(retryAfterMs !== undefined && {retryAfterMs}),
  });
}

/** The attempt of a breaker that must let one through. */
function enter(from: Breaker): Attempt {
  const entry = from.enter();
  if (entry.open) throw new Error(`open for ${entry.retryAfterMs} ms`);
  return entry.attempt;
}

function failTimes(times: number, on: Breaker): void {
  for (let n = 0; n < times; n++) enter(on).failed(fault());
}

/** How long it is open, ms; 0: it isn't. */
function openFor(of: Breaker): number {
  const entry = of.enter();
  if (entry.open) return entry.retryAfterMs;
  entry.attempt.dropped();
  return 0;
}

describe('a breaker', () => {
  it('opens after three failures in a row, and says the last of them', () => {
    const it = breaker();
    failTimes(2, it);
    expect(openFor(it)).toBe(0);
    enter(it).failed(fault('timeout'));
    expect(it.enter()).toMatchObject({open: true, fault: {code: 'timeout'}, retryAfterMs: 1_000});
  });

  it('begins to count anew after an answer', () => {
    const it = breaker();
    failTimes(2, it);
    enter(it).worked();
    failTimes(2, it);
    expect(openFor(it)).toBe(0);
  });

  it('does not count what says nothing of the model', () => {
    const it = breaker();
    for (let n = 0; n < 9; n++) enter(it).dropped();
    expect(openFor(it)).toBe(0);
  });

  it('lets one chat through when the delay is over, and no other before that one is known', () => {
    const it = breaker();
    failTimes(3, it);
    now = 1_000;
    const probe = enter(it);
    expect(openFor(it)).toBe(1_000);
    probe.worked();
    expect(openFor(it)).toBe(0);
  });

  it('waits twice as long after each probe that failed, a minute at most', () => {
    const it = breaker();
    failTimes(3, it);
    const delays: number[] = [];
    for (let n = 0; n < 8; n++) {
      delays.push(openFor(it));
      now += openFor(it);
      enter(it).failed(fault());
    }
    expect(delays).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  });

  it.each([
    [0, 750],
    [1, 1_250],
  ])('comes back a quarter sooner or later (%d)', (random, ms) => {
    const it = breaker(random);
    failTimes(3, it);
    expect(openFor(it)).toBe(ms);
  });

  it('opens at once for a server that says when to come again, and is open until then', () => {
    const it = breaker();
    enter(it).failed(fault('overloaded', 20_000));
    expect(openFor(it)).toBe(20_000);
    now = 20_000;
    enter(it).failed(fault('overloaded', 24 * 3_600_000));
    expect(openFor(it)).toBe(5 * 60_000);
  });

  it('lets another chat probe where the first one was left by its client', () => {
    const it = breaker();
    failTimes(3, it);
    now = 1_000;
    enter(it).dropped();
    enter(it).worked();
    expect(openFor(it)).toBe(0);
  });

  it('lets all ask as soon as the probe begins to answer, and none when that breaks off', () => {
    const it = breaker();
    failTimes(3, it);
    now = 1_000;
    const probe = enter(it);
    expect(openFor(it)).toBe(1_000);
    probe.begun();
    expect(openFor(it)).toBe(0);
    probe.failed(fault());
    expect(openFor(it)).toBe(1_000);
  });

  it('is not closed by the beginning of a call from before it opened', () => {
    const it = breaker();
    const slow = enter(it);
    failTimes(3, it);
    slow.begun();
    expect(openFor(it)).toBe(1_000);
  });

  it('takes no word of calls from before it opened for a failure of the probe, but their answer for an answer', () => {
    const it = breaker();
    const [slow, slower] = [enter(it), enter(it)];
    failTimes(3, it);
    slow.failed(fault());
    expect(openFor(it)).toBe(1_000);
    now = 1_000;
    enter(it);
    slower.worked();
    expect(openFor(it)).toBe(0);
  });

  it.each([
    ['provider_unreachable', 0],
    ['model_not_found', 0],
    ['unauthorized', 0],
    ['secret_missing', 0],
    ['provider_error', 1_000],
    ['timeout', 1_000],
    ['overloaded', 1_000],
  ] as const)('open for %s is asked again after a check that found the model in %d ms', (code, ms) => {
    const it = breaker();
    for (let n = 0; n < 3; n++) enter(it).failed(fault(code));
    it.cleared();
    expect(openFor(it)).toBe(ms);
  });

  it('hears only the first word of an attempt', () => {
    const it = breaker();
    const attempt = enter(it);
    attempt.worked();
    for (let n = 0; n < 5; n++) attempt.failed(fault());
    expect(openFor(it)).toBe(0);
  });
});
