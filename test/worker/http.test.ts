/** HTTP on a specialist's port, byte by byte: who is let in, what is understood, and how connections end. */
import {afterEach, describe, expect, it, test} from '@jest/globals';
import {createServer} from 'node:net';
import type {AddressInfo, Server} from 'node:net';
import {serve} from '../../src/worker/connection.js';
import {HttpService} from '../../src/worker/http/service.js';
import {silentLog} from '../../src/worker/log.js';
import {Specialist} from '../../src/worker/specialist.js';
import {bench, Client, configOf, HandProvider, until} from './harness.js';
import type {Bench} from './harness.js';

let made: Bench | undefined;
let servers: Server[] = [];
afterEach(async () => {
  await made?.stop();
  made = undefined;
  for (const server of servers) server.close();
  servers = [];
});

interface Response {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** All whole responses that have come. */
function responses(text: string): readonly Response[] {
  const found: Response[] = [];
  for (let rest = text; ;) {
    const end = rest.indexOf('\r\n\r\n');
    if (end === -1) return found;
    const head = rest.slice(0, end);
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    if (rest.length < end + 4 + length) return found;
    const status = Number(/^HTTP\/1\.1 (\d+) /.exec(head)?.[1]);
    found.push({status, head, body: rest.slice(end + 4, end + 4 + length)});
    rest = rest.slice(end + 4 + length);
  }
}

async function send(text: string | Buffer, changes: Parameters<typeof bench>[0] = {}): Promise<Client> {
  made ??= await bench(changes);
  const client = made.client();
  client.socket.write(text);
  return client;
}

async function ask(text: string | Buffer, changes: Parameters<typeof bench>[0] = {}): Promise<Response> {
  const client = await send(text, changes);
  await until(() => responses(client.text).length > 0 || client.closed, 'a response');
  return responses(client.text)[0] ?? {status: 0, head: '', body: client.text};
}

const local = 'Host: localhost:45000\r\n';
const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\n${local}${more}\r\n`;
const post = (body: string, more = ''): string =>
  `POST /v1/chat/completions HTTP/1.1\r\n${local}${more}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
const question = (content: string): string => JSON.stringify({messages: [{role: 'user', content}]});

test.each([
  ['the process is alive', get('/healthz'), 200, {status: 'ok', ai_id: 'athena-ai'}],
  ['a chat would be answered', get('/readyz?verbose'), 200, {status: 'healthy'}],
  ['HTTP/1.0 needs no Host', 'GET /healthz HTTP/1.0\r\n\r\n', 200, {status: 'ok'}],
  ['IPv6 loopback is this machine', 'GET /healthz HTTP/1.1\r\nHost: [::1]:1\r\n\r\n', 200, {status: 'ok'}],
  ['a local page may ask', get('/healthz', 'Origin: http://127.0.0.1:3000\r\n'), 200, {}],
  ['a path is not answered', get('/v1/completions'), 404, {error: {code: 'unknown_url'}}],
  ['a probe is no POST', `POST /healthz HTTP/1.1\r\n${local}\r\n`, 405, {}],
  ['a chat is no GET', get('/v1/chat/completions'), 405, {}],
  ['another name for this machine is refused', 'GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n', 403, {}],
  ['a name that only begins like ours is refused', 'GET / HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n', 403, {}],
  ['a foreign page is refused', get('/metrics', 'Origin: https://evil.example\r\n'), 403, {}],
  ['an opaque origin is refused', get('/readyz', 'Origin: null\r\n'), 403, {}],
  ['a second, foreign Origin is refused', get('/', 'Origin: http://localhost\r\nOrigin: http://evil\r\n'), 403, {}],
  [
    'an Origin behind thousands of headers is seen',
    get('/readyz', `${'a:\r\n'.repeat(3000)}Origin: http://evil.example\r\n`),
    403,
    {},
  ],
  ['HTTP/1.1 needs a Host', 'GET /healthz HTTP/1.1\r\n\r\n', 400, {}],
  ['two Hosts are one too many', `GET /healthz HTTP/1.1\r\n${local}${local}\r\n`, 400, {}],
  ['a target is a path', `GET http://localhost/healthz HTTP/1.1\r\n${local}\r\n`, 400, {}],
  ['a bad header is refused', get('/healthz', 'no colon\r\n'), 400, {}],
  ['HTTP/2 is not spoken', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, {}],
  ['HTTP/0.9 is not spoken', 'GET /healthz\r\n\r\n', 400, {}],
  ['it is no proxy', `CONNECT localhost:1 HTTP/1.1\r\n${local}\r\n`, 405, {}],
  ['a head without end is refused', `GET /healthz HTTP/1.1\r\nX: ${'y'.repeat(20_000)}`, 431, {}],
  [
    'a body that is announced as too long is refused',
    `POST /v1/chat/completions HTTP/1.1\r\n${local}Content-Length: 8388609\r\n\r\n`,
    413,
    {},
  ],
  ['a body that is not JSON is refused', post('{"messages": ['), 400, {error: {code: 'invalid_json'}}],
  ['a body that is not an object is refused', post('[]'), 400, {error: {type: 'invalid_request_error'}}],
])('says over HTTP that %s', async (_, request, status, body) => {
  const response = await ask(request);
  expect(JSON.parse(response.body)).toMatchObject(body);
  expect(response.status).toBe(status);
});

describe('a request that two parsers could read in two ways', () => {
  const chunked = (head: string, body = '0\r\n\r\n'): string =>
    `POST /v1/chat/completions HTTP/1.1\r\n${local}${head}\r\n\r\n${body}`;
  const smuggled = get('/smuggled');
  test.each([
    ['both lengths', chunked(`Content-Length: 5\r\nTransfer-Encoding: chunked`)],
    ['both lengths, the other way round', chunked(`Transfer-Encoding: chunked\r\nContent-Length: 5`)],
    ['two lengths', chunked('Content-Length: 5\r\nContent-Length: 6')],
    ['the same length twice', chunked('Content-Length: 5\r\nContent-Length: 5')],
    ['a list of lengths', chunked('Content-Length: 5, 5')],
    ['a signed length', chunked('Content-Length: +5')],
    ['a negative length', chunked('Content-Length: -5')],
    ['a hexadecimal length', chunked('Content-Length: 0x5')],
    ['a space before the colon', chunked('Content-Length : 5')],
    ['a folded header', chunked('X: a\r\n b')],
    ['a folded coding', chunked('Transfer-Encoding:\r\n chunked')],
    ['a coding that only ends like chunked', chunked('Transfer-Encoding: xchunked')],
    ['chunked twice', chunked('Transfer-Encoding: chunked, chunked')],
    ['chunked and then another', chunked('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity')],
    ['another coding and then chunked', chunked('Transfer-Encoding: gzip, chunked')],
    ['chunks in HTTP/1.0', chunked('Transfer-Encoding: chunked').replace('1.1', '1.0')],
    ['bare line feeds', `GET /healthz HTTP/1.1\nHost: localhost\n\n${smuggled}`],
    ['a bare line feed after a header', `GET /healthz HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n${smuggled}`],
    ['a bare carriage return', `GET /healthz HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n${smuggled}`],
    ['a NUL', get('/healthz', 'X: a\0b\r\n')],
    ['a chunk size in another notation', chunked('Transfer-Encoding: chunked', `0x5\r\nhello\r\n0\r\n\r\n${smuggled}`)],
    ['a chunk size that overflows', chunked('Transfer-Encoding: chunked', `fffffffffffffffff\r\nx\r\n0\r\n\r\n`)],
    ['a chunk that is longer than it says', chunked('Transfer-Encoding: chunked', `1\r\nhello\r\n0\r\n\r\n`)],
    ['a chunk line with a bare line feed', chunked('Transfer-Encoding: chunked', `5\nhello\r\n0\r\n\r\n`)],
    ['a length behind the chunks', chunked('Transfer-Encoding: chunked', `0\r\nContent-Length: 5\r\n\r\n`)],
  ])('is refused, and nothing after it is read: %s', async (_, bytes) => {
    const client = await send(bytes);
    await until(() => client.ended || client.closed, 'the end of the connection');
    const [first, ...more] = responses(client.text);
    expect([400, 501]).toContain(first?.status);
    expect(more).toEqual([]);
    expect(client.text.slice(0, -(first?.body.length ?? 0))).toContain('Connection: close');
    expect(made?.provider.calls).toEqual([]);
  });
});

it('says unready with the reason', async () => {
  made = await bench();
  made.provider.answer = {available: false, reason: 'ModelNotFound', message: 'run: ollama pull m1'};
  const response = await ask(get('/readyz'));
  expect(response.status).toBe(503);
  expect(JSON.parse(response.body)).toEqual({
    ai_id: 'athena-ai',
    status: 'degraded',
    reason: 'ModelNotFound',
    message: 'run: ollama pull m1',
  });
});

it('answers HEAD without a body and with the length that GET has', async () => {
  const whole = await ask(get('/healthz'));
  const client = await send(get('/healthz').replace('GET', 'HEAD'));
  await until(() => client.text.includes('\r\n\r\n'), 'the head');
  expect(client.text).toContain(`Content-Length: ${whole.body.length}\r\n`);
  expect(client.text.endsWith('\r\n\r\n')).toBe(true);
});

it('reads a request that comes byte by byte, and the next one on the same connection', async () => {
  const client = await send('');
  client.socket.setNoDelay(true);
  for (const byte of get('/healthz') + get('/v1/models')) {
    client.socket.write(byte);
    await new Promise(resolve => setImmediate(resolve));
  }
  await until(() => responses(client.text).length === 2, 'two responses');
  expect(responses(client.text).map(({status}) => status)).toEqual([200, 200]);
  expect(client.closed).toBe(false);
});

it('wants the token where there is one, on every path', async () => {
  const statuses = [];
  for (const path of ['/healthz', '/metrics', '/v1/models']) {
    for (const header of ['', 'Authorization: Bearer wrong\r\n', 'Authorization: Bearer secret-token\r\n']) {
      statuses.push((await ask(get(path, header), {authToken: 'secret-token'})).status);
    }
  }
  expect(statuses).toEqual([401, 401, 200, 401, 401, 200, 401, 401, 200]);
});

it('lets a page of this machine read its answers, after asking whether it may', async () => {
  const origin = 'Origin: http://localhost:3000\r\n';
  const preflight = await ask(
    `OPTIONS /v1/chat/completions HTTP/1.1\r\n${local}${origin}` +
      'Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, content-type\r\n\r\n',
    {authToken: 'secret-token'},
  );
  expect(preflight.status).toBe(204);
  expect(preflight.head).toContain('Access-Control-Allow-Origin: http://localhost:3000');
  expect(preflight.head).toContain('Access-Control-Allow-Methods: POST');
  expect(preflight.head).toContain('Access-Control-Allow-Headers: authorization, content-type');
  const answer = await ask(get('/v1/models', `${origin}Authorization: Bearer secret-token\r\n`));
  expect(answer.head).toContain('Access-Control-Allow-Origin: http://localhost:3000');
});

it('answers pipelined requests in their order, one after the other', async () => {
  made = await bench();
  const client = await send(post(question('first')) + get('/healthz') + post(question('second')));
  const first = await made.provider.call(0);
  expect(made.provider.calls).toHaveLength(1);
  first.end('one');
  (await made.provider.call(1)).end('two');
  await until(() => responses(client.text).length === 3, 'three responses');
  const bodies = responses(client.text).map(({body}) => body);
  expect([bodies[0]?.includes('"one"'), bodies[1]?.includes('ok'), bodies[2]?.includes('"two"')]).toEqual([
    true,
    true,
    true,
  ]);
});

it('reads no further behind 32 requests that wait', async () => {
  made = await bench();
  const client = await send(post(question('slow')) + get('/healthz').repeat(100));
  (await made.provider.call(0)).end('done');
  await client.end();
  const answers = responses(client.text);
  expect(answers).toHaveLength(32);
  expect(answers.at(-1)?.head).toContain('Connection: close');
});

it('answers what it has understood before it ends a connection that went wrong', async () => {
  made = await bench();
  const client = await send(`${post(question('fine'))}POST / HTTP/9\r\n\r\n`);
  (await made.provider.call(0)).end('answered');
  await client.end();
  expect(responses(client.text)[0]?.body).toContain('answered');
  expect(client.text).not.toContain('HTTP/1.1 200 OK HTTP/1.1');
});

it('ends a stream before it complains of what came behind its request', async () => {
  made = await bench();
  const body = JSON.stringify({stream: true, messages: [{role: 'user', content: 'go on'}]});
  const client = await send(post(body));
  const call = await made.provider.call(0);
  call.say('a piece');
  await until(() => client.text.includes('a piece'), 'the stream');
  client.socket.write('\x00\x01\x02 garbage\r\n\r\n');
  call.end(' and the rest');
  await client.end();
  const at = ['a piece', ' and the rest', '[DONE]', 'HTTP/1.1 400 '].map(text => client.text.indexOf(text));
  expect(at).toEqual([...at].sort((a, b) => a - b));
  expect(at).not.toContain(-1);
});

it('gives a half-closed client its answer', async () => {
  made = await bench();
  const client = await send('');
  client.socket.end(post(question('last words')));
  (await made.provider.call(0)).end('heard');
  await client.end();
  expect(responses(client.text)[0]?.body).toContain('heard');
});

it('stops the call of a client that is gone', async () => {
  made = await bench();
  const client = await send(post(question('never mind')));
  const call = await made.provider.call(0);
  client.close();
  await until(() => call.signal.aborted, 'the call to be stopped');
});

it('forgets a request whose client leaves in the middle of it', async () => {
  made = await bench();
  const client = await send(post(question('half')).slice(0, -5));
  const health = made.client();
  health.send({type: 'health', request_id: 1});
  expect((await health.line())['clients']).toBe(2);
  client.close();
  await until(() => {
    health.send({type: 'health', request_id: 2});
    return health.lines.at(-1)?.['clients'] === 1;
  }, 'the connection to be gone');
  expect(made.provider.calls).toEqual([]);
});

it('refuses a body of more than 8 MiB as soon as that is known, and lives on', async () => {
  const client = await send(`POST /v1/chat/completions HTTP/1.1\r\n${local}Transfer-Encoding: chunked\r\n\r\n`);
  const mib = 'x'.repeat(1024 * 1024);
  for (let n = 0; n < 8; n++) client.socket.write(`${mib.length.toString(16)}\r\n${mib}\r\n`);
  client.socket.write('1\r\nx\r\n');
  await until(() => responses(client.text).length > 0, 'the refusal');
  expect(responses(client.text)[0]?.status).toBe(413);
  client.socket.write(`0\r\n\r\n${get('/healthz')}`);
  await until(() => responses(client.text).length > 1, 'the next answer');
  expect(responses(client.text)[1]?.status).toBe(200);
});

it('takes a body of exactly 8 MiB', async () => {
  made = await bench();
  made.provider.answer = {available: true}; // of an unknown window
  const frame = question('').length;
  const client = await send(post(question('x'.repeat(8 * 1024 * 1024 - frame))));
  const call = await made.provider.call(0);
  expect(call.request.messages[0]?.content).toHaveLength(8 * 1024 * 1024 - frame);
  call.end('long');
  await until(() => responses(client.text).length > 0, 'the answer');
});

it('asks for a body only when it wants it', async () => {
  made = await bench();
  const body = question('big');
  const expecting = post(body, 'Expect: 100-continue\r\n').slice(0, -body.length);
  const client = await send(expecting);
  await until(() => client.text === 'HTTP/1.1 100 Continue\r\n\r\n', 'the go-ahead');
  client.socket.write(body);
  (await made.provider.call(0)).end('ok');
  await until(() => client.text.includes('HTTP/1.1 200 OK'), 'the answer');
  const foreign = await ask(expecting.replace('localhost', 'evil.example'));
  expect(foreign.status).toBe(403);
});

/** A specialist's port with less patience than usual. */
async function impatient(timeouts: ConstructorParameters<typeof HttpService>[1]): Promise<Client> {
  const createProvider = async (): Promise<HandProvider> => new HandProvider();
  const specialist = new Specialist({config: configOf(), uid: 'u', createProvider, log: silentLog, now: () => 0});
  const http = new HttpService(specialist, timeouts);
  const server = createServer({allowHalfOpen: true}, socket => {
    serve(socket, specialist, begin => http.serve(socket, begin));
  });
  servers.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  server.on('close', () => http.close());
  return new Client((server.address() as AddressInfo).port);
}

const patience = {headMs: 60_000, requestMs: 60_000, idleMs: 60_000, lookMs: 10};

test.each([
  ['a head', {headMs: 30}, 'GET /healthz HTT', 408],
  ['a second head', {headMs: 30}, `${get('/healthz')}GET /healthz HTT`, 408],
  ['a body', {headMs: 30, requestMs: 30}, post(question('x')).slice(0, -3), 408],
  ['a next request', {idleMs: 30}, get('/healthz'), 200],
])('waits for %s only so long', async (_, timeouts, bytes, status) => {
  const client = await impatient({...patience, ...timeouts});
  client.socket.write(bytes);
  await until(() => client.ended || client.closed, 'the end of the connection');
  const last = responses(client.text).at(-1);
  expect(last?.status).toBe(status);
  expect(JSON.parse(last?.body ?? '')).toMatchObject(
    status === 408 ? {error: {type: 'invalid_request_error'}} : {status: 'ok'},
  );
  client.close();
});
