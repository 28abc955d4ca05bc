/** Says when a source may have changed: late rather than twice, and never not at all. */
import {stat} from 'node:fs/promises';
import {basename, dirname, relative, resolve, sep} from 'node:path';
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
  const {watch} = await import('chokidar');
  const watched = new WatchedPaths(paths);
  await watched.refresh();
  const watcher = watch([...watched.folders], {
    ignoreInitial: true,
    ignored: (path, stats) => !watched.sees(path, stats?.isFile()),
  });
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  const rearm = async (): Promise<void> => {
    const before = new Set(watched.folders);
    await watched.refresh();
    if (closed) return;
    watcher.unwatch([...before].filter(folder => !watched.folders.has(folder)));
    watcher.add([...watched.folders].filter(folder => !before.has(folder)));
  };
  const changed = (path: string): void => {
    if (closed || !watched.counts(path)) return;
    clearTimeout(timer);
    timer = setTimeout(onChange, debounceMs);
  };
  watcher.on('all', (event, path) => {
    if (event === 'addDir' || event === 'unlinkDir') void rearm();
    changed(path);
  });
  // What can't be watched any more shows as a change: the load that follows says what is wrong with it.
  watcher.on('error', () => changed([...watched.folders][0] ?? sep));
  await ready(watcher);

  return {
    update(next) {
      watched.paths = next;
      void rearm();
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await watcher.close();
    },
  };
}

/** Which folders to watch for some paths, and what in them counts. */
class WatchedPaths {
  /** What the watcher is given. All of them existed at the last refresh. */
  folders: ReadonlySet<string> = new Set();
  /** Paths that count by themselves: files, and the first missing folder on the way to one. */
  private exact: ReadonlySet<string> = new Set();
  private flat: ReadonlySet<string> = new Set();
  private trees: readonly string[] = [];

  constructor(public paths: readonly string[]) {}

  /** Looks again at what exists. */
  async refresh(): Promise<void> {
    const targets = await Promise.all(this.paths.map(path => targetOf(resolve(path))));
    const found = await Promise.all(targets.map(async target => ({...target, ...(await nearest(target.folder))})));
    this.exact = new Set(found.flatMap(({file, missing, folder}) => missing ?? file ?? folder));
    this.flat = new Set(found.flatMap(({kind, missing, folder}) => (kind === 'flat' && !missing ? folder : [])));
    this.trees = found.flatMap(({kind, missing, folder}) => (kind === 'tree' && !missing ? folder : []));
    this.folders = new Set(found.map(({existing}) => existing));
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

/** The nearest folder that exists, and, where that isn't `folder` itself, the path whose appearance brings it nearer. */
async function nearest(folder: string): Promise<{existing: string; missing?: string}> {
  let missing: string | undefined;
  for (let current = folder; ; current = dirname(current)) {
    const found = await stat(current).catch(() => undefined);
    if (found?.isDirectory() || dirname(current) === current) {
      return {existing: current, ...(missing !== undefined && {missing})};
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

async function ready(watcher: FSWatcher): Promise<void> {
  await new Promise<void>(resolve => watcher.once('ready', resolve));
}
