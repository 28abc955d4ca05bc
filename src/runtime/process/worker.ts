/** A live worker process in our hands, whether we launched it or found it. */
import {setTimeout as sleep} from 'node:timers/promises';
import type {Instance, LastExit, ModelCheck} from '../../api/types.js';
import type {ControlNotice, Hello, WorkerConfig} from '../../protocol/control.js';
import {ControlConnection} from '../../protocol/control-client.js';
import type {OutgoingControl} from '../../protocol/control-client.js';
import {answersOrAsksForToken, ping} from '../../registry/ping.js';
import {isSame, signalVerified} from '../../registry/processes.js';
import {connectUnix} from '../connect.js';
import type {Worker} from '../runtime.js';
import {tailOf} from './logs.js';

export interface ProcessWorkerOptions {
  readonly instance: Instance;
  readonly hello: Hello;
  readonly host: string;
  readonly controlPath: string;
  readonly log: {readonly path: string; readonly offset: number};
  /** Keeps the launch record true after a reconfigure. */
  readonly remember: (hello: Hello) => Promise<void>;
  /** Absent for one that does not answer on its control socket: probes decide about it. */
  readonly control: ControlConnection | undefined;
  /** Known where we launched it; an adopted worker's comes with the next configuration. */
  readonly authToken?: string;
  /** Of our own child: the only way to know code and signal. */
  readonly childExit?: Promise<{readonly code: number | null; readonly signal: string | null}>;
}

const controlTimeoutMs = 5000;
/** After SIGTERM, until SIGKILL. The worker had its grace before. */
const terminateMs = 2000;
/** Beyond the grace that the worker was told, until it is no longer waited for. */
const lateMs = 500;

export class ProcessWorker implements Worker {
  readonly aiId: string;
  readonly instance: Instance;
  readonly host: string;
  readonly port: number;
  readonly silent: boolean;
  readonly exited: Promise<LastExit>;
  readonly #options: ProcessWorkerOptions;
  readonly #listeners: ((notice: ControlNotice) => void)[] = [];
  #hello: Hello;
  #control: ControlConnection | undefined;
  #stopped: Promise<LastExit> | undefined;
  #authToken: string | undefined;
  #released = false;

  constructor(options: ProcessWorkerOptions) {
    this.#options = options;
    this.#hello = options.hello;
    this.#authToken = options.authToken;
    this.aiId = options.hello.aiId;
    this.instance = options.instance;
    this.host = options.host;
    this.port = options.hello.port;
    this.silent = !options.control;
    if (options.control) this.#attach(options.control);
    this.exited = this.#watchExit();
  }

  get hello(): Hello {
    return this.#hello;
  }

  async configure(config: WorkerConfig): Promise<void> {
    await this.#request({type: 'configure', config});
    const {generation, specHash, declared, choice, authToken} = config;
    this.#authToken = authToken;
    this.#hello = {...this.#hello, generation, specHash, declared, choice};
    await this.#options.remember(this.#hello);
  }

  async tellModelStatus(check: ModelCheck): Promise<void> {
    await this.#request({type: 'model-status', check});
  }

  async ping(timeoutMs: number): Promise<boolean> {
    const {aiId, host, port, instance} = this;
    const authToken = this.#authToken;
    const target = {aiId, host, port, uid: instance.uid};
    // Found, and its token can't be had: that is our want, and no reason to call it hung.
    if (authToken === undefined) return answersOrAsksForToken(target, {timeoutMs});
    return (await ping({...target, authToken}, {timeoutMs})) === undefined;
  }

  stop(graceMs: number): Promise<LastExit> {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  async kill(): Promise<LastExit> {
    await signalVerified(this.instance.identity, 'SIGKILL', {group: true});
    return this.exited;
  }

  onNotice(listener: (notice: ControlNotice) => void): void {
    this.#listeners.push(listener);
  }

  release(): void {
    this.#released = true;
    this.#control?.close();
  }

  async #stop(graceMs: number): Promise<LastExit> {
    const {identity} = this.instance;
    this.#hello = {...this.#hello, draining: true};
    const asked = await this.#request({type: 'shutdown', graceMs}, graceMs + controlTimeoutMs).then(
      () => true,
      () => false,
    );
    if (asked && (await this.#goneWithin(lateMs))) return this.exited;
    await signalVerified(identity, 'SIGTERM');
    if (await this.#goneWithin(terminateMs)) return this.exited;
    await signalVerified(identity, 'SIGKILL', {group: true});
    return this.exited;
  }

  async #goneWithin(ms: number): Promise<boolean> {
    const timer = new AbortController();
    const late = sleep(ms, false, {signal: timer.signal}).catch(() => false);
    const gone = await Promise.race([this.exited.then(() => true), late]);
    timer.abort();
    return gone;
  }

  async #request(message: OutgoingControl, timeoutMs = controlTimeoutMs): Promise<void> {
    if (!this.#control) throw new Error(`${this.aiId} does not answer on its control socket`);
    const reply = await this.#control.request(message, {timeoutMs});
    if (!reply.ok) throw new Error(`${this.aiId} refused to ${message.type}: ${reply.error}`);
  }

  #attach(control: ControlConnection): void {
    this.#control = control;
    control.onNotice(notice => {
      if (notice.type === 'usage') this.#hello = {...this.#hello, usage: notice.usage};
      for (const listener of this.#listeners) listener(notice);
    });
    void control.request({type: 'subscribe'}, {timeoutMs: controlTimeoutMs}).catch(() => undefined);
  }

  async #watchExit(): Promise<LastExit> {
    const {childExit, log} = this.#options;
    const exit = childExit ? await childExit : await this.#watchForeign();
    return {
      at: new Date().toISOString(),
      ...(exit?.code != null && {code: exit.code}),
      ...(exit?.signal != null && {signal: exit.signal}),
      stderrTail: tailOf(log.path, log.offset),
    };
  }

  /**
   * A worker that is not our child tells by its control connection breaking that it ended; the process table has the
   * last word. One that lives on without the connection is connected to again.
   */
  async #watchForeign(): Promise<undefined> {
    for (let wait = 2; ; wait = Math.min(wait * 2, 1000)) {
      if (this.#control) {
        await this.#control.closed;
        this.#control = undefined;
        wait = 2;
      }
      if (this.#released) return new Promise<undefined>(() => undefined);
      if (!(await isSame(this.instance.identity))) return undefined;
      await sleep(wait, undefined, {ref: false});
      if (wait >= 64 && !this.#released) await this.#reconnect();
    }
  }

  async #reconnect(): Promise<void> {
    let control: ControlConnection | undefined;
    try {
      control = new ControlConnection(await connectUnix(this.#options.controlPath, {timeoutMs: 1000}));
      const reply = await control.request({type: 'hello'}, {timeoutMs: 1000});
      if (reply.ok && reply.hello?.uid === this.instance.uid && !this.#released) return this.#attach(control);
    } catch {
      // Not yet; the caller looks again.
    }
    control?.close();
  }
}
