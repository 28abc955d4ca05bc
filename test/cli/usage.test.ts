/** `usage` from files alone, and who is chosen for a role. */
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {afterEach, beforeEach, describe, expect, it, test} from '@jest/globals';
import {Tally} from '../../src/api/usage.js';
import {parseDay, parseLabels, parseSince} from '../../src/cli/arguments.js';
import {better} from '../../src/cli/best-of-role.js';
import {secondsText, costText} from '../../src/cli/print/usage.js';
import {reportUsage} from '../../src/cli/usage-report.js';
import {writeUsageFile} from '../../src/registry/usage-files.js';
import {cli, exitCodes} from './host.js';
import {athena} from './samples.js';

const took = {inputTokens: 60, outputTokens: 40, cachedInputTokens: 8, latencyMs: 900, firstTokenMs: 100};
const now = Date.parse('2026-11-22T12:00:00Z');

let home: string;
beforeEach(async () => {
  home = mkdtempSync(path.join(tmpdir(), 'tekton-usage-'));
  const write = async (aiId: string, day: string, uid: string, cost: number | undefined): Promise<void> => {
    const tally = new Tally();
    tally.answered({provider: 'lab', model: 'llama3.3:70b'}, {...took, cost});
    tally.callFailed({provider: 'lab', model: 'llama3.3:70b'}, 'overloaded');
    tally.failed('timeout');
    await writeUsageFile(home, aiId, {day, uid, pid: 1, includes: [], counts: tally.counts});
  };
  await write('athena-ai', '2026-11-22', 'u1', 0.5);
  await write('athena-ai', '2026-11-22', 'u2', 0.25);
  await write('athena-ai', '2026-11-15', 'u1', 7);
  await write('lab.hermes-ai', '2026-11-21', 'u1', undefined);
});
afterEach(() => rmSync(home, {recursive: true, force: true}));

async function table(...args: string[]): Promise<string> {
  const {out, err, code} = await cli(['--home', home, 'usage', ...args]);
  expect({err, code}).toEqual({err: '', code: 0});
  return out.replaceAll(/ +$/gm, '');
}

describe('usage', () => {
  it('is a table of the day that is asked for', async () => {
    expect(await table('--day', '2026-11-22')).toMatchInlineSnapshot(`
     "NAME     REQUESTS   ERRORS   TOKENS-IN   TOKENS-OUT   COST
     athena   2          2        120         80           0.75
     "
    `);
  });

  it('sums days per specialist, and all of them', async () => {
    expect(await table('--since', '2026-11-15')).toMatchInlineSnapshot(`
     "NAME         REQUESTS   ERRORS   TOKENS-IN   TOKENS-OUT   COST
     athena       3          3        180         120          7.75
     lab/hermes   1          1        60          40           <none>
     TOTAL        4          4        240         160          7.75
     "
    `);
  });

  it('sums by day, provider and model', async () => {
    expect(await table('--since', '2026-11-15', '--by', 'day')).toMatchInlineSnapshot(`
     "DAY          REQUESTS   ERRORS   TOKENS-IN   TOKENS-OUT   COST
     2026-11-15   1          1        60          40           7.00
     2026-11-21   1          1        60          40           <none>
     2026-11-22   2          2        120         80           0.75
     TOTAL        4          4        240         160          7.75
     "
    `);
    expect(await table('--since', '2026-11-15', '--by', 'model', '-o', 'wide')).toMatchInlineSnapshot(`
     "PROVIDER   MODEL          REQUESTS   ERRORS   TOKENS-IN   TOKENS-OUT   COST   CACHED-IN   CANCELLED   P50     P95     FIRST-P50   FIRST-P95   ERROR-CODES
     lab        llama3.3:70b   4          4        240         160          7.75   32          <none>      875ms   988ms   75ms        98ms        overloaded=4
     "
    `);
    expect(await table('--since', '2026-11-15', '--by', 'provider', '-o', 'name')).toBe('provider/lab\n');
  });

  it('takes today and the days before it for --since', async () => {
    const options = {by: 'day', selector: []} as const;
    const days = async (since: number): Promise<unknown> =>
      (await reportUsage(home, [], {...options, since}, now)).rows.map(({day}) => day);
    expect(await days(1)).toEqual(['2026-11-22']);
    expect(await days(7)).toEqual(['2026-11-21', '2026-11-22']);
    expect(await days(8)).toEqual(['2026-11-15', '2026-11-21', '2026-11-22']);
  });

  it('keeps to a namespace, and names what is nobody’s', async () => {
    expect(await table('--day', '2026-11-21', '-n', 'lab', '-o', 'name')).toBe('specialist/lab/hermes\n');
    const {code, err} = await cli(['--home', home, 'usage', 'athene']);
    expect({code, err}).toEqual({
      code: exitCodes.failed,
      err: 'error: there is no specialist "athene"\nhint: did you mean `athena`? known: athena, lab/hermes\n',
    });
  });

  it('warns of files that it cannot read, and counts the rest', async () => {
    const torn = path.join(home, 'usage', 'athena-ai', '2026-11-22.u3.json');
    writeFileSync(torn, '{"formatV');
    const {out, err, code} = await cli(['--home', home, 'usage', '--day', '2026-11-22', '-o', 'json']);
    expect({code, err}).toEqual({code: 0, err: `warning: cannot read ${torn}; what it counts is missing\n`});
    expect(JSON.parse(out)).toMatchObject({
      ...{kind: 'UsageReport', from: '2026-11-22', to: '2026-11-22', by: 'specialist'},
      items: [
        {aiId: 'athena-ai', requests: 2, inputTokens: 120, cachedInputTokens: 16, cost: 0.75, errors: {timeout: 2}},
      ],
      total: {requests: 2, cost: 0.75},
    });
  });

  it('refuses days that are none', async () => {
    for (const args of [
      ['--day', '2026-02-30'],
      ['--since', '0d'],
      ['--since', '7d', '--day', '2026-11-22'],
    ]) {
      expect((await cli(['--home', home, 'usage', ...args])).code).toBe(exitCodes.invalidInput);
    }
    expect(parseSince('7d')).toBe(7);
    expect(parseSince('2026-11-22')).toBe(parseDay('2026-11-22'));
  });
});

test('labels are written as for kubectl', () => {
  expect(parseLabels('team=a, tier!=b,gpu,!old')).toEqual([
    {type: 'equals', key: 'team', value: 'a'},
    {type: 'differs', key: 'tier', value: 'b'},
    {type: 'has', key: 'gpu'},
    {type: 'lacks', key: 'old'},
  ]);
  for (const text of ['', 'a=b=c', '!a=b', 'a b']) expect(() => parseLabels(text)).toThrow('Expected labels');
});

test.each([
  [undefined, '<none>'],
  [0, '0.00'],
  [0.0042, '0.0042'],
  [0.5, '0.5'],
  [12.345, '12.35'],
])('a cost of %s is %s', (cost, text) => expect(costText(cost)).toBe(text));

test.each([
  [undefined, '<none>'],
  [0.08, '80ms'],
  [1.251, '1.25s'],
  [42.4, '42s'],
])('%s seconds are %s', (seconds, text) => expect(secondsText(seconds)).toBe(text));

test('for a role the exact one comes first, then the least busy, then the name', () => {
  const candidate = (name: string, exact: boolean, load: number) => ({view: {...athena, name}, exact, load});
  const all = [
    candidate('d', false, 0),
    candidate('c', true, 1),
    candidate('b', true, 1),
    candidate('mute', true, Number.POSITIVE_INFINITY),
    candidate('a', true, 2),
  ];
  expect(all.toSorted(better).map(({view}) => view.name)).toEqual(['b', 'c', 'a', 'mute', 'd']);
});
