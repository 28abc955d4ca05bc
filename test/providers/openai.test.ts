import {afterEach, describe, expect, it, test} from '@jest/globals';
import type {ResponseFormat, StopReason, ToolCall, ToolChoice} from '../../src/providers/provider.js';
import {chatRequest, collect, failureOf, httpProviderContract, never, textOf} from '../contract/provider.js';
import {athens, conversation, rome, weather} from '../contract/provider-tools.js';
import {sse, type ModelServer} from '../fakes/model-server.js';
import {startOpenAi} from '../fakes/openai-server.js';
import {provide} from './subjects.js';

const model = 'qwen2.5-coder';

httpProviderContract({
  name: 'openai',
  model,
  start: () => startOpenAi({models: [model]}),
  provide: (url, more) => provide('openai', `${url}/v1`, more),
  label: url => `provider "lab" at ${url}/v1`,
  lengthReason: 'length',
  tellsCached: true,
});

describe('openai', () => {
  let server: ModelServer;
  const start = async (models?: readonly string[]) => {
    server = await startOpenAi(models === undefined ? {} : {models});
    return provide('openai', `${server.url}/v1`);
  };
  afterEach(() => server.close());

  it('sends every parameter under the name that compatible servers know, and asks for the usage', async () => {
    const provider = await start([model]);
    const parameters = {temperature: 0.2, topP: 0.9, maxTokens: 100, stop: ['END'], seed: 7};
    await collect(provider.chat(chatRequest(model, 'hello', {parameters}), never));
    expect(server.requests[0]?.body).toEqual({
      model,
      messages: [
        {role: 'system', content: 'You are Athena.'},
        {role: 'user', content: 'hello'},
      ],
      stream: true,
      stream_options: {include_usage: true},
      max_tokens: 100,
      temperature: 0.2,
      top_p: 0.9,
      stop: ['END'],
      seed: 7,
    });
  });

  it('sends tools, their calls and results in its own shape', async () => {
    const provider = await start([model]);
    await collect(provider.chat(chatRequest(model, '', {messages: conversation, tools: [weather]}), never));
    const {description, name, parameters} = weather;
    const call = ({id, name, arguments: text}: ToolCall) => ({id, type: 'function', function: {name, arguments: text}});
    expect(server.requests[0]?.body).toMatchObject({
      tools: [{type: 'function', function: {name, description, parameters}}],
      messages: [
        {role: 'system'},
        {role: 'user', content: 'Where is it warmer?'},
        {role: 'assistant', content: null, tool_calls: [call(athens), call(rome)]},
        {role: 'tool', tool_call_id: 'call_1', content: '31 °C'},
        {role: 'tool', tool_call_id: 'call_2', content: '28 °C'},
      ],
    });
  });

  test.each<[ToolChoice, unknown]>([
    ['auto', 'auto'],
    ['none', 'none'],
    ['required', 'required'],
    [{name: 'weather'}, {type: 'function', function: {name: 'weather'}}],
  ])('sends the tool choice %j', async (toolChoice, sent) => {
    const provider = await start([model]);
    await collect(provider.chat(chatRequest(model, 'hi', {tools: [weather], toolChoice}), never));
    expect(server.requests[0]?.body).toMatchObject({tool_choice: sent});
  });

  test.each<[ResponseFormat, object]>([
    [{type: 'json'}, {type: 'json_object'}],
    [
      {type: 'schema', name: 'city', schema: {type: 'object'}},
      {type: 'json_schema', json_schema: {name: 'city', schema: {type: 'object'}}},
    ],
  ])('asks for the form %j', async (responseFormat, sent) => {
    const provider = await start([model]);
    await collect(provider.chat(chatRequest(model, 'hi', {responseFormat}), never));
    expect(server.requests[0]?.body).toMatchObject({response_format: sent});
  });

  it('hears thinking under the other name, too', async () => {
    server = await startOpenAi({models: [model], thinkingField: 'reasoning'});
    const provider = await provide('openai', `${server.url}/v1`);
    server.next({thinking: ['Hm.'], chunks: ['So.']});
    const events = await collect(provider.chat(chatRequest(model), never));
    expect(events[0]).toEqual({type: 'thinking', text: 'Hm.'});
  });

  test.each<[string, readonly object[]]>([
    [
      'whole, without index',
      [
        {id: 'call_1', function: athens},
        {id: 'call_2', function: rome},
      ],
    ],
    [
      'by indexes with gaps',
      [
        {index: 3, id: 'call_1', function: athens},
        {index: 1_000_000_000, id: 'call_2', function: rome},
      ],
    ],
    [
      'with the id in every piece',
      [
        {index: 0, id: 'call_1', function: {name: 'weather', arguments: ''}},
        {index: 0, id: 'call_1', function: {arguments: athens.arguments}},
        {index: 1, id: 'call_2', function: rome},
      ],
    ],
  ])('puts calls together that come %s, also behind a finish reason of "stop"', async (_name, calls) => {
    const provider = await start([model]);
    const raw = calls.map(call => sse({model, choices: [{index: 0, delta: {tool_calls: [call]}}]})).join('');
    server.next({chunks: [], insertAfter: {chunks: 0, raw}, stopReason: 'stop'});
    const events = await collect(provider.chat(chatRequest(model, 'hi', {tools: [weather]}), never));
    expect(events).toMatchObject([
      {type: 'tool-call', call: athens},
      {type: 'tool-call', call: rome},
      {type: 'end', stopReason: 'tool_calls'},
    ]);
  });

  it('counts the beginning of a tool call as the beginning of the answer', async () => {
    server = await startOpenAi({models: [model]});
    const provider = await provide('openai', `${server.url}/v1`, {timeouts: {idleSeconds: 0.05}});
    const piece = {index: 0, id: 'call_1', function: {name: 'weather', arguments: '{'}};
    const raw = sse({model, choices: [{index: 0, delta: {tool_calls: [piece]}}]});
    server.next({insertAfter: {chunks: 0, raw}, hangAfter: 0});
    const error = await failureOf(provider.chat(chatRequest(model, 'hi', {tools: [weather]}), never));
    expect(error.message).toContain('timeouts.idleSeconds');
  });

  it('tells the context window of servers that list it', async () => {
    server = await startOpenAi({models: [model], maxModelLen: 32_768});
    const provider = await provide('openai', `${server.url}/v1`);
    expect((await provider.check([model], never)).get(model)).toEqual({available: true, contextTokens: 32_768});
  });

  test.each<[string, StopReason]>([
    ['stop', 'end'],
    ['tool_calls', 'tool_calls'],
    ['length', 'length'],
    ['content_filter', 'refusal'],
    ['eos_token', 'end'],
  ])('finish reason %s means %s', async (stopReason, told) => {
    const provider = await start([model]);
    server.next({stopReason});
    expect((await collect(provider.chat(chatRequest(model), never))).at(-1)).toMatchObject({stopReason: told});
  });

  it('checks any number of models with one request', async () => {
    const provider = await start([model, 'phi4']);
    const checks = await provider.check([model, 'phi4', 'nobody'], never);
    expect([...checks.values()].map(check => check.available)).toEqual([true, true, false]);
    expect(server.requests.map(({path}) => path)).toEqual(['/v1/models']);
  });

  it('takes a server without a list of models at its word', async () => {
    const provider = await start();
    expect(await provider.check([model], never)).toEqual(new Map([[model, {available: true}]]));
    expect(textOf(await collect(provider.chat(chatRequest(model, 'hi'), never)))).toBe('You said: hi');
  });

  it('keeps an answer that is whole, though the connection breaks before the usage', async () => {
    const provider = await start([model]);
    const closing = {choices: [{index: 0, delta: {}, finish_reason: 'stop'}], model};
    server.next({
      chunks: ['one'],
      insertAfter: {chunks: 1, raw: `data: ${JSON.stringify(closing)}\n\n`},
      breakAfter: 1,
    });
    // `breakAfter` of the same count comes first, so the closing part goes in front of the only chunk.
    expect(await failureOf(provider.chat(chatRequest(model), never))).toMatchObject({code: 'provider_error'});
    server.next({
      chunks: ['one', 'two'],
      insertAfter: {chunks: 1, raw: `data: ${JSON.stringify(closing)}\n\n`},
      breakAfter: 2,
    });
    const events = await collect(provider.chat(chatRequest(model), never));
    expect(events.map(event => event.type)).toEqual(['text', 'text', 'end']);
  });

  it('needs the key that was declared', async () => {
    await start([model]);
    const provider = await provide('openai', `${server.url}/v1`, {
      apiKey: undefined,
      missingSecret: 'LAB_KEY',
    } as object);
    expect((await provider.check([model], never)).get(model)).toMatchObject({reason: 'SecretMissing'});
    expect(server.requests).toHaveLength(0);
  });
});
