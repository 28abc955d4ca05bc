import {afterEach, describe, expect, it, test} from '@jest/globals';
import {isSameModel} from '../../src/providers/ollama-models.js';
import {createOllamaProvider} from '../../src/providers/ollama.js';
import type {Provider} from '../../src/providers/provider.js';
import {chatRequest, collect, failureOf, httpProviderContract, never} from '../contract/provider.js';
import type {ModelServer} from '../fakes/model-server.js';
import {startOllama, type FakeModel} from '../fakes/ollama-server.js';
import {provide} from './subjects.js';

const model = 'llama3.3:70b';

httpProviderContract({
  name: 'ollama',
  model,
  start: () => startOllama({models: [model]}),
  provide: (url, more) => provide('ollama', url, more),
  label: url => `Ollama at ${url}`,
  lengthReason: 'length',
});

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

  test.each([
    ['llama3.3', 'llama3.3:latest', true],
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
