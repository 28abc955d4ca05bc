/** OpenAI's chat completions: what is sent, and what its chunks mean. */
import type OpenAI from 'openai';
import type {ChatParameters} from '../api/types.js';
import type {ChatEvent, ChatMessage, ChatRequest, StopReason, ToolCall} from './provider.js';

export function toWire(request: ChatRequest, baseUrl: string): OpenAI.ChatCompletionCreateParamsStreaming {
  const {model, system, messages, parameters} = request;
  const {temperature, topP, stop, seed} = parameters;
  return {
    model,
    messages: [...(system === '' ? [] : [{role: 'system' as const, content: system}]), ...messages.map(messageToWire)],
    stream: true,
    stream_options: {include_usage: true},
    ...tools(request),
    ...responseFormat(request),
    ...limit(parameters, baseUrl),
    ...(temperature === undefined ? {} : {temperature}),
    ...(topP === undefined ? {} : {top_p: topP}),
    ...(stop === undefined ? {} : {stop: [...stop]}),
    ...(seed === undefined ? {} : {seed}),
  };
}

function messageToWire(message: ChatMessage): OpenAI.ChatCompletionMessageParam {
  const {content} = message;
  if (message.role === 'tool') return {role: 'tool', tool_call_id: message.toolCallId, content};
  if (message.role === 'user') return {role: 'user', content};
  if (message.toolCalls === undefined || message.toolCalls.length === 0) return {role: 'assistant', content};
  return {
    role: 'assistant',
    content: content === '' ? null : content,
    tool_calls: message.toolCalls.map(({id, name, arguments: text}) => ({
      id,
      type: 'function',
      function: {name, arguments: text},
    })),
  };
}

type Params = Partial<OpenAI.ChatCompletionCreateParamsStreaming>;

function tools({tools = [], toolChoice}: ChatRequest): Pick<Params, 'tools' | 'tool_choice'> {
  if (tools.length === 0) return {};
  const choice =
    typeof toolChoice === 'object' ? {type: 'function' as const, function: {name: toolChoice.name}} : toolChoice;
  return {
    tools: tools.map(({name, description, parameters}) => ({
      type: 'function',
      function: {name, ...(description !== undefined && {description}), parameters: {...parameters}},
    })),
    ...(choice !== undefined && {tool_choice: choice}),
  };
}

function responseFormat({responseFormat: format}: ChatRequest): Pick<Params, 'response_format'> {
  if (format === undefined) return {};
  if (format.type === 'json') return {response_format: {type: 'json_object'}};
  const {name, schema} = format;
  return {response_format: {type: 'json_schema', json_schema: {name, schema: {...schema}}}};
}

/** OpenAI's newer models refuse `max_tokens`; other servers know no other name. */
function limit({maxTokens}: ChatParameters, baseUrl: string) {
  if (maxTokens === undefined) return {};
  return /\/\/api\.openai\.com(\/|$)/.test(baseUrl) ? {max_completion_tokens: maxTokens} : {max_tokens: maxTokens};
}

type Chunk = OpenAI.ChatCompletionChunk;
type Delta = OpenAI.ChatCompletionChunk.Choice.Delta;
type CallDelta = OpenAI.ChatCompletionChunk.Choice.Delta.ToolCall;
type FinishReason = NonNullable<OpenAI.ChatCompletionChunk.Choice['finish_reason']>;

/**
 * What the chunks of one answer mean; without an `end` the answer is not whole. `begun` is called once the model has
 * said something, be it a part of what is told later.
 */
export async function* fromWire(
  chunks: AsyncIterable<Chunk>,
  model: string,
  begun: () => void,
): AsyncGenerator<ChatEvent, void, void> {
  const end = {type: 'end' as const, model, stopReason: undefined as StopReason | undefined};
  const usage = {inputTokens: 0, outputTokens: 0, cachedInputTokens: 0};
  const calls = new Map<number, PartialCall>();
  let refused = false;
  try {
    for await (const chunk of chunks) {
      if (chunk.model) end.model = chunk.model;
      usage.inputTokens = chunk.usage?.prompt_tokens ?? usage.inputTokens;
      usage.outputTokens = chunk.usage?.completion_tokens ?? usage.outputTokens;
      usage.cachedInputTokens = chunk.usage?.prompt_tokens_details?.cached_tokens ?? usage.cachedInputTokens;
      const choice = chunk.choices?.[0]; // the chunk with the usage has none
      if (!choice) continue;
      const thinking = thinkingOf(choice.delta);
      if (thinking) yield {type: 'thinking', text: thinking};
      const text = choice.delta?.content ?? choice.delta?.refusal;
      if (text) yield {type: 'text', text};
      refused ||= Boolean(choice.delta?.refusal);
      for (const delta of choice.delta?.tool_calls ?? []) {
        begun();
        addTo(calls, delta);
      }
      if (!choice.finish_reason) continue;
      for (const call of calls.values()) {
        end.stopReason = 'tool_calls';
        yield {type: 'tool-call', call: whole(call)};
      }
      calls.clear();
      if (refused) end.stopReason = 'refusal';
      else if (choice.finish_reason === 'length') end.stopReason = 'length';
      else end.stopReason ??= stopReason(choice.finish_reason);
    }
  } catch (error) {
    if (end.stopReason === undefined) throw error; // with it the answer is whole; only the usage may be missing then
  }
  const {stopReason: reason} = end;
  if (reason === undefined) return;
  const {cachedInputTokens, ...counted} = usage;
  yield {...end, stopReason: reason, ...counted, ...(cachedInputTokens > 0 && {cachedInputTokens})};
}

/** No part of OpenAI's own format; servers name it in two ways (vLLM and llama-server; OpenRouter and newer vLLM). */
function thinkingOf(delta: (Delta & {readonly reasoning_content?: unknown; readonly reasoning?: unknown}) | undefined) {
  return [delta?.reasoning_content, delta?.reasoning].find(text => typeof text === 'string');
}

interface PartialCall {
  id: string;
  name: string;
  arguments: string;
}

/** Pieces of one call have its index; servers that send calls whole may leave it out. */
function addTo(calls: Map<number, PartialCall>, delta: Partial<CallDelta>): void {
  const last = Math.max(0, calls.size - 1);
  const index = delta.index ?? (delta.id ? calls.size : last);
  const call = calls.get(index) ?? {id: '', name: '', arguments: ''};
  calls.set(index, call);
  call.id ||= delta.id ?? '';
  call.name ||= delta.function?.name ?? '';
  call.arguments += delta.function?.arguments ?? '';
}

function whole({id, name, arguments: text}: PartialCall): ToolCall {
  return {id: id || `call_${crypto.randomUUID()}`, name, arguments: text || '{}'};
}

function stopReason(reason: FinishReason): StopReason {
  switch (reason) {
    case 'length':
      return 'length';
    case 'content_filter':
      return 'refusal';
    case 'tool_calls':
    case 'function_call':
      return 'tool_calls';
    case 'stop':
      return 'end';
    default: // servers add their own
      return 'end';
  }
}
