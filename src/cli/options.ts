/** The flags of every verb, after parsing: what `program.ts` hands to the commands. */
import type {ConditionType} from '../api/conditions.js';

export interface GlobalOptions {
  /** `-n`; absent: every namespace, or the one that the file says. */
  readonly namespace?: string;
  /** `--fleet`; absent: every fleet. */
  readonly fleet?: string;
}

export interface FileOptions extends GlobalOptions {
  /** `-f` in order: files, folders, `-`. Empty: tekton-ai.yaml in the current or a parent folder. */
  readonly files: readonly string[];
  /** `--var`, by name. */
  readonly variables?: Readonly<Record<string, string>>;
  /** `--git` and its companions, of the verbs that have them: a git source in place of files, or beside those of `-f`. */
  readonly git?: GitFlags;
}

export interface GitFlags {
  readonly url: string;
  readonly branch?: string;
  readonly path?: string;
  readonly intervalSeconds?: number;
  /** Of the git source; absent: from the address. */
  readonly name?: string;
}

/** What of a convergence is to be kept, before a command says that it is done. */
export interface SteadyFlags {
  /** `--stable-for`; 0: being Ready once is enough. */
  readonly stableForMs: number;
  /** `--fail-after-crashes`, of one specialist. */
  readonly failAfterCrashes?: number;
}

export interface UpOptions extends FileOptions, SteadyFlags {
  readonly timeoutMs: number;
  readonly ignoreWindows: boolean;
  /** `--ttl`; 0: it is not to end by itself. Absent: as before. */
  readonly ttlMs?: number;
  readonly yes: boolean;
  readonly takeOver: boolean;
}

export interface DownOptions extends FileOptions {
  /** Every fleet of the state folder, and the controller whatever it keeps. */
  readonly all: boolean;
  readonly timeoutMs: number;
}

export interface ApplyOptions extends FileOptions, SteadyFlags {
  readonly wait: boolean;
  readonly timeoutMs: number;
  readonly dryRun: boolean;
  readonly ignoreWindows: boolean;
  /** false with `--no-prune` and `--prune=false`. */
  readonly prune: boolean;
  readonly yes: boolean;
  readonly takeOver: boolean;
  readonly detailedExitcode: boolean;
}

export interface RunOptions extends FileOptions {
  readonly ignoreWindows: boolean;
}

/** `-o` of the verbs whose findings tools read. */
export type ReviewFormat = 'text' | 'markdown' | 'github' | 'json' | 'junit' | 'sarif' | 'gitlab';

export interface ValidateOptions extends FileOptions {
  readonly output: ReviewFormat;
}

export interface ConfigViewOptions extends FileOptions {
  /** Whether each value says where it is from. */
  readonly sources: boolean;
  readonly output: 'yaml' | 'json';
}

export type DeleteOptions = GlobalOptions;

export interface PlanVerbOptions extends FileOptions {
  /** `diff` ends with kubectl's exit codes, `plan` with 0 or, where asked for, 2. */
  readonly verb: 'diff' | 'plan';
  readonly detailedExitcode: boolean;
  readonly output: ReviewFormat;
}

export interface AgainstOptions extends PlanVerbOptions {
  /** A path, or a commit of the repository that the files lie in. */
  readonly against: string;
}

export interface DiffOptions extends PlanVerbOptions {
  /** Where the plan is to be saved. */
  readonly out?: string;
}

export type OutputFormat = 'table' | 'wide' | 'json' | 'yaml' | 'name';

export interface GetOptions extends GlobalOptions {
  readonly output: OutputFormat;
  readonly watch: boolean;
  readonly component?: string;
  readonly role?: string;
}

/** What `wait` waits for. */
export type WaitFor =
  | {readonly type: 'condition'; readonly condition: ConditionType; readonly status: 'True' | 'False' | 'Unknown'}
  /** Neither declared nor running any more. */
  | {readonly type: 'delete'};

export interface WaitOptions extends GlobalOptions {
  readonly for: WaitFor;
  readonly timeoutMs: number;
}

export interface RolloutChangeOptions extends GlobalOptions {
  readonly action: 'restart' | 'pause' | 'resume' | 'undo';
  /** Generation to go back to. */
  readonly toRevision?: number;
  readonly wait: boolean;
  readonly timeoutMs: number;
}

/** `--source`: of a git source instead of specialists. */
export interface RolloutSourceOptions extends GlobalOptions {
  readonly action: 'undo' | 'resume';
  readonly source: string;
  /** A commit, or its first digits. */
  readonly toRevision?: string;
}

export interface RolloutStatusOptions extends GlobalOptions {
  readonly timeoutMs: number;
}

export interface RolloutHistoryOptions extends GlobalOptions {
  readonly output: 'table' | 'json';
}

export interface StatusOptions extends GlobalOptions {
  readonly output: 'table' | 'json' | 'yaml';
}
export type DescribeOptions = GlobalOptions;
export type WhyOptions = GlobalOptions;

export interface LogsOptions extends GlobalOptions {
  readonly follow: boolean;
  /** Lines from the end to begin with; absent: all. */
  readonly tail?: number;
}

export interface ChatOptions extends GlobalOptions {
  /** In place of a name. */
  readonly role?: string;
  readonly session?: string;
  readonly stream: boolean;
  readonly output: 'text' | 'json';
}

export interface CanaryOptions extends GlobalOptions {
  readonly output: 'table' | 'json';
}

/** All of them have to hold. */
export type LabelSelector = readonly LabelTerm[];

export type LabelTerm =
  | {readonly type: 'equals' | 'differs'; readonly key: string; readonly value: string}
  | {readonly type: 'has' | 'lacks'; readonly key: string};

export interface UsageOptions extends GlobalOptions {
  /** Days, today included, or the first day. */
  readonly since?: number | string;
  readonly day?: string;
  readonly by: 'specialist' | 'provider' | 'model' | 'day';
  readonly selector: LabelSelector;
  readonly output: OutputFormat;
}

export interface TopOptions extends GlobalOptions {
  readonly output: OutputFormat;
  readonly watch: boolean;
}

export interface SessionsOptions extends GlobalOptions {
  readonly output: OutputFormat;
}

export interface SourcesOptions extends GlobalOptions {
  readonly output: OutputFormat;
}

export interface SourceChangeOptions extends GlobalOptions {
  readonly action: 'suspend' | 'resume' | 'reconcile';
  readonly wait: boolean;
  readonly timeoutMs: number;
}

export interface SessionsDeleteOptions extends GlobalOptions {
  readonly all: boolean;
}

export interface EventsOptions extends GlobalOptions {
  readonly watch: boolean;
  /** The newest so many. */
  readonly limit: number;
}

export type NotifyTestOptions = GlobalOptions;

export interface WorkerOptions {
  readonly component: string;
  readonly port?: number;
  readonly provider?: string;
  readonly model?: string;
  readonly name?: string;
  readonly namespace?: string;
}

export interface VersionOptions {
  readonly output: 'text' | 'json';
}
