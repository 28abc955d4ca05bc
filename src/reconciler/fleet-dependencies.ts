/** Fleets that wait for fleets: in which order, for whom, and in no circle. Pure. */
import type {FleetRecord, LoadedFleet} from '../api/types.js';
import {circleFrom} from '../spec/circles.js';
import type {HoldReason} from './admission.js';
import {recordId} from './desired.js';

/** Why a fleet has to wait for another. */
export interface WaitsFor {
  readonly reason: Extract<HoldReason, 'DependencyNotReady' | 'Conflict'>;
  readonly message: string;
}

type Declared = Pick<LoadedFleet, 'name' | 'namespace' | 'dependsOn'>;

/** Dependencies before dependents, otherwise in the order given. */
export function fleetOrder<T extends Declared>(fleets: readonly T[]): readonly T[] {
  const byId = new Map(fleets.map(fleet => [recordId(fleet), fleet]));
  const ordered = new Set<T>();
  const entered = new Set<T>();
  const visit = (fleet: T): void => {
    if (entered.has(fleet)) return;
    entered.add(fleet);
    for (const id of fleet.dependsOn ?? []) {
      const dependency = byId.get(id);
      if (dependency) visit(dependency);
    }
    ordered.add(fleet);
  };
  fleets.forEach(visit);
  return [...ordered];
}

/** The circle that `fleet` would be in, or wait for, among those that are declared; undefined: there is none. */
export function circleOf(fleet: Declared, declared: readonly Declared[]): readonly string[] | undefined {
  const byId = new Map([...declared, fleet].map(one => [recordId(one), one]));
  return circleFrom(recordId(fleet), id => byId.get(id)?.dependsOn ?? [], new Set());
}

export function circleText(circle: readonly string[]): string {
  return `\`dependsOn\` goes round in a circle: ${circle.join(' → ')}`;
}

export interface Known {
  /** Every fleet of the state folder. */
  readonly records: readonly FleetRecord[];
  /** Why a fleet that is declared and not stopped isn't as declared and Ready, in words; undefined: it is. */
  readonly whyNotReady: (id: string) => string | undefined;
}

/** The first of `fleet`'s dependencies that it has to wait for. */
export function waitsFor(fleet: Declared, {records, whyNotReady}: Known): WaitsFor | undefined {
  if (!fleet.dependsOn) return undefined;
  const circle = circleOf(fleet, records);
  if (circle) return {reason: 'Conflict', message: circleText(circle)};
  const whyNot = (id: string): string | undefined => {
    const record = records.find(one => recordId(one) === id);
    if (!record) return 'there is none of this name';
    if (record.stopped) return 'it is stopped';
    if (!record.enabled) return 'it is declared not to run';
    return whyNotReady(id);
  };
  for (const id of fleet.dependsOn) {
    const why = whyNot(id);
    if (why !== undefined) return {reason: 'DependencyNotReady', message: `waits for fleet ${id}: ${why}`};
  }
  return undefined;
}
