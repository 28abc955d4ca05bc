/** Counting, days, budgets and the files behind them; the clock is turned by hand. */
import {mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import type {Budget, BudgetState, Price} from '../../src/api/types.js';
import {totalOf} from '../../src/api/usage.js';
import {readUsage, writeUsageFile} from '../../src/registry/usage-files.js';
import type {EngineTarget} from '../../src/worker/specialist.js';
import {Ledger} from '../../src/worker/usage.js';
import type {LedgerOptions} from '../../src/worker/usage.js';
import {UsageStore} from '../../src/worker/usage-store.js';

const noon = Date.parse('2026-11-22T12:00:00Z');
const day = '2026-11-22';
const aiId = 'athena-ai';
/** Above what any system hands out: nobody has this pid. */
const deadPid = 2 ** 30;

let home: string;
let wallMs: number;
let logged: string[];
let told: BudgetState[];
const open: Ledger[] = [];

beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), 'tekton-usage-'));
  wallMs = noon;
  logged = [];
  told = [];
});
afterEach(async () => {
  for (const ledger of open.splice(0)) await ledger.close();
  rmSync(home, {recursive: true, force: true});
});

async function ledgerOf(uid: string, budget?: Budget, options: Partial<LedgerOptions> = {}): Promise<Ledger> {
  const ledger = await Ledger.open({
    ...{aiId, uid, home},
    log: (_level, message) => logged.push(message),
    now: () => wallMs,
    wallNow: () => wallMs,
    onCount: () => undefined,
    onBudget: state => told.push(state),
    ...options,
  });
  ledger.configure(budget);
  open.push(ledger);
  return ledger;
}

function target(prices?: Readonly<Record<string, Price>>, model = 'm1'): EngineTarget {
  const resolved = {name: 'lab', type: 'openai' as const, ...(prices && {prices})};
  return {resolved, model, providerName: 'lab'} as unknown as EngineTarget; // the rest is for asking it
}

const took = {inputTokens: 60, outputTokens: 40, cachedInputTokens: 0, latencyMs: 900, firstTokenMs: 100};

function folder(): string {
  return path.join(home, 'usage', aiId);
}

function onDisk(): Record<string, number> {
  const {days} = readUsage(home, aiId, {from: '2000-01-01', to: '2100-01-01'});
  return Object.fromEntries([...days].map(([name, counts]) => [name, totalOf(counts).requests]));
}

async function leave(uid: string, of: string, requests: number, pid = deadPid): Promise<void> {
  const ledger = await ledgerOf(`by-${uid}`, undefined, {home: undefined});
  for (let n = 0; n < requests; n++) void ledger.answered(target(), took);
  await writeUsageFile(home, aiId, {day: of, uid, pid, includes: [], counts: ledger.counts});
}

describe('what is counted', () => {
  it('stands in a private file of its day when the worker ends, with what it cost', async () => {
    const ledger = await ledgerOf('u1');
    void ledger.answered(target({m1: {input: 1000, output: 2000}}), took);
    void ledger.answered(target(undefined, 'free'), took);
    ledger.failed('timeout');
    await ledger.close();

    const file = path.join(folder(), `${day}.u1.json`);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(folder()).mode & 0o777).toBe(0o700);
    const {days} = readUsage(home, aiId, {from: day, to: day});
    const counts = days.get(day);
    expect(counts?.errors).toEqual({timeout: 1});
    expect(counts?.targets.map(({model, cost}) => [model, cost])).toEqual([
      ['m1', 0.14],
      ['free', undefined],
    ]);
  });

  it('goes to the day that it ended on, and back to that of a clock that was put back', async () => {
    const ledger = await ledgerOf('u1');
    wallMs = Date.parse('2026-11-22T23:59:59.999Z');
    void ledger.answered(target(), took);
    wallMs += 1;
    void ledger.answered(target(), took);
    void ledger.answered(target(), took);
    wallMs -= 1;
    void ledger.answered(target(), took);
    await ledger.close();
    expect(onDisk()).toEqual({'2026-11-22': 2, '2026-11-23': 2});
    expect(ledger.usage.requests).toBe(4);
  });

  it('is kept for after a write that failed, which is logged once, and harms no chat', async () => {
    writeFileSync(path.join(home, 'usage'), 'in the way');
    const ledger = await ledgerOf('u1', {tokensPerDay: 1e9, mode: 'hard'});
    await ledger.answered(target(), took);
    await ledger.answered(target(), took);
    expect(logged).toEqual(['cannot keep the usage']);
    rmSync(path.join(home, 'usage'));
    await ledger.answered(target(), took);
    expect(onDisk()).toEqual({[day]: 3});
  });
});

describe('files of other launches', () => {
  it('are taken over when they are gone, once', async () => {
    await leave('dead1', day, 2);
    await leave('dead2', day, 3);
    const ledger = await ledgerOf('u1');
    expect(readdirSync(folder())).toEqual([`${day}.u1.json`]);
    void ledger.answered(target(), took);
    await ledger.close();
    expect(onDisk()).toEqual({[day]: 6});
    expect(ledger.usage.requests).toBe(1);
    const next = await ledgerOf('u2'); // our own pid is alive
    await next.close();
    expect(onDisk()).toEqual({[day]: 6});
  });

  it('are left alone while their process lives, and count all the same', async () => {
    const before = await ledgerOf('u1');
    const after = await ledgerOf('u2', {tokensPerDay: 250, mode: 'hard'});
    void before.answered(target(), took);
    await before.close();
    await after.answered(target(), took);
    expect(() => after.assertBudget()).not.toThrow();
    await after.answered(target(), took);
    expect(() => after.assertBudget()).toThrow(/budget of 250 tokens is spent/);
    expect(onDisk()).toEqual({[day]: 3});
  });

  it('are in no moment of a takeover counted twice, or not at all, wherever it dies', async () => {
    await leave('dead', day, 2);
    const store = new UsageStore({home, aiId, uid: 'u1', log: () => undefined});
    // It died between the write of its own file and the removal of the one that it took.
    const name = readdirSync(folder())[0] ?? '';
    const content = readFileSync(path.join(folder(), name), 'utf8');
    await store.open(day);
    expect(onDisk()).toEqual({[day]: 2});
    writeFileSync(path.join(folder(), `${day}.dead.taken-u1.json`), content);
    expect(onDisk()).toEqual({[day]: 2});
    // And one that died right after the claim.
    rmSync(path.join(folder(), `${day}.u1.json`));
    expect(onDisk()).toEqual({[day]: 2});
    await new UsageStore({home, aiId, uid: 'u2', log: () => undefined}).open(day);
    expect(onDisk()).toEqual({[day]: 2});
    expect(readdirSync(folder())).toEqual([`${day}.u2.json`]);
  });

  it('go to one of two that take over at the same moment', async () => {
    await leave('dead1', day, 2);
    await leave('dead2', '2026-11-21', 1);
    await leave('dead3', '2026-11-21', 1);
    const store = (uid: string): UsageStore => new UsageStore({home, aiId, uid, log: () => undefined});
    await Promise.all([store('u1').open(day), store('u2').open(day)]);
    expect(onDisk()).toEqual({'2026-11-21': 2, [day]: 2});
  });

  it('that are torn are left alone and told to readers', async () => {
    await leave('dead', day, 2);
    const torn = path.join(folder(), `${day}.torn.json`);
    writeFileSync(torn, '{"formatVersion":1,"day":"20');
    const ledger = await ledgerOf('u1');
    void ledger.answered(target(), took);
    await ledger.close();
    expect(onDisk()).toEqual({[day]: 3});
    expect(readUsage(home, aiId, {from: day, to: day}).unreadable).toEqual([torn]);
  });

  it('go after sixty days', async () => {
    await leave('old', '2026-09-23', 1);
    await leave('young', '2026-09-24', 1);
    await ledgerOf('u1');
    expect(readdirSync(folder())).toEqual(['2026-09-24.young.json']);
  });
});

describe('a budget', () => {
  it('that is hard refuses from the moment on that it is spent until midnight UTC, also after a restart', async () => {
    const budget: Budget = {tokensPerDay: 200, mode: 'hard'};
    const ledger = await ledgerOf('u1', budget);
    await ledger.answered(target(), took);
    ledger.assertBudget();
    await ledger.answered(target(), took);
    const refused = (one: Ledger): unknown => {
      try {
        one.assertBudget();
        return undefined;
      } catch (error) {
        return error;
      }
    };
    expect(refused(ledger)).toMatchObject({
      code: 'budget_exceeded',
      retryable: true,
      retryAfterMs: 12 * 3_600_000,
      message: "athena-ai: the day's budget of 200 tokens is spent; chats are answered again from 2026-11-23T00:00:00Z",
    });
    // Killed: nothing is closed.
    const next = await ledgerOf('u2', budget);
    expect(next.budget?.exceeded).toBe(true);
    wallMs = Date.parse('2026-11-23T00:00:00Z');
    expect([refused(ledger), refused(next)]).toEqual([undefined, undefined]);
    expect(told.map(({exceeded, day: of}) => [of, exceeded])).toEqual([
      [day, true],
      [day, true],
      ['2026-11-23', false],
      ['2026-11-23', false],
    ]);
  });

  it('that is soft tells once and refuses nobody', async () => {
    const ledger = await ledgerOf('u1', {costPerDay: 0.2, mode: 'soft'});
    const priced = target({'*': {input: 1000, output: 1000}});
    for (let n = 0; n < 5; n++) void ledger.answered(priced, took);
    ledger.assertBudget();
    expect(told).toEqual([{day, mode: 'soft', exceeded: true, message: "the day's budget of a cost of 0.2 is spent"}]);
  });

  it('counts what a chat took that was cut off', async () => {
    const ledger = await ledgerOf('u1', {tokensPerDay: 10, mode: 'hard'});
    ledger.spent(target(), {inputTokens: 6, outputTokens: 4, cachedInputTokens: 0});
    ledger.cancelled();
    expect(() => ledger.assertBudget()).toThrow();
    expect(ledger.usage).toMatchObject({requests: 0, cancelled: 1, inputTokens: 6});
  });

  it('that is raised or taken away refuses no more', async () => {
    const ledger = await ledgerOf('u1', {tokensPerDay: 10, mode: 'hard'});
    await ledger.answered(target(), took);
    expect(ledger.budget?.exceeded).toBe(true);
    ledger.configure({tokensPerDay: 1000, mode: 'hard'});
    ledger.assertBudget();
    ledger.configure({tokensPerDay: 10, mode: 'hard'});
    ledger.configure(undefined);
    ledger.assertBudget();
    expect(told.map(({exceeded}) => exceeded)).toEqual([true, false, true, false]);
  });
});

it('tells of the last minutes: rates of one, latencies of five', async () => {
  const ledger = await ledgerOf('u1');
  void ledger.answered(target(), {...took, latencyMs: 20_000});
  wallMs += 120_000;
  void ledger.answered(target(), took);
  void ledger.answered(target(), took);
  const {rateSeconds, requests, outputTokens, latencyP50 = 0, latencyP95 = 0, firstTokenP50 = 0} = ledger.recent;
  expect([requests, outputTokens]).toEqual([2, 80]);
  expect(rateSeconds).toBeGreaterThanOrEqual(45);
  expect(rateSeconds).toBeLessThanOrEqual(60);
  expect(latencyP50).toBeLessThan(1);
  expect(latencyP95).toBeGreaterThan(15);
  expect(firstTokenP50).toBeLessThan(0.11);
  wallMs += 301_000;
  expect(ledger.recent).toEqual({rateSeconds: expect.any(Number), requests: 0, outputTokens: 0});
});
