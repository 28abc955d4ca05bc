import {afterEach, beforeEach, describe, expect, it, test} from '@jest/globals';
import {createAnthropicProvider} from '../../src/providers/anthropic.js';
import type {StopReason} from '../../src/providers/provider.js';
import {chatRequest, collect, failureOf, httpProviderContract, never} from '../contract/provider.js';
import {startAnthropic} from '../fakes/anthropic-server.js';
import type {ModelServer} from '../fakes/model-server.js';
import {provide} from './subjects.js';

const model = 'claude-sonnet-5-5';

httpProviderContract({
  name: 'anthropic',
  model,
  start: () => startAnthropic({models: [model]}),
  provide: (url, more) => provide('anthropic', url, more),
  label: url => `Anthropic at ${url}`,
  lengthReason: 'max_tokens',
});

describe('anthropic', () => {
  let server: ModelServer;
  beforeEach(async () => {
    server = await startAnthropic({models: [model, 'claude-opus-5-5'], retired: ['claude-2']});
  });
  afterEach(() => server.close());

  it('sends the system prompt so that it can be cached, and a token limit', async () => {
    const provider = await provide('anthropic', server.url);
    await collect(provider.chat(chatRequest(model, 'hello', {parameters: {stop: ['END'], seed: 7}}), never));
    expect(server.requests[0]?.body).toEqual({
      model,
      max_tokens: 4096,
      stream: true,
      stop_sequences: ['END'],
      system: [{type: 'text', text: 'You are Athena.', cache_control: {type: 'ephemeral'}}],
      messages: [{role: 'user', content: 'hello'}],
    });
  });

  it('sends no system block without a system prompt: the API refuses empty ones', async () => {
    const provider = await provide('anthropic', server.url);
    await collect(provider.chat(chatRequest(model, 'hello', {system: ''}), never));
    expect(server.requests[0]?.body).not.toHaveProperty('system');
  });

  it('speaks the API version that knows sampling parameters only where one is declared', async () => {
    const provider = await provide('anthropic', server.url);
    await collect(provider.chat(chatRequest(model), never));
    await collect(provider.chat(chatRequest(model, 'hello', {parameters: {temperature: 0.2, topP: 0.9}}), never));
    const [plain, sampled] = server.requests;
    expect(plain?.headers['anthropic-version']).not.toBe('2023-06-01');
    expect(plain?.body).not.toHaveProperty('temperature');
    expect(sampled?.headers['anthropic-version']).toBe('2023-06-01');
    expect(sampled?.body).toMatchObject({temperature: 0.2, top_p: 0.9});
  });

  test.each<[string, StopReason]>([
    ['end_turn', 'end'],
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['stop_sequence', 'stop'],
    ['refusal', 'refusal'],
    ['pause_turn', 'end'],
    ['something_new', 'end'],
  ])('stop reason %s means %s', async (stopReason, told) => {
    server.next({stopReason});
    const events = await collect((await provide('anthropic', server.url)).chat(chatRequest(model), never));
    expect(events.at(-1)).toMatchObject({type: 'end', stopReason: told});
  });

  test.each([
    ['overloaded_error', {code: 'overloaded', retryable: true, status: 529}],
    ['rate_limit_error', {code: 'quota_exceeded', retryable: true, status: 429}],
    ['authentication_error', {code: 'unauthorized', retryable: false}],
    ['billing_error', {code: 'quota_exceeded', retryable: false}],
    ['invalid_request_error', {code: 'bad_request', retryable: false}],
  ])('%s in the middle of a stream is told as if it had been the reply', async (kind, failure) => {
    server.next({chunks: ['one', 'two'], errorAfter: {chunks: 1, kind, message: 'sorry'}});
    const provider = await provide('anthropic', server.url);
    expect(await failureOf(provider.chat(chatRequest(model), never))).toMatchObject(failure);
  });

  it('asks about each model once, and tells how much it reads', async () => {
    const provider = await provide('anthropic', server.url);
    const checks = await provider.check([model, 'claude-opus-5-5', model, 'claude-2'], never);
    expect(Object.fromEntries(checks)).toMatchObject({
      [model]: {available: true, contextTokens: 200_000},
      'claude-opus-5-5': {available: true},
      'claude-2': {available: false, reason: 'ModelNotFound', message: expect.stringContaining('retired')},
    });
    expect(server.requests.map(({method}) => method)).toEqual(['GET', 'GET', 'GET']);
  });

  it('asks no further once the key has been refused', async () => {
    server.refuse({status: 401, kind: 'authentication_error', message: 'invalid x-api-key'});
    const provider = await provide('anthropic', server.url);
    const checks = await provider.check([model, 'claude-opus-5-5'], never);
    expect([...checks.values()].map(check => !check.available && check.reason)).toEqual([
      'Unauthorized',
      'Unauthorized',
    ]);
    expect(server.requests).toHaveLength(1);
  });

  test.each([
    ['which variable to set', {missingSecret: 'ANTHROPIC_API_KEY'}, 'set ANTHROPIC_API_KEY'],
    ['that none is declared', {}, 'an apiKey for provider "claude"'],
  ])('says %s where there is no key, and sends nothing', async (_name, more, said) => {
    const baseUrl = 'missingSecret' in more ? {baseUrl: server.url} : {};
    const provider = createAnthropicProvider({name: 'claude', type: 'anthropic', ...baseUrl, ...more});
    const [check] = (await provider.check([model], never)).values();
    expect(check).toMatchObject({available: false, reason: 'SecretMissing', message: expect.stringContaining(said)});
    expect(await failureOf(provider.chat(chatRequest(model), never))).toMatchObject({code: 'secret_missing'});
    expect(server.requests).toHaveLength(0);
  });
});
