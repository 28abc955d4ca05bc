/** What a specialist asks of a model server. One contract suite (test/contract/provider.ts) runs on every implementation. */
import type {ChatParameters, ModelCheck} from '../api/types.js';

export interface ChatMessage {
  readonly role: 'user' | 'assistant';
  readonly content: string;
}

export interface ChatRequest {
  readonly model: string;
  readonly system: string;
  /** Ends with the user's message. */
  readonly messages: readonly ChatMessage[];
  readonly parameters: ChatParameters;
}

export type StopReason = 'end' | 'length' | 'stop' | 'refusal' | 'cancelled';

export type ChatEvent =
  | {readonly type: 'text'; readonly text: string}
  | {
      readonly type: 'end';
      readonly model: string;
      readonly stopReason: StopReason;
      readonly inputTokens: number;
      readonly outputTokens: number;
    };

export interface Provider {
  /**
   * Whether each of `models` could answer now, found out without spending tokens and with as few requests as the
   * server allows. Never throws for what a server does: that is the answer. Throws only when `signal` aborts.
   */
  check(models: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, ModelCheck>>;

  /**
   * One answer, streamed; the last event is `end`. Aborting `signal` stops the call at the server and ends the
   * iteration by throwing the signal's reason.
   *
   * @throws {ProviderError}
   */
  chat(request: ChatRequest, signal: AbortSignal): AsyncIterable<ChatEvent>;
}

/** Wire codes of provider failures, as they stand in `code` of an error reply. */
export type ProviderErrorCode =
  | 'provider_unreachable'
  | 'provider_error'
  | 'model_not_found'
  | 'unauthorized'
  | 'secret_missing'
  | 'quota_exceeded'
  | 'overloaded'
  | 'bad_request'
  | 'timeout';

/** A failure at the provider: the message names the address and what to do, never a key or a prompt. */
export class ProviderError extends Error {
  override readonly name = 'ProviderError';
  readonly code: ProviderErrorCode;
  readonly retryable: boolean;
  /** HTTP status, where there was one. */
  readonly status: number | undefined;
  /** What the server's Retry-After asked for, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    options: {code: ProviderErrorCode; retryable: boolean; status?: number; retryAfterMs?: number; cause?: unknown},
  ) {
    super(message, options.cause === undefined ? undefined : {cause: options.cause});
    this.code = options.code;
    this.retryable = options.retryable;
    this.status = options.status;
    this.retryAfterMs = options.retryAfterMs;
  }
}
