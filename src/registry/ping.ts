/** Whether the right specialist answers. */
import {connect} from 'node:net';
import {describeError} from '../api/errors.js';
import {RequestFailedError, SpecialistConnection} from '../protocol/client.js';

export interface PingTarget {
  readonly aiId: string;
  readonly host: string;
  readonly port: number;
  /** Absent: any instance of this specialist will do. */
  readonly uid?: string;
  /** Where every connection has to begin with it. */
  readonly authToken?: string;
}

export interface PingOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** undefined: it answered; else why not, for people. Throws only the reason of `signal`. */
export async function ping(target: PingTarget, options: PingOptions): Promise<string | undefined> {
  try {
    return await ask(target, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    return `port ${target.port} does not answer: ${describeError(error)}`;
  }
}

/** As `ping`; that it wants a token which we don't have is an answer, too: it lives, and guards itself. */
export async function answersOrAsksForToken(target: PingTarget, options: PingOptions): Promise<boolean> {
  try {
    return (await ask(target, options)) === undefined;
  } catch (error) {
    options.signal?.throwIfAborted();
    return error instanceof RequestFailedError && error.code === 'unauthorized';
  }
}

/** @throws {TektonError} no answer, or a refusal */
async function ask({aiId, host, port, uid, authToken}: PingTarget, options: PingOptions): Promise<string | undefined> {
  const socket = connect({host: reachable(host), port});
  const connection = new SpecialistConnection(socket);
  try {
    if (authToken !== undefined) await connection.request({type: 'auth', token: authToken}, options);
    const reply = await connection.request({type: 'ping'}, options);
    if (reply.ai_id !== aiId) return `port ${port} answers as ${reply.ai_id}`;
    return uid === undefined || reply.uid === uid ? undefined : `port ${port} answers as another instance of ${aiId}`;
  } finally {
    socket.destroy();
  }
}

/** An address to listen on need not be one to connect to. */
function reachable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
}
