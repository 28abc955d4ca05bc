/** Ollama, through its own client: /api/tags, /api/show and a streamed /api/chat. */
import type {Ollama, ChatRequest as OllamaChatRequest} from 'ollama';
import type {ChatParameters, ModelCheck, ResolvedProvider} from '../api/types.js';
import {checkLimits, localLimits, openCall, urlOf, type Call} from './http-call.js';
import {checkFromError, modelNotFound, type Peer} from './http-errors.js';
import {watchLines} from './ollama-lines.js';
import {ProviderError, type ChatEvent, type ChatRequest, type Provider, type StopReason} from './provider.js';
import {withRetries} from './retry.js';
import {displayUrl} from './url.js';

export const defaultOllamaUrl = 'http://127.0.0.1:11434';

/** Asked for where neither the specialist nor the model's own Modelfile says; Ollama's smaller default cuts prompts. */
const defaultContextTokens = 8192;

/** A model that the server has, as `ollama list` shows it. */
export interface InstalledModel {
  readonly name: string;
  /** As the server writes it (`70.6B`); '' where it says nothing. */
  readonly parameterSize: string;
  readonly sizeBytes: number;
  readonly families: readonly string[];
  /** Answered by another machine; this one only passes the prompts on. */
  readonly remote: boolean;
}

export function createOllamaProvider(resolved: ResolvedProvider): Provider {
  const contextTokens = new Map<string, number>();
  return {
    check: (models, signal) => check(resolved, models, signal),
    contextTokens: (model, signal) => ownContextTokens(resolved, model, contextTokens, signal),
    chat: (request, signal) => withRetries(() => answer(resolved, request, contextTokens, signal), signal),
  };
}

/**
 * What the server has, in one request.
 *
 * @throws {ProviderError} and the signal's reason.
 */
export async function listInstalled(
  resolved: ResolvedProvider,
  signal: AbortSignal,
): Promise<readonly InstalledModel[]> {
  const call = openCall({...wire(resolved), limits: checkLimits}, signal);
  try {
    return readInstalled(await (await client(resolved, call)).list());
  } catch (error) {
    throw call.explain(error);
  } finally {
    call.close();
  }
}

/** Whether two names mean one model: no tag is `latest`, no registry is Ollama's own, and case doesn't matter. */
export function isSameModel(a: string, b: string): boolean {
  return fullName(a) === fullName(b);
}

/** As messages name it: no credentials that the address may carry. */
export function ollamaLabel(resolved: ResolvedProvider): string {
  return `Ollama at ${displayUrl(resolved.baseUrl ?? defaultOllamaUrl)}`;
}

async function check(
  resolved: ResolvedProvider,
  models: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ModelCheck>> {
  try {
    const installed = await listInstalled(resolved, signal);
    const has = (model: string): boolean => installed.some(({name}) => isSameModel(name, model));
    const missing = (model: string): ModelCheck => checkFromError(modelNotFound(peerOf(resolved), model));
    return new Map(models.map(model => [model, has(model) ? {available: true} : missing(model)]));
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    return new Map(models.map(model => [model, checkFromError(error)]));
  }
}

async function* answer(
  resolved: ResolvedProvider,
  request: ChatRequest,
  contextTokens: Map<string, number>,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent, void, void> {
  const {model, parameters} = request;
  const call = openCall({...wire(resolved), limits: localLimits, model, request}, signal);
  try {
    const numCtx = parameters.contextTokens ?? (await ownContextTokens(resolved, model, contextTokens, signal));
    const ollama = await client(resolved, call);
    for await (const part of await ollama.chat(toWire(request, numCtx, resolved.keepAlive))) {
      if (part.message?.content) yield {type: 'text', text: part.message.content};
      if (!part.done) continue;
      yield {
        type: 'end',
        model: part.model || model,
        stopReason: stopReason(part.done_reason),
        inputTokens: part.prompt_eval_count ?? 0, // left out by the server when the whole prompt was cached
        outputTokens: part.eval_count ?? 0,
      };
    }
    signal.throwIfAborted();
  } catch (error) {
    throw call.explain(error);
  } finally {
    call.close();
  }
}

/** The model's own: what its Modelfile asks for, else 8192 or all that it was made for. Asked once per model. */
async function ownContextTokens(
  resolved: ResolvedProvider,
  model: string,
  known: Map<string, number>,
  signal: AbortSignal,
): Promise<number> {
  const before = known.get(model);
  if (before !== undefined) return before;
  const call = openCall({...wire(resolved), limits: checkLimits, model}, signal);
  try {
    const tokens = readContextTokens(await (await client(resolved, call)).show({model}));
    known.set(model, tokens);
    return tokens;
  } catch (error) {
    const explained = call.explain(error);
    if (!(explained instanceof ProviderError)) throw explained;
    return defaultContextTokens; // the chat itself tells what is wrong
  } finally {
    call.close();
  }
}

function toWire(
  request: ChatRequest,
  numCtx: number,
  keepAlive: string | undefined,
): OllamaChatRequest & {stream: true} {
  const system = request.system === '' ? [] : [{role: 'system', content: request.system}];
  const wireRequest = {
    model: request.model,
    messages: [...system, ...request.messages.map(({role, content}) => ({role, content}))],
    stream: true as const,
    options: options(request.parameters, numCtx),
    ...(keepAlive === undefined ? {} : {keep_alive: keepAliveValue(keepAlive)}),
    // By default the server cuts a prompt that doesn't fit, and drops the oldest part when the answer gets long,
    // both without a word. Servers older than these two fields (October 2025) ignore them.
    truncate: false,
    shift: false,
  };
  return wireRequest;
}

function options(parameters: ChatParameters, numCtx: number): NonNullable<OllamaChatRequest['options']> {
  const {temperature, topP, maxTokens, stop, seed} = parameters;
  return {
    num_ctx: numCtx,
    ...(temperature === undefined ? {} : {temperature}),
    ...(topP === undefined ? {} : {top_p: topP}),
    ...(maxTokens === undefined ? {} : {num_predict: maxTokens}),
    ...(stop === undefined ? {} : {stop: [...stop]}),
    ...(seed === undefined ? {} : {seed}),
  };
}

/** A bare number means seconds and has to be sent as one: as text the server wants a unit (`5m`). */
function keepAliveValue(keepAlive: string): string | number {
  return /^-?\d+$/.test(keepAlive) ? Number(keepAlive) : keepAlive;
}

function stopReason(doneReason: string | undefined): StopReason {
  return doneReason === 'length' ? 'length' : 'end';
}

/** A client per call: its own `abort()` does nothing before the headers come, while each call's fetch can be ended. */
async function client(resolved: ResolvedProvider, call: Call): Promise<Ollama> {
  const {Ollama} = await import('ollama');
  const fetchLines: typeof fetch = async (input, init) => {
    const response = await call.fetch(input, init);
    if (!urlOf(input).pathname.endsWith('/api/chat') || response.body === null) return response;
    const watch = watchLines({
      onError: message => void call.refused({status: 500, kind: '', detail: message}),
      onBroken: () => call.brokenOff(),
    });
    return new Response(response.body.pipeThrough(watch), response);
  };
  return new Ollama({host: resolved.baseUrl ?? defaultOllamaUrl, fetch: fetchLines});
}

function wire(resolved: ResolvedProvider) {
  const {apiKey} = resolved;
  const auth: Record<string, string> = apiKey === undefined ? {} : {authorization: `Bearer ${apiKey}`};
  return {peer: peerOf(resolved), auth, key: apiKey};
}

function peerOf(resolved: ResolvedProvider): Peer {
  return {
    label: ollamaLabel(resolved),
    keyName: resolved.apiKeyFrom ?? `the key of provider "${resolved.name}"`,
    startHint: 'start it with `ollama serve`',
    modelHint: model => `get it with \`ollama pull ${model}\``,
    requestHint: detail =>
      /context/i.test(detail) ? 'raise parameters.contextTokens, or shorten the conversation' : undefined,
  };
}

function fullName(name: string): string {
  const short = name.toLowerCase().replace(/^(registry\.ollama\.ai\/)?(library\/)?/, '');
  return /:[^/]*$/.test(short) ? short : `${short}:latest`;
}

function readInstalled(listed: unknown): readonly InstalledModel[] {
  const {models} = record(listed);
  return (Array.isArray(models) ? models : []).flatMap((entry: unknown) => {
    const {name, size, details, remote_host: remoteHost, remote_model: remoteModel} = record(entry);
    if (typeof name !== 'string') return [];
    const {parameter_size: parameterSize, families} = record(details);
    return {
      name,
      parameterSize: typeof parameterSize === 'string' ? parameterSize : '',
      sizeBytes: typeof size === 'number' ? size : 0,
      families: Array.isArray(families) ? families.filter(family => typeof family === 'string') : [],
      remote: remoteHost !== undefined || remoteModel !== undefined,
    };
  });
}

function readContextTokens(shown: unknown): number {
  const {parameters, model_info: info} = record(shown);
  const declared = typeof parameters === 'string' ? /^num_ctx\s+(\d+)/m.exec(parameters)?.[1] : undefined;
  if (declared !== undefined) return Number(declared);
  const {'general.architecture': architecture, ...sizes} = record(info);
  const longest = sizes[`${String(architecture)}.context_length`];
  return typeof longest === 'number' ? Math.min(longest, defaultContextTokens) : defaultContextTokens;
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}; // any object may be indexed
}
