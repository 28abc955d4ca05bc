/** Statuses of commits at a forge: which events make which, and where they go. Pure. */
import type {CommitStatusDestination} from './notifications.js';
import type {FleetEvent} from './types.js';

export type CommitState = 'pending' | 'success' | 'failure';

export interface CommitReport {
  readonly commit: string;
  readonly state: CommitState;
  /** One line. */
  readonly description: string;
}

const stateOf: Readonly<Record<string, CommitState>> = {
  SourceApplied: 'pending',
  RevisionReady: 'success',
  SourceInvalid: 'failure',
  PolicyViolation: 'failure',
  VerificationFailed: 'failure',
  // One that is accepted all the same names no commit: `RevisionApplied` follows.
  ForcePushed: 'failure',
  CanaryFailed: 'failure',
  RolledBack: 'failure',
  NotHealthy: 'failure',
};

/** Events that say something of a commit. */
export const commitStatusReasons: readonly string[] = Object.keys(stateOf);

/** As long as GitHub takes. */
const longest = 140;

/** What an event says of its commit; undefined: nothing. */
export function reportOf({reason, revision, message}: FleetEvent): CommitReport | undefined {
  const state = stateOf[reason];
  if (state === undefined || revision === undefined) return undefined;
  const line = [...message.replaceAll(/\s+/g, ' ').trim()];
  const description = line.length <= longest ? line.join('') : `${line.slice(0, longest - 1).join('')}…`;
  return {commit: revision, state, description};
}

/**
 * Whether it is to be sent after what was sent of the same commit before. What was found good isn't pending again, and of
 * a failure another cause is news.
 */
export function isNews(before: CommitReport | undefined, next: CommitReport): boolean {
  if (!before) return true;
  if (before.state === 'success' && next.state === 'pending') return false;
  return before.state !== next.state || (next.state === 'failure' && before.description !== next.description);
}

/** Where the API of a forge is, and what it calls the repository. */
export interface ForgeAddress {
  /** Without a slash at its end. */
  readonly api: string;
  readonly repository: string;
}

type Where = Pick<CommitStatusDestination, 'provider' | 'repository' | 'apiUrl'>;

/** @param url of the git source; undefined: the fleet follows none */
export function forgeOf(
  {provider, repository, apiUrl}: Where,
  url: string | undefined,
): ForgeAddress | {readonly problem: string} {
  if (url === undefined) return {problem: 'the fleet follows no git source'};
  const found = repositoryAt(url);
  const parts = found?.parts ?? [];
  // Groups of GitLab nest; the others may lie below a path of their server.
  const own = provider === 'gitlab' ? parts : parts.slice(-2);
  const path = repository ?? (own.length >= 2 ? own.join('/') : undefined);
  if (path === undefined) return {problem: `its repository does not follow from ${url}: set \`repository\``};
  if (apiUrl !== undefined) return {api: apiUrl.replace(/\/+$/, ''), repository: path};
  if (!found) return {problem: `the address of the API does not follow from ${url}: set \`apiUrl\``};
  const below = provider === 'gitlab' ? [] : parts.slice(0, -2);
  const base = [found.origin, ...below].join('/');
  switch (provider) {
    case 'github':
      return {api: found.host === 'github.com' ? 'https://api.github.com' : `${base}/api/v3`, repository: path};
    case 'gitlab':
      return {api: `${base}/api/v4`, repository: path};
    case 'gitea':
      return {api: `${base}/api/v1`, repository: path};
  }
}

function repositoryAt(
  url: string,
): {readonly host: string; readonly origin: string; readonly parts: readonly string[]} | undefined {
  const [, scpHost, scpPath] = /^(?:[^@/:]+@)?([^@/:]+):(?!\/\/)(.+)$/.exec(url) ?? [];
  if (scpHost !== undefined && scpPath !== undefined) {
    return {host: scpHost, origin: `https://${scpHost}`, parts: partsOf(scpPath)};
  }
  if (!URL.canParse(url)) return undefined;
  const {protocol, hostname, host, pathname} = new URL(url);
  const isWeb = protocol === 'https:' || protocol === 'http:';
  if (hostname === '' || !(isWeb || protocol === 'ssh:' || protocol === 'git:')) return undefined;
  return {host: hostname, origin: isWeb ? `${protocol}//${host}` : `https://${hostname}`, parts: partsOf(pathname)};
}

function partsOf(path: string): readonly string[] {
  return path
    .replace(/\/+$/, '')
    .replace(/\.git$/, '')
    .split('/')
    .filter(part => part !== '');
}
