/**
 * The controller's own socket: newline JSON, for the owner alone. `load` makes it read the fleet records again,
 * `watch` streams fleet statuses, `stop` ends it (workers live on).
 */
import {chmodSync, lstatSync, rmSync} from 'node:fs';
import {createServer} from 'node:net';
import type {Server, Socket} from 'node:net';
import type {FleetStatus} from '../api/types.js';
import {exitCodes, TektonError} from '../api/errors.js';
import {encode, LineDecoder} from '../protocol/codec.js';
import type {Controller} from '../reconciler/controller.js';
import {connectUnix} from '../runtime/connect.js';

type Request =
  | {readonly type: 'hello' | 'watch' | 'stop'}
  /** `applied`: fleets (`<namespace>/<fleet>`) that a person has just applied: drift of theirs is healed, whatever their policy. */
  | {readonly type: 'load'; readonly applied?: readonly string[]};
/** What is answered by one line. */
export type Question = Exclude<Request, {type: 'watch'}>;
type Reply =
  | {readonly type: 'ok'}
  | {readonly type: 'error'; readonly error: string}
  | {readonly type: 'status'; readonly status: FleetStatus};

/** The status of 5,000 specialists is a long line. */
const statusLimitBytes = 64 * 1024 * 1024;

export interface ControllerServer {
  /** Listens again at its path if somebody removed the socket, or put something else there; connections stay. */
  restore(): Promise<void>;
  /** Takes no more requests and hangs up on everybody. */
  close(): void;
}

/** Listens at `path`. Only the holder of the leader lock does: a socket that stands there is a dead one's. */
export async function serveController(
  path: string,
  controller: Controller,
  stop: () => void,
): Promise<ControllerServer> {
  const sockets = new Set<Socket>();
  const accept = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serve(socket, controller, stop);
  };
  let server = await listenAt(path, accept);
  let inode = inodeOf(path);
  return {
    restore: async () => {
      if (inode !== undefined && inodeOf(path) === inode) return;
      server.close(); // before the new one listens, for this unlinks the path, whoever's socket stands there
      server = await listenAt(path, accept);
      inode = inodeOf(path);
    },
    close: () => {
      server.close();
      for (const socket of sockets) socket.end();
    },
  };
}

async function listenAt(path: string, accept: (socket: Socket) => void): Promise<Server> {
  rmSync(path, {force: true});
  const server = createServer(accept);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return server;
}

function inodeOf(path: string): number | undefined {
  return lstatSync(path, {throwIfNoEntry: false})?.ino;
}

function serve(socket: Socket, controller: Controller, stop: () => void): void {
  const decoder = new LineDecoder();
  const say = (reply: Reply): void => void socket.write(encode(reply));
  let unsubscribe: (() => void) | undefined;
  socket.on('error', () => undefined); // a client that went away
  socket.on('close', () => unsubscribe?.());
  socket.on('data', chunk => {
    for (const item of decoder.push(chunk)) {
      const request = item.type === 'message' ? parseRequest(item.value) : undefined;
      switch (request?.type) {
        case 'hello':
          say({type: 'ok'});
          break;
        case 'load':
          controller.loadRecords(request.applied).then(
            () => say({type: 'ok'}),
            (error: unknown) => say({type: 'error', error: String(error)}),
          );
          break;
        case 'watch':
          unsubscribe ??= controller.subscribe(status => say({type: 'status', status}));
          break;
        case 'stop':
          say({type: 'ok'});
          stop();
          break;
        case undefined:
          say({type: 'error', error: 'unknown request'});
          break;
      }
    }
  });
}

/** Asks and waits for the answer. @throws {TektonError} when the controller is gone, refuses, or `signal` aborts first */
export async function askController(path: string, question: Question, signal: AbortSignal): Promise<void> {
  const {type} = question;
  for await (const reply of converse(path, question, signal)) {
    if (reply.type === 'ok') return;
    if (reply.type === 'error') throw new TektonError(`the controller refused to ${type}: ${reply.error}`);
  }
  if (signal.aborted) {
    const message = `the controller did not answer in time (to ${type})`;
    throw new TektonError(message, {exitCode: exitCodes.notReady, hint: hungHint});
  }
  throw new TektonError(`the controller ended before it answered to ${type}`);
}

const hungHint =
  'what was recorded stays; if it hangs (tekton-ai get shows its pid), end it with kill -9: its workers live on';

/** Every status of every fleet, now and at each change, until `signal` aborts or the controller is gone. */
export async function* watchController(path: string, signal: AbortSignal): AsyncGenerator<FleetStatus> {
  for await (const reply of converse(path, {type: 'watch'}, signal)) if (reply.type === 'status') yield reply.status;
}

/** Ends, without an error, when `signal` aborts. */
async function* converse(path: string, request: Request, signal: AbortSignal): AsyncGenerator<Reply> {
  const stream = await connectUnix(path, {timeoutMs: 2000, signal}).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
  if (!stream) return;
  const end = (): void => void stream.destroy();
  signal.addEventListener('abort', end, {once: true});
  try {
    stream.write(encode(request));
    const decoder = new LineDecoder(statusLimitBytes);
    for await (const chunk of stream) {
      for (const item of decoder.push(chunk as Uint8Array)) {
        // Written by our own controller behind a socket of mode 0600.
        if (item.type === 'message') yield item.value as Reply;
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener('abort', end);
    stream.destroy();
  }
}

function parseRequest(value: unknown): Request | undefined {
  if (typeof value !== 'object' || value === null || !('type' in value)) return undefined;
  const {type} = value;
  if (type === 'hello' || type === 'watch' || type === 'stop') return {type};
  if (type !== 'load') return undefined;
  if (!('applied' in value) || !Array.isArray(value.applied)) return {type};
  return {type, applied: value.applied.filter(id => typeof id === 'string')};
}
