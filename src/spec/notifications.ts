/** A fleet's `notifications`: what no schema can see of them, and what they come to after defaults. */
import {isAbsolute} from 'node:path';
import {commitStatusReasons} from '../api/commit-status.js';
import type {NotificationEntry} from '../api/documents.js';
import type {Problem} from '../api/errors.js';
import {notifiableReasons} from '../api/events.js';
import {globMatches} from '../api/glob.js';
import type {
  Destination,
  NotificationFilter,
  NotificationSpec,
  TextOrSecret,
  WebhookDestination,
} from '../api/notifications.js';
import {suggest} from '../api/suggest.js';
import {kindOfContent, templateProblem} from '../api/template.js';
import type {Path} from '../api/validate.js';
import type {SourceDocument} from './document.js';
import {absolute, absolutePath, originAt} from './fleet.js';
import type {Fleet} from './fleet.js';
import {refusalOf} from './worker-variables.js';

const destinations = ['webhook', 'command', 'file', 'commitStatus'] as const;

/** Parts that the schema has refused are absent and nothing is said of them. */
export async function checkNotifications(fleet: Fleet): Promise<readonly Problem[]> {
  const source = fleet.group.fleet?.source;
  const entries = fleet.fields.notifications ?? [];
  if (!source || entries.length === 0) return [];
  const names = fleet.entries.flatMap(({name}) => name ?? []);
  const seen = new Set<string>();
  const problems = await Promise.all(
    entries.map(async (entry, index) => {
      if (typeof entry !== 'object') return []; // taken out: its problem is told already
      const path = ['spec', 'notifications', String(index)];
      const isDouble = seen.has(entry.name);
      seen.add(entry.name);
      return [
        ...(isDouble ? [source.problem([...path, 'name'], 'value', `there is another \`${entry.name}\``)] : []),
        ...checkDestination(source, path, entry),
        ...checkFilter(source, [...path, 'on'], entry, names),
        ...checkWebhook(source, [...path, 'webhook'], entry),
        ...checkCommand(source, [...path, 'command'], entry),
        ...checkCommitStatus(source, path, entry),
        ...(await checkTemplates(source, path, entry)),
      ];
    }),
  );
  return problems.flat();
}

function checkDestination(source: SourceDocument, path: Path, entry: NotificationEntry): readonly Problem[] {
  const found = destinations.filter(type => entry[type] !== undefined || source.has([...path, type]));
  if (found.length === 1) return [];
  const message = `a notification needs exactly one of ${destinations.map(type => `\`${type}\``).join(', ')}`;
  return [source.problem(path, 'value', message)];
}

function checkFilter(
  source: SourceDocument,
  path: Path,
  {on = {}}: NotificationEntry,
  names: readonly string[],
): readonly Problem[] {
  const none = (key: 'reasons' | 'specialists', known: readonly string[], what: string) =>
    (on[key] ?? []).flatMap((pattern, index) => {
      if (typeof pattern !== 'string' || known.some(name => globMatches(pattern, name))) return [];
      const at = [...path, key, String(index)];
      return [source.problem(at, 'value', `no ${what} is called \`${pattern}\``, suggest(pattern, known))];
    });
  return [
    ...none('reasons', notifiableReasons, 'event'),
    ...none('specialists', names, 'specialist of this fleet'),
    ...(['reasons', 'types', 'specialists'] as const)
      .filter(key => on[key]?.length === 0)
      .map(key => source.problem([...path, key], 'value', `\`${key}\` is empty: nothing would ever be told`)),
  ];
}

/** Hooks whose address is all that a sender needs: whoever has it may write there. */
const secretHosts = /(^|\.)(hooks\.slack\.com|discord(app)?\.com|webhook\.office\.com|logic\.azure\.com)$/i;
const secretHeaders = /^(authorization|proxy-authorization|cookie|.*(token|secret|api-?key|password).*)$/i;
/** What fetch sets by itself, or what would make one request two. */
const ownHeaders = /^(host|content-length|transfer-encoding|connection|x-tekton-signature-256)$/i;

function checkWebhook(source: SourceDocument, path: Path, {webhook}: NotificationEntry): readonly Problem[] {
  if (typeof webhook !== 'object') return [];
  const problems: Problem[] = [];
  const {url, headers = {}} = webhook;
  if (typeof url === 'string') {
    const at = [...path, 'url'];
    if (!URL.canParse(url)) problems.push(source.problem(at, 'value', '`url` is not a URL'));
    else {
      const {username, password, hostname} = new URL(url);
      const hint = 'refer to it: url: {env: NAME} or {file: path}';
      if (username !== '' || password !== '') {
        problems.push(source.problem(at, 'value', '`url` holds a password', hint));
      } else if (secretHosts.test(hostname)) {
        problems.push(source.problem(at, 'value', `an address at ${hostname} is a secret in itself`, hint));
      }
    }
  }
  for (const [name, value] of Object.entries(headers)) {
    const at = [...path, 'headers', name];
    if (ownHeaders.test(name)) problems.push(source.problem(at, 'key', `\`${name}\` is set by tekton-ai itself`));
    if (typeof value !== 'string') continue;
    if (secretHeaders.test(name)) {
      problems.push(source.problem(at, 'value', `\`${name}\` seems to hold a secret`, 'refer to it: {env: NAME}'));
    }
    if (/[^\t\x20-\x7e]/.test(value)) {
      problems.push(source.problem(at, 'value', `\`${name}\` must be one line of plain ASCII`));
    }
  }
  return problems;
}

function checkCommand(source: SourceDocument, path: Path, {command}: NotificationEntry): readonly Problem[] {
  if (typeof command !== 'object') return [];
  const problems: Problem[] = [];
  const program: unknown = command.argv?.[0];
  if (Array.isArray(command.argv) && !(typeof program === 'string' && isAbsolute(program))) {
    const hint = 'such as /usr/local/bin/notify: it is not looked for in PATH, and no shell runs it';
    problems.push(
      source.problem([...path, 'argv'], 'value', "`argv` must begin with the program's absolute path", hint),
    );
  }
  for (const [name, value] of Object.entries(command.env ?? {})) {
    const at = [...path, 'env', name];
    const reason = refusalOf(name, 'file') ?? (/^TEKTON_/i.test(name) ? 'it tells of the event' : undefined);
    if (reason !== undefined) problems.push(source.problem(at, 'key', `\`${name}\` may not be set: ${reason}`));
    if (typeof value === 'string' && value.includes('\0')) problems.push(source.problem(at, 'value', 'holds a NUL'));
  }
  return problems;
}

function checkCommitStatus(source: SourceDocument, path: Path, entry: NotificationEntry): readonly Problem[] {
  const {commitStatus} = entry;
  if (typeof commitStatus !== 'object') return [];
  const {provider, repository} = commitStatus;
  const problems = (['on', 'minIntervalSeconds'] as const)
    .filter(key => entry[key] !== undefined)
    .map(key => source.problem([...path, key], 'key', `\`${key}\` has no meaning for \`commitStatus\``));
  if (typeof repository === 'string' && provider !== 'gitlab' && repository.split('/').length > 2) {
    const message = `a repository of ${provider} is \`owner/name\``;
    problems.push(source.problem([...path, 'commitStatus', 'repository'], 'value', message));
  }
  for (const key of ['apiUrl', 'targetUrl'] as const) {
    const url: unknown = commitStatus[key];
    if (typeof url !== 'string') continue;
    const at = [...path, 'commitStatus', key];
    if (!URL.canParse(url)) problems.push(source.problem(at, 'value', `\`${key}\` is not a URL`));
    else if (new URL(url).username !== '' || new URL(url).password !== '') {
      problems.push(source.problem(at, 'value', `\`${key}\` holds a password`));
    }
  }
  return problems;
}

async function checkTemplates(
  source: SourceDocument,
  path: Path,
  {webhook, command, file}: NotificationEntry,
): Promise<readonly Problem[]> {
  const texts: readonly [Path, unknown, ReturnType<typeof kindOfContent>][] = [
    [[...path, 'webhook', 'template'], webhook?.template, kindOfContent(contentTypeOf(webhook?.headers ?? {}))],
    [[...path, 'file', 'template'], file?.template, 'text'],
    ...(command?.argv ?? []).map((text, index): [Path, unknown, 'text'] => [
      [...path, 'command', 'argv', String(index)],
      index === 0 ? undefined : text,
      'text',
    ]),
  ];
  const problems = await Promise.all(
    texts.map(async ([at, text, kind]) => {
      const message = typeof text === 'string' ? await templateProblem(text, kind) : undefined;
      return message === undefined ? [] : [source.problem(at, 'value', message)];
    }),
  );
  return problems.flat();
}

/** Of a webhook's body: what its headers say, else JSON. */
function contentTypeOf(headers: Readonly<Record<string, TextOrSecret>>): string {
  const found = Object.entries(headers).find(([name]) => name.toLowerCase() === 'content-type')?.[1];
  return typeof found === 'string' ? found : 'application/json';
}

/** Of a fleet without problems: with defaults, and files of references absolute. */
export function notificationsOf(fleet: Fleet): readonly NotificationSpec[] {
  const source = fleet.group.fleet?.source;
  if (!source) return [];
  return (fleet.fields.notifications ?? []).map((entry, index) => ({
    name: entry.name,
    on: filterOf(entry),
    minIntervalSeconds: entry.minIntervalSeconds ?? 0,
    to: destinationOf(entry, source, fleet.group.folder),
    origin: originAt('file', source, ['spec', 'notifications', String(index)]),
  }));
}

function filterOf({on, commitStatus}: NotificationEntry): NotificationFilter {
  if (commitStatus) return {reasons: commitStatusReasons, types: ['Normal', 'Warning']};
  return {...on, types: on?.types ?? (on?.reasons ? ['Normal', 'Warning'] : ['Warning'])};
}

/** A list is written in one place. */
const listPath: Path = ['spec', 'notifications'];

function destinationOf(
  {name, webhook, command, file, commitStatus}: NotificationEntry,
  source: SourceDocument,
  cwd: string,
): Destination {
  const placed = (value: TextOrSecret): TextOrSecret =>
    typeof value === 'string' ? value : absolute(value, source, listPath, cwd);
  const placedAll = (values: Readonly<Record<string, TextOrSecret>> = {}) =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [key, placed(value)]));
  if (webhook) {
    const {url, headers, secret, ...rest} = webhook;
    const defaults: Pick<WebhookDestination, 'method' | 'timeoutSeconds' | 'retries'> = {
      method: 'POST',
      timeoutSeconds: 10,
      retries: 5,
    };
    return {
      type: 'webhook',
      ...defaults,
      ...rest,
      url: placed(url),
      headers: placedAll(headers),
      ...(secret && {secret: absolute(secret, source, listPath, cwd)}),
    };
  }
  if (command) return {type: 'command', timeoutSeconds: 30, ...command, env: placedAll(command.env)};
  if (file) return {type: 'file', ...file, path: absolutePath(file.path, source, listPath, cwd)};
  if (commitStatus) {
    return {type: 'commitStatus', ...commitStatus, token: absolute(commitStatus.token, source, listPath, cwd)};
  }
  throw new Error(`internal error: the notification ${name} was not checked`);
}
