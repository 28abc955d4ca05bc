/** Chats over HTTP, with OpenAI's own client where it can be one. */
import {afterEach, describe, expect, it, test} from '@jest/globals';
import OpenAI from 'openai';
import {ProviderError} from '../../src/providers/provider.js';
import type {ProviderErrorCode} from '../../src/providers/provider.js';
import {bench, until} from './harness.js';
import type {Bench} from './harness.js';

let made: Bench | undefined;
afterEach(async () => {
  await made?.stop();
  made = undefined;
});

type Options = Partial<ConstructorParameters<typeof OpenAI>[0]>;

async function set(changes: Parameters<typeof bench>[0] = {}, options: Options = {}): Promise<Bench & {ai: OpenAI}> {
  made = await bench(changes);
  const baseURL = `http://127.0.0.1:${made.worker.port}/v1`;
  const ai = new OpenAI({baseURL, apiKey: 'none', maxRetries: 0, ...options});
  return Object.assign(made, {ai});
}

const hello = {model: 'athena-ai', messages: [{role: 'user' as const, content: 'hello'}]};

async function post(body: unknown): Promise<{status: number; headers: Headers; text: string}> {
  const response = await fetch(`http://127.0.0.1:${made?.worker.port}/v1/chat/completions`, {
    method: 'POST',
    headers: {'content-type': 'application/json'},
    body: JSON.stringify(body),
  });
  return {status: response.status, headers: response.headers, text: await response.text()};
}

it('answers a chat whole', async () => {
  const {ai, provider} = await set();
  const asked = ai.chat.completions.create(hello);
  const call = await provider.call(0);
  call.emit({type: 'thinking', text: 'a greeting'});
  call.say('Good ');
  call.end('day', {inputTokens: 7, outputTokens: 2});
  const answer = await asked;
  expect(answer).toMatchObject({
    id: expect.stringMatching(/^chatcmpl-/),
    object: 'chat.completion',
    created: expect.any(Number),
    model: 'athena-ai',
    choices: [
      {
        index: 0,
        finish_reason: 'stop',
        message: {role: 'assistant', content: 'Good day', reasoning_content: 'a greeting'},
      },
    ],
    usage: {prompt_tokens: 7, completion_tokens: 2, total_tokens: 9, prompt_tokens_details: {cached_tokens: 0}},
    tekton_ai: {provider: 'hand', model: 'm1', latency: expect.any(Number), first_token: expect.any(Number)},
  });
});

it('streams a chat piece by piece, each as it comes', async () => {
  const {ai, provider} = await set();
  const asked = ai.chat.completions.create({...hello, stream: true});
  const call = await provider.call(0);
  call.emit({type: 'thinking', text: 'hm'});
  const stream = await asked;
  const chunks: OpenAI.ChatCompletionChunk[] = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
    const {delta, finish_reason: finish} = chunk.choices[0] ?? {};
    if (delta && 'reasoning_content' in delta) call.say('Good');
    if (delta?.content === 'Good') call.end(' day');
    if (finish) break;
  }
  expect(chunks.map(({choices: [choice]}) => [choice?.delta, choice?.finish_reason])).toEqual([
    [{role: 'assistant', content: ''}, null],
    [{reasoning_content: 'hm'}, null],
    [{content: 'Good'}, null],
    [{content: ' day'}, null],
    [{}, 'stop'],
  ]);
  expect(new Set(chunks.map(({id}) => id)).size).toBe(1);
  expect(chunks.every(chunk => chunk.model === 'athena-ai' && !('usage' in chunk))).toBe(true);
});

it('tells the usage at the end of a stream where it was asked to', async () => {
  const {ai, provider} = await set();
  const stream = ai.chat.completions.stream({...hello, stream_options: {include_usage: true}});
  (await provider.call(0)).end('hi', {inputTokens: 7, outputTokens: 2});
  expect(await stream.finalContent()).toBe('hi');
  expect(await stream.totalUsage()).toMatchObject({prompt_tokens: 7, completion_tokens: 2, total_tokens: 9});
});

it('hands everything on that the provider can use', async () => {
  const {ai, provider} = await set();
  const schema = {type: 'object', properties: {n: {type: 'number'}}};
  const asked = ai.chat.completions.create({
    model: 'athena',
    messages: [
      {role: 'system', content: 'Be brief.'},
      {
        role: 'user',
        content: [
          {type: 'text', text: 'one'},
          {type: 'text', text: 'two'},
        ],
      },
      {
        role: 'assistant',
        content: null,
        tool_calls: [{id: 't1', type: 'function', function: {name: 'count', arguments: '{"n":1}'}}],
      },
      {role: 'tool', tool_call_id: 't1', content: '1'},
      {role: 'developer', content: 'Answer in JSON.'},
    ],
    temperature: 0,
    top_p: 0.5,
    seed: 42,
    stop: ['END', '\n\n'],
    max_tokens: 100,
    max_completion_tokens: 50,
    response_format: {type: 'json_schema', json_schema: {name: 'count', schema}},
    tools: [{type: 'function', function: {name: 'count', description: 'Counts.', parameters: schema}}],
    tool_choice: {type: 'function', function: {name: 'count'}},
    n: 1,
    presence_penalty: 0,
    user: 'somebody',
  });
  const {request} = await provider.call(0);
  expect(request).toEqual({
    model: 'm1',
    system: `You are Athena. ${'Weave. '.repeat(40)}\n\nBe brief.\n\nAnswer in JSON.`,
    messages: [
      {role: 'user', content: 'one\ntwo'},
      {role: 'assistant', content: '', toolCalls: [{id: 't1', name: 'count', arguments: '{"n":1}'}]},
      {role: 'tool', content: '1', toolCallId: 't1', name: 'count'},
    ],
    parameters: {temperature: 0, topP: 0.5, seed: 42, stop: ['END', '\n\n'], maxTokens: 50},
    responseFormat: {type: 'schema', name: 'count', schema},
    tools: [{name: 'count', description: 'Counts.', parameters: schema}],
    toolChoice: {name: 'count'},
  });
  (await provider.call(0)).end('{"n":1}');
  await asked;
});

it("gives back the model's tool calls, whole and in a stream", async () => {
  const {ai, provider} = await set();
  const tools = [{type: 'function' as const, function: {name: 'look', parameters: {}}}];
  const answered = async (n: number): Promise<void> => {
    const call = await provider.call(n);
    call.emit({type: 'tool-call', call: {id: 'a', name: 'look', arguments: '{"at":1}'}});
    call.emit({type: 'tool-call', call: {id: 'b', name: 'look', arguments: '{}'}});
    call.emit({type: 'end', model: 'm1', stopReason: 'tool_calls', inputTokens: 1, outputTokens: 1});
  };
  const expected = [
    {id: 'a', type: 'function', function: {name: 'look', arguments: '{"at":1}'}},
    {id: 'b', type: 'function', function: {name: 'look', arguments: '{}'}},
  ];
  const [whole] = await Promise.all([ai.chat.completions.create({...hello, tools}), answered(0)]);
  expect(whole.choices[0]).toMatchObject({finish_reason: 'tool_calls', message: {content: null, tool_calls: expected}});
  const stream = ai.chat.completions.stream({...hello, tools});
  const [message] = await Promise.all([stream.finalMessage(), answered(1)]);
  expect(message.tool_calls).toMatchObject(expected);
});

test.each(['athena-ai', 'athena', 'default/athena', 'm1', 'hand:m1'])('answers to the model name %s', async model => {
  const {ai, provider} = await set({name: 'athena', component: 'athena'});
  expect(await ai.models.retrieve(model)).toMatchObject({id: 'athena-ai', object: 'model', owned_by: 'tekton-ai'});
  const asked = ai.chat.completions.create({...hello, model});
  (await provider.call(0)).end('yes');
  expect((await asked).model).toBe('athena-ai');
});

it('lists itself as the one model, and knows no other', async () => {
  const {ai} = await set();
  expect((await ai.models.list()).data.map(({id}) => id)).toEqual(['athena-ai']);
  await expect(ai.chat.completions.create({...hello, model: 'gpt-4o'})).rejects.toMatchObject({
    status: 404,
    code: 'model_not_found',
    param: 'model',
  });
  await expect(ai.models.retrieve('gpt-4o')).rejects.toBeInstanceOf(OpenAI.NotFoundError);
});

const failures: readonly [ProviderErrorCode, boolean, number, unknown][] = [
  ['unauthorized', false, 401, OpenAI.AuthenticationError],
  ['secret_missing', false, 401, OpenAI.AuthenticationError],
  ['model_not_found', false, 404, OpenAI.NotFoundError],
  ['bad_request', false, 400, OpenAI.BadRequestError],
  ['quota_exceeded', true, 429, OpenAI.RateLimitError],
  ['quota_exceeded', false, 429, OpenAI.RateLimitError],
  ['overloaded', true, 503, OpenAI.InternalServerError],
  ['provider_error', true, 502, OpenAI.InternalServerError],
  ['provider_unreachable', true, 502, OpenAI.InternalServerError],
  ['timeout', true, 504, OpenAI.InternalServerError],
];

describe.each(failures)('a provider that fails with %s (retryable: %s)', (code, retryable, status, type) => {
  const error = (): ProviderError => new ProviderError('lab is in trouble', {code, retryable, retryAfterMs: 2_500});

  test.each([false, true])(`is told as OpenAI's client expects it (stream: %s)`, async stream => {
    const {ai, provider} = await set();
    const asked = ai.chat.completions.create({...hello, stream});
    (await provider.call(0)).fail(error());
    const failed = await asked.then(
      () => undefined,
      (problem: unknown) => problem,
    );
    expect(failed).toBeInstanceOf(type);
    expect(failed).toMatchObject({status, message: expect.stringContaining('lab is in trouble')});
    const {headers, error: body} = failed as InstanceType<typeof OpenAI.APIError>;
    expect([headers?.get('retry-after'), headers?.get('retry-after-ms')]).toEqual(['3', '2500']);
    expect(headers?.get('x-should-retry')).toBe(String(retryable));
    expect(body).toMatchObject({type: expect.any(String), code: expect.any(String)});
  });
});

it("is tried again by OpenAI's client after the time that the provider asked for", async () => {
  const {ai, provider} = await set({}, {maxRetries: 1});
  const asked = ai.chat.completions.create(hello);
  const busy = {code: 'quota_exceeded', retryable: true, retryAfterMs: 20} as const;
  (await provider.call(0)).fail(new ProviderError('slower', busy));
  (await provider.call(1)).end('there you are');
  expect((await asked).choices[0]?.message.content).toBe('there you are');
});

it('tells in the stream what fails after its begin, and ends it unfinished', async () => {
  const {ai, provider} = await set();
  const asked = ai.chat.completions.create({...hello, stream: true});
  const call = await provider.call(0);
  call.say('half an ans');
  const stream = await asked;
  call.fail(new ProviderError('lab broke off', {code: 'provider_error', retryable: true}));
  const pieces: unknown[] = [];
  const reading = (async () => {
    for await (const {choices} of stream) pieces.push(choices[0]?.delta.content);
  })();
  await expect(reading).rejects.toMatchObject({error: {message: 'lab broke off', code: 'provider_error'}});
  expect(pieces).toEqual(['', 'half an ans']);
});

it('refuses with 429 what finds the queue full', async () => {
  const {ai, provider} = await set({concurrency: {max: 1, queue: 0}});
  const first = ai.chat.completions.create(hello);
  const call = await provider.call(0);
  await expect(ai.chat.completions.create(hello)).rejects.toMatchObject({status: 429, code: 'queue_full'});
  const {headers} = await post(hello);
  expect(headers.get('retry-after')).toBe('1');
  call.end('done');
  await first;
});

it('refuses with 503 while it drains, lets what is under way end, and ends the connections', async () => {
  const {ai, provider, worker} = await set();
  const first = ai.chat.completions.create({...hello, stream: true});
  const call = await provider.call(0);
  call.say('begun');
  const stream = await first;
  const drained = worker.drain(60_000);
  const refused = await post(hello);
  expect(refused.status).toBe(503);
  expect(JSON.parse(refused.text)).toMatchObject({error: {code: 'draining'}});
  expect(refused.headers.get('retry-after')).toBe('1');
  expect(refused.headers.get('connection')).toBe('close');
  call.end(' and ended');
  const pieces = [];
  for await (const {choices} of stream) pieces.push(choices[0]?.delta.content);
  expect(pieces.join('')).toBe('begun and ended');
  await drained;
});

it('says draining to the chats that the end of its grace cuts off', async () => {
  const {ai, provider, worker} = await set();
  const whole = ai.chat.completions.create(hello);
  await provider.call(0);
  const streamed = ai.chat.completions.create({...hello, stream: true});
  (await provider.call(1)).say('begun');
  const stream = await streamed;
  const reading = (async () => {
    for await (const chunk of stream) void chunk;
  })();
  const failed = Promise.all([
    expect(whole).rejects.toMatchObject({status: 503, code: 'draining'}),
    expect(reading).rejects.toMatchObject({error: {code: 'draining'}}),
  ]);
  await worker.close(0);
  await failed;
});

it("stops the provider's call when the client gives up", async () => {
  const {ai, provider} = await set();
  const leave = new AbortController();
  const asked = ai.chat.completions.create({...hello, stream: true}, {signal: leave.signal});
  const call = await provider.call(0);
  call.say('a piece');
  await asked;
  leave.abort();
  await until(() => call.signal.aborted, 'the call to be stopped');
});

it('holds a slow reader back instead of collecting for it', async () => {
  const {provider, client} = await set();
  const reader = client();
  const body = JSON.stringify({...hello, stream: true});
  reader.socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  const call = await provider.call(0);
  reader.socket.pause();
  const piece = 'x'.repeat(64 * 1024);
  for (let n = 0; n < 400; n++) call.say(piece);
  await until(() => call.waiting < 400, 'the first pieces to be taken');
  let before: number;
  do {
    before = call.waiting;
    await new Promise(resolve => setTimeout(resolve, 50));
  } while (call.waiting !== before);
  expect(call.waiting).toBeGreaterThan(100);
  call.end();
  reader.socket.resume();
  await until(() => reader.chunks.at(-1)?.includes('[DONE]') === true, 'the end of the stream');
});

test.each<[string, object, string]>([
  ['more than one answer', {n: 2}, 'n'],
  ['log probabilities', {logprobs: true}, 'logprobs'],
  ['penalties', {frequency_penalty: 0.5}, 'frequency_penalty'],
  ['functions of old', {functions: [{name: 'f'}]}, 'functions'],
  ['spoken answers', {modalities: ['text', 'audio']}, 'modalities'],
  ['a model that is no name', {model: 7}, 'model'],
  ['no messages', {messages: []}, 'messages'],
  ['messages that are none', {messages: 'hello'}, 'messages'],
  ['nothing but a prompt', {messages: [{role: 'system', content: 'x'}]}, 'messages'],
  ['an answer at the end', {messages: [{role: 'assistant', content: 'x'}]}, 'messages'],
  ['an empty question', {messages: [{role: 'user', content: ' '}]}, 'messages'],
  ['an unknown role', {messages: [{role: 'wizard', content: 'x'}]}, 'messages[0].role'],
  [
    'a picture',
    {
      messages: [
        {
          role: 'user',
          content: [
            {type: 'text', text: 'x'},
            {type: 'image_url', image_url: {url: 'data:'}},
          ],
        },
      ],
    },
    'messages[0].content[1].type',
  ],
  ['content that is a number', {messages: [{role: 'user', content: 7}]}, 'messages[0].content'],
  ['the result of no call', {messages: [{role: 'tool', tool_call_id: 'x', content: '1'}]}, 'messages[0].tool_call_id'],
  ['too hot', {temperature: 3}, 'temperature'],
  ['a temperature that is no number', {temperature: 'warm'}, 'temperature'],
  ['no tokens', {max_tokens: 0}, 'max_tokens'],
  ['half a token', {max_completion_tokens: 1.5}, 'max_completion_tokens'],
  ['an empty stop', {stop: ''}, 'stop'],
  ['a stream of sorts', {stream: 'yes'}, 'stream'],
  ['an unknown format', {response_format: {type: 'xml'}}, 'response_format.type'],
  ['a schema without one', {response_format: {type: 'json_schema'}}, 'response_format.json_schema.schema'],
  ['a tool that is none', {tools: [{type: 'web_search'}]}, 'tools[0].type'],
  ['a tool without a name', {tools: [{type: 'function', function: {}}]}, 'tools[0].function.name'],
  [
    'a choice that is none of the tools',
    {tools: [{type: 'function', function: {name: 'a'}}], tool_choice: {type: 'function', function: {name: 'b'}}},
    'tool_choice',
  ],
])('refuses %s, naming the field', async (_, change, param) => {
  await set();
  const {status, text} = await post({...hello, ...change});
  expect(JSON.parse(text)).toMatchObject({error: {type: 'invalid_request_error', param}});
  expect(status).toBe(400);
  expect(made?.provider.calls).toEqual([]);
});

it('shows neither prompt nor key in any error', async () => {
  const secret = 'sk-secret-0123456789';
  const {ai, provider} = await set({authToken: secret}, {apiKey: secret});
  const said: unknown[] = [];
  const note = (error: unknown): unknown => said.push(error instanceof OpenAI.APIError ? error.error : error);
  const messages = [{role: 'user' as const, content: 'my private question'}];
  const asked = ai.chat.completions.create({...hello, messages}).catch(note);
  (await provider.call(0)).fail(new Error(`TypeError at my private question with ${secret}`));
  await asked;
  await ai.chat.completions.create({...hello, messages, temperature: 9}).catch(note);
  await ai.chat.completions.create({...hello, messages, model: 'other'}).catch(note);
  await new OpenAI({apiKey: 'wrong', baseURL: ai.baseURL, maxRetries: 0}).models.list().catch(note);
  expect(said).toHaveLength(4);
  expect(JSON.stringify(said)).not.toMatch(/private question|sk-secret/);
});
