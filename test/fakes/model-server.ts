/** What the three fake model servers have in common: a small node:http server that does as it is told. */
import {createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse} from 'node:http';
import type {AddressInfo} from 'node:net';
import {setImmediate as nextTurn, setTimeout as delay} from 'node:timers/promises';

import type {ToolCall} from '../../src/providers/provider.js';

/** What one chat gets. Numbers of chunks count from the beginning of the answer. */
export interface Reply {
  /** Default: "You said: " and the last message. */
  readonly chunks?: readonly string[];
  /** In the server's own words (`length`, `max_tokens`, …). */
  readonly stopReason?: string;
  readonly inputTokens?: number;
  readonly outputTokens?: number;
  /** Of `inputTokens`. */
  readonly cachedInputTokens?: number;
  /** Sent before the chunks. */
  readonly thinking?: readonly string[];
  /** Sent behind the chunks; in pieces where the server does so. */
  readonly toolCalls?: readonly ToolCall[];
  /** In place of this text the byte 0xff is sent, which no UTF-8 has. */
  readonly badByteFor?: string;
  readonly chunkDelayMs?: number;
  /** Cuts every write into pieces of so many bytes, each sent on its own. */
  readonly pieceBytes?: number;
  /** Never sends the headers. */
  readonly silent?: boolean;
  /** After so many chunks: nothing more, the connection stays. */
  readonly hangAfter?: number;
  /** After so many chunks: closes the connection. */
  readonly breakAfter?: number;
  /** After so many chunks: ends the reply in good order, but without the part that says that the answer is whole. */
  readonly stopShortAfter?: number;
  /** After so many chunks: sends this as it stands. */
  readonly insertAfter?: {readonly chunks: number; readonly raw: string};
  readonly errorAfter?: {readonly chunks: number; readonly kind: string; readonly message: string};
  /** Instead of an answer. */
  readonly refusal?: Refusal;
}

export interface Refusal {
  readonly status: number;
  readonly kind?: string;
  readonly message?: string;
  /** Sent instead of the server's usual JSON. */
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Readonly<Record<string, unknown>>;
  /** Whether the client closed the connection before the reply was whole; known when the exchange is over. */
  readonly cut: Promise<boolean>;
  /** Bytes of the reply handed to the socket so far. */
  readonly sentBytes: () => number;
}

/** One answer in a server's wire format. */
export interface Frames {
  readonly contentType: string;
  readonly first: readonly string[];
  readonly chunks: readonly string[];
  readonly error: (error: NonNullable<Reply['errorAfter']>) => string;
  readonly last: readonly string[];
}

/** What makes a fake speak as one server does. */
export interface Dialect {
  /** Answered as replies say, in a stream. */
  readonly isChat: (path: string) => boolean;
  /** The refusal of a chat with a model that the server doesn't have. */
  readonly missing: (model: string, path: string) => Refusal | undefined;
  readonly frames: (request: SeenRequest, reply: Reply & {readonly chunks: readonly string[]}) => Frames;
  readonly refusal: (refusal: Refusal) => unknown;
  /** Every request but a chat. undefined: 404. */
  readonly other: (request: SeenRequest) => {readonly status: number; readonly body: unknown} | undefined;
}

export interface ModelServer {
  readonly url: string;
  /** All so far, in order. */
  readonly requests: readonly SeenRequest[];
  /** Replies of the next chats, one each; after them come the standing ones again. */
  next(...replies: readonly Reply[]): void;
  /** Refuses every request from now on; undefined: no longer. */
  refuse(refusal: Refusal | undefined): void;
  close(): Promise<void>;
}

export interface ModelServerOptions {
  /** Default: any free one. */
  readonly port?: number;
  /** Standing reply of every chat. */
  readonly reply?: Reply | ((request: SeenRequest) => Reply);
}

export async function startModelServer(dialect: Dialect, options: ModelServerOptions): Promise<ModelServer> {
  const requests: SeenRequest[] = [];
  const queue: Reply[] = [];
  let refused: Refusal | undefined;

  const serve = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const seen = await see(incoming, response);
    requests.push(seen);
    if (refused !== undefined) return refuse(response, dialect, refused);
    if (!dialect.isChat(seen.path)) {
      const other = dialect.other(seen) ?? {status: 404, body: dialect.refusal({status: 404, message: 'not found'})};
      return sendJson(response, other.status, other.body);
    }
    const standing = typeof options.reply === 'function' ? options.reply(seen) : options.reply;
    const reply = queue.shift() ?? standing ?? {};
    if (reply.refusal !== undefined) return refuse(response, dialect, reply.refusal);
    if (reply.silent === true) return;
    const missing = dialect.missing(String(seen.body['model']), seen.path);
    if (missing !== undefined) return refuse(response, dialect, missing);
    await play(
      response,
      reply,
      dialect.frames(seen, {...reply, chunks: reply.chunks ?? ['You said: ', lastContent(seen)]}),
    );
  };

  const server = createServer((incoming, response) => {
    response.on('error', () => {}); // a client that went away
    void serve(incoming, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const {port} = server.address() as AddressInfo; // a TCP server's address is never a string
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    next: (...replies) => void queue.push(...replies),
    refuse: refusal => {
      refused = refusal;
    },
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function see(incoming: IncomingMessage, response: ServerResponse): Promise<SeenRequest> {
  const {socket} = incoming;
  const sentBefore = socket.bytesWritten;
  const cut = new Promise<boolean>(resolve => response.once('close', () => resolve(!response.writableFinished)));
  const parts: Buffer[] = [];
  for await (const part of incoming) parts.push(part as Buffer); // no encoding is set
  const text = Buffer.concat(parts).toString();
  return {
    method: incoming.method ?? '',
    path: incoming.url ?? '',
    headers: incoming.headers,
    body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>), // model servers take objects only
    cut,
    sentBytes: () => socket.bytesWritten - sentBefore,
  };
}

async function play(response: ServerResponse, reply: Reply, frames: Frames): Promise<void> {
  response.writeHead(200, {'content-type': frames.contentType});
  response.flushHeaders();
  const put = async (raw: string): Promise<void> => {
    const text = Buffer.from(raw).toString('latin1');
    const bytes = Buffer.from(reply.badByteFor ? text.replaceAll(reply.badByteFor, '\xff') : text, 'latin1');
    const size = reply.pieceBytes ?? bytes.length;
    for (let at = 0; at < bytes.length; at += size) {
      if (response.destroyed) throw new Error('the client went away');
      await new Promise<void>(resolve => response.write(bytes.subarray(at, at + size), () => resolve()));
      if (reply.pieceBytes !== undefined) await nextTurn();
    }
  };
  for (const raw of frames.first) await put(raw);
  for (let index = 0; index <= frames.chunks.length; index++) {
    if (reply.breakAfter === index) return void response.destroy();
    if (reply.stopShortAfter === index) return void response.end();
    if (reply.insertAfter?.chunks === index) await put(reply.insertAfter.raw);
    if (reply.hangAfter === index) return;
    if (reply.errorAfter?.chunks === index) {
      await put(frames.error(reply.errorAfter));
      return void response.end();
    }
    const chunk = frames.chunks[index];
    if (chunk === undefined) break;
    if (index > 0 && reply.chunkDelayMs !== undefined) await delay(reply.chunkDelayMs);
    await put(chunk);
  }
  for (const raw of frames.last) await put(raw);
  response.end();
}

function refuse(response: ServerResponse, dialect: Dialect, refusal: Refusal): void {
  if (refusal.body === undefined) return sendJson(response, refusal.status, dialect.refusal(refusal), refusal.headers);
  response.writeHead(refusal.status, {'content-type': 'text/plain', ...refusal.headers}).end(refusal.body);
}

function sendJson(response: ServerResponse, status: number, body: unknown, headers = {}): void {
  response.writeHead(status, {'content-type': 'application/json', ...headers}).end(JSON.stringify(body));
}

function lastContent({body}: SeenRequest): string {
  const messages = body['messages'] as readonly {readonly content: unknown}[] | undefined; // as our clients send it
  const content = messages?.at(-1)?.content ?? '';
  return typeof content === 'string' ? content : JSON.stringify(content);
}

/** A server-sent event; `event` is left out where the server doesn't name its events. */
export function sse(data: unknown, event?: string): string {
  const name = event === undefined ? '' : `event: ${event}\n`;
  return `${name}data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`;
}

/** As a stream of tokens may cut it. */
export function halves(text: string): readonly [string, string] {
  const middle = Math.ceil(text.length / 2);
  return [text.slice(0, middle), text.slice(middle)];
}
