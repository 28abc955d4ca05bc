/** Scenarios of a whole fleet: real workers, a real controller, the built command line. */
import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {converse} from './chat.mjs';
import {firstFleet} from './declared.mjs';
import {Fleet} from './fleet.mjs';
import {carryOut, hurt} from './fleet-faults.mjs';
import {answers, converged, readRegistry, stays, unharmed, withHistory} from './fleet-judge.mjs';
import {now, readLogs} from './oplog.mjs';
import {startActor} from './processes.mjs';
import {fleetFaults, rollouts} from './schedule.mjs';
import {watch} from './watcher.mjs';

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

function eventsOf(home) {
  return ['events.1.jsonl', 'events.jsonl']
    .map(name => join(home, name))
    .filter(existsSync)
    .flatMap(file => readFileSync(file, 'utf8').split('\n').filter(Boolean))
    .map(line => JSON.parse(line));
}
