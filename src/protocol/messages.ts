/**
 * The newline JSON protocol, version 1: what clients send on a specialist's port and what they get back.
 * docs/reference/protocol.md is the same in prose.
 */
import type {Usage} from '../api/types.js';

export const protocolVersion = 1;

/** Longest line in bytes, without its line end. */
export const maxLineBytes = 8 * 1024 * 1024;

/** Longest `request_id` and `session`, in UTF-16 units. */
const maxNameLength = 256;

/** Chosen by the client, echoed in each reply that belongs to the request. */
export type RequestId = string | number;

interface Correlated {
  /** With it, replies may overtake each other; without it they come in the order of the requests. */
  readonly request_id?: RequestId;
}

export interface PingRequest extends Correlated {
  readonly type: 'ping';
}
export interface HealthRequest extends Correlated {
  readonly type: 'health';
}
export interface InfoRequest extends Correlated {
  readonly type: 'info';
}
export interface SchemaRequest extends Correlated {
  readonly type: 'schema';
}
/** First line of a connection to a specialist that has a token. */
export interface AuthRequest extends Correlated {
  readonly type: 'auth';
  readonly token: string;
}
/** Stops the chat with this id; the chat itself then ends with stop_reason `cancelled`. */
export interface CancelRequest {
  readonly type: 'cancel';
  readonly request_id: RequestId;
}

/** What the worker remembers of conversations. */
export interface SessionsRequest extends Correlated {
  readonly type: 'sessions';
}
/** Forgets one conversation, or with `all` every one. */
export interface SessionDeleteRequest extends Correlated {
  readonly type: 'session_delete';
  readonly session?: string;
  readonly all?: boolean;
}

export interface Turn {
  readonly role: 'user' | 'assistant';
  readonly content: string;
}

export interface ChatMessageRequest extends Correlated {
  readonly type: 'chat';
  readonly content: string;
  readonly stream?: boolean;
  /** Turns before `content`, oldest first. */
  readonly history?: readonly Turn[];
  /** Name of a conversation that the worker remembers, bounded. */
  readonly session?: string;
  /** Replaces the specialist's own system prompt for this chat. */
  readonly system?: string;
  /** 0 to 2. */
  readonly temperature?: number;
  readonly max_tokens?: number;
}

export type Request =
  | PingRequest
  | HealthRequest
  | InfoRequest
  | SchemaRequest
  | AuthRequest
  | CancelRequest
  | SessionsRequest
  | SessionDeleteRequest
  | ChatMessageRequest;

export const requestTypes = [
  'ping',
  'health',
  'info',
  'chat',
  'cancel',
  'sessions',
  'session_delete',
  'schema',
  'auth',
] as const;

export interface PongReply extends Correlated {
  readonly type: 'pong';
  readonly ai_id: string;
  /** Unix seconds. */
  readonly timestamp: number;
  /** Of the launch that answers. Absent from workers that are not ours. */
  readonly uid?: string;
}

export interface HealthReply extends Correlated {
  readonly type: 'health_response';
  readonly ai_id: string;
  readonly status: 'healthy' | 'degraded' | 'draining';
  readonly component: string;
  /** `provider:model` */
  readonly model: string;
  /** Open connections, this one included. */
  readonly clients: number;
  /** Why it isn't healthy: a ModelReason, and a sentence. */
  readonly reason?: string;
  readonly message?: string;
  /** Who answers (`provider:model`) while `model` can't, and why it can't: a ModelReason. */
  readonly fallback?: {readonly by: string; readonly reason: string};
  /** Chats under way. */
  readonly active?: number;
  /** Chats that wait for a place among those. */
  readonly queued?: number;
  /** Chats of `active` that wait for a slot of their provider. */
  readonly waiting?: number;
  readonly uptime?: number;
  /** Since its process began. */
  readonly usage?: HealthUsage;
  /** The last minutes; absent: there was no chat yet. */
  readonly recent?: RecentReply;
  /** Processor time that its process has taken, seconds. */
  readonly cpu?: number;
}

export interface HealthUsage extends WireUsage {
  readonly requests: number;
  readonly cached_input_tokens?: number;
  readonly errors?: number;
  readonly cancelled?: number;
  readonly cost?: number;
}

export interface RecentReply {
  /** What `requests` and `output_tokens` are of, a minute at most. */
  readonly seconds: number;
  readonly requests: number;
  readonly output_tokens: number;
  /** Seconds, of the last five minutes; absent: no chat was answered in them. */
  readonly latency_p50?: number;
  readonly latency_p95?: number;
  readonly first_token_p50?: number;
  readonly first_token_p95?: number;
}

export interface InfoReply extends Correlated {
  readonly type: 'info_response';
  readonly ai_id: string;
  readonly component: string;
  readonly description: string;
  readonly model_provider: string;
  readonly model_name: string;
  /** First 200 characters, then `...`. */
  readonly system_prompt: string;
  readonly port: number;
  readonly [extra: string]: unknown;
}

export interface WireUsage {
  readonly input_tokens: number;
  readonly output_tokens: number;
}

export interface ChatReply extends Correlated {
  readonly type: 'chat_response';
  readonly ai_id: string;
  readonly content: string;
  readonly model?: string;
  readonly usage?: WireUsage;
  /** Seconds. */
  readonly latency?: number;
  readonly stop_reason?: string;
  /** Oldest messages that were left out, so that the rest fits into the context window; absent: none. */
  readonly trimmed?: number;
  /** Who should have answered (`provider:model`), and with which error code it didn't; absent: it did. */
  readonly fallback?: {readonly from: string; readonly reason: string};
}

export interface StreamChunkReply extends Correlated {
  readonly type: 'stream_chunk';
  readonly content: string;
  readonly chunk_index: number;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface StreamEndMetadata {
  readonly total_chunks: number;
  readonly total_tokens: number;
  /** Seconds. */
  readonly total_time: number;
  readonly ai_id: string;
  readonly model: string;
  readonly usage?: WireUsage;
  readonly stop_reason?: string;
  /** As in a chat_response, the next one too. */
  readonly trimmed?: number;
  readonly fallback?: ChatReply['fallback'];
}

export interface StreamEndReply extends Correlated {
  readonly type: 'stream_end';
  readonly metadata: StreamEndMetadata;
}

/** One conversation that a worker remembers. */
export interface WireSession {
  readonly name: string;
  /** Exchanges: messages with their answers. */
  readonly turns: number;
  /** As estimated. */
  readonly tokens: number;
  /** Seconds since the last answer. */
  readonly idle: number;
}

export interface SessionsReply extends Correlated {
  readonly type: 'sessions_response';
  readonly ai_id: string;
  /** Whether they outlive the worker. */
  readonly persistent: boolean;
  /** The one used last first. */
  readonly sessions: readonly WireSession[];
}

export interface SessionDeleteReply extends Correlated {
  readonly type: 'session_delete_response';
  readonly ai_id: string;
  /** How many there were. */
  readonly deleted: number;
}

/** `code` of an error reply. Those of a provider's failure are in src/providers/provider.ts. */
export type ErrorCode =
  | 'invalid_json'
  | 'invalid_utf8'
  | 'invalid_request'
  | 'message_too_long'
  | 'no_content'
  | 'unknown_type'
  | 'unknown_request'
  | 'unknown_session'
  | 'duplicate_request_id'
  | 'unauthorized'
  | 'queue_full'
  | 'queue_timeout'
  | 'slots_unavailable'
  | 'draining'
  | 'budget_exceeded'
  | 'context_length_exceeded'
  | 'secret_missing'
  | 'internal';

export interface ErrorReply extends Correlated {
  readonly type: 'error' | 'stream_error';
  readonly error: string;
  /** The same text: programs of both habits find it. */
  readonly message: string;
  readonly code: string;
  /** Whether the same request may succeed later without anybody changing anything. */
  readonly retryable: boolean;
  /** Seconds until that is worth trying, where somebody knows. */
  readonly retry_after?: number;
}

export interface OtherReply extends Correlated {
  readonly type: 'schema_response' | 'auth_response';
  readonly [extra: string]: unknown;
}

export type Reply =
  | PongReply
  | HealthReply
  | InfoReply
  | ChatReply
  | StreamChunkReply
  | StreamEndReply
  | SessionsReply
  | SessionDeleteReply
  | ErrorReply
  | OtherReply;

/** What a request of each type is answered with when all goes well. */
export interface ReplyTo {
  readonly ping: PongReply;
  readonly health: HealthReply;
  readonly info: InfoReply;
  readonly chat: ChatReply;
  readonly sessions: SessionsReply;
  readonly session_delete: SessionDeleteReply;
  readonly schema: OtherReply;
  readonly auth: OtherReply;
}

export interface ErrorDetails {
  readonly code: string;
  readonly retryable?: boolean;
  /** ms */
  readonly retryAfterMs?: number | undefined;
  readonly requestId?: RequestId | undefined;
  /** The failed request had asked for a stream. */
  readonly stream?: boolean;
}

export function errorReply(
  text: string,
  {code, retryable = false, retryAfterMs, requestId, stream = false}: ErrorDetails,
): ErrorReply {
  return {
    type: stream ? 'stream_error' : 'error',
    ...(requestId === undefined ? {} : {request_id: requestId}),
    error: text,
    message: text,
    code,
    retryable,
    ...(retryAfterMs === undefined ? {} : {retry_after: Math.ceil(retryAfterMs) / 1000}),
  };
}

export type ParsedRequest =
  {readonly ok: true; readonly request: Request} | {readonly ok: false; readonly error: ErrorReply};

/**
 * Takes one decoded line for a request, or says what is wrong with it. A message without a type is a chat, as old
 * clients send it. Fields that aren't known are ignored; a null counts as absent.
 */
export function parseRequest(value: unknown): ParsedRequest {
  if (!isRecord(value)) return refuse('Message must be a JSON object', 'invalid_request');
  const requestId = field(value, 'request_id');
  if (requestId !== undefined && !isRequestId(requestId)) {
    return refuse(`request_id must be a number or a string of 1 to ${maxNameLength} characters`, 'invalid_request');
  }
  const id = requestId === undefined ? {} : {request_id: requestId};
  const type: unknown = field(value, 'type') ?? 'chat';
  switch (type) {
    case 'ping':
    case 'health':
    case 'info':
    case 'sessions':
    case 'schema':
      return {ok: true, request: {type, ...id}};
    case 'session_delete':
      return parseSessionDelete(value, requestId);
    case 'auth': {
      const token = field(value, 'token');
      if (typeof token !== 'string') return refuse('token must be a string', 'invalid_request', {requestId});
      return {ok: true, request: {type, token, ...id}};
    }
    case 'cancel':
      if (requestId === undefined) return refuse('cancel needs the request_id of a chat', 'invalid_request');
      return {ok: true, request: {type, request_id: requestId}};
    case 'chat':
      return parseChat(value, requestId);
    default:
      return refuse(`Unknown message type: ${shown(type)} (known: ${requestTypes.join(', ')})`, 'unknown_type', {
        requestId,
      });
  }
}

function parseSessionDelete(value: JsonRecord, requestId: RequestId | undefined): ParsedRequest {
  const [session, all] = [field(value, 'session'), field(value, 'all')];
  const problem =
    check(session, 'session', `a string of 1 to ${maxNameLength} characters`, isName) ??
    check(all, 'all', 'true or false', v => typeof v === 'boolean') ??
    ((session === undefined) === (all !== true) ? 'session_delete needs a session, or all: true' : undefined);
  if (problem !== undefined) return refuse(problem, 'invalid_request', {requestId});
  // The checks above have just proven the types of these fields.
  const fields = definedOf({session, all, request_id: requestId}) as Omit<SessionDeleteRequest, 'type'>;
  return {ok: true, request: {type: 'session_delete', ...fields}};
}

function parseChat(value: JsonRecord, requestId: RequestId | undefined): ParsedRequest {
  const stream = field(value, 'stream');
  const where = {requestId, stream: stream === true};
  const content = field(value, 'content') ?? '';
  if (typeof content !== 'string') return refuse('content must be a string', 'invalid_request', where);
  if (content.trim() === '') return refuse('No content provided', 'no_content', where);

  const history = field(value, 'history');
  const problem =
    check(stream, 'stream', 'true or false', v => typeof v === 'boolean') ??
    check(field(value, 'system'), 'system', 'a string', v => typeof v === 'string') ??
    check(field(value, 'session'), 'session', `a string of 1 to ${maxNameLength} characters`, isName) ??
    check(field(value, 'temperature'), 'temperature', 'a number from 0 to 2', v => isNumber(v) && v >= 0 && v <= 2) ??
    check(field(value, 'max_tokens'), 'max_tokens', 'a positive whole number', isPositiveInteger) ??
    check(history, 'history', 'a list of {"role": "user" or "assistant", "content": "text"}', isHistory);
  if (problem !== undefined) return refuse(problem, 'invalid_request', where);

  // The checks above have just proven the types of these fields.
  const options = definedOf({
    stream,
    system: field(value, 'system'),
    session: field(value, 'session'),
    temperature: field(value, 'temperature'),
    max_tokens: field(value, 'max_tokens'),
    history: isHistory(history) ? history.map(({role, content: text}) => ({role, content: text})) : undefined,
    request_id: requestId,
  }) as Omit<ChatMessageRequest, 'type' | 'content'>;
  return {ok: true, request: {type: 'chat', content, ...options}};
}

/**
 * Takes one decoded line for a reply. Checks what every caller relies on; a worker may tell more than we know.
 *
 * @returns undefined for what is no reply of this protocol.
 */
export function parseReply(value: unknown): Reply | undefined {
  if (!isRecord(value)) return undefined;
  const requestId = field(value, 'request_id');
  if (requestId !== undefined && !isRequestId(requestId)) return undefined;
  const needed = neededInReplies.get(String(field(value, 'type')));
  if (needed === undefined || !needed.every(([name, type]) => typeof field(value, name) === type)) return undefined;
  if (field(value, 'type') === 'stream_end' && !isRecord(field(value, 'metadata'))) return undefined;
  if (field(value, 'type') === 'sessions_response' && !isSessionList(field(value, 'sessions'))) return undefined;
  // Every field that the union's members need has been looked at.
  return withErrorText(value) as unknown as Reply;
}

type JsonRecord = Readonly<Record<string, unknown>>;

const neededInReplies = new Map<string, readonly (readonly [string, string])[]>([
  ['pong', [['ai_id', 'string']]],
  [
    'health_response',
    [
      ['ai_id', 'string'],
      ['status', 'string'],
      ['model', 'string'],
    ],
  ],
  ['info_response', [['ai_id', 'string']]],
  ['chat_response', [['content', 'string']]],
  ['stream_chunk', [['content', 'string']]],
  ['stream_end', []],
  ['error', []],
  ['stream_error', []],
  ['sessions_response', [['ai_id', 'string']]],
  ['session_delete_response', [['deleted', 'number']]],
  ['schema_response', []],
  ['auth_response', []],
]);

/** Specialists of the predecessor give `error` alone, without `message`, `code` and `retryable`. */
function withErrorText(value: JsonRecord): JsonRecord {
  if (value['type'] !== 'error' && value['type'] !== 'stream_error') return value;
  const text = [value['error'], value['message']].find(v => typeof v === 'string') ?? 'unspecified error';
  const code = typeof value['code'] === 'string' ? value['code'] : 'unknown';
  return {...value, error: text, message: text, code, retryable: value['retryable'] === true};
}

function refuse(text: string, code: ErrorCode, details: Omit<ErrorDetails, 'code'> = {}): ParsedRequest {
  return {ok: false, error: errorReply(text, {...details, code})};
}

function check(value: unknown, name: string, shape: string, fits: (value: unknown) => boolean): string | undefined {
  return value === undefined || fits(value) ? undefined : `${name} must be ${shape}`;
}

/** An own field's value; null and inherited ones (`__proto__`, `constructor`) count as absent. */
function field(record: JsonRecord, name: string): unknown {
  return Object.hasOwn(record, name) ? (record[name] ?? undefined) : undefined;
}

function definedOf(record: JsonRecord): JsonRecord {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
}

/** A client's own value, quoted and short, so that an error never echoes megabytes. */
function shown(value: unknown): string {
  if (typeof value !== 'string') return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`;
  return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
}

function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= maxNameLength;
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function isPositiveInteger(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) > 0;
}

function isRequestId(value: unknown): value is RequestId {
  return isName(value) || isNumber(value);
}

function isHistory(value: unknown): value is readonly Turn[] {
  return (
    Array.isArray(value) &&
    value.every(
      turn =>
        isRecord(turn) &&
        (turn['role'] === 'user' || turn['role'] === 'assistant') &&
        typeof turn['content'] === 'string',
    )
  );
}

function isSessionList(value: unknown): value is readonly WireSession[] {
  return (
    Array.isArray(value) &&
    value.every(
      session =>
        isRecord(session) && isName(session['name']) && ['turns', 'tokens', 'idle'].every(of => isNumber(session[of])),
    )
  );
}

/** Usage as it stands in replies. */
export function wireUsage(usage: Usage): HealthUsage {
  const {requests, inputTokens, outputTokens, cachedInputTokens, errors, cancelled, cost} = usage;
  return {
    requests,
    input_tokens: inputTokens,
    output_tokens: outputTokens,
    ...(cachedInputTokens !== undefined && {cached_input_tokens: cachedInputTokens}),
    ...(errors !== undefined && {errors}),
    ...(cancelled !== undefined && {cancelled}),
    ...(cost !== undefined && {cost}),
  };
}
