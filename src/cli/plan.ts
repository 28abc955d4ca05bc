/** The plan that `diff` prints and `apply` carries out, from what is recorded and what process table and workers show. */
import type {LoadedFleet} from '../api/types.js';
import {recordId} from '../reconciler/desired.js';
import {claimsOf, planFleet} from '../reconciler/plan.js';
import {laidOver} from '../reconciler/rollouts.js';
import type {Observed, Plan} from '../reconciler/types.js';
import {askHello} from '../registry/ask-hello.js';
import {readFleetRecords} from '../registry/fleet-records.js';
import {readLaunchRecords, toldBy} from '../registry/launch-records.js';
import type {LaunchRecord} from '../registry/launch-records.js';
import {isSame} from '../registry/processes.js';

/** Workers that are asked at once what they run. */
const askedAtOnce = 64;
/** One that gives no answer by then is taken for what its record says. */
const helloMs = 1000;

/**
 * Reads only: takes no lock and no worker in hand. What was changed by hand is in it, whatever the fleet's drift policy
 * is: an apply puts it right.
 *
 * @throws {TektonError} when a record can't be read.
 */
export async function planLoaded(
  home: string,
  loaded: readonly LoadedFleet[],
  {prune}: {readonly prune: boolean},
): Promise<readonly Plan[]> {
  const records = readFleetRecords(home);
  const observed: Observed[] = [];
  const {records: launches} = readLaunchRecords(home);
  for (let first = 0; first < launches.length; first += askedAtOnce) {
    observed.push(...(await Promise.all(launches.slice(first, first + askedAtOnce).map(observe))));
  }
  return loaded.map(fleet => {
    const record = records.find(r => recordId(r) === recordId(fleet));
    const plan = planFleet({
      namespace: fleet.namespace,
      fleet: fleet.name,
      desired: laidOver(fleet.specialists, record?.rollouts),
      enabled: fleet.enabled,
      observed,
      recorded: record?.specialists.map(d => d.aiId) ?? [],
      // Of two fleets that declare the same, the first in the order of names keeps it, as in the controller.
      claims: claimsOf(records.filter(record => !record.stopped && recordId(record) < recordId(fleet))),
      prune,
      driftPolicy: fleet.driftPolicy ?? 'heal',
    });
    return fleet.allowMassPrune ? {...plan, massPrune: false} : plan;
  });
}

async function observe(record: LaunchRecord): Promise<Observed> {
  const {aiId, name, namespace, fleet, component, host, port, declared, specHash, generation, uid, startedAt} = record;
  const who = {aiId, name, namespace, fleet, component, host, port, declared, specHash, generation};
  const {identity, controlPath} = record;
  if (!identity || !(await isSame(identity))) return {...who, state: 'exited'};
  const instance = {uid, identity, startedAt};
  const answer = await askHello(controlPath, uid, helloMs);
  if (answer.type !== 'answers') return {...who, state: 'running', instance, told: record};
  answer.control.close();
  const {hello} = answer;
  const {running, ending} = hello;
  return {
    ...{...who, instance, told: toldBy(record, hello), state: hello.draining ? 'draining' : 'running'},
    ...{declared: hello.declared, specHash: hello.specHash, generation: hello.generation},
    ...(running && {running}),
    ...(ending && {ending}),
  };
}
