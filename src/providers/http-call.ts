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
import {send} from './http-send.js';
import {ProviderError, type ChatEvent, type ChatRequest} from './provider.js';
import {watch, type CallLimits, type Watch} from './timeouts.js';

/** How a provider's server is reached, whatever is asked of it. */
export interface Server {
  readonly peer: Peer;
  /** The key as a header: {'x-api-key': '…'}. */
  readonly auth: Readonly<Record<string, string>>;
  /** As resolved, to be masked in what the server says. */
  readonly key?: string | undefined;
}

export interface CallOptions extends Server {
  readonly limits: CallLimits;
  readonly model?: string;
  /** Its texts never appear in an error. */
  readonly request?: ChatRequest;
}

export interface Call {
  /** For the SDK. Throws for every status but success. */
  readonly fetch: typeof fetch;
  /** For the SDK's own time limit: ours comes first, and says what was waited for. Never later than Node's timers go. */
  readonly sdkTimeoutMs: number;
  /** What to throw for what the SDK threw: the signal's reason, the recorded failure, or a ProviderError. */
  explain(error: unknown): unknown;
  /** Records and returns a failure that the server told within its answer. */
  refused(refusal: {readonly status: number; readonly kind: string; readonly detail: string}): ProviderError;
  brokenOff(): ProviderError;
  /** The answer has begun, though there is no event of it yet: a call's arguments are told when they are whole. */
  begun(): void;
  /** Closes the connection: nothing more is wanted. */
  hangUp(): void;
}

/** Placeholder for SDKs that refuse to start without a key; never sent. */
export const noKey = 'unused';

/**
 * What `use` makes of one call.
 *
 * @throws {ProviderError} and the signal's reason
 */
export async function ask<T>(options: CallOptions, signal: AbortSignal, use: (call: Call) => Promise<T>): Promise<T> {
  const {call, limits, close} = open(options, signal);
  try {
    const result = await use(call);
    limits.signal.throwIfAborted();
    return result;
  } catch (error) {
    throw call.explain(error);
  } finally {
    close();
  }
}

/**
 * What `read` makes of one call, piece by piece; leaving early closes the connection.
 *
 * @throws {ProviderError} and the signal's reason
 */
export async function* stream<T>(
  options: CallOptions,
  signal: AbortSignal,
  read: (call: Call) => AsyncIterable<T>,
): AsyncGenerator<T, void, void> {
  const {call, limits, close} = open(options, signal);
  try {
    for await (const piece of read(call)) {
      limits.begin();
      yield piece;
    }
    limits.signal.throwIfAborted();
  } catch (error) {
    throw call.explain(error);
  } finally {
    close();
  }
}

/** How long a reply may go on after its answer is whole, ms. */
const restMs = 250;

/**
 * The events of an answer in a stream that says when it is whole: one that ends without `end` has been broken off, and
 * whatever comes behind it is no matter. It is read all the same, as a reply that was read to its end leaves its connection
 * to the next chat. `told` makes a failure of what the server says within the stream.
 */
export async function* endedBy(
  call: Call,
  events: AsyncIterable<ChatEvent>,
  told: (error: unknown) => unknown,
): AsyncGenerator<ChatEvent, void, void> {
  let end: ChatEvent | undefined;
  let late: NodeJS.Timeout | undefined;
  try {
    for await (const event of events) {
      if (end !== undefined) continue;
      if (event.type === 'end') {
        end = event;
        late = setTimeout(() => call.hangUp(), restMs);
      } else {
        yield event;
      }
    }
  } catch (error) {
    if (end === undefined) throw told(error);
  } finally {
    clearTimeout(late);
  }
  if (end === undefined) throw call.brokenOff();
  yield end;
}

interface OpenCall {
  readonly call: Call;
  readonly limits: Watch;
  /** Frees what is left of the call; the connection too, where the answer was not read to its end. */
  readonly close: () => void;
}

function open(options: CallOptions, signal: AbortSignal): OpenCall {
  const {peer, limits, auth, key, model, request} = options;
  const watched = watch(peer.label, limits, signal);
  const ended = new AbortController();
  const abort = (): void => ended.abort();
  watched.signal.addEventListener('abort', abort, {once: true});
  if (watched.signal.aborted) abort();
  let failure: ProviderError | undefined;
  const record = (error: ProviderError): ProviderError => (failure ??= error);
  const texts = request === undefined ? [] : textsOf(request);
  const clean = (detail: string): string => safeDetail(detail, key === undefined ? {texts} : {key, texts});

  const call: Call = {
    sdkTimeoutMs: Math.min(2 ** 31 - 1, limits.connectMs + limits.firstTokenMs + 60_000),
    async fetch(input, init = {}) {
      const response = await send({
        url: urlOf(input),
        method: init.method ?? 'GET',
        headers: {...ourHeaders(new Headers(init.headers)), ...auth},
        ...(typeof init.body === 'string' ? {body: init.body} : {}),
        // Servers that send headers at once read the prompt after them: before the first piece only its limit counts.
        limits: {connectMs: limits.connectMs, idleMs: limits.idleMs, idleCounts: () => watched.begun},
        signal: init.signal ? AbortSignal.any([ended.signal, init.signal]) : ended.signal,
        mapError: (error, begun) =>
          ended.signal.aborted ? error : record(errorFromConnection(peer, error, {begun, limits})),
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
      if (watched.signal.aborted) return watched.signal.reason as unknown;
      if (error instanceof ProviderError) return error;
      if (failure !== undefined) return failure;
      // Not as the cause: a parser's message quotes what it read.
      const name = error instanceof Error ? error.name : typeof error;
      return new ProviderError(`${peer.label} sent an answer that can't be understood (${name})`, {
        code: 'provider_error',
        retryable: false,
      });
    },
    refused: refusal => record(errorFromRefusal(peer, {...refusal, detail: clean(refusal.detail)}, model)),
    brokenOff: () => record(brokenOff(peer)),
    begun: () => watched.begin(),
    hangUp: () => ended.abort(),
  };
  return {
    call,
    limits: watched,
    close() {
      watched.close();
      ended.abort();
    },
  };
}

function textsOf({system, messages}: ChatRequest): readonly string[] {
  const calls = messages.flatMap(message => (message.role === 'assistant' ? (message.toolCalls ?? []) : []));
  return [system, ...messages.map(({content}) => content), ...calls.map(call => call.arguments)];
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
