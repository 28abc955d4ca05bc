import {afterEach, describe, expect, it, test} from '@jest/globals';
import {isSameModel} from '../../src/providers/ollama-models.js';
import {createOllamaProvider} from '../../src/providers/ollama.js';
import type {ChatMessage, ChatRequest, Provider, ResponseFormat, ToolChoice} from '../../src/providers/provider.js';
import {chatRequest, collect, failureOf, httpProviderContract, never, textOf} from '../contract/provider.js';
import {athens, conversation, weather} from '../contract/provider-tools.js';
import type {ModelServer} from '../fakes/model-server.js';
import {fakeDigest, startOllama, type FakeModel} from '../fakes/ollama-server.js';
import {provide} from './subjects.js';

const model = 'llama3.3:70b';

httpProviderContract({
  name: 'ollama',
  model,
  start: () => startOllama({models: [model]}),
  provide: (url, more) => provide('ollama', url, more),
  label: url => `Ollama at ${url}`,
  lengthReason: 'length',
  tellsCached: false,
});

const broken: readonly ChatMessage[] = [
  {role: 'assistant', content: '', toolCalls: [{...athens, arguments: '{"city":'}]},
  {role: 'tool', content: '31 °C', toolCallId: 'call_1'},
];

describe('ollama', () => {
  let server: ModelServer | undefined;
  const start = async (models: readonly (string | FakeModel)[], keepAlive?: string): Promise<Provider> => {
    server = await startOllama({models});
    const resolved = {name: 'ollama', type: 'ollama' as const, baseUrl: server.url};
    return createOllamaProvider(keepAlive === undefined ? resolved : {...resolved, keepAlive});
  };
  const chatBody = (index = 0): unknown => server?.requests.filter(({path}) => path === '/api/chat')[index]?.body;
  afterEach(() => server?.close());

  it('sends every parameter under the name that the server knows', async () => {
    const provider = await start([model], '10m');
    const parameters = {temperature: 0.2, topP: 0.9, maxTokens: 100, contextTokens: 16_384, stop: ['END'], seed: 7};
    await collect(provider.chat(chatRequest(model, 'hello', {parameters}), never));
    expect(chatBody()).toEqual({
      model,
      messages: [
        {role: 'system', content: 'You are Athena.'},
        {role: 'user', content: 'hello'},
      ],
      stream: true,
      truncate: false,
      shift: false,
      keep_alive: '10m',
      options: {num_ctx: 16_384, num_predict: 100, temperature: 0.2, top_p: 0.9, stop: ['END'], seed: 7},
    });
    expect(server?.requests).toHaveLength(1);
  });

  test.each<[string, Partial<FakeModel>, number]>([
    ['what its Modelfile asks for', {parameters: 'stop "<|eot_id|>"\nnum_ctx                        4096'}, 4096],
    ['all of it, where it was made for little', {contextLength: 2048}, 2048],
    ['8192, where it could take more memory than there is', {contextLength: 131_072}, 8192],
  ])('gives a model %s as its context', async (_name, shown, tokens) => {
    const provider = await start([{name: model, ...shown}]);
    await collect(provider.chat(chatRequest(model), never));
    await collect(provider.chat(chatRequest(model), never));
    expect(chatBody(1)).toMatchObject({options: {num_ctx: tokens}});
    expect(server?.requests.filter(({path}) => path === '/api/show')).toHaveLength(1);
  });

  test.each([
    ['-1', -1],
    ['300', 300],
    ['5m', '5m'],
  ])('sends keepAlive %s as %j', async (keepAlive, sent) => {
    const provider = await start([model], keepAlive);
    await collect(provider.chat(chatRequest(model), never));
    expect(chatBody()).toMatchObject({keep_alive: sent});
  });

  it('checks any number of models with one request, and says how to get a missing one', async () => {
    const provider = await start(['llama3.3:latest', 'qwen2.5:14b']);
    const checks = await provider.check(['llama3.3', 'qwen2.5:14b', 'phi4'], never);
    expect(Object.fromEntries(checks)).toMatchObject({
      'llama3.3': {available: true},
      'qwen2.5:14b': {available: true},
      phi4: {available: false, reason: 'ModelNotFound', message: expect.stringContaining('`ollama pull phi4`')},
    });
    expect(server?.requests.map(({path}) => path)).toEqual(['/api/tags']);
  });

  it('says how to start a server that is not there', async () => {
    const provider = await start([model]);
    await server?.close();
    const [check] = (await provider.check([model], never)).values();
    expect(check).toEqual({
      available: false,
      reason: 'ProviderUnreachable',
      message: `Ollama at ${server?.url} does not answer (connection refused); start it with \`ollama serve\``,
    });
  });

  it('says what to do about a prompt that does not fit', async () => {
    const provider = await start([model]);
    const message = 'input length (9000 tokens) exceeds the context length (8192)';
    server?.next({refusal: {status: 400, message}});
    const error = await failureOf(provider.chat(chatRequest(model), never));
    expect(error.code).toBe('bad_request');
    expect(error.message).toContain(`${message}; raise parameters.contextTokens`);
  });

  it('takes a line that is not JSON in the middle for a broken answer, not for a hole in it', async () => {
    const provider = await start([model]);
    server?.next({chunks: ['one', 'two'], insertAfter: {chunks: 1, raw: '{"message":{"content":"lost\n'}});
    expect(await failureOf(provider.chat(chatRequest(model), never))).toMatchObject({code: 'provider_error'});
  });

  it('sends tools, their calls and results in its own shape', async () => {
    const provider = await start([model]);
    await collect(provider.chat(chatRequest(model, '', {messages: conversation, tools: [weather]}), never));
    const {description, name, parameters} = weather;
    expect(chatBody()).toMatchObject({
      tools: [{type: 'function', function: {name, description, parameters}}],
      messages: [
        {role: 'system'},
        {role: 'user', content: 'Where is it warmer?'},
        {
          role: 'assistant',
          content: '',
          tool_calls: [
            {id: 'call_1', function: {name: 'weather', arguments: {city: 'Athens — Ἀθῆναι'}}},
            {id: 'call_2', function: {name: 'weather', arguments: {city: 'Rome'}}},
          ],
        },
        {role: 'tool', content: '31 °C', tool_name: 'weather', tool_call_id: 'call_1'},
        {role: 'tool', content: '28 °C', tool_name: 'weather', tool_call_id: 'call_2'},
      ],
    });
  });

  it('gives calls of servers that name none an id of its own each', async () => {
    const provider = await start([model]);
    server?.next({
      chunks: [],
      toolCalls: [
        {...athens, id: ''},
        {...athens, id: ''},
      ],
    });
    const events = await collect(provider.chat(chatRequest(model, 'hi', {tools: [weather]}), never));
    const ids = events.flatMap(event => (event.type === 'tool-call' ? [event.call.id] : []));
    expect(new Set(ids).size).toBe(2);
    expect(ids[0]).toMatch(/^call_[0-9a-f-]{36}$/);
  });

  test.each<[ToolChoice, boolean]>([
    ['auto', true],
    ['none', false],
  ])('tool choice %s: tools are offered? %s', async (toolChoice, offered) => {
    const provider = await start([model]);
    await collect(provider.chat(chatRequest(model, 'hi', {tools: [weather], toolChoice}), never));
    expect(chatBody()).toMatchObject({model});
    expect('tools' in (chatBody() as object)).toBe(offered);
  });

  test.each<[string, Partial<ChatRequest>, string]>([
    ['a demanded call', {tools: [weather], toolChoice: 'required'}, 'cannot be made to call a tool'],
    ['a call that is no JSON', {messages: broken}, 'the arguments of the tool call "weather" are not a JSON object'],
  ])('refuses %s, and sends nothing', async (_name, more, said) => {
    const provider = await start([model]);
    const error = await failureOf(provider.chat(chatRequest(model, 'hi', more), never));
    expect(error).toMatchObject({code: 'bad_request', retryable: false});
    expect(error.message).toContain(said);
    expect(chatBody()).toBeUndefined();
  });

  test.each<[ResponseFormat, unknown]>([
    [{type: 'json'}, 'json'],
    [{type: 'schema', name: 'city', schema: {type: 'object'}}, {type: 'object'}],
  ])('asks for the form %j', async (responseFormat, format) => {
    const provider = await start([model]);
    await collect(provider.chat(chatRequest(model, 'hi', {responseFormat}), never));
    expect(chatBody()).toMatchObject({format});
  });

  describe('with a pinned digest', () => {
    const pin = (digits: string): string => `${model}@sha256:${digits}`;

    test.each([
      ['whole', fakeDigest],
      ['as `ollama list` shows it', fakeDigest.slice(0, 12)],
      ['in capitals', fakeDigest.toUpperCase()],
    ])('%s: the model is there, without a word', async (_name, digits) => {
      const provider = await start([model]);
      expect((await provider.check([pin(digits)], never)).get(pin(digits))).toEqual({
        available: true,
        digest: `sha256:${fakeDigest}`,
      });
    });

    it('that has moved: the model answers, and the check warns and names both', async () => {
      const pinned = pin('b'.repeat(64));
      const provider = await start([model]);
      const check = (await provider.check([pinned], never)).get(pinned);
      expect(check).toMatchObject({available: true, digest: `sha256:${fakeDigest}`});
      expect(check).toHaveProperty('warning', expect.stringContaining(`it is sha256:${fakeDigest.slice(0, 12)}, `));
      expect(check).toHaveProperty('warning', expect.stringContaining('and sha256:bbbbbbbbbbbb was asked for'));
      expect(textOf(await collect(provider.chat(chatRequest(pinned, 'hi'), never)))).toBe('You said: hi');
      const sent = server?.requests.flatMap(({body}) => ('model' in body ? [body['model']] : []));
      expect(new Set(sent)).toEqual(new Set([model]));
    });

    it('that the server does not tell: it says so', async () => {
      const provider = await start([{name: model, digest: ''}]);
      const check = (await provider.check([pin(fakeDigest)], never)).get(pin(fakeDigest));
      expect(check).toMatchObject({available: true, warning: expect.stringContaining('does not tell the digest')});
    });

    it('of a model that is not there: it says how to get it by its name', async () => {
      const provider = await start([]);
      const check = (await provider.check([pin(fakeDigest)], never)).get(pin(fakeDigest));
      expect(check).toMatchObject({reason: 'ModelNotFound', message: expect.stringContaining(`pull ${model}\``)});
    });
  });

  test.each([
    ['llama3.3', 'llama3.3:latest', true],
    ['llama3.3:70b', `llama3.3:70b@sha256:${fakeDigest}`, true],
    ['LLAMA3.3:70B', 'llama3.3:70b', true],
    ['library/llama3.3', 'registry.ollama.ai/library/llama3.3:latest', true],
    ['hf.co/a/b:Q4', 'hf.co/a/b:Q4', true],
    ['llama3.3:70b', 'llama3.3', false],
    ['llama3.3', 'llama3.33', false],
    ['host:5000/a/b', 'host:5000/a/b:latest', true],
  ])('%s and %s: one model? %s', (a, b, same) => {
    expect(isSameModel(a, b)).toBe(same);
  });
});
