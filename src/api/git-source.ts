/** Git sources: what people declare of one, what is recorded of it, and what the system says back. Types only. */
import type {FleetError, SecretRef} from './types.js';

/** Which commit of a repository is followed. */
export type GitRef =
  | {readonly type: 'default'}
  | {readonly type: 'branch'; readonly name: string}
  /** A tag; with `*` the highest of those that match, by version. */
  | {readonly type: 'tag'; readonly pattern: string}
  /** 40 or 64 hex digits: never moves. */
  | {readonly type: 'commit'; readonly commit: string};

/** Who must have signed what is followed. What is not verified is refused, and the last good revision stays. */
export interface GitVerification {
  /** The commit itself, or an annotated tag that points to it. */
  readonly object: 'commit' | 'tag';
  readonly by:
    | {readonly type: 'ssh'; /** Absolute path, as in ssh-keygen(1) ALLOWED SIGNERS. */ readonly allowedSigners: string}
    /** Fingerprints that count; the keys are in the user's own keyring, or in `home` (GNUPGHOME, absolute). */
    | {readonly type: 'gpg'; readonly fingerprints: readonly string[]; readonly home?: string};
}

/** Where pushes are told to the controller, beside polling. */
export interface GitWebhook {
  readonly host: string;
  readonly port: number;
  /** Key of the HMAC (GitHub, Gitea) or the token (GitLab); without it no request is believed. */
  readonly secret: SecretRef;
}

/** What a GitSource document declares, after defaults. */
export interface GitSourceSpec {
  /** https, http, ssh, git, file, or `user@host:path`; never with a password in it. */
  readonly url: string;
  readonly ref: GitRef;
  /** Folder or file in the repository that declares fleets, relative to its top; `.` is the top. */
  readonly path: string;
  /** Seconds between two looks at the remote. */
  readonly intervalSeconds: number;
  /** Seconds that one fetch may take. */
  readonly timeoutSeconds: number;
  /** Not followed until it is resumed. */
  readonly suspend: boolean;
  /** What becomes of a revision that the last one is no ancestor of. */
  readonly forcePush: 'accept' | 'refuse';
  readonly verify?: GitVerification;
  readonly webhook?: GitWebhook;
}

/** `sources/<namespace>.<name>.json`: a git source as last applied. */
export interface GitSourceRecord {
  readonly formatVersion: number;
  readonly version: string;
  readonly name: string;
  readonly namespace: string;
  readonly spec: GitSourceSpec;
  /** ISO 8601. */
  readonly appliedAt: string;
  /** Set by `suspend`, cleared by `resume`: whatever the document says. */
  readonly suspendedAt?: string;
  /** Set when its time was up, or by `down --all`, cleared by `resume` and by whoever applies it again: not followed. */
  readonly stoppedAt?: string;
  /** Set by `up --ttl`: from then on it is not followed, and its fleets end. */
  readonly expiresAt?: string;
  /** Set by `rollout undo --to-revision <commit>`, cleared by `rollout resume`: this commit instead of the ref's. */
  readonly pinned?: {readonly commit: string; readonly at: string};
  /** Set by `reconcile`: look now. */
  readonly requestedAt?: string;
  /** Overrides that the applying command read from its environment, as of fleets. */
  readonly overrides: Readonly<Record<string, string>>;
}

export type GitSourceReason =
  /** Its last good revision is the newest. */
  | 'UpToDate'
  | 'Suspended'
  | 'Pinned'
  /** The repository can't be reached, or has no such ref. */
  | 'FetchFailed'
  | 'ForcePushed'
  | 'VerificationFailed'
  /** Documents at the path are wrong, or there are none. */
  | 'SourceInvalid'
  /** The local policy forbids something in it. */
  | 'PolicyViolation'
  /** A fleet in it is held: by the mass-prune guard, a window, another fleet. */
  | 'Held';

/** `status/git.<namespace>.<name>.json`. */
export interface GitSourceStatus {
  readonly formatVersion: number;
  readonly name: string;
  readonly namespace: string;
  readonly ready: 'True' | 'False' | 'Unknown';
  readonly reason: GitSourceReason;
  readonly message: string;
  /** ISO 8601; when `ready` or `reason` became what they are. */
  readonly since: string;
  /** The commit that is in force: the last good one. */
  readonly revision?: string;
  /** First line of its message, its author, and when it was committed (ISO 8601). */
  readonly subject?: string;
  readonly author?: string;
  readonly committedAt?: string;
  /** The newest that was seen at the remote, good or not. */
  readonly seen?: string;
  /** ISO 8601: the last time that the remote answered. */
  readonly fetchedAt?: string;
  /** `<namespace>/<name>` of fleets that the revision in force declares. */
  readonly fleets: readonly string[];
  /** What went wrong last; stays until the next one. */
  readonly lastError?: FleetError;
  /** The last `requestedAt` since which it was looked at. */
  readonly requestSeen?: string;
}
