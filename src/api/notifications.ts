/** Who is told of events, as a fleet declares it. Types only. */
import type {FleetEvent, Origin, SecretRef} from './types.js';

/** Of which events. All that is said has to hold. */
export interface NotificationFilter {
  /** Reasons; `*` stands for any letters. Absent: every reason. */
  readonly reasons?: readonly string[];
  readonly types: readonly FleetEvent['type'][];
  /** Names of specialists, with `*`. Absent: events of the fleet as a whole as well. */
  readonly specialists?: readonly string[];
}

/** A text, or a reference to a secret. */
export type TextOrSecret = string | SecretRef;

export interface WebhookDestination {
  readonly type: 'webhook';
  readonly url: TextOrSecret;
  readonly method: 'POST' | 'PUT' | 'PATCH';
  readonly headers: Readonly<Record<string, TextOrSecret>>;
  /** Mustache. Absent: the event as JSON. */
  readonly template?: string;
  /** Key of the HMAC in the header X-Tekton-Signature-256. */
  readonly secret?: SecretRef;
  /** Of one try. */
  readonly timeoutSeconds: number;
  /** Tries after the first. */
  readonly retries: number;
}

export interface CommandDestination {
  readonly type: 'command';
  /** The program's absolute path, then its arguments, which are Mustache. */
  readonly argv: readonly string[];
  readonly timeoutSeconds: number;
  readonly env: Readonly<Record<string, TextOrSecret>>;
}

export interface FileDestination {
  readonly type: 'file';
  /** Absolute. */
  readonly path: string;
  /** Mustache. Absent: the event as JSON. */
  readonly template?: string;
}

/** The commit's status at the forge that the fleet's repository is at. Which events make which: commit-status.ts. */
export interface CommitStatusDestination {
  readonly type: 'commitStatus';
  readonly provider: 'github' | 'gitlab' | 'gitea';
  /** `owner/name`, of GitLab with all groups. Absent: as the git source's URL says. */
  readonly repository?: string;
  /** Absent: as follows from the git source's URL. */
  readonly apiUrl?: string;
  readonly token: SecretRef;
  /** What tells statuses of one commit apart. Absent: `tekton-ai/<fleet>`. */
  readonly context?: string;
  /** Where the status leads whoever clicks on it. */
  readonly targetUrl?: string;
}

export type Destination = WebhookDestination | CommandDestination | FileDestination | CommitStatusDestination;

/** One entry of a fleet's `notifications`, after defaults. */
export interface NotificationSpec {
  readonly name: string;
  readonly on: NotificationFilter;
  /** Of one reason and specialist one message at most in this time; the others are counted. */
  readonly minIntervalSeconds: number;
  readonly to: Destination;
  /** Where it is declared. */
  readonly origin: Origin;
}
