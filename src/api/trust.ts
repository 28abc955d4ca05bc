/** What a repository may do on this machine: little, unless the operator's policy says more. Pure. */
import {globMatches} from './glob.js';
import type {Policy, PolicyRule, PolicySecret, Trust, TrustedSource} from './policy.js';
import type {SecretRef} from './types.js';

/**
 * Servers of models that are spoken to unasked, over https alone, and the one variable whose value each may be sent:
 * the one that the vendor's own tools read. A short list on purpose; a policy names others.
 */
export const vendors: Readonly<Record<string, string>> = {
  'api.anthropic.com': 'ANTHROPIC_API_KEY',
  'api.openai.com': 'OPENAI_API_KEY',
  'openrouter.ai': 'OPENROUTER_API_KEY',
  'api.mistral.ai': 'MISTRAL_API_KEY',
  'api.groq.com': 'GROQ_API_KEY',
  'api.together.xyz': 'TOGETHER_API_KEY',
  'api.deepseek.com': 'DEEPSEEK_API_KEY',
  'api.x.ai': 'XAI_API_KEY',
  'generativelanguage.googleapis.com': 'GEMINI_API_KEY',
  'ollama.com': 'OLLAMA_API_KEY',
};

/** @param policy undefined: the operator has written none, and the strict defaults hold */
export function trustOf(policy: Policy | undefined, source: TrustedSource): Trust {
  const rules = (policy?.sources ?? []).filter(({match}) => matches(match, source));
  const all = <K extends keyof PolicyRule>(field: K): readonly ItemOf<PolicyRule[K]>[] =>
    rules.flatMap(rule => (rule[field] ?? []) as readonly ItemOf<PolicyRule[K]>[]);
  const secrets = all('secrets');
  const hosts = [...all('hosts'), ...secrets.flatMap(secret => secret.hosts ?? [])].map(hostPattern);
  const isOwn = (secret: SecretRef): boolean => 'file' in secret && isBelow(secret.file, source.checkout);
  const includes = all('includes');

  const mayReach = (url: string): boolean => {
    const address = addressOf(url);
    return address !== undefined && (isLoopback(address) || isVendor(address) || hosts.some(isMeantBy(address)));
  };
  return {
    source,
    includes,
    mayReach,
    maySend(url, secret) {
      const address = addressOf(url);
      if (!address || !mayReach(url)) return false;
      if (isOwn(secret)) return true;
      if (isVendor(address) && 'env' in secret && vendors[address.host] === secret.env) return true;
      const meant = secrets.filter(known => isSame(known, secret)).flatMap(known => known.hosts ?? []);
      const isPrivate = address.scheme === 'https' || isLoopback(address);
      return meant.map(hostPattern).some(host => isMeantBy(address)(host) && (isPrivate || host?.scheme === 'http'));
    },
    mayUse: (secret, use) =>
      isOwn(secret) || secrets.some(known => isSame(known, secret) && known.use?.includes(use) === true),
    mayRead: variable => all('variables').some(pattern => globMatches(pattern, variable)),
    mayRun: command => all('commands').includes(command),
    mayAppend: file => all('files').includes(file),
    mayInclude: file => [source.checkout, ...includes].some(folder => isBelow(file, folder)),
    mayListen: host => isLoopbackHost(host) || all('bind').includes(host),
    mayPull: model => all('pull').some(pattern => globMatches(pattern, model)),
  };
}

type ItemOf<T> = NonNullable<T> extends readonly (infer U)[] ? U : never;

function matches({url, name}: PolicyRule['match'], source: TrustedSource): boolean {
  return (
    (url !== undefined || name !== undefined) &&
    (url === undefined || globMatches(url, source.url)) &&
    (name === undefined || globMatches(name, source.name))
  );
}

function isSame(known: PolicySecret, secret: SecretRef): boolean {
  if ('env' in known) return 'env' in secret && known.env === secret.env;
  return 'file' in secret && known.file === secret.file;
}

interface Address {
  readonly scheme: 'http' | 'https';
  /** As the connection is made to it: lower case, punycode, IPv4 in four numbers, IPv6 in brackets. */
  readonly host: string;
  readonly port: number;
}

/**
 * Where a request to `url` goes, read by the same parser that the request is made with, so that no spelling
 * (`http://2130706433`, a name in other letters) means another place there than here. undefined: nowhere that is allowed.
 */
function addressOf(url: string): Address | undefined {
  if (!URL.canParse(url)) return undefined;
  const {protocol, hostname, port, username, password} = new URL(url);
  if (username !== '' || password !== '') return undefined;
  if (protocol === 'https:') return {scheme: 'https', host: hostname, port: Number(port || 443)};
  return protocol === 'http:' ? {scheme: 'http', host: hostname, port: Number(port || 80)} : undefined;
}

function isLoopback({host}: Address): boolean {
  return isLoopbackHost(host);
}

/**
 * Names and addresses that never leave the machine. Not those that only may not (`foo.localhost`, `::ffff:127.0.0.1`,
 * `localhost.`): what they reach is decided elsewhere.
 */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}

function isVendor({scheme, host, port}: Address): boolean {
  return scheme === 'https' && port === 443 && Object.hasOwn(vendors, host);
}

interface HostPattern {
  readonly scheme: string | undefined;
  readonly host: string;
  readonly port: number | undefined;
}

/** `[scheme://]host[:port]`; undefined where a text isn't one, which then means nothing. */
export function hostPattern(text: string): HostPattern | undefined {
  const [, scheme, host, port] = /^(?:(https?):\/\/)?(\[[0-9a-f:.]+\]|[^\s/:@[\]]+)(?::(\d{1,5}))?$/i.exec(text) ?? [];
  if (host === undefined) return undefined;
  const spelled = host.includes('*') || !URL.canParse(`http://${host}`) ? host : new URL(`http://${host}`).hostname;
  return {
    scheme: scheme?.toLowerCase(),
    host: spelled.toLowerCase(),
    port: port === undefined ? undefined : Number(port),
  };
}

function isMeantBy({scheme, host, port}: Address): (pattern: HostPattern | undefined) => boolean {
  return pattern =>
    pattern !== undefined &&
    globMatches(pattern.host, host) &&
    (pattern.scheme === undefined || pattern.scheme === scheme) &&
    (pattern.port === undefined || pattern.port === port);
}

/** Both absolute and without `..`, as recorded paths are. */
function isBelow(path: string, folder: string): boolean {
  return path.startsWith(folder.endsWith('/') ? folder : `${folder}/`) && !path.split('/').includes('..');
}
