/** Colours, or none: whoever prints asks for a meaning, not for a colour. */
import picocolors from 'picocolors';
import {condition} from '../../api/conditions.js';
import type {Phase, SpecialistStatus} from '../../api/types.js';
import {pullText} from './amounts.js';

export interface Style {
  good(text: string): string;
  bad(text: string): string;
  changed(text: string): string;
  dim(text: string): string;
  bold(text: string): string;
}

export function styleFor(color: boolean): Style {
  const {green, red, yellow, dim, bold} = picocolors.createColors(color);
  return {good: green, bad: red, changed: yellow, dim, bold};
}

/** The phase, or how far its model's download is; of one that a fallback answers for, that too. */
export function stateText({phase, pull, conditions}: SpecialistStatus, style: Style): string {
  if (phase === 'Ready' && condition(conditions, 'Ready')?.reason === 'Fallback') {
    return style.changed('Ready (fallback)');
  }
  return pull && phase === 'NotReady' ? style.changed(pullText(pull)) : phaseText(phase, style);
}

export function phaseText(phase: Phase, style: Style): string {
  switch (phase) {
    case 'Ready':
      return style.good(phase);
    case 'Pending':
    case 'Starting':
    case 'Draining':
      return style.changed(phase);
    case 'NotReady':
    case 'CrashLoop':
    case 'Stalled':
      return style.bad(phase);
    case 'Disabled':
    case 'Stopped':
    case 'Unknown':
      return style.dim(phase);
  }
}
