/** Who is hurt, how and when: a pure function of the seed. Times are in ms from the start of a scenario. */
import {stream} from './random.mjs';

/** How long a holder is frozen to outlast the stale limit of proper-lockfile (10 s). */
const beyondStaleMs = 10_600;

/**
 * Kills and freezes among `writers` slots. `aimed` ones hit whoever holds that lock at the moment, `slot` names the
 * victim otherwise.
 */
export function writerFaults({seed, seconds, writers, longFreezes}) {
  const random = stream(seed, 'faults');
  const endMs = seconds * 1000;
  const faults = [];
  for (let atMs = random.between(300, 900); atMs < endMs; atMs += random.between(150, 1_100)) {
    const type = random.weighted({kill: 3, freeze: 1});
    const durationMs = type === 'freeze' ? random.between(20, 900) : 0;
    faults.push({atMs, type, durationMs, slot: random.int(0, writers - 1), aimed: aim(random)});
  }
  // Spread evenly, for while one lasts the others may get little done.
  for (let n = 0; n < longFreezes; n++) {
    const atMs = ((n + random.between(0.1, 0.3)) * endMs) / longFreezes;
    const aimed = n % 2 === 0 ? 'registration' : 'port_allocation';
    faults.push({atMs, type: 'freeze', durationMs: beyondStaleMs, slot: random.int(0, writers - 1), aimed});
  }
  return faults.toSorted((a, b) => a.atMs - b.atMs);
}

function aim(random) {
  return random.weighted({registration: 3, port_allocation: 2, '': 3}) || undefined;
}

/** Damage to the registry file; the last comes well before the end, so that changes follow it. */
export function damages({seed, seconds}) {
  const random = stream(seed, 'damages');
  const kinds = ['truncated', 'garbage', 'brace', 'empty', 'folder', 'bad entry', 'stray brace', 'removed'];
  const list = [];
  for (let atMs = random.between(300, 600); atMs < seconds * 850; atMs += random.between(150, 900)) {
    // Each kind once, in any order, then any.
    const kind = kinds.length > 0 ? kinds.splice(random.int(0, kinds.length - 1), 1)[0] : random.pick(everyKind);
    list.push({atMs, kind, where: random.next()});
  }
  // The last one leaves something to read, so that in the end there is something to have survived.
  list.push({atMs: seconds * 900, kind: random.pick(['bad entry', 'stray brace']), where: random.next()});
  return list;
}

const everyKind = ['truncated', 'garbage', 'brace', 'empty', 'folder', 'bad entry', 'stray brace', 'removed'];

/** What is done to a fleet. `where` and `which` in [0, 1) choose among what there is at that moment. */
export function fleetFaults({seed, seconds, small, without}) {
  const random = stream(seed, 'fleet faults');
  const faults = [];
  const [least, most] = small ? [200, 600] : [150, 1_600];
  for (let atMs = 300; atMs < seconds * 1000; atMs += random.between(least, most)) {
    const kind = random.weighted(fleetFaultWeights);
    const durationMs = kind.startsWith('freeze') ? random.pick([100, 900, small ? 2_000 : 5_000]) : 1_500;
    faults.push({atMs, kind, durationMs, where: random.next(), which: random.next(), edit: random.next()});
  }
  // Dropped afterwards, so that all others stay what they are.
  return faults.filter(({kind}) => !without.includes(kind));
}

const fleetFaultWeights = {
  'kill worker': 5,
  'kill controller': 2,
  'freeze worker': 2,
  'freeze controller': 1,
  edit: 6,
  'remove launch record': 2,
  'remove control socket': 1,
  'damage registry': 2,
  'steal port': 2,
  apply: 2,
  'down and up': 0.5,
  'forge launch record': 2,
  'forge registry entry': 2,
};

/** What a fleet of many goes through: mostly deaths, and enough else that they meet each other. */
export function stormFaults({seed, seconds}) {
  const random = stream(seed, 'storm');
  const faults = [];
  for (let atMs = 0; atMs < seconds * 1000; atMs += random.between(40, 500)) {
    const kind = random.weighted(stormWeights);
    const durationMs = random.pick([100, 900, 3_000]);
    faults.push({atMs, kind, durationMs, where: random.next(), which: random.next(), edit: random.next()});
  }
  return faults;
}

const stormWeights = {
  'kill worker': 9,
  'kill controller': 2,
  'freeze worker': 3,
  'freeze controller': 1,
  'damage registry': 3,
  edit: 4,
};

/** Times at which a fleet that serves clients is changed, in turn: an edit that needs restarts, and a new controller. */
export function rollouts({seed, seconds}) {
  const random = stream(seed, 'rollouts');
  const list = [];
  for (let atMs = 400; atMs < seconds * 1000; atMs += random.between(700, 2_500)) {
    list.push({atMs, kind: list.length % 3 === 2 ? 'new controller' : 'restart'});
  }
  return list;
}
