/**
 * The registry's bytes, changed and read again line by line: a commit that changes one entry of 5,000 neither
 * serialises nor parses the others. Both ways may give up (undefined) and leave it to registry-text.ts.
 */
import {entryKey, parseMember} from './registry-text.js';
import type {RegistryEntry} from './registry-text.js';

/** By ai id: what the entry becomes; undefined: nothing. */
export type EntryChanges = ReadonlyMap<string, RegistryEntry | undefined>;

/** Beyond so many it is cheaper to write everything anew. */
const mostEdits = 200;
const newline = 0x0a;

/** Whether `bytes` begins and ends as `serializeRegistry` writes it, with at least one entry. What lies between may be laid out in any way. */
export function isLinewise(bytes: Buffer): boolean {
  return (
    bytes.length > 5 &&
    bytes.toString('latin1', 0, 2) === '{\n' &&
    bytes.toString('latin1', bytes.length - 3) === '\n}\n'
  );
}

/**
 * The registry `before`, which is sound and has one entry a line, with some entries changed. Entries that are not in it yet
 * go to the end.
 */
export function spliceRegistry(
  before: Buffer,
  isIn: (aiId: string) => boolean,
  changes: EntryChanges,
): Buffer | undefined {
  if (changes.size > mostEdits) return undefined;
  const edits: {readonly from: number; readonly to: number; readonly line: Buffer | undefined}[] = [];
  const added: Buffer[] = [];
  for (const [aiId, entry] of changes) {
    const line = entry === undefined ? undefined : Buffer.from(`${entryKey(aiId)}${JSON.stringify(entry)}`);
    if (isIn(aiId)) {
      const at = before.indexOf(`\n${entryKey(aiId)}`);
      if (at === -1) return undefined;
      edits.push({from: at + 1, to: before.indexOf(newline, at + 1), line});
    } else if (line !== undefined) added.push(line);
  }
  const pieces: Buffer[] = [];
  let next = 2;
  for (const {from, to, line} of edits.sort((a, b) => a.from - b.from)) {
    if (from > next) pieces.push(before.subarray(next, from - 2)); // without the comma and the line's end
    if (line !== undefined) pieces.push(line);
    next = to + 1;
  }
  if (next < before.length - 3) pieces.push(before.subarray(next, before.length - 3));
  return joined([...pieces, ...added]);
}

function joined(pieces: readonly Buffer[]): Buffer | undefined {
  if (pieces.length === 0) return undefined;
  const length = pieces.reduce((sum, piece) => sum + piece.length + 2, 3);
  const bytes = Buffer.allocUnsafeSlow(length);
  let at = bytes.write('{\n', 'latin1');
  for (const [index, piece] of pieces.entries()) {
    if (index > 0) at += bytes.write(',\n', at, 'latin1');
    at += piece.copy(bytes, at);
  }
  bytes.write('\n}\n', at, 'latin1');
  return bytes;
}

/**
 * How `now` differs from `before`, which is sound, has one entry a line and holds the entries `state`. undefined: not to be
 * told from the lines that differ, or not sound.
 */
export function compareRegistries(
  before: Buffer,
  now: Buffer,
  state: ReadonlyMap<string, RegistryEntry>,
): EntryChanges | undefined {
  if (!isLinewise(now)) return undefined;
  const {from, to, toBefore} = differingLines(before, now);
  const isLast = to === now.length - 3;
  const lines = linesOf(now, from, to, isLast);
  if (lines === undefined || (isLast && lines.length === 0)) return undefined;
  const old = new Set(linesOf(before, from, toBefore, toBefore === before.length - 3));
  const gone = new Set([...old].map(keyOf));
  const changes = new Map<string, RegistryEntry | undefined>();
  const seen = new Set<string>();
  for (const line of lines) {
    const member = old.has(line) ? undefined : parseMember(line);
    const aiId = old.has(line) ? keyOf(line) : member?.[0];
    if (aiId === undefined || seen.has(aiId) || (state.has(aiId) && !gone.has(aiId))) return undefined;
    seen.add(aiId);
    if (member !== undefined) changes.set(...member);
  }
  for (const aiId of gone) if (aiId !== undefined && !seen.has(aiId)) changes.set(aiId, undefined);
  return changes;
}

/** The range of whole lines in which they differ; it begins at the same place in both. */
function differingLines(
  before: Buffer,
  now: Buffer,
): {readonly from: number; readonly to: number; readonly toBefore: number} {
  // Within the lines of both: what stands behind the last one is the closing brace, and no line that they share.
  const head = Math.min(commonLength(before, now, false), before.length - 3, now.length - 3);
  const from = Math.max(2, now.lastIndexOf(newline, Math.max(0, head - 1)) + 1);
  const tail = Math.min(commonLength(before, now, true), Math.min(before.length, now.length) - from);
  // The end of the last line that differs: where the common tail has its first line's end.
  const to = Math.min(now.indexOf(newline, now.length - tail), now.length - 3);
  return {from, to: Math.max(from - 1, to), toBefore: Math.max(from - 1, before.length - (now.length - to))};
}

/** How many bytes are the same at the beginning, or at the end. Halves its way: comparing blocks is what machines do fast. */
function commonLength(a: Buffer, b: Buffer, atEnd: boolean): number {
  const most = Math.min(a.length, b.length);
  const same = (from: number, to: number): boolean => {
    const [at, bt] = atEnd ? [a.length - to, b.length - to] : [from, from];
    return a.compare(b, bt, bt + to - from, at, at + to - from) === 0;
  };
  let known = 0;
  for (let step = most; step > 0;) {
    if (known + step <= most && same(known, known + step)) known += step;
    else step >>= 1;
  }
  return known;
}

/** undefined: commas are not where they belong. */
function linesOf(bytes: Buffer, from: number, to: number, isLast: boolean): readonly string[] | undefined {
  if (to <= from) return [];
  const lines = bytes.toString('utf8', from, to).split('\n');
  const whole: string[] = [];
  for (const [index, line] of lines.entries()) {
    const isEnd = isLast && index === lines.length - 1;
    if (line.endsWith(',') === isEnd) return undefined;
    whole.push(isEnd ? line : line.slice(0, -1));
  }
  return whole;
}

/** Of a line that was parsed before. */
function keyOf(line: string): string | undefined {
  const key = /^\s*("(?:[^"\\]|\\.)*")/.exec(line)?.[1];
  return key === undefined ? undefined : (JSON.parse(key) as string); // a JSON string is a string
}
