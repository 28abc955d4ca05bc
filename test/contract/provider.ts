/**
 * What holds for every provider (`providerContract`), and for every one that speaks to a server over HTTP
 * (`httpProviderContract`), whatever its wire format.
 */
import {createServer, type AddressInfo} from 'node:net';
import {afterEach, beforeEach, describe, expect, it, test} from '@jest/globals';
import type {ModelCheck, ResolvedProvider} from '../../src/api/types.js';
import {ProviderError, type ChatEvent, type ChatRequest, type Provider} from '../../src/providers/provider.js';
import {limitsContract} from './provider-limits.js';
import {toolsContract} from './provider-tools.js';
import type {ModelServer, Refusal, Reply, SeenRequest} from '../fakes/model-server.js';

export const never = new AbortController().signal;

export function chatRequest(model: string, content = 'hello there', more: Partial<ChatRequest> = {}): ChatRequest {
  return {model, system: 'You are Athena.', messages: [{role: 'user', content}], parameters: {}, ...more};
}

export async function collect(events: AsyncIterable<ChatEvent>): Promise<ChatEvent[]> {
  const all: ChatEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

export function textOf(events: readonly ChatEvent[]): string {
  return events.map(event => (event.type === 'text' ? event.text : '')).join('');
}

/** The ProviderError that a chat ends with. */
export async function failureOf(events: AsyncIterable<ChatEvent>): Promise<ProviderError> {
  const error = await collect(events).then(
    all => new Error(`the chat ended well: ${JSON.stringify(all)}`),
    (thrown: unknown) => thrown,
  );
  if (error instanceof ProviderError) return error;
  throw error;
}

/** Resolves once `holds`; the test's own time limit bounds it. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(resolve => setTimeout(resolve, 5));
}

export interface Subject {
  readonly name: string;
  readonly model: string;
  /** A provider whose answer has at least two pieces of text. */
  readonly provide: () => Promise<Provider>;
}

export function providerContract({name, model, provide}: Subject): void {
  describe(`${name} as a provider`, () => {
    it('streams text, and ends with one `end` that counts tokens', async () => {
      const events = await collect((await provide()).chat(chatRequest(model), never));
      expect(events.filter(event => event.type === 'end')).toHaveLength(1);
      expect(events.at(-1)).toEqual({
        type: 'end',
        model,
        stopReason: 'end',
        inputTokens: expect.any(Number),
        outputTokens: expect.any(Number),
      });
      expect(events.filter(event => event.type === 'text').length).toBeGreaterThan(1);
      expect(textOf(events)).not.toBe('');
    });

    it('throws the reason of a signal that has aborted before', async () => {
      const reason = new Error('changed my mind');
      const provider = await provide();
      await expect(collect(provider.chat(chatRequest(model), AbortSignal.abort(reason)))).rejects.toBe(reason);
      await expect(provider.check([model], AbortSignal.abort(reason))).rejects.toBe(reason);
    });

    it('throws the reason of a signal that aborts in the middle of the answer', async () => {
      const cancel = new AbortController();
      const reason = new Error('changed my mind');
      const seen: ChatEvent[] = [];
      const reading = (async () => {
        for await (const event of (await provide()).chat(chatRequest(model), cancel.signal)) {
          seen.push(event);
          cancel.abort(reason);
        }
      })();
      await expect(reading).rejects.toBe(reason);
      expect(seen.map(event => event.type)).toEqual(['text']);
    });

    it('counts the tokens of a request, where it counts, without answering it', async () => {
      const provider = await provide();
      const tokens = await provider.countTokens?.(chatRequest(model, 'hello there'), never);
      const more = await provider.countTokens?.(chatRequest(model, 'hello there, and more than that'), never);
      expect(tokens === undefined).toBe(more === undefined);
      if (tokens === undefined || more === undefined) return;
      expect(tokens).toBeGreaterThan(0);
      expect(more).toBeGreaterThan(tokens);
    });

    it('says of each model that it is asked about whether it is there', async () => {
      const checks = await (await provide()).check([model], never);
      expect([...checks.keys()]).toEqual([model]);
      expect(checks.get(model)).toMatchObject({available: true});
    });
  });
}

export interface HttpSubject {
  readonly name: string;
  readonly model: string;
  readonly start: () => Promise<ModelServer>;
  /** A provider that speaks to the server at `url`, with the key `key` unless said otherwise. */
  readonly provide: (url: string, more?: Partial<ResolvedProvider>) => Promise<Provider>;
  /** How messages name the server. */
  readonly label: (url: string) => string;
  /** What the server calls an answer that reached its token limit. */
  readonly lengthReason: string;
  /** The server says how much of the prompt it had cached. */
  readonly tellsCached: boolean;
}

export const key = 'sk-test-0123456789abcdef';
export const keyVariable = 'LAB_KEY';

export function httpProviderContract(subject: HttpSubject): void {
  limitsContract(subject);
  toolsContract(subject);
  const {model} = subject;
  let server: ModelServer;
  let provider: Provider;

  const reset = async (): Promise<void> => {
    server = await subject.start();
    provider = await subject.provide(server.url);
  };
  const chat = (content?: string, signal: AbortSignal = never): AsyncIterable<ChatEvent> =>
    provider.chat(chatRequest(model, content), signal);
  const chats = (): readonly SeenRequest[] => server.requests.filter(({body}) => 'messages' in body);
  const check = async (): Promise<ModelCheck | undefined> => (await provider.check([model], never)).get(model);

  providerContract({
    name: subject.name,
    model,
    async provide() {
      return provider;
    },
  });

  beforeEach(reset);
  afterEach(() => server.close());

  describe(`${subject.name} over HTTP`, () => {
    it('tells tokens, and that an answer was cut by its limit', async () => {
      server.next({chunks: ['a', 'b'], inputTokens: 21, outputTokens: 34, stopReason: subject.lengthReason});
      expect(await collect(chat())).toEqual([
        {type: 'text', text: 'a'},
        {type: 'text', text: 'b'},
        {type: 'end', model, stopReason: 'length', inputTokens: 21, outputTokens: 34},
      ]);
    });

    it('gives an empty answer as no text and an end', async () => {
      server.next({chunks: []});
      expect((await collect(chat())).map(event => event.type)).toEqual(['end']);
    });

    test.each([1, 2, 3, 7])('puts characters together that arrive in pieces of %d bytes', async pieceBytes => {
      const chunks = ['Ἀθηνᾶ — ', '図書館', ' 🦉🏛️', 'é\u2028"\\\n'];
      server.next({chunks, pieceBytes});
      expect(textOf(await collect(chat()))).toBe(chunks.join(''));
    });

    it('reads on behind bytes that are no UTF-8', async () => {
      server.next({chunks: ['one ', 'BAD', ' two'], badByteFor: 'BAD'});
      expect(textOf(await collect(chat()))).toBe('one \ufffd two');
    });

    it('gives an answer of 5 MB whole', async () => {
      const piece = 'αβγδ0123'.repeat(8 * 1024);
      server.next({chunks: Array.from({length: 56}, () => piece)});
      expect(textOf(await collect(chat()))).toBe(piece.repeat(56));
    });

    it('lets a server wait while nobody reads, and then gives everything', async () => {
      const piece = 'x'.repeat(128 * 1024);
      const count = 256;
      server.next({chunks: Array.from({length: count}, () => piece)});
      const events = chat()[Symbol.asyncIterator]();
      await events.next();
      const sent = await settled(() => chats()[0]?.sentBytes() ?? 0);
      expect(sent).toBeLessThan((count * piece.length) / 2);
      let rest = 0;
      for (let next = await events.next(); next.done !== true; next = await events.next()) {
        if (next.value.type === 'text') rest += next.value.text.length;
      }
      expect(rest).toBe((count - 1) * piece.length);
    });

    it('closes the connection when it is cancelled in the middle', async () => {
      server.next({chunks: ['one', 'two'], hangAfter: 1});
      const cancel = new AbortController();
      const reason = new Error('cancelled');
      const events = chat('hello', cancel.signal)[Symbol.asyncIterator]();
      await events.next();
      const more = events.next();
      cancel.abort(reason);
      await expect(more).rejects.toBe(reason);
      expect(await chats()[0]?.cut).toBe(true);
    });

    it('closes the connection when it is cancelled before anything has come', async () => {
      server.next({silent: true});
      const cancel = new AbortController();
      const reason = new Error('cancelled');
      const more = chat('hello', cancel.signal)[Symbol.asyncIterator]().next();
      await until(() => chats().length === 1);
      cancel.abort(reason);
      await expect(more).rejects.toBe(reason);
      expect(await chats()[0]?.cut).toBe(true);
    });

    it('closes the connection when its reader leaves', async () => {
      server.next({chunks: ['one', 'two'], hangAfter: 1});
      for await (const event of chat()) {
        expect(event).toEqual({type: 'text', text: 'one'});
        break;
      }
      expect(await chats()[0]?.cut).toBe(true);
    });

    it('can be cancelled while it waits to try again', async () => {
      server.next({refusal: {status: 503, headers: {'retry-after': '9'}}});
      const cancel = new AbortController();
      const reason = new Error('cancelled');
      const more = chat('hello', cancel.signal)[Symbol.asyncIterator]().next();
      await until(() => chats().length === 1);
      await chats()[0]?.cut;
      cancel.abort(reason);
      await expect(more).rejects.toBe(reason);
      expect(chats()).toHaveLength(1);
    });

    it('names the address of a server that refuses connections, in chats and checks', async () => {
      const url = await deadUrl();
      const gone = await subject.provide(url);
      const error = await failureOf(gone.chat(chatRequest(model), never));
      expect(error).toMatchObject({code: 'provider_unreachable', retryable: true});
      expect(error.message).toContain(`${subject.label(url)} does not answer (connection refused)`);
      expect((await gone.check([model, 'another'], never)).get('another')).toMatchObject({
        available: false,
        reason: 'ProviderUnreachable',
        message: expect.stringContaining('connection refused'),
      });
    });

    const refusals: [string, Refusal, Partial<ProviderError>, Partial<ModelCheck>][] = [
      ['401', {status: 401}, {code: 'unauthorized', retryable: false}, {available: false, reason: 'Unauthorized'}],
      ['403', {status: 403}, {code: 'unauthorized', retryable: false}, {available: false, reason: 'Unauthorized'}],
      ['400', {status: 400}, {code: 'bad_request', retryable: false}, {available: false, reason: 'ProviderError'}],
      ['413', {status: 413}, {code: 'bad_request', retryable: false}, {available: false, reason: 'ProviderError'}],
      ['429', {status: 429}, {code: 'quota_exceeded', retryable: true}, {available: true}],
      [
        '429 for want of money',
        {status: 429, kind: 'insufficient_quota', message: 'Your credit balance is too low.'},
        {code: 'quota_exceeded', retryable: false},
        {available: false, reason: 'QuotaExceeded'},
      ],
      ['500', {status: 500}, {code: 'provider_error', retryable: true}, {available: false, reason: 'ProviderError'}],
      [
        '502 with a page',
        {status: 502, body: '<html>', headers: {'content-type': 'text/html'}},
        {code: 'provider_error', retryable: true},
        {available: false, reason: 'ProviderError'},
      ],
      ['503', {status: 503}, {code: 'overloaded', retryable: true}, {available: false, reason: 'ProviderError'}],
      ['529', {status: 529}, {code: 'overloaded', retryable: true}, {available: false, reason: 'ProviderError'}],
      [
        '301',
        {status: 301, headers: {location: 'http://elsewhere.invalid/'}},
        {code: 'provider_error', retryable: false},
        {available: false, reason: 'ProviderError'},
      ],
    ];

    test.each(refusals)('tells what %s means', async (_name, refusal, failure, checked) => {
      server.refuse({...refusal, headers: {'retry-after-ms': '1', ...refusal.headers}});
      const error = await failureOf(chat());
      expect(error).toMatchObject({...failure, status: refusal.status});
      expect(error.message).toContain(subject.label(server.url));
      expect(chats()).toHaveLength(failure.retryable === true ? 3 : 1);
      expect(await check()).toMatchObject(checked);
    });

    it('names the variable of a refused key, and never the key, though the server repeats it', async () => {
      server.refuse({status: 401, message: `Incorrect API key provided: ${key}`});
      const error = await failureOf(chat());
      expect(error.message).toContain(keyVariable);
      expect(JSON.stringify([error, error.message, await check()])).not.toContain(key);
      server.refuse({status: 400, message: `bad header ${key}`});
      expect((await failureOf(chat())).message).not.toContain(key);
    });

    it('keeps the prompt out of errors, though the server repeats it', async () => {
      const content = 'The quarterly figures of our company are secret';
      server.refuse({status: 400, message: `cannot parse: "${content.slice(5)}"`});
      const error = await failureOf(chat(content));
      expect(error.message).not.toContain('quarterly');
      expect(error.code).toBe('bad_request');
    });

    it('tries twice more where the server turned it away for a while', async () => {
      const away: Reply = {refusal: {status: 503, headers: {'retry-after-ms': '1'}}};
      server.next(away, away, {chunks: ['at last']});
      expect(textOf(await collect(chat()))).toBe('at last');
      expect(chats()).toHaveLength(3);
    });

    test.each([429, 503, 529])('leaves a long wait after %d to its caller', async status => {
      server.next({refusal: {status, headers: {'retry-after': '120'}}});
      expect(await failureOf(chat())).toMatchObject({retryable: true, status, retryAfterMs: 120_000});
      expect(chats()).toHaveLength(1);
    });

    it('reads the date until which it is to wait', async () => {
      const date = new Date(Date.now() + 3_600_000).toUTCString();
      server.next({refusal: {status: 429, headers: {'retry-after': date}}});
      const {retryAfterMs} = await failureOf(chat());
      expect(retryAfterMs).toBeGreaterThan(3_000_000);
      expect(retryAfterMs).toBeLessThanOrEqual(3_600_000);
      expect(chats()).toHaveLength(1);
    });

    it('asks again at once where the date has passed', async () => {
      const headers = {'retry-after': new Date(Date.now() - 60_000).toUTCString()};
      server.next({refusal: {status: 503, headers}}, {chunks: ['at last']});
      expect(textOf(await collect(chat()))).toBe('at last');
    });

    it('of one type may be several, each with its own address, key and name', async () => {
      const other = await subject.start();
      try {
        const second = await subject.provide(other.url, {
          name: 'second',
          apiKey: 'sk-second-0123456789',
          apiKeyFrom: 'SECOND',
        });
        server.next({chunks: ['first']});
        other.next({chunks: ['second']}, {refusal: {status: 401}});
        const answers = await Promise.all([collect(chat()), collect(second.chat(chatRequest(model), never))]);
        expect(answers.map(textOf)).toEqual(['first', 'second']);
        expect(JSON.stringify(server.requests)).not.toContain('sk-second');
        expect(JSON.stringify(other.requests)).not.toContain(key);
        const error = await failureOf(second.chat(chatRequest(model), never));
        expect(error.message).toContain(other.url);
        expect(error.message).toContain('SECOND');
      } finally {
        await other.close();
      }
    });

    it('says that a model is not there', async () => {
      const error = await failureOf(provider.chat(chatRequest('nobody:1b'), never));
      expect(error).toMatchObject({code: 'model_not_found', retryable: false, status: 404});
      expect(error.message).toContain('nobody:1b');
      const checks = await provider.check([model, 'nobody:1b'], never);
      expect(Object.fromEntries(checks)).toEqual({
        [model]: expect.objectContaining({available: true}),
        'nobody:1b': {available: false, reason: 'ModelNotFound', message: expect.stringContaining('nobody:1b')},
      });
    });

    test.each<[string, Reply]>([
      ['closes the connection', {breakAfter: 1}],
      ['closes the connection before any text', {breakAfter: 0}],
      ['ends without the closing part', {stopShortAfter: 1}],
      ['ends without anything', {stopShortAfter: 0}],
      ['sends half a line and ends', {insertAfter: {chunks: 1, raw: 'data: {"mess'}, stopShortAfter: 1}],
    ])('reports an answer as broken where the server %s', async (_name, reply) => {
      server.next({chunks: ['one', 'two'], ...reply});
      expect(await failureOf(chat())).toMatchObject({code: 'provider_error'});
      expect(chats()).toHaveLength(1);
    });

    it('prints nothing about an answer that it cannot read', async () => {
      const written: unknown[] = [];
      const {log, warn, error} = console;
      Object.assign(console, {log: record, warn: record, error: record});
      function record(...args: unknown[]): void {
        written.push(args);
      }
      try {
        server.next(
          {chunks: ['one'], insertAfter: {chunks: 1, raw: 'event: content_block_delta\ndata: {not json\n\n'}},
          {refusal: {status: 400, body: 'plain text'}},
        );
        await failureOf(chat());
        await failureOf(chat());
      } finally {
        Object.assign(console, {log, warn, error});
      }
      expect(written).toEqual([]);
    });

    it('reports an error in the middle of an answer, and does not begin again', async () => {
      server.next({chunks: ['one', 'two'], errorAfter: {chunks: 1, kind: 'api_error', message: 'the GPU fell off'}});
      const error = await failureOf(chat());
      expect(error).toMatchObject({code: 'provider_error', retryable: true});
      expect(error.message).toContain('the GPU fell off');
      expect(chats()).toHaveLength(1);
    });

    it('knows a web page from a model server', async () => {
      server.refuse({status: 200, body: '<html>hello</html>', headers: {'content-type': 'text/html'}});
      expect((await failureOf(chat())).message).toContain('web page');
      expect(await check()).toMatchObject({available: false, reason: 'ProviderError'});
    });

    it('sends the key in a header, and no header that only the environment asked for', async () => {
      const before = {...process.env};
      Object.assign(process.env, {
        ANTHROPIC_CUSTOM_HEADERS: 'x-private: 1',
        OPENAI_CUSTOM_HEADERS: 'x-private: 1',
        ANTHROPIC_API_KEY: 'sk-of-the-environment',
        OPENAI_API_KEY: 'sk-of-the-environment',
      });
      try {
        await collect(chat());
        await collect(
          (await subject.provide(server.url, {apiKey: undefined} as object)).chat(chatRequest(model), never),
        );
      } finally {
        process.env = before;
      }
      const [withKey, without] = [chats()[0]?.headers, chats()[1]?.headers];
      expect([withKey?.authorization, withKey?.['x-api-key']].join('')).toMatch(new RegExp(`^(Bearer )?${key}$`));
      expect([without?.authorization, without?.['x-api-key']].join('')).toBe('');
      expect(JSON.stringify([withKey, without])).not.toMatch(/private|environment|stainless/);
    });
  });
}

/** Waits until `read()` stays the same for 20 looks. */
async function settled(read: () => number): Promise<number> {
  let last = -1;
  let same = 0;
  await until(() => {
    const now = read();
    same = now === last && now > 0 ? same + 1 : 0;
    last = now;
    return same >= 20;
  });
  return last;
}

/** An address of this machine where nobody listens. */
export async function deadUrl(): Promise<string> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const {port} = server.address() as AddressInfo; // a TCP server's address is never a string
  await new Promise(resolve => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}
