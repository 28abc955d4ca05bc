/** Conversations over real sockets: what unmodified old clients, scripts and libraries do. */
import {afterEach, describe, expect, it} from '@jest/globals';
import {maxLineBytes, requestTypes} from '../../src/protocol/messages.js';
import {ProviderError} from '../../src/providers/provider.js';
import {bench, until} from './harness.js';
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

/** True once `value` has been the same 25 times in a row. */
function steady(value: () => number): () => boolean {
  let last = Number.NaN;
  let same = 0;
  return () => {
    const now = value();
    same = now === last ? same + 1 : 0;
    last = now;
    return same >= 25;
  };
}

describe('the simple requests', () => {
  it('answers ping, health, info and schema on one connection, in order', async () => {
    const {client, worker} = await start();
    const talk = client().send({type: 'ping'}, {type: 'health'}, {type: 'info'}, {type: 'schema'});
    const pong = await talk.line();
    expect(pong).toEqual({type: 'pong', ai_id: 'athena-ai', uid: 'uid-1', timestamp: expect.any(Number)});
    expect(Math.abs(Number(pong['timestamp']) - Date.now() / 1000)).toBeLessThan(60);
    expect(await talk.line()).toMatchObject({
      type: 'health_response',
      ai_id: 'athena-ai',
      status: 'healthy',
      component: 'athena',
      model: 'hand:m1',
      clients: 1,
    });
    expect(await talk.line()).toMatchObject({
      type: 'info_response',
      ai_id: 'athena-ai',
      component: 'athena',
      description: 'AI specialist for Athena - The Knowledge Weaver: graphs',
      model_provider: 'hand',
      model_name: 'm1',
      system_prompt: `${`You are Athena. ${'Weave. '.repeat(40)}`.slice(0, 200)}...`,
      port: worker.port,
      roles: ['knowledge'],
      capabilities: ['design ontologies'],
      context_window: 8192,
      max_tokens: null,
    });
    const schema = await talk.line();
    expect(schema).toMatchObject({type: 'schema_response', protocol_version: 1});
    expect(Object.keys(schema['requests'] as object).sort()).toEqual([...requestTypes].sort());
  });

  it('counts the connections that are open', async () => {
    const {client} = await start();
    const [first, second] = [client().send({type: 'ping'}), client().send({type: 'ping'})];
    await Promise.all([first.line(), second.line()]);
    expect(await first.send({type: 'health'}).line()).toMatchObject({clients: 2});
    second.close();
    for (;;) if ((await first.send({type: 'health'}).line())['clients'] === 1) break;
  });
});

describe('an old client', () => {
  it('gets a whole reply in one read for content without a type', async () => {
    const {client, provider} = await start();
    const talk = client();
    talk.socket.write('{"content": "hello"}\n');
    (await provider.call(0)).end('I weave knowledge.');
    await until(() => talk.chunks.length > 0, 'a reply');
    expect(JSON.parse(String(talk.chunks[0]))).toEqual({
      type: 'chat_response',
      ai_id: 'athena-ai',
      content: 'I weave knowledge.',
      model: 'hand:m1',
      usage: {input_tokens: 3, output_tokens: 5},
      latency: expect.any(Number),
      stop_reason: 'end',
    });
  });

  it('may end its side after a last line without a newline, and still gets the answer', async () => {
    const {client, provider} = await start();
    const talk = client();
    talk.socket.end('{"type":"ping"}\n{"content":"hello"}');
    const call = await provider.call(0);
    // Long enough for the worker to have looked whether the client is gone.
    await new Promise(resolve => setTimeout(resolve, 200));
    expect(call.signal.aborted).toBe(false);
    call.end('yes');
    await talk.end();
    expect(talk.lines.map(line => line['type'])).toEqual(['pong', 'chat_response']);
  });
});

describe('order', () => {
  it('answers requests without ids in order, however long one takes', async () => {
    const {client, provider} = await start();
    const talk = client().send({content: 'slow'}, {type: 'ping'}, {content: 'quick'});
    const slow = await provider.call(0);
    await expect(client().send({type: 'ping'}).line()).resolves.toMatchObject({type: 'pong'});
    expect(talk.lines).toEqual([]);
    slow.end('one');
    (await provider.call(1)).end('two');
    expect([await talk.line(), await talk.line(), await talk.line()]).toMatchObject([
      {content: 'one'},
      {type: 'pong'},
      {content: 'two'},
    ]);
  });

  it('lets requests with ids overtake', async () => {
    const {client, provider} = await start();
    const talk = client().send(
      {content: 'a', request_id: 'a'},
      {content: 'b', request_id: 2},
      {type: 'ping', request_id: 'p'},
    );
    expect(await talk.line()).toMatchObject({type: 'pong', request_id: 'p'});
    (await provider.call(1)).end('B');
    expect(await talk.line()).toMatchObject({content: 'B', request_id: 2});
    (await provider.call(0)).end('A');
    expect(await talk.line()).toMatchObject({content: 'A', request_id: 'a'});
  });

  it('answers ten thousand requests that come at once, in order', async () => {
    const {client} = await start();
    const talk = client();
    const requests = Array.from({length: 10_000}, (_, i) => (i % 3 === 0 ? '{"type":"ping"}' : 'x'));
    talk.socket.write(`${requests.join('\n')}\n`);
    await until(() => talk.lines.length === 10_000, 'all replies');
    expect(talk.lines.every((line, i) => line['type'] === (i % 3 === 0 ? 'pong' : 'error'))).toBe(true);
  });

  it('refuses a request_id that is in use on the connection', async () => {
    const {client, provider} = await start();
    const talk = client().send({content: 'a', request_id: 'a'}, {content: 'b', request_id: 'a'});
    expect(await talk.line()).toMatchObject({type: 'error', code: 'duplicate_request_id', request_id: 'a'});
    (await provider.call(0)).end('A');
    expect(await talk.line()).toMatchObject({content: 'A'});
  });
});

describe('bad input', () => {
  it('gets an error for each bad line, and the connection lives', async () => {
    const {client} = await start();
    const talk = client();
    talk.socket.write(Buffer.concat([Buffer.from('{nope\n[]\n{}\n{"type":"dance"}\n'), Buffer.from([0xff, 0x0a])]));
    talk.send({type: 'ping'});
    const replies = await Promise.all(Array.from({length: 6}, () => talk.line()));
    expect(replies.map(reply => reply['error'])).toEqual([
      'Invalid JSON',
      'Message must be a JSON object',
      'No content provided',
      'Unknown message type: "dance" (known: ping, health, info, chat, cancel, sessions, session_delete, schema, auth)',
      'Invalid UTF-8',
      undefined,
    ]);
    expect(
      replies.slice(0, 5).every(reply => reply['error'] === reply['message'] && reply['retryable'] === false),
    ).toBe(true);
  });

  it('reads a line of 8 MiB', async () => {
    const {client, provider} = await start();
    provider.answer = {available: true}; // with a window that nobody knows
    const talk = client();
    const shell = '{"content":""}'.length;
    talk.socket.write(`{"content":"${'x'.repeat(maxLineBytes - shell)}"}\n`);
    const call = await provider.call(0);
    expect(call.request.messages[0]?.content.length).toBe(maxLineBytes - shell);
    call.end('long');
    expect(await talk.line()).toMatchObject({content: 'long'});
  });

  it('answers one byte more with an error, then closes, after what came before', async () => {
    const {client, provider} = await start();
    const talk = client().send({content: 'first'});
    talk.socket.write(Buffer.alloc(maxLineBytes + 1, 'x'));
    talk.socket.write('\n{"type":"ping"}\n');
    (await provider.call(0)).end('one');
    await talk.end();
    expect(talk.lines).toMatchObject([{content: 'one'}, {type: 'error', code: 'message_too_long'}]);
    await until(() => {
      talk.socket.end();
      return talk.closed;
    }, 'close');
  });
});

describe('a streaming chat', () => {
  it('sends chunks, then the end with totals', async () => {
    const {client, provider} = await start();
    const talk = client().send({type: 'chat', content: 'hi', stream: true, request_id: 'r1'});
    const call = await provider.call(0);
    call.say('Hel');
    expect(await talk.line()).toEqual({
      type: 'stream_chunk',
      request_id: 'r1',
      content: 'Hel',
      chunk_index: 0,
      metadata: {ai_id: 'athena-ai', model: 'hand:m1'},
    });
    call.end('lo');
    expect(await talk.line()).toMatchObject({content: 'lo', chunk_index: 1});
    expect(await talk.line()).toEqual({
      type: 'stream_end',
      request_id: 'r1',
      metadata: {
        total_chunks: 2,
        total_tokens: 5,
        total_time: expect.any(Number),
        ai_id: 'athena-ai',
        model: 'hand:m1',
        usage: {input_tokens: 3, output_tokens: 5},
        stop_reason: 'end',
      },
    });
  });

  it('ends with an error when the provider fails in the middle', async () => {
    const {client, provider} = await start();
    const talk = client().send({type: 'chat', content: 'hi', stream: true, request_id: 'r1'});
    const call = await provider.call(0);
    call.say('Hel');
    call.fail(new ProviderError('http://127.0.0.1:1 went away', {code: 'provider_unreachable', retryable: true}));
    await talk.line();
    expect(await talk.line()).toEqual({
      type: 'stream_error',
      request_id: 'r1',
      error: 'http://127.0.0.1:1 went away',
      message: 'http://127.0.0.1:1 went away',
      code: 'provider_unreachable',
      retryable: true,
    });
  });

  it('stops at the provider when it is cancelled', async () => {
    const {client, provider} = await start();
    const talk = client().send({type: 'chat', content: 'hi', stream: true, request_id: 'r1'});
    const call = await provider.call(0);
    call.say('Hel');
    await talk.line();
    talk.send({type: 'cancel', request_id: 'r1'});
    expect(await talk.line()).toMatchObject({
      type: 'stream_end',
      request_id: 'r1',
      metadata: {stop_reason: 'cancelled', total_chunks: 1},
    });
    expect(call.signal.aborted).toBe(true);
    expect(await talk.send({type: 'cancel', request_id: 'r1'}).line()).toMatchObject({code: 'unknown_request'});
  });

  it('waits for a client that reads slowly instead of holding the answer in memory', async () => {
    const {client, provider} = await start();
    const talk = client();
    talk.socket.pause();
    talk.send({type: 'chat', content: 'hi', stream: true, request_id: 'r1'});
    const call = await provider.call(0);
    const piece = 'x'.repeat(1024 * 1024);
    const total = 100;
    for (let i = 0; i < total; i++) call.say(piece);
    // The worker takes pieces only as fast as they leave; what the kernel buffers is far less than all.
    await until(
      steady(() => call.waiting),
      'the worker to stop taking pieces',
    );
    expect(total - call.waiting).toBeLessThan(total / 2);
    // Others are served meanwhile.
    expect(await client().send({type: 'ping'}).line()).toMatchObject({type: 'pong'});
    talk.socket.resume();
    call.end();
    await until(() => talk.lines.length === total + 1, 'the whole answer');
    expect(talk.lines.at(-1)).toMatchObject({type: 'stream_end', metadata: {total_chunks: total}});
  });
});

describe('a client that goes away', () => {
  it.each([
    ['while its answer streams', true],
    ['while it waits for a whole answer', false],
  ])('has its provider call stopped %s', async (_, stream) => {
    const {client, provider} = await start();
    const talk = client().send({content: 'hi', stream, request_id: 'r'});
    const call = await provider.call(0);
    talk.close();
    await until(() => call.signal.aborted, 'the abort');
  });

  it('is missed also when it had ended its side first', async () => {
    const {client, provider} = await start();
    const talk = client();
    talk.socket.end('{"content":"hi"}');
    const call = await provider.call(0);
    await until(() => talk.socket.writableFinished, 'the end of what it sends');
    talk.close();
    await until(() => call.signal.aborted, 'the abort');
  });

  it('frees its places in the queue', async () => {
    const {client, provider} = await start({concurrency: {max: 1, queue: 1}});
    const talk = client().send({content: 'runs', request_id: 1}, {content: 'waits', request_id: 2});
    await provider.call(0);
    const other = client();
    await until(() => {
      other.send({type: 'health'});
      return other.lines.some(line => line['queued'] === 1);
    }, 'a queue');
    talk.close();
    await until(() => {
      other.send({type: 'health'});
      return other.lines.at(-1)?.['active'] === 0 && other.lines.at(-1)?.['queued'] === 0;
    }, 'an empty queue');
    expect(provider.calls).toHaveLength(1);
  });
});

describe('a specialist with a token', () => {
  it('serves whoever begins with it', async () => {
    const {client} = await start({authToken: 'secret-token'});
    const talk = client().send({type: 'auth', token: 'secret-token'}, {type: 'ping'});
    expect([await talk.line(), await talk.line()]).toMatchObject([{type: 'auth_response'}, {type: 'pong'}]);
  });

  it.each([
    ['without it', {type: 'ping'}],
    ['with another', {type: 'auth', token: 'secret-tokex'}],
    ['with a bad request', {type: 'dance'}],
    ['with nothing that is a request', []],
  ])('turns away whoever begins %s', async (_, message) => {
    const {client} = await start({authToken: 'secret-token'});
    const talk = client().send(message, {type: 'ping'});
    await talk.end();
    expect(talk.lines).toMatchObject([{type: 'error', code: 'unauthorized'}]);
    expect(talk.text).not.toContain('secret');
  });
});
