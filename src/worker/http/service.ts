/**
 * HTTP on the specialist's port, spoken by node:http: its parser is kept by people who follow every new way to smuggle a
 * request. It listens nowhere; connections that begin like HTTP are given to it (docs/decisions/http.md). It is loaded
 * with the first of them, for most workers never see one.
 */
import type {Server} from 'node:http';
import type {Socket} from 'node:net';
import type {IsIdle} from '../connection.js';
import type {Specialist} from '../specialist.js';
import {HttpClient} from './client.js';
import {Problem} from './problem.js';
import {route} from './routes.js';

/** How long clients may take; ms. Tests have less patience. */
export interface HttpTimeouts {
  /** From the first byte of a request to the end of its head. */
  readonly headMs: number;
  /** From the first byte of a request to the end of its body. */
  readonly requestMs: number;
  /** From an answer to the next request. */
  readonly idleMs: number;
  /** How often the first two are looked at. */
  readonly lookMs: number;
}

const defaultTimeouts: HttpTimeouts = {headMs: 10_000, requestMs: 60_000, idleMs: 75_000, lookMs: 2_000};

const maxHeadBytes = 16 * 1024;

export class HttpService {
  readonly #specialist: Specialist;
  readonly #timeouts: HttpTimeouts;
  readonly #clients = new WeakMap<Socket, HttpClient>();
  #server: Server | undefined;

  constructor(specialist: Specialist, timeouts: Partial<HttpTimeouts> = {}) {
    this.#specialist = specialist;
    this.#timeouts = {...defaultTimeouts, ...timeouts};
  }

  /** Takes over a connection whose first bytes are `begin`. */
  serve(socket: Socket, begin: Buffer): IsIdle {
    this.#server ??= this.#create();
    const client = new HttpClient(socket, this.#specialist);
    this.#clients.set(socket, client);
    // Held until the parser is in place, which then gets it before what the socket reads next.
    socket.pause();
    socket.unshift(begin);
    this.#server.emit('connection', socket);
    socket.resume();
    return () => client.isIdle;
  }

  /** Ends what it does by itself; the connections are their owner's. */
  close(): void {
    this.#server?.close();
  }

  #create(): Server {
    const {createServer} = process.getBuiltinModule('node:http');
    const {headMs, requestMs, idleMs, lookMs} = this.#timeouts;
    const server = createServer({
      headersTimeout: headMs,
      requestTimeout: requestMs,
      keepAliveTimeout: idleMs,
      connectionsCheckingInterval: lookMs,
      maxHeaderSize: maxHeadBytes,
      insecureHTTPParser: false,
      requireHostHeader: false, // looked at by guard.ts, which says why
    });
    // All are looked at, and their size is bounded: the default drops those after the 2000th without a word.
    server.maxHeadersCount = 0;
    // As in the other protocol: who has only finished sending gets its answer. Node has the switch, its types don't.
    Object.assign(server, {httpAllowHalfOpen: true});
    // node:http begins to watch slow clients when it listens, which it never does here.
    server.emit('listening');

    server.on('request', (request, response) =>
      this.#clients.get(request.socket)?.take(request, response, exchange => route(exchange, this.#specialist)),
    );
    server.on('checkContinue', (request, response) => server.emit('request', request, response));
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      const client = this.#clients.get(socket as Socket);
      const problem = Problem.fromParser(error);
      if (client === undefined || problem === undefined) socket.destroy();
      else client.fail(problem);
    });
    server.on('connect', (request, socket) => {
      this.#clients.get(socket as Socket)?.fail(new Problem(405, `${request.method} is not answered here`));
    });
    return server;
  }
}
