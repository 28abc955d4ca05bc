/** The kernel's part of the world: the process table, who listens where, signals, reboots. */
import type {ProcessIdentity} from '../../src/api/types.js';
import {Random} from './random.js';
import {Life} from './scheduler.js';
import type {Scheduler} from './scheduler.js';
import type {WorkerProcess} from './worker-process.js';

/** A line of the process table. */
export interface Row {
  readonly identity: ProcessIdentity;
  /** Absent: a program that is none of ours. */
  readonly is?: WorkerProcess | Life;
}

/** Why a worker's process was signalled or told to stop, for the invariants to judge. */
export interface Blow {
  readonly by: Life;
  readonly victim: WorkerProcess;
  readonly how: 'shutdown' | 'SIGTERM' | 'SIGKILL';
}

export class Machine {
  bootId = 'boot-1';
  /** A launch fails where the system has no more processes to give. */
  spawnFails = false;
  readonly workers = new Set<WorkerProcess>();
  /** Every worker that there ever was, by uid. */
  readonly byUid = new Map<string, WorkerProcess>();
  readonly actors = new Set<Life>();
  /** Ports that strangers hold. */
  readonly strangers = new Map<number, string>();
  readonly listeners = new Map<number, WorkerProcess>();
  /** Told of everything that is done to a worker. */
  onBlow: (blow: Blow) => void = () => undefined;
  readonly #scheduler: Scheduler;
  readonly #rows = new Map<number, Row>();
  #nextPid = 101;
  #boots = 1;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  startActor(name: string): Life {
    const life = new Life(name, this.#nextPid++, this.#scheduler.seed);
    const identity = this.#identityOf(life.pid);
    this.#rows.set(life.pid, {identity, is: life});
    this.actors.add(life);
    life.onEnd.push(() => {
      this.#rows.delete(life.pid);
      this.actors.delete(life);
    });
    return life;
  }

  identityOf(life: Life): ProcessIdentity {
    return this.#rows.get(life.pid)?.identity ?? {pid: life.pid, startTime: 'gone', bootId: this.bootId};
  }

  /** Enters a new worker into the process table. */
  enter(worker: (identity: ProcessIdentity) => WorkerProcess): WorkerProcess {
    const identity = this.#identityOf(this.#nextPid++);
    const process = worker(identity);
    this.#rows.set(identity.pid, {identity, is: process});
    this.workers.add(process);
    this.byUid.set(process.uid, process);
    return process;
  }

  /** Takes one that has ended out of it. */
  leave(worker: WorkerProcess): void {
    this.#rows.delete(worker.identity.pid);
    this.workers.delete(worker);
    this.close(worker);
  }

  /** As `identify` of registry/processes.ts. */
  identify(pid: number): ProcessIdentity | undefined {
    return this.#rows.get(pid)?.identity;
  }

  /** As `isSame` of registry/processes.ts. */
  isSame({pid, startTime, bootId}: ProcessIdentity): boolean {
    const row = this.#rows.get(pid);
    return row?.identity.startTime === startTime && row.identity.bootId === bootId;
  }

  /** As `signalVerified` of registry/processes.ts: to exactly this process or to nobody. */
  signal(by: Life, identity: ProcessIdentity, signal: 'SIGTERM' | 'SIGKILL'): boolean {
    if (!this.isSame(identity)) return false;
    const victim = this.#rows.get(identity.pid)?.is;
    if (victim === undefined || victim instanceof Life) throw new Error(`${by.name} sent ${signal} to a stranger`);
    this.onBlow({by, victim, how: signal});
    if (signal === 'SIGKILL') victim.exit({code: null, signal});
    else victim.terminate();
    return true;
  }

  /** Who accepts connections on a port: a worker of ours, a stranger's name, or nobody. */
  holderOf(port: number): WorkerProcess | string | undefined {
    return this.listeners.get(port) ?? this.strangers.get(port);
  }

  listen(worker: WorkerProcess, port: number): boolean {
    if (this.holderOf(port) !== undefined) return false;
    this.listeners.set(port, worker);
    return true;
  }

  /** The listening socket of one is the other's from now on. */
  handOver(from: WorkerProcess, to: WorkerProcess): void {
    if (this.listeners.get(from.port) !== from) throw new Error('handed over what it did not have');
    this.listeners.set(from.port, to);
  }

  close(worker: WorkerProcess): void {
    if (this.listeners.get(worker.port) === worker) this.listeners.delete(worker.port);
  }

  /** Somebody else's program gets the pid of one that has ended. */
  reusePid(pid: number): boolean {
    if (this.#rows.has(pid)) return false;
    this.#rows.set(pid, {identity: this.#identityOf(pid)});
    return true;
  }

  /** Everything ends; pids and start times begin anew. */
  reboot(): void {
    for (const life of [...this.actors]) this.#scheduler.end(life);
    for (const worker of [...this.workers]) worker.exit({code: null, signal: 'SIGKILL'});
    this.#rows.clear();
    this.strangers.clear();
    this.bootId = `boot-${++this.#boots}`;
    this.#nextPid = 101;
  }

  randomOf(name: string): Random {
    return Random.of(this.#scheduler.seed, name);
  }

  /** Clock ticks since boot: two processes with one pid never share it. */
  #identityOf(pid: number): ProcessIdentity {
    return {pid, startTime: String(Math.floor(this.#scheduler.now / 10) + pid / 1e6), bootId: this.bootId};
  }
}
