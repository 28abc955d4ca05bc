/** Any server that speaks OpenAI's chat completions (vLLM, llama-server, LM Studio, OpenAI itself), through OpenAI's SDK. */
import type OpenAI from 'openai';
import type {ChatParameters, ModelCheck, ResolvedProvider} from '../api/types.js';
import {checkLimits, localLimits, noKey, openCall, type Call} from './http-call.js';
import {checkFromError, modelNotFound, type Peer} from './http-errors.js';
import type {HttpLimits} from './http-send.js';
import {
  ProviderError,
  textMessages,
  type ChatEvent,
  type ChatRequest,
  type Provider,
  type StopReason,
} from './provider.js';
import {withRetries} from './retry.js';
import {displayUrl} from './url.js';

export const defaultOpenAiUrl = 'https://api.openai.com/v1';

export function createOpenAiProvider(resolved: ResolvedProvider): Provider {
  return {
    check: (models, signal) => check(resolved, models, signal),
    chat: (request, signal) => withRetries(() => answer(resolved, request, signal), signal),
  };
}

/** One request for all models. A server without a list of models (404) answers, and that is all there is to know. */
async function check(
  resolved: ResolvedProvider,
  models: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ModelCheck>> {
  const same = (result: ModelCheck) => new Map(models.map(model => [model, result]));
  const call = openCall({...wire(resolved), limits: checkLimits}, signal);
  try {
    refuseWithoutKey(resolved);
    const {data} = await (await client(resolved, call, checkLimits)).models.list();
    if (!Array.isArray(data)) return same({available: true});
    const listed = new Set(data.map(({id}) => id));
    const missing = (model: string): ModelCheck => checkFromError(modelNotFound(peerOf(resolved), model));
    return new Map(models.map(model => [model, listed.has(model) ? {available: true} : missing(model)]));
  } catch (error) {
    const explained = call.explain(error);
    if (!(explained instanceof ProviderError)) throw explained;
    return same(explained.status === 404 ? {available: true} : checkFromError(explained));
  } finally {
    call.close();
  }
}

async function* answer(
  resolved: ResolvedProvider,
  request: ChatRequest,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent, void, void> {
  const {model} = request;
  const call = openCall({...wire(resolved), limits: localLimits, model, request}, signal);
  const end = {type: 'end' as const, model, stopReason: 'end' as StopReason, inputTokens: 0, outputTokens: 0};
  let complete = false;
  try {
    refuseWithoutKey(resolved);
    const openai = await client(resolved, call, localLimits);
    for await (const chunk of await openai.chat.completions.create(toWire(request, resolved.baseUrl))) {
      if (chunk.model) end.model = chunk.model;
      end.inputTokens = chunk.usage?.prompt_tokens ?? end.inputTokens;
      end.outputTokens = chunk.usage?.completion_tokens ?? end.outputTokens;
      const choice = chunk.choices?.[0]; // the chunk with the usage has none
      const text = choice?.delta?.content ?? choice?.delta?.refusal;
      if (text) yield {type: 'text', text};
      if (choice?.delta?.refusal) end.stopReason = 'refusal';
      if (!choice?.finish_reason) continue;
      complete = true;
      if (end.stopReason !== 'refusal') end.stopReason = stopReason(choice.finish_reason);
    }
    signal.throwIfAborted();
    if (!complete) throw call.brokenOff();
  } catch (error) {
    // With the finish reason the answer is whole; only the usage may be missing then.
    if (!complete || signal.aborted) throw call.explain(toldInStream(call, error));
  } finally {
    call.close();
  }
  yield end;
}

function toWire(request: ChatRequest, baseUrl: string | undefined): OpenAI.ChatCompletionCreateParamsStreaming {
  const {model, system, messages, parameters} = request;
  const {temperature, topP, stop, seed} = parameters;
  return {
    model,
    messages: [...(system === '' ? [] : [{role: 'system' as const, content: system}]), ...textMessages(messages)],
    stream: true,
    stream_options: {include_usage: true},
    ...limit(parameters, baseUrl),
    ...(temperature === undefined ? {} : {temperature}),
    ...(topP === undefined ? {} : {top_p: topP}),
    ...(stop === undefined ? {} : {stop: [...stop]}),
    ...(seed === undefined ? {} : {seed}),
  };
}

/** OpenAI's newer models refuse `max_tokens`; other servers know no other name. */
function limit({maxTokens}: ChatParameters, baseUrl = defaultOpenAiUrl) {
  if (maxTokens === undefined) return {};
  return /\/\/api\.openai\.com(\/|$)/.test(baseUrl) ? {max_completion_tokens: maxTokens} : {max_tokens: maxTokens};
}

type FinishReason = NonNullable<OpenAI.ChatCompletionChunk.Choice['finish_reason']>;

function stopReason(reason: FinishReason): StopReason {
  switch (reason) {
    case 'length':
      return 'length';
    case 'content_filter':
      return 'refusal';
    case 'stop':
    case 'tool_calls':
    case 'function_call':
      return 'end';
    default: // servers add their own
      return 'end';
  }
}

/** Servers that fail in the middle send a chunk with an `error` instead of choices. */
function toldInStream(call: Call, error: unknown): unknown {
  if (!(error instanceof Error && 'error' in error && typeof error.error === 'object' && error.error !== null)) {
    return error;
  }
  const {message, type, code} = error.error as {message?: unknown; type?: unknown; code?: unknown}; // read with care below
  return call.refused({
    status: typeof code === 'number' && code >= 400 ? code : 500,
    kind: [code, type].find(kind => typeof kind === 'string') ?? '',
    detail: typeof message === 'string' ? message : '',
  });
}

/** @throws {ProviderError} where a key was declared and isn't there. */
function refuseWithoutKey({name, missingSecret}: ResolvedProvider): void {
  if (missingSecret === undefined) return;
  throw new ProviderError(`provider "${name}" needs a key: set ${missingSecret}`, {
    code: 'secret_missing',
    retryable: false,
  });
}

async function client(resolved: ResolvedProvider, call: Call, limits: HttpLimits): Promise<OpenAI> {
  const {default: Client} = await import('openai');
  return new Client({
    baseURL: resolved.baseUrl ?? defaultOpenAiUrl,
    apiKey: noKey,
    adminAPIKey: null,
    organization: null,
    project: null,
    webhookSecret: null,
    fetch: call.fetch,
    timeout: limits.headersMs + limits.connectMs, // ours comes first, and says what was waited for
    maxRetries: 0,
    logLevel: 'off',
  });
}

function wire(resolved: ResolvedProvider) {
  const {apiKey} = resolved;
  const auth: Record<string, string> = apiKey === undefined ? {} : {authorization: `Bearer ${apiKey}`};
  return {peer: peerOf(resolved), auth, key: apiKey};
}

function peerOf(resolved: ResolvedProvider): Peer {
  return {
    label: `the server of provider "${resolved.name}" at ${displayUrl(resolved.baseUrl ?? defaultOpenAiUrl)}`,
    keyName: resolved.apiKeyFrom ?? `the key of provider "${resolved.name}"`,
    startHint: "start it, or correct the provider's baseUrl",
    modelHint: () => "load it there, or change the specialist's model",
  };
}
