/**
 * A worker's process as src/worker behaves: it starts, listens, drains, hands its socket to a successor, ends; or crashes,
 * hangs and is suspended. It lives in the world, whoever its controller is.
 */
import type {LastExit, ModelCheck, ProcessIdentity, Usage} from '../../src/api/types.js';
import type {ControlNotice, Hello, ProcessExit, WorkerConfig} from '../../src/protocol/control.js';
import {runningOf} from '../../src/protocol/running.js';
import type {Machine} from './machine.js';
import type {Random} from './random.js';
import type {Life, Scheduler} from './scheduler.js';

export interface LaunchOrder {
  readonly uid: string;
  readonly port: number;
  readonly controlPath: string;
  readonly config: WorkerConfig;
  readonly startupMs: number;
}

export type Report =
  | {readonly type: 'listening'}
  | {readonly type: 'failed'; readonly reason: 'PortTaken' | 'LaunchFailed'; readonly message: string};

export type ReplaceReply =
  {readonly ok: true; readonly pid: number} | {readonly ok: false; readonly error: string; readonly exit?: ProcessExit};

/** What is wrong with a launch. */
export type Defect = 'ends' | 'hangs' | 'slow';

/** What all workers share. */
export interface Surroundings {
  readonly scheduler: Scheduler;
  readonly machine: Machine;
  /** What is wrong with launches of this name now. */
  readonly defectOf: (aiId: string) => Defect | undefined;
}

/** A connection of an owner to a worker's control socket. */
export class Control {
  readonly life: Life;
  readonly worker: WorkerProcess;
  closed = false;
  onClosed: () => void = () => undefined;
  onNotice: (notice: ControlNotice) => void = () => undefined;

  constructor(life: Life, worker: WorkerProcess) {
    this.life = life;
    this.worker = worker;
  }
}

const portTakenCode = 98;
/** As `listenMs` of worker/handover.ts. */
const takeOverMs = 200;
/** As `idleMs` of worker/retire.ts. */
const idleMs = 2_000;

export class WorkerProcess {
  readonly aiId: string;
  readonly uid: string;
  readonly identity: ProcessIdentity;
  readonly controlPath: string;
  readonly startedAt: number;
  /** Absent: forked by its predecessor, and nobody's child that counts. */
  readonly parent: Life | undefined;
  readonly random: Random;
  config: WorkerConfig;
  port: number;
  alive = true;
  /** As under SIGSTOP. */
  suspended = false;
  /** Its event loop is blocked. */
  hung = false;
  listening = false;
  controlOpen = false;
  draining = false;
  /** It was told to end. */
  ending = false;
  /** Configurations taken over. */
  revision = 0;
  /** What an owner had it run with last, and when somebody else changed that; undefined: nobody did since. */
  byHand: {readonly told: WorkerConfig; readonly at: number} | undefined;
  drainedByHand = false;
  retired = false;
  /** It is being replaced by this one. */
  successor: WorkerProcess | undefined;
  /** It was forked by this one. */
  predecessor: WorkerProcess | undefined;
  replacing = false;
  chats = 0;
  usage: Usage = {requests: 0, inputTokens: 0, outputTokens: 0};
  modelStatus: ModelCheck | undefined;
  exited: ProcessExit | undefined;
  endedAt: number | undefined;
  readonly controls = new Set<Control>();
  readonly onExit: ((exit: ProcessExit) => void)[] = [];
  #report: ((report: Report) => void) | undefined;
  #reported: Report | undefined;
  readonly #waiting: (() => void)[] = [];
  readonly #around: Surroundings;
  #closing = false;

  constructor(order: LaunchOrder, identity: ProcessIdentity, parent: Life | undefined, around: Surroundings) {
    const {uid, config, controlPath, port} = order;
    this.aiId = config.aiId;
    this.uid = uid;
    this.identity = identity;
    this.controlPath = controlPath;
    this.config = config;
    this.port = port;
    this.parent = parent;
    this.startedAt = around.scheduler.now;
    this.#around = around;
    this.random = around.machine.randomOf(uid);
  }

  get fleet(): string {
    return `${this.config.namespace}/${this.config.fleet}`;
  }

  get responsive(): boolean {
    return this.alive && !this.suspended && !this.hung;
  }

  get lastExit(): Pick<LastExit, 'code' | 'signal'> {
    const {code = null, signal = null} = this.exited ?? {};
    return {...(code !== null && {code}), ...(signal !== null && {signal})};
  }

  hello(): Hello {
    const {aiId, name, component, host, fleet, namespace, generation, specHash, declared, choice} = this.config;
    const {uid, identity, draining, ending, retired, replacing, usage, revision} = this;
    return {
      ...{uid, pid: identity.pid, port: this.listening || retired ? this.port : 0, aiId, name, component, host},
      ...{fleet, namespace, generation, specHash, declared, choice, draining, retired, usage},
      ...{running: runningOf(this.config), revision, ...(ending && {ending: true})},
      ...(replacing && {replacing: true}),
    };
  }

  configure(config: WorkerConfig): void {
    this.config = config;
    this.revision += 1;
    this.byHand = undefined;
  }

  /** By its control socket, as anybody of its user may; its owners are told. */
  configureByHand(config: WorkerConfig): void {
    this.whenResponsive(() => {
      const told = this.byHand?.told ?? this.config;
      this.configure(config);
      this.byHand = {told, at: this.#around.scheduler.now};
      this.notify({type: 'changed', by: 'configure', hello: this.hello()});
    });
  }

  /** The same, told to drain: it goes on, and takes no new chats. */
  drainByHand(): void {
    this.whenResponsive(() => {
      this.drainedByHand = true;
      this.drainThen(this.config.graceMs, () => undefined);
      this.notify({type: 'changed', by: 'drain', hello: this.hello()});
    });
  }

  /** worker/main.ts: binds both sockets and reports. */
  start(): void {
    const {scheduler, machine, defectOf} = this.#around;
    const defect = defectOf(this.aiId);
    const slow = defect === 'slow' ? this.random.between(2_000, 40_000) : 0;
    const bootMs = this.random.chance(0.05) ? this.random.between(100, 4_000) : this.random.between(30, 120);
    this.#later(bootMs + slow, 'comes up', () => {
      if (defect === 'hangs') return;
      if (defect === 'ends') return this.#fail('LaunchFailed', 'a module is missing', 1);
      if (!machine.listen(this, this.port)) return this.#fail('PortTaken', `port ${this.port} is taken`, portTakenCode);
      if (!this.#openControl()) {
        machine.close(this);
        return this.#fail('LaunchFailed', 'its control socket is in use', 1);
      }
      this.listening = true;
      scheduler.note(`${this.uid} (${this.aiId}) listens on ${this.port}`);
      this.#say({type: 'listening'});
    });
  }

  /** The one line on descriptor 3. */
  onReport(tell: (report: Report) => void): void {
    this.#report = tell;
    if (this.#reported) tell(this.#reported);
  }

  /** Runs when the process can run: at once, or when it goes on after a stop. */
  whenResponsive(run: () => void): void {
    if (this.responsive) run();
    else if (this.alive) this.#waiting.push(run);
  }

  freeze(how: 'suspended' | 'hung'): void {
    this[how] = true;
    this.#around.scheduler.note(`${this.uid} (${this.aiId}) is ${how}`);
  }

  goOn(): void {
    this.suspended = false;
    this.hung = false;
    this.#around.scheduler.note(`${this.uid} (${this.aiId}) goes on`);
    for (const run of this.#waiting.splice(0)) run();
  }

  exit(exit: ProcessExit): void {
    if (!this.alive) return;
    const {scheduler, machine} = this.#around;
    this.alive = false;
    this.listening = false;
    this.controlOpen = false;
    this.exited = exit;
    this.endedAt = scheduler.now;
    machine.leave(this);
    const {predecessor} = this;
    // The socket itself never closes while its predecessor still has its own copy.
    if (predecessor?.alive && predecessor.listening) machine.listen(predecessor, predecessor.port);
    this.#waiting.length = 0;
    scheduler.note(`${this.uid} (${this.aiId}) ended: ${exit.signal ?? exit.code}`);
    // A successor that has no socket yet has nobody left to get it from.
    if (this.successor && !this.successor.listening) this.successor.#orphaned();
    for (const control of [...this.controls]) this.breakControl(control);
    for (const told of this.onExit.splice(0)) told(exit);
  }

  /** SIGTERM, as the worker handles it: drains, then ends. */
  terminate(): void {
    this.whenResponsive(() => {
      const first = !this.ending;
      this.ending = true;
      this.drainThen(this.config.graceMs, () => this.exit({code: 0, signal: null}));
      if (first) this.notify({type: 'changed', by: 'SIGTERM', hello: this.hello()});
    });
  }

  /** No new chats; calls back when those under way have ended, or the grace has. */
  drainThen(graceMs: number, done: () => void): void {
    this.draining = true;
    if (this.replacing) this.#callOff('it was told to stop');
    const end = this.#around.scheduler.now + graceMs;
    const look = (): void => {
      if (this.chats === 0 || this.#around.scheduler.now >= end) done();
      else this.#later(Math.min(500, graceMs), 'drains', look);
    };
    look();
  }

  /** An order to shut down was answered: it ends now. */
  shutDown(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#later(this.random.between(0, 20), 'shuts down', () => this.exit({code: 0, signal: null}));
  }

  /** worker/handover.ts: forks the successor, gives it the listener, then closes its own copy. */
  replace(order: LaunchOrder, reply: (reply: ReplaceReply) => void): void {
    const refusal = this.#whyNot();
    if (refusal !== undefined) return reply({ok: false, error: refusal});
    const {scheduler, machine, defectOf} = this.#around;
    if (machine.spawnFails) return reply({ok: false, error: 'cannot start its successor: EAGAIN'});
    this.replacing = true;
    const next = machine.enter(identity => new WorkerProcess(order, identity, undefined, this.#around));
    scheduler.note(`${this.uid} (${this.aiId}) forks ${next.uid}`);
    this.successor = next;
    next.predecessor = this;
    next.listening = false;
    let open = true;
    const settle = (said: ReplaceReply): void => {
      if (!open) return;
      open = false;
      cancelLate();
      this.replacing = false;
      reply(said);
    };
    this.#calledOff = (why): void => {
      if (next.listening || !open) return;
      next.exit({code: null, signal: 'SIGKILL'});
      settle({ok: false, error: why});
    };
    next.onExit.push(exit =>
      this.#later(5, 'sees its successor end', () =>
        settle({ok: false, error: `it ended with ${exit.signal ?? exit.code}`, exit}),
      ),
    );
    const cancelLate = this.#later(order.startupMs, 'startup time is over', () => {
      if (!open || next.listening) return;
      next.exit({code: null, signal: 'SIGKILL'});
      settle({ok: false, error: `it did not listen within ${order.startupMs / 1000} s`});
    });
    const defect = defectOf(this.aiId);
    const slow = defect === 'slow' ? next.random.between(2_000, 40_000) : 0;
    next.#later(next.random.between(30, 150) + slow, 'comes up as a successor', () => {
      if (defect === 'hangs') return;
      if (defect === 'ends') return next.exit({code: 1, signal: null});
      if (!next.#openControl()) return next.exit({code: 1, signal: null});
      this.whenResponsive(() => this.#giveListener(next, settle));
    });
  }

  /** Whoever had ordered a replacement left: it is called off, unless the socket has changed hands. */
  ownerLeft(): void {
    if (this.replacing) this.whenResponsive(() => this.#callOff('the order came from somebody who left'));
  }

  connect(life: Life): Control {
    const control = new Control(life, this);
    this.controls.add(control);
    return control;
  }

  breakControl(control: Control): void {
    if (control.closed) return;
    control.closed = true;
    this.controls.delete(control);
    const {scheduler} = this.#around;
    scheduler.after(scheduler.latency(control.life.random, 'socket'), control.life, 'control connection breaks', () =>
      control.onClosed(),
    );
  }

  /** Told to every owner that is connected. */
  notify(notice: ControlNotice): void {
    const {scheduler} = this.#around;
    for (const control of this.controls) {
      scheduler.after(scheduler.latency(control.life.random, 'socket'), control.life, `notice ${notice.type}`, () => {
        if (!control.closed) control.onNotice(notice);
      });
    }
  }

  /** A client's chat, from its begin to its end. */
  chat(ms: number, answered: boolean): void {
    this.chats += 1;
    this.#later(ms, 'a chat ends', () => {
      this.chats -= 1;
      const {requests, inputTokens, outputTokens} = this.usage;
      if (!answered) return this.notify({type: 'model-suspect', code: 'provider_unreachable'});
      this.usage = {requests: requests + 1, inputTokens: inputTokens + 7, outputTokens: outputTokens + 11};
      this.notify({type: 'usage', usage: this.usage});
    });
  }

  #calledOff: ((why: string) => void) | undefined;

  #callOff(why: string): void {
    this.#calledOff?.(why);
  }

  #whyNot(): string | undefined {
    if (!this.listening && !this.retired) return 'it does not listen yet';
    if (this.retired) return 'a successor listens in its place already';
    if (this.replacing) return 'it is being replaced already';
    return this.draining ? 'it is draining' : undefined;
  }

  #giveListener(next: WorkerProcess, settle: (said: ReplaceReply) => void): void {
    if (!next.alive || !this.replacing || !this.listening) return;
    const {scheduler, machine} = this.#around;
    // From here on both have the socket; the kernel gives connections to either.
    machine.handOver(this, next);
    next.listening = true;
    scheduler.note(`${next.uid} (${next.aiId}) listens on ${next.port} beside ${this.uid}`);
    this.#later(this.random.between(1, takeOverMs), 'closes its copy of the socket', () => {
      if (!next.alive) return;
      this.listening = false;
      this.retired = true;
      settle({ok: true, pid: next.identity.pid});
      this.#retire();
    });
  }

  #retire(): void {
    const end = this.#around.scheduler.now + this.config.graceMs;
    const look = (): void => {
      if (this.chats === 0 || this.#around.scheduler.now >= end) this.exit({code: 0, signal: null});
      else this.#later(500, 'waits for its last clients', look);
    };
    this.#later(Math.min(idleMs, this.config.graceMs), 'waits for its last clients', look);
  }

  #orphaned(): void {
    this.#later(20, 'sees its predecessor gone', () => {
      if (!this.listening) this.exit({code: 1, signal: null});
    });
  }

  #openControl(): boolean {
    for (const other of this.#around.machine.workers) {
      if (other !== this && other.controlOpen && other.controlPath === this.controlPath) return false;
    }
    this.controlOpen = true;
    return true;
  }

  #fail(reason: 'PortTaken' | 'LaunchFailed', message: string, code: number): void {
    this.#say({type: 'failed', reason, message});
    this.exit({code, signal: null});
  }

  #say(report: Report): void {
    this.#reported = report;
    this.#report?.(report);
  }

  /** Happens to this process after `ms`, if it lives, when it can run. */
  #later(ms: number, label: string, run: () => void): () => void {
    return this.#around.scheduler.after(ms, undefined, `${this.uid} (${this.aiId}) ${label}`, () => {
      this.whenResponsive(run);
    });
  }
}
