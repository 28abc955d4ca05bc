/** Changes of the registry's state: pure, so that they can run again when another writer came first. */
import type {Json, ProcessIdentity} from '../api/types.js';
import {ConflictError} from '../api/errors.js';
import {entryFleet, entryUid, identityFacts} from './entry-facts.js';
import type {RegistryState} from './registry-file.js';
import type {RegistryEntry} from './registry-text.js';

export interface Registration {
  /** `<name>-ai`, or `<namespace>.<name>-ai`. */
  readonly aiId: string;
  /** The port that it listens on, 1 to 65535. */
  readonly port: number;
  readonly component: string;
  /** `description`, `roles`, `host`, `model`, … Anything that is JSON. */
  readonly metadata?: Readonly<Record<string, Json>>;
}

/** The port is registered to somebody else. */
export class PortRegisteredError extends ConflictError {
  override readonly name: string = 'PortRegisteredError';
  readonly holder: string;

  constructor(registration: Registration, holder: string) {
    super(`cannot register ${registration.aiId} on port ${registration.port}: it is registered to ${holder}`);
    this.holder = holder;
  }
}

/** The entry of a registration. `identity` is the process that listens; facts of `metadata` win. */
export function entryOf(registration: Registration, uid: string, identity: ProcessIdentity | undefined): RegistryEntry {
  const {port, component, metadata = {}} = registration;
  const facts = identity === undefined ? {} : identityFacts(identity);
  return {
    port,
    component,
    metadata: {description: `AI specialist for ${component}`, ...facts, uid, ...metadata},
    registered_at: Date.now() / 1000,
  };
}

/** How a put deals with another entry that has the port. */
export type OnTaken = (registration: Registration, holder: string, entry: RegistryEntry) => 'replace';

/**
 * Adds or replaces entries. One that says the same as before, its time aside, is left as it is; when all do, the
 * answer is the state that came in.
 */
export function put(
  state: RegistryState,
  entries: readonly (Registration & {readonly entry: RegistryEntry})[],
  onTaken: OnTaken,
): RegistryState {
  let next: Map<string, RegistryEntry> | undefined;
  const coming = new Set(entries.map(entry => entry.aiId));
  const holders = new Map([...state].flatMap(([aiId, {port}]) => (coming.has(aiId) ? [] : [[port, aiId] as const])));
  for (const registration of entries) {
    const {aiId, entry} = registration;
    const before = state.get(aiId);
    const holder = holders.get(entry.port);
    const other = holder === undefined || holder === aiId ? undefined : (next ?? state).get(holder);
    if (holder !== undefined && other !== undefined) {
      onTaken(registration, holder, other);
      next ??= new Map(state);
      next.delete(holder);
    }
    holders.set(entry.port, aiId);
    if (before !== undefined && saysTheSame(before, entry)) continue;
    next ??= new Map(state);
    next.set(aiId, keepingTime(before, entry));
  }
  return next ?? state;
}

/** A launch is registered once, however often its facts change. */
function keepingTime(before: RegistryEntry | undefined, entry: RegistryEntry): RegistryEntry {
  const same = before !== undefined && before.port === entry.port && entryUid(before) === entryUid(entry);
  return same ? {...entry, registered_at: before.registered_at} : entry;
}

/** Removes an entry; with `uid` only that launch's, so that an old worker's farewell can't remove its successor's. */
export function remove(state: RegistryState, aiId: string, uid: string | undefined): RegistryState {
  const entry = state.get(aiId);
  if (entry === undefined || (uid !== undefined && entryUid(entry) !== uid)) return state;
  const next = new Map(state);
  next.delete(aiId);
  return next;
}

/** Removes our entries of `fleets` (`<namespace>/<fleet>`) that are not in `keep`. */
export function removeOthersOf(
  state: RegistryState,
  fleets: readonly string[],
  keep: ReadonlySet<string>,
): RegistryState {
  const gone = [...state].filter(([aiId, entry]) => {
    const fleet = entryFleet(entry);
    return fleet !== undefined && fleets.includes(fleet) && entryUid(entry) !== undefined && !keep.has(aiId);
  });
  if (gone.length === 0) return state;
  const next = new Map(state);
  for (const [aiId] of gone) next.delete(aiId);
  return next;
}

function saysTheSame(a: RegistryEntry, b: RegistryEntry): boolean {
  return a.port === b.port && a.component === b.component && canonical(a.metadata) === canonical(b.metadata);
}

function canonical(value: Json): string {
  return JSON.stringify(value, (_key, inner: Json) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
