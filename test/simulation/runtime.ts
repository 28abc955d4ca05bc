/**
 * Where simulated workers run. Mirrors src/runtime/process step by step, each step an effect of its own, so that the
 * controller can die, and others can act, between any two of them. Every function names the one that it follows.
 */
import {TektonError} from '../../src/api/errors.js';
import {formatVersion} from '../../src/api/types.js';
import type {LastExit, ModelCheck, ProcessIdentity} from '../../src/api/types.js';
import type {ControlNotice, Hello, ProcessExit, WorkerConfig} from '../../src/protocol/control.js';
import {later, runningOf, toldOf, whatWasDone} from '../../src/protocol/running.js';
import type {Told} from '../../src/protocol/running.js';
import {toldBy} from '../../src/registry/launch-records.js';
import type {LaunchRecord} from '../../src/registry/launch-records.js';
import type {Remember} from '../../src/runtime/process/launch.js';
import type {Discovery, LaunchOutcome, LaunchRequest, Remains, Runtime, Worker} from '../../src/runtime/runtime.js';
import type {Life} from './scheduler.js';
import {WorkerProcess} from './worker-process.js';
import type {LaunchOrder, ReplaceReply, Report, Control} from './worker-process.js';
import type {World} from './world.js';

const controlTimeoutMs = 5000;
const terminateMs = 2000;
const lateMs = 500;
const unreachableMs = 5000;
const handoverMs = 10_000;
const lookMs = 3_000;
const helloTimeoutMs = 1000;
const strayTimeoutMs = 3000;
const firstMs = 0.02;

type HelloAnswer =
  | {readonly type: 'answers'; readonly control: Control; readonly hello: Hello}
  | {readonly type: 'other'; readonly hello: Hello}
  | {readonly type: 'silent' | 'unreachable'};

interface Sighting {
  readonly process: WorkerProcess;
  readonly identity: ProcessIdentity;
  readonly record: LaunchRecord | undefined;
  readonly answer: HelloAnswer;
  readonly ports: readonly number[];
}

export class SimulatedRuntime implements Runtime {
  readonly #world: World;
  readonly #life: Life;
  /** As `changing` of registry/launch-records.ts. */
  readonly #changing = new Map<string, Promise<void>>();

  constructor(world: World, life: Life) {
    this.#world = world;
    this.#life = life;
  }

  /** As discoverWorkers of discover.ts and look of sightings.ts. */
  async discover(): Promise<Discovery> {
    const {scheduler} = this.#world;
    const deadline = scheduler.now + handoverMs;
    for (;;) {
      const {living, gone} = await this.#lookOnce();
      const underWay = living.some(({answer}) => answer.type === 'answers' && answer.hello.replacing === true);
      if (!underWay || scheduler.now > deadline) return this.#choose(living, gone);
      for (const {answer} of living) if (answer.type === 'answers') this.#hangUp(answer.control);
      await scheduler.sleep(this.#life, 100);
    }
  }

  /** As launchWorker of launch.ts. */
  async launch(request: LaunchRequest): Promise<LaunchOutcome> {
    const {uid, port, config, startupMs} = request;
    const world = this.#world;
    const life = this.#life;
    const {scheduler, machine} = world;
    const what = `launch ${config.aiId} (${uid})`;
    this.#world.launching.add(uid);
    try {
      const controlPath = await this.#freeSocketPath(request);
      const intent = this.#intentOf(request, controlPath);
      await this.#writeLaunch(intent);
      const child = await scheduler.effect(life, `${what}: spawns`, () => {
        if (machine.spawnFails) return undefined;
        const order: LaunchOrder = {uid, port, controlPath, config, startupMs};
        const made = machine.enter(identity => new WorkerProcess(order, identity, life, world));
        made.start();
        return made;
      });
      if (!child) return failed(config, port, 'spawn EAGAIN', undefined);
      const reported = this.#reportOf(child);
      const exit = this.#childExit(child);
      const identity = await scheduler.effect(life, `${what}: identifies`, () => machine.identify(child.identity.pid));
      const report = await this.#firstOf(reported, exit, startupMs);
      if (report === undefined || report.type === 'failed' || !identity) {
        const ended = await this.#within(exit, lateMs);
        if (!ended && identity) await this.#signal(identity, 'SIGKILL', what);
        const last = ended ?? (await this.#within(exit, lateMs));
        if (report?.type === 'failed' && report.reason === 'PortTaken') {
          return {type: 'failed', reason: 'PortTaken', message: report.message, exit: this.#exitOf(last)};
        }
        const how =
          report?.type === 'failed' ? report.message : `ended with ${last?.signal ?? last?.code ?? 'nothing'}`;
        return failed(config, port, how, this.#exitOf(last));
      }
      const worker = await this.#takeInHand(intent, identity, child, exit);
      if (worker instanceof SimulatedWorker && (await worker.ping(controlTimeoutMs))) {
        return {type: 'listening', worker};
      }
      if (worker instanceof SimulatedWorker) worker.release();
      await this.#signal(identity, 'SIGKILL', what);
      const problem = 'problem' in worker ? worker.problem : 'it does not answer';
      return failed(config, port, problem, this.#exitOf(await exit));
    } catch (error) {
      return failed(config, port, error instanceof Error ? error.message : String(error), undefined);
    } finally {
      world.launching.delete(uid);
    }
  }

  /** As replaceWorker of replace.ts. */
  async replace(worker: Worker, request: LaunchRequest): Promise<LaunchOutcome> {
    const {uid, config, port, startupMs} = request;
    const {scheduler, machine} = this.#world;
    const life = this.#life;
    const what = `replace ${config.aiId} by ${uid}`;
    if (!(worker instanceof SimulatedWorker)) throw new Error('it is none of the simulation');
    this.#world.launching.add(uid);
    try {
      const controlPath = `own/${uid}`;
      const intent = this.#intentOf(request, controlPath);
      const answer = await this.#askToReplace(worker, {uid, port, controlPath, config, startupMs});
      if (!('pid' in answer)) {
        const {error, exit} = answer;
        const message = `cannot replace ${config.name}: ${error}`;
        return {type: 'failed', reason: 'LaunchFailed', message, ...(exit && {exit: this.#exitOf(exit)})};
      }
      const identity = await scheduler.effect(life, `${what}: identifies`, () => machine.identify(answer.pid));
      const process = this.#world.machine.byUid.get(uid);
      const taken =
        identity && process
          ? await this.#takeInHand(intent, identity, process, undefined)
          : {problem: 'it ended as soon as it listened'};
      if (taken instanceof SimulatedWorker) return {type: 'listening', worker: taken};
      if (identity) await this.#signal(identity, 'SIGKILL', what);
      return {type: 'failed', reason: 'LaunchFailed', message: `cannot replace ${config.name}: ${taken.problem}`};
    } catch (error) {
      const message = `cannot replace ${config.name}: ${error instanceof Error ? error.message : String(error)}`;
      return {type: 'failed', reason: 'LaunchFailed', message};
    } finally {
      this.#world.launching.delete(uid);
    }
  }

  /** As ProcessRuntime.forget. */
  async forget(aiId: string): Promise<void> {
    const {scheduler, files, machine} = this.#world;
    const record = await scheduler.effect(this.#life, `forget ${aiId}: reads`, () => files.readLaunches().get(aiId));
    if (record?.identity && machine.isSame(record.identity)) return;
    await this.#inTurn(aiId, () => scheduler.effect(this.#life, `forget ${aiId}`, () => files.removeLaunch(aiId)));
  }

  #writeLaunch(record: LaunchRecord): Promise<void> {
    const {scheduler, files} = this.#world;
    const {aiId, uid, state} = record;
    const write = (): void => files.writeLaunch(record);
    return this.#inTurn(aiId, () =>
      scheduler.effect(this.#life, `writes the launch record of ${aiId} (${uid}, ${state})`, write),
    );
  }

  /** As inTurn of registry/launch-records.ts. */
  #inTurn(aiId: string, change: () => Promise<void>): Promise<void> {
    const before = this.#changing.get(aiId);
    const mine = before ? before.then(change, change) : change();
    this.#changing.set(aiId, mine);
    return mine;
  }

  /** As lookOnce of sightings.ts. */
  async #lookOnce(): Promise<{living: readonly Sighting[]; gone: readonly LaunchRecord[]}> {
    const {scheduler, files, machine} = this.#world;
    const records = await scheduler.effect(this.#life, 'discover: reads launch records', () => [
      ...files.readLaunches().values(),
    ]);
    const found = await scheduler.effect(this.#life, 'discover: scans processes', () => [...machine.workers]);
    const byUid = new Map(found.map(process => [process.uid, process]));
    const gone: LaunchRecord[] = [];
    const recorded = records.map(async record => {
      const identity = record.identity ?? byUid.get(record.uid)?.identity;
      const process = machine.byUid.get(record.uid);
      if (!identity || !process || !machine.isSame(identity)) {
        gone.push(record);
        return undefined;
      }
      return this.#sight(process, identity, record);
    });
    const known = new Set(records.map(({uid}) => uid));
    const strays = found
      .filter(({uid}) => !known.has(uid))
      .map(process => this.#sight(process, process.identity, undefined));
    const living = (await Promise.all([...recorded, ...strays])).filter(one => one !== undefined);
    return {living, gone};
  }

  async #sight(process: WorkerProcess, identity: ProcessIdentity, record: LaunchRecord | undefined): Promise<Sighting> {
    const {scheduler, machine} = this.#world;
    const path = record?.controlPath ?? process.controlPath;
    const answer = await this.askHello(path, process.uid, record ? helloTimeoutMs : strayTimeoutMs);
    const said = answer.type === 'answers' && !answer.hello.retired ? [answer.hello.port] : undefined;
    const listening = (): readonly number[] => (machine.listeners.get(process.port) === process ? [process.port] : []);
    const ports = said ?? (await scheduler.effect(this.#life, `asks where ${process.uid} listens`, listening));
    return {process, identity, record, answer, ports};
  }

  /** As discoverWorkers and ranked of discover.ts. */
  async #choose(living: readonly Sighting[], gone: readonly LaunchRecord[]): Promise<Discovery> {
    const isRetired = ({answer}: Sighting): boolean => answer.type === 'answers' && answer.hello.retired === true;
    const chosen: Sighting[] = [];
    const others: Sighting[] = [];
    const groups = new Map<string, Sighting[]>();
    for (const one of living) {
      if (isRetired(one)) continue;
      groups.set(one.process.aiId, [...(groups.get(one.process.aiId) ?? []), one]);
    }
    for (const rivals of groups.values()) {
      const [first, ...rest] = await this.#ranked(rivals);
      if (!first) continue;
      if (first.record || first.answer.type === 'answers' || first.ports.length > 0) chosen.push(first);
      else others.push(first);
      others.push(...rest);
    }
    const running = new Set(chosen.map(({process}) => process.aiId));
    const superfluous = others.map(one => this.#workerOf(one, undefined));
    for (const {process} of others) this.#world.superfluous.add(process.uid);
    return {
      workers: chosen.map(one => this.#take(one)),
      retiring: living.filter(isRetired).map(one => this.#workerOf(one, undefined)),
      remains: gone.filter(({aiId}) => !running.has(aiId)).map(remainsOf),
      ...(superfluous.length > 0 && {superfluous}),
    };
  }

  async #ranked(rivals: readonly Sighting[]): Promise<readonly Sighting[]> {
    if (rivals.length < 2) return rivals;
    const judged = await Promise.all(
      rivals.map(async rival => {
        const answers = rival.answer.type === 'answers';
        const serves = rival.ports.length > 0 && (await this.reach(rival.process, rival.ports[0] ?? 0, helloTimeoutMs));
        const recorded = rival.record !== undefined;
        const worth = (recorded && answers ? 8 : 0) + (serves ? 4 : 0) + (answers ? 2 : 0) + (recorded ? 1 : 0);
        return {rival, worth};
      }),
    );
    return judged
      .sort((a, b) => b.worth - a.worth || a.rival.process.startedAt - b.rival.process.startedAt)
      .map(({rival}) => rival);
  }

  #take(sighting: Sighting): SimulatedWorker {
    const {record, identity, answer} = sighting;
    const hello = helloOf(sighting);
    const known: LaunchRecord = record
      ? {...record, identity, state: 'running'}
      : this.#recordOf(hello, sighting, this.#world.scheduler.iso());
    const guessed = !record && answer.type !== 'answers';
    return this.#workerOf(sighting, guessed ? undefined : this.keepRecord(known, record?.state === 'running'));
  }

  #recordOf(hello: Hello, {identity, process}: Sighting, startedAt: string): LaunchRecord {
    const {aiId, uid, name, component, fleet, namespace, host, port, generation, specHash, declared, running} = hello;
    const {controlPath} = process;
    return {
      ...{formatVersion, aiId, uid, identity, name, component, fleet, namespace, host, port, controlPath},
      ...{generation, specHash, declared, ...(running && {running}), startedAt, state: 'running'},
    };
  }

  #workerOf(sighting: Sighting, remember: Remember | undefined): SimulatedWorker {
    const {process, identity, record, answer} = sighting;
    return new SimulatedWorker(this.#world, this.#life, this, {
      process,
      hello: helloOf(sighting),
      identity,
      told: record ? toldBy(record, helloOf(sighting)) : helloOf(sighting),
      startedAt: record?.startedAt ?? this.#world.scheduler.iso(),
      control: answer.type === 'answers' ? answer.control : undefined,
      controlPath: record?.controlPath ?? process.controlPath,
      remember: remember ?? (async () => undefined),
    });
  }

  /** As askHello of registry/ask-hello.ts. */
  askHello(path: string, uid: string, timeoutMs: number): Promise<HelloAnswer> {
    const {scheduler, machine} = this.#world;
    const life = this.#life;
    return new Promise(resolve => {
      let open = true;
      const settle = (answer: HelloAnswer): void => {
        if (!open) return;
        open = false;
        cancel();
        resolve(answer);
      };
      const cancel = scheduler.after(timeoutMs, life, `hello of ${uid} is late`, () => settle({type: 'silent'}));
      scheduler.after(scheduler.latency(life.random, 'socket'), life, `asks ${path} for its hello`, () => {
        const there = [...machine.workers].find(one => one.controlOpen && one.controlPath === path);
        if (!there) return settle({type: 'unreachable'});
        there.whenResponsive(() => {
          const hello = there.hello();
          scheduler.after(scheduler.latency(life.random, 'socket'), life, `hello of ${there.uid}`, () => {
            if (!open) return;
            if (!there.alive) return settle({type: 'unreachable'});
            if (hello.uid !== uid) return settle({type: 'other', hello});
            settle({type: 'answers', control: there.connect(life), hello});
          });
        });
      });
    });
  }

  /** As ping of registry/ping.ts: whoever listens on the port has to be this very worker. */
  reach(process: WorkerProcess, port: number, timeoutMs: number): Promise<boolean> {
    const {scheduler, machine} = this.#world;
    const life = this.#life;
    return new Promise(resolve => {
      const cancel = scheduler.after(timeoutMs, life, `ping of ${process.uid} is late`, () => resolve(false));
      const settle = (answer: boolean): void => {
        cancel();
        resolve(answer);
      };
      scheduler.after(scheduler.latency(life.random, 'socket'), life, `pings ${process.uid}`, () => {
        const holder = machine.holderOf(port);
        if (holder === undefined || typeof holder === 'string') return settle(false);
        const back = scheduler.latency(life.random, 'socket');
        holder.whenResponsive(
          () => void scheduler.after(back, life, `pong of ${holder.uid}`, () => settle(holder === process)),
        );
      });
    });
  }

  /** As keepRecord of launch.ts. */
  keepRecord(record: LaunchRecord, isWritten: boolean): Remember {
    const write = (now: LaunchRecord): Promise<void> => this.#writeLaunch(now).catch(() => undefined);
    let last = isWritten ? Promise.resolve() : write(record);
    const {before: _before, ...rest} = record;
    return ({generation, specHash, declared, running}, before) => {
      const told = {generation, specHash, declared, ...(running && {running})};
      last = last.then(() => write({...rest, ...told, ...(before && {before})}));
      return last;
    };
  }

  /** As freeSocketPath of launch.ts. */
  async #freeSocketPath({uid, config}: LaunchRequest): Promise<string> {
    const usual = `run/${config.aiId}`;
    const isThere = (): boolean =>
      [...this.#world.machine.workers].some(one => one.controlOpen && one.controlPath === usual);
    if (!(await this.#world.scheduler.effect(this.#life, `looks for ${usual}`, isThere))) return usual;
    const answer = await this.askHello(usual, uid, controlTimeoutMs);
    return answer.type === 'other' && answer.hello.retired === true ? `own/${uid}` : usual;
  }

  #intentOf({uid, port, config}: LaunchRequest, controlPath: string): LaunchRecord {
    const {aiId, name, namespace, fleet, component, host, generation, specHash, declared} = config;
    return {
      ...{formatVersion, aiId, name, namespace, fleet, component, uid, host, port, controlPath},
      ...{generation, specHash, declared, running: runningOf(config)},
      ...{startedAt: this.#world.scheduler.iso(), state: 'intent'},
    };
  }

  /** As takeInHand of launch.ts. */
  async #takeInHand(
    intent: LaunchRecord,
    identity: ProcessIdentity,
    process: WorkerProcess,
    childExit: Promise<ProcessExit> | undefined,
  ): Promise<SimulatedWorker | {readonly problem: string}> {
    const answer = await this.askHello(intent.controlPath, intent.uid, controlTimeoutMs);
    if (answer.type !== 'answers') return {problem: `its control socket is ${answer.type}`};
    return new SimulatedWorker(this.#world, this.#life, this, {
      process,
      identity,
      hello: answer.hello,
      told: intent,
      startedAt: intent.startedAt,
      control: answer.control,
      controlPath: intent.controlPath,
      remember: this.keepRecord({...intent, identity, state: 'running'}, false),
      ...(childExit && {childExit}),
    });
  }

  /** As ask and find of replace.ts. */
  async #askToReplace(
    worker: SimulatedWorker,
    order: LaunchOrder,
  ): Promise<{readonly pid: number} | Extract<ReplaceReply, {ok: false}>> {
    const {scheduler} = this.#world;
    try {
      const reply = await worker.replace(order, order.startupMs + handoverMs);
      return reply.ok ? {pid: reply.pid} : reply;
    } catch (error) {
      const deadline = scheduler.now + lookMs;
      for (let missing = 0, looks = 0; missing < 2 && (looks < 3 || scheduler.now < deadline); looks++) {
        const answer = await this.askHello(order.controlPath, order.uid, lookMs);
        if (answer.type === 'answers') {
          this.#hangUp(answer.control);
          if (answer.hello.port !== 0) return {pid: answer.hello.pid};
        }
        const lives = await scheduler.effect(this.#life, `looks for ${order.uid}`, () =>
          [...this.#world.machine.workers].some(({uid}) => uid === order.uid),
        );
        missing = lives ? 0 : missing + 1;
        await scheduler.sleep(this.#life, 50);
      }
      return {ok: false, error: error instanceof Error ? error.message : String(error)};
    }
  }

  #hangUp(control: Control): void {
    control.closed = true;
    control.worker.controls.delete(control);
  }

  #reportOf(child: WorkerProcess): Promise<Report> {
    const {scheduler} = this.#world;
    const life = this.#life;
    return new Promise(resolve => {
      child.onReport(
        report =>
          void scheduler.after(scheduler.latency(life.random, 'quick'), life, `report of ${child.uid}`, () =>
            resolve(report),
          ),
      );
    });
  }

  #childExit(child: WorkerProcess): Promise<ProcessExit> {
    const {scheduler} = this.#world;
    const life = this.#life;
    return new Promise(resolve => {
      const tell = (exit: ProcessExit): void =>
        void scheduler.after(scheduler.latency(life.random, 'quick'), life, `exit of ${child.uid}`, () =>
          resolve(exit),
        );
      if (child.exited) tell(child.exited);
      else child.onExit.push(tell);
    });
  }

  async #firstOf(
    reported: Promise<Report>,
    exit: Promise<ProcessExit>,
    timeoutMs: number,
  ): Promise<Report | undefined> {
    const message = `it did not listen within ${timeoutMs / 1000} s`;
    const late = this.#world.scheduler
      .sleep(this.#life, timeoutMs)
      .then((): Report => ({type: 'failed', reason: 'LaunchFailed', message}));
    return Promise.race([reported, exit.then(() => this.#within(reported, lateMs)), late]);
  }

  async #within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
    return Promise.race([promise, this.#world.scheduler.sleep(this.#life, ms).then(() => undefined)]);
  }

  async #signal(identity: ProcessIdentity, signal: 'SIGTERM' | 'SIGKILL', why: string): Promise<void> {
    const {scheduler, machine} = this.#world;
    await scheduler.effect(
      this.#life,
      `${why}: ${signal} to ${identity.pid}`,
      () => machine.signal(this.#life, identity, signal),
      'quick',
    );
  }

  #exitOf(exit: ProcessExit | undefined): LastExit {
    return {
      at: this.#world.scheduler.iso(),
      ...(exit?.code != null && {code: exit.code}),
      ...(exit?.signal != null && {signal: exit.signal}),
      stderrTail: [],
    };
  }
}

interface Parts {
  readonly process: WorkerProcess;
  readonly identity: ProcessIdentity;
  readonly hello: Hello;
  readonly startedAt: string;
  readonly control: Control | undefined;
  readonly controlPath: string;
  readonly remember: Remember;
  readonly childExit?: Promise<ProcessExit>;
  readonly told: Told;
}

/** As ProcessWorker of worker.ts. */
export class SimulatedWorker implements Worker {
  readonly aiId: string;
  readonly instance: Worker['instance'];
  readonly host: string;
  readonly port: number;
  readonly silent: boolean;
  readonly exited: Promise<LastExit>;
  readonly process: WorkerProcess;
  readonly #world: World;
  readonly #life: Life;
  readonly #runtime: SimulatedRuntime;
  readonly #parts: Parts;
  readonly #listeners: ((notice: ControlNotice) => void)[] = [];
  readonly #pending = new Set<(error: Error) => void>();
  #hello: Hello;
  #told: Told;
  #control: Control | undefined;
  #controlClosed: Promise<void> = Promise.resolve();
  #stopped: Promise<LastExit> | undefined;
  #released = false;
  #suspended = false;
  #aloneSince = 0;

  constructor(world: World, life: Life, runtime: SimulatedRuntime, parts: Parts) {
    this.#world = world;
    this.#life = life;
    this.#runtime = runtime;
    this.#parts = parts;
    this.#hello = parts.hello;
    this.#told = parts.told;
    this.process = parts.process;
    this.aiId = parts.hello.aiId;
    this.instance = {uid: parts.process.uid, identity: parts.identity, startedAt: parts.startedAt};
    this.host = parts.hello.host;
    this.port = parts.hello.port;
    this.silent = !parts.control;
    this.#aloneSince = world.scheduler.now;
    if (parts.control) this.#attach(parts.control);
    this.exited = this.#watchExit();
    world.handles.set(parts.process.uid, [...(world.handles.get(parts.process.uid) ?? []), this]);
  }

  get hello(): Hello {
    return this.#hello;
  }

  get told(): Told {
    return this.#told;
  }

  get unreachable(): boolean {
    return !this.#control && this.#world.scheduler.now - this.#aloneSince > unreachableMs;
  }

  get heldBy(): Life | undefined {
    return this.#released ? undefined : this.#life;
  }

  async configure(config: WorkerConfig): Promise<void> {
    await this.#parts.remember(toldOf(config), this.#told);
    const revision = await this.#request<number>(`configure ${this.aiId}`, controlTimeoutMs, (process, reply) => {
      this.#world.onConfigure(this.#life, process, config);
      process.configure(config);
      reply(process.revision);
    });
    this.#told = toldOf(config);
    this.#hello = later(this.#hello, {...this.#hello, ...this.#told, choice: config.choice, revision});
    await this.#parts.remember(this.#told);
  }

  async replace(order: LaunchOrder, timeoutMs: number): Promise<ReplaceReply> {
    const control = this.#control;
    if (!control) throw new Error(`${this.aiId} does not answer on its control socket`);
    try {
      const reply = await this.#request<ReplaceReply>(`replace ${this.aiId}`, timeoutMs, (process, answer) => {
        this.#world.onReplace(this.#life, process);
        process.replace(order, answer);
      });
      if (reply.ok) this.#hello = {...this.#hello, retired: true};
      return reply;
    } catch (error) {
      this.#hangUp(); // calls it off
      throw error;
    }
  }

  async tellModelStatus(check: ModelCheck): Promise<void> {
    await this.#request<void>(`model-status ${this.aiId}`, controlTimeoutMs, (process, reply) => {
      process.modelStatus = check;
      reply();
    });
  }

  async ping(timeoutMs: number): Promise<boolean> {
    const answers = await this.#runtime.reach(this.process, this.port, timeoutMs);
    this.#world.onPing(this, answers);
    return answers;
  }

  stop(graceMs: number): Promise<LastExit> {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  async kill(): Promise<LastExit> {
    await this.#signal('SIGKILL');
    return this.exited;
  }

  onNotice(listener: (notice: ControlNotice) => void): void {
    this.#listeners.push(listener);
  }

  release(): void {
    this.#released = true;
    this.#hangUp();
  }

  async #stop(graceMs: number): Promise<LastExit> {
    const {scheduler, machine} = this.#world;
    const {process} = this;
    this.#hello = {...this.#hello, draining: true};
    const isSuspended = await scheduler.effect(this.#life, `looks whether ${process.uid} is suspended`, () => {
      return process.alive && process.suspended;
    });
    if (isSuspended) {
      this.#suspended = true;
      return this.kill();
    }
    const deaf = !this.#control;
    const patienceMs = deaf && (await this.ping(lateMs)) ? graceMs + terminateMs : terminateMs;
    const asked = await this.#request<void>(`shutdown ${this.aiId}`, graceMs + controlTimeoutMs, (there, reply) => {
      machine.onBlow({by: this.#life, victim: there, how: 'shutdown'});
      there.ending = true;
      there.drainThen(graceMs, () => {
        reply();
        there.shutDown();
      });
    }).then(
      () => true,
      () => false,
    );
    if (asked && (await this.#goneWithin(lateMs))) return this.exited;
    await this.#signal('SIGTERM');
    if (await this.#goneWithin(patienceMs)) return this.exited;
    await this.#signal('SIGKILL');
    return this.exited;
  }

  async #signal(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const {scheduler, machine} = this.#world;
    const {identity} = this.instance;
    await scheduler.effect(
      this.#life,
      `${signal} to ${this.process.uid} (${this.aiId})`,
      () => machine.signal(this.#life, identity, signal),
      'quick',
    );
  }

  async #goneWithin(ms: number): Promise<boolean> {
    return Promise.race([this.exited.then(() => true), this.#world.scheduler.sleep(this.#life, ms).then(() => false)]);
  }

  #request<T>(
    label: string,
    timeoutMs: number,
    handle: (process: WorkerProcess, reply: (value: T) => void) => void,
  ): Promise<T> {
    const {scheduler} = this.#world;
    const life = this.#life;
    const control = this.#control;
    if (!control) return Promise.reject(new Error(`${this.aiId} does not answer on its control socket`));
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        cancel();
        this.#pending.delete(fail);
        reject(error);
      };
      this.#pending.add(fail);
      const cancel = scheduler.after(timeoutMs, life, `${label} is late`, () =>
        fail(new Error(`no reply to ${label}`)),
      );
      const {process} = this;
      const arrive = (): void => {
        if (control.closed) return;
        handle(process, value => {
          scheduler.after(scheduler.latency(life.random, 'socket'), life, `reply to ${label}`, () => {
            cancel();
            this.#pending.delete(fail);
            resolve(value);
          });
        });
      };
      scheduler.after(scheduler.latency(life.random, 'socket'), life, label, () => {
        process.whenResponsive(arrive);
      });
    });
  }

  #attach(control: Control): void {
    this.#control = control;
    control.onNotice = notice => {
      if (notice.type === 'usage') this.#hello = {...this.#hello, usage: notice.usage};
      if (notice.type === 'changed') this.#hello = later(this.#hello, notice.hello);
      for (const listener of this.#listeners) listener(notice);
    };
    this.#controlClosed = new Promise(resolve => {
      control.onClosed = () => {
        for (const fail of [...this.#pending]) fail(new Error('the control connection is closed'));
        resolve();
      };
    });
    // It may have broken before anybody listened.
    if (control.closed) control.onClosed();
    this.#subscribe(control);
  }

  /** The first request on a connection, so that it and its reply come before all others: sooner than `latency` draws. */
  #subscribe(control: Control): void {
    const {scheduler} = this.#world;
    const {process} = this;
    scheduler.after(firstMs, this.#life, `subscribes to ${process.uid}`, () => {
      process.whenResponsive(() => {
        const hello = process.hello();
        scheduler.after(firstMs, this.#life, `hears what ${process.uid} is now`, () => {
          if (!control.closed) this.#learn(hello);
        });
      });
    });
  }

  /** As learn of worker.ts. */
  #learn(said: Hello): void {
    const before = this.#hello;
    const hello = (this.#hello = later(before, said));
    const by = whatWasDone(before, hello);
    if (by) for (const listener of this.#listeners) listener({type: 'changed', by, hello});
  }

  #hangUp(): void {
    const control = this.#control;
    if (!control || control.closed) return;
    control.closed = true;
    control.worker.controls.delete(control);
    control.onClosed();
    this.#world.scheduler.after(1, undefined, `${this.process.uid} sees its owner leave`, () =>
      this.process.ownerLeft(),
    );
  }

  /** As watchExit of worker.ts. */
  async #watchExit(): Promise<LastExit> {
    const {scheduler} = this.#world;
    const connected = this.#watchForeign();
    const exit = await (this.#parts.childExit ?? connected);
    await Promise.race([this.#controlClosed, scheduler.sleep(this.#life, lateMs)]);
    return {
      at: scheduler.iso(),
      ...(exit?.code != null && {code: exit.code}),
      ...(exit?.signal != null && {signal: exit.signal}),
      ...(this.#suspended && {suspended: true}),
      stderrTail: [],
    };
  }

  /** As watchForeign of worker.ts. */
  async #watchForeign(): Promise<ProcessExit | undefined> {
    const {scheduler, machine} = this.#world;
    for (let wait = 2; ; wait = Math.min(wait * 2, 1000)) {
      if (this.#control) {
        await this.#controlClosed;
        this.#control = undefined;
        this.#aloneSince = scheduler.now;
        wait = 2;
      }
      if (this.#released) return new Promise<undefined>(() => undefined);
      const same = await scheduler.effect(
        this.#life,
        `looks whether ${this.process.uid} lives`,
        () => machine.isSame(this.instance.identity),
        'quick',
      );
      if (!same) return undefined;
      await scheduler.sleep(this.#life, wait);
      if (wait >= 64 && !this.#released) await this.#reconnect();
    }
  }

  async #reconnect(): Promise<void> {
    const answer = await this.#runtime.askHello(this.#parts.controlPath, this.instance.uid, 1000);
    if (answer.type !== 'answers') return;
    if (this.#released) {
      answer.control.closed = true;
      this.process.controls.delete(answer.control);
      return;
    }
    this.#learn(answer.hello);
    this.#attach(answer.control);
  }
}

/** What it says itself, else its record, else what its marks say. */
function helloOf({answer, record, process, ports}: Sighting): Hello {
  if (answer.type === 'answers') return answer.hello;
  const {aiId, uid, identity, config} = process;
  const name = aiId.replace(/-ai$/, '');
  return {
    uid,
    pid: identity.pid,
    aiId,
    name: record?.name ?? name,
    component: record?.component ?? name,
    host: record?.host ?? '127.0.0.1',
    port: record?.port ?? ports[0] ?? 0,
    // The mark in its environment.
    fleet: record?.fleet ?? config.fleet,
    namespace: record?.namespace ?? config.namespace,
    generation: record?.generation ?? 0,
    specHash: record?.specHash ?? '',
    declared: record?.declared ?? {},
    choice: {provider: 'unknown', type: 'offline', model: 'unknown'},
    draining: false,
    usage: {requests: 0, inputTokens: 0, outputTokens: 0},
  };
}

function remainsOf({aiId, name, namespace, fleet, component, port}: LaunchRecord): Remains {
  return {aiId, name, namespace, fleet, component, port, exit: undefined};
}

function failed({name}: WorkerConfig, port: number, cause: string, exit: LastExit | undefined): LaunchOutcome {
  const message = `cannot start ${name} on port ${port}: ${cause}`;
  return {type: 'failed', reason: 'LaunchFailed', message, ...(exit && {exit})};
}

export {TektonError};
