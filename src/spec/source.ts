/** Reads what people point at, bounded: a file's size is checked before its content is held. */
import {open} from 'node:fs/promises';
import type {Problem} from '../api/errors.js';

/** Larger than any fleet of the whole port range; smaller than what would stall a parser. */
export const maxBytes = 1024 * 1024;

/** Text of one source, as it is named to people and as it is found on disk. */
export interface SourceText {
  /** As shown in messages: relative to the working folder where it lies in it. */
  readonly file: string;
  /** Absolute; undefined for standard input. */
  readonly path: string | undefined;
  readonly text: string;
}

export type ReadResult = {readonly ok: true; readonly text: string} | {readonly ok: false; readonly problem: Problem};

/**
 * Text of a file or pipe of at most `maxBytes`.
 *
 * @throws the file system's error where it can't be read
 */
export async function readText(path: string, file: string): Promise<ReadResult> {
  const handle = await open(path, 'r');
  try {
    const {size} = await handle.stat();
    if (size > maxBytes) return tooLarge(file, size);
    return await readStream(handle.createReadStream({autoClose: false, highWaterMark: 64 * 1024}), file);
  } finally {
    await handle.close();
  }
}

/** Text of a stream of unknown length; reading stops as soon as it is more than `maxBytes`. */
export async function readStream(stream: AsyncIterable<Uint8Array | string>, file: string): Promise<ReadResult> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    const buffer = typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk);
    bytes += buffer.length;
    if (bytes > maxBytes) return tooLarge(file);
    chunks.push(buffer);
  }
  return decode(Buffer.concat(chunks), file);
}

function decode(bytes: Buffer, file: string): ReadResult {
  const nul = bytes.indexOf(0);
  if (nul !== -1) return refused(file, 'this is a binary file, not YAML', placeOf(bytes, nul));
  try {
    return {ok: true, text: new TextDecoder('utf-8', {fatal: true}).decode(bytes)};
  } catch {
    return refused(file, 'this is not UTF-8 text', placeOf(bytes, firstInvalid(bytes)), 'save it as UTF-8');
  }
}

function tooLarge(file: string, size?: number): ReadResult {
  const much = size === undefined ? 'more than the limit' : `${(size / maxBytes).toFixed(1)} MiB`;
  return refused(
    file,
    `the file is too large: ${much}; at most 1 MiB is read`,
    {line: 1, column: 1},
    'split it and `include` the parts',
  );
}

function refused(file: string, message: string, place: {line: number; column: number}, hint?: string): ReadResult {
  return {ok: false, problem: {file, ...place, message, ...(hint !== undefined && {hint})}};
}

function placeOf(bytes: Buffer, offset: number): {line: number; column: number} {
  const before = bytes.subarray(0, offset).toString('utf8').split('\n');
  return {line: before.length, column: (before.at(-1)?.length ?? 0) + 1};
}

/** Offset of the first byte that is not UTF-8: the longest valid beginning, found by halving. */
function firstInvalid(bytes: Buffer): number {
  let valid = 0;
  let invalid = bytes.length;
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >> 1;
    if (beginsValid(bytes.subarray(0, middle))) valid = middle;
    else invalid = middle;
  }
  return valid;
}

/** `stream` lets a character be cut off at the end. */
function beginsValid(bytes: Buffer): boolean {
  try {
    new TextDecoder('utf-8', {fatal: true}).decode(bytes, {stream: true});
    return true;
  } catch {
    return false;
  }
}
