/** Whether the right specialist answers. */
import {connect} from 'node:net';
import {describeError} from '../api/errors.js';
import {SpecialistConnection} from '../protocol/client.js';

export interface PingTarget {
  readonly aiId: string;
  readonly host: string;
  readonly port: number;
}

/** undefined: it answered; else why not, for people. Throws only the reason of `signal`. */
export async function ping(
  {aiId, host, port}: PingTarget,
  options: {readonly timeoutMs: number; readonly signal?: AbortSignal},
): Promise<string | undefined> {
  const socket = connect({host, port});
  const connection = new SpecialistConnection(socket);
  try {
    const reply = await connection.request({type: 'ping'}, options);
    return reply.ai_id === aiId ? undefined : `port ${port} answers as ${reply.ai_id}`;
  } catch (error) {
    options.signal?.throwIfAborted();
    return `port ${port} does not answer: ${describeError(error)}`;
  } finally {
    socket.destroy();
  }
}
