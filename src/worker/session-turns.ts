/** What of a conversation is remembered. */
import type {SessionLimits} from '../api/types.js';
import {estimateMessageTokens} from '../providers/estimate.js';
import type {ChatMessage} from '../providers/provider.js';

/**
 * The conversation `before`, going on with `next`. Tools that a model called and whose results nobody sent are no part of
 * it then: providers refuse a call without its result.
 */
export function goOn(before: readonly ChatMessage[], next: readonly ChatMessage[]): readonly ChatMessage[] {
  const last = before.at(-1);
  const dangling = last?.role === 'assistant' && last.toolCalls !== undefined && next[0]?.role !== 'tool';
  return [...(dangling ? before.slice(0, -1) : before), ...next];
}

/** As many of the newest exchanges, whole ones, as the limits let; none where the last alone is over `maxTokens`. */
export function newestTurns(
  messages: readonly ChatMessage[],
  {maxTurns, maxTokens = Infinity}: Pick<SessionLimits, 'maxTurns' | 'maxTokens'>,
): readonly ChatMessage[] {
  let [from, turns, tokens] = [messages.length, 0, 0];
  for (const [at, message] of [...messages.entries()].reverse()) {
    if (maxTokens !== Infinity) tokens += estimateMessageTokens(message);
    if (message.role === 'user') turns += 1;
    if (tokens > maxTokens || turns > maxTurns) return messages.slice(from);
    if (message.role === 'user') from = at;
  }
  return maxTurns > 0 ? messages : [];
}

/** How much of a conversation there is; `tokens` by estimate. */
export function summaryOf(messages: readonly ChatMessage[]): {readonly turns: number; readonly tokens: number} {
  const tokens = messages.reduce((sum, message) => sum + estimateMessageTokens(message), 0);
  return {turns: countTurns(messages), tokens: Math.ceil(tokens)};
}

/** Exchanges: messages of the user with all that followed. */
function countTurns(messages: readonly ChatMessage[]): number {
  return messages.filter(({role}) => role === 'user').length;
}
