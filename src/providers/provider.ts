/** What a specialist asks of a model server. One contract suite (test/contract/provider.ts) runs on every implementation. */
import type {ChatParameters, ModelCheck} from '../api/types.js';

export type ChatMessage =
  | {readonly role: 'user'; readonly content: string}
  | {readonly role: 'assistant'; readonly content: string; readonly toolCalls?: readonly ToolCall[]}
  /** What a tool gave for the call of an assistant's message before it. */
  | {readonly role: 'tool'; readonly content: string; readonly toolCallId: string; readonly name?: string};

/** A model's wish that its caller runs a function. */
export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text, as the model wrote it. */
  readonly arguments: string;
}

export interface Tool {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of the arguments. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

export type ToolChoice = 'auto' | 'none' | 'required' | {readonly name: string};

/** What an answer must look like; `schema` is a JSON Schema. */
export type ResponseFormat =
  | {readonly type: 'json'}
  | {readonly type: 'schema'; readonly name: string; readonly schema: Readonly<Record<string, unknown>>};

export interface ChatRequest {
  readonly model: string;
  readonly system: string;
  /** Ends with the user's message, or with the results of tools. */
  readonly messages: readonly ChatMessage[];
  readonly parameters: ChatParameters;
  /** Offered to the model. A provider that can't is an error (`bad_request`), never silence. */
  readonly tools?: readonly Tool[];
  readonly toolChoice?: ToolChoice;
  readonly responseFormat?: ResponseFormat;
}

export type StopReason = 'end' | 'length' | 'stop' | 'refusal' | 'tool_calls' | 'cancelled';

export type ChatEvent =
  | {readonly type: 'text'; readonly text: string}
  /** What the model thinks aloud before its answer; no part of it. */
  | {readonly type: 'thinking'; readonly text: string}
  /** Whole: its arguments are complete. */
  | {readonly type: 'tool-call'; readonly call: ToolCall}
  | {
      readonly type: 'end';
      readonly model: string;
      readonly stopReason: StopReason;
      readonly inputTokens: number;
      readonly outputTokens: number;
      /** Those of `inputTokens` that the provider had cached. */
      readonly cachedInputTokens?: number;
    };

/** How far a model's download is; bytes are absent while they aren't known. */
export interface PullProgress {
  /** The server's own words (`pulling manifest`, `verifying sha256 digest`). */
  readonly status: string;
  readonly completedBytes?: number;
  readonly totalBytes?: number;
}

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

  /**
   * Input tokens of a request by the provider's own count. Absent, or undefined, where it has none: then it is estimated.
   *
   * @throws {ProviderError}
   */
  countTokens?(request: ChatRequest, signal: AbortSignal): Promise<number | undefined>;

  /**
   * The context window that a chat with `model` gets where its parameters don't say, in tokens. Absent, or undefined,
   * where the provider sets none: then what `check` found counts.
   *
   * @throws the signal's reason
   */
  contextTokens?(model: string, signal: AbortSignal): Promise<number | undefined>;

  /**
   * Fetches a model that the server lacks; ends when it is there. Absent where a server can't.
   *
   * @throws {ProviderError}
   */
  pull?(model: string, signal: AbortSignal): AsyncIterable<PullProgress>;
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

/** A request that this provider can't carry out, found out before it is sent. */
export function badRequest(message: string): ProviderError {
  return new ProviderError(message, {code: 'bad_request', retryable: false});
}

/** A call's arguments for servers that take them as an object. @throws {ProviderError} they are none */
export function parseArguments({name, arguments: text}: ToolCall): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = text.trim() === '' ? {} : JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>; // indexable
  } catch {
    // told below, without what they hold
  }
  throw badRequest(`the arguments of the tool call "${name}" are not a JSON object`);
}
