/** The wire format of OpenAI-compatible servers: /v1/models, and /v1/chat/completions as server-sent events. */
import {
  halves,
  sse,
  startModelServer,
  type Dialect,
  type ModelServer,
  type ModelServerOptions,
} from './model-server.js';

export interface OpenAiOptions extends ModelServerOptions {
  /** undefined: a server without /v1/models. */
  readonly models?: readonly string[];
  /** Where thinking goes: vLLM and llama-server name it the first way, OpenRouter the second. */
  readonly thinkingField?: 'reasoning_content' | 'reasoning';
  /** As vLLM lists it beside each model. */
  readonly maxModelLen?: number;
}

/** Its `url` lacks the `/v1` that a provider's baseUrl ends with. */
export function startOpenAi(options: OpenAiOptions): Promise<ModelServer> {
  return startModelServer(dialect(options), options);
}

function dialect({models, thinkingField = 'reasoning_content', maxModelLen}: OpenAiOptions): Dialect {
  return {
    isChat: path => path === '/v1/chat/completions',
    missing: model =>
      models?.includes(model) === false
        ? {status: 404, kind: 'model_not_found', message: `The model \`${model}\` does not exist.`}
        : undefined,
    frames({body}, reply) {
      const chunk = (fields: object): string =>
        sse({
          id: 'chatcmpl-1',
          object: 'chat.completion.chunk',
          created: 1_735_689_600,
          model: body['model'],
          ...fields,
        });
      const choice = (delta: object, finishReason: string | null = null): object => ({
        choices: [{index: 0, delta, logprobs: null, finish_reason: finishReason}],
      });
      const [input, output] = [reply.inputTokens ?? 11, reply.outputTokens ?? 7];
      const usage = {
        prompt_tokens: input,
        completion_tokens: output,
        total_tokens: input + output,
        prompt_tokens_details: {cached_tokens: reply.cachedInputTokens ?? 0},
      };
      const toolCalls = (reply.toolCalls ?? []).flatMap(({id, name, arguments: json}, index) => [
        {index, id, type: 'function', function: {name, arguments: ''}},
        ...halves(json).map(piece => ({index, function: {arguments: piece}})),
      ]);
      const finish = reply.stopReason ?? (toolCalls.length > 0 ? 'tool_calls' : 'stop');
      return {
        contentType: 'text/event-stream; charset=utf-8',
        first: [
          chunk(choice({role: 'assistant', content: ''})),
          ...(reply.thinking ?? []).map(piece => chunk(choice({[thinkingField]: piece}))),
        ],
        chunks: reply.chunks.map(content => chunk(choice({content}))),
        error: ({kind, message}) => sse({error: {message, type: kind, param: null, code: null}}),
        last: [
          ...toolCalls.map(call => chunk(choice({tool_calls: [call]}))),
          chunk(choice({}, finish)),
          chunk({choices: [], usage}),
          sse('[DONE]'),
        ],
      };
    },
    refusal: ({kind = 'server_error', message = 'refused'}) => ({
      error: {message, type: kind, param: null, code: kind},
    }),
    other({path}) {
      if (path !== '/v1/models' || models === undefined) return undefined;
      const more = maxModelLen === undefined ? {} : {max_model_len: maxModelLen};
      const data = models.map(id => ({id, object: 'model', created: 1_735_689_600, owned_by: 'lab', ...more}));
      return {status: 200, body: {object: 'list', data}};
    },
  };
}
