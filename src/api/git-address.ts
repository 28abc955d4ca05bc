/** What may be handed to git as an address or as the name of a branch, a tag or a commit. Pure. */
import {looksLikeKey, maskKeys} from './mask.js';

/** What git may speak. Everything else (`ext::`, `fd::`, helpers of its own) could run a program. */
export const gitProtocols = ['https', 'http', 'ssh', 'git', 'file'] as const;

// Control characters and spaces would end up in the protocol's own lines.
// eslint-disable-next-line no-control-regex
const unprintable = /[\u0000-\u0020\u007f]/;

/** `user@host:path`, as ssh and git read it: a host that holds no slash, and no `::` of a helper. */
const scpLike = /^(?:[A-Za-z0-9_][\w.+-]*@)?(?:[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+\]):(?![:/]{2})\S+$/;

/** Why git doesn't get this address, or undefined: it may have it. The text repeats nothing of a password. */
export function gitUrlProblem(url: string): string | undefined {
  if (url === '') return 'the address is empty';
  if (unprintable.test(url)) return 'the address has spaces or control characters in it';
  if (url.startsWith('-')) return 'an address must not begin with "-"';
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):(?:\/\/|:)/.exec(url);
  if (scheme === null) {
    if (scpLike.test(url)) return undefined;
    return `an address begins with ${listed} or is of the form user@host:path; a folder is written file:///path`;
  }
  const name = (scheme[1] ?? '').toLowerCase();
  if (!gitProtocols.some(protocol => protocol === name) || !url.startsWith('://', name.length)) {
    return `${name}: is not spoken; an address begins with ${listed}`;
  }
  return partsProblem(url, name);
}

const listed = gitProtocols.map(protocol => `${protocol}://`).join(', ');

function partsProblem(url: string, scheme: string): string | undefined {
  const rest = url.slice(scheme.length + 3);
  const authority = rest.split(/[/?#]/, 1)[0] ?? '';
  if (scheme === 'file') return rest.startsWith('/') ? undefined : 'an address of a folder is written file:///path';
  const at = authority.lastIndexOf('@');
  const [user, host] = [at < 0 ? '' : authority.slice(0, at), authority.slice(at + 1)];
  if (user.includes(':') || /%3a/i.test(user)) return 'a password in an address is refused';
  if (looksLikeKey(user)) return 'a token in an address is refused';
  if (user.startsWith('-') || host.startsWith('-')) return 'a host must not begin with "-"';
  if (host === '' || host.startsWith(':')) return 'the address names no host';
  return undefined;
}

/** What to do instead of writing a password into an address. */
export const gitCredentialsHint =
  "git's own credentials are used: a credential helper (git config credential.helper), ~/.netrc or an ssh key.";

/** Why this is no name of a branch or a tag (git-check-ref-format(1)), or undefined. `*` only in patterns. */
export function gitNameProblem(name: string, {pattern = false} = {}): string | undefined {
  if (name === '') return 'the name is empty';
  if (name.length > 250) return 'the name is too long';
  if (name.startsWith('-')) return 'a name must not begin with "-"';
  // eslint-disable-next-line no-control-regex
  const character = /[\u0000-\u0020\u007f~^:?[\\*]/g;
  for (const [found] of name.matchAll(character)) {
    if (!(pattern && found === '*')) return `a name must not contain ${JSON.stringify(found)}`;
  }
  const wrong =
    name === '@' ||
    /\.\.|@\{|\/\/|^\/|\/$|\.$/.test(name) ||
    name.split('/').some(part => part.startsWith('.') || part.endsWith('.lock'));
  return wrong ? 'it is no name that git accepts' : undefined;
}

/** A whole commit id: 40 hex digits (SHA-1) or 64 (SHA-256), lower case as git writes them. */
export function isCommitId(text: string): boolean {
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text);
}

/** An address as it may be shown: without what stands for a user or a password in http, and without a query. */
export function shownGitUrl(url: string): string {
  return withoutCredentials(url).replace(/[?#].*$/s, '');
}

/** A text of git's, without the credentials of addresses in it. Who one is on an ssh host is no secret. */
export function withoutCredentials(text: string): string {
  const http = text.replaceAll(/\b(https?:\/\/)[^\s/@'"]*@/gi, '$1');
  const others = http.replaceAll(/(:\/\/[^\s/:@'"]*):[^\s/@'"]*@/g, '$1@');
  return maskKeys(others.replaceAll(/\b[0-9a-f]{40,64}\b/g, id => id.slice(0, 12)));
}
