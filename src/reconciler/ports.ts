/**
 * What the reconciler needs of the world. The real ones are built in `cli/wire.ts`; the simulator and the tests
 * bring their own. Nothing in this folder reaches a clock, file, process or socket in any other way.
 */
import type {
  FleetEvent,
  FleetRecord,
  FleetStatus,
  Json,
  LoadedFleet,
  NamedProvider,
  PortRange,
  ResolvedProvider,
  SecretRef,
} from '../api/types.js';
import type {GitRef, GitSourceRecord, GitSourceStatus, GitVerification} from '../api/git-source.js';
import type {AutoChooser} from '../providers/auto.js';
import type {Provider} from '../providers/provider.js';
import type {Runtime} from '../runtime/runtime.js';
import type {AnswerChecks} from './canary.js';
import type {Asked, CanaryChat} from './canary-run.js';
import type {NextRun} from '../spec/schedule.js';

export interface Clock {
  /** Wall clock as ISO 8601: for people, and for windows, which are declared in it; no delay is measured by it. */
  iso(): string;
  /** ms, never goes back: for every delay and duration. */
  monotonic(): number;
  /** Calls `run` once after `ms`; the result cancels. */
  after(ms: number, run: () => void): () => void;
}

export interface PortRequest {
  readonly aiId: string;
  readonly uid: string;
  /** Taken if free, else another. */
  readonly preferred?: number;
  /** This one or none. */
  readonly pinned?: number;
  /** Found taken just now, whatever the tables say. */
  readonly avoid: readonly number[];
  readonly range: PortRange;
  readonly host: string;
}

/** The preferred port was not to be had. */
export interface MovedFrom {
  readonly port: number;
  /** Who has it, with pid and name where the system tells. */
  readonly holder: string | undefined;
  /** Nobody listens on it: it is the local end of somebody's connection, and free again soon. */
  readonly transient: boolean;
}

export type PortAnswer =
  | {readonly ok: true; readonly port: number; readonly movedFrom?: MovedFrom}
  | {
      readonly ok: false;
      readonly reason: 'PortsExhausted' | 'PortTaken' | 'RegistryUnavailable';
      readonly message: string;
      /** As in `MovedFrom`, of a pinned port. */
      readonly transient?: boolean;
    };

/** A registry entry of a live worker, in the seed's shape. */
export interface RegistryFact {
  readonly aiId: string;
  readonly port: number;
  readonly component: string;
  readonly metadata: Readonly<Record<string, Json>>;
}

export interface Registry {
  /** One port for each request, in order; many requests are one locked pass. Never throws for what a request gets. */
  allocate(requests: readonly PortRequest[]): Promise<readonly PortAnswer[]>;
  /** The living program that is registered under this ai id though no fleet declares it, in words; else undefined. */
  strangerAt(aiId: string): Promise<string | undefined>;
  /**
   * Makes our entries of `fleets` (`<namespace>/<fleet>`) exactly `facts`, in one commit: adds, corrects, removes.
   * Entries of others stay. Writes nothing when nothing differs.
   *
   * @throws {TektonError} when the registry can't be written; nothing was changed then.
   */
  sync(fleets: readonly string[], facts: readonly RegistryFact[]): Promise<void>;
  /** Calls `changed` whenever somebody, we included, may have written the registry; the result ends it. */
  watch(changed: () => void): Promise<() => Promise<void>>;
}

export interface Models {
  /** Looks the secrets up now. Never throws: what is missing is said in `missingSecret`. */
  resolve(provider: NamedProvider, envFile: string | undefined): Promise<ResolvedProvider>;
  /** The client that checks are made with. */
  client(provider: ResolvedProvider): Promise<Provider>;
  /** Decides what `auto` comes to, for one look at it: all specialists of the look share its questions. */
  chooser(provider: NamedProvider, envFile: string | undefined): Promise<AutoChooser>;
}

/** Chats as any client would have them, outside of every session. */
export interface Chats {
  /** @throws the signal's reason alone */
  ask(
    to: {readonly host: string; readonly port: number; readonly token?: string},
    chat: CanaryChat,
    signal: AbortSignal,
  ): Promise<Asked>;
}

export interface Secrets {
  resolve(ref: SecretRef, envFile: string | undefined): Promise<{readonly value: string} | {readonly missing: string}>;
}

export interface Store {
  /** @throws {TektonError} when a record, or their folder, can't be read: then no fleet may be taken for gone. */
  readFleets(): Promise<readonly FleetRecord[]>;
  /** Calls `changed` when a record may have come, gone or changed; the result ends it. */
  watchFleets(changed: () => void): () => void;
  /** Reads, changes and writes one record under its lock. */
  updateFleet(
    key: FleetKey,
    change: (record: FleetRecord | undefined) => FleetRecord | undefined,
  ): Promise<FleetRecord | undefined>;
  readStatus(key: FleetKey): Promise<FleetStatus | undefined>;
  writeStatus(status: FleetStatus): Promise<void>;
  appendEvents(events: readonly FleetEvent[]): Promise<void>;
}

export interface FleetKey {
  readonly namespace: string;
  readonly fleet: string;
}

export interface Sources {
  /** Loads a fleet again from its recorded source. @throws {InvalidInputError | SourceUnavailableError} */
  reload(record: FleetRecord): Promise<LoadedFleet>;
  /** Calls `changed` (debounced) whenever one of the record's files may have changed. */
  watch(record: FleetRecord, changed: () => void): Promise<Watch>;
}

/** A git source is known by namespace and name. */
export interface SourceKey {
  readonly namespace: string;
  readonly name: string;
}

/** A git source's repository: what is at the remote, and what of it lies here. Everything rejects when `signal` aborts. */
export interface GitRepository {
  /** What `ref` means at the remote now. */
  look(ref: GitRef, signal: AbortSignal): Promise<GitTarget>;
  /** Brings a commit here. `forced`: `since` is none of its ancestors. */
  fetch(
    target: GitTarget & {readonly ref: GitRef},
    since: string | undefined,
    signal: AbortSignal,
  ): Promise<GitCommit & {readonly forced: boolean}>;
  /** Rejects where it isn't signed as wanted. */
  verify(
    commit: string,
    name: string | undefined,
    verification: GitVerification,
    signal: AbortSignal,
  ): Promise<{readonly signer: string}>;
  /** Absolute folder with its files. */
  checkout(commit: string, signal: AbortSignal): Promise<string>;
  /** From now on recorded paths lead to this commit's files. */
  switchTo(commit: string): Promise<void>;
  /** Keeps so many checkouts, and the one in force. */
  prune(keep: number): Promise<void>;
}

export interface GitTarget {
  readonly commit: string;
  /** Of the branch or tag. */
  readonly name?: string;
}

export interface GitCommit {
  readonly id: string;
  readonly subject: string;
  readonly author: string;
  /** ISO 8601. */
  readonly committedAt: string;
}

export interface GitSources {
  /** @throws {TektonError} when they can't be read: then none may be taken for gone. */
  read(): Promise<readonly GitSourceRecord[]>;
  /** Calls `changed` when a record may have come, gone or changed; the result ends it. */
  watch(changed: () => void): () => void;
  readStatus(key: SourceKey): Promise<GitSourceStatus | undefined>;
  writeStatus(status: GitSourceStatus): Promise<void>;
  repository(record: GitSourceRecord): Promise<GitRepository>;
  /**
   * What a checkout declares, as far as the local policy allows it.
   *
   * @throws {InvalidInputError | SourceUnavailableError}
   */
  load(record: GitSourceRecord, commit: string, folder: string): Promise<readonly LoadedFleet[]>;
}

export interface Watch {
  update(record: FleetRecord): void;
  close(): Promise<void>;
}

export interface Schedules {
  /** What reads cron schedules; loaded when the first fleet declares one. */
  load(): Promise<NextRun>;
}

export interface Logger {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** Who is told of events. Nothing of it ever throws, or holds the loop up. */
export interface Notifications {
  /** A fleet was taken over: who is told of its events is what its record says. */
  declare(record: FleetRecord): void;
  /** These happened, and were written down. */
  notify(events: readonly FleetEvent[]): void;
  /** `failed` is called with what could not be delivered. */
  connect(failed: (key: FleetKey, message: string) => void): void;
  /** Resolves when everything is delivered or given up, after `ms` at the latest. */
  settle(ms: number): Promise<void>;
}

export interface Ports {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly newUid: () => string;
  readonly runtime: Runtime;
  readonly registry: Registry;
  readonly models: Models;
  readonly chats: Chats;
  readonly checks: AnswerChecks;
  readonly secrets: Secrets;
  readonly store: Store;
  readonly sources: Sources;
  /** Absent: nobody is told of anything. */
  readonly notifications?: Notifications;
  readonly schedules: Schedules;
  readonly log: Logger;
  /** Absent where only recorded fleets count. */
  readonly git?: GitSources;
}
