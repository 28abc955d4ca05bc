/**
 * One HTTP exchange over node:http. Node's own fetch gives up when no headers come within 300 s, which a cold 70B
 * model needs, and that limit can't be changed without a package; here each limit is the caller's. How long the headers
 * may take is limited by its signal.
 */
import type {ClientRequest, IncomingMessage} from 'node:http';
import {HttpTimeoutError} from './http-errors.js';

export interface HttpLimits {
  /** Until the connection stands, TLS included. */
  readonly connectMs: number;
  /** Between two pieces of the answer, counted only while somebody waits for one. */
  readonly idleMs: number;
  /** Whether the silence counts that has lasted for `idleMs`; if not, it may last that long again. Default: it does. */
  readonly idleCounts?: () => boolean;
}

export interface HttpRequest {
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly limits: HttpLimits;
  /** Ends the exchange at once, whatever its state, and closes the connection. */
  readonly signal: AbortSignal;
  /** Turns what went wrong into what is thrown; `begun`: the headers had come. */
  readonly mapError: (error: unknown, begun: boolean) => unknown;
}

/** Resolves when the headers are here; the body is read from the socket only as fast as it is consumed. */
export async function send(request: HttpRequest): Promise<Response> {
  try {
    const incoming = await exchange(request).catch((error: unknown) => {
      // A kept-alive connection that the server closed as we wrote to it: nothing was read there, so once more.
      if (error instanceof StaleConnection) return exchange(request);
      throw error;
    });
    return toResponse(incoming, request);
  } catch (error) {
    throw request.mapError(error instanceof StaleConnection ? error.cause : error, false);
  }
}

class StaleConnection extends Error {}

async function exchange(request: HttpRequest): Promise<IncomingMessage> {
  const {url, method, body, limits, signal} = request;
  const {request: open} = await (url.protocol === 'https:' ? import('node:https') : import('node:http'));
  const headers =
    body === undefined ? request.headers : {...request.headers, 'content-length': Buffer.byteLength(body)};
  return new Promise((resolve, reject) => {
    const outgoing = open(url, {method, headers});
    const stopTimer = limit(outgoing, limits);
    let answer: IncomingMessage | undefined;
    // Not node:http's own `signal`: it destroys the socket of a reply that has come but isn't read to its end with an
    // error that nobody listens for any more.
    const stop = (): void => void (answer ?? outgoing).destroy(answer ? undefined : new Error('cancelled'));
    signal.addEventListener('abort', stop, {once: true});
    outgoing.once('close', () => signal.removeEventListener('abort', stop));
    outgoing.once('response', incoming => {
      stopTimer();
      incoming.on('error', () => {}); // told to whoever reads the body; where nobody does, it is no fault
      answer = incoming;
      resolve(incoming);
    });
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      stopTimer();
      reject(
        outgoing.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
          ? new StaleConnection('', {cause: error})
          : error,
      );
    });
    if (signal.aborted) stop();
    outgoing.end(body);
  });
}

function limit(outgoing: ClientRequest, limits: HttpLimits): () => void {
  const connect = setTimeout(
    () => outgoing.destroy(new HttpTimeoutError('connection', limits.connectMs)),
    limits.connectMs,
  );
  const connected = (): void => clearTimeout(connect);
  outgoing.once('socket', socket => {
    if (!socket.connecting) return connected();
    socket.once('encrypted' in socket ? 'secureConnect' : 'connect', connected);
  });
  return connected;
}

const bodiless = new Set([101, 204, 205, 304]);

function toResponse(incoming: IncomingMessage, request: HttpRequest): Response {
  const status = incoming.statusCode ?? 500;
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  }
  if (bodiless.has(status)) {
    incoming.resume();
    return new Response(null, {status, headers});
  }
  return new Response(bodyOf(incoming, request), {status, headers});
}

function bodyOf(incoming: IncomingMessage, {limits, mapError}: HttpRequest): ReadableStream<Uint8Array> {
  const chunks = incoming[Symbol.asyncIterator]() as AsyncIterator<Buffer>; // no encoding is set: bytes
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const tooLate = (): void => {
          if (limits.idleCounts?.() === false) return void idle.refresh();
          incoming.destroy(new HttpTimeoutError('rest of the answer', limits.idleMs));
        };
        const idle = setTimeout(tooLate, limits.idleMs);
        try {
          const next = await chunks.next();
          if (next.done === true) controller.close();
          else controller.enqueue(next.value);
        } catch (error) {
          throw mapError(error, true);
        } finally {
          clearTimeout(idle);
        }
      },
      cancel() {
        incoming.destroy();
      },
    },
    {highWaterMark: 0},
  );
}
