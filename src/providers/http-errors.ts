/** How failures of model servers are told: one table for every provider, with no key and no prompt in any message. */
import {maskKeys} from '../api/mask.js';
import type {ModelCheck} from '../api/types.js';
import {ProviderError, type ProviderErrorCode} from './provider.js';
import {limitName, timedOut, type CallLimits} from './timeouts.js';

/** The server that is spoken to, as people should read of it. */
export interface Peer {
  /** `Ollama at http://127.0.0.1:11434` */
  readonly label: string;
  /** Where a person would look for the key: a variable's or a provider's name. Never the key. */
  readonly keyName: string;
  /** What to do when nothing answers: "start it with `ollama serve`". */
  readonly startHint?: string;
  /** What to do about a model that isn't there: "get it with `ollama pull x`". */
  readonly modelHint?: (model: string) => string;
  /** What to do about a request that the server finds wrong. */
  readonly requestHint?: (detail: string) => string | undefined;
}

/** A reply with a status that isn't success. */
export interface Refusal {
  readonly status: number;
  /** Kind of error as the server names it (`overloaded_error`, `insufficient_quota`), where it does. */
  readonly kind: string;
  /** What the server says about it, already cleaned by `safeDetail`. */
  readonly detail: string;
  readonly retryAfterMs?: number;
}

/** Nothing came in time. `phase` says what was waited for. */
export class HttpTimeoutError extends Error {
  override readonly name = 'HttpTimeoutError';
  readonly phase: 'connection' | 'rest of the answer';
  readonly ms: number;

  constructor(phase: HttpTimeoutError['phase'], ms: number) {
    super(`no ${phase} within ${ms / 1000} s`);
    this.phase = phase;
    this.ms = ms;
  }
}

/** What a refused request means. `model` is the model that was asked for, if any. */
export function errorFromRefusal(peer: Peer, refusal: Refusal, model?: string): ProviderError {
  const {status, detail} = refusal;
  const said = detail === '' ? '' : `: ${detail}`;
  const fail = (code: ProviderErrorCode, retryable: boolean, message: string): ProviderError =>
    new ProviderError(message, {
      code,
      retryable,
      status,
      ...(refusal.retryAfterMs === undefined ? {} : {retryAfterMs: refusal.retryAfterMs}),
    });

  if (isQuota(refusal)) return fail('quota_exceeded', false, `${peer.label}: the quota is used up${said}`);
  if (status === 401 || status === 403) {
    return fail('unauthorized', false, `${peer.label} refused the key (${status}); check ${peer.keyName}`);
  }
  if (status === 404 && model !== undefined) return modelNotFound(peer, model, 404);
  if (status === 408) return fail('timeout', true, `${peer.label} gave up waiting (408)${said}`);
  if (status === 429) return fail('quota_exceeded', true, `${peer.label} limits the rate of requests (429)${said}`);
  if (status === 503 || status === 529) {
    return fail('overloaded', true, `${peer.label} is overloaded (${status})${said}`);
  }
  if (status >= 500) return fail('provider_error', true, `${peer.label} failed (${status})${said}`);
  if (status >= 400) {
    const hint = peer.requestHint?.(detail);
    const advice = hint === undefined ? '' : `; ${hint}`;
    return fail('bad_request', false, `${peer.label} did not accept the request (${status})${said}${advice}`);
  }
  return fail('provider_error', false, `${peer.label} redirects elsewhere (${status}); correct its baseUrl`);
}

export function modelNotFound(peer: Peer, model: string, status?: number): ProviderError {
  const hint = peer.modelHint === undefined ? '' : `; ${peer.modelHint(model)}`;
  return new ProviderError(`${peer.label} has no model ${model}${hint}`, {
    code: 'model_not_found',
    retryable: false,
    ...(status === undefined ? {} : {status}),
  });
}

/** What a failed connection means. After `begun` the answer had started, so the server was there. */
export function errorFromConnection(
  peer: Peer,
  error: unknown,
  {begun, limits}: {readonly begun: boolean; readonly limits: CallLimits},
): ProviderError {
  if (error instanceof HttpTimeoutError && error.phase !== 'connection') return timedOut(peer.label, limits, 'idle');
  if (begun) return brokenOff(peer, error);
  const limit = error instanceof HttpTimeoutError ? limitName(limits, 'connectSeconds') : '';
  const hint = peer.startHint === undefined ? '' : `; ${peer.startHint}`;
  return new ProviderError(`${peer.label} does not answer (${connectionFault(error)}${limit})${hint}`, {
    code: 'provider_unreachable',
    retryable: true,
    cause: error,
  });
}

/** The answer ended before the server said that it was whole. */
export function brokenOff(peer: Peer, cause?: unknown): ProviderError {
  return new ProviderError(`${peer.label} broke off in the middle of the answer`, {
    code: 'provider_error',
    retryable: true,
    cause,
  });
}

/** The same failure as an answer to "could this model answer now?". A mere rate limit passes: it can. */
export function checkFromError(error: ProviderError): ModelCheck {
  const no = (reason: Extract<ModelCheck, {available: false}>['reason']): ModelCheck => ({
    available: false,
    reason,
    message: error.message,
  });
  switch (error.code) {
    case 'provider_unreachable':
    case 'timeout':
      return no('ProviderUnreachable');
    case 'model_not_found':
      return no('ModelNotFound');
    case 'unauthorized':
      return no('Unauthorized');
    case 'secret_missing':
      return no('SecretMissing');
    case 'quota_exceeded':
      return error.retryable ? {available: true} : no('QuotaExceeded');
    case 'overloaded':
    case 'provider_error':
    case 'bad_request':
      return no('ProviderError');
  }
}

/**
 * `Retry-After` in milliseconds: seconds or an HTTP date (RFC 9110, 10.2.3); the finer `retry-after-ms` of some
 * servers goes first. undefined where absent or unreadable; 0 for a date that has passed.
 */
export function parseRetryAfter(headers: Headers, now: number): number | undefined {
  const ms = Number(headers.get('retry-after-ms') ?? Number.NaN);
  if (ms >= 0) return ms;
  const value = headers.get('retry-after')?.trim();
  if (value === undefined || value === '') return undefined;
  const seconds = Number(value);
  if (seconds >= 0) return seconds * 1000;
  const date = /[A-Z]/i.test(value) ? Date.parse(value) : Number.NaN; // Date.parse takes '-4' for a date
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Kind and text out of an error body, in the shapes that model servers use. */
export function readRefusal(body: string): {kind: string; detail: string} {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return {kind: '', detail: /^\s*</.test(body) ? '' : body}; // a proxy's page helps nobody
  }
  const outer = fields(parsed);
  const error = fields(outer['error']);
  const first = (...candidates: unknown[]): string => candidates.find(c => typeof c === 'string') ?? '';
  return {
    kind: first(error['code'], error['type'], outer['code']),
    detail: first(outer['error'], error['message'], outer['message'], outer['detail'], parsed),
  };
}

const maxDetail = 300;
const echoLength = 24;

/**
 * A server's text, fit for an error message: one line, at most 300 characters, keys and queries of addresses masked; '' where it repeats
 * `texts` (prompts), for some servers quote what they were sent.
 */
export function safeDetail(detail: string, hidden: {key?: string; texts: readonly string[]}): string {
  // Addresses of downloads are signed in their query.
  let line = detail
    .replace(/(https?:\/\/[^\s"?]+)\?[^\s"]*/g, '$1')
    .replace(/\s+/g, ' ')
    .trim();
  if (hidden.key !== undefined && hidden.key !== '') line = line.replaceAll(hidden.key, '***');
  line = maskKeys(line).slice(0, maxDetail);
  return hidden.texts.some(text => echoes(line, text)) ? '' : line;
}

function echoes(line: string, text: string): boolean {
  const prompt = text.replace(/\s+/g, ' ').trim();
  if (prompt.length < echoLength) return prompt.length >= 4 && line.includes(prompt);
  for (let at = 0; at + echoLength <= line.length; at++) {
    if (prompt.includes(line.slice(at, at + echoLength))) return true;
  }
  return false;
}

function isQuota({status, kind, detail}: Refusal): boolean {
  if (status === 402 || kind === 'billing_error' || kind === 'insufficient_quota') return true;
  return [400, 403, 429].includes(status) && /credit balance|insufficient.quota|spend(ing)? limit/i.test(detail);
}

const faults: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection reset',
  ENOTFOUND: 'host not found',
  EAI_AGAIN: 'host name lookup failed',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network unreachable',
  ETIMEDOUT: 'connection timed out',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'self-signed certificate',
  CERT_HAS_EXPIRED: 'expired certificate',
};

function connectionFault(error: unknown): string {
  if (error instanceof HttpTimeoutError) return error.message;
  const code = fields(error)['code'];
  return typeof code === 'string' ? (faults[code] ?? code) : 'connection failed';
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}; // any object may be indexed
}
