/** What a fleet that was left in peace must be, seen from outside: by its commands, its files and the process table. */
import {readdirSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {converse} from './chat.mjs';
import {now} from './oplog.mjs';
import {stateOf} from './processes.mjs';
import {listeningPorts, processesOf, variableOf, workersOf} from './worker-processes.mjs';

/** Waits until nothing is wrong any more, at most `patienceMs`. @returns what still is. */
export async function converged(tortured, patienceMs) {
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
      ? differences({status, entry: registry[aiId], workers: mine, declared: wanted.get(aiId)})
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

function differences({status, entry, workers, declared}) {
  if (status?.phase !== 'Ready') return [`phase ${status?.phase}`];
  if (workers.length !== 1) return [`${workers.length} processes`];
  const [{pid, uid}] = workers;
  const {instance, port} = status;
  const revision = variableOf(pid, 'TORTURE_REVISION');
  return [
    revision === String(declared.revision) ? '' : `runs revision ${revision} of ${declared.revision}`,
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
export async function stays(tortured) {
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

export async function answers(tortured) {
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

export async function unharmed(sentinel) {
  const state = stateOf(sentinel.pid);
  return ['S', 'R', 'D'].includes(state) ? [] : [{violation: 'a stranger was killed or stopped', state}];
}

/** undefined while it can't be read. */
export function readRegistry(tortured) {
  try {
    return tortured.registry();
  } catch {
    return undefined;
  }
}

/** The story of the specialist concerned: what was done to it, and what the controller said. */
export function withHistory(violation, lines) {
  const {aiId} = violation;
  const component = aiId?.replace(/-ai$/, '') ?? '';
  const told = lines.filter(line => line.fault || (aiId && JSON.stringify(line).includes(component)));
  return {...violation, history: told.slice(-25)};
}
