/** Judges what the logs say against the end state. Pure: the same logs always give the same violations. */

/**
 * The changes that the logs tell of. One that was under way when its process was killed ended when that was gone, and
 * may or may not have been made.
 *
 * @param {readonly object[]} lines
 */
export function changesOf(lines) {
  const acks = new Map(lines.filter(line => line.ack).map(line => [line.ack, line]));
  const fails = new Map(lines.filter(line => line.fail).map(line => [line.fail, line]));
  const ends = lines.filter(line => line.ended).map(line => [line.source, line]);
  const deaths = new Map([...ends, ...lines.filter(line => line.killed).map(line => [line.killed, line])]);
  return lines
    .filter(line => line.op)
    .map(line => {
      const [ack, fail, death] = [acks.get(line.op), fails.get(line.op), deaths.get(line.source)];
      const outcome = ack ? 'made' : fail && !fail.unknown ? 'not made' : 'unknown';
      const to = ack?.at ?? fail?.at ?? death?.goneAt ?? Infinity;
      return {...line, outcome, to, ports: ack?.ports, removed: ack?.removed, fail, death};
    });
}

/**
 * What each id went through: every change that may have set it, as {value, from, to, certain}. `value` is the token of
 * a registration, or null.
 */
export function historiesOf(changes) {
  const histories = new Map();
  for (const {op, kind, ops, from, to, outcome, removed, death} of changes) {
    if (outcome === 'not made' || !['register', 'deregister'].includes(kind) || removed === false) continue;
    for (const {aiId, token, gone, port} of ops) {
      const value = kind === 'deregister' || gone ? null : token;
      const history = histories.get(aiId) ?? [{value: null, from: -Infinity, to: -Infinity, certain: true}];
      history.push({op, value, from, to, port, certain: outcome === 'made', diedAt: death?.at ?? Infinity});
      histories.set(aiId, history);
    }
  }
  addEvictions(histories);
  return histories;
}

/** The entry of a dead process gives way to whoever has its port now: that may have removed it. */
function addEvictions(histories) {
  const byPort = new Map();
  for (const [aiId, history] of histories) {
    for (const change of history) {
      if (change.port === undefined || change.value === null) continue;
      byPort.set(change.port, [...(byPort.get(change.port) ?? []), {...change, aiId}]);
    }
  }
  for (const registrations of byPort.values()) {
    for (const dead of registrations) {
      const heirs = registrations.filter(({aiId, to}) => aiId !== dead.aiId && to > dead.diedAt);
      for (const {op, from, to} of heirs) {
        histories.get(dead.aiId).push({op: `evicted by ${op}`, value: null, from, to, certain: false});
      }
    }
  }
}

/**
 * Whether an id may have had `value` at some moment between `from` and `to`: some change that set it began before
 * `to`, and none that was surely made lies wholly between that change and the look.
 */
export function isPlausible(history, value, {from, to}) {
  return history.some(
    change =>
      change.value === value &&
      change.from <= to &&
      !history.some(later => later.certain && later.from > change.to && later.to < from),
  );
}

/** Ids whose last state is not what the last acknowledged change made of them. */
export function wrongStates(histories, tokens, at, ids = [...histories.keys()]) {
  return ids.flatMap(aiId => {
    const history = histories.get(aiId) ?? [];
    const value = tokens.get(aiId) ?? null;
    if (history.length === 0 ? value === null : isPlausible(history, value, {from: at, to: at})) return [];
    return [{violation: 'lost or undone change', aiId, found: value, history: history.slice(-6)}];
  });
}

/** Reads that saw what was never there, or no more. */
export function wrongReads(histories, lines) {
  return lines.flatMap(line => {
    if (line.read === undefined) return [];
    const history = histories.get(line.read);
    if (history === undefined ? line.token === null : isPlausible(history, line.token, line)) return [];
    const near = history?.filter(change => change.to > line.from - 2_000 && change.from < line.to);
    return [{violation: 'stale or unknown read', aiId: line.read, ...line, history: near?.slice(-8)}];
  });
}

/** Ports that two ids owned at the same moment. An allocation owns from its acknowledgement on. */
export function sharedPorts(changes) {
  const owned = ownerships(changes).toSorted((a, b) => a.port - b.port || a.from - b.from);
  const violations = [];
  let last;
  for (const ownership of owned) {
    if (last?.port !== ownership.port) last = undefined;
    if (last !== undefined && last.to > ownership.from && last.aiId !== ownership.aiId) {
      const history = owned.filter(({port}) => port === last.port);
      violations.push({violation: 'a port given twice', port: last.port, owners: [last, ownership], history});
    }
    if (last === undefined || ownership.to > last.to) last = ownership;
  }
  return violations;
}

/** When a port was certainly owned by an id: no longer than until the first moment somebody meant to give it up. */
function ownerships(changes) {
  const byId = new Map();
  for (const change of changes) {
    for (const op of change.ops) byId.set(op.aiId, [...(byId.get(op.aiId) ?? []), {...change, ...op}]);
  }
  const list = [];
  for (const [aiId, history] of byId) {
    for (const change of history) {
      if (change.outcome !== 'made') continue;
      if (change.kind === 'allocate') list.push(...reservation(aiId, change, history));
      if (change.kind === 'register' && !change.gone) list.push(registration(aiId, change, history));
    }
  }
  return list.filter(({from, to}) => from < to);
}

/** Void when it is released, asked for anew by the same process, registered (that is another ownership), or its owner dies. */
function reservation(aiId, change, history) {
  const index = change.ops.findIndex(op => op.aiId === aiId);
  const port = change.ports[index];
  if (port === null) return [];
  const ends = history.map(other => {
    if (other.kind === 'release' && other.uid === change.uid) return other.from;
    if (other.kind === 'allocate' && other.source === change.source && other.from > change.from) return other.from;
    if (other.kind === 'register' && other.uid === change.uid && other.outcome === 'made') return other.to;
    return Infinity;
  });
  const expiry = change.from + 120_000;
  const to = Math.min(expiry, change.death?.at ?? Infinity, ...ends);
  return [{aiId, port, from: change.to, to, by: change.op, as: 'reservation'}];
}

/** Until the id is registered anew or removed, or the process dies that stands behind it. */
function registration(aiId, change, history) {
  const ends = history
    .filter(other => ['register', 'deregister'].includes(other.kind) && other.outcome !== 'not made')
    .filter(other => other.op !== change.op && other.to > change.from)
    .map(other => other.from);
  return {
    aiId,
    port: change.port,
    from: change.to,
    to: Math.min(change.death?.at ?? Infinity, ...ends),
    by: change.op,
    as: 'entry',
  };
}

/** Failures that nothing excuses: LockBusyError is excused where the process itself was frozen, another error never. */
export function wrongFailures(changes, freezes) {
  const wasFrozen = ({source, from, to}) =>
    overlaps(
      freezes.filter(freeze => freeze.source === source),
      from,
      to,
    );
  return changes
    .filter(change => change.fail !== undefined && !(change.fail.busy && wasFrozen(change)))
    .map(({op, kind, ops, from, to, fail}) => ({violation: 'failed', op, kind, ops, waitedMs: to - from, fail}));
}

/** The longest time in which nobody's change was made, in ms: killed and frozen holders may hold up the others only for a moment. */
export function longestStallMs(changes) {
  const ends = changes
    .filter(({outcome}) => outcome === 'made')
    .map(({to}) => to)
    .toSorted((a, b) => a - b);
  return Math.round(Math.max(0, ...ends.slice(1).map((end, index) => end - ends[index])));
}

/** How long changes took while nobody was frozen, in ms. */
export function latencies(changes, freezes) {
  const times = changes
    .filter(({outcome, from, to}) => outcome === 'made' && !overlaps(freezes, from, to))
    .map(({from, to}) => to - from)
    .toSorted((a, b) => a - b);
  const at = share => Math.round((times[Math.floor((times.length - 1) * share)] ?? 0) * 10) / 10;
  return {count: times.length, p50: at(0.5), p99: at(0.99), max: at(1)};
}

export function overlaps(freezes, from, to) {
  return freezes.some(freeze => freeze.from < to && freeze.to > from);
}
