/**
 * Our copy of a repository, `repo.git`. No git ever writes into it: a fetch writes into a folder of its own that shares
 * the packs by hard links, and takes the copy's place when all is well. So it doesn't matter where git is killed,
 * whether one that nobody waits for any more still writes, or which locks of its it leaves.
 */
import {cp, link, mkdir, readdir, rename, rm, unlink, copyFile} from 'node:fs/promises';
import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {isCommitId} from '../api/git-address.js';
import {GitError, localError} from './errors.js';
import type {GitProgram, GitResult} from './program.js';

/** One bare repository on our disk, read with git. */
export class GitRepository {
  constructor(
    readonly gitDir: string,
    private readonly git: GitProgram,
  ) {}

  /** @throws {GitError} damaged */
  async read(args: readonly string[], signal: AbortSignal, input?: string): Promise<string> {
    const {exitCode, stdout, stderr} = await this.run(args, signal, input);
    if (exitCode !== 0) throw localError(`cannot read ${this.gitDir}`, stderr);
    return stdout;
  }

  run(args: readonly string[], signal: AbortSignal, input?: string): Promise<GitResult> {
    return this.git.run(`cannot read ${this.gitDir}`, args, signal, {
      gitDir: this.gitDir,
      maxBytes: 256 * 1024 * 1024,
      ...(input !== undefined && {input}),
    });
  }

  exists(): boolean {
    return existsSync(join(this.gitDir, 'HEAD'));
  }

  /** Fetched as a whole: only then a commit gets its ref. */
  isWhole(commit: string): boolean {
    return readRef(join(this.gitDir, 'refs', 'revisions', commit)) === commit;
  }

  /** The object that a tag's ref names: a tag, or a commit. */
  tag(name: string): string | undefined {
    return readRef(join(this.gitDir, 'refs', 'tags', name));
  }

  revisions(): Promise<readonly string[]> {
    return readdir(join(this.gitDir, 'refs', 'revisions')).catch(() => []);
  }

  /** Loose refs are files that git reads anew each time; unlinking one is atomic and needs no lock. */
  async forget(commit: string): Promise<void> {
    await unlink(join(this.gitDir, 'refs', 'revisions', commit)).catch(() => undefined);
  }

  /** Commits whose parents are not here, though they have some. */
  shallowCommits(): ReadonlySet<string> {
    try {
      return new Set(readFileSync(join(this.gitDir, 'shallow'), 'utf8').split('\n').filter(isCommitId));
    } catch {
      return new Set();
    }
  }

  async has(commit: string, signal: AbortSignal): Promise<boolean> {
    return (await this.run(['cat-file', '-e', `${commit}^{commit}`], signal)).exitCode === 0;
  }

  async isAncestor(older: string, newer: string, signal: AbortSignal): Promise<boolean> {
    const {exitCode, stderr} = await this.run(['merge-base', '--is-ancestor', older, newer], signal);
    if (exitCode > 1) throw localError(`cannot compare ${older.slice(0, 12)} and ${newer.slice(0, 12)}`, stderr);
    return exitCode === 0;
  }

  /** Of commits at the cut that `commit` descends from: the parents that they name, as far as these are here. */
  async parentsBeyondCut(commit: string, cut: ReadonlySet<string>, signal: AbortSignal): Promise<readonly string[]> {
    const ends = (await this.commitsNotIn(commit, [], signal)).filter(id => cut.has(id));
    const texts = await Promise.all(ends.slice(0, 100).map(id => this.read(['cat-file', 'commit', id], signal)));
    const parents = texts.flatMap(text =>
      [...(text.split('\n\n', 1)[0] ?? '').matchAll(/^parent ([0-9a-f]+)$/gm)].map(m => m[1] ?? ''),
    );
    const here = await Promise.all(parents.map(id => this.has(id, signal)));
    return parents.filter((_, at) => here[at]);
  }

  async commitsNotIn(commit: string, excluded: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
    const input = [commit, ...excluded.map(id => `^${id}`), ''].join('\n');
    return (await this.read(['rev-list', '--stdin'], signal, input)).split('\n').filter(isCommitId);
  }

  /** Seconds since 1970, by id. */
  async commitTimes(ids: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
    const stdout = await this.read(['log', '--no-walk', '--stdin', '--format=%H %ct'], signal, `${ids.join('\n')}\n`);
    return new Map(stdout.split('\n').map(line => [line.split(' ')[0] ?? '', Number(line.split(' ')[1])]));
  }
}

function readRef(path: string): string | undefined {
  try {
    const text = readFileSync(path, 'utf8').trim();
    return isCommitId(text) ? text : undefined;
  } catch {
    return undefined;
  }
}

/** An empty repository for ids of this length in `folder`, which is made. */
export async function initCopy(
  folder: string,
  idLength: number,
  git: GitProgram,
  signal: AbortSignal,
): Promise<GitRepository> {
  const format = idLength === 64 ? ['--object-format=sha256'] : [];
  const result = await git.run(
    'cannot make a repository',
    ['init', '--quiet', '--bare', '--template=', ...format, '--', folder],
    signal,
  );
  if (result.exitCode !== 0) throw localError(`cannot make a repository in ${folder}`, result.stderr);
  return new GitRepository(folder, git);
}

/** What makes up a repository for us; whatever else lies in it (locks, half packs) stays behind. */
export async function linkCopy(from: string, to: string, git: GitProgram): Promise<GitRepository> {
  await mkdir(join(to, 'objects', 'pack'), {recursive: true, mode: 0o700});
  for (const name of await readdir(join(from, 'objects', 'pack'))) {
    if (/^pack-[0-9a-f]+\.(?:pack|idx|rev)$/.test(name)) {
      await linkFile(join(from, 'objects', 'pack', name), join(to, 'objects', 'pack', name));
    }
  }
  for (const name of ['HEAD', 'config', 'shallow']) {
    await copyFile(join(from, name), join(to, name)).catch((error: NodeJS.ErrnoException) => {
      if (name !== 'shallow' || error.code !== 'ENOENT') throw error;
    });
  }
  await cp(join(from, 'refs'), join(to, 'refs'), {recursive: true, filter: path => !path.endsWith('.lock')});
  return new GitRepository(to, git);
}

/** A file system without hard links gets a copy. */
async function linkFile(from: string, to: string): Promise<void> {
  await link(from, to).catch(() => copyFile(from, to));
}

/** Puts the folder `from` in the place of `to`; what stood there goes to `aside` and is removed. */
export async function swapFolder(from: string, to: string, aside: string): Promise<void> {
  await rename(to, aside).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await rename(from, to);
  await rm(aside, {recursive: true, force: true}).catch(() => undefined);
}

/** Beyond this many packs git gets slow, and most of what is in them is needed no more. */
const mostPacks = 30;

/** Packs what the refs need into one pack and drops the rest, if many packs have come together. */
export async function repackWhenMany(repository: GitRepository, signal: AbortSignal): Promise<void> {
  const packs = (await readdir(join(repository.gitDir, 'objects', 'pack'))).filter(name => name.endsWith('.pack'));
  if (packs.length <= mostPacks) return;
  await repository.read(['repack', '-a', '-d', '-q'], signal);
}

export function isDamage(error: unknown): boolean {
  return error instanceof GitError && error.kind === 'damaged';
}
