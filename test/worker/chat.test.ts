import {afterEach, describe, expect, it} from '@jest/globals';
import {ProviderError} from '../../src/providers/provider.js';
import type {ProviderErrorCode} from '../../src/providers/provider.js';
import {bench, HandProvider} from './harness.js';
import type {Bench} from './harness.js';

let stop: (() => Promise<void>) | undefined;
afterEach(async () => {
  await stop?.();
  stop = undefined;
});

async function start(...options: Parameters<typeof bench>): Promise<Bench> {
  const made = await bench(...options);
  stop = made.stop;
  return made;
}

describe('what the provider is asked', () => {
  it('is the specialist’s own prompt and parameters', async () => {
    const {client, provider} = await start({parameters: {temperature: 0.5, contextTokens: 9000}});
    client().send({content: 'hi'});
    const {request} = await provider.call(0);
    expect(request).toEqual({
      model: 'm1',
      system: `You are Athena. ${'Weave. '.repeat(40)}`,
      messages: [{role: 'user', content: 'hi'}],
      parameters: {temperature: 0.5, contextTokens: 9000},
    });
  });

  it('is what the request says where it says something', async () => {
    const {client, provider} = await start();
    client().send({
      content: 'and now?',
      history: [
        {role: 'user', content: 'one'},
        {role: 'assistant', content: 'two'},
      ],
      system: 'Be brief.',
      temperature: 0,
      max_tokens: 7,
    });
    const {request} = await provider.call(0);
    expect(request).toMatchObject({
      system: 'Be brief.',
      messages: [{content: 'one'}, {content: 'two'}, {role: 'user', content: 'and now?'}],
      parameters: {temperature: 0, maxTokens: 7},
    });
  });

  it('carries the turns of a session, whatever connection they came on, up to the limit', async () => {
    const {client, provider} = await start({sessions: {maxTurns: 2, idleMinutes: 30, persist: false}});
    for (const n of [0, 1, 2]) {
      const talk = client().send({content: `q${n}`, session: 's'});
      (await provider.call(n)).end(`a${n}`);
      await talk.line();
    }
    client().send({content: 'q3', session: 's'}, {content: 'other', session: 't'});
    const texts = (await provider.call(3)).request.messages.map(message => message.content);
    expect(texts).toEqual(['q1', 'a1', 'q2', 'a2', 'q3']);
    (await provider.call(3)).end('a3');
    expect((await provider.call(4)).request.messages).toHaveLength(1);
  });

  it('does not remember an exchange that failed', async () => {
    const {client, provider} = await start();
    const talk = client().send({content: 'q0', session: 's'});
    (await provider.call(0)).fail(new ProviderError('no', {code: 'provider_error', retryable: false}));
    await talk.line();
    talk.send({content: 'q1', session: 's'});
    expect((await provider.call(1)).request.messages).toHaveLength(1);
  });
});

describe('limits', () => {
  it('lets the declared number of chats run, queues the next, and refuses what is beyond, at once', async () => {
    const {client, provider} = await start({concurrency: {max: 2, queue: 1}});
    const talk = client().send(...[1, 2, 3, 4].map(n => ({content: `${n}`, request_id: n})));
    expect(await talk.line()).toMatchObject({
      type: 'error',
      code: 'queue_full',
      retryable: true,
      request_id: 4,
      error: 'Queue full: 2 chats are under way and 1 are waiting; try again later',
    });
    await provider.call(1);
    expect(provider.calls).toHaveLength(2);
    (await provider.call(0)).end('one');
    expect(await talk.line()).toMatchObject({request_id: 1});
    expect((await provider.call(2)).request.messages[0]?.content).toBe('3');
  });

  it('gives a place back after an error or a cancel', async () => {
    const {client, provider} = await start({concurrency: {max: 1, queue: 0}});
    const talk = client().send({content: 'a', request_id: 'a'});
    (await provider.call(0)).fail(new ProviderError('no', {code: 'bad_request', retryable: false}));
    expect(await talk.line()).toMatchObject({code: 'bad_request'});
    talk.send({content: 'b', request_id: 'b'});
    (await provider.call(1)).say('half');
    talk.send({type: 'cancel', request_id: 'b'});
    expect(await talk.line()).toMatchObject({type: 'chat_response', stop_reason: 'cancelled'});
    talk.send({content: 'c'});
    (await provider.call(2)).end('C');
    expect(await talk.line()).toMatchObject({content: 'C'});
  });
});

describe('failures', () => {
  it.each<[ProviderErrorCode, boolean]>([
    ['provider_unreachable', true],
    ['model_not_found', false],
    ['unauthorized', false],
    ['quota_exceeded', true],
  ])('reach the client as errors with the code %s, never as answers', async (code, retryable) => {
    const {client, provider} = await start();
    const talk = client().send({content: 'hi'});
    (await provider.call(0)).fail(new ProviderError(`it says ${code}`, {code, retryable}));
    const error = `it says ${code}`;
    expect(await talk.line()).toEqual({type: 'error', error, message: error, code, retryable});
  });

  it('of ours are called internal errors, are logged, and leave the connection alive', async () => {
    const logged: string[] = [];
    const {client, provider} = await start({}, {log: (level, message) => logged.push(`${level} ${message}`)});
    const talk = client().send({content: 'hi'}, {type: 'ping'});
    (await provider.call(0)).fail(new TypeError('x is not a function'));
    expect(await talk.line()).toMatchObject({code: 'internal', error: 'internal error: x is not a function'});
    expect(await talk.line()).toMatchObject({type: 'pong'});
    expect(logged).toEqual(['error internal error: x is not a function']);
  });

  it('to load a provider are tried again by the next chat', async () => {
    const provider = new HandProvider();
    let attempts = 0;
    const createProvider = async (): Promise<HandProvider> => {
      if (attempts++ === 0) throw new ProviderError('no module', {code: 'provider_error', retryable: false});
      return provider;
    };
    const {client} = await start({}, {createProvider});
    const talk = client().send({content: 'a'}, {content: 'b'});
    expect(await talk.line()).toMatchObject({error: 'no module'});
    (await provider.call(0)).end('B');
    expect(await talk.line()).toMatchObject({content: 'B'});
  });

  it('for want of a secret name what is missing', async () => {
    const {client, provider} = await start({
      provider: {name: 'anthropic', type: 'anthropic', missingSecret: 'ANTHROPIC_API_KEY'},
    });
    const talk = client().send({content: 'hi'}, {type: 'health'});
    expect(await talk.line()).toMatchObject({
      type: 'error',
      code: 'secret_missing',
      error: expect.stringContaining('ANTHROPIC_API_KEY'),
      retryable: false,
    });
    expect(await talk.line()).toMatchObject({status: 'degraded', reason: 'SecretMissing'});
    expect(provider.calls).toEqual([]);
  });

  it('to say that an answer is over are errors', async () => {
    const {client, provider} = await start();
    const cut = async function* (): AsyncGenerator<never> {};
    provider.chat = cut;
    expect(await client().send({content: 'hi'}).line()).toMatchObject({type: 'error', code: 'internal'});
  });
});

describe('draining', () => {
  it('refuses new chats, finishes those under way and waiting, and still answers the rest', async () => {
    const {client, provider, worker} = await start({concurrency: {max: 1, queue: 1}});
    const talk = client().send({content: 'runs', request_id: 1}, {content: 'waits', request_id: 2});
    await provider.call(0);
    const drained = worker.drain(10_000);
    const other = client().send({content: 'late'}, {type: 'health'}, {type: 'ping'});
    expect(await other.line()).toMatchObject({type: 'error', code: 'draining', retryable: true});
    expect(await other.line()).toMatchObject({status: 'draining'});
    expect(await other.line()).toMatchObject({type: 'pong'});
    (await provider.call(0)).end('one');
    (await provider.call(1)).end('two');
    await drained;
    expect([await talk.line(), await talk.line()]).toMatchObject([{content: 'one'}, {content: 'two'}]);
  });

  it('tells chats that are still under way when the grace is over, and then ends', async () => {
    const {client, provider, worker} = await start();
    const talk = client().send({content: 'endless', stream: true, request_id: 'r'});
    const call = await provider.call(0);
    call.say('some');
    await talk.line();
    await worker.close(1);
    expect(await talk.line()).toMatchObject({type: 'stream_error', code: 'draining', request_id: 'r'});
    expect(call.signal.aborted).toBe(true);
    await talk.end();
    expect(await worker.done).toBe(0);
  });

  it('ends at once when nothing is under way, idle connections or not', async () => {
    const {client, worker} = await start();
    const idle = client();
    await idle.send({type: 'ping'}).line();
    await worker.close(60_000);
    await idle.end();
  });

  it('is cut short when asked again with less grace', async () => {
    const {client, provider, worker} = await start();
    const talk = client().send({content: 'endless'});
    await provider.call(0);
    const first = worker.close(60_000);
    await worker.close(0);
    expect(await talk.line()).toMatchObject({code: 'draining'});
    expect(await worker.done).toBe(0);
    talk.close();
    void first;
  });
});

it('keeps the health of the model from what chats find out', async () => {
  const {client, provider} = await start();
  const talk = client().send({content: 'a'});
  (await provider.call(0)).fail(new ProviderError('gone', {code: 'provider_unreachable', retryable: true}));
  await talk.line();
  expect(await talk.send({type: 'health'}).line()).toMatchObject({
    status: 'degraded',
    reason: 'ProviderUnreachable',
    message: 'gone',
  });
  talk.send({content: 'b'});
  (await provider.call(1)).end('back');
  await talk.line();
  expect(await talk.send({type: 'health'}).line()).toMatchObject({
    status: 'healthy',
    usage: {requests: 1, input_tokens: 3, output_tokens: 5},
  });
  expect(provider.checks).toBe(0);
});
