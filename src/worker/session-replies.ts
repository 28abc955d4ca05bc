/** What a client is told of the conversations that the worker remembers. */
import {errorReply} from '../protocol/messages.js';
import type {ErrorReply, SessionDeleteReply, SessionDeleteRequest, SessionsReply} from '../protocol/messages.js';
import type {Specialist} from './specialist.js';

export async function listSessions({config, sessions}: Specialist): Promise<SessionsReply> {
  const list = await sessions.list();
  return {
    type: 'sessions_response',
    ai_id: config.aiId,
    persistent: sessions.persistent,
    sessions: list.map(({idleMs, ...session}) => ({...session, idle: Math.round(idleMs) / 1000})),
  };
}

export async function deleteSessions(
  {config, sessions}: Specialist,
  {session, request_id: requestId}: SessionDeleteRequest,
): Promise<SessionDeleteReply | ErrorReply> {
  const reply = {type: 'session_delete_response', ai_id: config.aiId} as const;
  if (session === undefined) return {...reply, deleted: await sessions.deleteAll()};
  if (await sessions.delete(session)) return {...reply, deleted: 1};
  return errorReply(`There is no session ${JSON.stringify(session)}`, {code: 'unknown_session', requestId});
}
