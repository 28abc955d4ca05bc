/** What is to happen in a run, drawn from its seed before it begins: so that parts of it can be left out when it is shrunk. */
import type {DriftPolicy} from '../../src/api/types.js';
import type {FleetKey} from '../../src/reconciler/ports.js';
import type {Says} from './declarations.js';
import {Random} from './random.js';

export const edits = [
  'add',
  'remove',
  'model',
  'env',
  'pin',
  'depend',
  'disable',
  'enable',
  'rename',
  'typo',
  'fix',
  'file gone',
  'half-written',
] as const;
export const commands = ['apply', 'up', 'down', 'restart', 'pause', 'resume'] as const;
export const faults = [
  'controller killed',
  'controller killed at an effect',
  'command killed at an effect',
  'controller frozen',
  'controller stopped',
  'second controller',
  'worker killed',
  'worker hung',
  'worker suspended',
  'worker told to stop by hand',
  'successor killed',
  'launches end at once',
  'launches hang',
  'launches are slow',
  'crash loop',
  'spawn fails',
  'port stolen',
  'stranger listens',
  'pid reused',
  'control connection broken',
  'disk full',
  'disk unreadable',
  'registry damaged',
  'registry removed',
  'registry edited',
  'launch record removed',
  'fleet record removed',
  'watch events lost',
  'watch events late',
  'watch events doubled',
  'wall clock jumps',
  'machine sleeps',
  'machine reboots',
  'provider down',
  'provider slow',
  'model missing',
  'secret missing',
  'chats',
] as const;

/** What somebody does to a worker past its controller. */
export const byHand = ['worker configured by hand', 'worker drained by hand'] as const;

/** What one in thousands of fresh runs would come to by itself: things that meet within a few ms. */
export const meetings = ['a save meets a command', 'a save meets an apply'] as const;

export type Kind =
  | (typeof edits)[number]
  | (typeof commands)[number]
  | (typeof faults)[number]
  | (typeof byHand)[number]
  | (typeof meetings)[number];

export interface Incident {
  readonly index: number;
  /** Monotonic ms. */
  readonly at: number;
  readonly kind: Kind;
}

export interface Fleet {
  readonly key: FleetKey;
  readonly says: readonly Says[];
}

export interface Scenario {
  readonly fleets: readonly Fleet[];
  readonly incidents: readonly Incident[];
  /** Whether somebody starts a controller again when it has gone, before the faults end. */
  readonly supervised: boolean;
  readonly driftPolicy: DriftPolicy;
  /** From here on nothing bad happens any more, monotonic ms. */
  readonly calmAt: number;
}

/** What is left of a scenario when it is shrunk. */
export interface Keep {
  readonly incidents?: readonly number[];
  /** Names. */
  readonly specialists?: readonly string[];
}

export const names = ['athena', 'boreas', 'calliope', 'daphne', 'eos', 'freya', 'gaia', 'hera'] as const;
/** Not at all times: they end what was to be found out. */
const rare = new Set<Kind>(['machine reboots', 'fleet record removed', 'down', 'file gone']);

export function drawScenario(seed: number, keep: Keep = {}): Scenario {
  const random = Random.of(seed, 'scenario');
  const chaosMs = random.pick([4_000, 30_000, 90_000, 400_000]);
  const count = 2 + random.below(14);
  // Few kinds in one run, so that they meet each other in all ways.
  const kinds: Kind[] = [
    ...pickSome(random, edits, 4),
    ...pickSome(random, commands, 3),
    ...pickSome(random, faults, 6),
  ];
  const incidents: Incident[] = [];
  let last = 0;
  for (let index = 0; index < count; index++) {
    let kind = random.pick(kinds);
    if (rare.has(kind) && random.chance(0.6)) kind = random.pick(kinds);
    // Often one comes right after the other, in the middle of what that has set off.
    const soon = last + random.between(0, 1) ** 3 * 2_000;
    last = random.chance(0.4) ? soon : random.between(0, 1) ** 1.5 * chaosMs;
    incidents.push({index, at: last, kind});
  }
  const fleets = drawFleets(random, keep.specialists);
  const supervised = random.chance(0.85);
  const kept = keep.incidents && new Set(keep.incidents);
  const hands = drawHands(seed, count, chaosMs);
  const met = drawMeetings(seed, count + hands.length, chaosMs);
  return {
    fleets,
    incidents: [...incidents, ...hands, ...met]
      .filter(({index}) => !kept || kept.has(index))
      .sort((a, b) => a.at - b.at),
    supervised,
    driftPolicy: Random.of(seed, 'drift policy').pick(['heal', 'heal', 'warn', 'ignore']),
    calmAt: Math.max(chaosMs, ...incidents.map(({at}) => at)) + random.between(0, 3_000),
  };
}

/** By a stream of their own, and numbered behind the others: what else a seed draws is as it was without them. */
function drawHands(seed: number, from: number, chaosMs: number): readonly Incident[] {
  const random = Random.of(seed, 'by hand');
  const count = random.chance(0.4) ? 1 + random.below(3) : 0;
  return Array.from({length: count}, (_, i) => ({
    index: from + i,
    at: random.between(0, chaosMs),
    kind: random.pick([...byHand, byHand[0]]),
  }));
}

/** As `drawHands`. */
function drawMeetings(seed: number, from: number, chaosMs: number): readonly Incident[] {
  const random = Random.of(seed, 'meetings');
  const count = random.chance(0.2) ? 1 + random.below(3) : 0;
  return Array.from({length: count}, (_, i) => ({
    index: from + i,
    at: random.between(0, chaosMs),
    kind: random.pick(meetings),
  }));
}

function drawFleets(random: Random, kept: readonly string[] | undefined): readonly Fleet[] {
  const one = drawFleet(random, {namespace: 'default', fleet: 'alpha'}, 1 + random.below(5), 0);
  const two = drawFleet(random, {namespace: 'default', fleet: 'beta'}, 1 + random.below(3), random.chance(0.5) ? 2 : 5);
  const fleets = random.chance(0.35) ? [one, two] : [one];
  return fleets.map(({key, says}) => {
    const left = says.filter(({name}) => !kept || kept.includes(name));
    const there = new Set(left.map(({name}) => name));
    return {key, says: left.map(one => ({...one, dependsOn: (one.dependsOn ?? []).filter(name => there.has(name))}))};
  });
}

function drawFleet(random: Random, key: FleetKey, size: number, from: number): Fleet {
  const chosen = names.slice(from, from + size);
  return {key, says: chosen.map((name, i) => drawSays(random, name, chosen.slice(0, i)))};
}

/** @param before names that it may depend on */
export function drawSays(random: Random, name: string, before: readonly string[]): Says {
  return {
    name,
    model: random.pick(['small', 'large']),
    provider: random.pick(['ollama', 'ollama', 'hosted', 'auto', 'offline'] as const),
    ...(random.chance(0.15) && {secret: true}),
    ...(random.chance(0.15) && {port: pinnedPort(name)}),
    ...(before.length > 0 && random.chance(0.25) && {dependsOn: [random.pick(before)]}),
    ...(random.chance(0.07) && {enabled: false}),
    ...(random.chance(0.06) && {restartPolicy: random.pick(['OnFailure', 'Never'] as const)}),
    ...(random.chance(0.5) && {grace: random.pick([1, 5, 60])}),
  };
}

/** Outside of the range that ports are allocated from. */
export function pinnedPort(name: string): number {
  return 45_020 + names.findIndex(known => known === name);
}

function pickSome<T>(random: Random, items: readonly T[], most: number): readonly T[] {
  return Array.from({length: 1 + random.below(most)}, () => random.pick(items));
}
