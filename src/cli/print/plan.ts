/** A plan as `diff`, `plan` and `apply` print it: all three show the same steps in the same words. */
import {maskKeys} from '../../api/mask.js';
import type {FieldChange, Json, Origin} from '../../api/types.js';
import type {Action, Plan} from '../../reconciler/types.js';
import {qualifiedName} from '../view.js';
import {countText} from './amounts.js';
import {originText} from './origin.js';
import type {Style} from './style.js';

export interface PlanTextOptions {
  readonly style: Style;
  /** Files below it are named relative to it. */
  readonly cwd: string;
}

/** Whether anything is not as declared. */
export function differs(plan: Plan): boolean {
  return plan.actions.some(action => action.type !== 'keep');
}

/** Lines with their ends; the last one is the summary. */
export function planText(plans: readonly Plan[], options: PlanTextOptions): string {
  const steps = plans.flatMap(plan => plan.actions).flatMap(action => actionLines(action, options));
  const held = plans.filter(plan => plan.massPrune).map(plan => massPruneLine(plan, options.style));
  const blank = steps.length === 0 ? [] : [''];
  return [...steps, ...blank, ...held, summary(plans)].map(line => `${line}\n`).join('');
}

/** "Plan: 2 to create, 1 to reconfigure, 3 unchanged." or "No changes." */
export function summary(plans: readonly Plan[]): string {
  const actions = plans.flatMap(plan => plan.actions);
  const count = (type: Action['type']) => actions.filter(action => action.type === type).length;
  const kept = count('keep');
  const parts = verbs.flatMap(([type, words]) => (count(type) === 0 ? [] : [`${count(type)} ${words}`]));
  if (parts.length === 0) {
    if (kept === 0) return 'No changes. Nothing is declared, and nothing runs.';
    return `No changes. ${countText(kept, 'specialist')} ${kept === 1 ? 'is' : 'are'} as declared.`;
  }
  return `Plan: ${[...parts, ...(kept === 0 ? [] : [`${kept} unchanged`])].join(', ')}.`;
}

const byHand = ': it was changed by hand';

const verbs: readonly (readonly [Exclude<Action['type'], 'keep'>, string])[] = [
  ['create', 'to create'],
  ['reconfigure', 'to reconfigure'],
  ['restart', 'to restart'],
  ['leave', 'left as changed by hand'],
  ['stop', 'to stop'],
  ['prune', 'to prune'],
  ['block', 'blocked'],
];

function actionLines(action: Action, options: PlanTextOptions): readonly string[] {
  const {style} = options;
  switch (action.type) {
    case 'create': {
      const {desired, reason} = action;
      const {spec} = desired;
      const what = `${spec.component}, ${spec.provider}:${spec.model}`;
      const because = reason === '' ? '' : `: ${reason}`;
      const overrides = Object.entries(desired.origins)
        .filter(([, origin]) => origin.type === 'env' || origin.type === 'variable')
        .map(([path, origin]) => `      ${path}: ${valueText(desired.declared[path])}${originNote(origin, options)}`);
      return [`${style.good('  + create')} ${qualifiedName(desired)} (${what})${because}`, ...overrides];
    }
    case 'reconfigure':
      return [
        `${style.changed('  ~ reconfigure')} ${qualifiedName(action.desired)}${action.drift ? byHand : ''}`,
        ...action.changes.map(change => changeLine(change, options)),
      ];
    case 'restart':
      return [
        `${style.changed('-/+ restart')} ${qualifiedName(action.desired)} because ${action.reason}`,
        ...action.changes.map(change => changeLine(change, options)),
      ];
    case 'leave':
      return [
        `${style.changed('    left')} ${qualifiedName(action.desired)}: ${action.message}`,
        ...action.changes.map(change => changeLine(change, options)),
      ];
    case 'stop':
      return [`${style.bad('  - stop')} ${qualifiedName(action.desired)}: ${action.reason}`];
    case 'prune':
      return [`${style.bad('  - prune')} ${qualifiedName(action.observed)}`];
    case 'block':
      return [`${style.bad('  ! blocked')} ${qualifiedName(action.desired)}: ${action.reason}: ${action.message}`];
    case 'keep':
      return [];
  }
}

function changeLine({path, from, to, origin, left}: FieldChange, options: PlanTextOptions): string {
  const arrow = options.style.dim('->');
  const until = left ? options.style.dim(` (left so until an apply: driftPolicy is ${left})`) : '';
  return `      ${path}: ${valueText(from)} ${arrow} ${valueText(to)}${originNote(origin, options)}${until}`;
}

const longestValue = 72;

function valueText(value: Json | undefined): string {
  if (value === undefined) return '(not set)';
  const text = maskKeys(JSON.stringify(value));
  return text.length <= longestValue ? text : `${text.slice(0, longestValue - 1)}…`;
}

/** "  (tekton-ai.yaml:12)", "  (ATHENA_AI_MODEL in .env.tekton)" */
function originNote(origin: Origin | undefined, {cwd, style}: PlanTextOptions): string {
  const text = origin === undefined ? '' : originText(origin, cwd);
  return text === '' ? '' : `  ${style.dim(`(${text})`)}`;
}

function massPruneLine({fleet, namespace}: Plan, style: Style): string {
  const name = qualifiedName({name: fleet, namespace});
  return style.bad(`More than half of fleet ${name} would be pruned: that needs --yes.`);
}
