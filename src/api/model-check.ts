/** What the checks of several models come to for the specialist that they stand behind. */
import type {ModelCheck} from './types.js';

/** Who answers in place of a specialist's own model, and why that one can't. */
export type Fallback = NonNullable<Extract<ModelCheck, {available: true}>['fallback']>;

/** One that is asked in place of a specialist's own model, and what is known of it. */
export interface StandIn {
  /** `provider:model` */
  readonly name: string;
  /** undefined: not checked yet. */
  readonly check: ModelCheck | undefined;
}

/** Whether a chat would be answered: by the specialist's own model (`first`), else by the first fallback that can. */
export function withFallbacks(first: ModelCheck | undefined, standIns: readonly StandIn[]): ModelCheck | undefined {
  if (first === undefined || first.available) return first;
  const by = standIns.find(({check}) => check?.available === true);
  if (by === undefined) return first;
  return {available: true, fallback: {by: by.name, reason: first.reason, message: first.message}};
}

/** For people: "anthropic:claude answers as a fallback, because Ollama at … does not answer". */
export function fallbackText({by, message}: Fallback): string {
  return `${by} answers as a fallback, because ${message}`;
}
