/** Says when a source may have changed: late rather than twice, and never not at all. */
import type {Stats} from 'node:fs';
import {stat} from 'node:fs/promises';
import {basename, dirname, join, relative, resolve, sep} from 'node:path';
import type {FSWatcher} from 'chokidar';

export interface WatchOptions {
  /** Quiet time after a change before it is told, so that a save in several steps is told once. */
  readonly debounceMs?: number;
}

export interface SourceWatch {
  /** Watches these from now on, as after a change of `include`. */
  update(paths: readonly string[]): void;
  close(): Promise<void>;
}

/**
 * Calls `onChange` after a change of one of `paths` (as in `LoadedFleet.watch`): files, also such as don't exist
 * yet; folders, for the YAML files directly in them; and `folder/**`, for those at any depth. Resolves when changes
 * from now on are seen. `onChange` is not called after `close`.
 *
 * Folders are watched rather than files: editors save by renaming a new file over the old one, and a watch on the
 * old one would end there.
 */
export async function watchSources(
  paths: readonly string[],
  onChange: () => void,
  {debounceMs = 50}: WatchOptions = {},
): Promise<SourceWatch> {
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const tell = (): void => {
    clearTimeout(timer);
    if (!closed) timer = setTimeout(onChange, debounceMs);
  };
  const watched = new WatchedPaths(paths);
  await watched.refresh();

  // A folder may go, come, or be replaced by another of its name: then the watch is begun anew.
  let rearming = Promise.resolve();
  const rearm = (): void => {
    rearming = rearming.then(async () => {
      const before = watched.identity;
      await watched.refresh();
      if (closed || watched.identity === before) return;
      const old = watcher;
      watcher = await begin(watched, tell, rearm);
      await old.close();
      tell(); // for what happened before the new watch began
    });
  };
  let watcher = await begin(watched, tell, rearm);
  rearm(); // a folder may have changed since it was looked at

  return {
    update(next) {
      watched.paths = next;
      rearm();
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await rearming;
      await watcher.close();
    },
  };
}

/** Resolves when the watch is on. */
async function begin(watched: WatchedPaths, tell: () => void, rearm: () => void): Promise<FSWatcher> {
  const {watch} = await import('chokidar');
  const ignored = (path: string, stats?: Stats): boolean => !watched.sees(path, stats?.isFile());
  const watcher = watch([...watched.folders], {ignoreInitial: true, atomic: false, ignored});
  // `all` finds the files of new folders; `raw` isn't throttled as `all` is, so that no save is lost in the wake of another.
  watcher.on('all', (_, path) => {
    if (watched.counts(path)) tell();
  });
  watcher.on('raw', (event, path, details) => {
    const {watchedPath = ''} = details as {watchedPath?: string}; // chokidar types it as unknown
    if (watched.counts(watchedPath) || watched.counts(join(watchedPath, path ?? ''))) tell();
    if (event === 'rename') rearm();
  });
  // What can't be watched any more shows as a change: the load that follows says what is wrong with it.
  watcher.on('error', tell);
  // Of nothing to watch chokidar never says that it is ready.
  if (watched.folders.size > 0) await new Promise<void>(resolve => watcher.once('ready', resolve));
  return watcher;
}

/** Which folders to watch for some paths, and what in them counts. */
class WatchedPaths {
  /** What the watcher is given. All of them existed at the last refresh. */
  folders: ReadonlySet<string> = new Set();
  /** Paths that count by themselves: files, and the first missing folder on the way to one. */
  private exact: ReadonlySet<string> = new Set();
  private flat: ReadonlySet<string> = new Set();
  private trees: readonly string[] = [];
  /** Differs where the same watch would not do any more. */
  identity = '';

  constructor(public paths: readonly string[]) {}

  /** Looks again at what exists. */
  async refresh(): Promise<void> {
    const targets = await Promise.all(this.paths.map(path => targetOf(resolve(path))));
    const found = await Promise.all(targets.map(async target => ({...target, ...(await nearest(target.folder))})));
    this.exact = new Set(found.flatMap(({file, missing, folder}) => missing ?? file ?? folder));
    this.flat = new Set(found.flatMap(({kind, missing, folder}) => (kind === 'flat' && !missing ? folder : [])));
    this.trees = found.flatMap(({kind, missing, folder}) => (kind === 'tree' && !missing ? folder : []));
    this.folders = new Set(found.map(({existing}) => existing));
    const inodes = found.map(({existing, inode}) => `${existing} ${inode}`);
    this.identity = [...new Set([...inodes, ...this.trees])].sort().join('\n');
  }

  /** Whether a change there is to be told. */
  counts(path: string): boolean {
    return (
      this.exact.has(path) ||
      (isYaml(path) && (this.flat.has(dirname(path)) || this.trees.some(tree => isBelow(path, tree))))
    );
  }

  /** Whether the watcher has to look there. */
  sees(path: string, isFile: boolean | undefined): boolean {
    if (this.folders.has(path) || this.counts(path)) return true;
    return isFile !== true && this.trees.some(tree => isBelow(path, tree));
  }
}

interface Target {
  readonly kind: 'file' | 'flat' | 'tree';
  readonly folder: string;
  readonly file?: string;
}

async function targetOf(path: string): Promise<Target> {
  if (basename(path) === '**') return {kind: 'tree', folder: dirname(path)};
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() ? {kind: 'flat', folder: path} : {kind: 'file', folder: dirname(path), file: path};
}

interface Nearest {
  /** The nearest folder that exists. */
  readonly existing: string;
  /** Tells it from another folder of the same name; inode numbers alone are used again. */
  readonly inode: string;
  /** Where that isn't the folder itself: the path whose appearance brings it nearer. */
  readonly missing?: string;
}

async function nearest(folder: string): Promise<Nearest> {
  let missing: string | undefined;
  for (let current = folder; ; current = dirname(current)) {
    const found = await stat(current).catch(() => undefined);
    if (found?.isDirectory() || dirname(current) === current) {
      const inode = found ? `${found.ino} ${found.birthtimeMs}` : '';
      return {existing: current, inode, ...(missing !== undefined && {missing})};
    }
    missing = current;
  }
}

function isYaml(path: string): boolean {
  return /\.ya?ml$/.test(path);
}

/** As `include` sees it: folders that are hidden, and node_modules, are not looked into. */
function isBelow(path: string, tree: string): boolean {
  const way = relative(tree, path).split(sep);
  return way[0] !== '' && way.every(name => !name.startsWith('.') && name !== 'node_modules');
}
