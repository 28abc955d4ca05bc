/** What can be done to a running fleet. Each fault ends by itself; thereafter the fleet has to mend on its own. */
import {mkdirSync, readFileSync, readdirSync, rmSync, unlinkSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {edited} from './declared.mjs';
import {now} from './oplog.mjs';
import {signal} from './processes.mjs';
import {startTimeOf, workersOf} from './worker-processes.mjs';

/** @returns what was done, for the history; undefined where there was nothing to do it to. */
export async function carryOut(fault, fleet, sentinelPid) {
  const act = faults[fault.kind];
  return act({...fault, fleet, sentinelPid});
}

/** Carries faults out when their time has come. @returns how many of each kind had somebody to be done to. */
export async function hurt(tortured, list, sentinelPid) {
  const counts = {};
  const startedAt = now();
  const under = [];
  for (const fault of list) {
    await delay(Math.max(0, startedAt + fault.atMs - now()));
    tortured.note({fault: fault.kind});
    under.push(
      carryOut(fault, tortured, sentinelPid).then(done => {
        if (!done) return;
        counts[fault.kind] = (counts[fault.kind] ?? 0) + 1;
        tortured.note({fault: fault.kind, done});
      }),
    );
  }
  await Promise.all(under);
  return counts;
}

const faults = {
  'kill worker': async ({fleet, where}) => {
    const worker = choose(workersOf(fleet.home), where);
    if (worker && signal(worker.pid, 'SIGKILL')) return worker;
  },
  'kill controller': async ({fleet}) => {
    if (signal(fleet.controllerPid, 'SIGKILL')) return {pid: fleet.controllerPid};
  },
  'freeze worker': async ({fleet, where, durationMs}) => {
    const worker = choose(workersOf(fleet.home), where);
    if (worker) return freeze(worker.pid, durationMs);
  },
  'freeze controller': async ({fleet, durationMs}) => freeze(fleet.controllerPid, durationMs),
  edit: async ({fleet, edit}) => {
    const {kind, fleet: next} = edited(fleet.declared, edit, fleet.most);
    fleet.declare(next, {typo: kind === 'typo'});
    return {kind, next: next.map(({component, enabled, revision}) => `${component} ${enabled} ${revision}`)};
  },
  'remove launch record': async ({fleet, where}) => removeOne(join(fleet.home, 'run'), '-ai.json', where),
  'remove control socket': async ({fleet, where}) => removeOne(join(fleet.home, 'run'), '.sock', where),
  'damage registry': async ({fleet, where, which}) => damageRegistry(fleet.home, where, which),
  'steal port': stealPort,
  apply: async ({fleet}) => ({code: (await fleet.run('apply', '--timeout', '5s')).code}),
  // The kept controller ends with `down`, and the next one starts the fleet again.
  'down and up': async ({fleet}) => ({code: (await fleet.run('down', '--timeout', '5s')).code}),
  'forge launch record': async ({fleet, where, which, sentinelPid}) =>
    forgeRecord(fleet.home, where, which, sentinelPid),
  'forge registry entry': async ({fleet, where, which, sentinelPid}) =>
    forgeEntry(fleet.home, where, which, sentinelPid),
};

export const faultKinds = Object.keys(faults);

async function freeze(pid, durationMs) {
  if (!signal(pid, 'SIGSTOP')) return undefined;
  await delay(durationMs);
  signal(pid, 'SIGCONT');
  return {pid, durationMs};
}

/** A stranger listens on a worker's port as soon as that has died, and stays for a while. */
async function stealPort({fleet, where, durationMs}) {
  const worker = choose(workersOf(fleet.home), where);
  const entry = worker && quietly(() => fleet.registry()[worker.aiId]);
  if (!entry) return undefined;
  const server = createServer(socket => socket.destroy());
  const stolen = new Promise(resolve => {
    let tries = 0;
    const listen = () => server.listen({port: entry.port, host: entry.metadata?.host, exclusive: true});
    server.on('error', () => (++tries < 500 ? setTimeout(listen, 1) : resolve(false)));
    server.once('listening', () => resolve(true));
    signal(worker.pid, 'SIGKILL');
    listen();
  });
  const success = await stolen;
  if (success) await delay(durationMs);
  await new Promise(resolve => (success ? server.close(resolve) : resolve()));
  return {aiId: worker.aiId, port: entry.port, stolen: success};
}

/** A reused pid (the pid alone is the stranger's), or a forgery down to the start time. */
function forge(facts, keys, which, sentinelPid) {
  const next = {...facts, [keys.pid]: sentinelPid};
  return which < 0.5 ? next : {...next, [keys.startTime]: startTimeOf(sentinelPid)};
}

function forgeRecord(home, where, which, sentinelPid) {
  const name = choose(recordNames(home), where);
  const path = join(home, 'run', name ?? '');
  const record = name && quietly(() => JSON.parse(readFileSync(path, 'utf8')));
  if (!record?.identity) return undefined;
  const identity = forge(record.identity, {pid: 'pid', startTime: 'startTime'}, which, sentinelPid);
  writeFileSync(path, JSON.stringify({...record, identity}));
  return {name, identity};
}

function forgeEntry(home, where, which, sentinelPid) {
  const path = join(home, 'platform_ai_registry.json');
  const registry = quietly(() => JSON.parse(readFileSync(path, 'utf8')));
  const aiId = registry && choose(Object.keys(registry), where);
  if (!aiId) return undefined;
  const {metadata} = registry[aiId];
  const forged = forge(metadata, {pid: 'pid', startTime: 'start_time'}, which, sentinelPid);
  registry[aiId] = {...registry[aiId], metadata: forged};
  writeFileSync(path, JSON.stringify(registry));
  return {aiId};
}

function damageRegistry(home, where, which) {
  const path = join(home, 'platform_ai_registry.json');
  const kind = choose(['removed', 'truncated', 'empty', 'brace', 'folder'], which);
  const text = quietly(() => readFileSync(path, 'utf8')) ?? '';
  if (kind === 'removed' || kind === 'folder') rmSync(path, {recursive: true, force: true});
  if (kind === 'folder') quietly(() => mkdirSync(path));
  const content = {truncated: text.slice(0, text.length * where), empty: '', brace: '{'}[kind];
  if (content !== undefined) quietly(() => writeFileSync(path, content)); // a folder may stand there from the last time
  return {kind};
}

function removeOne(folder, ending, where) {
  const name = choose(
    readdirSync(folder).filter(file => file.endsWith(ending)),
    where,
  );
  return name && quietly(() => (unlinkSync(join(folder, name)), {name}));
}

function recordNames(home) {
  return readdirSync(join(home, 'run')).filter(name => name.endsWith('-ai.json'));
}

/** `where` in [0, 1). */
function choose(list, where) {
  return list[Math.floor(where * list.length)];
}

/** undefined where it can't be done at this moment: others write, move and remove these files, too. */
function quietly(act) {
  try {
    return act();
  } catch {
    return undefined;
  }
}
