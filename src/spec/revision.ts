/** Which commit a folder is at, read from git's own files: git need not be there, and no program is started. */
import {readFile} from 'node:fs/promises';
import {dirname, join, resolve} from 'node:path';

const commit = /^[0-9a-f]{40}([0-9a-f]{24})?$/;

/**
 * The commit that is checked out in the repository that `folder` is in; undefined where there is none, or none yet. Files
 * that were changed since then are not asked about. Never rejects.
 */
export async function revisionOf(folder: string): Promise<string | undefined> {
  const gitFolder = await findGitFolder(folder);
  if (gitFolder === undefined) return undefined;
  const head = await read(join(gitFolder, 'HEAD'));
  const ref = head === undefined ? undefined : /^ref: (refs\/\S+)$/.exec(head)?.[1];
  const found = ref === undefined ? head : await commitOf(ref, gitFolder);
  return found !== undefined && commit.test(found) ? found : undefined;
}

/** `.git` of `folder` or of one above it; in a linked worktree or a submodule it is a file that says where. */
async function findGitFolder(folder: string): Promise<string | undefined> {
  const path = join(folder, '.git');
  if ((await read(join(path, 'HEAD'))) !== undefined) return path;
  const elsewhere = /^gitdir: (.+)$/.exec((await read(path)) ?? '')?.[1];
  if (elsewhere !== undefined) return resolve(folder, elsewhere);
  const above = dirname(folder);
  return above === folder ? undefined : findGitFolder(above);
}

async function commitOf(ref: string, gitFolder: string): Promise<string | undefined> {
  // A linked worktree has its own HEAD, and shares its branches.
  const shared = resolve(gitFolder, (await read(join(gitFolder, 'commondir'))) ?? '.');
  const loose = await read(join(shared, ref));
  if (loose !== undefined) return loose;
  const packed = (await read(join(shared, 'packed-refs'))) ?? '';
  return packed
    .split('\n')
    .find(line => line.endsWith(` ${ref}`))
    ?.split(' ')[0];
}

async function read(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').then(
    text => text.trim(),
    () => undefined,
  );
}
