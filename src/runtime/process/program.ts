/**
 * The worker's program. It runs from a copy in the state folder, named by its content, so that workers live on
 * unharmed while `npm ci` or an upgrade replaces the package's own files.
 */
import {lstatSync, mkdirSync, readdirSync, statSync} from 'node:fs';
import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {TektonError} from '../../api/errors.js';
import {errorCode, fileError, writeWhole} from '../../registry/files.js';
import {setAside} from '../../registry/own-files.js';
import {statePaths} from '../../registry/paths.js';

/** Name of the entry file within the program's folder. */
const entry = 'main.cjs';

/**
 * Path of the program in `home`. What of it isn't there yet, or no longer, is copied from `folder` (the built
 * `dist/worker`), each file whole and synced to disk: a half copy is completed by the next caller, and two at once write the
 * same. Links in the copy's place are not followed: what stands there is what will run.
 *
 * @throws {TektonError} when the package was not built, or the state folder can't be written
 */
export async function ensureProgram(home: string, folder: string): Promise<string> {
  const hash = await readBuildHash(folder);
  const {programs} = statePaths(home);
  const target = join(programs, `worker-${hash}`);
  try {
    ownFolder(programs);
    ownFolder(target);
    for (const name of missingFiles(folder, target)) {
      await writeWhole(join(target, name), await readFile(join(folder, name)));
    }
  } catch (error) {
    throw fileError(`cannot copy the worker's program to ${target}`, error);
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

/** Makes it where it isn't; anything else than a folder is moved aside. */
function ownFolder(path: string): void {
  if (lstatSync(path, {throwIfNoEntry: false})?.isDirectory()) return;
  setAside(path);
  try {
    mkdirSync(path, {mode: 0o700});
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error; // somebody else made it meanwhile
  }
}

/** Names of the program's files that `target` lacks. The folder is named by their content, so the size tells enough. */
function missingFiles(folder: string, target: string): readonly string[] {
  return readdirSync(folder).filter(name => {
    const copy = lstatSync(join(target, name), {throwIfNoEntry: false});
    return !copy?.isFile() || copy.nlink !== 1 || copy.size !== statSync(join(folder, name)).size;
  });
}
