/** What we put into an entry's `metadata` beyond the seed's fields, and how to read it back. */
import type {Json, ProcessIdentity} from '../api/types.js';
import type {RegistryEntry} from './registry-text.js';

/** The instance uid of an entry that we wrote; undefined marks a foreign one, which is kept and never pruned. */
export function entryUid(entry: RegistryEntry): string | undefined {
  const {uid} = entry.metadata;
  return typeof uid === 'string' ? uid : undefined;
}

/** Which process an entry of ours speaks of. */
export function entryIdentity(entry: RegistryEntry): ProcessIdentity | undefined {
  const {pid, start_time: startTime, boot_id: bootId} = entry.metadata;
  const whole = typeof pid === 'number' && typeof startTime === 'string' && typeof bootId === 'string';
  return whole ? {pid, startTime, bootId} : undefined;
}

export function identityFacts(identity: ProcessIdentity): Readonly<Record<string, Json>> {
  return {pid: identity.pid, start_time: identity.startTime, boot_id: identity.bootId};
}

/** `<namespace>/<fleet>` of an entry that belongs to a fleet. */
export function entryFleet(entry: RegistryEntry): string | undefined {
  const {fleet} = entry.metadata;
  return typeof fleet === 'string' ? fleet : undefined;
}

export function entryRoles(entry: RegistryEntry): readonly string[] {
  const {roles} = entry.metadata;
  return Array.isArray(roles) ? roles.filter(role => typeof role === 'string') : [];
}
