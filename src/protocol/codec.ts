/** Newline JSON: bytes in, messages out, and back. Pure; knows nothing of what the messages mean. */
import {isUtf8} from 'node:buffer';
import {maxLineBytes} from './messages.js';

export type Decoded =
  /** `bytes`: length of the line. */
  | {readonly type: 'message'; readonly value: unknown; readonly bytes: number}
  /** One bad line; those after it are fine. */
  | {readonly type: 'invalid'; readonly reason: 'json' | 'utf8'}
  /** Nothing more comes from this decoder: where the next line begins isn't known. */
  | {readonly type: 'too-long'};

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const empty: Buffer = Buffer.alloc(0);

/**
 * Incremental decoder of one connection. Lines end with `\n`, `\r\n`, or the end of the stream; blank ones are
 * skipped. However the bytes are split, the items are the same, and each byte is looked at once and copied at most
 * twice on average. Holds at most one unfinished line, never more than `limit` bytes and as much again for growth.
 */
export class LineDecoder {
  #held = empty;
  #length = 0;
  #overrun = false;
  readonly #limit: number;

  constructor(limit: number = maxLineBytes) {
    this.#limit = limit;
  }

  /** Whether a line has begun and not ended. */
  get unfinished(): boolean {
    return this.#length > 0;
  }

  push(chunk: Uint8Array): Decoded[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const items: Decoded[] = [];
    let start = 0;
    while (!this.#overrun) {
      const end = bytes.indexOf(lineFeed, start);
      if (end === -1) break;
      this.#finish(bytes.subarray(start, end), items);
      start = end + 1;
    }
    if (!this.#overrun && start < bytes.length) this.#hold(bytes.subarray(start), items);
    return items;
  }

  /** The stream has ended: its last line counts though no newline ended it. */
  end(): Decoded[] {
    const items: Decoded[] = [];
    if (!this.#overrun && this.unfinished) this.#finish(empty, items);
    return items;
  }

  #finish(tail: Buffer, items: Decoded[]): void {
    let line = tail;
    if (this.#length > 0) {
      this.#append(tail);
      line = this.#held.subarray(0, this.#length);
    }
    if (line[line.length - 1] === carriageReturn) line = line.subarray(0, -1);
    if (line.length > this.#limit) this.#overflow(items);
    else if (!isBlank(line)) items.push(decodeLine(line));
    this.#held = empty;
    this.#length = 0;
  }

  #hold(part: Buffer, items: Decoded[]): void {
    const total = this.#length + part.length;
    // A trailing \r may yet turn out to belong to the line's end.
    const counted = part[part.length - 1] === carriageReturn ? total - 1 : total;
    if (counted > this.#limit) this.#overflow(items);
    else this.#append(part);
  }

  #append(part: Buffer): void {
    const total = this.#length + part.length;
    if (total > this.#held.length) {
      const grown = Buffer.allocUnsafe(Math.max(total, 2 * this.#held.length, 256));
      this.#held.copy(grown, 0, 0, this.#length);
      this.#held = grown;
    }
    part.copy(this.#held, this.#length);
    this.#length = total;
  }

  #overflow(items: Decoded[]): void {
    this.#overrun = true;
    this.#held = empty;
    this.#length = 0;
    items.push({type: 'too-long'});
  }
}

/** One line, ready to be written in one call. */
export function encode(message: object): string {
  return `${JSON.stringify(message)}\n`;
}

function decodeLine(line: Buffer): Decoded {
  if (!isUtf8(line)) return {type: 'invalid', reason: 'utf8'};
  try {
    const value: unknown = JSON.parse(line.toString('utf8'));
    return {type: 'message', value, bytes: line.length};
  } catch {
    return {type: 'invalid', reason: 'json'};
  }
}

function isBlank(line: Buffer): boolean {
  return line.every(byte => byte === 0x20 || byte === 0x09 || byte === carriageReturn);
}
