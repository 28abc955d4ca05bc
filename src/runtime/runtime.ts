/**
 * Where workers run. The reconciler knows this interface only; `process/` is the one for this machine.
 * One contract suite (test/contract/runtime.ts) runs on every implementation, the fake included.
 */
import type {Instance, LastExit, ModelCheck} from '../api/types.js';
import type {ControlNotice, Hello, WorkerConfig} from '../protocol/control.js';
import type {Told} from '../protocol/running.js';

export interface LaunchRequest {
  readonly uid: string;
  readonly port: number;
  readonly config: WorkerConfig;
  /** Resolved values of the spec's `env`; they reach the worker's environment and nothing else. */
  readonly env: Readonly<Record<string, string>>;
  /** How long until the worker must listen, ms. */
  readonly startupMs: number;
}

export type LaunchOutcome =
  | {readonly type: 'listening'; readonly worker: Worker}
  | {
      readonly type: 'failed';
      readonly reason: 'PortTaken' | 'LaunchFailed';
      readonly message: string;
      readonly exit?: LastExit;
    };

/** A live instance in our hands. */
export interface Worker {
  readonly aiId: string;
  readonly instance: Instance;
  readonly host: string;
  readonly port: number;
  /** As last told by the worker. */
  readonly hello: Hello;
  /** As last told to it, by this owner or one before; where no record tells, what it said of itself when it was found. */
  readonly told: Told;
  /** It was found, and gave no answer when it was taken in hand: whether it lives is for probes to find out. */
  readonly silent?: boolean;
  /** It lives, but its control socket is gone for good: it can be told nothing but to end. */
  readonly unreachable?: boolean;
  /** Resolves once, when the process is gone, however it went; never rejects. */
  readonly exited: Promise<LastExit>;
  /**
   * Takes effect for chats that begin afterwards.
   *
   * @param declared what its owner wants of it, where `config` keeps values that somebody else gave it: those stay drift
   */
  configure(config: WorkerConfig, declared?: WorkerConfig): Promise<void>;
  tellModelStatus(check: ModelCheck): Promise<void>;
  /** Whether the worker's own socket answers a ping with the right ai id and uid within `timeoutMs`. */
  ping(timeoutMs: number): Promise<boolean>;
  /**
   * Stops it: no new chats, those under way get `graceMs`, then SIGTERM, then SIGKILL to its process group, each
   * after the process was proven ours. Resolves when it is gone. Doing it twice is harmless.
   */
  stop(graceMs: number): Promise<LastExit>;
  /** SIGKILL to the group without grace, for a hung worker; the process is proven ours first. */
  kill(): Promise<LastExit>;
  /** Of a change by somebody else each listener is told, also of one that is only noticed later. */
  onNotice(listener: (notice: ControlNotice) => void): void;
  /** Lets go of it without touching the process: it lives on for the next controller. */
  release(): void;
}

/** What is left of a worker that is not running: enough to give it its port back. */
export interface Remains {
  readonly aiId: string;
  readonly name: string;
  readonly namespace: string;
  readonly fleet: string;
  readonly component: string;
  readonly port: number | undefined;
  readonly exit: LastExit | undefined;
}

export interface Discovery {
  /** One for each ai id at most. */
  readonly workers: readonly Worker[];
  readonly remains: readonly Remains[];
  /** They have a successor, serve the connections that they have, and end by themselves. */
  readonly retiring: readonly Worker[];
  /** Ours, but of no use: another instance has their name, or nothing reaches them. The caller stops them. */
  readonly superfluous?: readonly Worker[];
  /** Pids of what workers that are gone had left running: it was killed. */
  readonly ended?: readonly number[];
}

export interface Runtime {
  /**
   * Finds every worker of this state folder, whoever started it, and takes it in hand; starts and stops no worker, but
   * ends what workers that are gone had started. A predecessor that only serves its last connections is left to end by
   * itself.
   *
   * @throws {TektonError} when records can't be read: then nothing may be concluded from what is missing.
   */
  discover(): Promise<Discovery>;
  /** Records the intent, starts the process, and waits until it listens. Does not throw for what the worker does. */
  launch(request: LaunchRequest): Promise<LaunchOutcome>;
  /**
   * Puts a new instance in the place of `worker`, which serves: same name, host and port (those of `request` have to be
   * those of `worker`), and the port is never closed. Resolves when the new one listens and the old one no longer does;
   * the old one's hello is `retired` then, it answers those who are connected, and exits by itself, at the latest after
   * its grace. When it fails, the old one is as it was, unless it has gone for a reason of its own. Does not throw for
   * what the workers do.
   */
  replace(worker: Worker, request: LaunchRequest): Promise<LaunchOutcome>;
  /** Forgets the remains of a worker that was pruned; of one that runs (another fleet's by now) it forgets nothing. */
  forget(aiId: string): Promise<void>;
}
