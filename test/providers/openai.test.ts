import {afterEach, describe, expect, it, test} from '@jest/globals';
import type {StopReason} from '../../src/providers/provider.js';
import {chatRequest, collect, failureOf, httpProviderContract, never, textOf} from '../contract/provider.js';
import type {ModelServer} from '../fakes/model-server.js';
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

  test.each<[string, StopReason]>([
    ['stop', 'end'],
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
