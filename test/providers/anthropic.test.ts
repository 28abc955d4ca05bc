import {afterEach, beforeEach, describe, expect, it, test} from '@jest/globals';
import {createAnthropicProvider} from '../../src/providers/anthropic.js';
import type {StopReason, ToolChoice} from '../../src/providers/provider.js';
import {chatRequest, collect, failureOf, httpProviderContract, never} from '../contract/provider.js';
import {conversation, weather} from '../contract/provider-tools.js';
import {startAnthropic} from '../fakes/anthropic-server.js';
import {sse, type ModelServer} from '../fakes/model-server.js';
import {provide} from './subjects.js';

const model = 'claude-sonnet-5-5';

httpProviderContract({
  name: 'anthropic',
  model,
  start: () => startAnthropic({models: [model]}),
  provide: (url, more) => provide('anthropic', url, more),
  label: url => `Anthropic at ${url}`,
  lengthReason: 'max_tokens',
  tellsCached: true,
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

  it('sends tools, their calls and results in its own shape: the results of one turn in one message', async () => {
    const provider = await provide('anthropic', server.url);
    const messages = [...conversation, {role: 'user' as const, content: 'So?'}];
    await collect(provider.chat(chatRequest(model, '', {messages, tools: [weather]}), never));
    const {description, name, parameters} = weather;
    expect(server.requests[0]?.body).toMatchObject({
      tools: [{name, description, input_schema: parameters}],
      messages: [
        {role: 'user', content: 'Where is it warmer?'},
        {
          role: 'assistant',
          content: [
            {type: 'tool_use', id: 'call_1', name: 'weather', input: {city: 'Athens — Ἀθῆναι'}},
            {type: 'tool_use', id: 'call_2', name: 'weather', input: {city: 'Rome'}},
          ],
        },
        {
          role: 'user',
          content: [
            {type: 'tool_result', tool_use_id: 'call_1', content: '31 °C'},
            {type: 'tool_result', tool_use_id: 'call_2', content: '28 °C'},
          ],
        },
        {role: 'user', content: 'So?'},
      ],
    });
  });

  test.each<[ToolChoice, object]>([
    ['auto', {type: 'auto'}],
    ['none', {type: 'none'}],
    ['required', {type: 'any'}],
    [{name: 'weather'}, {type: 'tool', name: 'weather'}],
  ])('sends the tool choice %j', async (toolChoice, sent) => {
    const provider = await provide('anthropic', server.url);
    await collect(provider.chat(chatRequest(model, 'hi', {tools: [weather], toolChoice}), never));
    expect(server.requests[0]?.body).toMatchObject({tool_choice: sent});
  });

  it('asks for JSON by a schema, and refuses JSON of any kind before anything is sent', async () => {
    const provider = await provide('anthropic', server.url);
    const schema = {type: 'object', properties: {}, additionalProperties: false};
    await collect(
      provider.chat(chatRequest(model, 'hi', {responseFormat: {type: 'schema', name: 'x', schema}}), never),
    );
    expect(server.requests[0]?.body).toMatchObject({output_config: {format: {type: 'json_schema', schema}}});
    const any = chatRequest(model, 'hi', {responseFormat: {type: 'json'}});
    expect(await failureOf(provider.chat(any, never))).toMatchObject({code: 'bad_request'});
    expect(server.requests).toHaveLength(1);
  });

  it('counts the beginning of a tool call as the beginning of the answer', async () => {
    const delta = {type: 'input_json_delta', partial_json: '{'};
    const raw = sse({type: 'content_block_delta', index: 0, delta}, 'content_block_delta');
    server.next({insertAfter: {chunks: 0, raw}, hangAfter: 0});
    const provider = await provide('anthropic', server.url, {timeouts: {idleSeconds: 0.05}});
    const error = await failureOf(provider.chat(chatRequest(model, 'hi', {tools: [weather]}), never));
    expect(error.message).toContain('timeouts.idleSeconds');
  });

  it('has the API count what the model would read, tools included', async () => {
    const provider = await provide('anthropic', server.url);
    const request = chatRequest(model, 'hi', {parameters: {maxTokens: 5, temperature: 0.1}});
    const plain = await provider.countTokens?.(request, never);
    expect(await provider.countTokens?.({...request, tools: [weather]}, never)).toBeGreaterThan(plain ?? Infinity);
    expect(server.requests.map(({path}) => path)).toEqual(Array(2).fill('/v1/messages/count_tokens'));
    expect(Object.keys(server.requests[0]?.body ?? {}).sort()).toEqual(['messages', 'model', 'system']);
  });

  it('tells why a count failed', async () => {
    server.refuse({status: 429, kind: 'rate_limit_error'});
    const provider = await provide('anthropic', server.url);
    await expect(provider.countTokens?.(chatRequest(model), never)).rejects.toMatchObject({code: 'quota_exceeded'});
  });

  test.each<[string, StopReason]>([
    ['end_turn', 'end'],
    ['tool_use', 'tool_calls'],
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
