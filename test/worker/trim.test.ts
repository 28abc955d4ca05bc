import {describe, expect, it, test} from '@jest/globals';
import fc from 'fast-check';
import {estimateMessageTokens} from '../../src/providers/estimate.js';
import type {ChatMessage} from '../../src/providers/provider.js';
import {trimOldest} from '../../src/worker/trim.js';

/** `u` a user's message, `a` an answer, `c` one that calls tools, `t` a result for the last call. */
function conversation(shape: string): ChatMessage[] {
  return [...shape].map((letter, at): ChatMessage => {
    const content = `${letter}${at}`;
    switch (letter) {
      case 'u':
        return {role: 'user', content};
      case 'c':
        return {role: 'assistant', content, toolCalls: [{id: `${at}`, name: 'look', arguments: '{}'}]};
      case 't':
        return {role: 'tool', content, toolCallId: `${Math.max(shape.lastIndexOf('c', at), 0)}`};
      default:
        return {role: 'assistant', content};
    }
  });
}

function shapeOf(messages: readonly ChatMessage[] | undefined): string | undefined {
  return messages?.map(({content}) => content).join(' ');
}

describe('trimming', () => {
  test.each([
    ['an exchange as a whole', 'uauau', 1, 'u2 a3 u4'],
    ['a tool call with its results and what came of it', 'uctctauau', 1, 'u6 a7 u8'],
    ['an answer that nobody asked for first', 'auau', 1, 'u1 a2 u3'],
    ['one of two messages of the user in a row', 'uuau', 1, 'u1 a2 u3'],
    ['all but the last message, if need be', 'uauau', 1e6, 'u4'],
    ['steps behind the last message, when nothing else is left, but not the last', 'uauctctct', 1e6, 'u2 c7 t8'],
    ['a step with all of its results', 'ucttct', 1, 'u0 c4 t5'],
  ])('leaves out %s', (_, shape, tokens, left) => {
    expect(shapeOf(trimOldest(conversation(shape), tokens))).toBe(left);
  });

  test.each([
    ['the last message of the user alone', 'u'],
    ['a call that waits for its answer', 'uct'],
    ['nothing', ''],
  ])('leaves %s', (_, shape) => {
    expect(trimOldest(conversation(shape), 1)).toBeUndefined();
  });

  it('saves what is asked for with as little as possible, in order, and leaves a conversation', () => {
    const exchange = fc.constantFrom('ua', 'ucta', 'uctctta', 'u');
    const end = fc.constantFrom('u', 'uct', 'uctct', 'ucttctct');
    const sized = fc.tuple(fc.array(exchange, {maxLength: 8}), end, fc.array(fc.nat(200), {minLength: 1}), fc.nat(500));
    fc.assert(
      fc.property(sized, ([exchanges, last, sizes, save]) => {
        const messages = conversation(exchanges.join('') + last).map((message, at) => ({
          ...message,
          content: message.content + ' word'.repeat(sizes[at % sizes.length] ?? 0),
        }));
        const left = trimOldest(messages, save);
        if (left === undefined) return expect(messages.filter(({role}) => role === 'user')).toHaveLength(1);
        // In order: what is left is the whole without some.
        expect(messages.filter(message => left.includes(message))).toEqual(left);
        expect(left).toContain(messages.findLast(({role}) => role === 'user'));
        expect(left.at(-1)).toBe(messages.at(-1));
        expectConversation(left);
        const gone = messages.filter(message => !left.includes(message));
        const all = left.length === lengthOfLastStep(messages);
        if (!all) expect(tokensOf(gone)).toBeGreaterThanOrEqual(save);
        // Without the last part that went it would not have been enough.
        const user = messages.findLast(({role}) => role === 'user');
        const isStep = messages.indexOf(gone.at(-1) as ChatMessage) > messages.indexOf(user as ChatMessage);
        const fewer = gone.slice(
          0,
          gone.findLastIndex(({role}) => role === (isStep ? 'assistant' : 'user')),
        );
        if (fewer.length > 0) expect(tokensOf(fewer)).toBeLessThan(save);
      }),
      {numRuns: 300},
    );
  });
});

/** Begins with the user, no two answers in a row, each result directly behind the call that it belongs to. */
function expectConversation(messages: readonly ChatMessage[]): void {
  expect(messages[0]?.role).toBe('user');
  messages.forEach((message, at) => {
    const before = messages[at - 1];
    if (message.role === 'assistant') expect(before?.role).not.toBe(undefined);
    if (message.role === 'assistant' && before?.role === 'assistant') expect(before.toolCalls).toBeDefined();
    if (message.role !== 'tool') return;
    const call = messages.slice(0, at).findLast(({role}) => role === 'assistant');
    expect(call).toMatchObject({toolCalls: [{id: message.toolCallId}]});
    expect(['assistant', 'tool']).toContain(before?.role);
  });
}

function lengthOfLastStep(messages: readonly ChatMessage[]): number {
  const user = messages.findLastIndex(({role}) => role === 'user');
  const step = messages.findLastIndex(({role}) => role === 'assistant');
  return step < user ? 1 : 1 + messages.length - step;
}

function tokensOf(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, message) => sum + estimateMessageTokens(message), 0);
}
