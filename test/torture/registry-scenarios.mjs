/** Scenarios of the registry alone: writers that are killed and frozen, the predecessor beside them, damage to the file. */
import {readFileSync, readdirSync, statSync, utimesSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import {setTimeout as delay} from 'node:timers/promises';
import {
  changesOf,
  historiesOf,
  latencies,
  longestStallMs,
  sharedPorts,
  wrongFailures,
  wrongReads,
  wrongStates,
} from './check.mjs';
import {Damager, checkDamages} from './damager.mjs';
import {now, readLogs} from './oplog.mjs';
import {damages, writerFaults} from './schedule.mjs';
import {Herd} from './writers.mjs';

/** Below the range from which the system takes client ports. */
const ports = {from: 10_000, to: 18_000};

/** Far more than a frozen holder may hold up the others, far less than it is frozen; for machines that are busy with more than this. */
const maxStallMs = 5_000;

/** Nothing is lost, torn or given twice, though writers die and freeze and the predecessor unlinks its locks. */
export async function registry(world) {
  const herd = startHerd(world, {strict: true, whole: true, heal: false});
  herd.add('predecessor', {writes: false});
  await torture(world, herd);
  return judge(world, herd, {strict: true});
}

/** The predecessor writes in place. What it overwrites is lost until its owner says it again; then all is there. */
export async function predecessor(world) {
  const herd = startHerd(world, {strict: false, whole: false, heal: true});
  herd.add('predecessor', {writes: true});
  await torture(world, herd);
  const result = await judge(world, herd, {strict: false});
  // What it writes back is what it read a while ago: a port that was given up since is taken again by its old entry.
  return withoutRefusals(result);
}

/** A port that was lost with its entry may be another's by the time that its owner registers it again. */
function withoutRefusals(result) {
  const isRefusal = ({fail}) => fail?.error?.startsWith('PortRegisteredError') === true;
  return {...result, violations: result.violations.filter(found => !isRefusal(found))};
}

/** Any damage to the file is healed: what is acknowledged after it stays, what was readable in it survives. */
export async function corruption(world) {
  const damager = new Damager(world.home);
  const herd = startHerd(world, {strict: false, whole: false, heal: false});
  await torture(world, herd, startedAt => damager.damage(damages(world), startedAt));
  const result = withoutRefusals(await judge(world, herd, {strict: false, since: damager.lastAt}));
  const {violations, facts} = checkDamages(world.home, damager, herd.counts.killed);
  return {violations: [...result.violations, ...violations], facts: {...result.facts, ...facts}};
}

function startHerd(world, manner) {
  const {home, folder, host, seed, writers, entries} = world;
  const ids = Array.from({length: entries}, (_, n) => `s${n}-ai`);
  const shared = Array.from({length: 8}, (_, n) => `shared${n}-ai`);
  const logs = join(folder, 'logs');
  const herd = new Herd({package: world.package, home, host, logs, seed, writers, ids, shared, ports, ...manner});
  for (let n = 0; n < world.readers; n++) herd.add('reader', {ids: [...ids, ...shared]});
  world.atEnd(() => herd.end());
  return herd;
}

async function torture(world, herd, meanwhile = async () => undefined) {
  await underWay(world.home);
  const startedAt = now();
  await Promise.all([herd.hurt(writerFaults(world), startedAt), meanwhile(startedAt), delay(world.seconds * 1000)]);
  await herd.stop();
}

/** On a busy machine processes take seconds to start: who is hurt before has nothing to lose. */
async function underWay(home) {
  const end = now() + 20_000;
  while (!quietlyRead(join(home, 'platform_ai_registry.json')).includes('"token"') && now() < end) await delay(20);
}

function quietlyRead(file) {
  return exists(file) ? readFileSync(file, 'utf8') : '';
}

async function judge(world, herd, {strict, since = -Infinity}) {
  const lines = readLogs(join(world.folder, 'logs'));
  const changes = changesOf(lines);
  const histories = historiesOf(changes);
  const {tokens, violations: ofFile} = readFile(world.home);
  const touched = [...histories.keys()].filter(aiId => isSettledSince(histories.get(aiId), since));
  const healed = herdHeals(changes);
  const violations = [
    ...lines.filter(line => line.violation),
    ...ofFile,
    ...wrongFailures(changes, herd.freezes),
    ...(strict ? [...wrongReads(histories, lines), ...sharedPorts(changes)] : []),
    ...wrongStates(histories, tokens, now(), strict || since > -Infinity ? touched : healed),
    ...(await leftovers(world)),
  ];
  const stallMs = longestStallMs(changes);
  if (stallMs > maxStallMs) violations.push({violation: 'everybody stood still', stallMs});
  const failed = changes.filter(({fail}) => fail !== undefined).length;
  const facts = {
    ...herd.counts,
    stallMs,
    failed,
    latencyMs: latencies(changes, herd.freezes),
    changes: changes.length,
    ...reads(lines),
  };
  return {violations, facts};
}

/** After damage only what was changed since is known for sure. */
function isSettledSince(history, since) {
  return since === -Infinity || history.some(({certain, from}) => certain && from > since);
}

/** Ids that their owner put into the registry as its last act. */
function herdHeals(changes) {
  return changes.filter(({healing}) => healing).flatMap(({ops}) => ops.map(({aiId}) => aiId));
}

function readFile(home) {
  const text = readFileSync(join(home, 'platform_ai_registry.json'), 'utf8');
  const entries = Object.entries(JSON.parse(text));
  const twice = [...groupByPort(entries)].filter(([, holders]) => holders.length > 1);
  return {
    tokens: new Map(entries.map(([aiId, {metadata}]) => [aiId, metadata?.token])),
    violations: twice.map(([port, holders]) => ({violation: 'a port twice in the registry', port, holders})),
  };
}

function groupByPort(entries) {
  const groups = new Map();
  for (const entry of entries) groups.set(entry[1].port, [...(groups.get(entry[1].port) ?? []), entry]);
  return groups;
}

function reads(lines) {
  const lists = lines.filter(line => line.list !== undefined);
  const wrote = lines.find(line => line.predecessor)?.wrote;
  const times = lists.map(({from, to}) => to - from).toSorted((a, b) => a - b);
  return {
    reads: lists.length,
    readP99Ms: Math.round((times[Math.floor(times.length * 0.99)] ?? 0) * 10) / 10,
    ...(wrote === undefined ? {} : {foreignWrites: wrote}),
  };
}

/** What a quiet client leaves behind, a minute later: nothing but files that are to be there. */
async function leftovers({home, package: folder}) {
  const longAgo = new Date(Date.now() - 120_000);
  for (const name of [...temporaries(home), ...handedOver(home)]) utimesSync(join(home, name), longAgo, longAgo);
  const {RegistryClient} = await import(pathToFileURL(join(folder, 'dist/index.js')).href);
  const client = new RegistryClient({home, ports});
  const {uid, port} = await client.allocatePort({aiId: 'quiet-ai'});
  await client.register({aiId: 'quiet-ai', uid, port, component: 'quiet'});
  await client.deregister('quiet-ai', {uid});
  const other = await client.allocatePort({aiId: 'quiet-ai'});
  await client.releasePorts([other.uid]);

  // The last call is answered before its lock is let go of.
  const end = now() + 2_000;
  while (remains(home).length > 0 && now() < end) await delay(10);
  const {reservations} = JSON.parse(readFileSync(join(home, 'ports.json'), 'utf8'));
  return [
    ...remains(home).map(name => ({violation: 'left behind', name})),
    ...reservations.map(reservation => ({violation: 'a reservation of a dead owner', reservation})),
  ];
}

/** Files that are there only while something is under way: temporary ones, locks, changes handed over to others. */
function remains(home) {
  const folders = ['.registration.lock.lock', '.port_allocation.lock.lock'].filter(name => exists(join(home, name)));
  const marked = readdirSync(join(home, 'run/locks')).filter(
    name => readFileSync(join(home, 'run/locks', name), 'utf8').trim() !== '',
  );
  return [...temporaries(home), ...folders, ...marked, ...handedOver(home)];
}

function handedOver(home) {
  return filesBelow(join(home, 'run/changes')).map(name => join('run/changes', name));
}

function temporaries(home) {
  return filesBelow(home).filter(name => name.endsWith('.tmp'));
}

/** Files and folders come and go meanwhile: one that is gone in the middle of the walk has it begun anew. */
function filesBelow(folder) {
  const isFile = name => statSync(join(folder, name), {throwIfNoEntry: false})?.isFile();
  for (;;) {
    if (!exists(folder)) return [];
    try {
      return readdirSync(folder, {recursive: true}).filter(isFile);
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
  }
}

function exists(path) {
  return statSync(path, {throwIfNoEntry: false}) !== undefined;
}
