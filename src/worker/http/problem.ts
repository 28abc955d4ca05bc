/** What goes wrong in HTTP, in the shape that clients of OpenAI's API know: a status, and `{"error": {…}}`. */
import type {Failure} from '../failure.js';

export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    /** Field of the request that is wrong. */
    readonly param: string | null;
    readonly code: string | null;
  };
}

export interface ProblemOptions {
  /** As OpenAI's API has it where it has one. */
  readonly type?: string;
  readonly param?: string;
  readonly code?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Thrown by whoever finds it, told to the client by whoever answers. Never holds a key or a prompt. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ErrorBody;

  constructor(status: number, message: string, {type, param, code, headers = {}}: ProblemOptions = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
    this.body = {error: {message, type: type ?? typeOf(status), param: param ?? null, code: code ?? null}};
  }

  /** A chat that failed. */
  static fromFailure({message, code, retryable, retryAfterMs}: Failure): Problem {
    const meaning = (retryable ? passing[code] : undefined) ?? lasting[code] ?? unknownFailure;
    const afterMs = retryAfterMs ?? meaning.retryAfterMs;
    return new Problem(meaning.status, code === 'internal' ? internalError : message, {
      type: meaning.type ?? typeOf(meaning.status),
      code: meaning.code ?? code,
      headers: {
        // OpenAI's clients heed it whatever the status. They don't wait until tomorrow.
        'X-Should-Retry': String(retryable && (afterMs ?? 0) <= longestRetryMs),
        ...(afterMs !== undefined && retryAfter(afterMs)),
      },
    });
  }

  /** What node:http found wrong; undefined where nobody is left to be told. */
  static fromParser({code = ''}: NodeJS.ErrnoException): Problem | undefined {
    if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new Problem(408, 'the request took too long to arrive');
    if (code === 'HPE_HEADER_OVERFLOW') return new Problem(431, 'the head of the request is too long: at most 16 KiB');
    if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') return new Problem(413, 'chunk extensions are too long');
    if (code.startsWith('HPE_')) return new Problem(400, `not an HTTP/1.1 request (${code})`);
    return undefined;
  }
}

/** What OpenAI's clients are willing to wait. */
const longestRetryMs = 60_000;

export const internalError = "internal error; the worker's log has the details";

interface Meaning {
  readonly status: number;
  readonly type?: string;
  /** Where OpenAI's word differs from ours. */
  readonly code?: string;
  /** When trying again is worth it, where nobody said so. */
  readonly retryAfterMs?: number;
}

const unknownFailure: Meaning = {status: 502};
/** Codes of docs/reference/protocol.md. */
const lasting: Readonly<Record<string, Meaning>> = {
  bad_request: {status: 400},
  context_length_exceeded: {status: 400},
  unauthorized: {status: 401, code: 'invalid_api_key'},
  secret_missing: {status: 401, code: 'invalid_api_key'},
  model_not_found: {status: 404},
  quota_exceeded: {status: 429, type: 'insufficient_quota', code: 'insufficient_quota'},
  budget_exceeded: {status: 429, type: 'insufficient_quota', code: 'insufficient_quota'},
  internal: {status: 500},
  provider_error: {status: 502},
  provider_unreachable: {status: 502},
  overloaded: {status: 503},
  timeout: {status: 504},
};
const passing: Readonly<Record<string, Meaning>> = {
  quota_exceeded: {status: 429, code: 'rate_limit_exceeded'},
  queue_full: {status: 429, retryAfterMs: 1_000},
  queue_timeout: {status: 429, retryAfterMs: 1_000},
  draining: {status: 503, retryAfterMs: 1_000},
};

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

/** Whole seconds are all that HTTP has; OpenAI's clients read the finer one first. */
function retryAfter(ms: number): Readonly<Record<string, string>> {
  return {'Retry-After': String(Math.max(1, Math.ceil(ms / 1000))), 'Retry-After-Ms': String(Math.ceil(ms))};
}
