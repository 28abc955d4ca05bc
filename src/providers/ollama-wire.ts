/** Ollama's /api/chat: what is sent, and what its lines mean. */
import type {ChatRequest as OllamaChatRequest, ChatResponse, Message, ToolCall as OllamaToolCall} from 'ollama';
import {splitDigest} from '../api/model-name.js';
import type {ChatParameters} from '../api/types.js';
import {badRequest, parseArguments, type ChatEvent, type ChatMessage, type ChatRequest} from './provider.js';

/** @throws {ProviderError} what Ollama has no field for */
export function toWire(
  request: ChatRequest,
  numCtx: number,
  keepAlive: string | undefined,
): OllamaChatRequest & {stream: true} {
  const {system, messages, parameters, responseFormat} = request;
  const wireRequest = {
    model: splitDigest(request.model).name,
    messages: [...(system === '' ? [] : [{role: 'system', content: system}]), ...messages.map(messageToWire(messages))],
    stream: true as const,
    options: options(parameters, numCtx),
    ...tools(request),
    ...(responseFormat && {format: responseFormat.type === 'json' ? 'json' : responseFormat.schema}),
    ...(keepAlive === undefined ? {} : {keep_alive: keepAliveValue(keepAlive)}),
    // By default the server cuts a prompt that doesn't fit, and drops the oldest part when the answer gets long,
    // both without a word. Servers older than these two fields (October 2025) ignore them.
    truncate: false,
    shift: false,
  };
  return wireRequest;
}

/** `none` is told by offering no tools; a call can't be demanded. */
function tools({tools = [], toolChoice = 'auto'}: ChatRequest): Pick<OllamaChatRequest, 'tools'> {
  if (toolChoice === 'none' || tools.length === 0) return {};
  if (toolChoice !== 'auto') {
    throw badRequest('Ollama cannot be made to call a tool: it knows no tool_choice but auto and none');
  }
  return {
    tools: tools.map(({name, description, parameters}) => ({
      type: 'function',
      function: {name, parameters, ...(description !== undefined && {description})},
    })),
  };
}

/** Its client's types know neither the id of a call nor of a result; servers since late 2025 do, older ones ignore them. */
function messageToWire(all: readonly ChatMessage[]): (message: ChatMessage) => Message {
  const calls = all.flatMap(message => (message.role === 'assistant' ? (message.toolCalls ?? []) : []));
  return message => {
    const {role, content} = message;
    if (message.role === 'tool') {
      const name = message.name ?? calls.find(({id}) => id === message.toolCallId)?.name;
      const result = {role, content, tool_call_id: message.toolCallId};
      return name === undefined ? result : {...result, tool_name: name};
    }
    if (message.role === 'user' || message.toolCalls === undefined) return {role, content};
    const toolCalls = message.toolCalls.map(call => ({
      id: call.id,
      function: {name: call.name, arguments: {...parseArguments(call)}},
    }));
    return {role, content, tool_calls: toolCalls};
  };
}

function options(parameters: ChatParameters, numCtx: number): NonNullable<OllamaChatRequest['options']> {
  const {temperature, topP, maxTokens, stop, seed} = parameters;
  return {
    num_ctx: numCtx,
    ...(temperature === undefined ? {} : {temperature}),
    ...(topP === undefined ? {} : {top_p: topP}),
    ...(maxTokens === undefined ? {} : {num_predict: maxTokens}),
    ...(stop === undefined ? {} : {stop: [...stop]}),
    ...(seed === undefined ? {} : {seed}),
  };
}

/** A bare number means seconds and has to be sent as one: as text the server wants a unit (`5m`). */
function keepAliveValue(keepAlive: string): string | number {
  return /^-?\d+$/.test(keepAlive) ? Number(keepAlive) : keepAlive;
}

/** What the lines of one answer mean. */
export async function* fromWire(
  parts: AsyncIterable<ChatResponse>,
  model: string,
): AsyncGenerator<ChatEvent, void, void> {
  let called = false;
  for await (const part of parts) {
    const {thinking, content, tool_calls: calls = []} = part.message ?? {};
    if (thinking) yield {type: 'thinking', text: thinking};
    if (content) yield {type: 'text', text: content};
    for (const call of calls) {
      called = true;
      yield {type: 'tool-call', call: toolCall(call)};
    }
    if (!part.done) continue;
    const stopReason = called ? 'tool_calls' : 'end';
    yield {
      type: 'end',
      model: part.model || model,
      stopReason: part.done_reason === 'length' ? 'length' : stopReason,
      inputTokens: part.prompt_eval_count ?? 0, // left out by the server when the whole prompt was cached
      outputTokens: part.eval_count ?? 0,
    };
  }
}

/** Servers before late 2025 give calls no id; results have to name one. */
function toolCall(call: OllamaToolCall & {readonly id?: unknown}): Extract<ChatEvent, {type: 'tool-call'}>['call'] {
  const id = typeof call.id === 'string' && call.id !== '' ? call.id : `call_${crypto.randomUUID()}`;
  return {id, name: call.function.name, arguments: JSON.stringify(call.function.arguments ?? {})};
}
