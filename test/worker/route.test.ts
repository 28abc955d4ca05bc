/** Who answers: the specialist's own model, or a fallback; and what clients are told of it. */
import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import {ProviderError} from '../../src/providers/provider.js';
import type {ProviderErrorCode} from '../../src/providers/provider.js';
import type {Reply} from '../../src/protocol/messages.js';
import {chat} from '../../src/worker/chat.js';
import {silentLog} from '../../src/worker/log.js';
import {Specialist} from '../../src/worker/specialist.js';
import {bench, configOf, HandProvider} from './harness.js';
import type {Bench} from './harness.js';

const own = new Map<string, HandProvider>();
let worker: Bench;
/** Added to the worker's clock, ms. */
let later = 0;

function provider(name: string): HandProvider {
  const found = own.get(name) ?? new HandProvider();
  own.set(name, found);
  return found;
}

async function start(changes: Parameters<typeof bench>[0] = {}): Promise<void> {
  worker = await bench(
    {
      fallback: [
        {provider: {name: 'second', type: 'scripted'}, model: 'm2'},
        {provider: {name: 'third', type: 'scripted'}, model: 'm3'},
      ],
      ...changes,
    },
    {createProvider: async ({name}) => provider(name), now: () => performance.now() + later},
  );
}

beforeEach(async () => {
  own.clear();
  later = 0;
  await start();
});
afterEach(() => worker.stop());

function fault(code: ProviderErrorCode, retryAfterMs?: number): ProviderError {
  const retryable = ['provider_unreachable', 'overloaded', 'timeout'].includes(code);
  return new ProviderError(`${code} it is`, {code, retryable, ...(retryAfterMs !== undefined && {retryAfterMs})});
}

const hello = {type: 'chat', content: 'hello'};

/** The next call of the provider that no call of this has given yet. */
const taken = new WeakMap<HandProvider, number>();
async function next(name: string) {
  const of = provider(name);
  const n = taken.get(of) ?? 0;
  taken.set(of, n + 1);
  return of.call(n);
}

describe('a fallback', () => {
  it.each([
    'provider_unreachable',
    'overloaded',
    'provider_error',
    'timeout',
    'model_not_found',
    'unauthorized',
    'quota_exceeded',
    'secret_missing',
  ] as const)('is asked on %s, with its own model, and the reply says so', async code => {
    const client = worker.client().send(hello);
    (await next('hand')).fail(fault(code));
    const call = await next('second');
    expect(call.request).toMatchObject({model: 'm2', messages: [{role: 'user', content: 'hello'}]});
    call.end('from the second');
    expect(await client.line()).toMatchObject({
      type: 'chat_response',
      content: 'from the second',
      model: 'second:m2',
      fallback: {from: 'hand:m1', reason: code},
    });
    expect(provider('third').calls).toEqual([]);
  });

  it('of a stream is named in its pieces and its end', async () => {
    const client = worker.client().send({...hello, stream: true, request_id: 'r'});
    (await next('hand')).fail(fault('overloaded'));
    (await next('second')).fail(fault('overloaded'));
    (await next('third')).end('hi');
    expect(await client.line()).toMatchObject({type: 'stream_chunk', metadata: {model: 'third:m3'}});
    expect(await client.line()).toMatchObject({
      type: 'stream_end',
      metadata: {model: 'third:m3', fallback: {from: 'hand:m1', reason: 'overloaded'}},
    });
  });

  it('is not asked for what is the fault of the request', async () => {
    const client = worker.client().send(hello);
    (await next('hand')).fail(fault('bad_request'));
    expect(await client.line()).toMatchObject({type: 'error', code: 'bad_request'});
    expect(provider('second').calls).toEqual([]);
  });

  it('is not asked once a piece of the answer has come', async () => {
    const client = worker.client().send({...hello, stream: true, request_id: 'r'});
    const call = await next('hand');
    call.say('half an');
    expect(await client.line()).toMatchObject({type: 'stream_chunk', content: 'half an'});
    call.fail(fault('provider_error'));
    expect(await client.line()).toMatchObject({type: 'stream_error', code: 'provider_error'});
    expect(provider('second').calls).toEqual([]);
  });

  it('is not asked for a client that has cancelled', async () => {
    const client = worker.client().send({...hello, stream: true, request_id: 'r'});
    await next('hand');
    client.send({type: 'cancel', request_id: 'r'});
    expect(await client.line()).toMatchObject({type: 'stream_end', metadata: {stop_reason: 'cancelled'}});
    expect(provider('second').calls).toEqual([]);
  });

  it('is asked at once for a prompt that is too long for the model itself', async () => {
    await worker.stop();
    provider('hand').answer = {available: true, contextTokens: 2048};
    provider('second').answer = {available: true, contextTokens: 131_072};
    await start();
    const client = worker.client().send({...hello, content: 'word '.repeat(8_000)});
    (await next('second')).end('it fits');
    expect(await client.line()).toMatchObject({
      content: 'it fits',
      fallback: {from: 'hand:m1', reason: 'context_length_exceeded'},
    });
    expect(provider('hand').calls).toEqual([]);
  });
});

describe('when nobody answers', () => {
  it('the error is that of the first, with the names of the others', async () => {
    const client = worker.client().send(hello);
    (await next('hand')).fail(fault('provider_unreachable'));
    (await next('second')).fail(fault('unauthorized'));
    (await next('third')).fail(fault('overloaded'));
    expect(await client.line()).toMatchObject({
      type: 'error',
      code: 'provider_unreachable',
      retryable: true,
      error: 'provider_unreachable it is; no fallback answers either: second:m2 (unauthorized), third:m3 (overloaded)',
    });
  });

  it('the next chats fail at once, with a hint when to try again', async () => {
    const client = worker.client();
    for (let n = 0; n < 3; n++) {
      client.send(hello);
      (await next('hand')).fail(fault('provider_unreachable', 20_000));
      (await next('second')).fail(fault('overloaded', 30_000));
      (await next('third')).fail(fault('overloaded', 10_000));
      await client.line();
      later += 60_000;
    }
    later -= 60_000;
    const reply = await client.send(hello).line();
    expect(reply).toMatchObject({code: 'provider_unreachable', retryable: true});
    expect(reply['retry_after']).toBeGreaterThan(5);
    expect(reply['retry_after']).toBeLessThanOrEqual(10);
    expect(provider('hand').calls).toHaveLength(3);
  });
});

it('says of a model that was passed over nothing to its owner, who would look at it for each such chat', async () => {
  const failing = new HandProvider();
  const options = {createProvider: async () => failing, log: silentLog, now: () => 0};
  const specialist = new Specialist({config: configOf(), uid: 'u', ...options});
  const suspects: string[] = [];
  specialist.onSuspect(code => suspects.push(code));
  const replies: Reply[] = [];
  const send = (reply: Reply): undefined => void replies.push(reply);
  const chatOnce = (): Promise<void> =>
    chat(specialist, {type: 'chat', content: 'hello'}, {send, stop: new AbortController()});
  for (let n = 0; n < 3; n++) {
    const asked = chatOnce();
    (await failing.call(n)).fail(fault('provider_error'));
    await asked;
  }
  specialist.model.ownerSays({available: true});
  await chatOnce();
  expect(replies).toHaveLength(4);
  expect(replies[3]).toMatchObject({
    type: 'error',
    code: 'provider_error',
    error: expect.stringMatching(/^hand:m1 failed too often and is asked again in [\d.]+ s; its last failure: /),
  });
  expect(failing.calls).toHaveLength(3);
  expect(suspects).toEqual(['provider_error', 'provider_error', 'provider_error']);
  expect(specialist.model.known).toEqual({available: true});
});

describe('a model that failed three times in a row', () => {
  beforeEach(async () => {
    const client = worker.client();
    for (let n = 0; n < 3; n++) {
      client.send(hello);
      (await next('hand')).fail(fault('provider_error'));
      (await next('second')).end('s');
      expect(await client.line()).toMatchObject({content: 's'});
    }
  });

  it('is passed over, and the reply says why', async () => {
    const client = worker.client().send(hello);
    (await next('second')).end('s');
    expect(await client.line()).toMatchObject({fallback: {from: 'hand:m1', reason: 'provider_error'}});
    expect(provider('hand').calls).toHaveLength(3);
  });

  it('is asked again by one chat after a while, and answers all when that worked', async () => {
    later += 2_000;
    const client = worker.client().send(hello);
    const probe = await next('hand');
    const other = worker.client().send(hello);
    (await next('second')).end('s');
    expect(await other.line()).toMatchObject({content: 's'});
    probe.end('back');
    const reply = await client.line();
    expect(reply).toMatchObject({content: 'back', model: 'hand:m1'});
    expect(reply).not.toHaveProperty('fallback');
    client.send(hello);
    (await next('hand')).end('again');
    expect(await client.line()).toMatchObject({content: 'again'});
  });

  it('is asked by all again from the first piece of that answer on, however long it takes', async () => {
    later += 2_000;
    const slow = worker.client().send({...hello, stream: true, request_id: 1});
    const probe = await next('hand');
    probe.say('well');
    expect(await slow.line()).toMatchObject({type: 'stream_chunk', content: 'well'});
    const other = worker.client().send(hello);
    (await next('hand')).end('at once');
    expect(await other.line()).toMatchObject({content: 'at once', model: 'hand:m1'});
    probe.end();
    expect(await slow.line()).toMatchObject({type: 'stream_end'});
  });

  it('is forgotten to have failed when it is another model', async () => {
    expect((await worker.client().send({type: 'health'}).line())['status']).toBe('healthy');
    await worker.stop();
    await start({fallback: []});
    const client = worker.client().send(hello);
    (await next('hand')).end('fresh');
    expect(await client.line()).toMatchObject({content: 'fresh'});
  });
});

describe('health', () => {
  it('is healthy while a fallback answers, and names it', async () => {
    provider('hand').answer = {available: false, reason: 'ProviderUnreachable', message: 'nobody there'};
    provider('second').answer = {available: false, reason: 'Unauthorized', message: 'no'};
    expect(await worker.client().send({type: 'health'}).line()).toMatchObject({
      status: 'healthy',
      reason: 'Fallback',
      message: 'nobody there',
      model: 'hand:m1',
      fallback: {by: 'third:m3', reason: 'ProviderUnreachable'},
    });
  });

  it('hears of a fallback from a chat', async () => {
    const client = worker.client().send({type: 'health'});
    expect(await client.line()).not.toHaveProperty('fallback');
    client.send(hello);
    (await next('hand')).fail(fault('provider_unreachable'));
    (await next('second')).end('s');
    await client.line();
    expect(await client.send({type: 'health'}).line()).toMatchObject({
      status: 'healthy',
      fallback: {by: 'second:m2', reason: 'ProviderUnreachable'},
    });
  });

  it('is degraded when nobody would answer', async () => {
    const answer = {available: false, reason: 'ProviderUnreachable', message: 'nobody there'} as const;
    for (const name of ['hand', 'second', 'third']) provider(name).answer = answer;
    const reply = await worker.client().send({type: 'health'}).line();
    expect(reply).toMatchObject({status: 'degraded', reason: 'ProviderUnreachable', message: 'nobody there'});
  });
});

describe('slots of a provider', () => {
  const limited = {provider: {name: 'hand', type: 'scripted', maxConcurrency: 1}} as const;

  beforeEach(async () => {
    await worker.stop();
    await start({...limited, fallback: []});
  });

  it('are waited for no longer than the queue allows', async () => {
    await worker.stop();
    await start({...limited, fallback: [], concurrency: {max: 4, queue: 4, queueSeconds: 0.05}});
    worker.client().send(hello);
    await next('hand');
    const second = worker.client().send(hello);
    expect(await second.line()).toMatchObject({code: 'queue_timeout', retryable: true, retry_after: 1});
    expect(provider('hand').calls).toHaveLength(1);
  });

  it('are held to the end of an answer, and health counts who waits', async () => {
    const first = worker.client().send(hello);
    const call = await next('hand');
    const second = worker.client().send(hello);
    const watcher = worker.client();
    for (;;) {
      watcher.send({type: 'health'});
      if ((await watcher.line())['waiting'] === 1) break;
    }
    call.end('one');
    expect(await first.line()).toMatchObject({content: 'one'});
    (await next('hand')).end('two');
    expect(await second.line()).toMatchObject({content: 'two'});
    expect(provider('hand').calls).toHaveLength(2);
  });

  it('come free when a call fails, or its client leaves', async () => {
    const failing = worker.client().send(hello);
    (await next('hand')).fail(fault('provider_error'));
    await failing.line();
    const leaving = worker.client().send(hello);
    await next('hand');
    leaving.close();
    const client = worker.client().send(hello);
    (await next('hand')).end('at last');
    expect(await client.line()).toMatchObject({content: 'at last'});
  });
});
