/** What fleets depend on: names made whole, and circles among those that are loaded together. */
import {circleFrom} from './circles.js';
import type {Problem} from '../api/errors.js';
import type {Fleet} from './fleet.js';

/** `<namespace>/<name>` of each that `dependsOn` names. */
export function fleetDependencies({namespace, fields}: Fleet): readonly string[] {
  const written: readonly unknown[] = fields.dependsOn ?? []; // what the schema refuses is taken out of lists
  return written.flatMap(name => (typeof name === 'string' ? wholeName(name, namespace) : []));
}

function wholeName(name: string, namespace: string): string {
  return name.includes('/') ? name : `${namespace}/${name}`;
}

/** Each circle once, at the `dependsOn` of its first fleet. */
export function checkFleetDependencies(fleets: readonly Fleet[]): readonly Problem[] {
  const byId = new Map(fleets.map(fleet => [`${fleet.namespace}/${fleet.name}`, fleet]));
  const done = new Set<string>();
  return [...byId].flatMap(([id, fleet]): readonly Problem[] => {
    const circle = circleFrom(id, name => dependenciesOf(byId.get(name)), done);
    const first = byId.get(circle?.[0] ?? id) ?? fleet;
    if (!circle || !first.group.fleet) return [];
    const message = `\`dependsOn\` goes round in a circle: ${circle.join(' → ')}`;
    return [first.group.fleet.source.problem(['spec', 'dependsOn'], 'value', message)];
  });
}

function dependenciesOf(fleet: Fleet | undefined): readonly string[] {
  return fleet ? fleetDependencies(fleet) : [];
}
