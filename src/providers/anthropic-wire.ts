/** Anthropic's Messages API: what is sent, and what its events mean. */
import type Anthropic from '@anthropic-ai/sdk';
import type {ChatParameters} from '../api/types.js';
import {
  badRequest,
  parseArguments,
  type ChatEvent,
  type ChatMessage,
  type ChatRequest,
  type StopReason,
  type ToolChoice,
} from './provider.js';

/** The API wants a limit; an answer longer than this is declared by the specialist. */
const defaultMaxTokens = 4096;

/** @throws {ProviderError} what the API has no field for */
export function toWire(request: ChatRequest): Anthropic.MessageCreateParamsStreaming {
  const {temperature, topP, maxTokens, stop} = request.parameters;
  return {
    ...promptToWire(request),
    max_tokens: maxTokens ?? defaultMaxTokens,
    stream: true,
    ...(stop === undefined ? {} : {stop_sequences: [...stop]}),
    ...(temperature === undefined ? {} : {temperature}),
    ...(topP === undefined ? {} : {top_p: topP}),
  };
}

/** What the model reads: also what is counted. */
export function promptToWire({model, system, messages, tools = [], toolChoice, responseFormat}: ChatRequest) {
  if (responseFormat?.type === 'json') {
    throw badRequest('Anthropic answers in JSON only by a schema; give one, or ask for JSON in the message');
  }
  return {
    model,
    messages: messagesToWire(messages),
    // The same for every chat of a specialist, so the server may keep it, and the tools before it, instead of reading
    // them again.
    ...(system === ''
      ? {}
      : {system: [{type: 'text' as const, text: system, cache_control: {type: 'ephemeral' as const}}]}),
    ...(tools.length > 0 && {
      tools: tools.map(({name, description, parameters}) => ({
        name,
        ...(description !== undefined && {description}),
        input_schema: {type: 'object' as const, ...parameters},
      })),
      ...(toolChoice !== undefined && {tool_choice: toolChoiceToWire(toolChoice)}),
    }),
    ...(responseFormat && {
      output_config: {format: {type: 'json_schema' as const, schema: {...responseFormat.schema}}},
    }),
  };
}

/**
 * API versions since 2026-10-21 refuse temperature and top_p. Who declares one gets the version that knows them,
 * and the server's own answer where the model doesn't take them.
 */
export function versionFor({temperature, topP}: ChatParameters): Record<string, string> {
  return temperature === undefined && topP === undefined ? {} : {'anthropic-version': '2023-06-01'};
}

function toolChoiceToWire(choice: ToolChoice): Anthropic.ToolChoice {
  switch (choice) {
    case 'auto':
    case 'none':
      return {type: choice};
    case 'required':
      return {type: 'any'};
    default:
      return {type: 'tool', name: choice.name};
  }
}

/** The results of the calls of one message have to stand together at the beginning of one message of the user. */
function messagesToWire(messages: readonly ChatMessage[]): Anthropic.MessageParam[] {
  const wire: Anthropic.MessageParam[] = [];
  let results: Anthropic.ToolResultBlockParam[] | undefined;
  for (const message of messages) {
    if (message.role !== 'tool') {
      results = undefined;
      wire.push(message.role === 'user' ? {role: 'user', content: message.content} : assistantToWire(message));
      continue;
    }
    if (results === undefined) wire.push({role: 'user', content: (results = [])});
    results.push({type: 'tool_result', tool_use_id: message.toolCallId, content: message.content});
  }
  return wire;
}

function assistantToWire({content, toolCalls}: Extract<ChatMessage, {role: 'assistant'}>): Anthropic.MessageParam {
  if (toolCalls === undefined || toolCalls.length === 0) return {role: 'assistant', content};
  const calls = toolCalls.map(call => ({
    type: 'tool_use' as const,
    id: call.id,
    name: call.name,
    input: parseArguments(call),
  }));
  // The API refuses empty texts.
  return {role: 'assistant', content: content === '' ? calls : [{type: 'text', text: content}, ...calls]};
}

/**
 * What the events of one answer mean; without an `end` the answer is not whole. `begun` is called once the model has
 * said something, be it a part of what is told later.
 */
export async function* fromWire(
  events: AsyncIterable<Anthropic.RawMessageStreamEvent>,
  model: string,
  begun: () => void,
): AsyncGenerator<ChatEvent, void, void> {
  const end = {type: 'end' as const, model, stopReason: 'end' as StopReason, inputTokens: 0, outputTokens: 0};
  let cachedInputTokens = 0;
  let call: {id: string; name: string; arguments: string} | undefined;
  for await (const event of events) {
    switch (event.type) {
      case 'message_start':
        end.model = event.message.model;
        end.inputTokens = inputTokens(event.message.usage);
        cachedInputTokens = event.message.usage.cache_read_input_tokens ?? 0;
        break;
      case 'content_block_start':
        if (event.content_block.type === 'tool_use') {
          call = {id: event.content_block.id, name: event.content_block.name, arguments: ''};
        }
        break;
      case 'content_block_delta':
        begun();
        if (event.delta.type === 'text_delta') yield {type: 'text', text: event.delta.text};
        else if (event.delta.type === 'thinking_delta') yield {type: 'thinking', text: event.delta.thinking};
        else if (event.delta.type === 'input_json_delta' && call) call.arguments += event.delta.partial_json;
        break;
      case 'content_block_stop':
        if (call) yield {type: 'tool-call', call: {...call, arguments: call.arguments || '{}'}};
        call = undefined;
        break;
      case 'message_delta':
        end.stopReason = stopReason(event.delta.stop_reason);
        end.outputTokens = event.usage.output_tokens; // so far, not since the last event
        break;
      case 'message_stop':
        yield cachedInputTokens > 0 ? {...end, cachedInputTokens} : end;
        break;
      default: // later API versions may add events
    }
  }
}

/** Cached parts of the prompt are counted apart on the wire. */
function inputTokens(usage: Anthropic.Usage): number {
  return usage.input_tokens + (usage.cache_creation_input_tokens ?? 0) + (usage.cache_read_input_tokens ?? 0);
}

function stopReason(reason: Anthropic.StopReason | null): StopReason {
  switch (reason) {
    case 'max_tokens':
    case 'model_context_window_exceeded':
      return 'length';
    case 'stop_sequence':
      return 'stop';
    case 'refusal':
      return 'refusal';
    case 'tool_use':
      return 'tool_calls';
    case 'end_turn':
    case 'pause_turn':
    case null:
      return 'end';
    default: // one of a later API version
      return 'end';
  }
}
