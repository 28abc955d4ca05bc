/** A loaded fleet as a document that declares the same again, with nothing left to merge. Secrets stay references. */
import {leaves} from '../../api/hash.js';
import type {NotificationSpec} from '../../api/notifications.js';
import {apiVersion} from '../../api/types.js';
import type {Desired, Json, LoadedFleet, Origin} from '../../api/types.js';
import type {DeclaredProviders} from '../../spec/load.js';

export interface FleetDeclaration {
  readonly document: {
    readonly apiVersion: typeof apiVersion;
    readonly kind: 'Fleet';
    readonly metadata: {readonly name: string; readonly namespace?: string};
    readonly spec: {readonly [key: string]: Json};
  };
  /** Where the values under these keys of the document are from. */
  readonly origins: readonly {readonly keys: readonly (string | number)[]; readonly origin: Origin}[];
  /** What is not in the document, and still counts. */
  readonly remarks: readonly string[];
}

/** Pure. What only built-in defaults say is left out, as in `Desired.declared`: so hashes stay the same. */
export function fleetDeclaration(fleet: LoadedFleet, providers: DeclaredProviders): FleetDeclaration {
  const {name, namespace, specialists} = fleet;
  const origins: FleetDeclaration['origins'][number][] = [];
  const written = Object.entries(providers).map(([provider, {spec, origins: from}]) => {
    for (const {keys} of leaves(spec)) {
      const origin = from[keys.join('.')];
      if (origin) origins.push({keys: ['spec', 'providers', provider, ...keys], origin});
    }
    return [provider, spec] as const;
  });
  const entries = specialists.map((desired, index) => entryOf(desired, index, origins));
  const spec = {
    ...(!fleet.enabled && {enabled: false}),
    ports: {...fleet.ports},
    ...(fleet.allowMassPrune && {allowMassPrune: true}),
    ...(fleet.driftPolicy !== undefined && {
      driftPolicy: typeof fleet.driftPolicy === 'string' ? fleet.driftPolicy : {...fleet.driftPolicy},
    }),
    ...(fleet.dependsOn && {dependsOn: fleet.dependsOn}),
    ...(fleet.rollback && {rollback: {...fleet.rollback}}),
    ...(fleet.syncWindows && {syncWindows: fleet.syncWindows.map(window => ({...window}))}),
    ...(fleet.notifications && {notifications: fleet.notifications.map(notificationOf)}),
    ...(written.length > 0 && {providers: Object.fromEntries(written)}),
    specialists: entries,
  };
  return {
    document: {
      apiVersion,
      kind: 'Fleet',
      metadata: {name, ...(namespace !== 'default' && {namespace})},
      spec: spec, // interfaces have no index signature
    },
    origins,
    remarks: addressRemarks(fleet, providers),
  };
}

function entryOf(
  {name, labels, spec, declared, origins}: Desired,
  index: number,
  all: FleetDeclaration['origins'][number][],
): Json {
  const entry: Record<string, Json> = {name, component: spec.component};
  if (Object.keys(labels).length > 0) entry['labels'] = {...labels};
  for (const {keys} of leaves(spec as unknown as Json)) {
    const field = keys.join('.');
    const value = declared[field];
    const origin = origins[field];
    if (value === undefined || origin === undefined) continue;
    put(entry, keys, value);
    all.push({keys: ['spec', 'specialists', index, ...keys], origin});
  }
  return entry;
}

function put(into: Record<string, Json>, [key = '', ...rest]: readonly string[], value: Json): void {
  if (rest.length === 0) {
    into[key] = value;
    return;
  }
  const known = into[key];
  const within = isMapping(known) ? known : {};
  into[key] = within;
  put(within, rest, value);
}

function isMapping(value: Json | undefined): value is Record<string, Json> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function notificationOf({name, on, minIntervalSeconds, to}: NotificationSpec): Json {
  const {type, ...destination} = to;
  return {name, on: {...on}, minIntervalSeconds, [type]: destination}; // interfaces again
}

/** A provider that is built in has no place for an address: declaring it would be another declaration. */
function addressRemarks({specialists}: LoadedFleet, providers: DeclaredProviders): readonly string[] {
  const remarks = specialists.flatMap(({origins, spec}) =>
    Object.entries(origins).flatMap(([path, origin]) => {
      if (origin.type !== 'env' || !path.startsWith('provider.') || Object.hasOwn(providers, spec.provider)) return [];
      return [`${origin.variable} counts for the built-in provider \`${spec.provider}\`, and stays in the environment`];
    }),
  );
  return [...new Set(remarks)];
}
