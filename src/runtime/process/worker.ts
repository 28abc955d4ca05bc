/** A live worker process in our hands, whether we launched it or found it. */
import {rmSync} from 'node:fs';
import {setTimeout as sleep} from 'node:timers/promises';
import type {Instance, LastExit, ModelCheck} from '../../api/types.js';
import type {ControlNotice, ControlReply, Hello, SuccessorOrder, WorkerConfig} from '../../protocol/control.js';
import type {ControlConnection} from '../../protocol/control-client.js';
import type {OutgoingControl} from '../../protocol/control-client.js';
import {later, toldOf, whatWasDone} from '../../protocol/running.js';
import type {Told} from '../../protocol/running.js';
import {askHello} from '../../registry/ask-hello.js';
import type {HelloAnswer} from '../../registry/ask-hello.js';
import {answersOrAsksForToken, ping} from '../../registry/ping.js';
import {endOffspring} from '../../registry/offspring.js';
import {isOwnSocket} from '../../registry/paths.js';
import {isSame, isSuspended, signalVerified} from '../../registry/processes.js';
import type {Worker} from '../runtime.js';
import type {Remember} from './launch.js';
import {tailOf} from './logs.js';
import {askToReopen} from './sightings.js';

export interface ProcessWorkerOptions {
  readonly home: string;
  readonly instance: Instance;
  readonly hello: Hello;
  readonly host: string;
  readonly controlPath: string;
  /** Where else it may be, for one whose record is lost. */
  readonly otherPaths?: readonly string[];
  readonly log: {readonly path: string; readonly offset: number};
  readonly told: Told;
  /** Keeps the launch record true after a reconfigure. */
  readonly remember: Remember;
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
/** A control connection that could not be had for so long won't come back. */
const unreachableMs = 5000;
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
  #told: Told;
  #control: ControlConnection | undefined;
  #stopped: Promise<LastExit> | undefined;
  #authToken: string | undefined;
  #released = false;
  /** Monotonic ms of when the control connection was lost, or never had. */
  #aloneSince = performance.now();
  /** It was found suspended when it was to stop. */
  #suspended = false;

  constructor(options: ProcessWorkerOptions) {
    this.#options = options;
    this.#hello = options.hello;
    this.#told = options.told;
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

  get told(): Told {
    return this.#told;
  }

  get unreachable(): boolean {
    return !this.#control && performance.now() - this.#aloneSince > unreachableMs;
  }

  async configure(config: WorkerConfig, declared = config): Promise<void> {
    const told = toldOf(declared);
    // The intent first: else whoever comes after a crash of ours would take what we told it for somebody else's doing.
    await this.#options.remember(told, this.#told);
    const {revision = this.#hello.revision} = await this.#request({type: 'configure', config});
    const {choice, authToken} = config;
    this.#authToken = authToken;
    this.#told = told;
    // Somebody else's may have come right after ours, and have been told of before the reply was looked at.
    this.#hello = later(this.#hello, {
      ...this.#hello,
      ...toldOf(config),
      choice,
      ...(revision !== undefined && {revision}),
    });
    await this.#options.remember(this.#told);
  }

  /**
   * Has it fork its successor, as the control protocol's `replace`.
   *
   * @throws {RequestTimeoutError | ConnectionLostError} what became of it is not known; where nothing had, nothing will
   */
  async replace(order: SuccessorOrder, timeoutMs: number): Promise<ControlReply> {
    const control = this.#control;
    if (!control) throw new Error(`${this.aiId} does not answer on its control socket`);
    try {
      const reply = await control.request({type: 'replace', ...order}, {timeoutMs});
      if (reply.ok) this.#hello = {...this.#hello, retired: true};
      return reply;
    } catch (error) {
      control.close(); // calls it off
      throw error;
    }
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
    this.#stopped ??= this.#stop(graceMs).catch((error: unknown) => {
      this.#stopped = undefined; // it may have failed for a reason that passes: the next one begins anew
      throw error;
    });
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
    // It hears neither an order nor SIGTERM, and drains nothing: waiting would be for nothing.
    if (await isSuspended(identity)) {
      this.#suspended = true;
      return this.kill();
    }
    // Without a control connection SIGTERM is the order; one that answers clients may finish with them all the same.
    const deaf = !this.#control;
    const patienceMs = deaf && (await this.ping(lateMs)) ? graceMs + terminateMs : terminateMs;
    const asked = await this.#request({type: 'shutdown', graceMs}, graceMs + controlTimeoutMs).then(
      () => true,
      () => false,
    );
    if (asked && (await this.#goneWithin(lateMs))) return this.exited;
    await signalVerified(identity, 'SIGTERM');
    if (await this.#goneWithin(patienceMs)) return this.exited;
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

  async #request(message: OutgoingControl, timeoutMs = controlTimeoutMs): Promise<Agreed> {
    if (!this.#control) throw new Error(`${this.aiId} does not answer on its control socket`);
    const reply = await this.#control.request(message, {timeoutMs});
    if (!reply.ok) throw new Error(`${this.aiId} refused to ${message.type}: ${reply.error}`);
    return reply;
  }

  #attach(control: ControlConnection): void {
    this.#control = control;
    control.onNotice(notice => {
      if (notice.type === 'usage') this.#hello = {...this.#hello, usage: notice.usage};
      if (notice.type === 'budget') this.#hello = {...this.#hello, budget: notice.budget};
      if (notice.type === 'changed') this.#hello = later(this.#hello, notice.hello);
      for (const listener of this.#listeners) listener(notice);
    });
    control.request({type: 'subscribe'}, {timeoutMs: controlTimeoutMs}).then(
      reply => {
        // Somebody may have changed it since it said who it is, when nobody would have been told.
        if (reply.ok && reply.hello) this.#learn(reply.hello);
      },
      () => undefined,
    );
  }

  /** What it says of itself now; what somebody did to it meanwhile is told as if it had been told at the time. */
  #learn(said: Hello): void {
    const before = this.#hello;
    const hello = (this.#hello = later(before, said));
    const by = whatWasDone(before, hello);
    if (by) for (const listener of this.#listeners) listener({type: 'changed', by, hello});
  }

  async #watchExit(): Promise<LastExit> {
    const {childExit, log, home, controlPath} = this.#options;
    const connected = this.#watchForeign();
    const exit = await (childExit ?? connected);
    // Its last words are read before its end is told.
    await Promise.race([this.#control?.closed, sleep(lateMs, undefined, {ref: false})]);
    const {uid, identity} = this.instance;
    if (isOwnSocket(home, this.aiId, uid, controlPath)) removeSocket(controlPath);
    await endOffspring({home, uid, pid: identity.pid});
    return {
      at: new Date().toISOString(),
      ...(exit?.code != null && {code: exit.code}),
      ...(exit?.signal != null && {signal: exit.signal}),
      ...(this.#suspended && {suspended: true}),
      stderrTail: tailOf(log.path, log.offset),
    };
  }

  /**
   * A worker that is not our child tells by its control connection breaking that it ended; the process table has the
   * last word. One that lives on without the connection, our child or not, is connected to again.
   */
  async #watchForeign(): Promise<undefined> {
    for (let wait = 2; ; wait = Math.min(wait * 2, 1000)) {
      if (this.#control) {
        await this.#control.closed;
        this.#control = undefined;
        this.#aloneSince = performance.now();
        wait = 2;
      }
      if (this.#released) return new Promise<undefined>(() => undefined);
      // What can't be read now says nothing: it is looked at again.
      if (!(await isSame(this.instance.identity).catch(() => true))) return undefined;
      await sleep(wait, undefined, {ref: false});
      if (wait >= 64 && !this.#released) await this.#reconnect();
    }
  }

  async #reconnect(): Promise<void> {
    const {controlPath, otherPaths = []} = this.#options;
    let answer: HelloAnswer = {type: 'unreachable'};
    for (const path of [controlPath, ...otherPaths]) {
      if (answer.type !== 'answers') answer = await askHello(path, this.instance.uid, 1000);
    }
    // The file was removed under it; at the next look it has opened another.
    if (answer.type === 'unreachable') await askToReopen(this.instance).catch(() => false);
    if (answer.type !== 'answers') return;
    if (this.#released) return answer.control.close();
    this.#learn(answer.hello);
    this.#attach(answer.control);
  }
}

type Agreed = Extract<ControlReply, {ok: true}>;

/** That it stays (a read-only disk, say) harms nobody: its name is that of one launch. */
function removeSocket(path: string): void {
  try {
    rmSync(path, {force: true});
  } catch {
    // Its worker's end is what is to be told.
  }
}
