/** Looks at a fleet from outside, again and again, for what may never be, not even for a moment. */
import {setTimeout as delay} from 'node:timers/promises';
import {now} from './oplog.mjs';
import {listeningPorts, workersOf} from './worker-processes.mjs';

/** Two instances may listen together while one hands its socket to the other. */
const handoverMs = 5_000;

/** Notes violations on `fleet` until `watching.over`. @returns how often it looked. */
export async function watch(fleet, watching) {
  const doubleSince = new Map();
  let looks = 0;
  while (!watching.over) {
    looks++;
    checkInstances(fleet, doubleSince);
    checkRegistry(fleet);
    await delay(100);
  }
  return looks;
}

function checkInstances(fleet, doubleSince) {
  const byId = new Map();
  for (const worker of workersOf(fleet.home)) byId.set(worker.aiId, [...(byId.get(worker.aiId) ?? []), worker]);
  for (const aiId of doubleSince.keys()) if ((byId.get(aiId)?.length ?? 0) < 2) doubleSince.delete(aiId);
  for (const [aiId, instances] of byId) {
    const serving = instances.length > 1 ? instances.filter(({pid}) => listeningPorts(pid).length > 0) : [];
    if (serving.length < 2) {
      doubleSince.delete(aiId);
      continue;
    }
    const since = doubleSince.get(aiId) ?? now();
    doubleSince.set(aiId, since);
    if (now() - since < handoverMs) continue;
    fleet.note({violation: 'two instances of one specialist serve', aiId, serving, forMs: now() - since});
    doubleSince.set(aiId, Infinity); // said once
  }
}

/** A file that was damaged on purpose is no news; one that can be read may not give a port twice. */
function checkRegistry(fleet) {
  let registry;
  try {
    registry = fleet.registry();
  } catch {
    return;
  }
  const holders = new Map();
  for (const [aiId, {port}] of Object.entries(registry)) {
    if (holders.has(port)) fleet.note({violation: 'a port twice in the registry', port, by: [holders.get(port), aiId]});
    holders.set(port, aiId);
  }
}
