/** A chat leaves its connection to the next one: behind TLS a new one costs more than many an answer's first token. */
import {createServer} from 'node:http';
import type {IncomingMessage, Server, ServerResponse} from 'node:http';
import type {AddressInfo} from 'node:net';
import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import {createAnthropicProvider} from '../../src/providers/anthropic.js';
import {createOllamaProvider} from '../../src/providers/ollama.js';
import {createOpenAiProvider} from '../../src/providers/openai.js';
import type {ChatEvent, ChatRequest, Provider} from '../../src/providers/provider.js';

let server: Server;
let baseUrl: string;
let connections: number;
/** The server leaves its replies open behind their last words. */
let open: boolean;

beforeEach(async () => {
  [connections, open] = [0, false];
  server = createServer((request, response) => void answer(request, response));
  server.on('connection', () => connections++);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise(resolve => server.close(resolve));
});

/** One word, and the end in a packet of its own. */
async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  for await (const _ of request);
  const path = Object.keys(answers).find(part => request.url?.includes(part));
  if (path === undefined) return void response.writeHead(404).end('{}');
  response.writeHead(200);
  for (const text of answers[path] ?? []) await new Promise<void>(resolve => response.write(text, () => resolve()));
  if (!open) setImmediate(() => response.end());
}

const event = (type: string, data: object): string => `event: ${type}\ndata: ${JSON.stringify({type, ...data})}\n\n`;
const usage = {input_tokens: 1, output_tokens: 1};
const answers: Readonly<Record<string, readonly string[]>> = {
  '/api/chat': [
    `${JSON.stringify({model: 'm', message: {role: 'assistant', content: 'word'}, done: false})}\n`,
    `${JSON.stringify({model: 'm', message: {role: 'assistant', content: ''}, done: true, done_reason: 'stop'})}\n`,
  ],
  '/v1/messages': [
    event('message_start', {message: {id: 'x', model: 'm', role: 'assistant', content: [], usage}}) +
      event('content_block_start', {index: 0, content_block: {type: 'text', text: ''}}) +
      event('content_block_delta', {index: 0, delta: {type: 'text_delta', text: 'word'}}),
    event('content_block_stop', {index: 0}) +
      event('message_delta', {delta: {stop_reason: 'end_turn'}, usage}) +
      event('message_stop', {}),
  ],
  '/chat/completions': [
    `data: ${JSON.stringify({model: 'm', choices: [{index: 0, delta: {content: 'word'}}]})}\n\n`,
    `data: ${JSON.stringify({model: 'm', choices: [{index: 0, delta: {}, finish_reason: 'stop'}]})}\n\ndata: [DONE]\n\n`,
  ],
};

const request: ChatRequest = {
  model: 'm',
  system: '',
  messages: [{role: 'user', content: 'hello'}],
  parameters: {contextTokens: 4096},
};
const key = {apiKey: 'k'};
const makers: Readonly<Record<string, () => Provider>> = {
  ollama: () => createOllamaProvider({name: 'p', type: 'ollama', baseUrl}),
  anthropic: () => createAnthropicProvider({name: 'p', type: 'anthropic', baseUrl, ...key}),
  openai: () => createOpenAiProvider({name: 'p', type: 'openai', baseUrl: `${baseUrl}/v1`, ...key}),
};

/** As a worker does: nothing is asked for behind the end. */
async function chat(provider: Provider): Promise<ChatEvent['type'][]> {
  const types: ChatEvent['type'][] = [];
  for await (const {type} of provider.chat(request, new AbortController().signal)) {
    types.push(type);
    if (type === 'end') break;
  }
  return types;
}

describe.each(Object.entries(makers))('%s', (name, make) => {
  it('uses one connection for chats that follow each other', async () => {
    const provider = make();
    for (let n = 0; n < 4; n++) expect(await chat(provider)).toEqual(['text', 'end']);
    expect(connections).toBe(1);
  });

  // OpenAI's has no end but that of the reply: its usage comes last.
  if (name === 'openai') return;
  it('waits only a moment for the end of a reply that is whole', async () => {
    open = true;
    expect(await chat(make())).toEqual(['text', 'end']);
  });
});
