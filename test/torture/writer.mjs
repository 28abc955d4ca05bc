/**
 * A process that allocates, registers, changes and removes specialists until its standard input ends. It listens on
 * the ports that it holds, so that the kernel is a witness: a port that is refused to its owner was given twice.
 *
 *   node writer.mjs '{"package", "home", "log", "seed", "slot", "incarnation", "ids", "shared", "host", "ports", "strict"}'
 */
import {createServer} from 'node:net';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import {now, openLog} from './oplog.mjs';
import {stream} from './random.mjs';

const order = JSON.parse(process.argv[2]);
const {RegistryClient, LockBusyError} = await import(pathToFileURL(join(order.package, 'dist/index.js')).href);
const {slot, incarnation, strict} = order;
const log = openLog(order.log);
const client = new RegistryClient({home: order.home, ports: order.ports});
const random = stream(order.seed, 'writer', slot, incarnation);
const fleet = `t/w${slot}`;

/** What we know of our own ids: {uid, port, server, registered, inherited}. Absent: nothing is held. */
const held = new Map();
/** Shared ids that one of our lanes is at. */
const contended = new Set();
let counter = 0;
let stopping = false;
process.stdin.resume().once('end', () => (stopping = true));

await takeStock();
// Some writers make one change at a time, others several at once, which go into one commit together.
const lanes = slot % 3 === 0 ? 1 : 3;
await Promise.all(Array.from({length: lanes}, (_, lane) => work(lane)));
if (order.heal) await heal();
log({ended: true, at: now()}); // from here on our reservations are void
process.exit(0);

/**
 * What a former incarnation left: the registry says. Its ports are nobody's now: they have to be asked for again, and others
 * may have been quicker.
 */
async function takeStock() {
  for (const aiId of order.ids) {
    const entry = await read(aiId);
    if (entry?.uid !== undefined) held.set(aiId, {uid: entry.uid, port: entry.port, inherited: true});
  }
}

async function work(lane) {
  const ids = order.ids.filter((_, index) => index % lanes === lane);
  while (!stopping) {
    const isShared = order.shared.length > 0 && random.chance(0.08);
    if (isShared) await contend(random.pick(order.shared));
    else if (lanes === 1 && random.chance(0.03)) await sync();
    else if (random.chance(0.08)) await several(ids);
    else await step(random.pick(ids));
    if (random.chance(0.1)) await new Promise(resolve => setTimeout(resolve, random.between(0, 15)));
  }
}

/** One change of one of our own ids, fitting to its state. */
async function step(aiId) {
  const own = held.get(aiId);
  if (own === undefined) return allocate(aiId);
  if (own.inherited) return random.chance(0.3) ? deregister(aiId) : allocate(aiId);
  if (!own.registered) {
    const next = random.weighted({register: 7, release: 2, again: 1});
    if (next === 'register') return register(aiId);
    if (next === 'release') return release(aiId);
    return allocate(aiId);
  }
  const next = random.weighted({change: 4, deregister: 2, restart: 2, read: 1});
  if (next === 'change') return register(aiId);
  if (next === 'deregister') return deregister(aiId);
  if (next === 'read') return void (await read(aiId));
  if (random.chance(0.5)) await stopListening(own); // else it moves, for its own socket is in the way
  await allocate(aiId);
}

/** Many in one call: all of them or none. */
async function several(ids) {
  const chosen = [...new Set([random.pick(ids), random.pick(ids), random.pick(ids)])];
  const free = chosen.filter(aiId => !held.has(aiId));
  if (free.length > 0) {
    const requests = free.map(aiId => ({aiId, uid: newToken(), host: order.host}));
    const results = await attempt('allocate', requests, () => client.allocatePorts(requests));
    if (results === undefined) return;
    for (const [index, {aiId, uid}] of requests.entries()) await hold(aiId, uid, results[index]);
  }
  const ready = chosen.filter(aiId => held.get(aiId)?.server?.listening);
  if (ready.length > 0) await registerAll(ready);
}

async function allocate(aiId) {
  const request = {aiId, uid: newToken(), host: order.host};
  const results = await attempt('allocate', [request], () => client.allocatePorts([request]));
  if (results !== undefined) await hold(aiId, request.uid, results[0]);
}

async function hold(aiId, uid, result) {
  const former = held.get(aiId);
  if (!result.ok) return log({violation: 'no port', aiId, message: result.error.message, at: now()});
  if (former?.server && former.port !== result.port) await stopListening(former);
  const own = {uid, port: result.port, registered: false, server: former?.server};
  held.set(aiId, own);
  if (own.server?.listening) return;
  await comeUp();
  own.server = await listen(aiId, result.port);
}

async function register(aiId) {
  return registerAll([aiId]);
}

async function registerAll(ids) {
  const requests = ids.map(request);
  const done = await attempt('register', requests.map(flat), () => client.registerAll(requests));
  if (done !== undefined) for (const aiId of ids) held.get(aiId).registered = true;
}

/** Our whole fleet at once, as a controller does it; now and then without one of its specialists. */
async function sync() {
  const ids = [...held].flatMap(([aiId, own]) => (own.registered ? [aiId] : []));
  const dropped = random.chance(0.3) ? random.pick(ids) : undefined;
  const requests = ids.filter(aiId => aiId !== dropped).map(request);
  const kept = new Set(requests.map(({aiId}) => aiId));
  const gone = order.ids.filter(aiId => !kept.has(aiId)).map(aiId => ({aiId, token: newToken(), gone: true}));
  const ops = [...requests.map(flat), ...gone];
  const done = await attempt('register', ops, () => client.sync([fleet], requests));
  if (done === undefined) return;
  for (const [aiId, own] of held) {
    if (aiId !== dropped && !own.inherited) continue;
    await stopListening(own);
    held.delete(aiId);
  }
}

async function deregister(aiId) {
  const own = held.get(aiId);
  await stopListening(own);
  const removed = await attempt('deregister', [{aiId, token: newToken(), uid: own.uid}], () =>
    client.deregister(aiId, {uid: own.uid}),
  );
  if (removed === undefined) return;
  if (!removed && strict && !own.inherited) log({violation: 'our entry was gone', aiId, uid: own.uid, at: now()});
  held.delete(aiId);
}

async function release(aiId) {
  const own = held.get(aiId);
  await stopListening(own);
  const done = await attempt('release', [{aiId, uid: own.uid}], async () => {
    await client.releasePorts([own.uid]);
    return true;
  });
  if (done) held.delete(aiId);
}

/**
 * An id that everybody wants: whoever comes last has it. One at a time in each process, for a process that asks again
 * gives up what it was given before.
 */
async function contend(aiId) {
  if (contended.has(aiId)) return;
  contended.add(aiId);
  await takeShared(aiId);
  contended.delete(aiId);
}

async function takeShared(aiId) {
  const uid = newToken();
  const results = await attempt('allocate', [{aiId, uid}], () => client.allocatePorts([{aiId, uid, host: order.host}]));
  if (results === undefined) return;
  const [result] = results;
  if (!result.ok) return log({violation: 'no port', aiId, message: result.error.message, at: now()});
  await comeUp();
  const server = await listen(aiId, result.port);
  const fact = {aiId, uid, port: result.port, component: 'shared', metadata: {token: newToken()}};
  await attempt('register', [flat(fact)], () => client.register(fact));
  server?.close();
  if (random.chance(0.3)) {
    await attempt('deregister', [{aiId, token: newToken(), uid}], () => client.deregister(aiId, {uid}));
  }
}

/** What a controller does at its resync, once foreign writers are gone: everything that runs is put into the registry. */
async function heal() {
  const ids = [...held].flatMap(([aiId, own]) => (own.registered ? [aiId] : []));
  const requests = ids.map(request);
  await attempt('register', requests.map(flat), () => client.sync([fleet], requests), {healing: true});
}

async function read(aiId) {
  const from = now();
  const entry = await client.get(aiId);
  log({read: aiId, token: entry?.metadata.token ?? null, from, to: now()});
  return entry;
}

function request(aiId) {
  const {uid, port} = held.get(aiId);
  return {aiId, uid, port, component: `c${slot}`, metadata: {fleet, token: newToken()}};
}

function flat({aiId, uid, port, metadata}) {
  return {aiId, uid, port, token: metadata.token};
}

/**
 * Logs the intent, makes the call, logs its end. undefined: it failed, and by the contract of LockBusyError nothing was
 * changed; any other error is a violation of its own.
 */
async function attempt(kind, ops, call, more = {}) {
  const op = newToken();
  log({op, kind, ops, from: now(), ...more});
  try {
    const result = await call();
    const ports = kind === 'allocate' ? result.map(each => (each.ok ? each.port : null)) : undefined;
    log({ack: op, at: now(), ports, removed: kind === 'deregister' ? result : undefined});
    return result;
  } catch (error) {
    const busy = error instanceof LockBusyError;
    log({fail: op, at: now(), busy, unknown: error.outcome === 'unknown', error: `${error.name}: ${error.message}`});
    return undefined;
  }
}

/** A worker takes a while until it listens: until then nothing but the reservation keeps its port. */
async function comeUp() {
  if (random.chance(0.3)) await new Promise(resolve => setTimeout(resolve, random.between(5, 80)));
}

async function listen(aiId, port) {
  const server = createServer();
  return new Promise(resolve => {
    server.once('error', error => {
      log({violation: 'the port of its owner is taken', aiId, port, error: error.code, at: now()});
      resolve(undefined);
    });
    server.listen({port, host: order.host, exclusive: true}, () => resolve(server));
  });
}

function stopListening(own) {
  const {server} = own;
  own.server = undefined;
  return new Promise(resolve => (server?.listening ? server.close(resolve) : resolve()));
}

/** Names a change: wherever it turns up it can be told from every other one. */
function newToken() {
  return `${slot}.${incarnation}.${++counter}`;
}
