/** Whether a worker is what its record says, found out from the process table and from its own sockets. */
import type {ProcessIdentity} from '../api/types.js';
import {SpecialistConnection} from '../protocol/client.js';
import {ControlConnection} from '../protocol/control-client.js';
import type {Hello} from '../protocol/control.js';
import type {HealthReply} from '../protocol/messages.js';
import {isSame} from '../registry/processes.js';
import {connectTcp, connectUnix} from '../runtime/connect.js';

export interface Target {
  readonly aiId: string;
  /** Of the launch; absent: any instance will do. */
  readonly uid?: string;
  /** Absent: nobody knows the process, the socket alone must prove who it is. */
  readonly identity?: ProcessIdentity;
  readonly host: string;
  readonly port: number;
  readonly controlPath?: string;
  readonly token?: string;
}

export type Verification =
  /** The process is not there, or no longer the one that was launched; without a process known: nobody answers. */
  | {readonly type: 'gone'}
  /** The process is there, its port is mute or speaks for another. */
  | {readonly type: 'mute'; readonly hello?: Hello}
  /** `health` is absent where a token is needed that we don't have. */
  | {readonly type: 'answers'; readonly health?: HealthReply; readonly hello?: Hello};

/** Never rejects, and is done when `signal` aborts at the latest. */
export async function verify(target: Target, signal: AbortSignal): Promise<Verification> {
  if (target.identity !== undefined && !(await isSame(target.identity))) return {type: 'gone'};
  const [answer, hello] = await Promise.all([askPort(target, signal), askControl(target, signal)]);
  if (answer !== undefined) return {type: 'answers', ...answer, ...(hello && {hello})};
  // A mute port with a worker behind the control socket that names the same launch: it hangs, or is starting.
  if (target.identity === undefined && hello === undefined) return {type: 'gone'};
  return {type: 'mute', ...(hello && {hello})};
}

/** undefined: no answer, or the answer of another. */
async function askPort(target: Target, signal: AbortSignal): Promise<{readonly health?: HealthReply} | undefined> {
  let connection: SpecialistConnection | undefined;
  try {
    connection = await openConnection(target, signal);
    const pong = await connection.request({type: 'ping'}, {signal});
    const same = target.uid === undefined || pong.uid === undefined || pong.uid === target.uid;
    if (pong.ai_id !== target.aiId || !same) return undefined;
    // That it answers is settled; a health that comes too late is only not known.
    const health = await connection.request({type: 'health'}, {signal}).catch(() => undefined);
    return health === undefined ? {} : {health};
  } catch (error) {
    return isUnauthorized(error) ? {} : undefined;
  } finally {
    connection?.close();
  }
}

async function askControl({controlPath, uid}: Target, signal: AbortSignal): Promise<Hello | undefined> {
  if (controlPath === undefined) return undefined;
  try {
    const connection = new ControlConnection(await connectUnix(controlPath, {signal}));
    try {
      const reply = await connection.request({type: 'hello'}, {signal});
      return reply.ok && (uid === undefined || reply.hello?.uid === uid) ? reply.hello : undefined;
    } finally {
      connection.close();
    }
  } catch {
    return undefined;
  }
}

/**
 * A connection that has said its token, where there is one; the caller closes it.
 *
 * @throws {TektonError} it can't be reached, or refuses the token; the signal's reason
 */
export async function openConnection(
  {host, port, token}: Pick<Target, 'host' | 'port' | 'token'>,
  signal: AbortSignal,
): Promise<SpecialistConnection> {
  const connection = new SpecialistConnection(await connectTcp(reachable(host), port, {signal}));
  try {
    if (token !== undefined) await connection.request({type: 'auth', token}, {signal});
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** An address to bind to need not be one to connect to. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

/** The specialist is there, and wants a token: an answer all the same. */
function isUnauthorized(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'unauthorized';
}
