import {describe, expect, it, test} from '@jest/globals';
import {looksLikeKey, maskKeys, maskLine, namesSecret} from '../../src/api/mask.js';

// Put together here, so that no scanner takes this file for a leak.
const keys = {
  anthropic: `sk-ant-api03-${'aB3'.repeat(10)}`,
  openai: `sk-${'a1B2'.repeat(8)}`,
  github: `ghp_${'a1B2'.repeat(9)}`,
  aws: `AKIA${'ABCD'.repeat(4)}`,
  google: `AIza${'a1B2_'.repeat(7)}`,
  huggingFace: `hf_${'aBcD'.repeat(8)}`,
  slack: `xoxb-${'1234567890'.repeat(2)}`,
  jwt: `eyJ${'hbGci'.repeat(4)}.${'eyJzd'.repeat(4)}.sig`,
};

test.each(Object.entries(keys))('a key of %s is known as one and never printed', (_, key) => {
  expect(looksLikeKey(`my ${key}`)).toBe(true);
  for (const mask of [maskKeys, maskLine]) {
    const masked = mask(`model: "${key}"`);
    expect(masked).toBe(`model: "${'*'.repeat(key.length)}"`);
  }
});

test.each([
  'llama3.3:70b',
  'claude-sonnet-4-5',
  'The Knowledge Weaver',
  'http://127.0.0.1:11434',
  'risk-averse',
  'task-list-of-things',
])('%s is no key and is printed as it is', text => {
  expect(looksLikeKey(text)).toBe(false);
  expect(maskLine(`model: ${text}`)).toBe(`model: ${text}`);
});

describe('maskLine', () => {
  test.each([
    ['apiKey: hunter2', 'apiKey: *******'],
    ['  token: "abc"', '  token: *****'],
    ['{type: openai, api_key: abc}', '{type: openai, api_key: ****'],
    ['DB_PASSWORD=abc', 'DB_PASSWORD=***'],
    ['apiKey: { env: LAB_KEY }', 'apiKey: { env: LAB_KEY }'],
    ['apiKey: {file: ./lab.key}', 'apiKey: {file: ./lab.key}'],
    ['apiKey:', 'apiKey:'],
    ['maxTokens: 2048', 'maxTokens: 2048'],
    ['baseUrl: http://me:pw@host/v1', 'baseUrl: http://*****@host/v1'],
    ['baseUrl: http://host/v1?api_key=abc&x=1', 'baseUrl: http://host/v1?api_key=*******'],
    [`x: ${'0123456789abcdef'.repeat(3)}`, `x: ${'*'.repeat(48)}`],
    [`x: ${'aB3/'.repeat(12)}==`, `x: ${'*'.repeat(50)}`],
  ])('%s shows as %s', (line, shown) => {
    expect(maskLine(line)).toBe(shown);
    expect(shown).toHaveLength(line.length);
  });
});

it('knows the names of secrets from those of sizes', () => {
  expect(['apiKey', 'HF_TOKEN', 'password', 'DB_PASSWD', 'clientSecret', 'AWS_ACCESS_KEY'].every(namesSecret)).toBe(
    true,
  );
  expect(['maxTokens', 'contextTokens', 'keepAlive', 'monkey', 'model'].some(namesSecret)).toBe(false);
});
