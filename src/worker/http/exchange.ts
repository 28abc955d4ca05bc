/** One request and its answer. */
import type {IncomingMessage, ServerResponse} from 'node:http';
import type {Socket} from 'node:net';
import {isUtf8} from 'node:buffer';
import {maxLineBytes} from '../../protocol/messages.js';
import {ChatStopped} from '../specialist.js';
import {Problem} from './problem.js';

/** As long as a line of the other protocol. */
export const maxBodyBytes = maxLineBytes;

export interface ExchangeOptions {
  /** What was wrong with the bytes after this request's head. */
  readonly problem: Problem | undefined;
  /** Whether the connection ends with this answer. */
  readonly isLast: () => boolean;
}

export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** A model is asked. */
  isChat = false;
  /** The client knows what was wrong with the bytes that came. */
  toldProblem = false;
  readonly #options: ExchangeOptions;
  #problem: Problem | undefined;
  #failBody: (problem: Problem) => void = () => undefined;

  constructor(request: IncomingMessage, response: ServerResponse, options: ExchangeOptions) {
    this.request = request;
    this.response = response;
    this.#options = options;
    this.#problem = options.problem;
  }

  /** Without its query. */
  get path(): string {
    return (this.request.url ?? '').split('?', 1)[0] ?? '';
  }

  /** Sends a whole answer, unless one has begun. */
  json(status: number, body: object, headers: Readonly<Record<string, string>> = {}): void {
    this.text(status, `${JSON.stringify(body)}\n`, {'Content-Type': 'application/json; charset=utf-8', ...headers});
  }

  text(status: number, text: string, headers: Readonly<Record<string, string>>): void {
    if (this.response.headersSent) return;
    this.begin(status, {'Content-Length': String(Buffer.byteLength(text)), ...headers});
    this.response.end(text);
  }

  /** Sends the head; the caller writes the rest. */
  begin(status: number, headers: Readonly<Record<string, string>>): void {
    this.response.writeHead(status, {
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      ...(this.#options.isLast() && {Connection: 'close'}),
      ...headers,
    });
  }

  tell(problem: Problem): void {
    if (problem === this.#problem) this.toldProblem = true;
    this.json(problem.status, problem.body, problem.headers);
  }

  /** The bytes that came after this request's head are wrong. */
  fail(problem: Problem): void {
    this.#problem = problem;
    this.#failBody(problem);
  }

  /** Aborted when the client is gone before it has its answer. */
  stopper(): AbortController {
    this.isChat = true;
    const stop = new AbortController();
    this.response.once('close', () => {
      if (!this.response.writableFinished) stop.abort(new ChatStopped('disconnected'));
    });
    if (this.response.destroyed || this.request.socket.destroyed) stop.abort(new ChatStopped('disconnected'));
    return stop;
  }

  /**
   * The body as JSON.
   *
   * @throws {Problem} also 413, at once, with the rest thrown away as it comes
   * @throws {ChatStopped} the client left in the middle of it
   */
  async body(): Promise<unknown> {
    const {request} = this;
    if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) throw tooLong();
    if (request.headers.expect !== undefined) this.response.writeContinue();
    const bytes = await this.#readBody();
    if (!isUtf8(bytes)) throw new Problem(400, 'the body is not UTF-8', {code: 'invalid_utf8'});
    try {
      return JSON.parse(bytes.toString('utf8')) as unknown;
    } catch {
      throw new Problem(400, 'the body is not valid JSON', {code: 'invalid_json'});
    }
  }

  /** Resolves when the answer has left, or nobody is there any more to get it. */
  async settled(socket: Socket): Promise<void> {
    const {response} = this;
    if (socket.destroyed || response.closed) return;
    await new Promise<void>(resolve => {
      const done = (): void => {
        response.off('close', done);
        socket.off('close', done);
        resolve();
      };
      response.on('close', done);
      socket.on('close', done);
    });
  }

  #readBody(): Promise<Buffer> {
    const {request} = this;
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let length = 0;
      const stop = (how: () => void): void => {
        request.off('data', data).off('end', end).off('close', close);
        this.#failBody = () => undefined;
        how();
      };
      const data = (chunk: Buffer): void => {
        length += chunk.length;
        chunks.push(chunk);
        if (length <= maxBodyBytes) return;
        stop(() => reject(tooLong()));
        request.resume();
      };
      const end = (): void => stop(() => resolve(Buffer.concat(chunks, length)));
      const close = (): void => stop(() => reject(new ChatStopped('disconnected')));
      this.#failBody = problem => stop(() => reject(problem));
      request.on('data', data).on('end', end).on('close', close);
      // A connection that breaks is told by `close`, too.
      request.on('error', () => undefined);
      if (request.destroyed) close();
      else if (this.#problem !== undefined && !request.complete) this.#failBody(this.#problem);
    });
  }
}

function tooLong(): Problem {
  return new Problem(413, `the body is longer than ${maxBodyBytes} bytes`, {code: 'message_too_long'});
}
