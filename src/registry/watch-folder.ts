/** Says when something in a folder of ours comes or goes. Cheap: one watch of the kernel's, nothing is read. */
import {watch} from 'node:fs';
import type {FSWatcher} from 'node:fs';

const gatherMs = 50;

/**
 * Calls `changed` a moment after entries of `folder` were made, removed, renamed or written, or the folder itself was
 * removed. A folder that can't be watched (it isn't there, no watches are left) is silent: whoever relies on it looks
 * from time to time as well.
 *
 * @returns ends it
 */
export function watchFolder(folder: string, changed: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const tell = (): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      changed();
    }, gatherMs);
  };
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(folder, {persistent: false}, tell).on('error', tell);
  } catch {
    // as said above
  }
  return () => {
    clearTimeout(timer);
    watcher?.close();
  };
}
