/** The kernel's word on a port. */
import type * as net from 'node:net';
import {errorCode} from './files.js';

/** Loaded at the first probe; an import by name at each would go through the module loader, which costs as much as the probe. */
let loadedNet: Promise<typeof net> | undefined;

/**
 * Binds `host:port` for a moment, as a worker would. `denied`: a port that this user may not use at all, or an
 * address that this machine doesn't have.
 */
export async function probePort(port: number, host: string): Promise<'free' | 'taken' | 'denied'> {
  loadedNet ??= import('node:net');
  const {createServer} = await loadedNet;
  return new Promise(resolve => {
    const server = createServer();
    server.once('error', error => resolve(errorCode(error) === 'EADDRINUSE' ? 'taken' : 'denied'));
    server.listen({port, host, exclusive: true, backlog: 1}, () => server.close(() => resolve('free')));
  });
}
