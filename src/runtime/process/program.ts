/**
 * The worker's program. It runs from a copy in the state folder, named by its content, so that workers live on
 * unharmed while `npm ci` or an upgrade replaces the package's own files.
 */
import {randomUUID} from 'node:crypto';
import {cp, mkdir, readFile, rename, rm, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {TektonError} from '../../api/errors.js';

/** Name of the entry file within the program's folder. */
const entry = 'main.cjs';

/**
 * Path of the program in `home`, copied there from `folder` (the built `dist/worker`) if it isn't yet.
 *
 * @throws {TektonError} when the package was not built, or the state folder can't be written
 */
export async function ensureProgram(home: string, folder: string): Promise<string> {
  const hash = await readBuildHash(folder);
  const target = join(home, 'bin', `worker-${hash}`);
  if (await exists(join(target, entry))) return join(target, entry);
  const draft = `${target}.${randomUUID()}.tmp`;
  try {
    await mkdir(join(home, 'bin'), {recursive: true, mode: 0o700});
    await cp(folder, draft, {recursive: true});
    await rename(draft, target);
  } catch (error) {
    await rm(draft, {recursive: true, force: true});
    // Somebody else may have put the same content there meanwhile.
    if (!(await exists(join(target, entry)))) {
      throw new TektonError(`cannot copy the worker's program to ${target}`, {cause: error});
    }
  }
  return join(target, entry);
}

/** Content hash that the build wrote beside the program. */
export async function readBuildHash(folder: string): Promise<string> {
  try {
    return (await readFile(join(folder, 'hash'), 'utf8')).trim();
  } catch (cause) {
    throw new TektonError(`cannot find the worker's program in ${folder}`, {
      cause,
      hint: 'build it with `npm run build`',
    });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
