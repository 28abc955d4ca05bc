/** Sync windows: open or closed, and until when, over time zones and the changes of their clocks. */
import {beforeAll, describe, expect, it, test} from '@jest/globals';
import fc from 'fast-check';
import {isoOf, msOf} from '../../src/api/time.js';
import type {SyncWindow} from '../../src/api/types.js';
import {stateOf} from '../../src/reconciler/windows.js';
import {loadSchedules} from '../../src/spec/schedule.js';
import type {NextRun} from '../../src/spec/schedule.js';

const hour = 3600;
const minuteMs = 60_000;

let nextRun: NextRun;

beforeAll(async () => {
  nextRun = await loadSchedules();
});

function allow(schedule: string, durationSeconds: number, more: Partial<SyncWindow> = {}): SyncWindow {
  return {kind: 'allow', schedule, durationSeconds, timeZone: 'UTC', manual: true, ...more};
}

function deny(schedule: string, durationSeconds: number, more: Partial<SyncWindow> = {}): SyncWindow {
  return {...allow(schedule, durationSeconds, more), kind: 'deny'};
}

/** "open until …" or "closed until …". */
function look(windows: readonly SyncWindow[], at: string): string {
  const {open, untilMs} = stateOf(windows, msOf(at), nextRun);
  return `${open ? 'open' : 'closed'} until ${untilMs === undefined ? 'ever' : isoOf(untilMs)}`;
}

const office = allow('0 9 * * 1-5', 8 * hour);
const night = deny('0 22 * * *', 8 * hour);
const berlin = {timeZone: 'Europe/Berlin'};
const newYork = {timeZone: 'America/New_York'};

test.each<[what: string, windows: readonly SyncWindow[], at: string, state: string]>([
  ['no windows', [], '2026-01-05T08:00:00Z', 'open until ever'],
  ['before an allow', [office], '2026-01-05T08:59:59.999Z', 'closed until 2026-01-05T09:00:00Z'],
  ['at its first moment', [office], '2026-01-05T09:00:00Z', 'open until 2026-01-05T17:00:00Z'],
  ['at its last moment', [office], '2026-01-05T16:59:59.999Z', 'open until 2026-01-05T17:00:00Z'],
  ['at its end', [office], '2026-01-05T17:00:00Z', 'closed until 2026-01-06T09:00:00Z'],
  ['over a weekend', [office], '2026-01-09T17:00:00Z', 'closed until 2026-01-12T09:00:00Z'],
  ['a deny alone, outside', [night], '2026-01-05T12:00:00Z', 'open until 2026-01-05T22:00:00Z'],
  ['a deny over midnight, before it', [night], '2026-01-05T23:00:00Z', 'closed until 2026-01-06T06:00:00Z'],
  ['a deny over midnight, after it', [night], '2026-01-06T05:00:00Z', 'closed until 2026-01-06T06:00:00Z'],
  [
    'a deny in an allow',
    [office, deny('0 12 * * *', hour)],
    '2026-01-05T12:30:00Z',
    'closed until 2026-01-05T13:00:00Z',
  ],
  [
    'a deny over the end of an allow',
    [office, deny('0 16 * * *', 4 * hour)],
    '2026-01-05T16:30:00Z',
    'closed until 2026-01-06T09:00:00Z',
  ],
  [
    'two denies that touch',
    [deny('0 1 * * *', hour), deny('0 2 * * *', hour)],
    '2026-01-05T01:30:00Z',
    'closed until 2026-01-05T03:00:00Z',
  ],
  [
    'two allows that overlap',
    [allow('0 1 * * *', 2 * hour), allow('0 2 * * *', 2 * hour)],
    '2026-01-05T01:30:00Z',
    'open until 2026-01-05T04:00:00Z',
  ],
  ['runs that overlap their own', [allow('0 * * * *', 2 * hour)], '2026-01-05T01:30:00Z', 'open until ever'],
  ['a deny without an end', [deny('* * * * *', hour)], '2026-01-05T01:30:00Z', 'closed until ever'],
  ['once in four years', [allow('0 0 29 2 *', hour)], '2026-01-05T00:00:00Z', 'closed until 2028-02-29T00:00:00Z'],
  [
    'a longer one than a month',
    [deny('0 0 1 1 *', 45 * 24 * hour)],
    '2026-02-10T00:00:00Z',
    'closed until 2026-02-15T00:00:00Z',
  ],
  // Europe/Berlin: clocks go forward at 01:00Z on 29 March 2026, back at 01:00Z on 25 October.
  ['winter in Berlin', [allow('0 9 * * *', hour, berlin)], '2026-01-05T07:00:00Z', 'closed until 2026-01-05T08:00:00Z'],
  ['summer in Berlin', [allow('0 9 * * *', hour, berlin)], '2026-07-05T06:00:00Z', 'closed until 2026-07-05T07:00:00Z'],
  [
    'a time that Berlin leaves out is the first after it',
    [allow('30 2 * * *', hour, berlin)],
    '2026-03-29T00:00:00Z',
    'closed until 2026-03-29T01:00:00Z',
  ],
  [
    'a night that is an hour shorter lasts as long',
    [deny('0 22 * * *', 8 * hour, berlin)],
    '2026-03-28T23:00:00Z',
    'closed until 2026-03-29T05:00:00Z',
  ],
  [
    'a time that Berlin has twice counts the first time',
    [allow('30 2 * * *', hour / 2, berlin)],
    '2026-10-25T00:00:00Z',
    'closed until 2026-10-25T00:30:00Z',
  ],
  [
    'and not the second time',
    [allow('30 2 * * *', hour / 2, berlin)],
    '2026-10-25T01:00:00Z',
    'closed until 2026-10-26T01:30:00Z',
  ],
  [
    'a night that is an hour longer lasts as long',
    [deny('0 22 * * *', 8 * hour, berlin)],
    '2026-10-24T23:00:00Z',
    'closed until 2026-10-25T04:00:00Z',
  ],
  // America/New_York: forward at 07:00Z on 8 March 2026, back at 06:00Z on 1 November.
  [
    'winter in New York',
    [allow('0 9 * * *', hour, newYork)],
    '2026-01-05T12:00:00Z',
    'closed until 2026-01-05T14:00:00Z',
  ],
  [
    'a time that New York leaves out',
    [allow('30 2 * * *', hour, newYork)],
    '2026-03-08T05:00:00Z',
    'closed until 2026-03-08T07:00:00Z',
  ],
  [
    'a time that New York has twice',
    [allow('30 1 * * *', hour / 2, newYork)],
    '2026-11-01T05:00:00Z',
    'closed until 2026-11-01T05:30:00Z',
  ],
  [
    'and not twice there either',
    [allow('30 1 * * *', hour / 2, newYork)],
    '2026-11-01T06:15:00Z',
    'closed until 2026-11-02T06:30:00Z',
  ],
])('stands as declared: %s', (_what, windows, at, state) => {
  expect(look(windows, at)).toBe(state);
});

test.each<[what: string, windows: readonly SyncWindow[], at: string, manual: boolean]>([
  ['open', [{...office, manual: false}], '2026-01-05T10:00:00Z', true],
  ['outside of an allow', [office], '2026-01-05T20:00:00Z', true],
  ['outside of an allow that keeps people out', [{...office, manual: false}], '2026-01-05T20:00:00Z', false],
  ['outside of two, one of which does', [office, {...office, manual: false}], '2026-01-05T20:00:00Z', false],
  ['within a deny that keeps people out', [{...night, manual: false}], '2026-01-05T23:00:00Z', false],
  [
    'within a deny that does not, outside of an allow that does',
    [night, {...office, manual: false}],
    '2026-01-05T23:00:00Z',
    true,
  ],
])('says whether a person may: %s', (_what, windows, at, manual) => {
  expect(stateOf(windows, msOf(at), nextRun).manual).toBe(manual);
});

describe('against a walk over every minute', () => {
  const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe'];
  const number = (from: number, to: number) => fc.integer({min: from, max: to});
  /** A field, and whether a number fits it. */
  const field = (from: number, to: number) =>
    fc.oneof(
      fc.constant({text: '*', fits: (_n: number) => true}),
      number(from, to).map(one => ({text: String(one), fits: (n: number) => n === one})),
      fc.tuple(number(from, to), number(from, to)).map(pair => {
        const [low = from, high = to] = [...pair].sort((a, b) => a - b);
        return {text: `${low}-${high}`, fits: (n: number) => n >= low && n <= high};
      }),
    );
  const anyWindow = fc.record({
    kind: fc.constantFrom('allow' as const, 'deny' as const),
    minute: fc.oneof(fc.constant(0), number(0, 59)),
    hour: field(0, 23),
    weekday: field(0, 6),
    minutes: number(1, 30 * 60),
  });

  const beginsMs = msOf('2026-01-10T00:00:00Z');
  const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
  const walks = new Map<string, ReturnType<typeof walk>>();

  /** Two weeks of minutes, with what clocks show in the zone. */
  function walk(timeZone: string) {
    const clock = new Intl.DateTimeFormat('en-US', {
      ...{timeZone, hourCycle: 'h23', weekday: 'short', hour: 'numeric', minute: 'numeric'},
    });
    return Array.from({length: 14 * 24 * 60}, (_, i) => {
      const at = beginsMs + i * minuteMs;
      const parts = new Map(clock.formatToParts(at).map(({type, value}) => [type, value]));
      const [hour, minute] = [Number(parts.get('hour')), Number(parts.get('minute'))];
      return {at, hour, minute, weekday: days.indexOf(parts.get('weekday') ?? '')};
    });
  }

  function walkOf(zone: string) {
    const known = walks.get(zone) ?? walk(zone);
    walks.set(zone, known);
    return known;
  }

  it('finds the same state and the same turn on days without a change of the clocks', () => {
    // Long enough before and after the look: the longest window lasts 30 hours.
    const beforeMinutes = 32 * 60;
    const afterMinutes = 4 * 24 * 60;
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.array(anyWindow, {minLength: 1, maxLength: 3}),
        number(0, 7 * 24 * 60),
        (timeZone, said, offset) => {
          const walked = walkOf(timeZone).slice(offset, offset + beforeMinutes + afterMinutes);
          const nowMs = beginsMs + (offset + beforeMinutes) * minuteMs;
          const begins = said.map(one =>
            walked.map(m => m.minute === one.minute && one.hour.fits(m.hour) && one.weekday.fits(m.weekday)),
          );
          const isOpen = walked.map((_, i) => {
            const lasts = (w: number): boolean =>
              (begins[w] ?? []).slice(Math.max(0, i + 1 - (said[w]?.minutes ?? 0)), i + 1).includes(true);
            const active = said.flatMap((one, w) => (lasts(w) ? one.kind : []));
            if (active.includes('deny')) return false;
            return active.includes('allow') || !said.some(({kind}) => kind === 'allow');
          });
          const windows = said.map(({kind, minute, hour, weekday, minutes}): SyncWindow => ({
            ...{kind, timeZone, manual: true, durationSeconds: minutes * 60},
            schedule: `${minute} ${hour.text} * * ${weekday.text}`,
          }));
          const state = stateOf(windows, nowMs, nextRun);
          expect(state.open).toBe(isOpen[beforeMinutes]);
          const turn = walked.findIndex((_, i) => i > beforeMinutes && isOpen[i] !== state.open);
          const found = state.untilMs === undefined ? -1 : walked.findIndex(({at}) => at === state.untilMs);
          // What lies beyond the walk is not looked at.
          expect(found).toBe(turn);
        },
      ),
      {numRuns: 100},
    );
  });

  it('is never closed or open for no time, and turns where it says', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.array(anyWindow, {minLength: 1, maxLength: 3}),
        number(0, 365 * 24 * 60),
        (timeZone, said, offset) => {
          const nowMs = msOf('2026-01-01T00:00:00Z') + offset * minuteMs;
          const windows = said.map(({kind, minute, hour, weekday, minutes}): SyncWindow => ({
            ...{kind, timeZone, manual: true, durationSeconds: minutes * 60},
            schedule: `${minute} ${hour.text} * * ${weekday.text}`,
          }));
          const {open, untilMs} = stateOf(windows, nowMs, nextRun);
          if (untilMs === undefined) return;
          expect(untilMs).toBeGreaterThan(nowMs);
          expect(stateOf(windows, untilMs - 1, nextRun).open).toBe(open);
          expect(stateOf(windows, untilMs, nextRun).open).toBe(!open);
        },
      ),
      {numRuns: 40},
    );
  });
});
