/** The documents that people write, as they stand after the schema has accepted them. */
import type {
  CommandDestination,
  CommitStatusDestination,
  FileDestination,
  NotificationFilter,
  WebhookDestination,
} from './notifications.js';
import type {
  Budget,
  Canary,
  ChatParameters,
  DriftAction,
  DriftPolicies,
  Expertise,
  FallbackChoice,
  OverflowPolicy,
  PortRange,
  Probes,
  ProviderSpec,
  PullPolicy,
  RestartPolicy,
  RollbackPolicy,
  SecretRef,
  SpecialistSpec,
  SyncWindow,
} from './types.js';

/** What may be said about a specialist, in its own entry or in a fleet's defaults. */
export interface SpecialistFields {
  readonly component?: string;
  readonly enabled?: boolean;
  readonly provider?: string;
  readonly model?: string;
  readonly parameters?: ChatParameters;
  readonly expertise?: Partial<Expertise>;
  readonly concurrency?: Partial<SpecialistSpec['concurrency']>;
  readonly sessions?: Partial<SpecialistSpec['sessions']>;
  /** An entry without a model takes its provider's default. */
  readonly fallback?: readonly (Pick<FallbackChoice, 'provider'> & Partial<FallbackChoice>)[];
  readonly pull?: PullPolicy;
  readonly overflow?: OverflowPolicy;
  readonly budget?: Partial<Budget>;
  readonly auth?: {readonly token: SecretRef};
  readonly port?: number;
  readonly host?: string;
  readonly env?: Readonly<Record<string, string | SecretRef>>;
  readonly dependsOn?: readonly string[];
  readonly restartPolicy?: RestartPolicy;
  readonly probes?: Partial<Probes>;
  readonly terminationGracePeriodSeconds?: number;
  readonly canary?: Pick<Canary, 'prompts'> & Partial<Canary>;
}

export interface SpecialistEntry extends SpecialistFields {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Fields for every specialist that `target` means; what it says of one must all hold. */
export interface Patch {
  readonly target: {
    /** `*` stands for any text. */
    readonly name?: string;
    readonly component?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly optional?: boolean;
  };
  /** As `SpecialistEntry` without name and component; null takes a field away. */
  readonly patch: Readonly<Record<string, unknown>>;
}

/** Where a text that may differ from place to place is from. */
export interface VariableFields {
  readonly default?: string | number | boolean;
  /** Environment variable, beside `TEKTON_VAR_<name>`. */
  readonly env?: string;
  /** Relative to the document. */
  readonly file?: string;
  readonly description?: string;
  readonly enum?: readonly (string | number | boolean)[];
}

/** Of one document. Of a fleet over bases they may say less, and `null`, until the layers are made one. */
export interface FleetFields {
  readonly enabled?: boolean;
  readonly bases?: readonly string[];
  readonly patches?: readonly Patch[];
  readonly variables?: Readonly<Record<string, VariableFields>>;
  readonly include?: readonly string[];
  readonly providers?: Readonly<Record<string, ProviderSpec>>;
  readonly defaults?: Omit<SpecialistFields, 'component'>;
  readonly ports?: Partial<PortRange>;
  readonly specialists?: readonly SpecialistEntry[];
  readonly allowMassPrune?: boolean;
  readonly driftPolicy?: DriftAction | Partial<DriftPolicies>;
  /** `name` in the same namespace, or `namespace/name`. */
  readonly dependsOn?: readonly string[];
  readonly syncWindows?: readonly (Omit<SyncWindow, 'timeZone' | 'manual'> &
    Partial<Pick<SyncWindow, 'timeZone' | 'manual'>>)[];
  readonly notifications?: readonly NotificationEntry[];
  readonly rollback?: Partial<RollbackPolicy>;
}

/** Where to, exactly one of the destinations. */
export interface NotificationEntry {
  readonly name: string;
  readonly on?: Partial<NotificationFilter>;
  readonly minIntervalSeconds?: number;
  readonly webhook?: Pick<WebhookDestination, 'url'> & Partial<Omit<WebhookDestination, 'type'>>;
  readonly command?: Pick<CommandDestination, 'argv'> & Partial<Omit<CommandDestination, 'type'>>;
  readonly file?: Omit<FileDestination, 'type'>;
  readonly commitStatus?: Omit<CommitStatusDestination, 'type'>;
}

interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface FleetDocument {
  readonly kind: 'Fleet';
  readonly metadata: Metadata;
  readonly spec: FleetFields;
}

export interface SpecialistDocument {
  readonly kind: 'Specialist';
  readonly metadata: Metadata;
  readonly spec: SpecialistFields;
}

export interface ExpertiseDocument {
  readonly kind: 'Expertise';
  readonly metadata: Metadata;
  /** With `aliasOf` the other fields replace those of the component that it names. */
  readonly spec: Partial<Expertise> & {readonly aliasOf?: string};
}

/** Where an environment comes from; types and defaults of what it means are in git-source.ts. */
export interface GitSourceFields {
  readonly url: string;
  readonly branch?: string;
  readonly tag?: string;
  readonly commit?: string;
  readonly path?: string;
  readonly intervalSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly suspend?: boolean;
  readonly forcePush?: 'accept' | 'refuse';
  readonly verify?: {
    readonly object?: 'commit' | 'tag';
    readonly ssh?: {readonly allowedSigners: string};
    readonly gpg?: {readonly fingerprints: readonly string[]; readonly home?: string};
  };
  readonly webhook?: {readonly host?: string; readonly port: number; readonly secret: SecretRef};
}

export interface GitSourceDocument {
  readonly kind: 'GitSource';
  readonly metadata: Metadata;
  readonly spec: GitSourceFields;
}

export type AnyDocument = GitSourceDocument | FleetDocument | SpecialistDocument | ExpertiseDocument;
