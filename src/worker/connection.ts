/** One client's connection: bytes to requests, requests to replies, in the order that the protocol promises. */
import type {Socket} from 'node:net';
import {LineDecoder, encode} from '../protocol/codec.js';
import type {Decoded} from '../protocol/codec.js';
import {detect} from '../protocol/http-detect.js';
import {errorReply, maxLineBytes, parseRequest} from '../protocol/messages.js';
import type {ErrorDetails, Reply, Request, RequestId} from '../protocol/messages.js';
import {schemaReply} from '../protocol/schema.js';
import {matchesToken} from './auth.js';
import {chat} from './chat.js';
import {watchDeparture} from './departure.js';
import {health, info, pong} from './health.js';
import {lingeringEnd} from './linger.js';
import {deleteSessions, listSessions} from './session-replies.js';
import {ChatStopped} from './specialist.js';
import type {Specialist} from './specialist.js';

/** Requests of one connection that may be waiting or under way before no more are read. */
const maxOutstanding = 256;
const maxOutstandingBytes = 2 * maxLineBytes;

type Task = () => Promise<void> | undefined;

/** Whether the client waits for nothing: all that it asked has been answered and sent. */
export type IsIdle = () => boolean;

/** Serves `socket` until it closes. `serveHttp` takes over when the first bytes are those of HTTP. */
export function serve(socket: Socket, specialist: Specialist, serveHttp: (begin: Buffer) => IsIdle): IsIdle {
  specialist.clients++;
  socket.on('close', () => specialist.clients--);
  // What broke a connection is the client's affair; `close` follows.
  socket.on('error', () => undefined);
  let begin: Buffer | undefined;
  let isIdle: IsIdle = () => true;
  const json = (): JsonConnection => {
    const connection = new JsonConnection(socket, specialist);
    isIdle = () => connection.isIdle;
    return connection;
  };
  const first = (chunk: Buffer): void => {
    begin = begin === undefined ? chunk : Buffer.concat([begin, chunk]);
    const detected = detect(begin);
    if (detected === 'undecided') return;
    socket.off('data', first).off('end', ended);
    if (detected === 'http') isIdle = serveHttp(begin);
    else json().receive(begin);
  };
  const ended = (): void => {
    if (begin === undefined) return void socket.end();
    const connection = json();
    connection.receive(begin);
    connection.receiveEnd();
  };
  socket.on('data', first).on('end', ended);
  return () => isIdle();
}

class JsonConnection {
  readonly #socket: Socket;
  readonly #specialist: Specialist;
  readonly #decoder = new LineDecoder();
  /** Requests without an id, answered one after the other. */
  readonly #queue: Task[] = [];
  /** Chats under way; the key of one without an id is its own. */
  readonly #chats = new Map<RequestId | symbol, AbortController>();
  #running = false;
  #outstanding = 0;
  #outstandingBytes = 0;
  #authenticated: boolean;
  /** Nothing more is read from this client. */
  #deaf = false;
  /** The client has finished sending. */
  #ended = false;
  #caughtUp: Promise<void> | undefined;
  #stopWatching: () => void = () => undefined;

  constructor(socket: Socket, specialist: Specialist) {
    this.#socket = socket;
    this.#specialist = specialist;
    this.#authenticated = specialist.config.authToken === undefined;
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
    socket.on('end', () => this.receiveEnd());
    socket.on('close', () => {
      this.#deaf = true;
      this.#queue.length = 0;
      this.#stopWatching();
      this.#stopChats();
    });
  }

  get isIdle(): boolean {
    return this.#outstanding === 0 && this.#socket.writableLength === 0;
  }

  receive(chunk: Buffer): void {
    if (this.#deaf) return;
    // Replies to requests that came together leave together.
    this.#socket.cork();
    for (const item of this.#decoder.push(chunk)) this.#take(item);
    this.#socket.uncork();
    this.#throttle();
  }

  receiveEnd(): void {
    this.#ended = true;
    if (!this.#deaf) for (const item of this.#decoder.end()) this.#take(item);
    this.#endWhenDone();
    if (this.#outstanding > 0) this.#stopWatching = watchDeparture(this.#socket, () => this.#socket.destroy());
  }

  #take(item: Decoded): void {
    if (this.#deaf) return;
    switch (item.type) {
      case 'too-long':
        this.#deaf = true;
        return this.#inOrder(0, () =>
          this.#refuse(`Message too long: at most ${maxLineBytes} bytes`, {code: 'message_too_long'}),
        );
      case 'invalid': {
        const [text, code] =
          item.reason === 'json' ? ['Invalid JSON', 'invalid_json'] : ['Invalid UTF-8', 'invalid_utf8'];
        return this.#inOrder(0, () => this.#authorized(() => this.#send(errorReply(text, {code}))));
      }
      case 'message': {
        const parsed = parseRequest(item.value);
        const requestId = parsed.ok ? parsed.request.request_id : parsed.error.request_id;
        const task: Task = () =>
          this.#authorized(
            () => (parsed.ok ? this.#answer(parsed.request) : this.#send(parsed.error)),
            parsed.ok ? parsed.request : undefined,
          );
        return requestId === undefined ? this.#inOrder(item.bytes, task) : this.#atOnce(item.bytes, task);
      }
    }
  }

  /** Runs `task` only for a client that has shown the token; the first request of another must be its `auth`. */
  #authorized(task: Task, request?: Request): Promise<void> | undefined {
    if (this.#authenticated) return task();
    const token = this.#specialist.config.authToken;
    const {request_id: requestId} = request ?? {};
    if (request?.type !== 'auth') {
      const text = 'Authentication required: begin with {"type":"auth","token":"…"}';
      return this.#refuse(text, {code: 'unauthorized', requestId});
    }
    if (token !== undefined && !matchesToken(request.token, token)) {
      return this.#refuse('Authentication failed: wrong token', {code: 'unauthorized', requestId});
    }
    this.#authenticated = true;
    return task();
  }

  #answer(request: Request): Promise<void> | undefined {
    const specialist = this.#specialist;
    const id = request.request_id === undefined ? {} : {request_id: request.request_id};
    switch (request.type) {
      case 'ping':
        return this.#send({...pong(specialist), ...id});
      case 'health':
        return health(specialist).then(reply => this.#send({...reply, ...id}));
      case 'info':
        return this.#send({...info(specialist), ...id});
      case 'sessions':
        return listSessions(specialist).then(reply => this.#send({...reply, ...id}));
      case 'session_delete':
        return deleteSessions(specialist, request).then(reply => this.#send({...reply, ...id}));
      case 'schema':
        return this.#send({...schemaReply(specialist.config.aiId), ...id});
      case 'auth':
        return this.#send({type: 'auth_response', ai_id: specialist.config.aiId, ...id});
      case 'cancel':
        return this.#cancel(request.request_id);
      case 'chat': {
        const key = request.request_id ?? Symbol('in order');
        if (this.#chats.has(key)) {
          const text = `A chat with request_id ${JSON.stringify(key)} is under way on this connection`;
          return this.#send(
            errorReply(text, {
              code: 'duplicate_request_id',
              requestId: request.request_id,
              stream: request.stream === true,
            }),
          );
        }
        const stop = new AbortController();
        this.#chats.set(key, stop);
        const send = (reply: Reply): Promise<void> | undefined => this.#send(reply);
        return chat(specialist, request, {send, stop, client: this}).finally(() => this.#chats.delete(key));
      }
    }
  }

  #cancel(requestId: RequestId): Promise<void> | undefined {
    const chatUnderWay = this.#chats.get(requestId);
    if (chatUnderWay === undefined) {
      const text = `No chat with request_id ${JSON.stringify(requestId)} is under way on this connection`;
      return this.#send(errorReply(text, {code: 'unknown_request', requestId}));
    }
    chatUnderWay.abort(new ChatStopped('cancelled'));
    return undefined;
  }

  #inOrder(bytes: number, task: Task): void {
    this.#begin(bytes);
    this.#queue.push(() => {
      const done = this.#guarded(task);
      if (done === undefined) this.#finish(bytes);
      return done?.finally(() => this.#finish(bytes));
    });
    if (!this.#running) void this.#runQueue();
  }

  async #runQueue(): Promise<void> {
    this.#running = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      // Most replies need no waiting: then this loop does without it, too.
      const done = next();
      if (done !== undefined) await done;
    }
    this.#running = false;
  }

  #atOnce(bytes: number, task: Task): void {
    this.#begin(bytes);
    const done = this.#guarded(task);
    if (done === undefined) this.#finish(bytes);
    else void done.finally(() => this.#finish(bytes));
  }

  /** A bug in answering one request costs that request, not the connection. */
  #guarded(task: Task): Promise<void> | undefined {
    const failed = (error: unknown): Promise<void> | undefined => {
      const text = `internal error: ${error instanceof Error ? error.message : String(error)}`;
      this.#specialist.log('error', text, {stack: error instanceof Error ? error.stack : undefined});
      return this.#send(errorReply(text, {code: 'internal'}));
    };
    try {
      return task()?.catch(failed);
    } catch (error) {
      return failed(error);
    }
  }

  #begin(bytes: number): void {
    this.#outstanding++;
    this.#outstandingBytes += bytes;
  }

  #finish(bytes: number): void {
    this.#outstanding--;
    this.#outstandingBytes -= bytes;
    this.#throttle();
    this.#endWhenDone();
  }

  /** @returns when to go on, where the client doesn't read as fast as we answer */
  #send(reply: Reply): Promise<void> | undefined {
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) return undefined;
    if (socket.write(encode(reply))) return undefined;
    this.#caughtUp ??= new Promise(resolve => {
      const done = (): void => {
        socket.off('drain', done).off('close', done);
        this.#caughtUp = undefined;
        this.#throttle();
        resolve();
      };
      socket.on('drain', done).on('close', done);
    });
    this.#throttle();
    return this.#caughtUp;
  }

  /** The last word to a client that can't be understood or isn't allowed. */
  #refuse(text: string, details: ErrorDetails): Promise<void> | undefined {
    this.#deaf = true;
    this.#queue.length = 0;
    this.#stopChats();
    lingeringEnd(this.#socket, encode(errorReply(text, details)));
    return undefined;
  }

  /** Reads on only while what was read is being answered, and the answers are being read. */
  #throttle(): void {
    const socket = this.#socket;
    if (socket.writableEnded) return;
    const busy =
      this.#outstanding >= maxOutstanding ||
      this.#outstandingBytes >= maxOutstandingBytes ||
      socket.writableNeedDrain ||
      this.#deaf;
    if (busy && !socket.isPaused()) socket.pause();
    else if (!busy && socket.isPaused()) socket.resume();
  }

  #endWhenDone(): void {
    if (this.#ended && this.#outstanding === 0 && !this.#socket.writableEnded) this.#socket.end();
  }

  #stopChats(): void {
    for (const chatUnderWay of this.#chats.values()) chatUnderWay.abort(new ChatStopped('disconnected'));
  }
}
