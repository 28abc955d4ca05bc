/**
 * Stops this process at a chosen system call: `node:fs` is patched, for the code under test has no hooks of its own.
 * To be imported first: some of that code keeps the functions that it finds when it is loaded.
 */
import fs from 'node:fs';
import {syncBuiltinESMExports} from 'node:module';
import promises from 'node:fs/promises';

export const freezePoints = [
  'before the mark',
  'before the folder',
  'after the folder',
  'before the temporary file',
  'after the temporary file',
  'before the last check',
  'before the rename',
  'after the rename',
  'before the release',
] as const;

export type FreezeAt = (typeof freezePoints)[number];

let stopped = false;

function stop(): void {
  if (stopped) return;
  stopped = true;
  writeSync(1, 'stopping\n');
  process.kill(process.pid, 'SIGSTOP');
}

type Test = (path: string) => boolean;

const never: Test = () => false;
const hooks = {
  beforeOpen: never,
  afterOpen: never,
  beforeStat: never,
  beforeMkdir: never,
  afterMkdir: never,
  beforeRename: never,
  afterRename: never,
  beforeRmdir: never,
  beforeMark: never,
};

const {openSync, statSync, mkdirSync, rmdir, writeSync, renameSync} = fs;
const {rename} = promises;

/** Calls `real` with a stop before or after, where the hook says so of its first argument. */
function around<A extends unknown[], R>(
  real: (...args: A) => R,
  before: keyof typeof hooks,
  after?: keyof typeof hooks,
): (...args: A) => R {
  return (...args) => {
    if (hooks[before](String(args[0]))) stop();
    const result = real(...args);
    if (after !== undefined && hooks[after](String(args[0]))) stop();
    return result;
  };
}

Object.assign(fs, {
  openSync: around(openSync, 'beforeOpen', 'afterOpen'),
  statSync: around(statSync as (path: string) => unknown, 'beforeStat'),
  mkdirSync: around(mkdirSync as (path: string) => unknown, 'beforeMkdir', 'afterMkdir'),
  rmdir: around(rmdir as (path: string, done: () => void) => unknown, 'beforeRmdir'),
  renameSync: around(renameSync, 'beforeRename', 'afterRename'),
  writeSync: (...args: Parameters<typeof writeSync>) => {
    if (hooks.beforeMark(String(args[1]))) stop();
    return writeSync(...args);
  },
});
Object.assign(promises, {
  rename: async (from: string, to: string) => {
    if (hooks.beforeRename(from)) stop();
    await rename(from, to);
    if (hooks.afterRename(from)) stop();
  },
});
syncBuiltinESMExports();

export function stopOnceAt(at: FreezeAt): void {
  const isFolder: Test = path => /\.(registration|port_allocation)\.lock\.lock$/.test(path);
  const isTemporary: Test = path => /\.(platform_ai_registry|ports)\.json\..*\.tmp$/.test(path);
  const isLockFile: Test = path => /(registration|port_allocation)\.kernel$/.test(path);
  let isWritten = false;
  const points: Record<FreezeAt, Partial<typeof hooks>> = {
    'before the mark': {beforeMark: text => text.startsWith('making ')},
    'before the folder': {beforeMkdir: isFolder},
    'after the folder': {afterMkdir: isFolder},
    'before the temporary file': {beforeOpen: isTemporary},
    'after the temporary file': {afterOpen: isTemporary},
    'before the last check': {
      afterOpen: path => ((isWritten ||= isTemporary(path)), false),
      beforeStat: path => isWritten && isLockFile(path),
    },
    'before the rename': {beforeRename: isTemporary},
    'after the rename': {afterRename: isTemporary},
    'before the release': {beforeRmdir: isFolder},
  };
  Object.assign(hooks, points[at]);
}
