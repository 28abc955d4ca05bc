/** Speaks to one specialist over any stream: a TCP connection, or whatever a runtime's `connect` gives. */
import type {Duplex} from 'node:stream';
import {TektonError} from '../api/errors.js';
import {encode, LineDecoder} from './codec.js';
import {parseReply} from './messages.js';
import type {
  ChatMessageRequest,
  ErrorReply,
  Reply,
  ReplyTo,
  Request,
  RequestId,
  StreamChunkReply,
  StreamEndMetadata,
} from './messages.js';

/** The specialist answered with an error; `code` is the protocol's. */
export class RequestFailedError extends TektonError {
  override readonly name = 'RequestFailedError';
  readonly code: string;
  readonly retryable: boolean;

  constructor(reply: ErrorReply) {
    super(reply.error);
    this.code = reply.code;
    this.retryable = reply.retryable;
  }
}

/** The connection broke, was closed, or carried something that is no reply of this protocol. */
export class ConnectionLostError extends TektonError {
  override readonly name = 'ConnectionLostError';
}

export class RequestTimeoutError extends TektonError {
  override readonly name = 'RequestTimeoutError';
}

export interface RequestOptions {
  readonly signal?: AbortSignal;
  /** Absent: waits for as long as the connection lives. */
  readonly timeoutMs?: number;
}

type WithoutId<T> = T extends Request ? Omit<T, 'request_id'> : never;

/** Everything but `cancel`, which abandoning a chat sends by itself. The connection chooses the ids. */
export type OutgoingRequest = WithoutId<Exclude<Request, {type: 'cancel'}>>;
export type OutgoingChat = Omit<ChatMessageRequest, 'request_id' | 'stream' | 'type'>;

/** Iterate it once, to its end; the metadata of `stream_end` is there afterwards. */
export interface ChatStream extends AsyncIterable<StreamChunkReply> {
  /** Resolves with the end of the answer. Rejects as the iteration does; not looking at it is fine. */
  readonly end: Promise<StreamEndMetadata>;
}

type Outcome = {readonly metadata: StreamEndMetadata} | {readonly error: Error};

interface Waiting {
  readonly id: RequestId;
  /** @returns whether more replies belong to the request. */
  receive(reply: Reply): boolean;
  fail(error: Error): void;
}

export class SpecialistConnection {
  /** Resolves when the connection is over, however it ended. */
  readonly closed: Promise<void>;
  readonly #stream: Duplex;
  readonly #decoder = new LineDecoder();
  /** In the order of the requests: specialists of the predecessor echo no ids and answer in this order. */
  readonly #waiting = new Map<RequestId, Waiting>();
  #lost: ConnectionLostError | undefined;
  #nextId = 1;

  /** Takes the stream over: nobody else may read it. */
  constructor(stream: Duplex) {
    this.#stream = stream;
    this.closed = new Promise(resolve => stream.once('close', () => resolve()));
    stream.on('data', (chunk: Uint8Array) => this.#receive(this.#decoder.push(chunk)));
    stream.on('end', () => {
      this.#receive(this.#decoder.end());
      this.#lose(new ConnectionLostError('the specialist closed the connection'));
    });
    stream.on('error', cause => this.#lose(new ConnectionLostError('connection to the specialist failed', {cause})));
    stream.on('close', () => this.#lose(new ConnectionLostError('the connection is closed')));
  }

  /**
   * One request, one reply; many may be under way at once. Giving up on a chat also stops it at the specialist.
   *
   * @throws {RequestFailedError} when the reply is an error
   * @throws {RequestTimeoutError} after `timeoutMs`
   * @throws {ConnectionLostError}
   * @throws the signal's reason
   */
  request<T extends OutgoingRequest>(message: T, options: RequestOptions = {}): Promise<ReplyTo[T['type']]> {
    return new Promise((resolve, reject) => {
      const expected = replyTypes[message.type];
      const stop = this.#send(message, options, {
        receive: reply => {
          stop();
          if (reply.type === 'error' || reply.type === 'stream_error') reject(new RequestFailedError(reply));
          // The type of the reply decides its shape: parseReply has checked it.
          else if (reply.type === expected) resolve(reply as ReplyTo[T['type']]);
          else reject(new ConnectionLostError(`expected ${expected}, got ${reply.type}`));
          return false;
        },
        fail: reject,
      });
    });
  }

  /** One chat, answered piece by piece. Leaving the iteration early, or aborting, stops it at the specialist. */
  chat(message: OutgoingChat, options: RequestOptions = {}): ChatStream {
    const chunks: StreamChunkReply[] = [];
    let wake: (() => void) | undefined;
    let outcome: Outcome | undefined;
    let settle: (how: Outcome) => void = () => undefined;
    const end = new Promise<StreamEndMetadata>((resolve, reject) => {
      settle = how => ('metadata' in how ? resolve(how.metadata) : reject(how.error));
    });
    end.catch(() => undefined);
    const finish = (how: Outcome): boolean => {
      outcome ??= how;
      settle(outcome);
      wake?.();
      return false;
    };

    const stop = this.#send({...message, type: 'chat', stream: true}, options, {
      receive: reply => {
        if (reply.type === 'stream_chunk') {
          chunks.push(reply);
          wake?.();
          return true;
        }
        stop();
        if (reply.type === 'stream_end') return finish({metadata: reply.metadata});
        if (reply.type === 'error' || reply.type === 'stream_error') {
          return finish({error: new RequestFailedError(reply)});
        }
        if (reply.type === 'chat_response') {
          // A specialist of the predecessor knows no streams: its whole answer is the one piece.
          chunks.push({type: 'stream_chunk', content: reply.content, chunk_index: 0, metadata: {}});
          return finish({metadata: metadataOf(reply)});
        }
        return finish({error: new ConnectionLostError(`expected a stream, got ${reply.type}`)});
      },
      fail: error => void finish({error}),
    });

    const iterate = async function* (): AsyncGenerator<StreamChunkReply> {
      try {
        for (;;) {
          const chunk = chunks.shift();
          if (chunk !== undefined) yield chunk;
          else if (outcome === undefined) await new Promise<void>(resolve => (wake = resolve));
          else if ('error' in outcome) throw outcome.error;
          else return;
        }
      } finally {
        if (outcome === undefined) stop(new ConnectionLostError('the answer was abandoned'));
      }
    };
    return {[Symbol.asyncIterator]: iterate, end};
  }

  /** Ends the connection; requests under way fail with ConnectionLostError. */
  close(): void {
    this.#lose(new ConnectionLostError('the connection was closed'));
    this.#stream.destroy();
  }

  /**
   * Sends and registers. The result, called without a reason, clears timer and listener; with one, it also gives
   * the request up.
   */
  #send(
    message: OutgoingRequest,
    {signal, timeoutMs}: RequestOptions,
    waiting: Omit<Waiting, 'id'>,
  ): (reason?: Error) => void {
    if (this.#lost !== undefined || signal?.aborted === true) {
      waiting.fail(this.#lost ?? reasonOf(signal));
      return () => undefined;
    }
    const id = `c${this.#nextId++}`;
    const stop = (reason?: Error): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      if (reason === undefined || !this.#waiting.has(id)) return;
      // Its reply may still come, and without an id it must not be taken for another's.
      this.#waiting.set(id, {id, receive: reply => reply.type === 'stream_chunk', fail: () => undefined});
      if (message.type === 'chat') this.#stream.write(encode({type: 'cancel', request_id: id}));
      waiting.fail(reason);
    };
    const abort = (): void => stop(reasonOf(signal));
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(
            () => stop(new RequestTimeoutError(`no reply to ${message.type} within ${timeoutMs} ms`)),
            timeoutMs,
          );
    signal?.addEventListener('abort', abort, {once: true});
    this.#waiting.set(id, {
      id,
      receive: reply => waiting.receive(reply),
      fail: error => {
        stop();
        waiting.fail(error);
      },
    });
    this.#stream.write(encode({...message, request_id: id}));
    return stop;
  }

  #receive(items: ReturnType<LineDecoder['push']>): void {
    for (const item of items) {
      const reply = item.type === 'message' ? parseReply(item.value) : undefined;
      if (reply === undefined) {
        this.#lose(new ConnectionLostError('what came back is not the protocol of a specialist'));
        this.#stream.destroy();
        return;
      }
      const waiting =
        reply.request_id === undefined ? this.#waiting.values().next().value : this.#waiting.get(reply.request_id);
      if (waiting !== undefined && !waiting.receive(reply)) this.#waiting.delete(waiting.id);
    }
  }

  #lose(error: ConnectionLostError): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    const failed = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const waiting of failed) waiting.fail(error);
  }
}

const replyTypes = {
  ping: 'pong',
  health: 'health_response',
  info: 'info_response',
  chat: 'chat_response',
  sessions: 'sessions_response',
  session_delete: 'session_delete_response',
  schema: 'schema_response',
  auth: 'auth_response',
} as const;

function metadataOf(reply: ReplyTo['chat']): StreamEndMetadata {
  return {
    total_chunks: 1,
    total_tokens: reply.usage?.output_tokens ?? 0,
    total_time: reply.latency ?? 0,
    ai_id: reply.ai_id,
    model: reply.model ?? '',
    ...(reply.trimmed !== undefined && {trimmed: reply.trimmed}),
  };
}

function reasonOf(signal: AbortSignal | undefined): Error {
  return signal?.reason instanceof Error ? signal.reason : new Error('aborted', {cause: signal?.reason});
}
