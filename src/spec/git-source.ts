/** GitSource documents: from what people wrote to what is followed, with defaults, and what no schema can check. */
import {posix} from 'node:path';
import type {GitSourceDocument} from '../api/documents.js';
import type {Problem} from '../api/errors.js';
import {gitCredentialsHint, gitNameProblem, gitUrlProblem} from '../api/git-address.js';
import type {GitRef, GitSourceSpec, GitVerification, GitWebhook} from '../api/git-source.js';
import type {Declared} from './checked.js';
import {absolute, absolutePath} from './fleet.js';

/** A git source as declared, by a document or by flags. */
export interface DeclaredGitSource {
  readonly name: string;
  readonly namespace: string;
  readonly spec: GitSourceSpec;
}

export const gitSourceDefaults = {
  path: '.',
  intervalSeconds: 60,
  timeoutSeconds: 60,
  suspend: false,
  forcePush: 'accept',
} as const;

const defaultWebhookHost = '127.0.0.1';

/** All that is wrong with it; where something is, the value is not to be used. */
export function gitSourceOf(
  {source, value}: Declared<GitSourceDocument>,
  cwd: string,
): {readonly declared: DeclaredGitSource; readonly problems: readonly Problem[]} {
  const {spec, metadata} = value;
  const {verify} = spec;
  const verification = verificationOf(verify, path => absolutePath(path, source, ['spec'], cwd));
  const problems: Problem[] = [];
  const wrong = (field: readonly string[], message: string | undefined, hint?: string): void => {
    if (message !== undefined) problems.push(source.problem(['spec', ...field], 'value', message, hint));
  };
  // What is absent though it is required, or of another type, is told already.
  if (typeof spec.url === 'string') wrong(['url'], gitUrlProblem(spec.url), gitCredentialsHint);
  const refs = (['branch', 'tag', 'commit'] as const).filter(field => spec[field] !== undefined);
  const [, second] = refs;
  if (second !== undefined) wrong([second], `only one of ${refs.join(', ')} can be followed`);
  if (spec.branch !== undefined) wrong(['branch'], gitNameProblem(spec.branch));
  if (spec.tag !== undefined) wrong(['tag'], gitNameProblem(spec.tag, {pattern: true}));
  if (spec.path !== undefined) wrong(['path'], pathProblem(spec.path));
  if (verify !== undefined && (verify.ssh === undefined) === (verify.gpg === undefined)) {
    wrong(['verify'], '`verify` needs `ssh` or `gpg`: one of them says whose signatures count');
  }
  if (verify?.gpg?.fingerprints?.length === 0) wrong(['verify', 'gpg', 'fingerprints'], '`fingerprints` is empty');
  if (verify?.object === 'tag' && spec.tag === undefined) {
    wrong(['verify', 'object'], 'a signed tag can only be asked for where a tag is followed', 'set spec.tag');
  }
  return {
    declared: {
      name: metadata.name,
      namespace: metadata.namespace ?? 'default',
      spec: {
        url: spec.url,
        ref: refOf(spec),
        path: posix.normalize(spec.path ?? gitSourceDefaults.path),
        intervalSeconds: spec.intervalSeconds ?? gitSourceDefaults.intervalSeconds,
        timeoutSeconds: spec.timeoutSeconds ?? gitSourceDefaults.timeoutSeconds,
        suspend: spec.suspend ?? gitSourceDefaults.suspend,
        forcePush: spec.forcePush ?? gitSourceDefaults.forcePush,
        ...(verification && {verify: verification}),
        ...(spec.webhook && {webhook: webhookOf(source, spec.webhook, cwd)}),
      },
    },
    problems,
  };
}

/** Why this is no path in a repository; undefined: it is one. */
export function pathProblem(path: string): string | undefined {
  const isOutside = posix.isAbsolute(path) || posix.normalize(path).split('/').includes('..');
  return isOutside || path.includes('\\')
    ? '`path` must lie in the repository: relative to its top, without `..`'
    : undefined;
}

function refOf({branch, tag, commit}: GitSourceDocument['spec']): GitRef {
  if (commit !== undefined) return {type: 'commit', commit};
  if (tag !== undefined) return {type: 'tag', pattern: tag};
  return branch === undefined ? {type: 'default'} : {type: 'branch', name: branch};
}

function webhookOf(
  source: Declared<GitSourceDocument>['source'],
  {host = defaultWebhookHost, port, secret}: NonNullable<GitSourceDocument['spec']['webhook']>,
  cwd: string,
): GitWebhook {
  // What is no reference is told already.
  const isFile = typeof secret === 'object' && 'file' in secret && typeof secret.file === 'string';
  return {host, port, secret: isFile ? absolute(secret, source, ['spec', 'webhook', 'secret'], cwd) : secret};
}

function verificationOf(
  verify: GitSourceDocument['spec']['verify'],
  absolutely: (path: string) => string,
): GitVerification | undefined {
  const object = verify?.object ?? 'commit';
  const {ssh, gpg} = verify ?? {};
  if (ssh?.allowedSigners !== undefined) {
    return {object, by: {type: 'ssh', allowedSigners: absolutely(ssh.allowedSigners)}};
  }
  if (gpg?.fingerprints === undefined) return undefined;
  const home = gpg.home === undefined ? {} : {home: absolutely(gpg.home)};
  return {object, by: {type: 'gpg', fingerprints: gpg.fingerprints, ...home}};
}
