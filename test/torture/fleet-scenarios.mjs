/** Scenarios of a whole fleet: real workers, a real controller, the built command line. */
import {existsSync, readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {converse} from './chat.mjs';
import {firstFleet} from './declared.mjs';
import {Fleet} from './fleet.mjs';
import {carryOut} from './fleet-faults.mjs';
import {now, readLogs} from './oplog.mjs';
import {startActor, stateOf} from './processes.mjs';
import {fleetFaults, rollouts} from './schedule.mjs';
import {watch} from './watcher.mjs';
import {listeningPorts, processesOf, workersOf} from './worker-processes.mjs';

/** Whatever was done to it: once it is left in peace, a fleet is exactly as declared, and no stranger was touched. */
export async function fleet(world) {
  const tortured = new Fleet(world);
  const sentinel = startActor('sentinel', {log: join(world.folder, 'logs/sentinel.log')});
  world.atEnd(() => sentinel.kill('SIGKILL'));
  tortured.declare(firstFleet(world.small ? 5 : 8));
  tortured.keepController();
  await converged(tortured, 30_000);

  const watching = {over: false};
  const looks = watch(tortured, watching);
  const counts = await hurt(tortured, fleetFaults(world), sentinel.pid);
  tortured.declare(tortured.declared); // the last typo is mended
  const calmAt = now();
  const wrong = await converged(tortured, world.convergeMs);
  const convergedMs = Math.round(now() - calmAt);
  const violations = wrong.length > 0 ? wrong : await stays(tortured);
  violations.push(...(await answers(tortured)), ...(await unharmed(sentinel)));
  watching.over = true;
  const facts = {convergedMs, looks: await looks, ...counts};
  const left = await tortured.down();
  violations.push(...left.map(process => ({violation: 'left running by down', process})));
  sentinel.stop();
  const lines = readLogs(join(world.folder, 'logs'));
  violations.push(...lines.filter(line => line.violation));
  return {violations: violations.map(violation => withHistory(violation, lines)), facts};
}

/** Clients that reconnect and chat in a loop don't notice restarts and new controllers. */
export async function clients(world) {
  const served = new Fleet(world);
  served.declare(firstFleet(4));
  served.keepController();
  await converged(served, 30_000);
  const counts = {ok: 0};
  const failures = [];
  const addresses = Object.entries(served.registry()).map(([aiId, {port, metadata}]) => ({
    aiId,
    port,
    host: metadata.host,
  }));
  let serving = true;
  const loops = Array.from({length: 4}, async (_, n) => {
    for (let round = 0; serving; round++) {
      const {aiId} = addresses[n];
      // As a client does that keeps where it found its specialist, and looks again each time.
      addresses[n] = {...addresses[n], port: readRegistry(served)?.[aiId]?.port ?? addresses[n].port};
      const messages = Array.from({length: round % 3 === 0 ? 20 : 1}, (__, i) => `message ${i}`);
      const from = now();
      const {outcome, detail, answered} = await converse(addresses[n], messages);
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      if (outcome !== 'ok') {
        failures.push({violation: `a chat was ${outcome}`, ...addresses[n], detail, answered, from});
      }
    }
  });
  const startedAt = now();
  for (const {atMs, kind} of rollouts(world)) {
    await delay(Math.max(0, startedAt + atMs - now()));
    served.note({kind});
    if (kind === 'new controller') await carryOut({kind: 'kill controller'}, served);
    else served.declare(served.declared.map(entry => ({...entry, revision: entry.revision + 1})));
  }
  const wrong = await converged(served, world.convergeMs);
  serving = false;
  await Promise.all(loops);
  await served.down();
  const restarts = eventsOf(served.home).filter(({reason}) => reason === 'Restarted').length;
  // A run that tried nothing shows nothing.
  if (restarts === 0) failures.push({violation: 'nothing was restarted'});
  if (counts.ok === 0) failures.push({violation: 'nobody chatted'});
  return {violations: [...wrong, ...failures], facts: {...counts, restarts}};
}

async function hurt(tortured, faults, sentinelPid) {
  const counts = {};
  const startedAt = now();
  const under = [];
  for (const fault of faults) {
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

/** Waits until nothing is wrong any more, at most `patienceMs`. @returns what still is. */
async function converged(tortured, patienceMs) {
  const end = now() + patienceMs;
  for (;;) {
    const wrong = await wrongs(tortured);
    if (wrong.length === 0 || now() > end) return wrong;
    await delay(150);
  }
}

/** Everything in which status, registry and processes differ from what is declared, and from each other. */
async function wrongs(tortured) {
  const items = await tortured.items();
  if (items === undefined) return [{violation: 'get fails'}];
  const registry = readRegistry(tortured);
  if (registry === undefined) return [{violation: 'the registry cannot be read'}];
  const workers = workersOf(tortured.home);
  const wanted = new Map(
    tortured.declared.filter(({enabled}) => enabled).map(entry => [`${entry.component}-ai`, entry]),
  );
  const violations = [];
  for (const aiId of new Set([...wanted.keys(), ...Object.keys(registry), ...workers.map(worker => worker.aiId)])) {
    const status = items.find(({metadata}) => `${metadata.name}-ai` === aiId)?.status;
    const mine = workers.filter(worker => worker.aiId === aiId);
    const says = wanted.has(aiId)
      ? differences({status, entry: registry[aiId], workers: mine})
      : [...(registry[aiId] ? ['registered'] : []), ...(mine.length > 0 ? ['running'] : [])].map(
          what => `${what}, though not declared`,
        );
    for (const difference of says)
      violations.push({violation: 'not as declared', aiId, difference, status, workers: mine, entry: registry[aiId]});
  }
  const controllers = processesOf(tortured.home).filter(({command}) => / (run|controller)\b/.test(command));
  if (controllers.length !== 1) violations.push({violation: 'not one controller', controllers});
  const records = readdirSync(join(tortured.home, 'run')).filter(name => name.endsWith('-ai.json'));
  for (const name of records) {
    if (!wanted.has(name.slice(0, -5)) && !declaresOff(tortured, name))
      violations.push({violation: 'a launch record of nobody', name});
  }
  return violations;
}

function differences({status, entry, workers}) {
  if (status?.phase !== 'Ready') return [`phase ${status?.phase}`];
  if (workers.length !== 1) return [`${workers.length} processes`];
  const [{pid, uid}] = workers;
  const {instance, port} = status;
  return [
    instance?.identity.pid === pid ? '' : `status says pid ${instance?.identity.pid}`,
    entry?.metadata.pid === pid ? '' : `registry says pid ${entry?.metadata.pid}`,
    entry?.metadata.uid === uid ? '' : `registry says uid ${entry?.metadata.uid}`,
    entry?.port === port ? '' : `registry says port ${entry?.port}, status ${port}`,
    listeningPorts(pid).includes(port) ? '' : `listens on ${listeningPorts(pid)}`,
  ].filter(text => text !== '');
}

/** A stopped specialist's record may stay: it keeps the port. */
function declaresOff(tortured, name) {
  return tortured.declared.some(({component, enabled}) => !enabled && `${component}-ai.json` === name);
}

/** What has converged goes on with the same processes. */
async function stays(tortured) {
  const before = pids(tortured);
  await delay(2_500);
  const wrong = await wrongs(tortured);
  const after = pids(tortured);
  return before === after ? wrong : [...wrong, {violation: 'restarted without a reason', before, after}];
}

function pids(tortured) {
  return workersOf(tortured.home)
    .map(({pid}) => pid)
    .toSorted()
    .join(' ');
}

async function answers(tortured) {
  const entries = Object.entries(readRegistry(tortured) ?? {});
  const outcomes = await Promise.all(
    entries.map(async ([aiId, {port, metadata}]) => ({
      aiId,
      port,
      ...(await converse({host: metadata.host, port, aiId})),
    })),
  );
  return outcomes.flatMap(answer => (answer.outcome === 'ok' ? [] : [{violation: 'does not answer', ...answer}]));
}

async function unharmed(sentinel) {
  const state = stateOf(sentinel.pid);
  return ['S', 'R', 'D'].includes(state) ? [] : [{violation: 'a stranger was killed or stopped', state}];
}

function readRegistry(tortured) {
  try {
    return tortured.registry();
  } catch {
    return undefined;
  }
}

/** The story of the specialist concerned: what was done to it, and what the controller said. */
function withHistory(violation, lines) {
  const {aiId} = violation;
  const component = aiId?.replace(/-ai$/, '') ?? '';
  const told = lines.filter(line => line.fault || (aiId && JSON.stringify(line).includes(component)));
  return {...violation, history: told.slice(-25)};
}

function eventsOf(home) {
  return ['events.1.jsonl', 'events.jsonl']
    .map(name => join(home, name))
    .filter(existsSync)
    .flatMap(file => readFileSync(file, 'utf8').split('\n').filter(Boolean))
    .map(line => JSON.parse(line));
}
