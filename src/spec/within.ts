/** Which files a load may read, and under which paths they are recorded. */
import {lstat, readlink, realpath} from 'node:fs/promises';
import {isAbsolute, join, relative, sep} from 'node:path';
import {exitCodes, SourceUnavailableError} from '../api/errors.js';

/** A folder that isn't trusted with the rest of the machine: a checkout of a repository. */
export interface Within {
  /** Absolute: every file that is read must lie in it, symbolic links resolved. */
  readonly root: string;
  /** Absolute: what recorded paths say in place of `root`, so that they stay the same from one checkout to the next. */
  readonly as: string;
  /** Absolute: folders beside it that `include` may reach, as the local policy has them. */
  readonly also?: readonly string[];
}

/** How a load gets at files. Paths are recorded ones (`Within.as`) wherever they are passed about. */
export interface Files {
  /** The path that a path on disk is recorded by. */
  recorded(path: string): string;
  /**
   * Where a recorded path is to be opened: free of symbolic links where a load is confined.
   *
   * @throws {OutsideError} where it lies, or a link leads, out of what may be read; nothing out there is looked at
   * @throws the file system's error where it is not there
   */
  locate(path: string): Promise<string>;
}

/** Says the same of what is out there and of what isn't, so that nobody can ask through it. */
export class OutsideError extends SourceUnavailableError {
  override readonly name = 'OutsideError';

  constructor(reason: string) {
    super(reason, {exitCode: exitCodes.invalidInput});
  }
}

/** Every file of the machine, by its own path. */
export const anywhere: Files = {recorded: path => path, locate: path => Promise.resolve(path)};

/** @throws the file system's error where `root` is not there */
export async function filesWithin({root, as, also = []}: Within): Promise<Files> {
  const top = {path: as, real: await realpath(root)};
  const others = await Promise.all(also.map(async path => ({path, real: await realpath(path).catch(() => undefined)})));
  const folders = [top, ...others.flatMap(({path, real}) => (real === undefined ? [] : {path, real}))];
  return {
    recorded(path) {
      const folder = [root, top.real].find(known => isIn(path, known));
      return folder === undefined ? path : join(as, relative(folder, path));
    },
    async locate(path) {
      const folder = folders.find(known => isIn(path, known.path));
      if (!folder) throw new OutsideError('it lies outside of the repository');
      return follow(folder.real, relative(folder.path, path), [...new Set(folders.map(({real}) => real))]);
    },
  };
}

/** Whether `path` is `folder` or lies in it; both absolute, links not looked at. */
export function isIn(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** As many as Linux follows. */
const maxLinks = 40;

/** Follows links by hand, step by step: `realpath` would look at what lies outside, and tell whether it is there. */
async function follow(from: string, path: string, folders: readonly string[]): Promise<string> {
  let current = from;
  let links = 0;
  const rest = path.split(sep);
  for (let step = rest.shift(); step !== undefined; step = rest.shift()) {
    if (step === '' || step === '.') continue;
    const next = join(current, step);
    if (!folders.some(folder => isIn(next, folder))) throw leadsOut();
    if (step === '..' || !(await lstat(next)).isSymbolicLink()) {
      current = next;
      continue;
    }
    if (++links > maxLinks) throw new OutsideError('symbolic links lead round in a circle');
    const target = await readlink(next);
    rest.unshift(...target.split(sep));
    if (!isAbsolute(target)) continue;
    const folder = folders.find(known => isIn(target, known));
    if (folder === undefined) throw leadsOut();
    rest.splice(0, target.split(sep).length, ...relative(folder, target).split(sep));
    current = folder;
  }
  return current;
}

function leadsOut(): OutsideError {
  return new OutsideError('a symbolic link leads out of the repository');
}
