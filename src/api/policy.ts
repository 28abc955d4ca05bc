/** What the operator lets repositories do on this machine. Types only; what follows from them: trust.ts. */
import type {SecretRef} from './types.js';

/** Kind `Policy`: the operator's own file, outside of any repository. */
export interface PolicyDocument {
  readonly kind: 'Policy';
  readonly metadata: {readonly name: string};
  readonly spec: Policy;
}

export interface Policy {
  /** Every rule that matches a source counts. */
  readonly sources?: readonly PolicyRule[];
}

/** Of a specialist: its token, and its worker's environment; of a notification: an address that is a secret. */
export type SecretUse = 'auth' | 'env' | 'webhook';

/** A secret that a source may use; `file` is absolute. */
export type PolicySecret = SecretRef & {
  /** Where it may be sent: `host`, `host:port`, `http://host` … as `PolicyRule.hosts`. */
  readonly hosts?: readonly string[];
  readonly use?: readonly SecretUse[];
};

export interface PolicyRule {
  /** Both have to match where both are given; `*` stands for any characters. */
  readonly match: {
    /** Address of the repository, as its GitSource has it. */
    readonly url?: string;
    /** `<namespace>/<name>` of the GitSource. */
    readonly name?: string;
  };
  /**
   * Addresses of providers and webhooks beyond loopback and the known vendors: `[scheme://]host[:port]`, the host with
   * `*`. Without a port every port is meant; plain http carries a secret only where the scheme is `http`.
   */
  readonly hosts?: readonly string[];
  readonly secrets?: readonly PolicySecret[];
  /** Environment variables that a fleet's `variables` may read; with `*`. */
  readonly variables?: readonly string[];
  /** Absolute paths of programs that notifications may run. */
  readonly commands?: readonly string[];
  /** Absolute paths of files that notifications may append to. */
  readonly files?: readonly string[];
  /** Absolute paths of folders outside of the repository that `include` and `script` may reach. */
  readonly includes?: readonly string[];
  /** Addresses other than loopback that specialists may listen on. */
  readonly bind?: readonly string[];
  /** Models that Ollama may be told to fetch; with `*`. */
  readonly pull?: readonly string[];
}

/** The git source that is asked about. */
export interface TrustedSource {
  /** `<namespace>/<name>`. */
  readonly name: string;
  readonly url: string;
  /** Absolute: the folder that recorded paths of its files lie in. */
  readonly checkout: string;
}

/** What one source may do: the defaults, and what the rules that match it add. Pure. */
export interface Trust {
  readonly source: TrustedSource;
  /** Absolute: folders outside of the repository that includes may reach. */
  readonly includes: readonly string[];
  /** Whether a provider's or webhook's address may be spoken to. */
  mayReach(url: string): boolean;
  /** Whether this secret may be sent there; a file of the repository itself may go wherever it may speak to. */
  maySend(url: string, secret: SecretRef): boolean;
  mayUse(secret: SecretRef, use: SecretUse): boolean;
  /** A variable of the environment, for `spec.variables`. */
  mayRead(variable: string): boolean;
  /** A program by its absolute path, spelled as the policy has it. */
  mayRun(command: string): boolean;
  /** A file that is appended to. */
  mayAppend(file: string): boolean;
  /** A file that is read: one of the repository, or in a folder that includes may reach. */
  mayInclude(file: string): boolean;
  mayListen(host: string): boolean;
  mayPull(model: string): boolean;
}
