/** A fleet's status in numbers. Pure. */
import {isTrue} from '../api/conditions.js';
import type {FleetCounts, SpecialistStatus} from '../api/types.js';

export function countsOf(statuses: readonly SpecialistStatus[]): FleetCounts {
  const having = (type: Parameters<typeof isTrue>[1]): number =>
    statuses.filter(({conditions}) => isTrue(conditions, type)).length;
  return {
    declared: statuses.length,
    enabled: statuses.filter(({phase}) => phase !== 'Disabled' && phase !== 'Stopped').length,
    live: having('Live'),
    ready: having('Ready'),
    progressing: having('Progressing'),
    stalled: having('Stalled'),
  };
}
