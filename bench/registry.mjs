/**
 * The registry under many writers, and the locks beside those that we didn't choose. Part of `npm run bench`; alone:
 * `npm run bench -- --only registry`. Runs itself as the writers, holders and contenders of its own measurements.
 */
import {spawn} from 'node:child_process';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';

const self = fileURLToPath(import.meta.url);
const library = new URL('../dist/index.js', import.meta.url).href;
const ports = {from: 20_000, to: 29_999};
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

if (process.argv[1] === self && process.argv[2] !== undefined) await play(JSON.parse(process.argv[2]));

export async function registryBench({seconds = 2} = {}) {
  const grid = [];
  for (const entries of [10, 100, 1_000, 5_000]) {
    for (const writers of [1, 8, 32]) {
      process.stderr.write(`registry: ${writers} writers, ${entries} entries\n`);
      grid.push(await throughput(writers, entries, seconds));
    }
  }
  process.stderr.write('registry: takeover, rebuild, locks\n');
  const takeover = await takeovers(50);
  const frozen = await takeovers(3, 'SIGSTOP');
  const rebuildMs = await rebuild(5);
  const locks = [];
  for (const kind of ['kernel', 'proper-lockfile', 'both']) locks.push(await compareLock(kind, 40));
  return {grid, takeover, frozen, rebuildMs, locks};
}

/** Lines of BENCHMARK.md. */
export function registryText({grid, takeover, frozen, rebuildMs, locks}) {
  const alone = grid.filter(row => row.writers === 1);
  const busiest = grid.find(row => row.writers === 32 && row.entries === 1_000);
  return [
    '## Registry',
    '',
    'One pair is an allocated port and its registration, by processes that go on to the next at once. Writers and',
    'measuring share the processors.',
    '',
    '| writers | entries | pairs/s | p50 | p95 | p99 | `list` p50, p99 meanwhile |',
    '|---|---|---|---|---|---|---|',
    ...grid.map(
      r =>
        `| ${r.writers} | ${r.entries} | ${r.perSecond} | ${r.p50} ms | ${r.p95} ms | ${r.p99} ms | ${r.list.p50}, ${r.list.p99} ms |`,
    ),
    '',
    `- 32 writers at 1,000 entries: ${busiest.perSecond} pairs/s (bar 1,460); lost or doubled in all runs: ${grid.reduce((sum, r) => sum + r.wrong, 0)}`,
    ...alone.map(
      r =>
        `- one writer, ${r.entries} entries: register p50 ${r.registerP50} ms, write + fsync + rename of the same file ${r.floor} ms: ${(r.registerP50 / r.floor).toFixed(1)} × (bar 3 × at 1,000)`,
    ),
    `- next writer after kill -9 of the holder: p50 ${takeover.p50} ms, max ${takeover.max} ms of ${takeover.count} (bar 50 ms); after SIGSTOP: ${frozen.p50} ms`,
    `- rebuild of a damaged registry of 1,000 entries: ${rebuildMs} ms`,
    '',
    '| lock | rounds with two holders, 8 contenders on a stale lock | next writer after kill -9 |',
    '|---|---|---|',
    ...locks.map(r => `| ${lockNames[r.kind]} | ${r.violated} of ${r.rounds} | ${r.nextMs} ms |`),
    '',
  ];
}

/** What the last one lacks, the product has: a mark by which a dead holder's folder is known and removed at once. */
const lockNames = {
  kernel: 'kernel lock alone',
  'proper-lockfile': 'proper-lockfile alone',
  both: 'proper-lockfile inside a kernel lock, without our mark',
};

async function throughput(count, entries, seconds) {
  const home = newHome(entries);
  const writers = Array.from({length: count}, (_, n) => child({role: 'write', home, name: `w${n}`, seconds}));
  try {
    for (const writer of writers) await writer.line();
    const quiet = await listTimes(home, 100);
    for (const writer of writers) writer.say('go');
    await sleep(300);
    const busy = await listTimes(home, 100);
    const reports = await Promise.all(writers.map(async writer => JSON.parse(await writer.line())));
    const pairs = reports.flatMap(report => report.pairs);
    const registered = Object.entries(JSON.parse(readFileSync(join(home, registryFile), 'utf8')));
    const held = registered.map(([, {port}]) => port);
    const lost = reports
      .flatMap(report => Object.entries(report.last))
      .filter(([aiId, port]) => {
        return !registered.some(([id, entry]) => id === aiId && entry.port === port);
      });
    const file = readFileSync(join(home, registryFile));
    return {
      writers: count,
      entries,
      perSecond: Math.round(pairs.length / seconds),
      ...quantiles(pairs),
      registerP50: at(
        reports.flatMap(report => report.registers),
        0.5,
      ),
      floor: floorMs(home, file),
      quietList: quantiles(quiet),
      list: quantiles(busy),
      wrong: held.length - new Set(held).size + lost.length,
    };
  } finally {
    await end(writers);
    rmSync(home, {recursive: true, force: true});
  }
}

const registryFile = 'platform_ai_registry.json';

function newHome(entries) {
  const home = mkdtempSync(join(tmpdir(), 'tekton-bench-registry-'));
  const lines = Array.from({length: entries}, (_, n) => `  "e${n}-ai": ${JSON.stringify(sample(n))}`);
  writeFileSync(join(home, registryFile), `{\n${lines.join(',\n')}\n}\n`, {mode: 0o600});
  return home;
}

/** An entry as large as those of a fleet. */
function sample(n) {
  const metadata = {
    description: `AI specialist for e${n}`,
    uid: `ff05ae19-b52f-4682-87bb-${String(n).padStart(12, '0')}`,
    fleet: 'default/bench',
    provider: 'offline',
    roles: ['knowledge-graph', 'ontology', 'semantic-search'],
  };
  return {port: 1_000 + n, component: `e${n}`, metadata, registered_at: 1795366956.739};
}

async function listTimes(home, times) {
  const {RegistryClient} = await import(library);
  const client = new RegistryClient({home});
  const ms = [];
  for (let i = 0; i < times; i++) {
    ms.push(await timed(() => client.list()));
    await sleep(5);
  }
  return ms;
}

/** What the same content costs when one writes it by hand. The median of 60. */
function floorMs(home, content) {
  const ms = Array.from({length: 60}, () => {
    const start = performance.now();
    const fd = openSync(join(home, 'floor.tmp'), 'w');
    writeSync(fd, content);
    fsyncSync(fd);
    closeSync(fd);
    renameSync(join(home, 'floor.tmp'), join(home, 'floor'));
    return performance.now() - start;
  });
  return at(ms, 0.5);
}

/** From the signal to the holder until a waiting writer has registered. */
async function takeovers(count, signal = 'SIGKILL') {
  const {RegistryClient} = await import(library);
  const home = newHome(100);
  const client = new RegistryClient({home});
  await client.register({aiId: 'a-ai', port: 20_000, component: 'a'});
  const ms = [];
  for (let n = 0; n < count; n++) {
    const holder = child({role: 'hold', home});
    await holder.line();
    const waiting = client.register({aiId: 'a-ai', port: 20_001 + n, component: 'a'});
    await sleep(20 + Math.random() * 30);
    const start = performance.now();
    holder.process.kill(signal);
    await waiting;
    ms.push(performance.now() - start);
    await end([holder]);
  }
  rmSync(home, {recursive: true, force: true});
  return {count, p50: at(ms, 0.5), max: at(ms, 1)};
}

async function rebuild(times) {
  const {RegistryClient} = await import(library);
  const ms = [];
  for (let n = 0; n < times; n++) {
    const home = newHome(1_000);
    const client = new RegistryClient({home});
    await client.list();
    writeFileSync(join(home, registryFile), `${readFileSync(join(home, registryFile), 'utf8')}}`);
    ms.push(await timed(() => client.register({aiId: 'a-ai', port: 20_000, component: 'a'})));
    if ((await client.list()).length !== 1_001) throw new Error('the rebuild lost entries');
    rmSync(home, {recursive: true, force: true});
  }
  return at(ms, 0.5);
}

async function compareLock(kind, rounds) {
  const folder = mkdtempSync(join(tmpdir(), 'tekton-bench-locks-'));
  const contenders = Array.from({length: 8}, () => child({role: 'contend', kind, folder}));
  for (const contender of contenders) await contender.line();
  let violated = 0;
  for (let round = 0; round < rounds; round++) {
    mkdirSync(join(folder, 'x.lock'), {recursive: true});
    const longAgo = new Date(Date.now() - 60_000);
    utimesSync(join(folder, 'x.lock'), longAgo, longAgo);
    for (const contender of contenders) contender.say('go');
    const words = await Promise.all(contenders.map(contender => contender.line()));
    if (words.includes('violated')) violated++;
    rmSync(join(folder, 'x.lock'), {recursive: true, force: true});
  }
  await end(contenders);
  const nextMs = await nextAfterDeath(kind, folder);
  rmSync(folder, {recursive: true, force: true});
  return {kind, rounds, violated, nextMs};
}

async function nextAfterDeath(kind, folder) {
  const holder = child({role: 'contend', kind, folder, holds: true});
  await holder.line();
  holder.say('go');
  await holder.line();
  const taking = await locker(kind, folder);
  const start = performance.now();
  holder.process.kill('SIGKILL');
  await (
    await taking()
  )();
  const ms = performance.now() - start;
  await end([holder]);
  return Math.round(ms * 10) / 10;
}

/** Takes the lock, however long that takes, and answers what releases it. */
async function locker(kind, folder) {
  const {default: native} = await import('fs-native-extensions');
  const {default: lockfile} = await import('proper-lockfile');
  const takeKernel = async () => {
    for (;;) {
      const fd = openSync(join(folder, 'x.kernel'), 'a+');
      if (native.tryLock(fd)) return async () => (native.unlock(fd), closeSync(fd));
      closeSync(fd);
      await sleep(1 + Math.random() * 4);
    }
  };
  const retries = {retries: 5_000, minTimeout: 1, maxTimeout: 5, randomize: true};
  const takeFolder = () => lockfile.lock(join(folder, 'x'), {realpath: false, retries, onCompromised: () => undefined});
  if (kind === 'kernel') return takeKernel;
  if (kind === 'proper-lockfile') return takeFolder;
  return async () => {
    const kernel = await takeKernel();
    const inner = await takeFolder();
    return async () => (await inner().catch(() => undefined), kernel());
  };
}

async function play(order) {
  switch (order.role) {
    case 'write':
      return write(order);
    case 'hold':
      return hold(order);
    case 'contend':
      return contend(order);
  }
}

/** Four specialists, over and over: a port for a new launch, and its registration. The first pairs warm up and don't count. */
async function write({home, name, seconds}) {
  const {RegistryClient} = await import(library);
  const client = new RegistryClient({home, ports, lockTimeoutMs: 60_000});
  const last = {};
  const pair = async n => {
    const aiId = `${name}-${n % 4}-ai`;
    const start = performance.now();
    const {port, uid} = await client.allocatePort({aiId});
    const between = performance.now();
    await client.register({aiId, port, uid, component: name});
    last[aiId] = port;
    return {ms: performance.now() - start, registerMs: performance.now() - between};
  };
  for (let n = 0; n < 20; n++) await pair(n);
  console.log('ready');
  await new Promise(resolve => process.stdin.once('data', resolve));
  const done = [];
  for (let n = 0, until = performance.now() + seconds * 1_000; performance.now() < until; n++) done.push(await pair(n));
  console.log(JSON.stringify({pairs: done.map(d => d.ms), registers: done.map(d => d.registerMs), last}));
}

/** Holds the registration lock until it is killed. */
async function hold({home}) {
  const {RegistryClient} = await import(library);
  await new RegistryClient({home}).update(() => {
    writeSync(1, 'held\n');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
    throw new Error('nobody killed the holder');
  });
}

/** Takes the lock at each line, says whether somebody else was in as well, and lets go. */
async function contend({kind, folder, holds}) {
  const take = await locker(kind, folder);
  console.log('ready');
  for await (const word of createInterface({input: process.stdin})) {
    if (word !== 'go') continue;
    const release = await take();
    const mine = `in-${process.pid}`;
    writeFileSync(join(folder, mine), '');
    await sleep(2);
    const alone = readdirSync(folder).filter(name => name.startsWith('in-')).length === 1;
    rmSync(join(folder, mine), {force: true});
    if (holds) console.log('held');
    if (holds) await sleep(60_000);
    await release().catch(() => undefined);
    console.log(alone ? 'alone' : 'violated');
  }
}

function child(order) {
  const options = {stdio: ['pipe', 'pipe', 'inherit'], env: {...process.env, NODE_NO_WARNINGS: '1'}};
  const started = spawn(process.execPath, [self, JSON.stringify(order)], options);
  const lines = createInterface({input: started.stdout})[Symbol.asyncIterator]();
  return {
    process: started,
    gone: new Promise(resolve => started.once('exit', resolve)),
    line: async () => (await lines.next()).value,
    say: word => started.stdin.write(`${word}\n`),
  };
}

async function end(children) {
  for (const {process: started} of children) started.kill('SIGKILL');
  await Promise.all(children.map(({gone}) => gone));
}

async function timed(step) {
  const start = performance.now();
  await step();
  return performance.now() - start;
}

function quantiles(ms) {
  return {p50: at(ms, 0.5), p95: at(ms, 0.95), p99: at(ms, 0.99)};
}

function at(list, q) {
  const sorted = [...list].sort((a, b) => a - b);
  return Math.round((sorted[Math.floor((sorted.length - 1) * q)] ?? NaN) * 100) / 100;
}
