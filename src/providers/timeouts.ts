/**
 * How long one call of a provider may take. These are the defaults of `timeouts` in a provider's declaration:
 *
 * | limit | ollama, openai, scripted | anthropic |
 * |---|---|---|
 * | `connectSeconds` | 10 | 10 |
 * | `firstTokenSeconds` | 1800: a cold model of many GB is loaded first, and then a long prompt is read | 300 |
 * | `idleSeconds` | 300 | 120: the API sends a ping every few seconds |
 * | `totalSeconds` | `firstTokenSeconds` and an hour more | the same |
 */
import type {ProviderTimeouts, ResolvedProvider} from '../api/types.js';
import {ProviderError} from './provider.js';

/** All in ms. */
export interface CallLimits {
  /** Until the connection stands, TLS included. */
  readonly connectMs: number;
  /** From the call until the first piece of the answer. */
  readonly firstTokenMs: number;
  /** Without a byte from the server, once the answer has begun; counted only while somebody waits for one. */
  readonly idleMs: number;
  /** From the call until the end of the answer, whoever is slow. */
  readonly totalMs: number;
  /** Name of the provider whose `timeouts` these are; absent: nobody can change them. */
  readonly provider?: string;
}

/** Limits of a check: it must say soon that there is no answer, and why, before its caller loses patience (10 s). */
export const checkLimits: CallLimits = {connectMs: 4_000, firstTokenMs: 8_000, idleMs: 8_000, totalMs: 9_000};

/** Of a download of a model: checking the digest of many GB takes minutes without a word. */
const pullIdleMs = 20 * 60_000;

/** The longest that a timer of Node's can wait: 24 days. */
const longestMs = 2 ** 31 - 1;

export function limitsOf({name, type, timeouts = {}}: ResolvedProvider): CallLimits {
  const hosted = type === 'anthropic';
  const firstTokenMs = ms(timeouts.firstTokenSeconds, hosted ? 300 : 1800);
  return {
    connectMs: ms(timeouts.connectSeconds, 10),
    firstTokenMs,
    idleMs: ms(timeouts.idleSeconds, hosted ? 120 : 300),
    totalMs: Math.min(longestMs, ms(timeouts.totalSeconds, firstTokenMs / 1000 + 3600)),
    provider: name,
  };
}

/** A download takes as long as it takes, as long as it goes on. */
export function pullLimitsOf(resolved: ResolvedProvider): CallLimits {
  const {connectMs} = limitsOf(resolved);
  return {connectMs, firstTokenMs: pullIdleMs, idleMs: pullIdleMs, totalMs: longestMs};
}

function ms(seconds: number | undefined, fallbackSeconds: number): number {
  return Math.min(longestMs, (seconds ?? fallbackSeconds) * 1000);
}

/** `, the limit timeouts.idleSeconds of provider "lab"`; '' where nobody can change it. */
export function limitName({provider}: CallLimits, limit: keyof ProviderTimeouts): string {
  return provider === undefined ? '' : `, the limit timeouts.${limit} of provider "${provider}"`;
}

/** What is told when a limit is over. `label` names the server. */
export function timedOut(label: string, limits: CallLimits, limit: 'firstToken' | 'idle' | 'total'): ProviderError {
  const seconds = limits[`${limit}Ms`] / 1000;
  const name = limitName(limits, `${limit}Seconds`);
  const advice = name === '' ? '' : `; ${remedies[limit]}`;
  return new ProviderError(`${label} ${faults[limit]} ${seconds} s${name}${advice}`, {
    code: 'timeout',
    retryable: true,
  });
}

const faults = {
  firstToken: 'did not begin to answer within',
  idle: 'fell silent in the middle of the answer, for',
  total: 'did not come to the end of its answer within',
};

const remedies = {
  firstToken: 'raise it if the model needs longer to load or to read the prompt',
  idle: 'raise it if the model pauses that long',
  total: 'raise it, or bound the answer with parameters.maxTokens',
};

export interface Watch {
  /** Aborts with the caller's reason, or with the {@link ProviderError} of the limit that is over. */
  readonly signal: AbortSignal;
  readonly begun: boolean;
  /** The first piece of the answer is here. */
  begin(): void;
  /** Must be called: it ends the timers. */
  close(): void;
}

/** Watches over the limits of one answer as a whole: until its first piece, and until its end. */
export function watch(label: string, limits: CallLimits, signal: AbortSignal): Watch {
  const over = new AbortController();
  const end = (limit: 'firstToken' | 'total') => () => over.abort(timedOut(label, limits, limit));
  const pass = (): void => over.abort(signal.reason);
  signal.addEventListener('abort', pass, {once: true});
  if (signal.aborted) pass();
  const first = setTimeout(end('firstToken'), limits.firstTokenMs);
  const total = setTimeout(end('total'), limits.totalMs);
  let begun = false;
  return {
    signal: over.signal,
    get begun() {
      return begun;
    },
    begin() {
      if (!begun) clearTimeout(first);
      begun = true;
    },
    close() {
      clearTimeout(first);
      clearTimeout(total);
      signal.removeEventListener('abort', pass);
    },
  };
}
