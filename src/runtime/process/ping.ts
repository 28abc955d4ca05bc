/** Whether the instance that we mean answers on its own TCP port, asked as any client would. */
import {SpecialistConnection} from '../../protocol/client.js';
import {connectTcp} from '../connect.js';

export interface PingTarget {
  readonly host: string;
  readonly port: number;
  readonly aiId: string;
  /** Absent: any instance of this specialist will do. */
  readonly uid?: string;
}

/** A stranger's answer is no answer: ai id and uid must match. Never throws. */
export async function ping({host, port, aiId, uid}: PingTarget, timeoutMs: number): Promise<boolean> {
  try {
    const connection = new SpecialistConnection(await connectTcp(reachable(host), port, {timeoutMs}));
    try {
      const reply = await connection.request({type: 'ping'}, {timeoutMs});
      return reply['type'] === 'pong' && reply['ai_id'] === aiId && (uid === undefined || reply['uid'] === uid);
    } finally {
      connection.close();
    }
  } catch {
    return false;
  }
}

/** An address to bind to need not be one to connect to. */
function reachable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
}
