/** Opens streams to workers: their TCP port and their control socket. */
import {connect} from 'node:net';
import type {NetConnectOpts} from 'node:net';
import type {Duplex} from 'node:stream';
import {TektonError} from '../api/errors.js';

export interface ConnectOptions {
  /** Default 2000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** @throws {TektonError} naming address and cause; the signal's reason when it aborts */
export function connectTcp(host: string, port: number, options: ConnectOptions = {}): Promise<Duplex> {
  return open({host, port, noDelay: true}, host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`, options);
}

/** @throws {TektonError} naming path and cause; the signal's reason when it aborts */
export function connectUnix(path: string, options: ConnectOptions = {}): Promise<Duplex> {
  return open({path}, path, options);
}

function open(target: NetConnectOpts, address: string, {timeoutMs = 2000, signal}: ConnectOptions): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason as Error);
    const socket = connect(target);
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      socket.removeListener('error', failed);
    };
    const fail = (error: Error): void => {
      settle();
      // An error after this one has nobody to tell.
      socket.on('error', () => undefined);
      socket.destroy();
      reject(error);
    };
    const failed = (cause: Error): void => fail(new TektonError(`cannot connect to ${address}`, {cause}));
    const abort = (): void => fail(signal?.reason as Error);
    const timer = setTimeout(
      () => fail(new TektonError(`cannot connect to ${address}: no answer in ${timeoutMs} ms`)),
      timeoutMs,
    );
    signal?.addEventListener('abort', abort, {once: true});
    socket.once('error', failed);
    socket.once('connect', () => {
      settle();
      resolve(socket);
    });
  });
}
