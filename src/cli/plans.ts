/** What an apply of these fleets would do now: for `diff`, `plan` and `apply`. Changes nothing. */
import type {FleetRecord, LoadedFleet} from '../api/types.js';
import {planFleet, type Claims} from '../reconciler/plan.js';
import type {Observed, Plan} from '../reconciler/types.js';
import {readFleetRecords} from '../registry/fleet-records.js';
import {ProcessRuntime} from '../runtime/process/runtime.js';
import type {CommandContext} from './context.js';
import {programFolder} from './package.js';

export interface PlanOptions {
  /** Default: true. */
  readonly prune?: boolean;
}

/**
 * One plan for each of `fleets`, in their order, made of what runs now.
 *
 * @throws {TektonError} when records can't be read.
 */
export async function plansFor(
  context: CommandContext,
  fleets: readonly LoadedFleet[],
  {prune = true}: PlanOptions = {},
): Promise<readonly Plan[]> {
  const records = readFleetRecords(context.home);
  const observed = await observeWorkers(context);
  return fleets.map(loaded => {
    const {name: fleet, namespace, specialists: desired, enabled} = loaded;
    const record = records.find(r => r.name === fleet && r.namespace === namespace);
    const recorded = (record?.specialists ?? []).map(({aiId}) => aiId);
    const claims = claimsOfOthers(loaded, records);
    const plan = planFleet({namespace, fleet, desired, enabled, observed, recorded, claims, prune});
    return {...plan, massPrune: plan.massPrune && !loaded.allowMassPrune};
  });
}

/**
 * Takes every worker in hand for a moment, as the controller would, and lets go of it: a worker itself knows best
 * what it was reconfigured to.
 */
async function observeWorkers({home, environment}: CommandContext): Promise<readonly Observed[]> {
  const runtime = new ProcessRuntime({home, environment, programFolder: programFolder()});
  const {workers, remains} = await runtime.discover();
  const running = workers.map((worker): Observed => {
    const {aiId, instance, host, port, hello} = worker;
    const {name, namespace, fleet, component, declared, specHash, generation, draining} = hello;
    worker.release();
    const state = draining ? 'draining' : 'running';
    return {aiId, name, namespace, fleet, component, state, instance, host, port, declared, specHash, generation};
  });
  const gone = remains.map(({aiId, name, namespace, fleet, component, port}): Observed => {
    return {aiId, name, namespace, fleet, component, state: 'exited', ...(port !== undefined && {port})};
  });
  return [...running, ...gone];
}

/** Of two fleets that declare the same, the first in the order of names keeps it, as in the controller. */
function claimsOfOthers(loaded: LoadedFleet, records: readonly FleetRecord[]): Claims {
  const own = idOf(loaded);
  const first = records.filter(record => !record.stopped && idOf(record) < own).flatMap(record => record.specialists);
  return {
    aiIds: new Map(first.map(desired => [desired.aiId, `${desired.namespace}/${desired.fleet}`])),
    ports: new Map(first.flatMap(({spec, aiId}) => (spec.port === undefined ? [] : [[spec.port, aiId] as const]))),
  };
}

function idOf({namespace, name}: {readonly namespace: string; readonly name: string}): string {
  return `${namespace}/${name}`;
}
