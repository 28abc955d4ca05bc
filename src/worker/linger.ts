/** Closes a connection so that the last words arrive. */
import type {Socket} from 'node:net';

/** How long a client that goes on sending may take to hear that nobody listens. */
const lingerMs = 2_000;

/**
 * Sends `text`, ends our side, and throws away what still comes. Closing at once would answer that with a reset,
 * which can overtake and destroy the reply.
 */
export function lingeringEnd(socket: Socket, text: string): void {
  socket.removeAllListeners('data');
  socket.on('data', () => undefined).resume();
  const timer = setTimeout(() => socket.destroy(), lingerMs).unref();
  socket.once('close', () => clearTimeout(timer));
  socket.once('end', () => socket.destroySoon());
  socket.end(text);
  if (socket.readableEnded) socket.destroySoon();
}
