/** How a review's parts read, in every format alike. */
import {qualifiedName} from '../view.js';
import type {Review, ReviewedAction, ReviewedChange, ReviewedFleet, ReviewedOrigin, ReviewedProblem} from './review.js';

/** How much a step asks for a look: what interrupts or ends something does, what can't be done more so. */
export type Level = 'note' | 'warning' | 'error';

export function levelOf({type}: ReviewedAction): Level {
  switch (type) {
    case 'create':
    case 'reconfigure':
    case 'keep':
      return 'note';
    case 'restart':
    case 'leave':
    case 'stop':
    case 'prune':
      return 'warning';
    case 'block':
      return 'error';
  }
}

/** All but what stays as it is. */
export function stepsOf(fleet: ReviewedFleet): readonly ReviewedAction[] {
  return fleet.actions.filter(({type}) => type !== 'keep');
}

/** "restart hermes: a running worker cannot change its env.A (env.A: (not set) -> "b")" */
export function stepText(action: ReviewedAction): string {
  const why = action.why === undefined ? '' : `: ${action.why}`;
  const changes = action.changes.map(changeText).join('; ');
  return visible(`${action.type} ${qualifiedName(action)}${why}${changes === '' ? '' : ` (${changes})`}`);
}

const longestValue = 72;

export function changeText({path, from, to}: ReviewedChange): string {
  return `${path}: ${short(from)} -> ${short(to)}`;
}

function short(value: ReviewedChange['to']): string {
  if (value === undefined) return '(not set)';
  const text = visible(JSON.stringify(value));
  return text.length <= longestValue ? text : `${text.slice(0, longestValue - 1)}…`;
}

/** "tekton-ai.yaml:12", "ATHENA_AI_MODEL in .env.tekton" */
export function originText({type, file, line, variable}: ReviewedOrigin): string {
  const place = file === undefined ? '' : line === undefined ? file : `${file}:${line}`;
  switch (type) {
    case 'file':
      return place;
    case 'base':
    case 'patch':
      return `${type}, ${place}`;
    case 'fleet-default':
      return `defaults, ${place}`;
    case 'env':
      return place === '' ? (variable ?? '') : `${variable ?? ''} in ${place}`;
    case 'variable':
      return `${variable ?? ''}, ${place}`;
    case 'built-in':
      return 'built-in';
  }
}

export function problemText({message, hint}: ReviewedProblem): string {
  return visible(hint === undefined ? message : `${message} (${hint})`);
}

export function massPruneText(fleet: ReviewedFleet): string {
  return `more than half of fleet ${qualifiedName(fleet)} would be pruned: that needs --yes`;
}

/** "plan against main (ae5780b1c2d3)" */
export function titleOf({verb, against}: Review): string {
  return against === undefined ? verb : `${verb} against ${against.name}`;
}

/** Characters that show as nothing, or turn the text round, as their escapes; line ends stay. */
export function visible(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, found =>
    found === '\n' ? found : `\\u${(found.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}
