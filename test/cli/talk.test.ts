import {describe, expect, test} from '@jest/globals';
import {answerText, fromReply, isLess} from '../../src/cli/talk.js';
import {athena, numa} from './samples.js';

describe('the line about an answer', () => {
  const reply = {request_id: 1, type: 'chat_response', ai_id: 'athena-ai', content: 'hi'} as const;
  const usual = fromReply({...reply, model: 'ollama:big', usage: {input_tokens: 1, output_tokens: 4}, latency: 2.14});
  const from = {from: 'lab:big', reason: 'unreachable'};

  test.each([
    ['says who it is from', athena, usual, 'athena answered with ollama:big (4 tokens, 2.1 s)', false],
    ['says the namespace', numa, usual, 'lab/numa answered with ollama:big (4 tokens, 2.1 s)', false],
    [
      'says that it is a fallback’s, which is always worth a line',
      athena,
      {...usual, fallback: from},
      'athena answered with ollama:big (4 tokens, 2.1 s), as a fallback for lab:big (unreachable)',
      true,
    ],
    [
      'says what was left out, which is always worth a line',
      athena,
      {...usual, trimmed: 2},
      'athena answered with ollama:big (4 tokens, 2.1 s), without the oldest 2 messages',
      true,
    ],
  ])('%s', (_, view, answer, text, less) => {
    expect(answerText(view, answer)).toBe(text);
    expect(isLess(answer)).toBe(less);
  });
});
