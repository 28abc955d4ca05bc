/** Anthropic's Messages API through its SDK. */
import type Anthropic from '@anthropic-ai/sdk';
import type {ChatParameters, ModelCheck, ResolvedProvider} from '../api/types.js';
import {checkLimits, noKey, openCall, type Call} from './http-call.js';
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

export const defaultAnthropicUrl = 'https://api.anthropic.com';

/** The API wants a limit; an answer longer than this is declared by the specialist. */
const defaultMaxTokens = 4096;

/** The API answers at once and sends a ping every few seconds while the model thinks. */
const chatLimits: HttpLimits = {connectMs: 10_000, headersMs: 2 * 60_000, idleMs: 2 * 60_000};

export function createAnthropicProvider(resolved: ResolvedProvider): Provider {
  return {
    check: (models, signal) => check(resolved, models, signal),
    chat: (request, signal) => withRetries(() => answer(resolved, request, signal), signal),
  };
}

/** One request for each model, for only that endpoint knows aliases; none after a failure that isn't the model's. */
async function check(
  resolved: ResolvedProvider,
  models: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ModelCheck>> {
  const checks = new Map<string, ModelCheck>();
  let common: ModelCheck | undefined;
  for (const model of new Set(models)) {
    const result = common ?? (await checkModel(resolved, model, signal));
    if (!result.available && result.reason !== 'ModelNotFound') common = result;
    checks.set(model, result);
  }
  return checks;
}

async function checkModel(resolved: ResolvedProvider, model: string, signal: AbortSignal): Promise<ModelCheck> {
  const call = openCall({...wire(resolved), limits: checkLimits, model}, signal);
  try {
    refuseWithoutKey(resolved);
    const info = await (await client(resolved, call, checkLimits)).models.retrieve(model);
    if (info.lifecycle === 'retired') {
      return checkFromError(modelNotFound(peerOf(resolved), `${model} any more (retired)`));
    }
    return info.max_input_tokens ? {available: true, contextTokens: info.max_input_tokens} : {available: true};
  } catch (error) {
    const explained = call.explain(error);
    if (!(explained instanceof ProviderError)) throw explained;
    return checkFromError(explained);
  } finally {
    call.close();
  }
}

async function* answer(
  resolved: ResolvedProvider,
  request: ChatRequest,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent, void, void> {
  const {model, parameters} = request;
  const call = openCall({...wire(resolved), limits: chatLimits, model, request}, signal);
  const end = {type: 'end' as const, model, stopReason: 'end' as StopReason, inputTokens: 0, outputTokens: 0};
  let complete = false;
  try {
    refuseWithoutKey(resolved);
    const anthropic = await client(resolved, call, chatLimits);
    const stream = await anthropic.messages.create(toWire(request), {headers: versionFor(parameters)});
    for await (const event of stream) {
      switch (event.type) {
        case 'message_start':
          end.model = event.message.model;
          end.inputTokens = inputTokens(event.message.usage);
          break;
        case 'content_block_delta':
          if (event.delta.type === 'text_delta') yield {type: 'text', text: event.delta.text};
          break;
        case 'message_delta':
          end.stopReason = stopReason(event.delta.stop_reason);
          end.outputTokens = event.usage.output_tokens; // so far, not since the last event
          break;
        case 'message_stop':
          complete = true;
          yield end; // now; reading on to the end of the reply keeps the connection for the next chat
          break;
        default: // starts and stops of blocks carry no text; later API versions may add events
      }
    }
    signal.throwIfAborted();
    if (!complete) throw call.brokenOff();
  } catch (error) {
    if (complete && !signal.aborted) return; // the answer is whole, whatever came behind it
    throw call.explain(toldInStream(call, error));
  } finally {
    call.close();
  }
}

function toWire({model, system, messages, parameters}: ChatRequest): Anthropic.MessageCreateParamsStreaming {
  const {temperature, topP, maxTokens, stop} = parameters;
  const sampling = {
    ...(temperature === undefined ? {} : {temperature}),
    ...(topP === undefined ? {} : {top_p: topP}),
  };
  return {
    model,
    max_tokens: maxTokens ?? defaultMaxTokens,
    messages: textMessages(messages),
    stream: true,
    // The same for every chat of a specialist, so the server may keep it instead of reading it again.
    ...(system === '' ? {} : {system: [{type: 'text', text: system, cache_control: {type: 'ephemeral'}}]}),
    ...(stop === undefined ? {} : {stop_sequences: [...stop]}),
    ...sampling,
  };
}

/**
 * API versions since 2026-10-21 refuse temperature and top_p. Who declares one gets the version that knows them,
 * and the server's own answer where the model doesn't take them.
 */
function versionFor({temperature, topP}: ChatParameters): Record<string, string> {
  return temperature === undefined && topP === undefined ? {} : {'anthropic-version': '2023-06-01'};
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
    case 'end_turn':
    case 'tool_use':
    case 'pause_turn':
    case null:
      return 'end';
    default: // one of a later API version
      return 'end';
  }
}

/** Status that an error event in the middle of a stream would have had as a reply. */
const statusOf: Readonly<Record<string, number>> = {
  invalid_request_error: 400,
  authentication_error: 401,
  billing_error: 402,
  permission_error: 403,
  not_found_error: 404,
  request_too_large: 413,
  rate_limit_error: 429,
  api_error: 500,
  timeout_error: 504,
  overloaded_error: 529,
};

function toldInStream(call: Call, error: unknown): unknown {
  if (!(error instanceof Error && 'type' in error && typeof error.type === 'string')) return error;
  const detail = 'apiMessage' in error && typeof error.apiMessage === 'string' ? error.apiMessage : '';
  return call.refused({status: statusOf[error.type] ?? 500, kind: error.type, detail});
}

/** @throws {ProviderError} where a request could only be refused. Behind a gateway of one's own no key is fine. */
function refuseWithoutKey({name, apiKey, missingSecret, baseUrl}: ResolvedProvider): void {
  if (apiKey !== undefined) return;
  if (missingSecret === undefined && baseUrl !== undefined) return;
  const wanted = missingSecret ?? `an apiKey for provider "${name}", such as {env: ANTHROPIC_API_KEY}`;
  throw new ProviderError(`Anthropic needs a key: set ${wanted}`, {code: 'secret_missing', retryable: false});
}

async function client(resolved: ResolvedProvider, call: Call, limits: HttpLimits): Promise<Anthropic> {
  const {default: Client} = await import('@anthropic-ai/sdk');
  return new Client({
    baseURL: resolved.baseUrl ?? defaultAnthropicUrl,
    apiKey: noKey,
    webhookKey: null,
    fetch: call.fetch,
    timeout: limits.headersMs + limits.connectMs, // ours comes first, and says what was waited for
    maxRetries: 0,
    logLevel: 'off',
    openTelemetry: false,
  });
}

function wire(resolved: ResolvedProvider) {
  const {apiKey} = resolved;
  const auth: Record<string, string> = apiKey === undefined ? {} : {'x-api-key': apiKey};
  return {peer: peerOf(resolved), auth, key: apiKey};
}

function peerOf(resolved: ResolvedProvider): Peer {
  return {
    label: `Anthropic at ${displayUrl(resolved.baseUrl ?? defaultAnthropicUrl)}`,
    keyName: resolved.apiKeyFrom ?? `the key of provider "${resolved.name}"`,
    startHint: "check the network and the provider's baseUrl",
    modelHint: () => "see the models that the key may use, or change the specialist's model",
  };
}
