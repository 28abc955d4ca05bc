import {describe, expect, it, test} from '@jest/globals';
import {
  addUsage,
  budgetState,
  costOf,
  dayOf,
  emptyHistogram,
  endOfDay,
  histogramBounds,
  observe,
  priceOf,
  quantile,
  subtractUsage,
  sumHistograms,
  Tally,
  totalOf,
} from '../../src/api/usage.js';

const target = {provider: 'lab', model: 'm1'};
const tokens = {inputTokens: 10, outputTokens: 5, cachedInputTokens: 4};

describe('a tally', () => {
  it('counts answers per model, failures by code, and what was stopped', () => {
    const tally = new Tally();
    tally.answered(target, {...tokens, latencyMs: 1200, firstTokenMs: 80, cost: 0.5});
    tally.answered(target, {...tokens, latencyMs: 700, firstTokenMs: undefined, cost: 0.25});
    tally.callFailed(target, 'overloaded');
    tally.answered({provider: 'spare', model: 'm2'}, {...tokens, latencyMs: 10, firstTokenMs: 10, cost: undefined});
    tally.failed('timeout');
    tally.failed('timeout');
    tally.cancelled();

    const {targets, errors, cancelled} = tally.counts;
    expect(errors).toEqual({timeout: 2});
    expect(cancelled).toBe(1);
    expect(targets.map(({provider, requests, cost}) => [provider, requests, cost])).toEqual([
      ['lab', 2, 0.75],
      ['spare', 1, undefined],
    ]);
    expect(targets[0]).toMatchObject({
      errors: {overloaded: 1},
      inputTokens: 20,
      outputTokens: 10,
      cachedInputTokens: 8,
    });
    expect(targets[0]?.latency.sum).toBeCloseTo(1.9);
    expect(targets[0]?.firstToken.counts.reduce((a, b) => a + b)).toBe(1);
    expect(targets[1]).not.toHaveProperty('cost');
  });

  it('adds up what others have counted, and gives copies', () => {
    const one = new Tally();
    one.answered(target, {...tokens, latencyMs: 100, firstTokenMs: 50, cost: 1});
    one.failed('timeout');
    const before = one.counts;
    const sum = new Tally(before);
    sum.add(before);
    expect(sum.counts.targets[0]).toMatchObject({requests: 2, inputTokens: 20, cost: 2});
    expect(sum.counts.errors).toEqual({timeout: 2});
    expect(one.counts).toEqual(before);
  });

  it('says all of it in one line, and nothing of what there was none of', () => {
    const tally = new Tally();
    expect(totalOf(tally.counts)).toEqual({requests: 0, inputTokens: 0, outputTokens: 0});
    tally.answered(target, {...tokens, latencyMs: 1, firstTokenMs: 1, cost: 0});
    tally.failed('timeout');
    tally.cancelled();
    const cost = 0; // priced, and free
    expect(totalOf(tally.counts)).toEqual({requests: 1, ...tokens, errors: 1, cancelled: 1, cost});
  });
});

test('usages add and subtract field by field, never below zero, and no cost stays no cost', () => {
  const one = {requests: 1, inputTokens: 2, outputTokens: 3};
  expect(addUsage(one, {...one, cost: 0.5, errors: 1})).toEqual({
    ...{requests: 2, inputTokens: 4, outputTokens: 6},
    ...{cost: 0.5, errors: 1},
  });
  expect(addUsage(one, one)).not.toHaveProperty('cost');
  expect(subtractUsage(one, {requests: 5, inputTokens: 1, outputTokens: 3, cost: 1})).toEqual({
    ...{requests: 0, inputTokens: 1, outputTokens: 0},
    cost: 0,
  });
});

describe('a histogram', () => {
  it('holds a value at a bound in the bucket below it, and the largest in the last', () => {
    const histogram = emptyHistogram();
    for (const seconds of [0, 0.01, 0.0101, 600, 601]) observe(histogram, seconds);
    expect(histogram.counts.slice(0, 2)).toEqual([2, 1]);
    expect(histogram.counts.slice(-2)).toEqual([1, 1]);
    expect(histogram.counts).toHaveLength(histogramBounds.length + 1);
  });

  it('gives quantiles within the bucket of the true value', () => {
    const histogram = emptyHistogram();
    for (let n = 1; n <= 1000; n++) observe(histogram, n / 100); // 0.01 s to 10 s, evenly
    expect(quantile(histogram, 0.5)).toBeCloseTo(5, 1);
    expect(quantile(histogram, 0.95)).toBeCloseTo(9.5, 1);
    expect(quantile(emptyHistogram(), 0.5)).toBeUndefined();
    const huge = emptyHistogram();
    observe(huge, 10_000);
    expect(quantile(huge, 0.5)).toBe(600);
  });

  it('adds up with others', () => {
    const histogram = emptyHistogram();
    observe(histogram, 1);
    expect(sumHistograms([histogram, histogram])).toMatchObject({sum: 2});
    expect(sumHistograms([]).counts.every(count => count === 0)).toBe(true);
  });
});

describe('prices', () => {
  const prices = {'*': {input: 1, output: 2}, 'llama3.3:70b': {input: 10, output: 20, cachedInput: 1}};

  test.each([
    ['llama3.3:70b', 10],
    ['llama3.3:70b@sha256:a6eb4748fd29', 10],
    ['other', 1],
    ['toString', 1],
  ])('of %s', (model, input) => expect(priceOf(prices, model)?.input).toBe(input));

  it('are unknown where neither the model nor * has one', () => {
    expect(priceOf(undefined, 'm')).toBeUndefined();
    expect(priceOf({other: {input: 1, output: 1}}, 'm')).toBeUndefined();
  });

  it('are per million tokens, cached input at its own', () => {
    const million = {inputTokens: 2_000_000, cachedInputTokens: 1_000_000, outputTokens: 3_000_000};
    expect(costOf(prices['llama3.3:70b'], million)).toBe(10 + 1 + 60);
    expect(costOf(prices['*'], million)).toBe(2 + 6);
    expect(costOf(undefined, million)).toBeUndefined();
  });
});

test('days are those of UTC', () => {
  const lastMs = Date.parse('2026-11-22T23:59:59.999Z');
  expect([dayOf(lastMs), dayOf(lastMs + 1)]).toEqual(['2026-11-22', '2026-11-23']);
  expect(endOfDay('2026-11-22')).toBe(lastMs + 1);
});

test.each([
  [{tokensPerDay: 100}, {inputTokens: 60, outputTokens: 39}, undefined],
  [{tokensPerDay: 100}, {inputTokens: 60, outputTokens: 40}, "the day's budget of 100 tokens is spent"],
  [{costPerDay: 1.5}, {inputTokens: 60, outputTokens: 40}, undefined],
  [{costPerDay: 1.5}, {cost: 1.5}, "the day's budget of a cost of 1.5 is spent"],
  [
    {tokensPerDay: 1, costPerDay: 1},
    {inputTokens: 1, cost: 2},
    "the day's budget of 1 tokens and a cost of 1 is spent",
  ],
])('the budget %j with %j used', (budget, used, message) => {
  const state = budgetState({...budget, mode: 'hard'}, '2026-11-22', {
    ...{requests: 1, inputTokens: 0, outputTokens: 0},
    ...used,
  });
  const exceeded = message !== undefined;
  expect(state).toEqual({day: '2026-11-22', mode: 'hard', exceeded, ...(message !== undefined && {message})});
});
