/** What goes wrong between us and a repository, in words for people. Git's own words are kept, its addresses cleaned. */
import {TektonError} from '../api/errors.js';
import {gitCredentialsHint, withoutCredentials} from '../api/git-address.js';

export type GitFailure =
  | 'unreachable'
  | 'authentication'
  | 'not-a-repository'
  | 'no-such-ref'
  /** The remote moved on between our look and our fetch: look again. */
  | 'moved'
  | 'no-git'
  | 'timeout'
  | 'disk-full'
  /** Our own copy; it is made anew by itself. */
  | 'damaged'
  /** An address, a name or a tree that we don't accept. */
  | 'refused'
  | 'too-large'
  | 'failed';

export interface GitErrorOptions {
  readonly cause?: unknown;
  readonly hint?: string;
}

/** "cannot do: why", with what to do; `kind` is for programs. */
export class GitError extends TektonError {
  override readonly name: string = 'GitError';

  constructor(
    readonly kind: GitFailure,
    message: string,
    {cause, hint}: GitErrorOptions = {},
  ) {
    super(message, {
      saysCause: true,
      ...(cause !== undefined && {cause}),
      ...(hint !== undefined && {hint}),
    });
  }
}

/** Not signed as wanted: never to be put in force. */
export class VerificationError extends TektonError {
  override readonly name: string = 'VerificationError';
}

interface Known {
  readonly kind: GitFailure;
  readonly pattern: RegExp;
  readonly says: string;
  readonly hint?: string;
}

/** What git, ssh and curl say with LC_ALL=C; the first that fits. */
const known: readonly Known[] = [
  {
    kind: 'disk-full',
    pattern: /no space left on device|disk quota exceeded/i,
    says: 'no space is left on the disk',
    hint: 'Free some space; what is in force stays in force.',
  },
  // Before the ends of connections: git says both.
  {
    kind: 'refused',
    pattern: /fsck error|in strict mode|error in object/i,
    says: 'the repository has objects that git holds to be malformed',
    hint: 'git fsck in the repository names them; your own git configuration (fetch.fsck.*) may allow a kind of them.',
  },
  {
    kind: 'refused',
    pattern: /transport '[^']*' not allowed/,
    says: 'git may not speak this protocol',
    hint: 'Addresses begin with https://, http://, ssh://, git:// or file://; look for url.*.insteadOf in your git configuration.',
  },
  {
    kind: 'not-a-repository',
    pattern: /detected dubious ownership/,
    says: 'the repository belongs to another user',
    hint: 'If you trust it: git config --global --add safe.directory <its folder>.',
  },
  {
    kind: 'authentication',
    pattern:
      /could not read (username|password)|authentication failed|terminal prompts disabled|permission denied \(|host key verification failed|invalid credentials|requested URL returned error: 40[13]|HTTP 40[13]\b|access denied|invalid username or (password|token)/i,
    says: 'the server does not let us in',
    hint: `${gitCredentialsHint} Try it by hand: git ls-remote <url>.`,
  },
  {
    kind: 'unreachable',
    pattern:
      /could not resolve (host|hostname)|name or service not known|unable to look up|temporary failure in name resolution|nodename nor servname/i,
    says: 'the host is unknown',
    hint: 'Check the address, and that this machine resolves names.',
  },
  {
    kind: 'unreachable',
    pattern:
      /failed to connect|connection refused|unable to connect|couldn't connect|connection timed out|operation timed out|no route to host|network is unreachable|SSL|certificate|requested URL returned error: 5\d\d|HTTP 5\d\d|too slow|Operation too slow/i,
    says: 'the server does not answer as it should',
    hint: 'Nothing was changed; it is tried again. Try it by hand: git ls-remote <url>.',
  },
  {
    kind: 'no-such-ref',
    pattern: /couldn't find remote ref|not our ref|unadvertised object|no such remote ref/i,
    says: 'the repository has no such commit, or does not hand it out',
    hint: 'A server may refuse commits that no branch or tag names; follow a branch or a tag.',
  },
  {
    kind: 'not-a-repository',
    pattern:
      /does not appear to be a git repository|not a git repository|repository .*not found|not found: did you run|requested URL returned error: 404|project .*not found|repository not exported|access denied or repository not exported|dumb http transport|not valid: is this a git repository|remote error: .*no such|no such file or directory/i,
    says: 'there is no repository, or you may not see it',
    hint: `Check the address. ${gitCredentialsHint}`,
  },
  {
    kind: 'unreachable',
    pattern:
      /early EOF|hung up unexpectedly|unexpected disconnect|connection reset|broken pipe|RPC failed|invalid index-pack output|connection closed|could not read from remote repository|transfer closed|expected flush|protocol error|bad line length/i,
    says: 'the connection broke off',
    hint: 'Nothing was changed; it is tried again.',
  },
];

/** What remains of git's words: the lines that say something, cleaned and cut. */
export function gitWords(stderr: string): string {
  const lines = withoutCredentials(stderr)
    // Terminals obey escape sequences, and what the remote says goes through git as it is.
    // eslint-disable-next-line no-control-regex
    .replaceAll(/\u001b\[[0-9;?]*[A-Za-z]|[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, ' ')
    .split('\n')
    .map(line => line.trim())
    .filter(line => /^(fatal|error|remote|ssh|git|warning|\[GNUPG:\])|:/i.test(line) && !/^hint:/.test(line));
  const said = lines.find(line => /^(fatal|remote: fatal|error|ERROR)/.test(line)) ?? lines[0] ?? '';
  const text = said.replace(/^(fatal|error): /, '');
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

/** The error of a git command that talked to a remote. */
export function remoteError(tried: string, stderr: string): GitError {
  const words = gitWords(stderr);
  const found = known.find(({pattern}) => pattern.test(stderr));
  if (found === undefined) {
    return new GitError('failed', `${tried}: ${words === '' ? 'git failed without a word' : words}`);
  }
  return new GitError(found.kind, `${tried}: ${found.says}${words === '' ? '' : ` (git: ${words})`}`, {
    ...(found.hint !== undefined && {hint: found.hint}),
  });
}

/** The error of a git command that only read our own copy. */
export function localError(tried: string, stderr: string): GitError {
  if (/no space left on device|disk quota exceeded/i.test(stderr)) return remoteError(tried, stderr);
  return new GitError('damaged', `${tried}: our copy of the repository is damaged (git: ${gitWords(stderr)})`, {
    hint: 'It is made anew from the remote.',
  });
}
