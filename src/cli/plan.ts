/** The plan that `diff` prints and `apply` carries out, from what is recorded and what the process table shows. */
import type {LoadedFleet} from '../api/types.js';
import {recordId} from '../reconciler/desired.js';
import {claimsOf, planFleet} from '../reconciler/plan.js';
import {laidOver} from '../reconciler/rollouts.js';
import type {Observed, Plan} from '../reconciler/types.js';
import {readFleetRecords} from '../registry/fleet-records.js';
import {readLaunchRecords} from '../registry/launch-records.js';
import type {LaunchRecord} from '../registry/launch-records.js';
import {isSame} from '../registry/processes.js';

/** Reads only: takes no lock and no worker in hand. @throws {TektonError} when a record can't be read. */
export async function planLoaded(
  home: string,
  loaded: readonly LoadedFleet[],
  {prune}: {readonly prune: boolean},
): Promise<readonly Plan[]> {
  const records = readFleetRecords(home);
  const observed = await Promise.all(readLaunchRecords(home).records.map(observe));
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
    });
    return fleet.allowMassPrune ? {...plan, massPrune: false} : plan;
  });
}

async function observe(record: LaunchRecord): Promise<Observed> {
  const {aiId, name, namespace, fleet, component, host, port, declared, specHash, generation, uid, startedAt} = record;
  const who = {aiId, name, namespace, fleet, component, host, port, declared, specHash, generation};
  const {identity} = record;
  if (!identity || !(await isSame(identity))) return {...who, state: 'exited'};
  return {...who, state: 'running', instance: {uid, identity, startedAt}};
}
