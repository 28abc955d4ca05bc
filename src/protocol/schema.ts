/** What `{"type":"schema"}` is answered with: the protocol, described by itself. */
import {maxLineBytes, protocolVersion} from './messages.js';
import type {OtherReply} from './messages.js';

/** Field → its shape; a `?` marks one that may be absent. */
type Fields = Readonly<Record<string, string>>;

const correlation: Fields = {'request_id?': 'string or number, echoed in the replies; lets them overtake others'};
const errorFields: Fields = {
  error: 'text',
  message: 'the same text',
  code: 'string',
  retryable: 'boolean',
  'retry_after?': 'seconds until the same request is worth another try',
  ...correlation,
};

const requests: Readonly<Record<string, {readonly fields: Fields; readonly replies: readonly string[]}>> = {
  ping: {fields: correlation, replies: ['pong']},
  health: {fields: correlation, replies: ['health_response']},
  info: {fields: correlation, replies: ['info_response']},
  schema: {fields: correlation, replies: ['schema_response']},
  auth: {fields: {token: 'string', ...correlation}, replies: ['auth_response', 'error']},
  cancel: {fields: {request_id: 'of the chat to stop'}, replies: []},
  sessions: {fields: correlation, replies: ['sessions_response']},
  session_delete: {
    fields: {'session?': 'name of the one to forget', 'all?': 'true: every one', ...correlation},
    replies: ['session_delete_response', 'error'],
  },
  chat: {
    fields: {
      content: 'string, not blank',
      'stream?': 'boolean',
      'history?': 'list of {role: user or assistant, content: string}, oldest first',
      'session?': 'name of a conversation that the worker remembers',
      'system?': 'string, instead of the specialist’s own system prompt',
      'temperature?': 'number, 0 to 2',
      'max_tokens?': 'positive whole number',
      ...correlation,
    },
    replies: ['chat_response', 'stream_chunk', 'stream_end', 'stream_error', 'error'],
  },
};

const replies: Readonly<Record<string, Fields>> = {
  pong: {ai_id: 'string', timestamp: 'Unix seconds', uid: 'string'},
  health_response: {
    ai_id: 'string',
    status: 'healthy, degraded or draining',
    component: 'string',
    model: 'provider:model',
    clients: 'number',
    'reason?': 'why it is degraded; Fallback: its own model can’t answer',
    'message?': 'the same as a sentence',
    'fallback?': '{by: provider:model that answers instead, reason}',
    active: 'chats under way',
    queued: 'chats waiting for a place among those',
    waiting: 'chats of the active that wait for a slot of their provider',
    uptime: 'seconds',
    usage: '{requests, input_tokens, output_tokens, …} since its process began',
    'recent?':
      '{seconds, requests, output_tokens} of the last minute, {latency,first_token}_{p50,p95} of the last five',
    cpu: 'seconds of processor time',
  },
  info_response: {
    ai_id: 'string',
    component: 'string',
    description: 'string',
    model_provider: 'string',
    model_name: 'string',
    model: 'provider:model',
    system_prompt: 'its first 200 characters, then ...',
    port: 'number',
    capabilities: 'list of strings',
    roles: 'list of strings',
    context_window: 'tokens or null',
    max_tokens: 'tokens or null',
  },
  chat_response: {
    ai_id: 'string',
    content: 'string',
    model: 'string',
    usage: '{input_tokens, output_tokens}',
    latency: 'seconds',
    stop_reason: 'end, length, stop, refusal or cancelled',
    'fallback?': '{from: provider:model that should have answered, reason: error code}',
    'trimmed?': 'oldest messages that were left out so that the rest fits into the context window',
  },
  stream_chunk: {content: 'string', chunk_index: 'number, from 0', metadata: '{ai_id, model}'},
  stream_end: {
    metadata:
      '{total_chunks, total_tokens (of the answer), total_time (seconds), ai_id, model, usage, stop_reason, trimmed?, fallback?}',
  },
  sessions_response: {
    ai_id: 'string',
    persistent: 'boolean: whether they outlive the worker',
    sessions: 'list of {name, turns, tokens (estimated), idle (seconds)}, the one used last first',
  },
  session_delete_response: {ai_id: 'string', deleted: 'number'},
  stream_error: errorFields,
  error: errorFields,
};

export function schemaReply(aiId: string): OtherReply {
  return {
    type: 'schema_response',
    ai_id: aiId,
    protocol_version: protocolVersion,
    framing: 'UTF-8, one JSON object a line',
    max_line_bytes: maxLineBytes,
    requests,
    replies,
  };
}
