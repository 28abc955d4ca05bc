/**
 * The nouns of tekton-ai: what people declare, what it resolves to, and what the system says back.
 * Types only; every other floor imports from here.
 */
import type {Condition, Reason} from './conditions.js';
import type {NotificationSpec} from './notifications.js';

export const apiVersion = 'tekton.ai/v1alpha1';

/** Version of the records that we write for ourselves. A newer one than this is refused, never rewritten. */
export const formatVersion = 1;

/** First and last port of the platform's range for specialists, inclusive (from the seed). */
export const defaultPorts: PortRange = {from: 45000, to: 50000};

export type Json = string | number | boolean | null | readonly Json[] | {readonly [key: string]: Json};

/** Inclusive at both ends. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** A secret is only ever referred to. `file` is absolute once loaded; its content is trimmed when read. */
export type SecretRef = {readonly env: string} | {readonly file: string};

export type ProviderType = 'auto' | 'ollama' | 'anthropic' | 'openai' | 'offline' | 'scripted';

/** One entry of a fleet's `providers`, after defaults. */
export interface ProviderSpec {
  readonly type: ProviderType;
  readonly baseUrl?: string;
  readonly apiKey?: SecretRef;
  /** Model of a specialist that names this provider and no model. */
  readonly defaultModel?: string;
  /** Ollama's keep_alive, passed through (`5m`, `-1`). */
  readonly keepAlive?: string;
  /** Path of the answers file of a scripted provider, absolute once loaded. */
  readonly script?: string;
  /** Calls under way at once, over all specialists of this state folder that use this provider. */
  readonly maxConcurrency?: number;
  readonly timeouts?: ProviderTimeouts;
  /** By model; `*` is for every other. What is not priced costs nothing. */
  readonly prices?: Readonly<Record<string, Price>>;
}

/** Seconds; what is absent has the default of src/providers/timeouts.ts. */
export interface ProviderTimeouts {
  /** Until the connection is made. */
  readonly connectSeconds?: number;
  /** Until the first piece of the answer: a cold model has to be loaded. */
  readonly firstTokenSeconds?: number;
  /** Between two pieces. */
  readonly idleSeconds?: number;
  /** The whole answer. */
  readonly totalSeconds?: number;
}

/** Money per million tokens, in whatever currency all prices and budgets of a fleet are in. */
export interface Price {
  readonly input: number;
  readonly output: number;
  /** Input tokens that the provider had cached; absent: as `input`. */
  readonly cachedInput?: number;
}

export interface NamedProvider extends ProviderSpec {
  readonly name: string;
  /** Of an undeclared `auto`: what the fleet's own providers say of calls to the ones that it chooses between. */
  readonly choices?: {readonly ollama?: CallSettings; readonly anthropic?: CallSettings};
}

/** What holds for calls to a provider, whoever makes them. */
export type CallSettings = Pick<ProviderSpec, 'baseUrl' | 'maxConcurrency' | 'timeouts' | 'prices'>;

/** A provider with its secrets resolved: lives in memory and on the launch pipe only, never on disk or in argv. */
export interface ResolvedProvider {
  readonly name: string;
  readonly type: Exclude<ProviderType, 'auto'>;
  readonly baseUrl?: string;
  readonly apiKey?: string;
  /** Where `apiKey` came from, as a person would look for it: the variable's name or the file's path. */
  readonly apiKeyFrom?: string;
  /** Set where `apiKey` was declared and couldn't be resolved: what a person must set. */
  readonly missingSecret?: string;
  readonly keepAlive?: string;
  readonly script?: string;
  readonly maxConcurrency?: number;
  readonly timeouts?: ProviderTimeouts;
  readonly prices?: Readonly<Record<string, Price>>;
}

export type ModelReason = Extract<
  Reason,
  | 'ProviderUnreachable'
  | 'ProviderError'
  | 'ModelNotFound'
  | 'Pulling'
  | 'PullFailed'
  | 'Unauthorized'
  | 'SecretMissing'
  | 'QuotaExceeded'
>;

/** How far a model's download is. */
export interface PullStatus {
  readonly model: string;
  /** In the server's own words. */
  readonly step: string;
  /** Of the part that is being fetched; absent while they aren't known. */
  readonly completedBytes?: number;
  readonly totalBytes?: number;
}

/** Whether a model could answer now. */
export type ModelCheck =
  | {
      readonly available: true;
      readonly contextTokens?: number;
      /** Of the model's content (`sha256:…`), where the server tells. */
      readonly digest?: string;
      /** It would answer, and a person should know this: the digest is not the one that was asked for. */
      readonly warning?: string;
      /** The specialist's own model can't, and why: this fallback (`provider:model`) answers in its place. */
      readonly fallback?: {readonly by: string; readonly reason: ModelReason; readonly message: string};
    }
  | {readonly available: false; readonly reason: ModelReason; readonly message: string};

/** Sampling and size limits of an answer. Absent means the provider's own default. */
export interface ChatParameters {
  readonly temperature?: number;
  readonly topP?: number;
  /** Tokens of one answer. */
  readonly maxTokens?: number;
  /** Context window to ask for, in tokens (Ollama's num_ctx). */
  readonly contextTokens?: number;
  readonly stop?: readonly string[];
  readonly seed?: number;
}

/** Who a component's specialist is. */
export interface Expertise {
  readonly title: string;
  readonly expertise: string;
  readonly focus: string;
  readonly roles: readonly string[];
  readonly capabilities: readonly string[];
  readonly personality: string;
  /** Component → what to send there: questions outside of this expertise. */
  readonly refersTo: Readonly<Record<string, string>>;
  /** Replaces the composed prompt. `{{title}}`, `{{component}}`, `{{expertise}}`, … are filled in. */
  readonly systemPrompt?: string;
}

export interface Probes {
  readonly periodSeconds: number;
  readonly timeoutSeconds: number;
  /** Consecutive failures after which a worker counts as hung. */
  readonly failureThreshold: number;
  /** Time from launch until the socket must answer. */
  readonly startupSeconds: number;
}

export type RestartPolicy = 'Always' | 'OnFailure' | 'Never';

/** What becomes of a worker that somebody else than its owner reconfigured or drained. */
export type DriftAction = 'heal' | 'warn' | 'ignore';

/** One word for all of it, or by field. */
export type DriftPolicy = DriftAction | DriftPolicies;

export interface DriftPolicies {
  /** Of every other field, and of one that was told to drain. */
  readonly default: DriftAction;
  /** By path (`model`), or by what lies below one (`parameters.*`): the longest that matches counts. */
  readonly fields: Readonly<Record<string, DriftAction>>;
}

export interface FallbackChoice {
  /** Name of a provider of the fleet. */
  readonly provider: string;
  readonly model: string;
}

/** Whether the reconcile loop fetches a model that Ollama lacks. */
export type PullPolicy = 'Never' | 'IfNotPresent';

/** What becomes of a prompt that doesn't fit into the context window. */
export type OverflowPolicy = 'error' | 'trimOldest';

/** How many chats of a specialist run at once, how many wait, and for how long. */
export interface Concurrency {
  readonly max: number;
  readonly queue: number;
  /** Until its call to the provider begins. Absent in what older versions wrote: 300. */
  readonly queueSeconds?: number;
}

export interface SessionLimits {
  /** Exchanges (a message and its answer) kept per session; the oldest go first. */
  readonly maxTurns: number;
  /** Tokens kept per session, as estimated; absent: not bounded. */
  readonly maxTokens?: number;
  readonly idleMinutes: number;
  /** Whether sessions outlive the worker. */
  readonly persist: boolean;
}

/** Per specialist and day (UTC). */
export interface Budget {
  /** Input and output tokens together. */
  readonly tokensPerDay?: number;
  /** In the currency of the providers' prices. */
  readonly costPerDay?: number;
  /** soft: an event when it is spent; hard: chats are refused until the next day begins. */
  readonly mode: 'soft' | 'hard';
}

/** What a specialist is asked after a change of what answers, and what its answers must be like. */
export interface Canary {
  readonly prompts: readonly CanaryPrompt[];
  /** Share of the prompts that must pass, in (0, 1]. */
  readonly passRate: number;
  /** How often a prompt is asked until it passes. */
  readonly attempts: number;
  /** For one answer, its judge's included. */
  readonly timeoutSeconds: number;
  /** rollback: what failed goes back to what it was before; warn: it stays, and an event says so. */
  readonly onFailure: 'rollback' | 'warn';
}

/** All that is said of the answer must hold; where nothing is, that there is one. */
export interface CanaryPrompt {
  /** Absent: `prompt <number>`. */
  readonly name?: string;
  readonly prompt: string;
  /** In place of the specialist's own system prompt. */
  readonly system?: string;
  /** In any case of letters. */
  readonly contains?: string | readonly string[];
  readonly notContains?: string | readonly string[];
  /** A regular expression of JavaScript, with its flag `u`. */
  readonly matches?: string;
  /** A JSON Schema (draft-07) that the answer, parsed as JSON, must meet. */
  readonly schema?: {readonly [key: string]: Json};
  readonly maxLatencySeconds?: number;
  /** Of the answer. */
  readonly maxTokens?: number;
  readonly judge?: CanaryJudge;
}

/** Another specialist of the fleet that is shown prompt and answer. */
export interface CanaryJudge {
  /** Its name. */
  readonly specialist: string;
  readonly question: string;
  /** How its answer must begin, in any case of letters. */
  readonly expect: string;
}

/** Effective spec of one specialist: environment, own fields, fleet defaults and built-ins merged. */
export interface SpecialistSpec {
  readonly component: string;
  readonly enabled: boolean;
  /** Name of a provider of the fleet. */
  readonly provider: string;
  readonly model: string;
  readonly parameters: ChatParameters;
  readonly expertise: Expertise;
  readonly concurrency: Concurrency;
  readonly sessions: SessionLimits;
  /** Tried in order when the one before can't answer; never after the first piece of an answer. */
  readonly fallback: readonly FallbackChoice[];
  readonly pull: PullPolicy;
  readonly overflow: OverflowPolicy;
  readonly budget?: Budget;
  readonly auth?: {readonly token: SecretRef};
  /** Pinned port. Absent: allocated, and kept across restarts. */
  readonly port?: number;
  readonly host: string;
  readonly env: Readonly<Record<string, string | SecretRef>>;
  /** Names of specialists of the same fleet that are started first. */
  readonly dependsOn: readonly string[];
  readonly restartPolicy: RestartPolicy;
  readonly probes: Probes;
  readonly terminationGracePeriodSeconds: number;
  readonly canary?: Canary;
}

/** Where a field's value comes from, for `diff` and `config view`. */
export type Origin =
  | {readonly type: 'file'; readonly file: string; readonly line?: number}
  /** Written in a fleet that this one lies over, or in a patch. */
  | {readonly type: 'base' | 'patch'; readonly file: string; readonly line?: number}
  | {readonly type: 'env'; readonly variable: string; readonly file?: string}
  | {readonly type: 'fleet-default'; readonly file: string; readonly line?: number}
  | VariableOrigin
  | {readonly type: 'built-in'};

/** A text with variables in it, wherever it is written. */
export interface VariableOrigin {
  readonly type: 'variable';
  /** At least one; `environment` stands for `--var`, too, which goes before it. */
  readonly variables: readonly {readonly name: string; readonly from: 'environment' | 'file' | 'default'}[];
  readonly file: string;
  readonly line?: number;
}

/** One declared specialist, ready to be compared with what runs. Secrets are still references. */
export interface Desired {
  /** Registry key: `<component>-ai`, `<name>-ai`, or `<namespace>.<name>-ai` outside of `default`. */
  readonly aiId: string;
  readonly name: string;
  readonly namespace: string;
  readonly fleet: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: SpecialistSpec;
  readonly provider: NamedProvider;
  /** The providers of `spec.fallback`, in its order. Absent from records of versions that knew no fallback. */
  readonly fallbackProviders?: readonly NamedProvider[];
  /** Counts changes of this specialist's declaration; 0 until a fleet record gives it one. */
  readonly generation: number;
  /**
   * What was declared and what it resolves to, one entry per dotted path (`model`, `parameters.temperature`,
   * `provider.baseUrl`). Values that only a built-in default gives are not in it, so a new default in a new
   * version of tekton-ai changes nothing that runs.
   */
  readonly declared: Readonly<Record<string, Json>>;
  /** Hash of `declared`. */
  readonly specHash: string;
  /** Origin of every path of `declared`. */
  readonly origins: Readonly<Record<string, Origin>>;
}

/** Who may change a fleet: the file set, or the git source, that it was applied from. */
export type Source =
  | {readonly type: 'files'; readonly paths: readonly string[]}
  | {readonly type: 'stdin'}
  /** `source` is `<namespace>/<name>` of a git source; `url` and `path` are for people. */
  | {readonly type: 'git'; readonly source: string; readonly url: string; readonly path: string};

/** When changes of a fleet's source are taken over by themselves. */
export interface SyncWindow {
  /** deny: not while it lasts; allow: only while one of these lasts. */
  readonly kind: 'allow' | 'deny';
  /** When it begins: the five fields of crontab(5). */
  readonly schedule: string;
  /** Elapsed time, whatever clocks are put forward or back meanwhile. */
  readonly durationSeconds: number;
  /** IANA name that `schedule` is meant in. */
  readonly timeZone: string;
  /** false: while it keeps the fleet closed, it keeps a person's apply out, too. */
  readonly manual: boolean;
}

/** Whether a change after which the fleet doesn't become healthy is taken back. */
export interface RollbackPolicy {
  readonly enabled: boolean;
  readonly deadlineSeconds: number;
}

/** One fleet as loaded from its source. */
export interface LoadedFleet {
  readonly name: string;
  readonly namespace: string;
  readonly enabled: boolean;
  readonly ports: PortRange;
  readonly allowMassPrune: boolean;
  /** Absent from records of versions that knew none: heal. */
  readonly driftPolicy?: DriftPolicy;
  /** Absent: nobody is told of anything. */
  readonly notifications?: readonly NotificationSpec[];
  /** Fleets (`<namespace>/<name>`) that have to be as declared, and Ready, before a change of this one is taken over. */
  readonly dependsOn?: readonly string[];
  /** Absent: always open. */
  readonly syncWindows?: readonly SyncWindow[];
  /** Absent: none. */
  readonly rollback?: RollbackPolicy;
  readonly source: Source;
  /** Every file that was read, absolute: what a watcher watches (folders of globs stand beside them in `watch`). */
  readonly files: readonly string[];
  readonly watch: readonly string[];
  /** `.env.tekton` beside the fleet file, if there is one: secrets are looked up there after the environment. */
  readonly envFile?: string;
  readonly specialists: readonly Desired[];
  /** Git commit of the folder that the fleet file is in; absent where that is not known. */
  readonly revision?: string;
  /** Overrides that the applying command read from its environment, by variable; recorded with the fleet. */
  readonly overrides: Readonly<Record<string, string>>;
  /** Remarks that a person should see (TEKTON_REGISTER_AI=false and such). */
  readonly notices: readonly string[];
}

/** `fleets/<namespace>.<fleet>.json`: the desired state as last applied. */
export interface FleetRecord extends LoadedFleet {
  readonly formatVersion: number;
  /** ISO 8601. */
  readonly appliedAt: string;
  readonly version: string;
  /** Last generation per ai id, removed names included, so that a name that returns counts on. */
  readonly generations: Readonly<Record<string, number>>;
  /** Set by `down`, cleared by the next apply: nothing of the fleet runs, nothing is forgotten. */
  readonly stopped: boolean;
  /** ISO 8601: when the controller is to stop it, as `up --ttl` said. */
  readonly expiresAt?: string;
  /** What `rollout` or a failed canary laid over the source, by ai id; an apply keeps what `rollout` did. */
  readonly rollouts?: Readonly<Record<string, Rollout>>;
  /** Of specialists that have one, by ai id. */
  readonly canaries?: Readonly<Record<string, CanaryState>>;
  /** Of a fleet with `rollback`. */
  readonly gate?: GateRecord;
}

/** How a specialist's canary went last. */
export interface CanaryState {
  readonly asked?: {
    /** Hash of what answered. */
    readonly answers: string;
    readonly passed: boolean;
    readonly message: string;
    /** ISO 8601. */
    readonly at: string;
  };
  /** What was good before a change that is not judged, or that failed: to go back to. */
  readonly before?: Desired;
}

/** What is judged of a fleet, and where it goes back to. Times are ISO 8601, for people: nothing is computed from them. */
export interface GateRecord {
  readonly healthy?: HealthySnapshot;
  /** Written with the declaration that it is about, before any worker is touched. */
  readonly judging?: {
    readonly of: 'change' | 'rollback';
    readonly since: string;
    /** Hash of what the source declares. */
    readonly content: string;
    readonly revision?: string;
    /** By ai id, with the reason: who was not Ready before. */
    readonly notReady: Readonly<Record<string, string>>;
    /** The time was up, and there is nothing to go back to. */
    readonly failed?: {readonly message: string; readonly at: string};
  };
  /** Not taken over again until the source declares something else, or a person says so. */
  readonly refused?: {
    readonly content: string;
    readonly revision?: string;
    readonly message: string;
    readonly at: string;
  };
}

/** A fleet's record when all of it was Ready; generations only ever count up, so they are not part of it. */
export interface HealthySnapshot extends Omit<FleetRecord, 'gate' | 'generations' | 'expiresAt'> {
  readonly healthyAt: string;
}

/** A person's word on one specialist that stands over its source's. */
export interface Rollout {
  /** ISO 8601: its worker is to be one that was started since. */
  readonly restartedAt?: string;
  /** What counts in place of the source's declaration until `rollout resume`; of a canary, until the source says otherwise. */
  readonly held?:
    | {readonly by: 'pause' | 'undo'; readonly at: string; readonly desired: Desired}
    /** `refused` is the spec hash of what failed. */
    | {readonly by: 'canary'; readonly at: string; readonly desired: Desired; readonly refused: string};
}

/** One generation of a specialist's declaration, as `rollout history` lists it. */
export interface Revision {
  readonly aiId: string;
  readonly generation: number;
  /** ISO 8601. */
  readonly at: string;
  /** The commit that declared it so, where the fleet is from git and the specialist was not held. */
  readonly revision?: string;
  readonly desired: Desired;
}

/** One field of a specialist that differs. */
export interface FieldChange {
  readonly path: string;
  /** undefined: was not declared. */
  readonly from: Json | undefined;
  readonly to: Json | undefined;
  readonly origin: Origin | undefined;
  /** Somebody changed it by hand, and the fleet's drift policy leaves it so, until a person applies. */
  readonly left?: Exclude<DriftAction, 'heal'>;
}

/** What proves that a process is the one we started: a pid alone is reused. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Start time in the kernel's own unit (clock ticks since boot on Linux, `lstart` on macOS): compared, never computed with. */
  readonly startTime: string;
  readonly bootId: string;
}

/** One launch of a worker. */
export interface Instance {
  /** New for every launch. */
  readonly uid: string;
  readonly identity: ProcessIdentity;
  /** ISO 8601. */
  readonly startedAt: string;
}

export interface LastExit {
  /** ISO 8601. */
  readonly at: string;
  /** Absent where unknown: an adopted worker is not our child. */
  readonly code?: number;
  readonly signal?: string;
  /** It was suspended (SIGSTOP) when it was to stop, and got SIGKILL without grace. */
  readonly suspended?: boolean;
  readonly stderrTail: readonly string[];
}

/** What a specialist did. What is absent of the later fields is none of it, but a cost: nothing was priced. */
export interface Usage {
  /** Chats that were answered to the end. */
  readonly requests: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Part of `inputTokens`. */
  readonly cachedInputTokens?: number;
  /** Chats that ended in an error. */
  readonly errors?: number;
  /** Chats that their client stopped or left. */
  readonly cancelled?: number;
  /** In the currency of the providers' prices. */
  readonly cost?: number;
}

/** How a specialist's budget stands on a day. */
export interface BudgetState {
  /** UTC, as ISO 8601 has it. */
  readonly day: string;
  readonly mode: Budget['mode'];
  readonly exceeded: boolean;
  /** Where it is: what was to be spent. */
  readonly message?: string;
}

/** What answers for a specialist now; `why` says how `auto` came to it. */
export interface ModelChoice {
  /** Name of the provider, or its type where `auto` chose it. */
  readonly provider: string;
  readonly type: ProviderType;
  readonly model: string;
  readonly why?: string;
}

export type Phase =
  | 'Pending'
  | 'Starting'
  | 'Ready'
  | 'NotReady'
  | 'Draining'
  | 'Disabled'
  | 'CrashLoop'
  | 'Stalled'
  | 'Stopped'
  | 'Unknown';

/** Written back by the controller, never into the user's file. */
export interface SpecialistStatus {
  /** Derived from the conditions, for printing. */
  readonly phase: Phase;
  readonly observedGeneration: number;
  readonly specHash: string;
  readonly instance?: Instance;
  readonly host?: string;
  readonly port?: number;
  readonly model?: ModelChoice;
  /** While its model is being fetched. */
  readonly pull?: PullStatus;
  readonly restarts: number;
  readonly lastExit?: LastExit;
  readonly usage: Usage;
  /** As last told; absent where none is declared, or nobody has told yet. */
  readonly budget?: BudgetState;
  readonly conditions: readonly Condition[];
}

export interface NamedStatus {
  readonly aiId: string;
  readonly name: string;
  readonly component: string;
  readonly roles: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly generation: number;
  readonly status: SpecialistStatus;
}

/** How a fleet stands, in numbers: `declared` is all of it, every other number is of those. */
export interface FleetCounts {
  readonly declared: number;
  /** Meant to run. */
  readonly enabled: number;
  readonly live: number;
  readonly ready: number;
  readonly progressing: number;
  readonly stalled: number;
}

/** Something that went wrong in a fleet: its last Warning event. */
export interface FleetError {
  /** ISO 8601. */
  readonly at: string;
  readonly reason: string;
  /** Absent: it was about the fleet as a whole. */
  readonly aiId?: string;
  readonly message: string;
}

/** `status/<namespace>.<fleet>.json`. */
export interface FleetStatus {
  readonly formatVersion: number;
  readonly name: string;
  readonly namespace: string;
  /** Last pass over the whole fleet that found something new, ISO 8601. */
  readonly syncedAt: string;
  /** Git commit that the source's folder was at when it was applied; absent where it is in no repository. */
  readonly revision?: string;
  /** Of a fleet that follows a git source: the last commit at which all of it was Ready as declared. */
  readonly readyRevision?: string;
  readonly counts: FleetCounts;
  /** Stays until the next one, whether or not it is mended by now. */
  readonly lastError?: FleetError;
  /** Why the source can't be read or applied, or isn't yet; the last good spec stays in force. */
  readonly sourceError?: {
    readonly reason:
      | 'SourceInvalid'
      | 'SourceUnavailable'
      | 'MassPruneHeld'
      | 'SyncWindowClosed'
      | 'DependencyNotReady'
      | 'Conflict'
      /** What it declares was rolled back. */
      | 'RolledBack'
      /** The fleet didn't become healthy after a rollback either. */
      | 'RollbackFailed'
      /** The fleet didn't become healthy, and there is nothing to go back to. */
      | 'NotHealthy'
      /** Of its git source. */
      | 'FetchFailed'
      | 'ForcePushed'
      | 'VerificationFailed'
      | 'PolicyViolation';
    readonly message: string;
    readonly at: string;
  };
  readonly specialists: readonly NamedStatus[];
}

/** One line of `events.jsonl`: something that happened. */
export interface FleetEvent {
  /** ISO 8601. */
  readonly at: string;
  readonly type: 'Normal' | 'Warning';
  /** Past tense, CamelCase: Launched, Exited, Adopted, Reconfigured, … */
  readonly reason: string;
  readonly namespace?: string;
  readonly fleet?: string;
  readonly aiId?: string;
  /** `<namespace>/<name>` of the git source that it is about. */
  readonly gitSource?: string;
  /** The commit that it is about, which need not be the one in force. */
  readonly revision?: string;
  readonly message: string;
}
