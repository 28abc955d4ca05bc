/**
 * Drift: what somebody else than its owner made of a worker. Three are compared, as `kubectl apply` does: what is
 * declared, what the worker was told last, and what it runs. Pure.
 */
import {diffDeclared, flatten} from '../api/hash.js';
import {maskKeys} from '../api/mask.js';
import type {Desired, DriftAction, DriftPolicy, FieldChange, Json} from '../api/types.js';
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
export function isTold(desired: Desired, {told}: Pick<Observed, 'told'>): boolean {
  return told?.specHash === desired.specHash;
}

/** The fields that somebody else changed; none where it runs as told, or where another declaration is to be told. */
export function driftOf(
  desired: Desired,
  observed: Pick<Observed, 'told' | 'running' | 'declared' | 'specHash'>,
  policy: DriftPolicy = 'heal',
): readonly FieldChange[] {
  const {told, running, declared = {}, specHash = ''} = observed;
  if (!told || !isTold(desired, observed)) return [];
  return fieldsOff(told, {specHash, declared, running}).map(change => {
    const action = actionFor(policy, change.path);
    return {
      ...change,
      origin: Object.hasOwn(desired.origins, change.path) ? desired.origins[change.path] : undefined,
      ...(action !== 'heal' && {left: action}),
    };
  });
}

/** What becomes of one that was told to drain, and of every field that the policy doesn't name. */
export function defaultAction(policy: DriftPolicy): DriftAction {
  return typeof policy === 'string' ? policy : policy.default;
}

/** Of the fields of a policy that match `path` the longest counts; a field also stands for what lies below it. */
function actionFor(policy: DriftPolicy, path: string): DriftAction {
  if (typeof policy === 'string') return policy;
  const [longest] = Object.keys(policy.fields)
    .filter(field => (field.endsWith('.*') ? path.startsWith(field.slice(0, -1)) : isWithin(path, field)))
    .sort((a, b) => b.length - a.length);
  return (longest === undefined ? undefined : policy.fields[longest]) ?? policy.default;
}

function isWithin(path: string, field: string): boolean {
  return path === field || path.startsWith(`${field}.`);
}

export const drainedText = 'somebody had it drain: it takes no new chats';

const mostFields = 4;
const longestValue = 40;

/**
 * "changed by hand: model is "m2" instead of "m1"": the same for the same drift.
 *
 * @param revision the commit that declares it, where one does
 */
export function driftText(changes: readonly FieldChange[], revision?: string): string {
  const against = revision === undefined ? '' : ` against revision ${revision.slice(0, 12)}`;
  const fields = changes.slice(0, mostFields).map(({path, from, to}) => `${path} is ${valueText(from, to)}`);
  const more = changes.length - fields.length;
  return `changed by hand${against}: ${fields.join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
}

/** What the policy leaves, and which word of it does. */
export function leftText(left: readonly FieldChange[], policy: DriftPolicy, revision?: string): string {
  return `${driftText(left, revision)} ${leftSo(policyText(left, policy))}`;
}

export function leftSo(policy: string): string {
  return `(left so: driftPolicy is ${policy})`;
}

function policyText(left: readonly FieldChange[], policy: DriftPolicy): string {
  if (typeof policy === 'string') return policy;
  const byAction = (['warn', 'ignore'] as const).flatMap(action => {
    const paths = left.filter(change => change.left === action).map(({path}) => path);
    const more = paths.length > mostFields ? [`${paths.length - mostFields} more`] : [];
    return paths.length === 0 ? [] : [`${action} for ${[...paths.slice(0, mostFields), ...more].join(', ')}`];
  });
  return byAction.join('; ');
}

/** Whether a message of `leftText` tells of a field that the policy wants told of. */
export function tellsOfWarned(message: string, policy: DriftPolicy | undefined): boolean {
  if (policy === undefined || typeof policy === 'string') return policy === 'warn';
  return /\(left so: driftPolicy is warn( for [^()]*)?\)$/.test(message);
}

/** Whether two messages tell of the same drift, though of other revisions that declare the same. */
export function isSameDrift(one: string | undefined, other: string): boolean {
  return one !== undefined && withoutRevision(one) === withoutRevision(other);
}

function withoutRevision(message: string): string {
  return message.replace(/^changed by hand against revision [0-9a-f]+:/, 'changed by hand:');
}

function valueText(from: Json | undefined, to: Json | undefined): string {
  return `${textOf(from)} instead of ${textOf(to)}`;
}

function textOf(value: Json | undefined): string {
  if (value === undefined) return 'not set';
  const text = maskKeys(JSON.stringify(value));
  return text.length <= longestValue ? text : `${text.slice(0, longestValue - 1)}…`;
}
