/**
 * Drift: what somebody else than its owner made of a worker. Three are compared, as `kubectl apply` does: what is
 * declared, what the worker was told last, and what it runs. Pure.
 */
import {diffDeclared, flatten} from '../api/hash.js';
import {maskKeys} from '../api/mask.js';
import type {Desired, FieldChange, Json} from '../api/types.js';
import type {Running, Told} from '../protocol/running.js';
import type {Observed} from './types.js';

/** What a worker says of itself. */
type Said = Pick<Told, 'specHash' | 'declared'> & {readonly running?: Running | undefined};

/** `from` what it runs, `to` what it was told, field by field; what it only claims to be declared with counts, too. */
export function fieldsOff(told: Told, said: Said): readonly FieldChange[] {
  const claims = told.specHash === said.specHash ? [] : diffDeclared(said.declared, told.declared, {});
  if (!told.running || !said.running) return claims;
  const runs = diffDeclared(flatten(said.running), flatten(told.running), {});
  const seen = new Set(runs.map(({path}) => path));
  return [...runs, ...claims.filter(({path}) => !seen.has(path))];
}

/** Whether what the worker was told last is what is declared now. Where it is not, what it runs is about to change anyway. */
export function isTold(desired: Desired, {told}: Observed): boolean {
  return told?.specHash === desired.specHash;
}

/** The fields that somebody else changed; none where it runs as told, or where another declaration is to be told. */
export function driftOf(desired: Desired, observed: Observed): readonly FieldChange[] {
  const {told, running, declared = {}, specHash = ''} = observed;
  if (!told || !isTold(desired, observed)) return [];
  return fieldsOff(told, {specHash, declared, running}).map(change => ({
    ...change,
    origin: Object.hasOwn(desired.origins, change.path) ? desired.origins[change.path] : undefined,
  }));
}

export const drainedText = 'somebody had it drain: it takes no new chats';

const mostFields = 4;
const longestValue = 40;

/** "model is "m2" instead of "m1"": the same for the same drift. */
export function driftText(changes: readonly FieldChange[]): string {
  const fields = changes.slice(0, mostFields).map(({path, from, to}) => `${path} is ${valueText(from, to)}`);
  const more = changes.length - fields.length;
  return `changed by hand: ${fields.join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
}

function valueText(from: Json | undefined, to: Json | undefined): string {
  return `${textOf(from)} instead of ${textOf(to)}`;
}

function textOf(value: Json | undefined): string {
  if (value === undefined) return 'not set';
  const text = maskKeys(JSON.stringify(value));
  return text.length <= longestValue ? text : `${text.slice(0, longestValue - 1)}…`;
}
