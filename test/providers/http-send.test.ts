import {createServer, type RequestListener, type Server} from 'node:http';
import {createServer as createTcpServer, type AddressInfo, type Server as TcpServer, type Socket} from 'node:net';
import {afterEach, describe, expect, it} from '@jest/globals';
import {HttpTimeoutError} from '../../src/providers/http-errors.js';
import {send, type HttpLimits} from '../../src/providers/http-send.js';
import {never} from '../contract/provider.js';

const limits: HttpLimits = {connectMs: 5000, idleMs: 5000};
let server: Server | TcpServer | undefined;

async function listen(listening: Server | TcpServer): Promise<URL> {
  server = listening;
  await new Promise<void>(resolve => listening.listen(0, '127.0.0.1', resolve));
  return new URL(`http://127.0.0.1:${(listening.address() as AddressInfo).port}/`); // TCP, so never a string
}

const serve = (listener: RequestListener): Promise<URL> => listen(createServer(listener));

function get(url: URL, more: Partial<HttpLimits> = {}, signal = never): Promise<Response> {
  const mapError = (error: unknown): unknown => error;
  return send({url, method: 'GET', headers: {}, limits: {...limits, ...more}, signal, mapError});
}

afterEach(async () => {
  if (server !== undefined && 'closeAllConnections' in server) server.closeAllConnections();
  await new Promise(resolve => server?.close(resolve));
});

describe('an HTTP exchange', () => {
  it('gives up when the answer stops coming', async () => {
    const url = await serve((_, response) => void response.write('half'));
    const response = await get(url, {idleMs: 20});
    await expect(response.text()).rejects.toBeInstanceOf(HttpTimeoutError);
  });

  it('does not count the time in which nobody reads', async () => {
    const url = await serve((_, response) => void response.end('x'.repeat(16 * 1024 * 1024)));
    const response = await get(url, {idleMs: 1000});
    await new Promise(resolve => setTimeout(resolve, 1200)); // more than the limit
    expect((await response.text()).length).toBe(16 * 1024 * 1024);
  });

  it('gives headers and bodies as they are', async () => {
    const url = await serve((_, response) => {
      response.writeHead(418, {'x-a': '1', 'set-cookie': ['a=1', 'b=2']}).end('short and stout');
    });
    const response = await get(url);
    expect([response.status, response.headers.get('x-a'), await response.text()]).toEqual([
      418,
      '1',
      'short and stout',
    ]);
  });

  it('gives a reply that has no body', async () => {
    const url = await serve((_, response) => void response.writeHead(204).end());
    expect((await get(url)).status).toBe(204);
  });

  it('asks again on a kept connection that the server closed meanwhile', async () => {
    // Answers one request on each connection and destroys it at the next one, as a server does whose idle time is over.
    const sockets: Socket[] = [];
    const url = await listen(
      createTcpServer(socket => {
        sockets.push(socket);
        socket.on('error', () => {});
        socket.once('data', () => {
          socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
          socket.once('data', () => socket.resetAndDestroy());
        });
      }),
    );
    expect(await (await get(url)).text()).toBe('ok');
    await new Promise(setImmediate); // the connection goes back to the agent
    expect(await (await get(url)).text()).toBe('ok');
    expect(sockets).toHaveLength(2);
    for (const socket of sockets) socket.destroy();
  });

  it('ends a reply that has come whole but is not read, without a trace', async () => {
    const url = await serve((_, response) => void response.end('unread'));
    const cancel = new AbortController();
    const response = await get(url, {}, cancel.signal);
    const reader = response.body?.getReader();
    await reader?.read();
    cancel.abort();
    await new Promise(resolve => setTimeout(resolve, 20)); // an error without a listener would end the test run here
    expect(response.status).toBe(200);
  });
});
