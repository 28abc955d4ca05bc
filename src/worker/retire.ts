/** How a worker whose successor listens lets go of its clients: when each of them has no more to ask for a while. */
import type {Socket} from 'node:net';
import type {IsIdle} from './connection.js';
import {lingeringEnd} from './linger.js';

/** A connection without a byte either way for this long, and without an answer outstanding, is closed. */
const idleMs = 2_000;
const lookMs = 250;

interface Seen {
  /** Bytes read and written. */
  readonly traffic: string;
  readonly at: number;
}

/**
 * Closes each of `connections` with a clean FIN once it has been idle for two seconds. Resolves when none is left, or
 * after `graceMs`; what is still open then is open.
 */
export async function untilIdle(connections: ReadonlyMap<Socket, IsIdle>, graceMs: number): Promise<void> {
  const seen = new WeakMap<Socket, Seen>();
  const end = performance.now() + graceMs;
  do {
    await new Promise(resolve => setTimeout(resolve, Math.min(lookMs, graceMs)));
    // Timers come before the sockets: what clients have sent by now is read first.
    await new Promise(resolve => setImmediate(resolve));
    const now = performance.now();
    for (const [socket, isIdle] of connections) {
      const traffic = `${socket.bytesRead} ${socket.bytesWritten}`;
      const last = seen.get(socket);
      if (!isIdle() || last?.traffic !== traffic) seen.set(socket, {traffic, at: now});
      else if (now - last.at >= idleMs && !socket.writableEnded) lingeringEnd(socket, '');
    }
  } while (connections.size > 0 && performance.now() < end);
}
