/** The judge itself: what it must see, and what it must not hold against anybody. */
import {describe, expect, it, test} from '@jest/globals';

type Line = Readonly<Record<string, unknown>>;
type Found = readonly {readonly violation: string}[];

interface Judge {
  changesOf(lines: readonly Line[]): readonly object[];
  historiesOf(changes: readonly object[]): ReadonlyMap<string, readonly object[]>;
  wrongStates(
    histories: ReadonlyMap<string, readonly object[]>,
    tokens: ReadonlyMap<string, string>,
    at: number,
  ): Found;
  wrongReads(histories: ReadonlyMap<string, readonly object[]>, lines: readonly Line[]): Found;
  sharedPorts(changes: readonly object[]): Found;
  wrongFailures(changes: readonly object[], freezes: readonly Line[]): Found;
}

interface Scheduler {
  writerFaults(world: object): readonly object[];
  fleetFaults(world: object): readonly object[];
}

// Plain JavaScript without types: names that the compiler can't resolve spare it declarations.
const [judgePath, schedulePath]: readonly string[] = ['./check.mjs', './schedule.mjs'];
const judge = (await import(judgePath ?? '')) as Judge;
const scheduler = (await import(schedulePath ?? '')) as Scheduler;

const registers = (op: string, aiId: string, port: number, from: number, source = 'w0'): Line => ({
  op,
  kind: 'register',
  ops: [{aiId, uid: `u-${aiId}`, port, token: op}],
  from,
  source,
});
const removes = (op: string, aiId: string, from: number, source = 'w0'): Line => ({
  op,
  kind: 'deregister',
  ops: [{aiId, token: op}],
  from,
  source,
});
const allocates = (op: string, aiId: string, from: number, source = 'w0'): Line => ({
  op,
  kind: 'allocate',
  ops: [{aiId, uid: `u-${aiId}`}],
  from,
  source,
});
const ack = (op: string, at: number, more: Line = {}): Line => ({ack: op, at, ...more});
const busy = (op: string, at: number): Line => ({fail: op, at, busy: true});
const killed = (source: string, at: number): Line => ({killed: source, at, goneAt: at + 1});

describe('the last state of an id', () => {
  const judged = (lines: readonly Line[], tokens: Readonly<Record<string, string>>): Found =>
    judge.wrongStates(judge.historiesOf(judge.changesOf(lines)), new Map(Object.entries(tokens)), 1_000);
  const made = [registers('a', 'x', 1, 10), ack('a', 20)];

  it.each<[string, readonly Line[], Readonly<Record<string, string>>]>([
    ['is what was acknowledged last', [...made, registers('b', 'x', 1, 30), ack('b', 40)], {x: 'b'}],
    ['may be what was under way at a kill', [...made, registers('b', 'x', 1, 30), killed('w0', 35)], {x: 'b'}],
    ['may be what was before a kill', [...made, registers('b', 'x', 1, 30), killed('w0', 35)], {x: 'a'}],
    ['is either of two at once', [...made, registers('b', 'x', 1, 15, 'w1'), ack('b', 25)], {x: 'a'}],
    ['is nothing after a removal', [...made, removes('b', 'x', 30), ack('b', 40, {removed: true})], {}],
    [
      'is nothing where a dead one gave way to the new owner of its port',
      [...made, killed('w0', 30), registers('b', 'y', 1, 40, 'w1'), ack('b', 50)],
      {y: 'b'},
    ],
  ])('%s', (_sentence, lines, tokens) => {
    expect(judged(lines, tokens)).toEqual([]);
  });

  it.each<[string, readonly Line[], Readonly<Record<string, string>>]>([
    ['may not be gone', made, {}],
    ['may not be older', [...made, registers('b', 'x', 1, 30), ack('b', 40)], {x: 'a'}],
    ['may not be what LockBusyError said was not made', [...made, registers('b', 'x', 1, 30), busy('b', 40)], {x: 'b'}],
    [
      'may not be what a killed one was at, once another came after',
      [...made, registers('b', 'x', 1, 30), killed('w0', 35), registers('c', 'x', 1, 40, 'w1'), ack('c', 50)],
      {x: 'b'},
    ],
    ['may not be gone while its owner lives', [...made, registers('b', 'y', 1, 40, 'w1'), ack('b', 50)], {y: 'b'}],
  ])('%s', (_sentence, lines, tokens) => {
    expect(judged(lines, tokens)).toMatchObject([{violation: 'lost or undone change', aiId: 'x'}]);
  });
});

test('a reading that is older than an acknowledged change is found', () => {
  const lines = [registers('a', 'x', 1, 10), ack('a', 20), registers('b', 'x', 1, 30), ack('b', 40)];
  const reading = (token: string, from: number): Line => ({read: 'x', token, from, to: from + 5});
  const wrong = (line: Line): Found => judge.wrongReads(judge.historiesOf(judge.changesOf(lines)), [line]);
  expect(wrong(reading('a', 34))).toEqual([]);
  expect(wrong(reading('b', 34))).toEqual([]);
  expect(wrong(reading('a', 41))).toHaveLength(1);
  expect(wrong(reading('b', 20))).toHaveLength(1);
});

describe('a port', () => {
  const given = (op: string, aiId: string, from: number, source: string): readonly Line[] => [
    allocates(op, aiId, from, source),
    ack(op, from + 5, {ports: [7]}),
  ];
  const shared = (lines: readonly Line[]): Found => judge.sharedPorts(judge.changesOf(lines));

  it('may not be given to two while the first one lives', () => {
    expect(shared([...given('a', 'x', 10, 'w0'), ...given('b', 'y', 30, 'w1')])).toHaveLength(1);
  });
  it('may be given again when its owner is dead', () => {
    expect(shared([...given('a', 'x', 10, 'w0'), killed('w0', 20), ...given('b', 'y', 30, 'w1')])).toEqual([]);
  });
  it('may not be given away that is registered', () => {
    const registered = [...given('a', 'x', 10, 'w0'), registers('r', 'x', 7, 20), ack('r', 25)];
    expect(shared([...registered, ...given('b', 'y', 30, 'w1')])).toHaveLength(1);
    expect(shared([...registered, removes('d', 'x', 26), ...given('b', 'y', 30, 'w1')])).toEqual([]);
  });
});

test('LockBusyError is excused only where the process itself was frozen', () => {
  const changes = judge.changesOf([registers('a', 'x', 1, 10), busy('a', 50)]);
  expect(judge.wrongFailures(changes, [{source: 'w0', from: 20, to: 40}])).toEqual([]);
  expect(judge.wrongFailures(changes, [{source: 'w1', from: 20, to: 40}])).toHaveLength(1);
  expect(judge.wrongFailures(changes, [{source: 'w0', from: 60, to: 70}])).toHaveLength(1);
});

test('the same seed gives the same schedule, another one another', () => {
  const world = (seed: string) => ({seed, seconds: 30, writers: 8, longFreezes: 1, without: []});
  expect(scheduler.writerFaults(world('1'))).toEqual(scheduler.writerFaults(world('1')));
  expect(scheduler.writerFaults(world('1'))).not.toEqual(scheduler.writerFaults(world('2')));
  const faults = scheduler.fleetFaults(world('1'));
  expect(faults.length).toBeGreaterThan(20);
  // Leaving one kind out changes nothing about the others.
  const without = scheduler.fleetFaults({...world('1'), without: ['edit']});
  expect(faults).toEqual(expect.arrayContaining([...without]));
  expect(without.length).toBeLessThan(faults.length);
});
