/** Namespaces and fleets that were mistyped. */
import {TektonError} from '../api/errors.js';
import {readFleetRecords} from '../registry/fleet-records.js';
import type {GlobalOptions} from './options.js';
import {qualifiedName} from './view.js';

/**
 * For a verb that found nothing: an empty list for a name that was mistyped would be an answer to another question.
 * Where no fleet was ever applied, no name is wrong.
 *
 * @throws {TektonError} no fleet is of this name and namespace
 */
export function refuseUnknownFleet(home: string, {namespace, fleet}: GlobalOptions): void {
  if (namespace === undefined && fleet === undefined) return;
  const known = readFleetRecords(home);
  const isKnown = known.some(
    record => (fleet ?? record.name) === record.name && (namespace ?? record.namespace) === record.namespace,
  );
  if (isKnown || known.length === 0) return;
  const what = [fleet && `fleet "${fleet}"`, namespace && `namespace "${namespace}"`].filter(Boolean).join(' in ');
  throw new TektonError(`nothing is known of ${what}`, {hint: `there are ${known.map(qualifiedName).join(', ')}`});
}
