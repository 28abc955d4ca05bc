/** A person's words on a record. */
import type {FleetRecord} from '../../src/api/types.js';
import {refusalLifted} from '../../src/reconciler/health-gate.js';
import {held as hold} from '../../src/reconciler/rollouts.js';
import {desire} from './ports.js';

/** `rollout pause` of a specialist, at this model. */
export function held(record: FleetRecord, name: string, model: string): FleetRecord {
  return hold(record, desire(name, {model}), 'pause', 'by hand');
}

export function refusalLiftedBy(at: string): (record: FleetRecord | undefined) => FleetRecord | undefined {
  return record => record && refusalLifted(record, at);
}
