/** How long a provider that speaks HTTP waits, and what it says when it has waited enough. Part of the provider contract. */
import {createServer, type AddressInfo, type Socket} from 'node:net';
import {afterEach, beforeEach, describe, expect, it, test} from '@jest/globals';
import type {ProviderTimeouts} from '../../src/api/types.js';
import type {ProviderError} from '../../src/providers/provider.js';
import type {ModelServer, Reply} from '../fakes/model-server.js';
import {chatRequest, collect, failureOf, never, textOf, type HttpSubject} from './provider.js';

/** Over long before a test is. */
const soon = 0.1;
/** Never over in a test. */
const late = 600;

export function limitsContract({name, model, start, provide, label}: HttpSubject): void {
  describe(`the limits of ${name}`, () => {
    let server: ModelServer;
    beforeEach(async () => {
      server = await start();
    });
    afterEach(() => server.close());

    const cases: [string, Reply, ProviderTimeouts, string, string][] = [
      [
        'nothing at all',
        {silent: true},
        {firstTokenSeconds: soon},
        'firstToken',
        'did not begin to answer within 0.1 s',
      ],
      [
        'headers and nothing more',
        {hangAfter: 0},
        {firstTokenSeconds: soon, idleSeconds: 0.01},
        'firstToken',
        'did not begin to answer within 0.1 s',
      ],
      ['a first piece and nothing more', {hangAfter: 1}, {idleSeconds: soon}, 'idle', 'fell silent'],
      [
        'an answer without end',
        {chunks: Array.from({length: 10_000}, () => 'on and on '), chunkDelayMs: 1},
        {totalSeconds: 0.1},
        'total',
        'did not come to the end of its answer within 0.1 s',
      ],
    ];
    test.each(cases)('a server that sends %s is left', async (_name, reply, timeouts, limit, said) => {
      server.next({chunks: ['one', 'two'], ...reply});
      const provider = await provide(server.url, {
        timeouts: {connectSeconds: late, firstTokenSeconds: late, idleSeconds: late, totalSeconds: late, ...timeouts},
      });
      // The size of the context is declared, so that nothing else is asked.
      const request = chatRequest(model, 'hello', {parameters: {contextTokens: 4096}});
      await provider.check([model], never); // loads the SDK, which takes a part of a limit as short as these
      const error = await failureOf(provider.chat(request, never));
      expect(error).toMatchObject({code: 'timeout', retryable: true});
      expect(error.message).toContain(`${label(server.url)} ${said}`);
      expect(error.message).toContain(`, the limit timeouts.${limit}Seconds of provider "lab"; raise it`);
      const [chat, ...more] = server.requests.filter(({body}) => 'messages' in body);
      expect(await chat?.cut).not.toBe(false); // undefined: the machine was so busy that the limit came first
      expect(more).toEqual([]);
    });

    it('a connection that does not come to stand is given up', async () => {
      await withSilentPort(async port => {
        const provider = await provide(`https://127.0.0.1:${port}`, {timeouts: {connectSeconds: soon}});
        const request = chatRequest(model, 'hello', {parameters: {contextTokens: 4096}});
        const error: ProviderError = await failureOf(provider.chat(request, never));
        expect(error).toMatchObject({code: 'provider_unreachable', retryable: true});
        expect(error.message).toContain(
          'does not answer (no connection within 0.1 s, the limit timeouts.connectSeconds of provider "lab")',
        );
      });
    });

    it('the pace of an answer is not limited while it goes on', async () => {
      const chunks = Array.from({length: 20}, (_, n) => `${n} `);
      server.next({chunks, chunkDelayMs: 5});
      const provider = await provide(server.url, {timeouts: {idleSeconds: 5, firstTokenSeconds: 5}});
      expect(textOf(await collect(provider.chat(chatRequest(model), never)))).toBe(chunks.join(''));
    });
  });
}

/** Calls `use` with a port that takes connections and never says a word: no TLS comes about on it. */
async function withSilentPort(use: (port: number) => Promise<void>): Promise<void> {
  const sockets: Socket[] = [];
  const silent = createServer(socket => sockets.push(socket.on('error', () => {})));
  await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve));
  try {
    await use((silent.address() as AddressInfo).port); // a TCP server's address is never a string
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise(resolve => silent.close(resolve));
  }
}
