/** Any server that speaks OpenAI's chat completions (vLLM, llama-server, LM Studio, OpenAI itself), through OpenAI's SDK. */
import type OpenAI from 'openai';
import type {ModelCheck, ResolvedProvider} from '../api/types.js';
import {ask, endedBy, noKey, stream, type Call, type Server} from './http-call.js';
import {checkFromError, modelNotFound} from './http-errors.js';
import {fromWire, toWire} from './openai-wire.js';
import {ProviderError, type ChatEvent, type ChatRequest, type Provider} from './provider.js';
import {withRetries} from './retry.js';
import {checkLimits, limitsOf} from './timeouts.js';
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
  const server = serverOf(resolved);
  try {
    return await ask({...server, limits: checkLimits}, signal, async call => {
      // Typed as the SDK has it; it makes an empty page of a reply that isn't said to be JSON.
      const {data, object} = (await (await client(resolved, call)).models.list()) as {data: unknown; object?: string};
      if (!isModels(data) || (data.length === 0 && object === undefined)) return same({available: true});
      const listed = new Map(data.map(entry => [entry.id, available(entry)]));
      const missing = (model: string): ModelCheck => checkFromError(modelNotFound(server.peer, model));
      return new Map(models.map(model => [model, listed.get(model) ?? missing(model)]));
    });
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    return same(error.status === 404 ? {available: true} : checkFromError(error));
  }
}

function isModels(data: unknown): data is readonly OpenAI.Model[] {
  return Array.isArray(data);
}

/** vLLM and OpenRouter tell the context window beside OpenAI's own fields. */
function available(
  entry: OpenAI.Model & {readonly max_model_len?: unknown; readonly context_length?: unknown},
): ModelCheck {
  const contextTokens = [entry.max_model_len, entry.context_length].find(tokens => typeof tokens === 'number');
  return {available: true, ...(contextTokens && {contextTokens})};
}

function answer(resolved: ResolvedProvider, request: ChatRequest, signal: AbortSignal): AsyncIterable<ChatEvent> {
  const {model} = request;
  const options = {...serverOf(resolved), limits: limitsOf(resolved), model, request};
  return stream(options, signal, async function* (call) {
    const openai = await client(resolved, call);
    const chunks = await openai.chat.completions.create(toWire(request, resolved.baseUrl ?? defaultOpenAiUrl));
    yield* endedBy(
      call,
      fromWire(chunks, model, () => call.begun()),
      error => toldInStream(call, error),
    );
  });
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

async function client(resolved: ResolvedProvider, call: Call): Promise<OpenAI> {
  refuseWithoutKey(resolved);
  const {default: Client} = await import('openai');
  return new Client({
    baseURL: resolved.baseUrl ?? defaultOpenAiUrl,
    apiKey: noKey,
    adminAPIKey: null,
    organization: null,
    project: null,
    webhookSecret: null,
    fetch: call.fetch,
    timeout: call.sdkTimeoutMs,
    maxRetries: 0,
    logLevel: 'off',
  });
}

function serverOf({name, apiKey, apiKeyFrom, baseUrl = defaultOpenAiUrl}: ResolvedProvider): Server {
  return {
    auth: apiKey === undefined ? {} : {authorization: `Bearer ${apiKey}`},
    key: apiKey,
    peer: {
      label: `the server of provider "${name}" at ${displayUrl(baseUrl)}`,
      keyName: apiKeyFrom ?? `the key of provider "${name}"`,
      startHint: "start it, or correct the provider's baseUrl",
      modelHint: () => "load it there, or change the specialist's model",
    },
  };
}
