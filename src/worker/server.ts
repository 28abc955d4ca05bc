/** The specialist's port: accepts clients, and lets them go when the worker ends. */
import {createServer} from 'node:net';
import type {Server, Socket} from 'node:net';
import {TektonError} from '../api/errors.js';
import {serve} from './connection.js';
import {serveHttp} from './http.js';
import type {Specialist} from './specialist.js';

/** How long the last replies may take to leave when the worker ends. */
const farewellMs = 250;

/** A socket couldn't be bound. `reason` is that of the launch report. */
export class ListenError extends TektonError {
  override readonly name = 'ListenError';
  readonly reason: 'PortTaken' | 'LaunchFailed';

  constructor(what: string, cause: Error, reason: ListenError['reason'] = 'LaunchFailed') {
    super(`cannot listen on ${what}`, {cause});
    this.reason = reason;
  }
}

export function isInUse(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'EADDRINUSE';
}

export interface ClientServer {
  readonly port: number;
  /** Takes no more connections, ends those that are open, and resolves when they are gone: at once, or nearly. */
  close(): Promise<void>;
}

/** @throws {ListenError} */
export function listen(specialist: Specialist, host: string, port: number): Promise<ClientServer> {
  const sockets = new Set<Socket>();
  // A client may end its side after its last request and still wait for the reply.
  const server = createServer({allowHalfOpen: true, noDelay: true}, socket => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serve(socket, specialist, serveHttp);
  });
  return new Promise((resolve, reject) => {
    const failed = (cause: Error): void =>
      reject(new ListenError(`${host}:${port}`, cause, isInUse(cause) ? 'PortTaken' : 'LaunchFailed'));
    server.once('error', failed);
    server.listen({host, port}, () => {
      server.off('error', failed);
      // Out of file descriptors, say: those that are connected are still served.
      server.on('error', error => specialist.log('error', 'cannot accept a connection', {error: error.message}));
      const address = server.address();
      resolve({
        port: typeof address === 'object' && address !== null ? address.port : port,
        close: () => closeAll(server, sockets),
      });
    });
  });
}

export function closeAll(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(() => {
      for (const socket of sockets) socket.destroy();
    }, farewellMs);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    for (const socket of sockets) socket.destroySoon();
  });
}
