/** The owner's door: a Unix socket that only the worker's own user can open. */
import {lstatSync, mkdirSync, unlinkSync} from 'node:fs';
import {connect, createServer} from 'node:net';
import type {Server, Socket} from 'node:net';
import {dirname} from 'node:path';
import {LineDecoder, encode} from '../protocol/codec.js';
import type {Decoded} from '../protocol/codec.js';
import type {
  ControlNotice,
  ControlReply,
  ControlRequest,
  Hello,
  Interference,
  LaunchMessage,
  SuccessorOrder,
  WorkerConfig,
} from '../protocol/control.js';
import {runningOf} from '../protocol/running.js';
import type {Handover} from './handover.js';
import {closeAll, isInUse, ListenError} from './server.js';
import type {Specialist} from './specialist.js';

/** Usage is told at most this often, and only when it has changed. */
const usageEveryMs = 1_000;

export interface ControlServer {
  close(): Promise<void>;
  /** Tells every owner that listens what somebody did to the worker, past its control socket. */
  announce(by: Interference): void;
  /** Listens at its path again where somebody has removed or replaced the socket; else does nothing. @throws {ListenError} */
  reopen(): Promise<void>;
}

/** What the owner may order beyond configuring. */
export interface Orders {
  /** No new chats; resolves when those under way have ended, or after `graceMs`. */
  drain(graceMs: number): Promise<void>;
  /** Resolves when drained or after `graceMs`; the worker then ends by itself. */
  shutdown(graceMs: number): Promise<void>;
  /** As the control protocol's `replace`; until the listener has changed hands, `calledOff` undoes it. Never rejects. */
  replace(order: SuccessorOrder, calledOff: AbortSignal): Promise<Handover>;
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
  const owners = new Map<Socket, Owner>();
  const announce = (by: Interference, except?: Socket): void => {
    for (const [socket, owner] of owners) if (socket !== except) owner.tell(by);
  };
  const create = (): Server =>
    createServer(socket => {
      socket.once('close', () => owners.delete(socket));
      const others = (by: Interference): void => announce(by, socket);
      owners.set(socket, serveOwner(socket, specialist, orders, others));
    });
  let server = create();
  const close = (): Promise<void> => {
    for (const owner of owners.values()) owner.farewell();
    return closeAll(server, [...owners.keys()]);
  };
  const reopen = async (): Promise<void> => {
    if (lstatSync(path, {throwIfNoEntry: false}) && !(await isAbandoned(path))) return;
    // Closing removes whatever stands at the path, so it comes first. The connections that are open stay.
    server.close();
    mkdirSync(dirname(path), {recursive: true, mode: 0o700});
    await listening((server = create()), specialist, path);
    specialist.log('info', 'control socket opened again');
  };
  return listening(server, specialist, path).then(() => ({close, reopen, announce: by => announce(by)}));
}

function listening(server: Server, specialist: Specialist, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', cause => reject(new ListenError(path, cause)));
    listenPrivately(server, path);
    server.once('listening', () => {
      server.on('error', error =>
        specialist.log('error', 'cannot accept on the control socket', {error: error.message}),
      );
      resolve();
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

/** Who is connected. */
interface Owner {
  /** What somebody else did; said to those who have subscribed. */
  tell(by: Interference): void;
  /** Before the end: says what was held back. */
  farewell(): void;
}

/** @param others tells all other owners of what this one did */
function serveOwner(socket: Socket, specialist: Specialist, orders: Orders, others: (by: Interference) => void): Owner {
  const decoder = new LineDecoder();
  const ownerLeft = specialist.model.ownerConnected();
  const left = new AbortController();
  let subscription: Subscription | undefined;
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
      subscription?.end();
      subscription = notify(specialist, send);
    }
    obey(request, specialist, orders, {left: left.signal, others}).then(send, (error: unknown) => {
      send({id: request.id, ok: false, error: error instanceof Error ? error.message : String(error)});
    });
  };
  socket.on('data', (chunk: Buffer) => decoder.push(chunk).forEach(take));
  socket.on('error', () => undefined);
  socket.on('close', () => {
    subscription?.end();
    ownerLeft();
    left.abort(new Error('the order came from somebody who left'));
  });
  return {
    tell: by => {
      if (subscription) send({type: 'changed', by, hello: hello(specialist)});
    },
    farewell: () => subscription?.flush(),
  };
}

interface Around {
  /** Whoever gave the order has gone. */
  readonly left: AbortSignal;
  readonly others: (by: Interference) => void;
}

async function obey(
  request: ControlRequest,
  specialist: Specialist,
  orders: Orders,
  {left, others}: Around,
): Promise<ControlReply> {
  const {id} = request;
  switch (request.type) {
    case 'hello':
      await specialist.budget(); // is known, from now on
      return {id, ok: true, hello: hello(specialist)};
    case 'configure': {
      const refusal = specialist.configure(request.config);
      if (refusal !== undefined) return {id, ok: false, error: refusal};
      const {generation, choice} = request.config;
      specialist.log('info', 'reconfigured', {generation, model: `${choice.provider}:${choice.model}`});
      others('configure');
      return {id, ok: true, revision: specialist.revision};
    }
    case 'model-status':
      specialist.model.ownerSays(request.check);
      return {id, ok: true};
    case 'drain':
    case 'shutdown': {
      const ends = request.type === 'shutdown';
      specialist.log('info', ends ? 'shutting down' : 'draining', ends ? {by: 'owner'} : {});
      const drained = ends ? orders.shutdown(request.graceMs) : orders.drain(request.graceMs);
      // It has begun, and may take as long as the grace is.
      others(request.type);
      await drained;
      return {id, ok: true};
    }
    case 'replace': {
      const done = await orders.replace(request, left);
      return done.ok ? {id, ok: true, successor: {pid: done.pid}} : {id, ...done};
    }
    case 'subscribe':
      return {id, ok: true, hello: hello(specialist)};
  }
}

function hello(specialist: Specialist): Hello {
  const {aiId, name, component, fleet, namespace, host, generation, specHash, declared, choice} = specialist.config;
  const budget = specialist.ledger?.budget;
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
    running: runningOf(specialist.config),
    revision: specialist.revision,
    draining: specialist.draining,
    ...(specialist.ending && {ending: true}),
    retired: specialist.retired,
    ...(specialist.replacing && {replacing: true}),
    usage: specialist.usage,
    ...(budget && {budget}),
  };
}

interface Subscription {
  /** Says what was held back. */
  flush(): void;
  end(): void;
}

function notify(specialist: Specialist, send: (notice: ControlNotice) => void): Subscription {
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
  const stopBudget = specialist.onBudget(budget => send({type: 'budget', budget}));
  const flush = (): void => {
    if (timer === undefined) return;
    clearTimeout(timer);
    tell();
  };
  const end = (): void => {
    clearTimeout(timer);
    stopUsage();
    stopSuspect();
    stopBudget();
  };
  return {flush, end};
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
    case 'replace':
      return isOrder(value) ? value : undefined;
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

function isOrder(value: object): value is Extract<ControlRequest, {type: 'replace'}> {
  const has = (name: string, type: 'string' | 'number' | 'object'): boolean => typeof Reflect.get(value, name) === type;
  return (
    ['program', 'execPath', 'cwd', 'logPath'].every(name => has(name, 'string')) &&
    has('startupMs', 'number') &&
    has('env', 'object') &&
    'launch' in value &&
    isLaunch(value.launch)
  );
}

export function isLaunch(value: unknown): value is LaunchMessage {
  return (
    typeof value === 'object' &&
    value !== null &&
    'uid' in value &&
    typeof value.uid === 'string' &&
    'port' in value &&
    Number.isInteger(value.port) &&
    'controlPath' in value &&
    typeof value.controlPath === 'string' &&
    'config' in value &&
    isConfig(value.config)
  );
}

function isConfig(value: unknown): value is WorkerConfig {
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
