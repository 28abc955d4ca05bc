/** Statuses of commits at GitHub, GitLab and Gitea (and Forgejo, which speaks as Gitea does). */
import {forgeOf, isNews, reportOf} from '../api/commit-status.js';
import type {CommitReport, CommitState, ForgeAddress} from '../api/commit-status.js';
import type {CommitStatusDestination} from '../api/notifications.js';
import {version} from '../api/version.js';
import {DeliveryError} from './error.js';
import type {About, Message, NotifyDeps} from './deps.js';
import {deliver} from './http.js';
import type {HttpRequest} from './http.js';
import type {DeliverySecrets} from './secrets.js';

/** By commit: what was sent of it last. */
export type Reported = Map<string, CommitReport>;

export interface CommitStatusOptions {
  readonly clock: NotifyDeps['clock'];
  readonly secrets: DeliverySecrets;
  readonly signal: AbortSignal;
}

const timeoutMs = 10_000;
const retries = 5;
/** Commits of which we know what was sent. */
const remembered = 64;

/** Nothing is sent twice. @throws {DeliveryError} */
export async function sendCommitStatus(
  to: CommitStatusDestination,
  message: Message,
  {reported, ...options}: CommitStatusOptions & {readonly reported: Reported},
): Promise<void> {
  const report = reportOf(message.event);
  if (!report || !isNews(reported.get(report.commit), report)) return;
  const {secrets, clock, signal} = options;
  const request = await requestTo(to, message, options);
  const body = JSON.stringify(bodyOf(to, report, message, text => secrets.redact(text)));
  const {headers} = request;
  await deliver(
    {
      ...request,
      url: `${request.url}/statuses/${encodeURIComponent(report.commit)}`,
      method: 'POST',
      body,
      headers: {...headers, 'content-type': 'application/json'},
      // It stands as we say already: another controller, or an earlier try whose answer was lost.
      isDone: (status, text) => to.provider === 'gitlab' && status === 400 && /cannot transition status/i.test(text),
    },
    clock,
    signal,
  );
  reported.delete(report.commit);
  reported.set(report.commit, report);
  for (const commit of [...reported.keys()].slice(0, -remembered)) reported.delete(commit);
}

/** Reads the statuses of the commit in force, so that a person sees that address and token are good. @throws {DeliveryError} */
export async function tryCommitStatus(
  to: CommitStatusDestination,
  about: About,
  options: CommitStatusOptions,
): Promise<void> {
  const request = await requestTo(to, about, options);
  const path = to.provider === 'gitlab' ? '/repository/commits' : '/commits';
  const url = `${request.url}${path}/${encodeURIComponent(about.revision)}/statuses`;
  await deliver({...request, url, method: 'GET', retries: 0}, options.clock, options.signal);
}

async function requestTo(
  to: CommitStatusDestination,
  {repositoryUrl}: About,
  {secrets}: CommitStatusOptions,
): Promise<Omit<HttpRequest, 'method'>> {
  const forge = forgeOf(to, repositoryUrl);
  if ('problem' in forge) throw new DeliveryError(forge.problem, {retry: false});
  const token = await secrets.value(to.token);
  return {
    url: addressOf(to, forge),
    headers: {'user-agent': `tekton-ai/${version}`, accept: 'application/json', ...credentials(to, token)},
    timeoutMs,
    retries,
    redact: text => secrets.redact(text),
  };
}

function addressOf({provider}: CommitStatusDestination, {api, repository}: ForgeAddress): string {
  if (provider === 'gitlab') return `${api}/projects/${encodeURIComponent(repository)}`;
  return `${api}/repos/${repository.split('/').map(encodeURIComponent).join('/')}`;
}

function credentials({provider}: CommitStatusDestination, token: string): Readonly<Record<string, string>> {
  switch (provider) {
    case 'github':
      return {
        authorization: `Bearer ${token}`,
        accept: 'application/vnd.github+json',
        'x-github-api-version': '2022-11-28',
      };
    case 'gitlab':
      return {'private-token': token};
    case 'gitea':
      return {authorization: `token ${token}`};
  }
}

const gitlabStates: Readonly<Record<CommitState, string>> = {
  pending: 'pending',
  success: 'success',
  failure: 'failed',
};

function bodyOf(
  {provider, context, targetUrl}: CommitStatusDestination,
  {state, description}: CommitReport,
  {fleet: {namespace, name}}: About,
  redact: (text: string) => string,
): Readonly<Record<string, string>> {
  const label = context ?? (namespace === 'default' ? `tekton-ai/${name}` : `tekton-ai/${namespace}/${name}`);
  const common = {description: redact(description), ...(targetUrl !== undefined && {target_url: targetUrl})};
  return provider === 'gitlab'
    ? {state: gitlabStates[state], name: label, ...common}
    : {state, context: label, ...common};
}
