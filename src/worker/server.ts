/** The specialist's port: accepts clients, and lets them go when the worker ends. */
import {createServer} from 'node:net';
import type {Server, Socket} from 'node:net';
import {TektonError} from '../api/errors.js';
import {serve} from './connection.js';
import type {IsIdle} from './connection.js';
import {HttpService} from './http/service.js';
import {untilIdle} from './retire.js';
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
  /** To be handed to a successor. */
  readonly listener: Server;
  /** Takes no more connections, ends those that are open, and resolves when they are gone: at once, or nearly. */
  close(): Promise<void>;
  /**
   * Closes our copy of the listening socket, which a successor has by now, and goes on serving the connections that are
   * open, each until it has been idle for two seconds. Resolves when none is left, or after `graceMs`.
   */
  retire(graceMs: number): Promise<void>;
}

/** Gets the listening server of a predecessor, to be taken over in the same turn of the event loop. */
export type Inherit = (take: (inherited: Server) => void, failed: (error: Error) => void) => void;

/** @throws {ListenError} */
export function listen(specialist: Specialist, host: string, port: number): Promise<ClientServer> {
  return new Promise((resolve, reject) => {
    const {server, clients} = create(specialist);
    const failed = (cause: Error): void =>
      reject(new ListenError(`${host}:${port}`, cause, isInUse(cause) ? 'PortTaken' : 'LaunchFailed'));
    server.once('error', failed);
    server.listen({host, port}, () => {
      server.off('error', failed);
      resolve(clients());
    });
  });
}

/** As `listen`, with a socket that listens already. @throws {ListenError} */
export function listenInherited(specialist: Specialist, inherit: Inherit): Promise<ClientServer> {
  return new Promise((resolve, reject) => {
    const failed = (cause: Error): void => reject(new ListenError('the socket of its predecessor', cause));
    inherit(inherited => {
      const {server, clients} = create(specialist);
      server.once('error', failed);
      // The server that came accepts with options that are not ours; its handle is taken from it before it can.
      server.listen(inherited, () => {
        server.off('error', failed);
        resolve(clients());
      });
    }, failed);
  });
}

/** `clients` is to be called once it listens. */
function create(specialist: Specialist): {server: Server; clients: () => ClientServer} {
  const idle = new Map<Socket, IsIdle>();
  const http = new HttpService(specialist);
  // A client may end its side after its last request and still wait for the reply.
  const server = createServer({allowHalfOpen: true, noDelay: true}, socket => {
    socket.once('close', () => idle.delete(socket));
    idle.set(
      socket,
      serve(socket, specialist, begin => http.serve(socket, begin)),
    );
  });
  const clients = (): ClientServer => {
    // Out of file descriptors, say: those that are connected are still served.
    server.on('error', error => specialist.log('error', 'cannot accept a connection', {error: error.message}));
    const address = server.address();
    return {
      port: typeof address === 'object' && address !== null ? address.port : 0,
      listener: server,
      close: () => {
        http.close();
        return closeAll(server, [...idle.keys()]);
      },
      retire: graceMs => {
        server.close();
        return untilIdle(idle, graceMs);
      },
    };
  };
  return {server, clients};
}

export function closeAll(server: Server, sockets: Iterable<Socket>): Promise<void> {
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
