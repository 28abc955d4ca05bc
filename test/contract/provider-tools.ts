/** Tools, thinking and cached tokens of providers that speak HTTP. Part of the provider contract. */
import {afterEach, beforeEach, describe, expect, it, test} from '@jest/globals';
import {type ChatMessage, type Provider, type Tool, type ToolCall} from '../../src/providers/provider.js';
import type {ModelServer, Reply} from '../fakes/model-server.js';
import {chatRequest, collect, failureOf, never, type HttpSubject} from './provider.js';

export const weather: Tool = {
  name: 'weather',
  description: 'The weather of a city',
  parameters: {type: 'object', properties: {city: {type: 'string'}}, required: ['city']},
};

export const athens: ToolCall = {id: 'call_1', name: 'weather', arguments: '{"city":"Athens — Ἀθῆναι"}'};
export const rome: ToolCall = {id: 'call_2', name: 'weather', arguments: '{"city":"Rome"}'};

/** A conversation in which both were called and have answered. */
export const conversation: readonly ChatMessage[] = [
  {role: 'user', content: 'Where is it warmer?'},
  {role: 'assistant', content: '', toolCalls: [athens, rome]},
  {role: 'tool', content: '31 °C', toolCallId: 'call_1'},
  {role: 'tool', content: '28 °C', toolCallId: 'call_2', name: 'weather'},
];

export function toolsContract({name, model, start, provide, tellsCached}: HttpSubject): void {
  describe(`the tools of ${name}`, () => {
    let server: ModelServer;
    let provider: Provider;
    beforeEach(async () => {
      server = await start();
      provider = await provide(server.url);
    });
    afterEach(() => server.close());
    const ask = (reply: Reply, messages: readonly ChatMessage[] = [{role: 'user', content: 'hello'}]) => {
      server.next(reply);
      return provider.chat(chatRequest(model, '', {messages, tools: [weather]}), never);
    };

    it('are called with whole arguments, behind the text', async () => {
      const events = await collect(ask({chunks: ['Let me look.'], toolCalls: [athens, rome]}));
      expect(events).toMatchObject([
        {type: 'text', text: 'Let me look.'},
        {type: 'tool-call', call: athens},
        {type: 'tool-call', call: rome},
        {type: 'end', stopReason: 'tool_calls'},
      ]);
    });

    it('may be called without a word, and without arguments', async () => {
      const events = await collect(ask({chunks: [], toolCalls: [{...athens, arguments: '{}'}]}));
      expect(events.map(({type}) => type)).toEqual(['tool-call', 'end']);
      expect(events[0]).toMatchObject({call: {arguments: '{}'}});
    });

    it('may stay uncalled', async () => {
      expect(await collect(ask({chunks: ['No need.']}))).toMatchObject([
        {type: 'text', text: 'No need.'},
        {type: 'end', stopReason: 'end'},
      ]);
    });

    it('are answered in the next request, each result with its call', async () => {
      await collect(ask({chunks: ['Athens.']}, conversation));
      const sent = JSON.stringify(server.requests.find(({body}) => 'messages' in body)?.body);
      expect(sent.indexOf('31 °C')).toBeGreaterThan(sent.lastIndexOf('Rome'));
      expect(sent.match(/call_1/g)).toHaveLength(2);
      expect(sent.match(/call_2/g)).toHaveLength(2);
    });

    it('are not called by an answer that breaks off within a call', async () => {
      const events = ask({chunks: ['one'], toolCalls: [athens], stopShortAfter: 1});
      expect(await failureOf(events)).toMatchObject({code: 'provider_error'});
    });
  });

  describe(`${name}, beside its answer,`, () => {
    let server: ModelServer;
    beforeEach(async () => {
      server = await start();
    });
    afterEach(() => server.close());

    it('tells what the model thinks, apart from the text', async () => {
      server.next({thinking: ['Hm. ', 'Αθήνα?'], chunks: ['Athens.']});
      const events = await collect((await provide(server.url)).chat(chatRequest(model), never));
      expect(events).toMatchObject([
        {type: 'thinking', text: 'Hm. '},
        {type: 'thinking', text: 'Αθήνα?'},
        {type: 'text', text: 'Athens.'},
        {type: 'end', stopReason: 'end'},
      ]);
    });

    test.each([
      [8, tellsCached ? 8 : undefined],
      [0, undefined],
    ])('tells that %d of 20 input tokens were cached: %s', async (cachedInputTokens, told) => {
      server.next({inputTokens: 20, cachedInputTokens});
      const events = await collect((await provide(server.url)).chat(chatRequest(model), never));
      const end = events.at(-1);
      expect(end).toMatchObject({type: 'end', inputTokens: 20});
      expect(end?.type === 'end' && end.cachedInputTokens).toBe(told);
    });
  });
}
