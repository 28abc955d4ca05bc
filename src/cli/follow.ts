/** Reads what is appended to a file, across its rotation, as `tail -F` does. */
import {constants, watch} from 'node:fs';
import {open, stat, type FileHandle} from 'node:fs/promises';
import path from 'node:path';
import {StringDecoder} from 'node:string_decoder';

const chunkBytes = 64 * 1024;
/** Looked at again after this time where the folder can't be watched. */
const againMs = 500;

/**
 * Text from byte `from` on, as it comes, until `signal` aborts. The file may not exist yet; when another takes its
 * place, the old one is read to its end and the new one from its beginning.
 */
export async function* follow(file: string, from: number, signal: AbortSignal): AsyncGenerator<string> {
  const changes = watchFile(file);
  let handle = await openFile(file);
  let position = from;
  let decoder = new StringDecoder('utf8');
  try {
    while (!signal.aborted) {
      const bytes = handle && (await readAt(handle, position));
      if (bytes !== undefined && bytes.length > 0) {
        position += bytes.length;
        yield decoder.write(bytes);
        continue;
      }
      if (await isReplaced(file, handle, position)) {
        await handle?.close();
        handle = await openFile(file);
        position = 0;
        decoder = new StringDecoder('utf8');
        if (handle !== undefined) continue;
      }
      await changes.next(againMs, signal);
    }
  } finally {
    changes.close();
    await handle?.close();
  }
}

/** Where the last `lines` lines of a file begin, in bytes. A last line without an end counts. */
export async function tailOffset(file: string, lines: number): Promise<number> {
  const handle = await openFile(file);
  if (handle === undefined) return 0;
  try {
    const {size} = await handle.stat();
    if (lines === 0) return size;
    let found = 0;
    // The newline at the very end ends the last line and begins none.
    for (let end = size - 1; end > 0;) {
      const start = Math.max(0, end - chunkBytes);
      const {buffer, bytesRead} = await handle.read(Buffer.alloc(end - start), 0, end - start, start);
      for (let at = bytesRead - 1; at >= 0; at--) {
        if (buffer[at] === 0x0a && ++found === lines) return start + at + 1;
      }
      end = start;
    }
    return 0;
  } finally {
    await handle.close();
  }
}

async function openFile(file: string): Promise<FileHandle | undefined> {
  try {
    // A pipe in its place would be waited for.
    return await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined; // every error of node:fs has a code
    throw error;
  }
}

async function readAt(handle: FileHandle, position: number): Promise<Buffer> {
  const {buffer, bytesRead} = await handle.read(Buffer.alloc(chunkBytes), 0, chunkBytes, position);
  return buffer.subarray(0, bytesRead);
}

/** Another file has the name now, or this one was cut. */
async function isReplaced(file: string, handle: FileHandle | undefined, position: number): Promise<boolean> {
  const now = await stat(file).catch(() => undefined);
  if (now === undefined) return false;
  if (handle === undefined) return true;
  return (await handle.stat()).ino !== now.ino || now.size < position;
}

export interface Changes {
  /** Resolves at the next change, after `ms`, or when `signal` aborts; at once where something changed meanwhile. */
  next(ms: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

function watchFile(file: string): Changes {
  const name = path.basename(file);
  return watchFolder(path.dirname(file), changed => changed === null || changed === name);
}

/** Where the folder can't be watched (it doesn't exist yet, no watches are left) only the time counts. */
export function watchFolder(folder: string, counts: (name: string | null) => boolean = () => true): Changes {
  let changed = false;
  let wake: () => void = () => undefined;
  const watcher = tryWatch(folder, name => {
    if (!counts(name)) return;
    changed = true;
    wake();
  });
  return {
    close: () => watcher?.close(),
    next: (ms, signal) =>
      new Promise(resolve => {
        const done = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', done);
          wake = () => undefined;
          changed = false;
          resolve();
        };
        const timer = setTimeout(done, ms);
        wake = done;
        signal.addEventListener('abort', done, {once: true});
        if (changed || signal.aborted) done();
      }),
  };
}

function tryWatch(folder: string, onChange: (name: string | null) => void): {close(): void} | undefined {
  try {
    return watch(folder, (_event, name) => onChange(name)).on('error', () => undefined);
  } catch {
    return undefined;
  }
}
