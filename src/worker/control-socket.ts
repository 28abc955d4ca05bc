/** The owner's door: a Unix socket that only the worker's own user can open. */
import {lstatSync, unlinkSync} from 'node:fs';
import {connect, createServer} from 'node:net';
import type {Server, Socket} from 'node:net';
import {LineDecoder, encode} from '../protocol/codec.js';
import type {Decoded} from '../protocol/codec.js';
import type {ControlNotice, ControlReply, ControlRequest, Hello, WorkerConfig} from '../protocol/control.js';
import {closeAll, isInUse, ListenError} from './server.js';
import type {Specialist} from './specialist.js';

/** Usage is told at most this often, and only when it has changed. */
const usageEveryMs = 1_000;

export interface ControlServer {
  close(): Promise<void>;
}

/** What the owner may order beyond configuring. */
export interface Orders {
  /** Resolves when drained or after `graceMs`; the worker then ends by itself. */
  shutdown(graceMs: number): Promise<void>;
}

/**
 * Binds `path` with mode 0600. A socket file that a dead worker has left is removed; one that answers, or anything
 * that is no socket, is left alone.
 *
 * @throws {ListenError}
 */
export async function listenControl(specialist: Specialist, path: string, orders: Orders): Promise<ControlServer> {
  try {
    return await bind(specialist, path, orders);
  } catch (error) {
    if (!(error instanceof ListenError) || !isInUse(error.cause) || !(await isAbandoned(path))) throw error;
    unlinkSync(path);
    return bind(specialist, path, orders);
  }
}

function bind(specialist: Specialist, path: string, orders: Orders): Promise<ControlServer> {
  const sockets = new Set<Socket>();
  const server = createServer(socket => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serveOwner(socket, specialist, orders);
  });
  return new Promise((resolve, reject) => {
    server.once('error', cause => reject(new ListenError(path, cause)));
    listenPrivately(server, path);
    server.once('listening', () => {
      server.on('error', error =>
        specialist.log('error', 'cannot accept on the control socket', {error: error.message}),
      );
      resolve({close: () => closeAll(server, sockets)});
    });
  });
}

/** Binding a Unix socket happens within `listen`, so the mode is right from the first moment. */
function listenPrivately(server: Server, path: string): void {
  const before = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
}

function isAbandoned(path: string): Promise<boolean> {
  if (!lstatSync(path, {throwIfNoEntry: false})?.isSocket()) return Promise.resolve(false);
  return new Promise(resolve => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', error => resolve('code' in error && error.code === 'ECONNREFUSED'));
  });
}

function serveOwner(socket: Socket, specialist: Specialist, orders: Orders): void {
  const decoder = new LineDecoder();
  const ownerLeft = specialist.model.ownerConnected();
  let unsubscribe: () => void = () => undefined;
  const send = (message: ControlReply | ControlNotice): void => {
    if (socket.writable) socket.write(encode(message));
  };
  const take = (item: Decoded): void => {
    const request = item.type === 'message' ? parseControl(item.value) : undefined;
    if (request === undefined) {
      socket.destroy();
      return;
    }
    if (request.type === 'subscribe') {
      unsubscribe();
      unsubscribe = notify(specialist, send);
    }
    obey(request, specialist, orders).then(send, (error: unknown) => {
      send({id: request.id, ok: false, error: error instanceof Error ? error.message : String(error)});
    });
  };
  socket.on('data', (chunk: Buffer) => decoder.push(chunk).forEach(take));
  socket.on('error', () => undefined);
  socket.on('close', () => {
    unsubscribe();
    ownerLeft();
  });
}

async function obey(request: ControlRequest, specialist: Specialist, orders: Orders): Promise<ControlReply> {
  const {id} = request;
  switch (request.type) {
    case 'hello':
      return {id, ok: true, hello: hello(specialist)};
    case 'configure': {
      const refusal = specialist.configure(request.config);
      if (refusal !== undefined) return {id, ok: false, error: refusal};
      const {generation, choice} = request.config;
      specialist.log('info', 'reconfigured', {generation, model: `${choice.provider}:${choice.model}`});
      return {id, ok: true};
    }
    case 'model-status':
      specialist.model.ownerSays(request.check);
      return {id, ok: true};
    case 'drain':
      specialist.log('info', 'draining');
      await specialist.drain(request.graceMs);
      return {id, ok: true};
    case 'shutdown':
      specialist.log('info', 'shutting down', {by: 'owner'});
      await orders.shutdown(request.graceMs);
      return {id, ok: true};
    case 'subscribe':
      return {id, ok: true};
  }
}

function hello(specialist: Specialist): Hello {
  const {aiId, name, component, fleet, namespace, host, generation, specHash, declared, choice} = specialist.config;
  return {
    uid: specialist.uid,
    pid: process.pid,
    port: specialist.port,
    host,
    aiId,
    name,
    component,
    fleet,
    namespace,
    generation,
    specHash,
    declared,
    choice,
    draining: specialist.draining,
    usage: specialist.usage,
  };
}

/** @returns stops it */
function notify(specialist: Specialist, send: (notice: ControlNotice) => void): () => void {
  let toldAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  const tell = (): void => {
    timer = undefined;
    toldAt = specialist.now();
    send({type: 'usage', usage: specialist.usage});
  };
  const stopUsage = specialist.onUsage(() => {
    if (timer !== undefined) return;
    const waitMs = toldAt + usageEveryMs - specialist.now();
    if (waitMs <= 0) tell();
    else timer = setTimeout(tell, waitMs).unref();
  });
  const stopSuspect = specialist.onSuspect(code => send({type: 'model-suspect', code}));
  return () => {
    clearTimeout(timer);
    stopUsage();
    stopSuspect();
  };
}

/** The peer is our own user's controller: outline and numbers are checked, the configuration is its word. */
function parseControl(value: unknown): ControlRequest | undefined {
  if (typeof value !== 'object' || value === null || !('id' in value) || !('type' in value)) return undefined;
  if (typeof value.id !== 'number') return undefined;
  switch (value.type) {
    case 'hello':
    case 'subscribe':
      return {id: value.id, type: value.type};
    case 'drain':
    case 'shutdown':
      if (!('graceMs' in value) || typeof value.graceMs !== 'number' || !(value.graceMs >= 0)) return undefined;
      return {id: value.id, type: value.type, graceMs: value.graceMs};
    case 'configure':
      if (!('config' in value) || !isConfig(value.config)) return undefined;
      return {id: value.id, type: value.type, config: value.config};
    case 'model-status':
      if (!('check' in value) || typeof value.check !== 'object' || value.check === null) return undefined;
      if (!('available' in value.check) || typeof value.check.available !== 'boolean') return undefined;
      return value as ControlRequest;
    default:
      return undefined;
  }
}

export function isConfig(value: unknown): value is WorkerConfig {
  return (
    typeof value === 'object' &&
    value !== null &&
    ['aiId', 'component', 'host', 'model'].every(name => typeof Reflect.get(value, name) === 'string') &&
    ['provider', 'choice', 'parameters', 'expertise', 'concurrency', 'sessions'].every(
      name => typeof Reflect.get(value, name) === 'object' && Reflect.get(value, name) !== null,
    ) &&
    ['formatVersion', 'graceMs'].every(name => typeof Reflect.get(value, name) === 'number')
  );
}
