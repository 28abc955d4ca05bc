import {describe, expect, it, test} from '@jest/globals';
import {readFileSync} from 'node:fs';
import {byHand, commands, edits, faults, meetings} from './scenario.js';
import {parseKeep} from './shrink.js';
import {simulate} from './simulate.js';
import type {Outcome} from './simulate.js';

interface Regression {
  readonly seed: number;
  readonly shrunk?: string;
  /** What was wrong. */
  readonly found: string;
}

const regressions = JSON.parse(
  readFileSync(new URL('regressions.json', import.meta.url), 'utf8'),
) as readonly Regression[];

const firstSeed = 7_000_000;
/** What a suite has time for; `npm run simulate` has more. */
const runs = 400;
/** A machine that is busy runs fewer. */
const budgetMs = 9_000;
const fewest = 100;

describe('the reconcile loop', () => {
  it('keeps to its promises in fresh runs, and every kind of incident happens in them', async () => {
    const happened = new Set<string>();
    const began = performance.now();
    let done = 0;
    for (; done < runs && (done < fewest || performance.now() - began < budgetMs); done++) {
      const outcome = await simulate({seed: firstSeed + done});
      expect(problemOf(outcome)).toBeUndefined();
      for (const kind of outcome.happened.keys()) happened.add(kind);
    }
    const missing = [...edits, ...commands, ...faults, ...byHand, ...meetings].filter(kind => !happened.has(kind));
    expect(done < runs ? [] : missing).toEqual([]);
  }, 120_000);

  test.each(regressions)('does no longer what seed $seed found: $found', async ({seed, shrunk}) => {
    const outcome = await simulate({seed, ...(shrunk !== undefined && {keep: parseKeep(shrunk)})});
    expect(problemOf(outcome)).toBeUndefined();
  });
});

describe('the simulator', () => {
  it('does the same again with the same seed', async () => {
    const hashes = async (): Promise<readonly number[]> => {
      const all: number[] = [];
      for (let seed = 1; seed <= 20; seed++) all.push((await simulate({seed})).hash);
      return all;
    };
    const first = await hashes();
    expect(new Set(first).size).toBe(20);
    expect(await hashes()).toEqual(first);
  }, 120_000);

  it('leaves out of a run what it is told to', async () => {
    const whole = await simulate({seed: 3});
    const nothing = await simulate({seed: 3, keep: {incidents: []}});
    expect(whole.happened.size).toBeGreaterThan(0);
    expect(nothing.happened.size).toBe(0);
  });
});

function problemOf({seed, violation}: Outcome): string | undefined {
  return violation && `npm run simulate -- --seed ${seed}: ${violation.text}`;
}
