/** Puts a worker together: the specialist, its port, its control socket. Used by the launched process and by the CLI. */
import type {Interference, SuccessorOrder, WorkerConfig} from '../protocol/control.js';
import {listenControl} from './control-socket.js';
import type {ControlServer, Orders} from './control-socket.js';
import {silentLog} from './log.js';
import type {Log} from './log.js';
import {handOver} from './handover.js';
import type {Handover} from './handover.js';
import {listen, listenInherited} from './server.js';
import type {ClientServer, Inherit} from './server.js';
import {Specialist} from './specialist.js';
import type {CreateProvider} from './specialist.js';

export interface WorkerOptions {
  readonly config: WorkerConfig;
  /** Of this launch. */
  readonly uid: string;
  /** 0: any free port. */
  readonly port: number;
  /** Where the listening socket comes from; absent: it is bound. */
  readonly inherit?: Inherit;
  /** Absent: nobody can reconfigure it. */
  readonly controlPath?: string;
  readonly createProvider: CreateProvider;
  /** The state folder. Absent: nothing is kept beyond this process. */
  readonly home?: string | undefined;
  readonly log?: Log;
  /** ms, monotonic. */
  readonly now?: () => number;
  /** ms since 1970. */
  readonly wallNow?: () => number;
}

export interface RunningWorker {
  readonly port: number;
  /** Resolves with the exit code when the worker has ended, after `close` or by order of its owner. */
  readonly done: Promise<number>;
  /** No new chats; resolves when those under way have ended, or after `graceMs` (default: the configuration's). */
  drain(graceMs?: number): Promise<void>;
  /**
   * Drains, then ends: chats that are still under way get a `draining` error. Again, with less grace: sooner. Where a
   * signal asked for it, `by` says which: the owner is told at once.
   */
  close(graceMs?: number, by?: Interference): Promise<void>;
  /** Opens the control socket again where somebody has removed it. @throws {ListenError} */
  reopen(): Promise<void>;
}

/** How long chats that were stopped may take to say so to their clients. */
const stopMs = 250;

/**
 * Resolves once the port and the control socket are bound.
 *
 * @throws {ListenError} nothing is left bound
 */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const {config, uid, createProvider, home, log = silentLog, now = () => process.uptime() * 1000, wallNow} = options;
  const specialist = new Specialist({config, uid, createProvider, log, now, wallNow, home});
  let ended: (code: number) => void = () => undefined;
  const done = new Promise<number>(resolve => (ended = resolve));
  let closing: Promise<void> | undefined;
  /** Aborted by every order to stop: a handover under way is called off. */
  const stays = new AbortController();
  let handover: Promise<Handover> | undefined;

  const drain = (graceMs = specialist.config.graceMs): Promise<void> => {
    stays.abort(new Error('it was told to stop'));
    return specialist.drain(graceMs);
  };
  const windDown = async (graceMs: number): Promise<void> => {
    await drain(graceMs);
    specialist.stopChats('draining');
    await specialist.idle(stopMs);
  };
  const end = async (): Promise<void> => {
    const {clients, control} = await bound;
    await handover;
    // The owner's reply is written before its connection ends.
    await Promise.all([clients.close(), control?.close()]);
    await specialist.closeLedger();
    ended(0);
  };
  const close = async (graceMs = specialist.config.graceMs): Promise<void> => {
    await windDown(graceMs);
    closing ??= end();
    await closing;
  };
  const closeBy = async (graceMs?: number, by?: Interference): Promise<void> => {
    const first = !specialist.ending;
    specialist.ending = true;
    const closed = close(graceMs);
    if (first && by !== undefined) (await bound).control?.announce(by);
    await closed;
  };
  const shutdown = async (graceMs: number): Promise<void> => {
    specialist.ending = true;
    await windDown(graceMs);
    // After the reply to this order has been written.
    setImmediate(() => {
      closing ??= end();
    });
  };

  const replace = async (order: SuccessorOrder, left: AbortSignal): Promise<Handover> => {
    const taken = order.launch.controlPath === options.controlPath;
    const refusal = taken ? 'a successor needs a control socket of its own' : whyNot(specialist);
    if (refusal !== undefined) return {ok: false, error: refusal};
    specialist.replacing = true;
    const {clients} = await bound;
    handover = handOver(order, clients.listener, AbortSignal.any([left, stays.signal]));
    const done = await handover;
    specialist.replacing = false;
    if (done.ok) void retire(clients, done.pid);
    else log('info', 'not replaced', {uid: order.launch.uid, error: done.error});
    return done;
  };
  const retire = async (clients: ClientServer, successor: number): Promise<void> => {
    specialist.retired = true;
    log('info', 'retired', {successor});
    await clients.retire(specialist.config.graceMs);
    await close(0);
  };

  const bound = bind(specialist, options, {drain, shutdown, replace});
  const {port} = (await bound).clients;
  specialist.port = port;
  specialist.watchBudget();
  void specialist.sessions.load();
  const reopen = async (): Promise<void> => (await bound).control?.reopen();
  return {port, done, drain, close: closeBy, reopen};
}

interface Bound {
  readonly clients: ClientServer;
  readonly control: ControlServer | undefined;
}

/** Both sockets or none. One that inherits is reachable for its owner before it is for clients: that may still fail. */
async function bind(specialist: Specialist, options: WorkerOptions, orders: Orders): Promise<Bound> {
  const {config, port, controlPath, inherit} = options;
  const listening = (): Promise<ClientServer> =>
    inherit ? listenInherited(specialist, inherit) : listen(specialist, config.host, port);
  const controlling = controlPath === undefined ? undefined : listenControl(specialist, controlPath, orders);
  if (inherit) await controlling;
  const [clients, control] = await Promise.allSettled([listening(), controlling]);
  if (clients.status === 'fulfilled' && control.status === 'fulfilled') {
    return {clients: clients.value, control: control.value};
  }
  if (clients.status === 'fulfilled') await clients.value.close();
  if (control.status === 'fulfilled') await control.value?.close();
  throw clients.status === 'rejected' ? clients.reason : (control as PromiseRejectedResult).reason;
}

function whyNot({port, retired, replacing, draining}: Specialist): string | undefined {
  if (port === 0) return 'it does not listen yet';
  if (retired) return 'a successor listens in its place already';
  if (replacing) return 'it is being replaced already';
  return draining ? 'it is draining' : undefined;
}
