/** The wire format of Anthropic's Messages API: /v1/models/{id}, /v1/messages/count_tokens, and /v1/messages as server-sent events. */
import type Anthropic from '@anthropic-ai/sdk';
import {
  halves,
  sse,
  startModelServer,
  type Dialect,
  type ModelServer,
  type ModelServerOptions,
} from './model-server.js';

export interface AnthropicOptions extends ModelServerOptions {
  readonly models: readonly string[];
  /** Models that are listed, and refuse to answer. */
  readonly retired?: readonly string[];
}

export function startAnthropic(options: AnthropicOptions): Promise<ModelServer> {
  return startModelServer(dialect(options), options);
}

function dialect({models, retired = []}: AnthropicOptions): Dialect {
  return {
    isChat: path => path === '/v1/messages',
    missing: model => (models.includes(model) ? undefined : {status: 404, message: `model: ${model}`}),
    frames({body}, reply) {
      const event = (data: {readonly type: string; readonly [field: string]: unknown}): string => sse(data, data.type);
      const {thinking = [], toolCalls = [], cachedInputTokens = 0} = reply;
      const text = thinking.length > 0 ? 1 : 0; // index of its block
      const begin = (index: number, block: object): string =>
        event({type: 'content_block_start', index, content_block: block});
      const delta = (index: number, piece: object): string => event({type: 'content_block_delta', index, delta: piece});
      const stop = (index: number): string => event({type: 'content_block_stop', index});
      const thoughts = [
        begin(0, {type: 'thinking', thinking: '', signature: ''}),
        ...thinking.map(piece => delta(0, {type: 'thinking_delta', thinking: piece})),
        delta(0, {type: 'signature_delta', signature: 'c2ln'}),
        stop(0),
      ];
      const calls = toolCalls.flatMap(({id, name, arguments: json}, nth) => {
        const index = text + 1 + nth;
        const pieces = ['', ...halves(json)].map(piece =>
          delta(index, {type: 'input_json_delta', partial_json: piece}),
        );
        return [begin(index, {type: 'tool_use', id, name, input: {}}), ...pieces, stop(index)];
      });
      return {
        contentType: 'text/event-stream; charset=utf-8',
        first: [
          event({
            type: 'message_start',
            message: {
              id: 'msg_01',
              type: 'message',
              role: 'assistant',
              model: body['model'],
              content: [],
              stop_reason: null,
              stop_sequence: null,
              usage: {
                input_tokens: (reply.inputTokens ?? 11) - cachedInputTokens,
                cache_creation_input_tokens: 0,
                cache_read_input_tokens: cachedInputTokens,
                output_tokens: 1,
              },
            },
          }),
          ...(thinking.length > 0 ? thoughts : []),
          begin(text, {type: 'text', text: ''}),
          event({type: 'ping'}),
        ],
        chunks: reply.chunks.map(piece => delta(text, {type: 'text_delta', text: piece})),
        error: ({kind, message}) => event({type: 'error', error: {type: kind, message}}),
        last: [
          stop(text),
          ...calls,
          event({
            type: 'message_delta',
            delta: {
              stop_reason: reply.stopReason ?? (toolCalls.length > 0 ? 'tool_use' : 'end_turn'),
              stop_sequence: null,
            },
            usage: {output_tokens: reply.outputTokens ?? 7},
          }),
          event({type: 'message_stop'}),
        ],
      };
    },
    refusal: ({status, kind = 'api_error', message = 'refused'}) => ({
      type: 'error',
      error: {type: status === 404 ? 'not_found_error' : kind, message},
      request_id: 'req_01',
    }),
    other({path, body}) {
      // A word a token, of all that the model reads.
      if (path === '/v1/messages/count_tokens') {
        const {model: _, ...read} = body;
        return {status: 200, body: {input_tokens: JSON.stringify(read).split(/\W+/).length}};
      }
      const [, id] = /^\/v1\/models\/([^/?]+)/.exec(path) ?? [];
      if (id === undefined) return undefined;
      const model = decodeURIComponent(id);
      if (!models.includes(model) && !retired.includes(model)) return undefined;
      return {status: 200, body: modelInfo(model, retired.includes(model) ? 'retired' : 'active')};
    },
  };
}

function modelInfo(id: string, lifecycle: Anthropic.ModelInfo['lifecycle']): Partial<Anthropic.ModelInfo> {
  return {
    id,
    type: 'model',
    display_name: id,
    created_at: '2025-01-01T00:00:00Z',
    lifecycle,
    max_input_tokens: 200_000,
    max_tokens: 64_000,
  };
}
