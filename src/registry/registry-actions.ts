/** Changes of the registry as data, so that another process can make them, and what came of each. */
import {TektonError} from '../api/errors.js';
import {entryUid} from './entry-facts.js';
import {put, remove, removeOthersOf} from './registration.js';
import type {Draft, Listing, Refusal} from './registration.js';
import type {RegistryEntry} from './registry-text.js';

export type RegistryState = ReadonlyMap<string, RegistryEntry>;

/**
 * One change. Pure and quick, for the lock is held while it runs, and it runs again when a foreign writer came in
 * between. The state that it was given means: nothing to write.
 */
export type RegistryChange = (state: RegistryState) => RegistryState;

export type RegistryAction =
  /** All or none. `dead`: holders that give way, by ai id with the uid under which they were found dead. */
  | {readonly type: 'put'; readonly entries: readonly Listing[]; readonly dead: Readonly<Record<string, string>>}
  | {readonly type: 'remove'; readonly aiId: string; readonly uid?: string}
  /** Makes the entries of these fleets exactly these. */
  | {readonly type: 'sync'; readonly fleets: readonly string[]; readonly entries: readonly Listing[]}
  /** Code: only this process can run it. */
  | {readonly type: 'apply'; readonly change: RegistryChange};

export type RegistryOutcome =
  | {readonly type: 'listed'; readonly entries: readonly Listing[]}
  | {readonly type: 'refused'; readonly refusal: Refusal}
  | {readonly type: 'removed'; readonly removed: boolean}
  | {readonly type: 'synced'; readonly differed: readonly string[]}
  | {readonly type: 'applied'; readonly state: RegistryState}
  | {readonly type: 'failed'; readonly error: unknown};

export function perform(draft: Draft, action: RegistryAction): RegistryOutcome {
  switch (action.type) {
    case 'put': {
      const {entries, dead} = action;
      const mayReplace = (holder: string, entry: RegistryEntry): boolean =>
        dead[holder] !== undefined && dead[holder] === entryUid(entry);
      const refusal = put(draft, entries, mayReplace);
      if (refusal !== undefined) return {type: 'refused', refusal};
      return {type: 'listed', entries: listings(draft, entries)};
    }
    case 'remove':
      return {type: 'removed', removed: remove(draft, action.aiId, action.uid)};
    case 'sync': {
      const before = draft.state;
      // The state may have been copied for an earlier change of the same commit: compare entries, not maps.
      const standing = new Map(before);
      removeOthersOf(draft, action.fleets, new Set(action.entries.map(({aiId}) => aiId)));
      put(draft, action.entries, () => true);
      return {type: 'synced', differed: changedKeys(standing, draft.state)};
    }
    case 'apply':
      try {
        const state = action.change(draft.share());
        draft.replace(state);
        return {type: 'applied', state};
      } catch (error) {
        return {type: 'failed', error};
      }
  }
}

/** An action that another process wrote; undefined: none that this version knows. */
export function parseAction(value: unknown): RegistryAction | undefined {
  if (!isObject(value)) return undefined;
  const {type, aiId, uid, fleets, entries, dead} = value;
  switch (type) {
    case 'put':
      if (!isListings(entries) || !isObject(dead)) return undefined;
      return {type, entries, dead: dead as Record<string, string>}; // compared, nothing else
    case 'remove':
      if (typeof aiId !== 'string') return undefined;
      return typeof uid === 'string' ? {type, aiId, uid} : {type, aiId};
    case 'sync':
      if (!isListings(entries) || !isStrings(fleets)) return undefined;
      return {type, fleets, entries};
    default:
      return undefined;
  }
}

/** The outcome of another kind than the action's. */
export function unexpected(outcome: RegistryOutcome): TektonError {
  if (outcome.type === 'failed' && outcome.error instanceof TektonError) return outcome.error;
  return new TektonError(`internal error: a change of the registry was answered with "${outcome.type}"`);
}

function listings(draft: Draft, entries: readonly Listing[]): readonly Listing[] {
  return entries.flatMap(({aiId}) => {
    const entry = draft.get(aiId);
    return entry === undefined ? [] : [{aiId, entry}];
  });
}

function changedKeys(before: RegistryState, after: RegistryState): readonly string[] {
  const keys = new Set([...before.keys(), ...after.keys()]);
  return [...keys].filter(aiId => before.get(aiId) !== after.get(aiId));
}

function isListings(value: unknown): value is readonly Listing[] {
  return Array.isArray(value) && value.every(isListing);
}

function isListing(value: unknown): value is Listing {
  if (!isObject(value) || typeof value['aiId'] !== 'string' || !isObject(value['entry'])) return false;
  const {port, component, metadata, registered_at: registeredAt} = value['entry'];
  const isPort = typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65535;
  return isPort && typeof component === 'string' && isObject(metadata) && typeof registeredAt === 'number';
}

function isStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(item => typeof item === 'string');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
