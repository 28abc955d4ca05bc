/** One HTTP connection: its requests one after the other, and its last words when it can't be understood any more. */
import type {IncomingMessage, ServerResponse} from 'node:http';
import type {Socket} from 'node:net';
import {tellsDeparture, watchDeparture} from '../departure.js';
import {lingeringEnd} from '../linger.js';
import type {Specialist} from '../specialist.js';
import {Exchange} from './exchange.js';
import type {Problem} from './problem.js';

/** Requests that may wait behind each other. No client that we know sends a second before the first is answered. */
const maxPipelined = 32;

export class HttpClient {
  readonly #socket: Socket;
  readonly #specialist: Specialist;
  /** Requests whose head was read and whose answer has not left. */
  #open = 0;
  #turn = Promise.resolve();
  #current: Exchange | undefined;
  #lastRequest: IncomingMessage | undefined;
  /** Nothing more is read. */
  #deaf = false;
  #problem: Problem | undefined;
  #stopWatching: () => void = () => undefined;

  constructor(socket: Socket, specialist: Specialist) {
    this.#socket = socket;
    this.#specialist = specialist;
    socket.on('end', () => this.#halfClosed());
    socket.on('close', () => this.#stopWatching());
  }

  get isIdle(): boolean {
    return this.#open === 0 && this.#socket.writableLength === 0;
  }

  /** Has `answer` answer when all requests before it are. */
  take(request: IncomingMessage, response: ServerResponse, answer: (exchange: Exchange) => Promise<void>): void {
    if (this.#deaf) return;
    if (this.#open === maxPipelined) return this.#deafen();
    this.#open++;
    this.#lastRequest = request;
    this.#turn = this.#turn.then(async () => {
      const exchange = new Exchange(request, response, {problem: this.#problem, isLast: () => this.#isLast});
      this.#current = exchange;
      if (!this.#socket.destroyed) await answer(exchange);
      await exchange.settled(this.#socket);
      if (exchange.toldProblem) this.#problem = undefined;
      this.#current = undefined;
      this.#open--;
      if (this.#open === 0) this.#caughtUp();
    });
  }

  /** What came can't be understood: what was understood before is answered, then this, and the connection ends. */
  fail(problem: Problem): void {
    if (this.#deaf) return;
    this.#deafen();
    const wasAnswered = this.#open === 0 && this.#lastRequest !== undefined && !this.#lastRequest.complete;
    if (wasAnswered) return void this.#socket.destroy();
    this.#problem = problem;
    this.#current?.fail(problem);
    if (this.#open === 0) this.#caughtUp();
  }

  /** Whether the connection ends with the answer that is next to leave. */
  get #isLast(): boolean {
    const {retired, draining, ending} = this.#specialist;
    return this.#open === 1 && (this.#deaf || retired || draining || ending);
  }

  #caughtUp(): void {
    this.#stopWatching();
    if (!this.#deaf || this.#socket.destroyed) return;
    if (!this.#socket.writableEnded) lingeringEnd(this.#socket, this.#problem === undefined ? '' : raw(this.#problem));
  }

  /** Bytes that still come are thrown away, without the parser. */
  #deafen(): void {
    this.#deaf = true;
    this.#socket.removeAllListeners('data');
    this.#socket.on('data', () => undefined).resume();
  }

  /** Where it can't be told whether the client waits for its answer, an answer that costs is not worth the doubt. */
  #halfClosed(): void {
    if (this.#open === 0) return;
    if (tellsDeparture(this.#socket)) this.#stopWatching = watchDeparture(this.#socket, () => this.#socket.destroy());
    else if (this.#current?.isChat === true) this.#socket.destroy();
  }
}

function raw({status, body}: Problem): string {
  const {STATUS_CODES} = process.getBuiltinModule('node:http');
  const text = `${JSON.stringify(body)}\n`;
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(text)}`,
    'Cache-Control: no-store',
    'Connection: close',
  ];
  return `${head.join('\r\n')}\r\n\r\n${text}`;
}
