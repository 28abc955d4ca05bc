/**
 * The little HTTP/1.1 that is spoken on a specialist's port: `GET /healthz`, `GET /readyz`, and an honest no to the
 * rest. By hand, because node:http would cost every worker's start and memory; one request a connection, bodies are
 * never looked at.
 */
import type {Socket} from 'node:net';
import {matchesToken} from './auth.js';
import type {IsIdle} from './connection.js';
import {isLoopback} from './departure.js';
import {readiness} from './health.js';
import {lingeringEnd} from './linger.js';
import type {Specialist} from './specialist.js';

const maxHeadBytes = 16 * 1024;
const headTimeoutMs = 10_000;

interface Head {
  readonly method: string;
  readonly path: string;
  readonly version: string;
  /** Names in lower case, in the order in which they came. */
  readonly headers: readonly (readonly [string, string])[];
}

interface Answer {
  readonly status: number;
  readonly body: object;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Takes over a connection whose first bytes are those of an HTTP request. Idle means that the request is not whole. */
export function serveHttp(socket: Socket, begin: Buffer, specialist: Specialist): IsIdle {
  let bytes = begin;
  let answered = false;
  let complete = false;
  const answer = (response: Answer, method = 'GET'): void => {
    if (answered) return;
    answered = true;
    clearTimeout(timer);
    lingeringEnd(socket, format(response, method));
  };
  const timer = setTimeout(() => answer(problem(408, 'request took too long')), headTimeoutMs).unref();
  const look = (): void => {
    const end = bytes.indexOf('\r\n\r\n');
    if (end > maxHeadBytes || (end === -1 && bytes.length > maxHeadBytes)) {
      return answer(problem(431, `request head is longer than ${maxHeadBytes} bytes`));
    }
    if (end === -1) return;
    complete = true;
    socket.off('data', more);
    const head = parseHead(bytes.toString('latin1', 0, end));
    if (head === undefined) return answer(problem(400, 'not an HTTP/1 request'));
    respond(head, socket, specialist).then(
      response => answer(response, head.method),
      (error: unknown) => {
        specialist.log('error', 'internal error in HTTP', {
          stack: error instanceof Error ? error.stack : String(error),
        });
        answer(problem(500, 'internal error'));
      },
    );
  };
  const more = (chunk: Buffer): void => {
    bytes = Buffer.concat([bytes, chunk]);
    look();
  };
  socket.on('data', more);
  socket.on('end', () => {
    if (!complete) socket.end();
  });
  socket.on('close', () => clearTimeout(timer));
  look();
  return () => !complete;
}

async function respond(head: Head, socket: Socket, specialist: Specialist): Promise<Answer> {
  const refusal = refuse(head, socket, specialist.config.authToken);
  if (refusal !== undefined) return refusal;
  const path = head.path.split('?', 1)[0];
  if (path !== '/healthz' && path !== '/readyz') {
    return problem(501, 'the OpenAI-compatible HTTP interface is not in this version; speak newline JSON on this port');
  }
  if (head.method !== 'GET' && head.method !== 'HEAD') {
    return {...problem(405, `${path} answers GET`), headers: {Allow: 'GET, HEAD'}};
  }
  const aiId = specialist.config.aiId;
  if (path === '/healthz') return {status: 200, body: {status: 'ok', ai_id: aiId}};
  const state = await readiness(specialist);
  return {status: state.status === 'healthy' ? 200 : 503, body: {ai_id: aiId, ...state}};
}

/** Web pages must not reach a local specialist through their visitor's browser, by name or by script. */
function refuse(head: Head, socket: Socket, token: string | undefined): Answer | undefined {
  const hosts = valuesOf(head, 'host');
  if (hosts.length > 1 || (hosts.length === 0 && head.version !== '1.0')) return problem(400, 'needs one Host header');
  if (isLoopback(socket.localAddress ?? '')) {
    if (hosts.some(host => !isLoopbackHost(host))) return problem(403, 'Host is not a name of this machine');
    if (valuesOf(head, 'origin').some(origin => !isLoopbackOrigin(origin))) return problem(403, 'foreign Origin');
  }
  if (token === undefined) return undefined;
  const given = valuesOf(head, 'authorization')[0] ?? '';
  if (/^bearer /i.test(given) && matchesToken(given.slice('bearer '.length).trim(), token)) return undefined;
  return {...problem(401, 'needs a bearer token'), headers: {'WWW-Authenticate': 'Bearer'}};
}

function parseHead(text: string): Head | undefined {
  const [first = '', ...lines] = text.split('\r\n');
  const [, method, path, version] = /^([A-Z]+) (\S+) HTTP\/(1\.[01])$/.exec(first) ?? [];
  if (method === undefined || path === undefined || version === undefined) return undefined;
  const headers: (readonly [string, string])[] = [];
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) return undefined;
    headers.push([name.toLowerCase(), value]);
  }
  return {method, path, version, headers};
}

function valuesOf(head: Head, name: string): readonly string[] {
  return head.headers.filter(([key]) => key === name).map(([, value]) => value);
}

function isLoopbackHost(host: string): boolean {
  const [, name] = /^(\[[0-9a-fA-F:.]+\]|[^:]*)(?::\d+)?$/.exec(host) ?? [];
  return name !== undefined && (/^localhost\.?$/i.test(name) || name === '[::1]' || /^127(\.\d{1,3}){3}$/.test(name));
}

function isLoopbackOrigin(origin: string): boolean {
  const [, host] = /^https?:\/\/([^/]*)$/i.exec(origin) ?? [];
  return host !== undefined && isLoopbackHost(host);
}

function problem(status: number, message: string): Answer {
  return {status, body: {error: {message, type: 'tekton_ai', code: status}}};
}

const statusTexts: Readonly<Record<number, string>> = {
  200: 'OK',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
};

function format({status, body, headers = {}}: Answer, method: string): string {
  const text = `${JSON.stringify(body)}\n`;
  const lines = {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(text)),
    'Cache-Control': 'no-store',
    Connection: 'close',
    ...headers,
  };
  const head = Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${statusTexts[status] ?? ''}\r\n${head.join('')}\r\n${method === 'HEAD' ? '' : text}`;
}
