/** What a worker is told: at launch on its standard input, later by `configure` on its control socket. */
import type {ChatParameters, Expertise, Json, ModelCheck, ModelChoice, ResolvedProvider, Usage} from '../api/types.js';

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
  readonly concurrency: {readonly max: number; readonly queue: number};
  readonly sessions: {readonly maxTurns: number; readonly idleMinutes: number};
  /** Required of every connection when set. */
  readonly authToken?: string;
  /** How long chats under way may go on after `drain` or SIGTERM. */
  readonly graceMs: number;
}

/** Standard input of a launched worker: one JSON document, then EOF. */
export interface LaunchMessage {
  readonly uid: string;
  readonly port: number;
  /** Path to bind the control socket at; already checked for length. */
  readonly controlPath: string;
  readonly config: WorkerConfig;
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
  /** From now on this connection also gets `ControlNotice` lines. */
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
  readonly draining: boolean;
  readonly usage: Usage;
}

export type ControlReply =
  | {readonly id: number; readonly ok: true; readonly hello?: Hello}
  | {readonly id: number; readonly ok: false; readonly error: string};

export type ControlNotice =
  /** A chat failed at the provider, or works again: the owner should check the model now. */
  {readonly type: 'model-suspect'; readonly code: string} | {readonly type: 'usage'; readonly usage: Usage};
