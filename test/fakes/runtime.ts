/**
 * Workers without processes: as the real runtime by its contract (test/contract/runtime.ts), and as crashing, hung,
 * slow or stubborn as a test wants them.
 */
import type {BudgetState, Instance, LastExit, ModelCheck, Usage} from '../../src/api/types.js';
import type {ControlNotice, Hello, Interference, WorkerConfig} from '../../src/protocol/control.js';
import {runningOf, toldOf} from '../../src/protocol/running.js';
import type {Told} from '../../src/protocol/running.js';
import type {Clock} from '../../src/reconciler/ports.js';
import type {Discovery, LaunchOutcome, LaunchRequest, Remains, Runtime, Worker} from '../../src/runtime/runtime.js';

/** What comes of one launch. */
export type LaunchScript =
  | {readonly type: 'listen'; readonly afterMs?: number}
  /** Ends before it listens. */
  | {readonly type: 'fail'; readonly code?: number; readonly stderr?: readonly string[]}
  /** Never says anything: given up after `startupMs`. */
  | {readonly type: 'hang'};

interface Record {
  readonly request: LaunchRequest;
  readonly process: FakeProcess | undefined;
}

const bootId = 'boot-1';

/** One worker that lives, whoever holds it. */
export class FakeProcess {
  readonly instance: Instance;
  readonly port: number;
  readonly launch: LaunchRequest;
  config: WorkerConfig;
  /** What its owner told it last, as its launch record has it. */
  toldConfig: WorkerConfig;
  usage: Usage = {requests: 0, inputTokens: 0, outputTokens: 0};
  budget: BudgetState | undefined;
  draining = false;
  ending = false;
  /** A successor listens in its place. */
  retired = false;
  /** As one of a version that knows no `replace`. */
  old = false;
  /** As under SIGSTOP: is there, answers nothing. */
  hung = false;
  /** Its control socket is gone for good; it serves. */
  unreachable = false;
  /** Answers pings of others, not this many of the next ones. */
  missPings = 0;
  refuseConfigure: string | undefined;
  /** Chats under way: stopping waits for them as long as its grace is. */
  chats = 0;
  /** All that it was told, in order. */
  readonly configured: WorkerConfig[] = [];
  readonly told: ModelCheck[] = [];
  exit: LastExit | undefined;
  readonly exited: Promise<LastExit>;
  readonly listeners = new Set<(notice: ControlNotice) => void>();
  #end: (exit: LastExit) => void = () => undefined;

  constructor(launch: LaunchRequest, pid: number, startedAt: string) {
    this.launch = launch;
    this.config = launch.config;
    this.toldConfig = launch.config;
    this.port = launch.port;
    this.instance = {uid: launch.uid, identity: {pid, startTime: `t${pid}`, bootId}, startedAt};
    this.exited = new Promise(resolve => (this.#end = resolve));
  }

  get alive(): boolean {
    return this.exit === undefined;
  }

  end(exit: Partial<LastExit> = {}): void {
    if (this.exit) return;
    this.exit = {at: new Date(0).toISOString(), stderrTail: [], ...exit};
    this.#end(this.exit);
  }

  notify(notice: ControlNotice): void {
    if (notice.type === 'usage') this.usage = notice.usage;
    if (notice.type === 'budget') this.budget = notice.budget;
    for (const listener of this.listeners) listener(notice);
  }

  /** Somebody else than its owner configures it, by its control socket. */
  configureByHand(changes: Partial<WorkerConfig>): void {
    this.config = {...this.config, ...changes};
    this.#changed('configure');
  }

  /** The same, but tells it to drain. */
  drainByHand(): void {
    this.draining = true;
    this.#changed('drain');
  }

  /** Somebody sends it SIGTERM: it ends when its chats have. */
  terminateByHand(): void {
    this.draining = true;
    this.ending = true;
    this.#changed('SIGTERM');
    if (this.chats === 0) this.end({code: 0});
  }

  #changed(by: Interference): void {
    this.notify({type: 'changed', by, hello: this.hello()});
  }

  hello(): Hello {
    const {aiId, name, component, host, fleet, namespace, generation, specHash, declared, choice} = this.config;
    const {instance, port, draining, retired, old, usage, budget} = this;
    const who = {uid: instance.uid, pid: instance.identity.pid, port, aiId, name, component, host, fleet, namespace};
    const running = runningOf(this.config);
    const state = {draining, ...(this.ending && {ending: true as const}), ...(!old && {retired})};
    return {...who, generation, specHash, declared, choice, running, ...state, usage, ...(budget && {budget})};
  }
}

export class FakeRuntime implements Runtime {
  /** What happened, in order: `launch athena`, `configure athena`, `stop athena`, `gone athena`, `kill athena`, … */
  readonly log: string[] = [];
  readonly launches: LaunchRequest[] = [];
  readonly processes: FakeProcess[] = [];
  /** Ports that programs of others hold, known to the kernel alone. */
  readonly occupied = new Set<number>();
  /** What the next launches of a name come to; then all listen again. */
  readonly scripts = new Map<string, LaunchScript[]>();
  /** Every launch of a name, once its scripts are used up. */
  readonly always = new Map<string, LaunchScript>();
  /** Makes `discover` throw. */
  unreadable: Error | undefined;
  released = 0;
  readonly #clock: Clock;
  readonly #records = new Map<string, Record>();
  #nextPid = 1001;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The living process of a name, predecessors that are retiring aside. */
  process(name: string): FakeProcess {
    const found = this.#serving.find(p => p.config.name === name);
    if (!found) throw new Error(`no living process of ${name}`);
    return found;
  }

  get running(): readonly string[] {
    return this.#serving.map(p => p.config.name);
  }

  get retiring(): readonly FakeProcess[] {
    return this.processes.filter(p => p.alive && p.retired);
  }

  get #serving(): readonly FakeProcess[] {
    return this.processes.filter(p => p.alive && !p.retired);
  }

  /** As if somebody had removed the launch record. */
  loseRecord(aiId: string): void {
    this.#records.delete(aiId);
  }

  async discover(): Promise<Discovery> {
    if (this.unreadable) throw this.unreadable;
    const inHand = (process: FakeProcess): Worker => new FakeWorker(process, this, this.#clock);
    // Of several under one name the last counts.
    const chosen = new Map(this.#serving.map(process => [process.config.aiId, process]));
    const workers = [...chosen.values()].map(inHand);
    const superfluous = this.#serving.filter(process => chosen.get(process.config.aiId) !== process).map(inHand);
    // A lost record is written anew.
    for (const process of chosen.values()) this.#records.set(process.config.aiId, {request: process.launch, process});
    const dead = [...this.#records.values()].filter(({process}) => !process?.alive);
    const remains = dead.map(({request}) => remainsOf(request));
    return {workers, remains, retiring: this.retiring.map(inHand), ...(superfluous.length > 0 && {superfluous})};
  }

  /** As a bug, or a crash in the middle of a handover, may leave it: a second instance beside the first. */
  duplicate(name: string, port: number): FakeProcess {
    const {launch} = this.process(name);
    const process = new FakeProcess({...launch, uid: `${launch.uid}-2`, port}, this.#nextPid++, this.#clock.iso());
    this.processes.push(process);
    return process;
  }

  async launch(request: LaunchRequest): Promise<LaunchOutcome> {
    const {aiId, name} = request.config;
    this.launches.push(request);
    this.log.push(`launch ${name}`);
    const script = this.scripts.get(name)?.shift() ?? this.always.get(name) ?? {type: 'listen'};
    this.#records.set(aiId, {request, process: undefined});
    if (this.occupied.has(request.port) || this.#serving.some(p => p.port === request.port)) {
      return {type: 'failed', reason: 'PortTaken', message: `cannot listen on port ${request.port}`};
    }
    if (this.#serving.some(p => p.config.aiId === aiId)) {
      return {type: 'failed', reason: 'LaunchFailed', message: `cannot start ${name}: its control socket is in use`};
    }
    switch (script.type) {
      case 'fail': {
        const {code = 1, stderr = []} = script;
        const exit: LastExit = {at: this.#clock.iso(), code, stderrTail: stderr};
        return {type: 'failed', reason: 'LaunchFailed', message: `cannot start ${name}: exit code ${code}`, exit};
      }
      case 'hang':
        await this.#sleep(request.startupMs);
        return {type: 'failed', reason: 'LaunchFailed', message: `cannot start ${name}: it did not listen`};
      case 'listen': {
        const process = new FakeProcess(request, this.#nextPid++, this.#clock.iso());
        this.processes.push(process);
        this.#records.set(aiId, {request, process});
        if (script.afterMs !== undefined) await this.#sleep(script.afterMs);
        return {type: 'listening', worker: new FakeWorker(process, this, this.#clock)};
      }
      default:
        return script satisfies never;
    }
  }

  async replace(worker: Worker, request: LaunchRequest): Promise<LaunchOutcome> {
    const {aiId, name} = request.config;
    const old = this.#serving.find(p => p.instance.uid === worker.instance.uid);
    this.launches.push(request);
    this.log.push(`replace ${name}`);
    const script = this.scripts.get(name)?.shift() ?? this.always.get(name) ?? {type: 'listen'};
    const failed = (why: string, exit?: LastExit): LaunchOutcome => {
      return {type: 'failed', reason: 'LaunchFailed', message: `cannot replace ${name}: ${why}`, ...(exit && {exit})};
    };
    if (!old || old.old) return failed('the control connection is closed');
    if (old.hung) {
      await this.#sleep(request.startupMs);
      return failed(`no reply to replace`);
    }
    switch (script.type) {
      case 'fail': {
        const {code = 1, stderr = []} = script;
        return failed(`it ended with exit code ${code}`, {at: this.#clock.iso(), code, stderrTail: stderr});
      }
      case 'hang':
        await Promise.race([this.#sleep(request.startupMs), old.exited]);
        return failed(old.alive ? 'it did not listen' : 'the control connection is closed');
      case 'listen': {
        if (script.afterMs !== undefined) await Promise.race([this.#sleep(script.afterMs), old.exited]);
        if (!old.alive) return failed('the control connection is closed');
        const process = new FakeProcess(request, this.#nextPid++, this.#clock.iso());
        this.processes.push(process);
        this.#records.set(aiId, {request, process});
        old.retired = true;
        void this.#retire(old);
        return {type: 'listening', worker: new FakeWorker(process, this, this.#clock)};
      }
      default:
        return script satisfies never;
    }
  }

  /** Until its chats have ended, or its grace has. */
  async #retire(process: FakeProcess): Promise<void> {
    const end = this.#clock.monotonic() + process.config.graceMs;
    do await this.#sleep(250);
    while (process.alive && process.chats > 0 && this.#clock.monotonic() < end);
    process.end({code: 0});
  }

  async forget(aiId: string): Promise<void> {
    this.log.push(`forget ${aiId}`);
    if (!this.#records.get(aiId)?.process?.alive) this.#records.delete(aiId);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise(resolve => this.#clock.after(ms, resolve));
  }
}

class FakeWorker implements Worker {
  readonly aiId: string;
  readonly instance: Instance;
  readonly host: string;
  readonly port: number;
  readonly silent: boolean;
  readonly exited: Promise<LastExit>;
  readonly #process: FakeProcess;
  readonly #runtime: FakeRuntime;
  readonly #clock: Clock;
  readonly #listeners: ((notice: ControlNotice) => void)[] = [];

  constructor(process: FakeProcess, runtime: FakeRuntime, clock: Clock) {
    this.#process = process;
    this.#runtime = runtime;
    this.#clock = clock;
    this.aiId = process.config.aiId;
    this.instance = process.instance;
    this.host = process.config.host;
    this.port = process.port;
    this.silent = process.hung;
    this.exited = process.exited;
  }

  get hello(): Hello {
    return this.#process.hello();
  }

  get told(): Told {
    return toldOf(this.#process.toldConfig);
  }

  get unreachable(): boolean {
    return this.#process.unreachable;
  }

  async configure(config: WorkerConfig, declared = config): Promise<void> {
    const {name} = this.#process.config;
    this.#reach('configure');
    if (this.#process.refuseConfigure) throw new Error(`${name} refused: ${this.#process.refuseConfigure}`);
    this.#runtime.log.push(`configure ${name}`);
    this.#process.config = config;
    this.#process.toldConfig = declared;
    this.#process.configured.push(config);
  }

  async tellModelStatus(check: ModelCheck): Promise<void> {
    this.#reach('model-status');
    this.#process.told.push(check);
  }

  async ping(timeoutMs: number): Promise<boolean> {
    const process = this.#process;
    if (!process.alive || process.retired) return false;
    if (process.missPings > 0) process.missPings -= 1;
    else if (!process.hung) return true;
    await new Promise<void>(resolve => this.#clock.after(timeoutMs, resolve));
    return false;
  }

  async stop(graceMs: number): Promise<LastExit> {
    const process = this.#process;
    this.#runtime.log.push(`stop ${process.config.name}`);
    process.draining = true;
    if (process.hung || process.chats > 0) await this.#orGone(graceMs);
    process.end(process.hung ? {signal: 'SIGKILL'} : {code: 0});
    this.#runtime.log.push(`gone ${process.config.name}`);
    return this.exited;
  }

  async kill(): Promise<LastExit> {
    this.#runtime.log.push(`kill ${this.#process.config.name}`);
    this.#process.end({signal: 'SIGKILL'});
    return this.exited;
  }

  onNotice(listener: (notice: ControlNotice) => void): void {
    this.#listeners.push(listener);
    this.#process.listeners.add(listener);
  }

  release(): void {
    this.#runtime.released += 1;
    for (const listener of this.#listeners) this.#process.listeners.delete(listener);
  }

  #reach(what: string): void {
    if (!this.#process.alive || this.#process.hung || this.#process.unreachable) throw new Error(`no reply to ${what}`);
  }

  /** Until the chats under way have ended, or the grace has. */
  async #orGone(graceMs: number): Promise<void> {
    const end = this.#clock.monotonic() + graceMs;
    while (this.#process.alive && (this.#process.hung || this.#process.chats > 0)) {
      if (this.#clock.monotonic() >= end) return;
      await new Promise<void>(resolve => this.#clock.after(Math.min(50, graceMs), resolve));
    }
  }
}

function remainsOf({port, config}: LaunchRequest): Remains {
  const {aiId, name, namespace, fleet, component} = config;
  return {aiId, name, namespace, fleet, component, port, exit: undefined};
}
