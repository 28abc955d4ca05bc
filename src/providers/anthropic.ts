/** Anthropic's Messages API through its SDK. */
import type Anthropic from '@anthropic-ai/sdk';
import type {ModelCheck, ResolvedProvider} from '../api/types.js';
import {fromWire, promptToWire, toWire, versionFor} from './anthropic-wire.js';
import {ask, endedBy, noKey, stream, type Call, type Server} from './http-call.js';
import {checkFromError, modelNotFound} from './http-errors.js';
import {ProviderError, type ChatEvent, type ChatRequest, type Provider} from './provider.js';
import {withRetries} from './retry.js';
import {checkLimits, limitsOf} from './timeouts.js';
import {displayUrl} from './url.js';

export const defaultAnthropicUrl = 'https://api.anthropic.com';

export function createAnthropicProvider(resolved: ResolvedProvider): Provider {
  return {
    check: (models, signal) => check(resolved, models, signal),
    chat: (request, signal) => withRetries(() => answer(resolved, request, signal), signal),
    countTokens: (request, signal) => countTokens(resolved, request, signal),
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
  const server = serverOf(resolved);
  try {
    return await ask({...server, limits: checkLimits, model}, signal, async call => {
      const info = await (await client(resolved, call)).models.retrieve(model);
      if (info.lifecycle === 'retired') {
        return checkFromError(modelNotFound(server.peer, `${model} any more (retired)`));
      }
      return info.max_input_tokens ? {available: true, contextTokens: info.max_input_tokens} : {available: true};
    });
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    return checkFromError(error);
  }
}

function answer(resolved: ResolvedProvider, request: ChatRequest, signal: AbortSignal): AsyncIterable<ChatEvent> {
  const {model, parameters} = request;
  const options = {...serverOf(resolved), limits: limitsOf(resolved), model, request};
  return stream(options, signal, async function* (call) {
    const anthropic = await client(resolved, call);
    const events = await anthropic.messages.create(toWire(request), {headers: versionFor(parameters)});
    yield* endedBy(
      call,
      fromWire(events, model, () => call.begun()),
      error => toldInStream(call, error),
    );
  });
}

/** Costs no tokens, and has a rate limit of its own. */
function countTokens(resolved: ResolvedProvider, request: ChatRequest, signal: AbortSignal): Promise<number> {
  const {model} = request;
  return ask({...serverOf(resolved), limits: checkLimits, model, request}, signal, async call => {
    const counted = await (await client(resolved, call)).messages.countTokens(promptToWire(request));
    return counted.input_tokens;
  });
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

async function client(resolved: ResolvedProvider, call: Call): Promise<Anthropic> {
  refuseWithoutKey(resolved);
  const {default: Client} = await import('@anthropic-ai/sdk');
  return new Client({
    baseURL: resolved.baseUrl ?? defaultAnthropicUrl,
    apiKey: noKey,
    webhookKey: null,
    fetch: call.fetch,
    timeout: call.sdkTimeoutMs,
    maxRetries: 0,
    logLevel: 'off',
    openTelemetry: false,
  });
}

function serverOf({name, apiKey, apiKeyFrom, baseUrl = defaultAnthropicUrl}: ResolvedProvider): Server {
  return {
    auth: apiKey === undefined ? {} : {'x-api-key': apiKey},
    key: apiKey,
    peer: {
      label: `Anthropic at ${displayUrl(baseUrl)}`,
      keyName: apiKeyFrom ?? `the key of provider "${name}"`,
      startHint: "check the network and the provider's baseUrl",
      modelHint: () => "see the models that the key may use, or change the specialist's model",
    },
  };
}
