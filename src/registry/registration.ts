/** How entries come into the registry's state and out of it: can be done again when another writer came first. */
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

  constructor({aiId, port}: {readonly aiId: string; readonly port: number}, holder: string) {
    super(`cannot register ${aiId} on port ${port}: it is registered to ${holder}`);
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

/** A registration with the entry that comes of it. */
export interface Listing {
  readonly aiId: string;
  readonly entry: RegistryEntry;
}

/** A state that is being changed: copied once, however many changes a commit makes. */
export class Draft {
  /** A copy of ours, or undefined while nothing differs from `given`. */
  private copy: Map<string, RegistryEntry> | undefined;

  constructor(private given: RegistryState) {}

  get state(): RegistryState {
    return this.copy ?? this.given;
  }

  get(aiId: string): RegistryEntry | undefined {
    return this.state.get(aiId);
  }

  set(aiId: string, entry: RegistryEntry): void {
    this.copy ??= new Map(this.given);
    this.copy.set(aiId, entry);
  }

  delete(aiId: string): void {
    this.copy ??= new Map(this.given);
    this.copy.delete(aiId);
  }

  /** The state as it is now; later changes leave what this answers alone. */
  share(): RegistryState {
    this.replace(this.state);
    return this.given;
  }

  /** Takes a state that somebody made of this one. It is left as it is. */
  replace(state: RegistryState): void {
    this.given = state;
    this.copy = undefined;
  }
}

/** A port that another specialist has, and who. */
export interface Refusal {
  readonly aiId: string;
  readonly port: number;
  readonly holder: string;
}

/**
 * Adds or replaces entries, all or none. One that says the same as before, its time aside, is left as it is. Another
 * specialist that has a port of theirs gives way if `mayReplace` says so; else that is the answer.
 */
export function put(
  draft: Draft,
  entries: readonly Listing[],
  mayReplace: (holder: string, entry: RegistryEntry) => boolean,
): Refusal | undefined {
  const coming = new Set(entries.map(({aiId}) => aiId));
  const holders = holdersOf(draft.state, new Set(entries.map(({entry}) => entry.port)), coming);
  const gone = new Set<string>();
  const given = new Map<number, Listing>();
  for (const listing of entries) {
    const {aiId, entry} = listing;
    const rival = given.get(entry.port);
    // A foreign edit may have given a port to several.
    const standing = rival ? [[rival.aiId, rival.entry] as const] : (holders.get(entry.port) ?? []);
    for (const [holder, other] of standing) {
      if (holder === aiId) continue;
      if (!mayReplace(holder, other)) return {aiId, port: entry.port, holder};
      gone.add(holder);
    }
    given.set(entry.port, listing);
  }
  for (const holder of gone) if (!coming.has(holder)) draft.delete(holder);
  for (const {aiId, entry} of entries) {
    const before = draft.get(aiId);
    if (gone.has(aiId) && given.get(entry.port)?.aiId !== aiId) {
      if (before !== undefined) draft.delete(aiId);
    } else if (before === undefined || !saysTheSame(before, entry)) {
      draft.set(aiId, keepingTime(before, entry));
    }
  }
  return undefined;
}

/** Who has these ports, `except` aside. */
function holdersOf(
  state: RegistryState,
  ports: ReadonlySet<number>,
  except: ReadonlySet<string>,
): ReadonlyMap<number, readonly (readonly [aiId: string, entry: RegistryEntry])[]> {
  const holders = new Map<number, (readonly [string, RegistryEntry])[]>();
  for (const [aiId, entry] of state) {
    if (!ports.has(entry.port) || except.has(aiId)) continue;
    holders.set(entry.port, [...(holders.get(entry.port) ?? []), [aiId, entry]]);
  }
  return holders;
}

/** A launch is registered once, however often its facts change. */
function keepingTime(before: RegistryEntry | undefined, entry: RegistryEntry): RegistryEntry {
  const same = before !== undefined && before.port === entry.port && entryUid(before) === entryUid(entry);
  return same ? {...entry, registered_at: before.registered_at} : entry;
}

/** Removes an entry; with `uid` only that launch's, so that an old worker's farewell can't remove its successor's. */
export function remove(draft: Draft, aiId: string, uid: string | undefined): boolean {
  const entry = draft.get(aiId);
  if (entry === undefined || (uid !== undefined && entryUid(entry) !== uid)) return false;
  draft.delete(aiId);
  return true;
}

/** Removes our entries of `fleets` (`<namespace>/<fleet>`) that are not in `keep`. */
export function removeOthersOf(draft: Draft, fleets: readonly string[], keep: ReadonlySet<string>): void {
  for (const [aiId, entry] of draft.state) {
    const fleet = entryFleet(entry);
    if (fleet === undefined || !fleets.includes(fleet) || entryUid(entry) === undefined || keep.has(aiId)) continue;
    draft.delete(aiId);
  }
}

function saysTheSame(a: RegistryEntry, b: RegistryEntry): boolean {
  return a.port === b.port && a.component === b.component && isSameJson(a.metadata, b.metadata);
}

/** The order of fields aside. What we wrote ourselves mostly has the same one, which is quickly seen. */
function isSameJson(a: Json, b: Json): boolean {
  return JSON.stringify(a) === JSON.stringify(b) || canonical(a) === canonical(b);
}

function canonical(value: Json): string {
  return JSON.stringify(value, (_key, inner: Json) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
