/**
 * One call of a model server through its SDK. The SDK builds requests and reads answers; the connection, the key,
 * the limits and the telling of failures are ours, the same for all of them:
 *
 * - the key is put on the wire here, so that no SDK, logger or environment variable of one sees, adds or replaces it;
 * - cancelling closes the connection at once, also before any header has come;
 * - SDKs wrap, reword or drop what went wrong, and some quote the answer: `explain` gives the true failure back.
 */
import {
  brokenOff,
  errorFromConnection,
  errorFromRefusal,
  parseRetryAfter,
  readRefusal,
  safeDetail,
} from './http-errors.js';
import type {Peer} from './http-errors.js';
import {send, type HttpLimits} from './http-send.js';
import {ProviderError, type ChatRequest} from './provider.js';

export interface CallOptions {
  readonly peer: Peer;
  readonly limits: HttpLimits;
  /** The key as a header: {'x-api-key': '…'}. */
  readonly auth: Readonly<Record<string, string>>;
  /** As resolved, to be masked in what the server says. */
  readonly key?: string | undefined;
  readonly model?: string;
  /** Its texts never appear in an error. */
  readonly request?: ChatRequest;
}

export interface Call {
  /** For the SDK. Throws for every status but success. */
  readonly fetch: typeof fetch;
  /** What to throw for what the SDK threw: the signal's reason, the recorded failure, or a ProviderError. */
  explain(error: unknown): unknown;
  /** Records and returns a failure that the server told within its answer. */
  refused(refusal: {readonly status: number; readonly kind: string; readonly detail: string}): ProviderError;
  brokenOff(): ProviderError;
  /** Frees what is left of the call; the connection too, where the answer was not read to its end. */
  close(): void;
}

/** Limits of a check: it must say soon that there is no answer, and why, before its caller loses patience (10 s). */
export const checkLimits: HttpLimits = {connectMs: 4_000, headersMs: 8_000, idleMs: 8_000};

/** Placeholder for SDKs that refuse to start without a key; never sent. */
export const noKey = 'unused';

/** A local server may load a model of many GB, and then read a long prompt, before it sends the first byte. */
export const localLimits: HttpLimits = {connectMs: 10_000, headersMs: 30 * 60_000, idleMs: 5 * 60_000};

export function openCall(options: CallOptions, signal: AbortSignal): Call {
  const {peer, limits, auth, key, model, request} = options;
  const ended = new AbortController();
  const abort = (): void => ended.abort();
  signal.addEventListener('abort', abort, {once: true});
  if (signal.aborted) abort();
  let failure: ProviderError | undefined;
  const record = (error: ProviderError): ProviderError => (failure ??= error);
  const texts = request === undefined ? [] : [request.system, ...request.messages.map(m => m.content)];
  const clean = (detail: string): string => safeDetail(detail, key === undefined ? {texts} : {key, texts});

  return {
    async fetch(input, init = {}) {
      const response = await send({
        url: urlOf(input),
        method: init.method ?? 'GET',
        headers: {...ourHeaders(new Headers(init.headers)), ...auth},
        ...(typeof init.body === 'string' ? {body: init.body} : {}),
        limits,
        signal: init.signal ? AbortSignal.any([ended.signal, init.signal]) : ended.signal,
        mapError: (error, begun) => (ended.signal.aborted ? error : record(errorFromConnection(peer, error, begun))),
      });
      if (response.ok && !isPage(response)) return response;
      if (response.ok) throw record(notAModelServer(peer));
      const {kind, detail} = readRefusal(await start(response));
      const retryAfterMs = parseRetryAfter(response.headers, Date.now());
      const refusal = {status: response.status, kind, detail: clean(detail)};
      failure = errorFromRefusal(peer, retryAfterMs === undefined ? refusal : {...refusal, retryAfterMs}, model);
      throw failure;
    },
    explain(error) {
      if (signal.aborted) return signal.reason as unknown;
      if (failure !== undefined) return failure;
      if (error instanceof ProviderError) return error;
      // Not as the cause: a parser's message quotes what it read.
      const name = error instanceof Error ? error.name : typeof error;
      return new ProviderError(`${peer.label} sent an answer that can't be understood (${name})`, {
        code: 'provider_error',
        retryable: false,
      });
    },
    refused: refusal => record(errorFromRefusal(peer, {...refusal, detail: clean(refusal.detail)}, model)),
    brokenOff: () => record(brokenOff(peer)),
    close() {
      signal.removeEventListener('abort', abort);
      ended.abort();
    },
  };
}

export function urlOf(input: Parameters<typeof fetch>[0]): URL {
  return new URL(input instanceof Request ? input.url : input);
}

const passed = /^(accept|content-type|user-agent|anthropic-(version|beta))$/;

/** SDKs take headers from the environment (`OPENAI_CUSTOM_HEADERS` and such) and add telemetry: neither passes. */
function ourHeaders(headers: Headers): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => passed.test(name)));
}

function isPage(response: Response): boolean {
  return response.headers.get('content-type')?.includes('html') === true;
}

function notAModelServer(peer: Peer): ProviderError {
  return new ProviderError(`${peer.label} answers with a web page; correct its baseUrl`, {
    code: 'provider_error',
    retryable: false,
  });
}

const maxErrorBody = 64 * 1024;

/** The first part of an error's body; what can't be read is left out, for the status says enough. */
async function start(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  try {
    const chunks: AsyncIterable<Uint8Array> | undefined = response.body ?? undefined;
    if (chunks === undefined) return '';
    for await (const chunk of chunks) {
      text += decoder.decode(chunk, {stream: true});
      if (text.length > maxErrorBody) break;
    }
  } catch {
    return text;
  }
  return text;
}
