/** A kill storm over a fleet of many: thereafter all is as before, and nothing is left of what happened. */
import {readdirSync, utimesSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {firstFleet} from './declared.mjs';
import {Fleet} from './fleet.mjs';
import {hurt} from './fleet-faults.mjs';
import {answers, converged, stays, unharmed, withHistory} from './fleet-judge.mjs';
import {holdings, leaks, most, portsOn} from './leaks.mjs';
import {now, readLogs} from './oplog.mjs';
import {signal, startActor} from './processes.mjs';
import {stormFaults} from './schedule.mjs';
import {watch} from './watcher.mjs';

export async function storm(world) {
  const count = world.small ? 12 : 30;
  const tortured = new Fleet(world);
  tortured.most = count;
  const sentinel = startActor('sentinel', {log: join(world.folder, 'logs/sentinel.log')});
  world.atEnd(() => sentinel.kill('SIGKILL'));
  const first = firstFleet(count);
  tortured.declare(first);
  tortured.keepController();
  const begun = await converged(tortured, world.convergeMs);
  if (begun.length > 0) return {violations: begun, facts: {}};
  const quiet = await quietHoldings(tortured, world);

  const watching = {over: false};
  const looks = watch(tortured, watching);
  const counts = await hurt(tortured, stormFaults(world), sentinel.pid);
  const calmAt = now();
  tortured.declare(first.map(entry => ({...entry, revision: 2})));
  const wrong = await converged(tortured, world.convergeMs);
  const facts = {specialists: count, convergedMs: Math.round(now() - calmAt), ...counts};
  const violations = wrong.length > 0 ? wrong : await stays(tortured);
  violations.push(...(await answers(tortured)), ...(await unharmed(sentinel)));
  // The controller that came through the storm, and then one that finds what the storm has left and writes everywhere.
  violations.push(...(await leaked(tortured, world, quiet, {but: isTemporary})));
  age(world.home);
  violations.push(...(await withNextController(tortured, world)));
  tortured.declare(first.map(entry => ({...entry, revision: 3})));
  violations.push(...(await converged(tortured, world.convergeMs)), ...(await leaked(tortured, world, quiet)));
  watching.over = true;
  facts.looks = await looks;
  facts.quiet = {files: sum(quiet.files), controller: quiet.controller, worker: quiet.worker};
  violations.push(...(await leftByDown(tortured, world)));
  sentinel.stop();
  const lines = readLogs(join(world.folder, 'logs'));
  violations.push(...lines.filter(line => line.violation));
  return {violations: violations.map(violation => withHistory(violation, lines)), facts};
}

/** Of a fleet that was launched and has answered a chat each, and of one whose workers were all replaced and then adopted by another controller. */
async function quietHoldings(tortured, world) {
  await answers(tortured);
  const launched = await holdings(world);
  tortured.declare(tortured.declared.map(entry => ({...entry, revision: 1})));
  await converged(tortured, world.convergeMs);
  await withNextController(tortured, world);
  return most(launched, await holdings(world));
}

/** @returns what is wrong with the fleet that the next controller has taken over */
async function withNextController(tortured, world) {
  const before = tortured.controllerPid;
  signal(before, 'SIGKILL');
  while (tortured.controllerPid === before) await delay(20);
  return converged(tortured, world.convergeMs);
}

function sum(counts) {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

/** Some things end a while after the fleet is as declared: predecessors, their sockets, late events. */
async function leaked(tortured, world, quiet, {but = () => false} = {}) {
  const end = now() + 15_000;
  for (;;) {
    const all = [...leaks(await holdings(world), quiet), ...strangePorts(tortured, world)];
    const found = all.filter(({kind = ''}) => !but(kind));
    if (found.length === 0 || now() > end) return found;
  }
}

/** What a killed writer left is cleared away by who writes there when it is a minute old. */
function isTemporary(name) {
  return name.endsWith('.tmp');
}

/** As if a minute had passed. */
function age(home) {
  const longAgo = new Date(Date.now() - 61_000);
  for (const name of readdirSync(home, {recursive: true}).filter(isTemporary)) {
    try {
      utimesSync(join(home, name), longAgo, longAgo);
    } catch {
      // It was being written: it is gone.
    }
  }
}

/** Nobody else has this run's address: who listens there is registered. */
function strangePorts(tortured, {host}) {
  const registered = new Set(Object.values(tortured.registry()).map(({port}) => port));
  const strange = portsOn(host).filter(port => !registered.has(port));
  return strange.map(port => ({violation: 'leaked', what: 'a port that listens and is not registered', port}));
}

async function leftByDown(tortured, {home, host}) {
  const processes = await tortured.down();
  const names = readdirSync(home, {recursive: true}).filter(name => /\.(sock|lock|tmp)$|^run\/controller/.test(name));
  return [
    ...processes.map(process => ({violation: 'left running by down', process})),
    ...names.map(name => ({violation: 'left behind by down', name})),
    ...portsOn(host).map(port => ({violation: 'left listening by down', port})),
    ...Object.keys(tortured.registry()).map(aiId => ({violation: 'left registered by down', aiId})),
  ];
}
