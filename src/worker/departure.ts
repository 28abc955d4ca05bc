/**
 * Tells a client that has only finished sending from one that is gone. Both look alike to a server, a FIN: the first
 * waits for its answer (`printf … | nc -N`), the answer of the second is work for nobody.
 */
import {readFile} from 'node:fs';
import type {Socket} from 'node:net';

/** First look, then doubling up to the last: a process that was killed takes a moment to close its sockets. */
const firstLookMs = 50;
const lastLookMs = 2_000;

/**
 * Calls `gone` once when the peer's end of a half-closed connection turns out to be closed for good.
 *
 * On the same machine under Linux the kernel's table of sockets says so: nobody owns an orphan. Elsewhere TCP
 * keepalive finds out, after the minute or so that the peer's kernel keeps an orphan for.
 *
 * @returns stops watching
 */
export function watchDeparture(socket: Socket, gone: () => void): () => void {
  socket.setKeepAlive(true, 5_000);
  const {remotePort, localPort} = socket;
  if (!tellsDeparture(socket) || !remotePort || !localPort) return () => undefined;

  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const look = (delayMs: number): void => {
    timer = setTimeout(() => {
      isOrphan(remotePort, localPort, orphan => {
        if (stopped) return;
        if (orphan) gone();
        else look(Math.min(2 * delayMs, lastLookMs));
      });
    }, delayMs).unref();
  };
  look(firstLookMs);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** Whether it is found out soon, and not only by keepalive. */
export function tellsDeparture({remoteAddress = ''}: Socket): boolean {
  return process.platform === 'linux' && isLoopback(remoteAddress);
}

/** `::1`, 127.0.0.0/8, and the latter as a mapped address. */
export function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address);
}

function isOrphan(peerPort: number, ourPort: number, tell: (orphan: boolean) => void): void {
  const ends = [`:${hex(peerPort)}`, `:${hex(ourPort)}`] as const;
  readFile('/proc/net/tcp', 'latin1', (error, tcp) => {
    readFile('/proc/net/tcp6', 'latin1', (error6, tcp6) => {
      if (error && error6) return tell(false);
      const owned = `${error ? '' : tcp}\n${error6 ? '' : tcp6}`.split('\n').some(line => {
        // sl local remote st queues timer retransmits uid timeout inode
        const fields = line.trim().split(/\s+/);
        return fields[1]?.endsWith(ends[0]) && fields[2]?.endsWith(ends[1]) && fields[9] !== '0';
      });
      tell(!owned);
    });
  });
}

function hex(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}
