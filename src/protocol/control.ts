/** What a worker is told: at launch on its standard input, later by `configure` on its control socket. */
import type {
  Budget,
  BudgetState,
  ChatParameters,
  Concurrency,
  Expertise,
  Json,
  ModelCheck,
  ModelChoice,
  OverflowPolicy,
  ResolvedProvider,
  SessionLimits,
  Usage,
} from '../api/types.js';
import type {Running} from './running.js';

/**
 * Holds resolved secrets: passes through pipes and sockets of the owner only, is never written to disk, argv,
 * logs or replies.
 */
export interface WorkerConfig {
  readonly formatVersion: number;
  readonly aiId: string;
  readonly name: string;
  readonly component: string;
  readonly namespace: string;
  readonly fleet: string;
  readonly generation: number;
  readonly specHash: string;
  /** As in Desired: what this configuration was made from; told back to whoever adopts the worker. */
  readonly declared: Readonly<Record<string, Json>>;
  readonly host: string;
  readonly provider: ResolvedProvider;
  readonly model: string;
  readonly choice: ModelChoice;
  readonly parameters: ChatParameters;
  readonly expertise: Expertise;
  readonly concurrency: Concurrency;
  readonly sessions: SessionLimits;
  /** Tried in order after `provider` and `model`. Absent in messages of versions that knew none, as the next two are. */
  readonly fallback?: readonly FallbackTarget[];
  readonly overflow?: OverflowPolicy;
  readonly budget?: Budget;
  /** Required of every connection when set. */
  readonly authToken?: string;
  /** How long chats under way may go on after `drain` or SIGTERM. */
  readonly graceMs: number;
}

/** Another one to ask when the first can't answer. */
export interface FallbackTarget {
  readonly provider: ResolvedProvider;
  readonly model: string;
}

/** Standard input of a launched worker: one JSON document, then EOF. */
export interface LaunchMessage {
  readonly uid: string;
  readonly port: number;
  /** Path to bind the control socket at; already checked for length. */
  readonly controlPath: string;
  /** The state folder: where sessions, usage and the slots of providers are kept. */
  readonly home?: string;
  readonly config: WorkerConfig;
  /** The listening socket comes from the predecessor over the IPC channel: nothing is bound but the control socket. */
  readonly inherits?: true;
}

/**
 * Between a worker and the successor that it forked, over their IPC channel: the successor is up and says so, and gets
 * the listening server with the answer.
 */
export type HandoverMessage = {readonly type: 'ready'} | {readonly type: 'listener'};

/** What a successor is started with; it has nothing of the worker that forks it. */
export interface SuccessorOrder {
  readonly program: string;
  readonly execPath: string;
  readonly cwd: string;
  /** Its whole environment; may hold secrets, as `launch` does. */
  readonly env: Readonly<Record<string, string>>;
  readonly launch: LaunchMessage;
  /** Its output is appended there. */
  readonly logPath: string;
  /** How long until it must be ready to listen, ms. */
  readonly startupMs: number;
}

/**
 * One line of JSON that a launched worker writes to file descriptor 3, which it then closes. Nobody may be
 * reading any more (a controller that died): the worker goes on all the same.
 */
export type LaunchReport =
  | {readonly type: 'listening'; readonly pid: number; readonly port: number}
  | {readonly type: 'failed'; readonly reason: 'PortTaken' | 'LaunchFailed'; readonly message: string};

/** Requests on the control socket, newline JSON; each is answered by one line with the same `id`. */
export type ControlRequest =
  | {readonly id: number; readonly type: 'hello'}
  /** Takes effect for chats that begin after the reply; those under way finish on the old configuration. */
  | {readonly id: number; readonly type: 'configure'; readonly config: WorkerConfig}
  /** What the owner found out about the model: shown by `health` and `info`. */
  | {readonly id: number; readonly type: 'model-status'; readonly check: ModelCheck}
  /** No new chats; the reply comes when the last one under way has ended or `graceMs` is over. */
  | {readonly id: number; readonly type: 'drain'; readonly graceMs: number}
  /** Drains as above, then exits 0. */
  | {readonly id: number; readonly type: 'shutdown'; readonly graceMs: number}
  /**
   * Forks a successor and hands it the listening socket. The reply comes when the successor listens and this worker has
   * closed its own copy; from then on it is retired. After a refusal it serves on as if nothing had been. A requester
   * that leaves before the socket has changed hands calls it off.
   */
  | ({readonly id: number; readonly type: 'replace'} & SuccessorOrder)
  /** From now on this connection also gets `ControlNotice` lines; the reply says with a hello what it was until then. */
  | {readonly id: number; readonly type: 'subscribe'};

export interface Hello {
  readonly uid: string;
  readonly pid: number;
  readonly port: number;
  readonly aiId: string;
  readonly name: string;
  readonly component: string;
  readonly host: string;
  /** Empty for a worker that was started by hand. */
  readonly fleet: string;
  readonly namespace: string;
  readonly generation: number;
  readonly specHash: string;
  readonly declared: Readonly<Record<string, Json>>;
  readonly choice: ModelChoice;
  /** What it runs with, whatever the fields above claim. Absent: a worker of an older version, which doesn't say. */
  readonly running?: Running;
  /** How many configurations it has taken over since its start: of two hellos the one with more is the later. */
  readonly revision?: number;
  readonly draining: boolean;
  /** It was told to end, by a signal or by `shutdown`: it does when it has drained. */
  readonly ending?: true;
  /**
   * Whether a successor listens in its place: it serves the connections that it has, takes no others, and ends by
   * itself. Absent: a worker of an older version, which can't be replaced.
   */
  readonly retired?: boolean;
  /** A handover is under way: which of the two will listen is known in a moment. */
  readonly replacing?: boolean;
  /** Of this process. */
  readonly usage: Usage;
  /** Absent: none is declared. */
  readonly budget?: BudgetState;
}

export type ControlReply =
  | {
      readonly id: number;
      readonly ok: true;
      readonly hello?: Hello;
      readonly successor?: {readonly pid: number};
      /** Of `configure`: as in the hello, right after it. */
      readonly revision?: number;
    }
  | {readonly id: number; readonly ok: false; readonly error: string; readonly exit?: ProcessExit};

/** How a process ended. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** What somebody did to a worker: an order on its control socket, or a signal. */
export type Interference = 'configure' | 'drain' | 'shutdown' | 'SIGTERM' | 'SIGINT';

export type ControlNotice =
  /** A chat failed at the provider, or works again: the owner should check the model now. */
  | {readonly type: 'model-suspect'; readonly code: string}
  | {readonly type: 'usage'; readonly usage: Usage}
  /** The day's budget is spent that was not, or there is room in it again. */
  | {readonly type: 'budget'; readonly budget: BudgetState}
  /** Somebody else than who reads this changed it, or told it to stop; it is now as it says. */
  | {readonly type: 'changed'; readonly by: Interference; readonly hello: Hello};
