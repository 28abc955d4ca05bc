/** What `diff`, `plan` and `validate` found, for tools: one shape from which every format is written. */
import path from 'node:path';
import {describeError, exitCodes, InvalidInputError} from '../../api/errors.js';
import type {TektonError} from '../../api/errors.js';
import {maskKeys, namesSecret} from '../../api/mask.js';
import type {FieldChange, Json, LoadedFleet, Origin} from '../../api/types.js';
import {recordId} from '../../reconciler/desired.js';
import type {Action, Plan} from '../../reconciler/types.js';
import {countText} from '../print/amounts.js';
import {variablesText} from '../print/origin.js';
import {differs, summary} from '../print/plan.js';

/** Version of the JSON; a field that is added leaves it as it is. specs/review.schema.json describes it. */
export const reviewVersion = 1;

export interface Review {
  readonly kind: 'Review';
  readonly formatVersion: typeof reviewVersion;
  readonly verb: 'diff' | 'plan' | 'validate';
  /** The other side of `--against`. */
  readonly against?: {readonly name: string; readonly commit?: string};
  /** false: there are problems, and no plan could be made. */
  readonly valid: boolean;
  /** Whether anything would be done. */
  readonly differs: boolean;
  readonly summary: string;
  readonly counts: Readonly<Record<Action['type'], number>>;
  readonly fleets: readonly ReviewedFleet[];
  readonly problems: readonly ReviewedProblem[];
  /** What a person should know beside it. */
  readonly remarks: readonly string[];
}

export interface ReviewedFleet {
  readonly name: string;
  readonly namespace: string;
  /** How many specialists it declares; 0 where only the other side declares it. */
  readonly specialists: number;
  /** More than half of it would be pruned: that needs `--yes`. */
  readonly massPrune: boolean;
  readonly place?: Place;
  readonly actions: readonly ReviewedAction[];
}

export interface ReviewedAction {
  readonly type: Action['type'];
  readonly name: string;
  readonly namespace: string;
  readonly aiId: string;
  readonly component: string;
  /** What it is to run with: `provider:model`. Absent of what is pruned. */
  readonly model?: string;
  readonly why?: string;
  readonly place?: Place;
  readonly changes: readonly ReviewedChange[];
}

export interface ReviewedChange {
  readonly path: string;
  /** Absent: it was not declared, or is no longer. */
  readonly from?: Json;
  readonly to?: Json;
  /** Where `to` comes from. */
  readonly origin?: ReviewedOrigin;
  /** Changed by hand, and left so by the fleet's drift policy until an apply. */
  readonly left?: FieldChange['left'];
}

export interface ReviewedOrigin extends Partial<Place> {
  readonly type: Origin['type'];
  readonly variable?: string;
}

export interface ReviewedProblem {
  readonly message: string;
  readonly hint?: string;
  /** Absent where it is in no file of this work tree. */
  readonly place?: Place;
  /** The source line, masked. */
  readonly excerpt?: string;
}

/** From the top of the repository, with `/`; absolute where it lies outside. Lines and columns count from 1. */
export interface Place {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
}

/** Names places; see `placesIn`. */
export type PlaceOf = (file: string, line?: number, column?: number) => Place | undefined;

export interface ReviewOptions {
  readonly verb: Review['verb'];
  readonly placeOf: PlaceOf;
}

export interface PlansOptions extends ReviewOptions {
  readonly plans: readonly Plan[];
  readonly fleets: readonly LoadedFleet[];
  readonly remarks: readonly string[];
  readonly against?: Review['against'];
}

/** Of a plan for each fleet; of `validate`, without one. */
export function reviewOf({verb, plans, fleets, remarks, against, placeOf}: PlansOptions): Review {
  const reviewed =
    verb === 'validate'
      ? fleets.map(fleet => fleetOf({...fleet, fleet: fleet.name, actions: [], massPrune: false}, fleets, placeOf))
      : plans.map(plan => fleetOf(plan, fleets, placeOf));
  const specialists = fleets.reduce((sum, fleet) => sum + fleet.specialists.length, 0);
  const {length} = fleets;
  const valid = `${countText(length, 'fleet')} ${length === 1 ? 'is' : 'are'} valid: ${countText(specialists, 'specialist')}.`;
  return {
    ...head(verb, verb === 'validate' ? valid : summary(plans)),
    ...(against && {against}),
    valid: true,
    differs: plans.some(differs),
    counts: countsOf(plans),
    fleets: reviewed,
    problems: [],
    remarks: remarks.map(maskKeys),
  };
}

/** Of input that is wrong, or can't be read. */
export function reviewOfError(error: TektonError, {verb, placeOf}: ReviewOptions): Review {
  const problems =
    error instanceof InvalidInputError
      ? error.problems.map((problem): ReviewedProblem => {
          const {file, line, column, message, hint, excerpt} = problem;
          const place = placeOf(file, line, column);
          return {
            message: maskKeys(place ? message : `${file}:${line}:${column}: ${message}`),
            ...(hint !== undefined && {hint: maskKeys(hint)}),
            ...(place && {place}),
            ...(excerpt !== undefined && {excerpt}),
          };
        })
      : [{message: maskKeys(describeError(error)), ...(error.hint !== undefined && {hint: maskKeys(error.hint)})}];
  const count = `Invalid input: ${countText(problems.length, 'problem')}.`;
  return {
    ...head(verb, error.exitCode === exitCodes.invalidInput ? count : 'Failed: no plan could be made.'),
    valid: false,
    differs: false,
    counts: countsOf([]),
    fleets: [],
    problems: problems.toSorted(byPlace),
    remarks: [],
  };
}

function head(verb: Review['verb'], text: string) {
  return {kind: 'Review', formatVersion: reviewVersion, verb, summary: text} as const;
}

function countsOf(plans: readonly Plan[]): Review['counts'] {
  const types = ['create', 'reconfigure', 'restart', 'leave', 'stop', 'prune', 'block', 'keep'] as const;
  const actions = plans.flatMap(plan => plan.actions);
  const counts = types.map(type => [type, actions.filter(action => action.type === type).length] as const);
  return Object.fromEntries(counts) as Record<Action['type'], number>; // all of them are there
}

function fleetOf(
  {namespace, fleet: name, actions, massPrune}: Plan,
  fleets: readonly LoadedFleet[],
  placeOf: PlaceOf,
): ReviewedFleet {
  const loaded = fleets.find(one => recordId(one) === recordId({namespace, name}));
  const place = loaded?.files[0] === undefined ? undefined : placeOf(loaded.files[0]);
  return {
    name,
    namespace,
    specialists: loaded?.specialists.length ?? 0,
    massPrune,
    ...(place && {place}),
    actions: actions.map(action => {
      const own = actionOf(action, placeOf);
      return own.place === undefined && place ? {...own, place} : own;
    }),
  };
}

function actionOf(action: Action, placeOf: PlaceOf): ReviewedAction {
  if (action.type === 'prune') {
    const {aiId, name, namespace, component} = action.observed;
    return {type: 'prune', aiId, name, namespace, component, why: 'it is no longer declared', changes: []};
  }
  const {aiId, name, namespace, spec, origins, declared} = action.desired;
  const changes = changesOf(action).map(change => changeOf(change, placeOf));
  const places = [...changes.map(({origin}) => origin), originOf(origins['component'], placeOf)];
  const found = places.find(origin => origin?.file !== undefined);
  const why = whyOf(action);
  return {
    ...{type: action.type, aiId, name, namespace, component: spec.component},
    model: `${spec.provider}:${spec.model}`,
    ...(why !== undefined && {why: maskKeys(why)}),
    ...(found?.file !== undefined && {place: {file: found.file, ...(found.line !== undefined && {line: found.line})}}),
    changes: action.type === 'create' ? overrides(declared, origins, placeOf) : changes,
  };
}

function changesOf(action: Exclude<Action, {type: 'prune'}>): readonly FieldChange[] {
  return 'changes' in action ? action.changes : [];
}

/** Of what is new, only what the environment says: the rest stands in the file. */
function overrides(
  declared: Readonly<Record<string, Json>>,
  origins: Readonly<Record<string, Origin>>,
  placeOf: PlaceOf,
): readonly ReviewedChange[] {
  return Object.entries(origins)
    .filter(([, origin]) => origin.type === 'env' || origin.type === 'variable')
    .map(([field, origin]) => changeOf({path: field, from: undefined, to: declared[field], origin}, placeOf));
}

function whyOf(action: Exclude<Action, {type: 'prune'}>): string | undefined {
  switch (action.type) {
    case 'create':
    case 'restart':
    case 'stop':
      return action.reason === '' ? undefined : action.reason;
    case 'reconfigure':
      return action.drift ? 'it was changed by hand' : undefined;
    case 'leave':
      return action.message;
    case 'block':
      return `${action.reason}: ${action.message}`;
    case 'keep':
      return undefined;
  }
}

function changeOf({path: field, from, to, origin, left}: FieldChange, placeOf: PlaceOf): ReviewedChange {
  const reviewed = originOf(origin, placeOf);
  return {
    path: field,
    ...(from !== undefined && {from: masked(from, field)}),
    ...(to !== undefined && {to: masked(to, field)}),
    ...(reviewed && {origin: reviewed}),
    ...(left && {left}),
  };
}

function originOf(origin: Origin | undefined, placeOf: PlaceOf): ReviewedOrigin | undefined {
  if (origin === undefined) return undefined;
  const place =
    'file' in origin && origin.file !== undefined
      ? placeOf(origin.file, 'line' in origin ? origin.line : undefined)
      : undefined;
  return {
    type: origin.type,
    ...(origin.type === 'env' && {variable: origin.variable}),
    ...(origin.type === 'variable' && {variable: variablesText(origin.variables)}),
    ...place,
  };
}

/** Without what looks like a key, and whole where a field's name says that it is one. */
function masked(value: Json, name: string): Json {
  if (typeof value === 'string') {
    return namesSecret(name.split('.').at(-1) ?? '') ? '*'.repeat(8) : maskKeys(value);
  }
  if (value === null || typeof value !== 'object') return value;
  if (isList(value)) return value.map(item => masked(item, name));
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, masked(field, key)]));
}

/** Array.isArray doesn't narrow readonly arrays out of a union. */
function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}

function byPlace(a: ReviewedProblem, b: ReviewedProblem): number {
  const [left, right] = [a.place, b.place];
  return (
    compare(left?.file ?? '', right?.file ?? '') ||
    (left?.line ?? 0) - (right?.line ?? 0) ||
    (left?.column ?? 0) - (right?.column ?? 0) ||
    compare(a.message, b.message)
  );
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/**
 * Places as tools want them: relative to `top`, the repository's. What is no file there has none (standard input, a
 * variable, a file of the other side).
 */
export function placesIn(top: string, cwd: string, exists: (file: string) => boolean): PlaceOf {
  return (file, line, column) => {
    const absolute = path.resolve(cwd, file);
    if (!exists(absolute)) return undefined;
    const below = path.relative(top, absolute);
    const isOutside = below.startsWith('..') || path.isAbsolute(below);
    return {
      file: isOutside ? absolute : below.split(path.sep).join('/'),
      ...(line !== undefined && {line}),
      ...(column !== undefined && {column}),
    };
  };
}
