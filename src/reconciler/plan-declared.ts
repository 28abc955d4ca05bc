/** A plan from one declaration to another: what an apply would do where the one before runs as declared. Pure. */
import type {Desired, LoadedFleet} from '../api/types.js';
import {recordId} from './desired.js';
import {claimsOf, planFleet} from './plan.js';
import type {Observed, Plan} from './types.js';

/**
 * One plan for each fleet of `now`, in its order, then one for each that only `before` has: all of that one is pruned.
 * Fleets are the same by namespace and name, whatever their files are called.
 */
export function planDeclared(now: readonly LoadedFleet[], before: readonly LoadedFleet[]): readonly Plan[] {
  const removed = removedFleets(now, before);
  // Nobody stops a fleet that is no longer declared: what it runs stays in the way of the others.
  const stays = removed.flatMap(fleet => fleet.specialists.map(desired => observedOf(desired, fleet.enabled)));
  const plans = now.map(fleet => {
    const old = before.find(one => recordId(one) === recordId(fleet));
    const declared = new Set(fleet.specialists.map(({aiId}) => aiId));
    const observed = (old?.specialists ?? [])
      .map(desired => observedOf(desired, old?.enabled ?? true))
      .filter(({state, aiId}) => state === 'running' || declared.has(aiId));
    const plan = planFleet({
      namespace: fleet.namespace,
      fleet: fleet.name,
      desired: fleet.specialists,
      enabled: fleet.enabled,
      // Later ones win by name: its own.
      observed: [...stays.filter(({state}) => state === 'running'), ...observed],
      recorded: old?.specialists.map(({aiId}) => aiId) ?? [],
      claims: claimsOf(removed),
    });
    return fleet.allowMassPrune ? {...plan, massPrune: false} : plan;
  });
  return [...plans, ...removed.map(goes)];
}

/** Those that only `before` has. */
export function removedFleets(now: readonly LoadedFleet[], before: readonly LoadedFleet[]): readonly LoadedFleet[] {
  const declared = new Set(now.map(recordId));
  return before.filter(fleet => !declared.has(recordId(fleet)));
}

function goes({namespace, name, specialists, enabled}: LoadedFleet): Plan {
  const observed = specialists.map(desired => observedOf(desired, enabled)).filter(({state}) => state === 'running');
  const actions = observed.map(one => ({type: 'prune' as const, observed: one}));
  return {namespace, fleet: name, actions, massPrune: false};
}

/** A worker that runs as declared, on the port that it pins: which one it was given otherwise is not known. */
function observedOf(desired: Desired, enabled: boolean): Observed {
  const {aiId, name, namespace, fleet, spec, declared, specHash, generation} = desired;
  return {
    ...{aiId, name, namespace, fleet, component: spec.component, declared, specHash, generation},
    state: enabled && spec.enabled ? 'running' : 'exited',
    host: spec.host,
    ...(spec.port !== undefined && {port: spec.port}),
  };
}
