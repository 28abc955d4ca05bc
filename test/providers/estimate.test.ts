import {describe, expect, it, test} from '@jest/globals';
import {estimateMessageTokens, estimateTextTokens, estimateTokens} from '../../src/providers/estimate.js';
import {chatRequest} from '../contract/provider.js';

/**
 * With the most that one of cl100k (GPT-4), o200k (GPT-4o) and Llama 3's tokenizer makes of it, counted with
 * gpt-tokenizer 3 and llama3-tokenizer-js 1.
 */
const counted: [string, number, string][] = [
  [
    'English',
    42,
    'You are Athena, the knowledge weaver. All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and should act towards one another in a spirit of brotherhood.',
  ],
  [
    'a hurried English message',
    31,
    "hey, can u check why my server isn't starting?? it says EADDRINUSE on 45012 & i've no clue what that means :(",
  ],
  [
    'German',
    44,
    'Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen.',
  ],
  [
    'French',
    50,
    'Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience et doivent agir les uns envers les autres dans un esprit de fraternité.',
  ],
  [
    'Russian',
    74,
    'Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны поступать в отношении друг друга в духе братства.',
  ],
  ['Greek', 76, 'Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.'],
  ['Arabic', 52, 'يولد جميع الناس أحرارا متساوين في الكرامة والحقوق، وقد وهبوا عقلا وضميرا.'],
  ['Chinese', 50, '人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。'],
  ['Japanese', 45, 'すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。'],
  ['Korean', 41, '모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.'],
  [
    'TypeScript',
    65,
    "export function plan(desired: readonly Desired[], observed: readonly Observed[]): readonly Action[] {\n  const names = new Set(desired.map(({aiId}) => aiId));\n  return observed.filter(({aiId}) => !names.has(aiId)).map(observed => ({type: 'prune', observed}));\n}\n",
  ],
  [
    'JSON',
    51,
    '{"type":"object","additionalProperties":false,"properties":{"host":{"type":"string","default":"127.0.0.1"},"port":{"type":"integer","minimum":1024,"maximum":65535}},"required":["host"]}',
  ],
  [
    'a log',
    71,
    '2025-01-01T12:00:00.123Z WARN worker athena-ai pid=4711 port=45012 msg="model not found" retryAfterMs=1500\n2025-01-01T12:00:01.456Z INFO worker athena-ai pid=4711 ready\n',
  ],
  ['numbers', 45, '3.14159, 2.71828, 1.41421, 0.57721, 6.62607, 299792458, 1729, 8128, 65537'],
  ['hexadecimal', 43, '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'],
  ['emoji', 34, '🦉🏛️🎉🚀✅❌🔥💡📦🧠🫠🥲'],
];

describe('an estimate of tokens', () => {
  test.each(counted)('of %s is not below the count of a tokenizer (%d), nor twice as much', (_name, tokens, text) => {
    const estimate = estimateTextTokens(text);
    expect(estimate).toBeGreaterThanOrEqual(tokens);
    expect(estimate).toBeLessThan(2 * tokens);
  });

  it('of nothing is nothing', () => {
    expect(estimateTextTokens('')).toBe(0);
  });

  it('counts all that is sent: prompt, messages, their frames, tool calls, tools and the form of the answer', () => {
    const plain = chatRequest('m', 'What is the weather in Athens?');
    const call = {id: 'c1', name: 'weather', arguments: '{"city":"Athens"}'};
    const more = [
      plain,
      {...plain, system: `${plain.system} You are brief.`},
      {...plain, messages: [...plain.messages, {role: 'assistant' as const, content: ''}]},
      {...plain, messages: [...plain.messages, {role: 'assistant' as const, content: '', toolCalls: [call]}]},
      {...plain, tools: [{name: 'weather', parameters: {type: 'object'}}]},
      {...plain, tools: [{name: 'weather', description: 'Weather of a city, now', parameters: {type: 'object'}}]},
    ].map(estimateTokens);
    expect(more).toEqual([...new Set(more)].sort((a, b) => a - b));
    const schema = {type: 'schema' as const, name: 'x', schema: {type: 'object', properties: {}}};
    expect(estimateTokens({...plain, responseFormat: schema})).toBeGreaterThan(more[0] ?? 0);
  });

  it('of a request is that of its messages and what every request has', () => {
    const messages = [1, 2, 3].map(n => ({role: 'user' as const, content: `message ${n}`}));
    const request = chatRequest('m', '', {system: '', messages});
    const frame = estimateTokens({...request, messages: []});
    const parts = messages.reduce((sum, message) => sum + estimateMessageTokens(message), frame);
    expect(estimateTokens(request)).toBe(Math.ceil(parts));
  });
});
