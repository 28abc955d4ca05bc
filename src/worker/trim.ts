/** Which messages of a conversation may be left out, and in what order, so that what stays is still one. */
import {estimateMessageTokens} from '../providers/estimate.js';
import type {ChatMessage} from '../providers/provider.js';

/** Index of the first message, and of the one behind the last. They go together or stay together. */
interface Unit {
  readonly from: number;
  readonly to: number;
}

/**
 * The conversation without its oldest parts: as few of them as it takes to save `tokens` (by our estimate), or all that
 * may go. Never the user's last message, nor what it is about to be answered from (the last step behind it). What was said
 * goes by exchanges, each from a message of the user up to the next; then, where the model has called tools since the
 * user's last message, by steps: a call and its results. So the rest begins with the user wherever the whole did,
 * speakers take turns as before, and no result of a tool is without its call.
 *
 * @returns undefined where nothing may go
 */
export function trimOldest(messages: readonly ChatMessage[], tokens: number): readonly ChatMessage[] | undefined {
  const left = new Set<number>();
  let saved = 0;
  for (const {from, to} of removableUnits(messages)) {
    if (left.size > 0 && saved >= tokens) break;
    for (let at = from; at < to; at++) {
      left.add(at);
      saved += estimateMessageTokens(messages[at] as ChatMessage); // `at` is an index of it
    }
  }
  return left.size === 0 ? undefined : messages.filter((_, at) => !left.has(at));
}

/** Oldest first. */
function removableUnits(messages: readonly ChatMessage[]): readonly Unit[] {
  const lastUser = messages.findLastIndex(({role}) => role === 'user');
  const exchanges = unitsOf(messages, 'user', {from: 0, to: Math.max(0, lastUser)});
  const steps = unitsOf(messages, 'assistant', {from: lastUser + 1, to: messages.length});
  return [...exchanges, ...steps.slice(0, -1)];
}

/** `range` cut before each message of `role`. */
function unitsOf(messages: readonly ChatMessage[], role: ChatMessage['role'], {from, to}: Unit): readonly Unit[] {
  const starts: number[] = [];
  for (let at = from; at < to; at++) if (at === from || messages[at]?.role === role) starts.push(at);
  return starts.map((start, n) => ({from: start, to: starts[n + 1] ?? to}));
}
