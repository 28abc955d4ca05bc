/** Whom the state folder knows, from files alone: for verbs that need a name and no status. */
import {entryFleet} from '../registry/entry-facts.js';
import {readFleetRecords} from '../registry/fleet-records.js';
import {readLaunchRecords} from '../registry/launch-records.js';
import {statePaths} from '../registry/paths.js';
import {readText} from '../registry/records.js';
import {parseRegistry} from '../registry/registry-text.js';
import {inScope} from './observe.js';
import type {GlobalOptions} from './options.js';
import type {Named} from './select.js';

/** Declared, launched or registered, each once; the declaration's word on the name wins. */
export function knownSpecialists(home: string, scope: GlobalOptions): readonly Named[] {
  const {entries} = parseRegistry(readText(statePaths(home).registry) ?? '{}');
  const registered = [...entries].map(([aiId, {entry}]) => {
    const {name, namespace} = entry.metadata;
    return {
      aiId,
      name: typeof name === 'string' ? name : aiId.replace(/-ai$/, ''),
      namespace: typeof namespace === 'string' ? namespace : 'default',
      fleet: entryFleet(entry)?.split('/').at(-1),
    };
  });
  const declared = readFleetRecords(home).flatMap(fleet => fleet.specialists);
  const known = new Map([...registered, ...readLaunchRecords(home).records, ...declared].map(one => [one.aiId, one]));
  return [...known.values()].filter(one => inScope({namespace: one.namespace, name: one.fleet ?? ''}, scope));
}
