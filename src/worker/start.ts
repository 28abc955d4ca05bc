/** Puts a worker together: the specialist, its port, its control socket. Used by the launched process and by the CLI. */
import type {WorkerConfig} from '../protocol/control.js';
import {listenControl} from './control-socket.js';
import {silentLog} from './log.js';
import type {Log} from './log.js';
import {listen} from './server.js';
import {Specialist} from './specialist.js';
import type {CreateProvider} from './specialist.js';

export interface WorkerOptions {
  readonly config: WorkerConfig;
  /** Of this launch. */
  readonly uid: string;
  /** 0: any free port. */
  readonly port: number;
  /** Absent: nobody can reconfigure it. */
  readonly controlPath?: string;
  readonly createProvider: CreateProvider;
  readonly log?: Log;
  /** ms, monotonic. */
  readonly now?: () => number;
}

export interface RunningWorker {
  readonly port: number;
  /** Resolves with the exit code when the worker has ended, after `close` or by order of its owner. */
  readonly done: Promise<number>;
  /** No new chats; resolves when those under way have ended, or after `graceMs` (default: the configuration's). */
  drain(graceMs?: number): Promise<void>;
  /** Drains, then ends: chats that are still under way get a `draining` error. Again, with less grace: sooner. */
  close(graceMs?: number): Promise<void>;
}

/** How long chats that were stopped may take to say so to their clients. */
const stopMs = 250;

/**
 * Resolves once the port and the control socket are bound.
 *
 * @throws {ListenError} nothing is left bound
 */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const {config, uid, controlPath, createProvider, log = silentLog, now = () => process.uptime() * 1000} = options;
  const specialist = new Specialist({config, uid, createProvider, log, now});
  let ended: (code: number) => void = () => undefined;
  const done = new Promise<number>(resolve => (ended = resolve));
  let closing: Promise<void> | undefined;

  const drain = (graceMs = specialist.config.graceMs): Promise<void> => specialist.drain(graceMs);
  const windDown = async (graceMs: number): Promise<void> => {
    await drain(graceMs);
    specialist.stopChats('draining');
    await specialist.idle(stopMs);
  };
  const end = async (): Promise<void> => {
    // The owner's reply is written before its connection ends.
    await Promise.all([clients.close(), control?.close()]);
    ended(0);
  };
  const close = async (graceMs = specialist.config.graceMs): Promise<void> => {
    await windDown(graceMs);
    closing ??= end();
    await closing;
  };
  const shutdown = async (graceMs: number): Promise<void> => {
    await windDown(graceMs);
    // After the reply to this order has been written.
    setImmediate(() => {
      closing ??= end();
    });
  };

  const [clientsResult, controlResult] = await Promise.allSettled([
    listen(specialist, config.host, options.port),
    controlPath === undefined ? undefined : listenControl(specialist, controlPath, {shutdown}),
  ]);
  if (clientsResult.status === 'rejected' || controlResult.status === 'rejected') {
    if (clientsResult.status === 'fulfilled') await clientsResult.value.close();
    if (controlResult.status === 'fulfilled') await controlResult.value?.close();
    throw clientsResult.status === 'rejected' ? clientsResult.reason : (controlResult as PromiseRejectedResult).reason;
  }
  const clients = clientsResult.value;
  const control = controlResult.value;
  specialist.port = clients.port;
  return {port: clients.port, done, drain, close};
}
