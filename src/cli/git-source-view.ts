/** Git sources as the commands that list and change them see them. */
import {TektonError} from '../api/errors.js';
import type {GitRef, GitSourceRecord, GitSourceStatus} from '../api/git-source.js';
import {readGitSourceRecords, readGitSourceStatus} from '../registry/git-source-records.js';
import type {GlobalOptions} from './options.js';
import {qualifiedName} from './view.js';

export interface GitSourceView {
  readonly record: GitSourceRecord;
  /** Absent: no controller and no command has come to it yet. */
  readonly status: GitSourceStatus | undefined;
}

/**
 * Those that `names` (a name, or namespace/name) mean, in the order of names; all of them without one.
 *
 * @throws {TektonError} naming the known ones
 */
export async function selectGitSources(
  home: string,
  names: readonly string[],
  {namespace}: GlobalOptions,
): Promise<readonly GitSourceView[]> {
  const all = readGitSourceRecords(home).filter(record => (namespace ?? record.namespace) === record.namespace);
  const found = new Set(names.length === 0 ? all : []);
  for (const name of names) {
    const [first, second] = all.filter(one => one.name === name || `${one.namespace}/${one.name}` === name);
    if (first === undefined) throw await unknownSource(all, name);
    if (second !== undefined) {
      throw new TektonError(`"${name}" could be ${first.namespace}/${name} or ${second.namespace}/${name}`, {
        hint: 'name one of them, or use -n',
      });
    }
    found.add(first);
  }
  return all.filter(one => found.has(one)).map(record => ({record, status: readGitSourceStatus(home, record)}));
}

async function unknownSource(known: readonly GitSourceRecord[], name: string): Promise<TektonError> {
  if (known.length === 0) {
    return new TektonError(`there is no git source "${name}": none is followed here`, {
      hint: 'follow one with: tekton-ai up --git URL --branch main --path envs/dev',
    });
  }
  const {suggest} = await import('../api/suggest.js');
  const names = known.map(qualifiedName);
  const similar = suggest(name, names);
  const hint = `${similar === undefined ? '' : `${similar} `}known: ${names.join(', ')}`;
  return new TektonError(`there is no git source "${name}"`, {hint});
}

/** "branch main", "tag v1.*", "commit 1a2b3c4", "the default branch". */
export function refText(ref: GitRef): string {
  switch (ref.type) {
    case 'default':
      return 'the default branch';
    case 'branch':
      return `branch ${ref.name}`;
    case 'tag':
      return `tag ${ref.pattern}`;
    case 'commit':
      return `commit ${ref.commit.slice(0, 7)}`;
  }
}
