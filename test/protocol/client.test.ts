import {afterEach, describe, expect, it} from '@jest/globals';
import {Duplex} from 'node:stream';
import {
  ConnectionLostError,
  RequestFailedError,
  RequestTimeoutError,
  SpecialistConnection,
} from '../../src/protocol/client.js';
import {ControlConnection} from '../../src/protocol/control-client.js';

/** The other end of a stream, in the test's hand. */
class Peer {
  readonly sent: Record<string, unknown>[] = [];
  readonly stream: Duplex;

  constructor() {
    this.stream = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        for (const line of chunk.toString().trimEnd().split('\n')) {
          this.sent.push(JSON.parse(line) as Record<string, unknown>);
        }
        done();
      },
    });
  }

  say(...messages: readonly object[]): void {
    this.stream.push(messages.map(message => `${JSON.stringify(message)}\n`).join(''));
  }

  /** The id that the connection gave to its nth request. */
  id(n: number): unknown {
    return this.sent[n]?.['request_id'] ?? this.sent[n]?.['id'];
  }
}

const pong = {type: 'pong', ai_id: 'athena-ai', timestamp: 1};

describe('SpecialistConnection', () => {
  let peer = new Peer();
  let connection = new SpecialistConnection(peer.stream);
  const renew = (): void => {
    connection.close();
    peer = new Peer();
    connection = new SpecialistConnection(peer.stream);
  };
  afterEach(renew);

  it('matches replies that overtake each other to their requests', async () => {
    const first = connection.request({type: 'ping'});
    const second = connection.request({type: 'info'});
    peer.say({type: 'info_response', ai_id: 'b', request_id: peer.id(1)}, {...pong, request_id: peer.id(0)});
    expect((await first).ai_id).toBe('athena-ai');
    expect((await second).ai_id).toBe('b');
  });

  it('takes replies without ids in the order of the requests, as the predecessor sends them', async () => {
    const first = connection.request({type: 'ping'});
    const second = connection.request({type: 'chat', content: 'hi'});
    peer.say(pong, {type: 'chat_response', ai_id: 'a', content: 'hello'});
    expect((await first).type).toBe('pong');
    expect((await second).content).toBe('hello');
  });

  it('does not give the late reply of a request that timed out to the next one', async () => {
    await expect(connection.request({type: 'ping'}, {timeoutMs: 5})).rejects.toThrow(RequestTimeoutError);
    const second = connection.request({type: 'ping'});
    peer.say({...pong, ai_id: 'late'}, {...pong, ai_id: 'right'});
    expect((await second).ai_id).toBe('right');
  });

  it('rejects with the code of an error reply', async () => {
    const asked = connection.request({type: 'chat', content: 'hi'});
    peer.say({type: 'error', error: 'full', code: 'queue_full', retryable: true, request_id: peer.id(0)});
    const error = await asked.catch((e: unknown) => e);
    expect(error).toBeInstanceOf(RequestFailedError);
    expect(error).toMatchObject({message: 'full', code: 'queue_full', retryable: true});
  });

  it('fails what is under way when the connection ends', async () => {
    const asked = connection.request({type: 'ping'});
    peer.stream.push(null);
    await expect(asked).rejects.toThrow(ConnectionLostError);
    await expect(connection.request({type: 'ping'})).rejects.toThrow(ConnectionLostError);
  });

  it('gives up on a peer that speaks something else', async () => {
    const asked = connection.request({type: 'ping'});
    peer.stream.push('HTTP/1.1 400 Bad Request\r\n\r\n');
    await expect(asked).rejects.toThrow('not the protocol of a specialist');
    await connection.closed;
  });

  it('streams an answer and then gives its metadata', async () => {
    const stream = connection.chat({content: 'hi'});
    const request_id = peer.id(0);
    peer.say(
      {type: 'stream_chunk', request_id, content: 'a', chunk_index: 0, metadata: {}},
      {type: 'stream_chunk', request_id, content: 'b', chunk_index: 1, metadata: {}},
      {type: 'stream_end', request_id, metadata: {total_chunks: 2}},
    );
    const text: string[] = [];
    for await (const chunk of stream) text.push(chunk.content);
    expect(text).toEqual(['a', 'b']);
    expect(await stream.end).toEqual({total_chunks: 2});
    expect(peer.sent).toMatchObject([{type: 'chat', stream: true, content: 'hi'}]);
  });

  it('shows what came before an error, and then throws it', async () => {
    const stream = connection.chat({content: 'hi'});
    const request_id = peer.id(0);
    peer.say(
      {type: 'stream_chunk', request_id, content: 'a', chunk_index: 0, metadata: {}},
      {type: 'stream_error', request_id, error: 'broken', code: 'provider_error'},
    );
    const text: string[] = [];
    const read = async (): Promise<void> => {
      for await (const chunk of stream) text.push(chunk.content);
    };
    await expect(read()).rejects.toThrow('broken');
    await expect(stream.end).rejects.toThrow('broken');
    expect(text).toEqual(['a']);
  });

  it('makes one piece of the whole answer of a specialist that knows no streams', async () => {
    const stream = connection.chat({content: 'hi'});
    peer.say({type: 'chat_response', ai_id: 'a', content: 'hello'});
    const text: string[] = [];
    for await (const chunk of stream) text.push(chunk.content);
    expect(text).toEqual(['hello']);
  });

  it('cancels at the specialist when it is aborted or its iteration is left', async () => {
    const abort = new AbortController();
    const asked = connection.chat({content: 'one'}, {signal: abort.signal});
    abort.abort(new Error('enough'));
    await expect(asked.end).rejects.toThrow('enough');

    const left = connection.chat({content: 'two'});
    peer.say({type: 'stream_chunk', request_id: peer.id(2), content: 'a', chunk_index: 0, metadata: {}});
    for await (const _ of left) break;
    expect(peer.sent.filter(message => message['type'] === 'cancel').map(message => message['request_id'])).toEqual([
      peer.id(0),
      peer.id(2),
    ]);
  });
});

describe('ControlConnection', () => {
  it('matches replies by id and hands notices to listeners until they leave', async () => {
    const peer = new Peer();
    const control = new ControlConnection(peer.stream);
    const notices: unknown[] = [];
    const leave = control.onNotice(notice => notices.push(notice));
    const first = control.request({type: 'subscribe'});
    const second = control.request({type: 'drain', graceMs: 5});
    const notice = {type: 'model-suspect', code: 'timeout'};
    peer.say(notice, {id: peer.id(1), ok: false, error: 'no'}, {id: peer.id(0), ok: true});
    expect((await first).ok).toBe(true);
    expect(await second).toMatchObject({ok: false, error: 'no'});
    leave();
    const third = control.request({type: 'hello'});
    peer.say(notice, {id: peer.id(2), ok: true});
    await third;
    expect(notices).toEqual([notice]);
    control.close();
    await control.closed;
  });

  it('resolves closed, and fails what is under way, when the worker is gone', async () => {
    const peer = new Peer();
    const control = new ControlConnection(peer.stream);
    const asked = control.request({type: 'hello'});
    peer.stream.destroy(new Error('ECONNRESET'));
    await expect(asked).rejects.toThrow(ConnectionLostError);
    await control.closed;
  });
});
