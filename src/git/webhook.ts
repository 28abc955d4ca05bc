/**
 * What a server of repositories tells about a push. Pure. Formats: GitHub ("Webhook events and payloads", "Validating
 * webhook deliveries"), Gitea and Forgejo ("Webhooks"), GitLab ("Webhook events"), and a plain one for scripts.
 *
 * A message is a hint to look at the remote and nothing more: one that is sent again, or late, costs a look.
 */
import {createHash, createHmac, timingSafeEqual} from 'node:crypto';
import {isCommitId} from '../api/git-address.js';

/** Names in lower case, as node:http has them. */
export type WebhookHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface WebhookRequest {
  readonly headers: WebhookHeaders;
  /** As received: the signature is over these bytes. */
  readonly body: Uint8Array;
  readonly secret: string;
}

export type WebhookMessage =
  | {
      readonly ok: true;
      readonly event: 'push' | 'tag' | 'ping' | 'other';
      /** In full: `refs/heads/main`. */
      readonly ref?: string;
      /** What it points to now; not there when it was deleted. */
      readonly commit?: string;
      /** All addresses that the message has of the repository; none in the plain form. */
      readonly repositoryUrls: readonly string[];
    }
  | {readonly ok: false; /** HTTP. */ readonly status: 400 | 401 | 413; readonly why: string};

/** A listener reads no more than this. Pushes of thousands of commits stay below it; polling finds what doesn't. */
export const webhookBodyBytes = 5 * 1024 * 1024;

/** Believes nothing before the signature is checked. Never throws. */
export function parseWebhook({headers, body, secret}: WebhookRequest): WebhookMessage {
  if (body.length > webhookBodyBytes) return refuse(413, `the message is larger than ${webhookBodyBytes} bytes`);
  const doubt = doubtOf(headers, body, secret);
  if (doubt !== undefined) return refuse(401, doubt);
  const isPlain = headerOf(headers, 'x-tekton-signature-256') !== undefined;
  if (isPlain && body.length === 0) return {ok: true, event: 'push', repositoryUrls: []};
  const payload = payloadOf(headers, body);
  if (payload === undefined) return refuse(400, 'the message is not a JSON object');
  const ref = textOf(payload['ref']);
  const after = textOf(payload['after']) ?? (isPlain ? textOf(payload['commit']) : undefined);
  const commit = after !== undefined && isCommitId(after) && !/^0+$/.test(after) ? after : undefined;
  return {
    ok: true,
    event: isPlain && ref === undefined ? 'push' : eventOf(headers, ref, isPlain),
    ...(ref !== undefined && {ref}),
    ...(commit !== undefined && {commit}),
    repositoryUrls: urlsOf(payload),
  };
}

function refuse(status: 400 | 401 | 413, why: string): WebhookMessage {
  return {ok: false, status, why};
}

/** Headers with an HMAC-SHA256 of the body, in hex, and what stands before it. */
const signatures: readonly (readonly [header: string, prefix: string])[] = [
  ['x-hub-signature-256', 'sha256='],
  ['x-gitea-signature', ''],
  ['x-forgejo-signature', ''],
  ['x-tekton-signature-256', 'sha256='],
];

/** Why the sender is not believed. Gitea signs thrice: each signature that is there must hold. */
function doubtOf(headers: WebhookHeaders, body: Uint8Array, secret: string): string | undefined {
  if (secret === '') return 'no secret is set, and without one nobody is believed';
  const expected = createHmac('sha256', secret).update(body).digest();
  const verdicts = signatures.flatMap(([name, prefix]) => {
    const given = headerOf(headers, name);
    return given === undefined ? [] : [isDigest(given, prefix, expected)];
  });
  const token = headerOf(headers, 'x-gitlab-token');
  if (token !== undefined) verdicts.push(timingSafeEqual(sha256(token), sha256(secret)));
  if (verdicts.length === 0) return 'the message bears no signature that we know';
  return verdicts.every(holds => holds) ? undefined : 'the signature does not fit the secret';
}

function isDigest(given: string, prefix: string, expected: Buffer): boolean {
  const hex = given.startsWith(prefix) ? given.slice(prefix.length) : '';
  return /^[0-9a-f]{64}$/i.test(hex) && timingSafeEqual(Buffer.from(hex, 'hex'), expected);
}

/** Of equal length, whatever the length of the text. */
function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** A header that is there twice is none that a server of repositories has sent. */
function headerOf(headers: WebhookHeaders, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' || value === undefined ? value : value.join(', ');
}

function eventOf(
  headers: WebhookHeaders,
  ref: string | undefined,
  isPlain: boolean,
): 'push' | 'tag' | 'ping' | 'other' {
  const named = ['x-gitea-event', 'x-forgejo-event', 'x-github-event', 'x-gitlab-event']
    .map(name => headerOf(headers, name))
    .find(name => name !== undefined);
  if (named === 'ping') return 'ping';
  // GitLab's system hooks tell everything under one name; those of a push have a ref.
  const isPush = isPlain || ['push', 'Push Hook', 'Tag Push Hook', 'System Hook'].includes(named ?? '');
  if (!isPush || ref === undefined) return 'other';
  return ref.startsWith('refs/tags/') ? 'tag' : 'push';
}

type Payload = Readonly<Record<string, unknown>>;

function payloadOf(headers: WebhookHeaders, body: Uint8Array): Payload | undefined {
  const text = Buffer.from(body).toString('utf8');
  const isForm = headerOf(headers, 'content-type')?.toLowerCase().startsWith('application/x-www-form-urlencoded');
  try {
    // GitHub's and Gitea's other content type.
    const json = isForm ? new URLSearchParams(text).get('payload') : text;
    return objectOf(JSON.parse(json ?? ''));
  } catch {
    return undefined;
  }
}

function objectOf(value: unknown): Payload | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Payload) : undefined;
}

/** Texts end up in logs. */
function textOf(value: unknown): string | undefined {
  // eslint-disable-next-line no-control-regex
  return typeof value === 'string' && value.length <= 1_000 && !/[\u0000-\u001f\u007f]/.test(value) ? value : undefined;
}

function urlsOf(payload: Payload): readonly string[] {
  const [repository, project] = [objectOf(payload['repository']) ?? {}, objectOf(payload['project']) ?? {}];
  const urls = [
    ...['clone_url', 'ssh_url', 'git_url', 'html_url', 'git_http_url', 'git_ssh_url'].map(name => repository[name]),
    ...['git_http_url', 'git_ssh_url', 'web_url'].map(name => project[name]),
  ].map(textOf);
  return [...new Set(urls.filter(url => url !== undefined && url !== ''))] as readonly string[];
}

/** Whether a message is of the repository at `url`: by host and path, for many addresses lead to one repository. */
export function namesRepository(url: string, repositoryUrls: readonly string[]): boolean {
  if (repositoryUrls.length === 0) return true;
  const wanted = placeOf(url);
  return repositoryUrls.some(each => placeOf(each) === wanted);
}

function placeOf(url: string): string {
  const scp = /^(?:[^@/]+@)?([^:/]+):(?!\/\/)(.+)$/.exec(url);
  const [host, path] = scp ? [scp[1], scp[2]] : hostAndPath(url);
  const trimmed = (path ?? '').replace(/^\/+|\/+$/g, '').replace(/\.git$/, '');
  return `${host ?? ''}/${trimmed}`.toLowerCase();
}

function hostAndPath(url: string): readonly [string, string] {
  try {
    const {hostname, pathname} = new URL(url);
    return [hostname, pathname];
  } catch {
    return ['', url];
  }
}
