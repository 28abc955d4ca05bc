import {mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, it, test} from '@jest/globals';
import type {ChatRequest, Provider} from '../../src/providers/provider.js';
import {createScriptedProvider} from '../../src/providers/scripted.js';
import {chatRequest, collect, failureOf, never, providerContract, textOf} from '../contract/provider.js';

let folder: string;
let script: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tekton-ai-scripted-'));
  script = join(folder, 'answers.yaml');
});
afterEach(() => rm(folder, {recursive: true}));

async function scripted(text: string): Promise<Provider> {
  await writeFile(script, text);
  return createScriptedProvider({name: 'scripted', type: 'scripted', script}, 'athena');
}

providerContract({
  name: 'scripted',
  model: 'any',
  provide: async () => createScriptedProvider({name: 'scripted', type: 'scripted'}, 'athena'),
});

describe('a scripted provider', () => {
  const ask = async (provider: Provider, content: string) => collect(provider.chat(chatRequest('m1', content), never));

  it('echoes without a script, and where no rule matches', async () => {
    const bare = createScriptedProvider({name: 'scripted', type: 'scripted'}, 'athena');
    expect(textOf(await ask(bare, 'hello'))).toBe('athena heard: hello');
    expect(textOf(await ask(await scripted('rules: [{contains: x, reply: y}]'), 'hello'))).toBe('athena heard: hello');
  });

  it('answers by the first rule that matches, placeholders filled', async () => {
    const provider = await scripted(`
rules:
  - {match: '^add (\\d+)', reply: 'sum for {{component}} on {{model}}'}
  - {contains: WEATHER, chunks: ['It ', 'rains: ', '{{content}} {{other}}']}
  - {reply: else}
`);
    expect(textOf(await ask(provider, 'Add 5'))).toBe('sum for athena on m1');
    expect(textOf(await ask(provider, 'the weather $& now'))).toBe('It rains: the weather $& now {{other}}');
    expect(textOf(await ask(provider, 'anything'))).toBe('else');
  });

  it('tells the tokens that the script says, else a quarter of the characters', async () => {
    const provider = await scripted(`
rules:
  - {contains: counted, reply: ok, inputTokens: 5, outputTokens: 6, stopReason: length}
  - {reply: '12345678'}
`);
    expect((await ask(provider, 'counted')).at(-1)).toMatchObject({
      inputTokens: 5,
      outputTokens: 6,
      stopReason: 'length',
    });
    expect((await ask(provider, 'else')).at(-1)).toMatchObject({inputTokens: 5, outputTokens: 2, stopReason: 'end'});
  });

  it('fails where the script says so, before or in the middle of an answer', async () => {
    const provider = await scripted(`
rules:
  - {contains: first, error: {code: overloaded, message: busy, retryable: true, status: 529, retryAfterMs: 1500}}
  - {contains: middle, chunks: [a, b, c], error: {code: provider_error, message: gone, afterChunks: 2}}
`);
    expect(await failureOf(provider.chat(chatRequest('m', 'first'), never))).toMatchObject({
      code: 'overloaded',
      message: 'busy',
      retryable: true,
      status: 529,
      retryAfterMs: 1500,
    });
    const seen: string[] = [];
    await expect(
      (async () => {
        for await (const event of provider.chat(chatRequest('m', 'middle'), never)) {
          seen.push(event.type === 'text' ? event.text : event.type);
        }
      })(),
    ).rejects.toMatchObject({code: 'provider_error', message: 'gone'});
    expect(seen).toEqual(['a', 'b']);
  });

  it('keeps the pace that the script sets, and is cancelled at once', async () => {
    const provider = await scripted('rules: [{chunks: [a, b], delayMs: 20, chunkDelayMs: 600000}]');
    const cancel = new AbortController();
    const began = performance.now();
    const events = provider.chat(chatRequest('m'), cancel.signal)[Symbol.asyncIterator]();
    expect(await events.next()).toEqual({done: false, value: {type: 'text', text: 'a'}});
    expect(performance.now() - began).toBeGreaterThanOrEqual(19);
    const more = events.next();
    const reason = new Error('enough');
    cancel.abort(reason);
    await expect(more).rejects.toBe(reason);
  });

  it('says what the script says about the model', async () => {
    const provider = await scripted('check: {available: false, reason: ModelNotFound, message: no such model}');
    expect((await provider.check(['a', 'b'], never)).get('b')).toEqual({
      available: false,
      reason: 'ModelNotFound',
      message: 'no such model',
    });
  });

  describe('that calls tools', () => {
    const answers = `
rules:
  - {contains: stars, thinking: [Hm., Well.], chunks: [Look.], toolCalls: [{name: look_up, arguments: {said: '{{content}}'}}], cachedInputTokens: 3}
  - {contains: moon, toolCalls: [{name: look_up, id: mine}, {name: other, arguments: '[]'}]}
  - {contains: rises, reply: '{"at": 5}'}
`;
    const lookUp = {name: 'look_up', parameters: {}};
    const chat = async (content: string, more: Partial<ChatRequest>) =>
      (await scripted(answers)).chat(chatRequest('m', content, more), never);

    it('thinks, speaks and then calls, with placeholders filled in as JSON', async () => {
      const content = 'which "stars"?';
      expect(await collect(await chat(content, {tools: [lookUp]}))).toMatchObject([
        {type: 'thinking', text: 'Hm.'},
        {type: 'thinking', text: 'Well.'},
        {type: 'text', text: 'Look.'},
        {type: 'tool-call', call: {id: 'call_1', name: 'look_up', arguments: JSON.stringify({said: content})}},
        {type: 'end', stopReason: 'tool_calls', cachedInputTokens: 3},
      ]);
    });

    it('goes on from the result, and counts its calls on', async () => {
      const call = {id: 'call_1', name: 'look_up', arguments: '{}'};
      const before = [
        {role: 'user' as const, content: 'x'},
        {role: 'assistant' as const, content: '', toolCalls: [call]},
      ];
      const result = {role: 'tool' as const, toolCallId: 'call_1'};
      const ask = (content: string) =>
        chat('', {tools: [lookUp], messages: [...before, {...result, content}]}).then(collect);
      expect(textOf(await ask('it rises'))).toBe('{"at": 5}');
      expect((await ask('stars')).find(({type}) => type === 'tool-call')).toMatchObject({call: {id: 'call_2'}});
    });

    it('passes a rule over whose tools are not all offered', async () => {
      expect(textOf(await collect(await chat('stars', {})))).toBe('athena heard: stars');
      expect(textOf(await collect(await chat('moon', {tools: [lookUp]})))).toBe('athena heard: moon');
      expect(textOf(await collect(await chat('stars', {tools: [lookUp], toolChoice: 'none'})))).toContain('heard');
      const both = await collect(await chat('moon', {tools: [lookUp, {name: 'other', parameters: {}}]}));
      expect(both.flatMap(event => (event.type === 'tool-call' ? [event.call] : []))).toEqual([
        {id: 'mine', name: 'look_up', arguments: '{}'},
        {id: 'call_2', name: 'other', arguments: '[]'},
      ]);
    });

    it('refuses to invent a call that is demanded, and tools that it never calls', async () => {
      for (const toolChoice of ['required' as const, {name: 'look_up'}]) {
        expect(await failureOf(await chat('rises', {tools: [lookUp], toolChoice}))).toMatchObject({
          code: 'bad_request',
        });
        expect(await collect(await chat('stars', {tools: [lookUp], toolChoice}))).toHaveLength(5);
      }
      const silent = await scripted('rules: [{reply: hello}]');
      const request = chatRequest('m', 'x', {tools: [lookUp]});
      expect(await failureOf(silent.chat(request, never))).toMatchObject({code: 'bad_request', retryable: false});
    });

    it('answers in JSON only where the script does', async () => {
      const responseFormat = {type: 'json' as const};
      expect(textOf(await collect(await chat('rises', {responseFormat})))).toBe('{"at": 5}');
      expect(await failureOf(await chat('else', {responseFormat}))).toMatchObject({code: 'bad_request'});
    });
  });

  test.each([
    ['firstToken', {firstTokenSeconds: 0.02}, 'rules: [{reply: a, delayMs: 600000}]'],
    ['idle', {idleSeconds: 0.02}, 'rules: [{chunks: [a, b], chunkDelayMs: 600000}]'],
    ['total', {totalSeconds: 0.02}, 'rules: [{chunks: [a, b], chunkDelayMs: 200000}]'],
  ])('holds the limit %s', async (limit, timeouts, text) => {
    await writeFile(script, text);
    const provider = createScriptedProvider({name: 'ci', type: 'scripted', script, timeouts}, 'athena');
    const error = await failureOf(provider.chat(chatRequest('m'), never));
    expect(error).toMatchObject({code: 'timeout', retryable: true});
    expect(error.message).toContain(`the limit timeouts.${limit}Seconds of provider "ci"`);
  });

  it('notices an edited file', async () => {
    const provider = await scripted('rules: [{reply: one}]');
    expect(textOf(await ask(provider, 'x'))).toBe('one');
    await writeFile(script, 'rules: [{reply: three}]');
    expect(textOf(await ask(provider, 'x'))).toBe('three');
  });

  test.each([
    ['rules: {a: b}', 'rules must be a list'],
    ['rule: []', 'unknown field "rule"; known are check, rules'],
    ['rules: [{reply: 5}]', 'rules[0].reply must be text'],
    ['rules: [{match: "("}]', 'rules[0].match is no regular expression'],
    ['rules: [{match: a, contains: b}]', 'rules[0] has both match and contains'],
    ['rules: [{}, {delayMs: -1}]', 'rules[1].delayMs must be a whole number, 0 or more'],
    ['rules: [{error: {code: oops}}]', 'rules[0].error.code must be one of provider_unreachable, '],
    ['rules: [{toolCalls: [{}]}]', 'rules[0].toolCalls[0] needs a name'],
    ['rules: [{toolCalls: [{name: a, arguments: 5}]}]', 'rules[0].toolCalls[0].arguments must be a mapping'],
    ['rules: [{thinking: 5}]', 'rules[0].thinking must be a list'],
    ['check: {available: "no"}', 'check.available must be true or false'],
    ['- 1', 'the file must be a mapping'],
    ['rules: [', 'at line 1'],
  ])('says what is wrong in %j, in checks and chats', async (text, message) => {
    const provider = await scripted(text);
    const [check] = (await provider.check(['m'], never)).values();
    expect(check).toMatchObject({available: false, reason: 'ProviderError', message: expect.stringContaining(message)});
    expect((await failureOf(provider.chat(chatRequest('m'), never))).message).toContain(script);
  });

  it('says that the file is not there', async () => {
    const provider = createScriptedProvider({name: 's', type: 'scripted', script}, 'athena');
    expect((await provider.check(['m'], never)).get('m')).toMatchObject({message: expect.stringContaining('ENOENT')});
  });
});
