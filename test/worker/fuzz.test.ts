/** Whatever bytes come, in whatever pieces: nobody else notices, and nothing of it stays. */
import {afterEach, beforeEach, expect, it} from '@jest/globals';
import fc from 'fast-check';
import {connect} from 'node:net';
import type {Provider} from '../../src/providers/provider.js';
import {bench, Client, until} from './harness.js';
import type {Bench} from './harness.js';

/** The same cases each time, unless `FUZZ_SEED` asks for others; `FUZZ_MORE=20` for twenty times as many. */
const seed = Number(process.env['FUZZ_SEED'] ?? 20261122);
const more = Number(process.env['FUZZ_MORE'] ?? 1);
const numRuns = 60 * more;

/** Says back what it was asked, in two pieces. */
const echo: Provider = {
  check: async models => new Map(models.map(model => [model, {available: true}])),
  async *chat({model, messages}) {
    const content = messages.at(-1)?.content ?? '';
    yield {type: 'text', text: content.slice(0, 7)};
    await new Promise(resolve => setImmediate(resolve));
    yield {type: 'text', text: content.slice(7)};
    yield {type: 'end', model, stopReason: 'end', inputTokens: 1, outputTokens: 2};
  },
};

let made: Bench;
let errors: string[];
beforeEach(async () => {
  errors = [];
  made = await bench(
    {concurrency: {max: 64, queue: 1000}},
    {
      createProvider: async () => echo,
      log: (level, message, fields) => void (level === 'error' && errors.push(`${message} ${JSON.stringify(fields)}`)),
    },
  );
});
afterEach(() => made.stop());

/** One connection to its end: `parts` are written one by one, then our side is ended. */
function talk(parts: readonly Uint8Array[], {reset = false} = {}): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({port: made.worker.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true});
    const chunks: Buffer[] = [];
    const timer = setTimeout(() => reject(new Error(`not closed after ${Buffer.concat(parts).toString()}`)), 8_000);
    // One that says too much may be reset while it is still sending.
    socket.on('error', () => undefined);
    socket.on('data', chunk => chunks.push(chunk));
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(Buffer.concat(chunks));
    });
    const write = async (): Promise<void> => {
      for (const part of parts) {
        socket.write(part);
        if (parts.length > 1) await new Promise(done => setImmediate(done));
      }
      if (reset) socket.resetAndDestroy();
      else socket.end();
    };
    socket.on('connect', () => void write());
    socket.on('end', () => socket.end());
  });
}

async function expectNothingLeft(): Promise<void> {
  const client = new Client(made.worker.port);
  const look = async (): Promise<Record<string, unknown>> => {
    const before = client.lines.length;
    client.send({type: 'health', request_id: before});
    await until(() => client.lines.length > before, 'health');
    return client.lines[before] ?? {};
  };
  const deadline = Date.now() + 5_000;
  let health = await look();
  while (health['clients'] !== 1 && Date.now() < deadline) health = await look();
  expect(health).toMatchObject({clients: 1, active: 0, queued: 0, status: 'healthy'});
  expect(errors).toEqual([]);
  client.close();
}

const json = (content: string): string => `{"type":"chat","content":"${content}"}\n`;
const http = (content: string, stream = false): string => {
  const body = JSON.stringify({model: 'athena', stream, messages: [{role: 'user', content}]});
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
};
const chunked = (content: string): string => {
  const body = JSON.stringify({messages: [{role: 'user', content}]});
  const [a, b] = [body.slice(0, 9), body.slice(9)];
  const chunks = [a, b].map(part => `${part.length.toString(16)}\r\n${part}\r\n`).join('');
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`;
};

/** What differs between two answers to the same bytes. */
function steady(text: string): string {
  return text
    .replaceAll(/"(timestamp|latency|total_time|uptime|created|first_token)":[\d.]+/g, '"$1":0')
    .replaceAll(/chatcmpl-[0-9a-f-]{36}/g, 'chatcmpl-id')
    .replaceAll(/"clients":\d+/g, '"clients":0')
    .replaceAll(/^(Date: .*|Content-Length: \d+|[0-9a-f]+)\r\n/gm, ''); // the last: sizes of chunks
}

it.each<[string, Buffer]>([
  [
    'newline JSON',
    Buffer.concat([
      Buffer.from(`{"type":"ping"}\r\n\n${json('grüße 🦉')}{"a":\n`),
      Buffer.from([0x7b, 0xff, 0xfe, 0x0a]),
      Buffer.from('{"type":"chat","content":"streamed","stream":true}\n{"content":"the last, without its end"}'),
    ]),
  ],
  ['HTTP', Buffer.from(`GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n${chunked('one')}${http('two', true)}`)],
])('answers the same wherever %s is cut', async (_, bytes) => {
  const whole = steady((await talk([bytes])).toString());
  expect(whole.length).toBeGreaterThan(500);
  const cuts = Array.from({length: bytes.length - 1}, (_unused, n) => n + 1);
  for (let at = 0; at < cuts.length; at += 64) {
    const answers = cuts.slice(at, at + 64).map(cut => talk([bytes.subarray(0, cut), bytes.subarray(cut)]));
    for (const answer of await Promise.all(answers)) expect(steady(answer.toString())).toBe(whole);
  }
  const single = Array.from(bytes, byte => Uint8Array.of(byte));
  expect(steady((await talk(single)).toString())).toBe(whole);
  await expectNothingLeft();
});

/** What happens to a request on its way. */
type Mutation = (bytes: Buffer) => Buffer;
const place = fc.double({min: 0, max: 1, noNaN: true, maxExcluded: true});
const salt = fc.oneof(
  fc.uint8Array({minLength: 1, maxLength: 6}).map(bytes => Buffer.from(bytes)),
  fc
    .constantFrom(
      ...[
        '\r\n',
        '\n',
        '\r',
        '\0',
        '"',
        '{',
        '}',
        ':',
        '\\',
        ' ',
        '\t',
        '0\r\n\r\n',
        '\r\n\r\n',
        '\ud800',
        '-1',
        '1e999',
      ],
      ...[
        'Content-Length: 1\r\n',
        'Transfer-Encoding: chunked\r\n',
        'Expect: 100-continue\r\n',
        'Connection: close\r\n',
      ],
      ...[
        'GET / HTTP/1.1\r\n',
        'Upgrade: h2c\r\n',
        '{"type":"cancel","request_id":1}\n',
        '"request_id":1,',
        'null',
        '[[[[',
      ],
    )
    .map(text => Buffer.from(text)),
);
const mutation: fc.Arbitrary<Mutation> = fc
  .tuple(fc.constantFrom('insert', 'replace', 'remove', 'repeat', 'cut', 'flip'), place, place, salt)
  .map(([kind, from, share, extra]): Mutation => bytes => {
    const at = Math.floor(from * bytes.length);
    const end = Math.min(bytes.length, at + 1 + Math.floor(share * share * 40));
    const [before, middle, after] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)];
    switch (kind) {
      case 'insert':
        return Buffer.concat([before, extra, middle, after]);
      case 'replace':
        return Buffer.concat([before, extra, after]);
      case 'remove':
        return Buffer.concat([before, after]);
      case 'repeat':
        return Buffer.concat([before, middle, middle, middle, after]);
      case 'cut':
        return before;
      case 'flip':
        return Buffer.concat([before, middle.map(byte => byte ^ (1 << Math.floor(share * 8))), after]);
    }
  });

const shape = fc.constantFrom<(nonce: string) => string>(
  json,
  nonce => `{"type":"chat","request_id":1,"stream":true,"content":"${nonce}"}\n{"type":"cancel","request_id":1}\n`,
  nonce => `{"type":"health","request_id":2}\n{"content":"${nonce}","history":[{"role":"user","content":"x"}]}\n`,
  nonce => http(nonce),
  nonce => http(nonce, true),
  chunked,
  nonce => `GET /v1/models/${nonce} HTTP/1.1\r\nHost: localhost\r\n\r\n${http(nonce)}`,
  nonce => http(nonce).replace('\r\n\r\n', '\r\nContent-Length: 7\r\n\r\n'),
  nonce => http(nonce).replace('\r\n\r\n', '\r\nTransfer-Encoding: chunked\r\n\r\n'),
);

interface Attempt {
  readonly shapes: readonly ((nonce: string) => string)[];
  readonly mutations: readonly Mutation[];
  /** Where it is cut into pieces. */
  readonly cuts: readonly number[];
  readonly reset: boolean;
}
const attempt: fc.Arbitrary<Attempt> = fc.record({
  shapes: fc.array(shape, {minLength: 1, maxLength: 3}),
  mutations: fc.array(mutation, {maxLength: 4}),
  cuts: fc.array(place, {maxLength: 3}),
  reset: fc.boolean(),
});

let counter = 0;
const newNonce = (): string => `n${String(counter++).padStart(6, '0')}q`;
const noncesIn = (text: string): readonly string[] => text.match(/n\d{6}q/g) ?? [];

async function play({shapes, mutations, cuts, reset}: Attempt): Promise<void> {
  const clean = shapes.map(one => one(newNonce())).join('');
  const bytes = mutations.reduce<Buffer>((sent, mutate) => mutate(sent), Buffer.from(clean));
  const places = [...cuts.map(cut => Math.floor(cut * bytes.length)).sort((a, b) => a - b), bytes.length];
  const parts = places.map((end, n) => bytes.subarray(places[n - 1] ?? 0, end));
  const answer = (await talk(parts, {reset})).toString('latin1');
  const own = noncesIn(bytes.toString('latin1'));
  // A flipped bit may have made a nonce of another's: that one it has sent, too.
  expect(noncesIn(answer).filter(nonce => !own.includes(nonce))).toEqual([]);
}

/** A client of each protocol that does everything right, beside all the others. */
async function witness(): Promise<void> {
  const [first, second] = [newNonce(), newNonce()];
  const spoken = (await talk([Buffer.from(json(first) + json(second))])).toString();
  expect(noncesIn(spoken)).toEqual([first, second]);
  const [third, fourth] = [newNonce(), newNonce()];
  const answered = (await talk([Buffer.from(http(third) + chunked(fourth))])).toString();
  expect(noncesIn(answered)).toEqual([third, fourth]);
}

it(
  'survives whatever is done to requests of both protocols, and mixes nobody up',
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(attempt, {minLength: 1, maxLength: 8}), async attempts => {
        await Promise.all([witness(), ...attempts.map(play)]);
      }),
      {seed, numRuns, interruptAfterTimeLimit: 5_000 * more, markInterruptAsFailure: false},
    );
    await expectNothingLeft();
  },
  30_000 * more,
);

it(
  'survives random bytes',
  async () => {
    const first = fc.constantFrom(
      '',
      'GET ',
      'POST / HTTP/1.1\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      '{',
      '\n',
      'P',
      '\x16\x03\x01',
    );
    await fc.assert(
      fc.asyncProperty(first, fc.uint8Array({maxLength: 4000}), async (begin, bytes) => {
        await talk([Buffer.from(begin, 'latin1'), bytes]);
      }),
      {seed, numRuns, interruptAfterTimeLimit: 2_000 * more, markInterruptAsFailure: false},
    );
    await witness();
    await expectNothingLeft();
  },
  30_000 * more,
);

it('survives many clients that all say too much at once', async () => {
  const tooLong = Buffer.alloc(8 * 1024 * 1024 + 1, 'x');
  const head = 'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n';
  const answers = await Promise.all([
    ...Array.from({length: 4}, () => talk([Buffer.concat([tooLong, Buffer.from('\n')])])),
    ...Array.from({length: 4}, () => talk([Buffer.from(`${head}Content-Length: ${tooLong.length}\r\n\r\n`), tooLong])),
    talk([Buffer.from(`GET /${'a'.repeat(100_000)} HTTP/1.1\r\n`), Buffer.alloc(1024 * 1024, 'X: y\r\n')]),
    witness().then(() => Buffer.from('fine')),
  ]);
  expect(answers.map(answer => /message_too_long|HTTP\/1.1 431|fine/.test(answer.toString()))).not.toContain(false);
  await expectNothingLeft();
});
