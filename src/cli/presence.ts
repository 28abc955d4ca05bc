/** Keeps a running controller to be found: leader lock, record and socket are put back when somebody removes them. */
import {existsSync, statSync, watch} from 'node:fs';
import type {FSWatcher} from 'node:fs';
import {dirname} from 'node:path';
import {describeError} from '../api/errors.js';
import type {Logger} from '../reconciler/ports.js';

export interface Presence {
  /** The state folder. While it is gone as a whole nothing is put back: it was moved, or is being removed. */
  readonly home: string;
  /** What others look for; each in a folder that may be removed with it. */
  readonly paths: readonly string[];
  /** Puts back whatever is missing, and makes its folder. Does nothing where all is there. */
  readonly restore: () => Promise<void>;
  readonly log: Logger;
}

/** A burst of changes in the folder, a hundred launches say, is one look. */
const settleMs = 50;
/** When it could not be put back (a full disk, say). */
const retryMs = 2_000;

/** Looks whenever something happens in the folders of `paths`, until the answer is called: that waits for a restoring under way. */
export function keepPresent({home, paths, restore, log}: Presence): () => Promise<void> {
  const folders = [...new Set(paths.map(path => dirname(path)))];
  const watches = new Map<string, {readonly inode: number; readonly watcher: FSWatcher}>();
  let timer: NodeJS.Timeout | undefined;
  let looking = Promise.resolve();
  let over = false;

  const soon = (afterMs: number): void => {
    if (over) return;
    timer ??= setTimeout(() => {
      timer = undefined;
      looking = look();
    }, afterMs);
  };
  const look = async (): Promise<void> => {
    if (!existsSync(home)) return soon(retryMs);
    try {
      await restore();
      if (!over) watchAgain();
    } catch (error) {
      log.warn({error: describeError(error)}, 'cannot put back what others find this controller by');
      soon(retryMs);
    }
  };
  /** A folder that was removed and made anew is another one: the old one's watch sees nothing of it. */
  const watchAgain = (): void => {
    for (const folder of folders) {
      const inode = statSync(folder).ino;
      const known = watches.get(folder);
      if (known?.inode === inode) continue;
      known?.watcher.close();
      const watcher = watch(folder, () => soon(settleMs)).on('error', () => soon(retryMs));
      watches.set(folder, {inode, watcher});
      soon(settleMs); // something may have gone before this watch stood
    }
  };

  looking = look();
  return async () => {
    over = true;
    clearTimeout(timer);
    await looking;
    for (const {watcher} of watches.values()) watcher.close();
  };
}
