/** The wire format of OpenAI-compatible servers: /v1/models, and /v1/chat/completions as server-sent events. */
import {sse, startModelServer, type Dialect, type ModelServer, type ModelServerOptions} from './model-server.js';

export interface OpenAiOptions extends ModelServerOptions {
  /** undefined: a server without /v1/models. */
  readonly models?: readonly string[];
}

/** Its `url` lacks the `/v1` that a provider's baseUrl ends with. */
export function startOpenAi(options: OpenAiOptions): Promise<ModelServer> {
  return startModelServer(dialect(options), options);
}

function dialect({models}: OpenAiOptions): Dialect {
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
      const usage = {prompt_tokens: input, completion_tokens: output, total_tokens: input + output};
      return {
        contentType: 'text/event-stream; charset=utf-8',
        first: [chunk(choice({role: 'assistant', content: ''}))],
        chunks: reply.chunks.map(content => chunk(choice({content}))),
        error: ({kind, message}) => sse({error: {message, type: kind, param: null, code: null}}),
        last: [chunk(choice({}, reply.stopReason ?? 'stop')), chunk({choices: [], usage}), sse('[DONE]')],
      };
    },
    refusal: ({kind = 'server_error', message = 'refused'}) => ({
      error: {message, type: kind, param: null, code: kind},
    }),
    other({path}) {
      if (path !== '/v1/models' || models === undefined) return undefined;
      const data = models.map(id => ({id, object: 'model', created: 1_735_689_600, owned_by: 'lab'}));
      return {status: 200, body: {object: 'list', data}};
    },
  };
}
