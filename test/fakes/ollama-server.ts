/** Ollama's wire format: /api/tags, /api/show, and /api/chat and /api/pull as newline JSON. */
import type {ToolCall} from '../../src/providers/provider.js';
import {
  startModelServer,
  type Dialect,
  type Frames,
  type ModelServer,
  type ModelServerOptions,
  type Refusal,
} from './model-server.js';

/** A model as `ollama list` shows it. */
export interface FakeModel {
  readonly name: string;
  readonly parameterSize?: string;
  readonly sizeBytes?: number;
  readonly families?: readonly string[];
  /** Text of `parameters` in /api/show: the Modelfile's. */
  readonly parameters?: string;
  readonly contextLength?: number;
  /** Answered elsewhere (Ollama's cloud models). */
  readonly remoteHost?: string;
  /** 64 hexadecimal digits; '': an old server, which doesn't tell. */
  readonly digest?: string;
}

export interface OllamaOptions extends ModelServerOptions {
  /** Names alone will do. May be changed while the server runs. */
  readonly models: readonly (string | FakeModel)[];
}

export const fakeDigest = 'a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72';

/** The lines of a download of 5 GB: as chunks of a reply. */
export const pullSteps: readonly string[] = [
  {status: 'pulling manifest'},
  {status: 'pulling dde5aa3fc5ff', digest: 'sha256:dde5aa3fc5ff', total: 5_000_000_000},
  {status: 'pulling dde5aa3fc5ff', digest: 'sha256:dde5aa3fc5ff', total: 5_000_000_000, completed: 2_500_000_000},
  {status: 'pulling dde5aa3fc5ff', digest: 'sha256:dde5aa3fc5ff', total: 5_000_000_000, completed: 5_000_000_000},
  {status: 'verifying sha256 digest'},
  {status: 'writing manifest'},
].map(step => JSON.stringify(step));

export function startOllama(options: OllamaOptions): Promise<ModelServer> {
  return startModelServer(dialect(options.models), options);
}

function dialect(listed: OllamaOptions['models']): Dialect {
  const models = (): FakeModel[] => listed.map(model => (typeof model === 'string' ? {name: model} : model));
  const find = (name: unknown): FakeModel | undefined =>
    models().find(model => model.name === name || model.name === `${String(name)}:latest`);
  return {
    isChat: path => path === '/api/chat' || path === '/api/pull',
    missing: (model, path) => (path === '/api/chat' && find(model) === undefined ? notFound(model) : undefined),
    frames({body, path}, reply) {
      if (path === '/api/pull') return pullFrames(reply.chunks);
      const {model} = body;
      const line = (fields: object): string =>
        `${JSON.stringify({model, created_at: '2025-01-01T00:00:00.000000Z', ...fields})}\n`;
      const message = (content: string): object => ({role: 'assistant', content});
      return {
        contentType: 'application/x-ndjson',
        first: (reply.thinking ?? []).map(thinking => line({message: {...message(''), thinking}, done: false})),
        chunks: reply.chunks.map(content => line({message: message(content), done: false})),
        error: ({message: error}) => `${JSON.stringify({error})}\n`,
        last: [
          ...(reply.toolCalls ?? []).map(call =>
            line({message: {...message(''), tool_calls: [toolCall(call)]}, done: false}),
          ),
          line({
            message: message(''),
            done: true,
            done_reason: reply.stopReason ?? 'stop',
            total_duration: 5_000_000,
            load_duration: 1_000_000,
            prompt_eval_count: reply.inputTokens ?? 11,
            prompt_eval_duration: 1_000_000,
            eval_count: reply.outputTokens ?? 7,
            eval_duration: 2_000_000,
          }),
        ],
      };
    },
    refusal: ({message = 'refused'}) => ({error: message}),
    other({path, body}) {
      if (path === '/api/tags') return {status: 200, body: {models: models().map(tag)}};
      if (path !== '/api/show') return undefined;
      const model = find(body['model']);
      if (model === undefined) return {status: 404, body: {error: notFound(String(body['model'])).message}};
      return {
        status: 200,
        body: {
          parameters: model.parameters ?? '',
          model_info: {'general.architecture': 'llama', 'llama.context_length': model.contextLength ?? 131_072},
          capabilities: ['completion'],
        },
      };
    },
  };
}

/** An old server's have no id. */
function toolCall({id, name, arguments: text}: ToolCall): object {
  const call = {name, arguments: JSON.parse(text) as unknown};
  return {...(id !== '' && {id}), function: {index: 0, ...call}};
}

function pullFrames(steps: readonly string[]): Frames {
  return {
    contentType: 'application/x-ndjson',
    first: [],
    chunks: steps.map(step => `${step}\n`),
    error: ({message: error}) => `${JSON.stringify({error})}\n`,
    last: [`${JSON.stringify({status: 'success'})}\n`],
  };
}

function notFound(model: string): Refusal {
  return {status: 404, message: `model '${model}' not found`};
}

function tag({name, parameterSize, sizeBytes, families, remoteHost, digest = fakeDigest}: FakeModel): object {
  return {
    name,
    model: name,
    ...(remoteHost === undefined ? {} : {remote_host: remoteHost, remote_model: name}),
    modified_at: '2025-01-01T00:00:00.000000000Z',
    size: sizeBytes ?? 2_000_000_000,
    digest,
    details: {
      parent_model: '',
      format: 'gguf',
      family: families?.[0] ?? 'llama',
      families: families ?? ['llama'],
      parameter_size: parameterSize ?? '',
      quantization_level: 'Q4_K_M',
    },
  };
}
