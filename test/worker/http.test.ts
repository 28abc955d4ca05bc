import {afterEach, expect, it, test} from '@jest/globals';
import {bench} from './harness.js';
import type {Bench, Client} from './harness.js';

let made: Bench | undefined;
afterEach(async () => {
  await made?.stop();
  made = undefined;
});

async function ask(
  text: string,
  changes: Parameters<typeof bench>[0] = {},
): Promise<{status: number; body: string; raw: string}> {
  made ??= await bench(changes);
  const client: Client = made.client();
  client.socket.write(text);
  await client.end();
  client.socket.end();
  const [head = '', body = ''] = client.text.split('\r\n\r\n');
  return {status: Number(/^HTTP\/1\.1 (\d+) /.exec(head)?.[1]), body, raw: client.text};
}

const local = 'Host: localhost:45000\r\n';

test.each([
  ['the process is alive', `GET /healthz HTTP/1.1\r\n${local}\r\n`, 200, {status: 'ok', ai_id: 'athena-ai'}],
  ['a chat would be answered', `GET /readyz HTTP/1.1\r\n${local}\r\n`, 200, {status: 'healthy'}],
  ['HTTP/1.0 needs no Host', 'GET /healthz HTTP/1.0\r\n\r\n', 200, {status: 'ok'}],
  ['IPv6 loopback is this machine', 'GET /healthz HTTP/1.1\r\nHost: [::1]:1\r\n\r\n', 200, {status: 'ok'}],
  ['a local page may ask', `GET /healthz HTTP/1.1\r\n${local}Origin: http://127.0.0.1:3000\r\n\r\n`, 200, {}],
  [
    'there is no OpenAI interface yet',
    `POST /v1/chat/completions HTTP/1.1\r\n${local}Content-Length: 2\r\n\r\n{}`,
    501,
    {error: {message: expect.stringContaining('OpenAI-compatible')}},
  ],
  ['a probe is no POST', `POST /healthz HTTP/1.1\r\n${local}\r\n`, 405, {}],
  ['another name for this machine is refused', 'GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n', 403, {}],
  ['a name that only begins like ours is refused', 'GET / HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n', 403, {}],
  ['a foreign page is refused', `GET /readyz HTTP/1.1\r\n${local}Origin: https://evil.example\r\n\r\n`, 403, {}],
  ['an opaque origin is refused', `GET /readyz HTTP/1.1\r\n${local}Origin: null\r\n\r\n`, 403, {}],
  ['HTTP/1.1 needs a Host', 'GET /healthz HTTP/1.1\r\n\r\n', 400, {}],
  ['two Hosts are one too many', `GET /healthz HTTP/1.1\r\n${local}${local}\r\n`, 400, {}],
  ['a bad header is refused', `GET /healthz HTTP/1.1\r\n${local}no colon\r\n\r\n`, 400, {}],
  ['HTTP/2 is not spoken', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, {}],
  ['a head without end is refused', `GET /healthz HTTP/1.1\r\nX: ${'y'.repeat(20_000)}`, 431, {}],
])('says over HTTP that %s', async (_, request, status, body) => {
  const response = await ask(request);
  expect(response.status).toBe(status);
  expect(JSON.parse(response.body)).toMatchObject(body);
  expect(response.raw).toContain('\r\nConnection: close\r\n');
});

it('says unready with the reason', async () => {
  made = await bench();
  made.provider.answer = {available: false, reason: 'ModelNotFound', message: 'run: ollama pull m1'};
  const response = await ask(`GET /readyz HTTP/1.1\r\n${local}\r\n`);
  expect(response.status).toBe(503);
  expect(JSON.parse(response.body)).toEqual({
    ai_id: 'athena-ai',
    status: 'degraded',
    reason: 'ModelNotFound',
    message: 'run: ollama pull m1',
  });
});

it('answers HEAD without a body and with the length that GET has', async () => {
  const get = await ask(`GET /healthz HTTP/1.1\r\n${local}\r\n`);
  const head = await ask(`HEAD /healthz HTTP/1.1\r\n${local}\r\n`);
  expect(head.body).toBe('');
  expect(head.raw).toBe(get.raw.slice(0, get.raw.length - get.body.length));
});

it('reads a request that comes byte by byte', async () => {
  made = await bench();
  const client = made.client();
  client.socket.setNoDelay(true);
  for (const byte of `GET /healthz HTTP/1.1\r\n${local}\r\n`) {
    client.socket.write(byte);
    await new Promise(resolve => setImmediate(resolve));
  }
  await client.end();
  expect(client.text).toContain('HTTP/1.1 200 OK');
});

it('wants the token where there is one', async () => {
  const request = (token: string): string => `GET /healthz HTTP/1.1\r\n${local}${token}\r\n`;
  const statuses = [];
  for (const header of ['', 'Authorization: Bearer wrong\r\n', 'Authorization: Bearer secret-token\r\n']) {
    statuses.push((await ask(request(header), {authToken: 'secret-token'})).status);
  }
  expect(statuses).toEqual([401, 401, 200]);
});
