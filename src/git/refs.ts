/** What `git ls-remote` says, and which of it a GitRef means. Pure. */
import type {GitRef} from '../api/git-source.js';

export interface RemoteRefs {
  /** Where HEAD points to, as `refs/heads/main`. */
  readonly head: string | undefined;
  /** By full name; `refs/tags/v1^{}` is the commit that an annotated tag stands for. */
  readonly ids: ReadonlyMap<string, string>;
}

export interface Resolved {
  readonly commit: string;
  /** Name of the branch or tag, without `refs/heads/` or `refs/tags/`. */
  readonly name?: string;
}

export function parseRemoteRefs(stdout: string): RemoteRefs {
  let head: string | undefined;
  const ids = new Map<string, string>();
  for (const line of stdout.split('\n')) {
    const symbolic = /^ref: (refs\/heads\/\S+)\tHEAD$/.exec(line);
    if (symbolic) head = symbolic[1];
    const [, id, name] = /^([0-9a-f]{40}|[0-9a-f]{64})\t(\S+)$/.exec(line) ?? [];
    if (id !== undefined && name !== undefined) ids.set(name, id);
  }
  return {head, ids};
}

/** undefined: the remote has no such ref. */
export function resolveRef(ref: Exclude<GitRef, {type: 'commit'}>, {head, ids}: RemoteRefs): Resolved | undefined {
  switch (ref.type) {
    case 'default': {
      const commit = ids.get('HEAD');
      const name = head?.replace(/^refs\/heads\//, '');
      return commit === undefined ? undefined : {commit, ...(name !== undefined && {name})};
    }
    case 'branch': {
      const commit = ids.get(`refs/heads/${ref.name}`);
      return commit === undefined ? undefined : {commit, name: ref.name};
    }
    case 'tag': {
      const name = highestTag(ref.pattern, namesBelow('refs/tags/', ids));
      if (name === undefined) return undefined;
      const commit = ids.get(`refs/tags/${name}^{}`) ?? ids.get(`refs/tags/${name}`);
      return commit === undefined ? undefined : {commit, name};
    }
    default:
      return ref satisfies never;
  }
}

export function namesBelow(prefix: string, ids: ReadonlyMap<string, string>): readonly string[] {
  return [...ids.keys()]
    .filter(name => name.startsWith(prefix) && !name.endsWith('^{}'))
    .map(name => name.slice(prefix.length));
}

/**
 * The tag of this name; with `*` in the pattern the highest by version that matches. A release is higher than its
 * pre-releases, and what looks like no version is lower than what does.
 */
export function highestTag(pattern: string, tags: readonly string[]): string | undefined {
  if (!pattern.includes('*')) return tags.find(tag => tag === pattern);
  const matching = tags.filter(tag => matches(pattern.split('*'), tag));
  return matching.reduce<string | undefined>(
    (best, tag) => (best === undefined || compareVersions(tag, best) > 0 ? tag : best),
    undefined,
  );
}

/** Leftmost match of each part in turn: linear, whatever the pattern. */
function matches(parts: readonly string[], text: string): boolean {
  const [first = '', last = ''] = [parts[0], parts.at(-1)];
  if (!text.startsWith(first) || text.length < first.length + last.length || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

interface Version {
  readonly numbers: readonly string[];
  readonly preRelease: readonly string[];
}

/** Semantic versions (semver.org, 11), with any text before the first digit and any count of numbers. */
function parseVersion(tag: string): Version | undefined {
  const [, numbers, preRelease] = /^\D*?(\d+(?:\.\d+)*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$/.exec(tag) ?? [];
  if (numbers === undefined) return undefined;
  return {numbers: numbers.split('.'), preRelease: preRelease?.split('.') ?? []};
}

export function compareVersions(a: string, b: string): number {
  const [left, right] = [parseVersion(a), parseVersion(b)];
  if (left === undefined || right === undefined) {
    return Number(left !== undefined) - Number(right !== undefined) || compareTexts(a, b);
  }
  for (let at = 0; at < Math.max(left.numbers.length, right.numbers.length); at++) {
    const order = compareNumbers(left.numbers[at] ?? '0', right.numbers[at] ?? '0');
    if (order !== 0) return order;
  }
  return comparePreReleases(left.preRelease, right.preRelease) || compareTexts(a, b);
}

function comparePreReleases(a: readonly string[], b: readonly string[]): number {
  if (a.length === 0 || b.length === 0) return b.length - a.length;
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const [left, right] = [a[at], b[at]];
    if (left === undefined || right === undefined) return left === undefined ? -1 : 1;
    const [isLeftNumber, isRightNumber] = [/^\d+$/.test(left), /^\d+$/.test(right)];
    if (isLeftNumber !== isRightNumber) return isLeftNumber ? -1 : 1;
    const order = isLeftNumber ? compareNumbers(left, right) : compareTexts(left, right);
    if (order !== 0) return order;
  }
  return 0;
}

/** Digits of any length: dates and build numbers may be beyond what a number holds. */
function compareNumbers(a: string, b: string): number {
  const [left, right] = [a.replace(/^0+(?=\d)/, ''), b.replace(/^0+(?=\d)/, '')];
  return left.length - right.length || compareTexts(left, right);
}

function compareTexts(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
