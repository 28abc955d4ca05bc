/** One request after the other until the receiver has it, or it is hopeless. */
import {DeliveryError} from './error.js';
import type {NotifyClock} from './deps.js';

export interface HttpRequest {
  readonly url: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Of one try. */
  readonly timeoutMs: number;
  /** Tries after the first. */
  readonly retries: number;
  /** Makes text of the receiver fit to be shown. */
  readonly redact: (text: string) => string;
  /** Answers that are as good as success. */
  readonly isDone?: (status: number, text: string) => boolean;
}

/** Longest that a receiver may have us wait, ms. */
const longestWaitMs = 120_000;
const longestBackoffMs = 30_000;
/** As much of an answer as may help somebody. */
const shownBytes = 300;

/** What an answer asks for. Other 4xx than these say that the message itself is not wanted: again would be the same. */
export function judgeStatus(
  status: number,
  retryAfter: string | null,
  nowMs: number,
): {readonly ok: boolean; readonly retry: boolean; readonly afterMs?: number} {
  if (status >= 200 && status < 300) return {ok: true, retry: false};
  // GitHub says 403, and when to come again, to who asks too often.
  const isTooOften = status === 429 || (status === 403 && retryAfter !== null);
  const retry = status >= 500 || status === 408 || status === 425 || isTooOften;
  const afterMs = retry ? retryAfterMs(retryAfter, nowMs) : undefined;
  return {ok: false, retry, ...(afterMs !== undefined && {afterMs})};
}

/** RFC 9110: seconds, or a date. */
function retryAfterMs(value: string | null, nowMs: number): number | undefined {
  if (value === null) return undefined;
  const text = value.trim();
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), longestWaitMs);
}

/** @throws {DeliveryError} */
export async function deliver(request: HttpRequest, clock: NotifyClock, signal: AbortSignal): Promise<void> {
  const {default: pRetry} = await import('p-retry');
  await pRetry(() => attempt(request, signal), {
    retries: request.retries,
    factor: 2,
    minTimeout: clock.firstRetryMs,
    maxTimeout: Math.max(longestBackoffMs, clock.firstRetryMs),
    randomize: true,
    signal,
    shouldRetry: ({error}) => error instanceof DeliveryError && error.retry,
    onFailedAttempt: async ({error, retriesLeft}) => {
      const afterMs = error instanceof DeliveryError && error.retry && retriesLeft > 0 ? error.afterMs : undefined;
      if (afterMs !== undefined) await clock.sleep(afterMs, signal);
    },
  });
}

async function attempt(request: HttpRequest, signal: AbortSignal): Promise<void> {
  const {url, method, headers, body, timeoutMs, redact, isDone} = request;
  const timeout = AbortSignal.timeout(timeoutMs);
  let status: number;
  let text: string;
  let answered: Response;
  try {
    answered = await fetch(url, {
      method,
      headers,
      ...(body !== undefined && {body}),
      // Whoever it sends us to was not named by anybody: headers may hold secrets.
      redirect: 'manual',
      signal: AbortSignal.any([signal, timeout]),
    });
    ({status} = answered);
    text = await beginning(answered);
  } catch (error) {
    signal.throwIfAborted();
    if (timeout.aborted) throw new DeliveryError(`no answer within ${timeoutMs / 1000} s`, {retry: true});
    throw new DeliveryError(redact(`cannot reach it: ${causeOf(error)}`), {retry: !isHopeless(error)});
  }
  const verdict = judgeStatus(status, answered.headers.get('retry-after'), Date.now());
  if (verdict.ok || isDone?.(status, text) === true) return;
  if (status >= 300 && status < 400) {
    const target = hostOf(answered.headers.get('location'), url);
    throw new DeliveryError(redact(`${status}: it redirects to ${target}, which is not followed`), {retry: false});
  }
  const said = text === '' ? '' : `: ${text.replaceAll(/\s+/g, ' ').trim()}`;
  throw new DeliveryError(redact(`${status} ${answered.statusText}${said}`), verdict);
}

/** Reads no more than it shows; the rest, however long, is left. */
async function beginning(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (!reader) return '';
  const decoder = new TextDecoder();
  let text = '';
  while (text.length < shownBytes) {
    const piece = (await reader.read()) as {readonly done: boolean; readonly value?: Uint8Array};
    if (piece.done) break;
    text += decoder.decode(piece.value, {stream: true});
  }
  await reader.cancel().catch(() => undefined);
  return text.slice(0, shownBytes);
}

function hostOf(location: string | null, base: string): string {
  return location !== null && URL.canParse(location, base) ? new URL(location, base).host : 'nowhere';
}

/** fetch says "fetch failed"; its cause knows why. */
function causeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  const code = (cause as NodeJS.ErrnoException).code;
  return cause.message !== '' ? cause.message : (code ?? cause.name);
}

/** A header or an address that fetch refuses will be refused again. */
function isHopeless(error: unknown): boolean {
  return error instanceof TypeError && !(error.cause instanceof Error);
}
