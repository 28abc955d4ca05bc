/**
 * Writes the files of a commit as they are in the repository: we walk the tree and write the bytes ourselves, so that no
 * attribute, filter, hook or line-end rule has a say, and each path is looked at before anything is made.
 */
import {constants, openSync, writeSync, closeSync, lstatSync} from 'node:fs';
import {mkdir, symlink} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {GitError, localError} from './errors.js';
import type {GitProgram} from './program.js';

export interface TreeEntry {
  readonly type: 'file' | 'link';
  readonly id: string;
  readonly bytes: number;
  readonly path: string;
}

/** A tree can name the same subtree a thousand times over: a few kilobytes that unfold to billions of files. */
export const treeLimits = {
  files: 200_000,
  totalBytes: 2 * 1024 ** 3,
  listBytes: 64 * 1024 ** 2,
  linkBytes: 4_096,
} as const;

/** Files and links of a commit; submodules are left out. @throws {GitError} damaged, refused, too-large */
export async function listTree(
  git: GitProgram,
  gitDir: string,
  commit: string,
  signal: AbortSignal,
): Promise<readonly TreeEntry[]> {
  const tried = `cannot list the files of ${commit.slice(0, 12)}`;
  const result = await git
    .run(tried, ['ls-tree', '-r', '-l', '-z', '--full-tree', commit], signal, {gitDir, maxBytes: treeLimits.listBytes})
    .catch((error: unknown) => {
      throw error instanceof GitError && error.kind === 'too-large' ? tooLarge(commit) : error;
    });
  if (result.exitCode !== 0) throw localError(tried, result.stderr);
  return parseTree(result.stdout, commit);
}

export function parseTree(listing: string, commit: string): readonly TreeEntry[] {
  const entries: TreeEntry[] = [];
  let totalBytes = 0;
  for (const line of listing.split('\0')) {
    const [, mode, id, size, path] = /^(\d{6}) \w+ ([0-9a-f]+) +(\d+|-)\t(.*)$/s.exec(line) ?? [];
    if (mode === undefined || id === undefined || path === undefined) continue;
    if (mode === '160000') continue;
    assertSafePath(path, commit);
    const bytes = Number(size);
    const type = mode === '120000' ? 'link' : 'file';
    if (type === 'link' && bytes > treeLimits.linkBytes) {
      throw new GitError(
        'refused',
        `cannot check out ${commit.slice(0, 12)}: the symbolic link ${JSON.stringify(path)} is ${bytes} bytes long`,
      );
    }
    totalBytes += bytes;
    entries.push({type, id, bytes, path});
    if (entries.length > treeLimits.files || totalBytes > treeLimits.totalBytes) throw tooLarge(commit);
  }
  return entries;
}

function tooLarge(commit: string): GitError {
  const {files, totalBytes} = treeLimits;
  return new GitError(
    'too-large',
    `cannot check out ${commit.slice(0, 12)}: it has more than ${files} files or ${totalBytes / 1024 ** 3} GiB`,
    {
      hint: 'Keep what declares fleets in a repository of its own.',
    },
  );
}

/** What git itself refuses in a checkout, on all systems: HFS+ ignores some characters, NTFS has short names. */
export function assertSafePath(path: string, commit: string): void {
  for (const part of path.split('/')) {
    const plain = part.replaceAll(/[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g, '').toLowerCase();
    const isGit = /^(?:\.git|git~1)[ .]*(?::.*)?$/.test(plain);
    if (part !== '' && part !== '.' && part !== '..' && !isGit && !part.includes('\0')) continue;
    throw new GitError(
      'refused',
      `cannot check out ${commit.slice(0, 12)}: the path ${JSON.stringify(path)} is not safe`,
      {
        hint: 'No repository that git made has such a path; look who committed it.',
      },
    );
  }
}

/**
 * Writes all entries into `folder`, which is new and empty: folders 0700, files 0600. Links come last, so that nothing is
 * ever written through one, whatever the tree says and whatever names the file system can't tell apart.
 *
 * @throws {GitError} when anything is not as listed: `folder` must be thrown away then
 */
export async function writeTree(
  git: GitProgram,
  gitDir: string,
  {commit, entries, folder}: {readonly commit: string; readonly entries: readonly TreeEntry[]; readonly folder: string},
  signal: AbortSignal,
): Promise<void> {
  const tried = `cannot check out ${commit.slice(0, 12)}`;
  const ordered = [
    ...entries.filter(entry => entry.type === 'file'),
    ...entries.filter(entry => entry.type === 'link'),
  ];
  await makeFolders(folder, entries);
  if (ordered.length === 0) return;
  const writer = new BlobWriter(folder, ordered, tried);
  const result = await git.run(tried, ['cat-file', '--batch', '--buffer'], signal, {
    gitDir,
    input: ordered.map(({id}) => `${id}\n`).join(''),
    onData: chunk => writer.take(chunk),
  });
  writer.close();
  if (result.exitCode !== 0 || !writer.isDone) throw localError(tried, result.stderr);
}

async function makeFolders(folder: string, entries: readonly TreeEntry[]): Promise<void> {
  const folders = new Set(entries.map(({path}) => dirname(path)));
  await mkdir(folder, {recursive: true, mode: 0o700});
  for (const name of folders) await mkdir(join(folder, name), {recursive: true, mode: 0o700});
}

/** Takes the stream of `cat-file --batch` apart: `<id> blob <bytes>\n<content>\n` for each entry in turn. */
class BlobWriter {
  private at = 0;
  private header = '';
  private left: number | undefined;
  private fd: number | undefined;
  private target: Buffer[] = [];

  constructor(
    private readonly folder: string,
    private readonly entries: readonly TreeEntry[],
    private readonly tried: string,
  ) {}

  get isDone(): boolean {
    return this.at === this.entries.length;
  }

  async take(chunk: Buffer): Promise<void> {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.left === undefined) rest = this.takeHeader(rest);
      else rest = await this.takeContent(rest, this.left);
    }
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = undefined;
  }

  private takeHeader(chunk: Buffer): Buffer {
    const end = chunk.indexOf(10);
    this.header += chunk.toString('latin1', 0, end < 0 ? chunk.length : end);
    if (end < 0) return Buffer.alloc(0);
    const entry = this.entries[this.at];
    if (entry === undefined || this.header !== `${entry.id} blob ${entry.bytes}`) {
      throw localError(this.tried, this.header);
    }
    this.header = '';
    this.left = entry.bytes + 1;
    if (entry.type === 'file') this.fd = openNew(join(this.folder, entry.path), this.tried);
    return chunk.subarray(end + 1);
  }

  private async takeContent(chunk: Buffer, left: number): Promise<Buffer> {
    const part = chunk.subarray(0, left);
    const content = part.subarray(0, Math.min(part.length, left - 1));
    if (this.fd === undefined) this.target.push(content);
    else for (let done = 0; done < content.length;) done += writeSync(this.fd, content, done);
    this.left = left - part.length;
    if (this.left === 0) await this.finishEntry();
    return chunk.subarray(part.length);
  }

  private async finishEntry(): Promise<void> {
    const entry = this.entries[this.at++];
    this.left = undefined;
    if (this.fd !== undefined) return this.close();
    if (entry === undefined) return;
    const target = Buffer.concat(this.target);
    this.target = [];
    if (target.length === 0 || target.includes(0)) {
      throw new GitError('refused', `${this.tried}: the symbolic link ${JSON.stringify(entry.path)} points nowhere`);
    }
    await symlink(target, join(this.folder, entry.path)).catch((error: unknown) => {
      throw sameName(error, entry.path, this.tried);
    });
  }
}

function openNew(path: string, tried: string): number {
  const {O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW} = constants;
  try {
    return openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  } catch (error) {
    throw sameName(error, path, tried);
  }
}

function sameName(error: unknown, path: string, tried: string): unknown {
  if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) return error;
  return new GitError(
    'refused',
    `${tried}: ${JSON.stringify(path)} is there already; this file system holds two names of the tree to be the same`,
  );
}

/** Whether all entries are there in the size that they have in the repository: after a power cut they might not be. */
export function isWholeTree(folder: string, entries: readonly TreeEntry[]): boolean {
  return entries.every(({path, bytes, type}) => {
    const stat = lstatSync(join(folder, path), {throwIfNoEntry: false});
    return stat !== undefined && stat.size === bytes && (type === 'link' ? stat.isSymbolicLink() : stat.isFile());
  });
}
