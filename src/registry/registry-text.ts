/** The registry file's text, as the seed defines it: `{"<ai id>": {port, component, metadata, registered_at}}`. */
import type {Json} from '../api/types.js';

/** One entry as it stands in the file. */
export interface RegistryEntry {
  readonly port: number;
  readonly component: string;
  readonly metadata: Readonly<Record<string, Json>>;
  /** Unix seconds. */
  readonly registered_at: number;
}

/** An entry and its line of the file, which is written back as it was: foreign fields and number formats survive. */
export interface StoredEntry {
  readonly entry: RegistryEntry;
  readonly line: string;
}

/** `text` is the entry as JSON. */
export function storedEntry(aiId: string, entry: RegistryEntry, text: string = JSON.stringify(entry)): StoredEntry {
  return {entry, line: `${entryKey(aiId)}${text}`};
}

/** What an entry's line begins with. */
export function entryKey(aiId: string): string {
  return `  ${JSON.stringify(aiId)}: `;
}

export type StoredEntries = ReadonlyMap<string, StoredEntry>;

export interface ParsedRegistry {
  readonly entries: StoredEntries;
  /** Why the text needs healing: undefined when it is sound. `entries` has what could be saved. */
  readonly damage: string | undefined;
  /** One entry a line, as `serializeRegistry` writes it: nothing that a tool or a person has laid out in another way. */
  readonly linewise: boolean;
}

/** One entry a line, so that a change of one of 5,000 entries costs one parse, and people can read and diff it. */
export function serializeRegistry(entries: StoredEntries): string {
  if (entries.size === 0) return '{}\n';
  const lines: string[] = [];
  for (const {line} of entries.values()) lines.push(line);
  return `{\n${lines.join(',\n')}\n}\n`;
}

/** Never throws. */
export function parseRegistry(text: string): ParsedRegistry {
  const ours = parseLines(text);
  if (ours !== undefined) return {entries: ours, damage: undefined, linewise: true};
  return {...parseAnything(text), linewise: false};
}

/**
 * The file as `serializeRegistry` wrote it. Lines that are members of an object each, between braces and with commas
 * between them, are an object together; anything else gives undefined.
 */
function parseLines(text: string): StoredEntries | undefined {
  if (!text.startsWith('{\n') || !text.endsWith('\n}\n')) return undefined;
  const entries = new Map<string, StoredEntry>();
  for (const line of text.slice(2, -3).split(',\n')) {
    const member = line.includes('\n') ? undefined : parseMember(line);
    if (member === undefined || entries.has(member[0])) return undefined;
    entries.set(member[0], storedEntry(...member, line.replace(memberKey, '')));
  }
  return entries;
}

/** A line, without the comma at its end. */
export function parseMember(line: string): readonly [string, RegistryEntry] | undefined {
  const value = tryParse(`{${line}}`);
  const [member, second] = isObject(value) ? Object.entries(value) : [];
  if (member === undefined || second !== undefined) return undefined;
  const entry = parseEntry(member[1]);
  return entry && [member[0], entry];
}

const memberKey = /^\s*"(?:[^"\\]|\\.)*"\s*:\s*/;

/** The predecessor's layout, somebody's edit, or damage: whole entries are picked out of the text one by one. */
function parseAnything(text: string): Omit<ParsedRegistry, 'linewise'> {
  const value = tryParse(text);
  const entries = pickEntries(text);
  if (value === undefined) return {entries, damage: text.trim() === '' ? 'it is empty' : 'it is not valid JSON'};
  if (!isObject(value)) return {entries, damage: 'it is not an object'};
  const bad = Object.keys(value).filter(aiId => !entries.has(aiId));
  const damage = bad.length === 0 ? undefined : `bad entries: ${bad.slice(0, 10).join(', ')}`;
  return {entries, damage};
}

/**
 * A key, a colon and an opening brace: `"athena-ai": {`, where a member can begin: behind a brace or a comma, or at the
 * beginning of an indented line. What is left of a key that damage has cut in two is none: it would stand for somebody
 * who never was, and keep a port.
 */
const memberStart = /(?<=(?:^|[{},])\s*|\n[ \t]+)"((?:[^"\\]|\\.)*)"\s*:\s*(?=\{)/g;

function pickEntries(text: string): StoredEntries {
  const entries = new Map<string, StoredEntry>();
  memberStart.lastIndex = 0;
  for (let match = memberStart.exec(text); match !== null; match = memberStart.exec(text)) {
    const end = endOfObject(text, memberStart.lastIndex);
    const raw = end === undefined ? undefined : text.slice(memberStart.lastIndex, end);
    const entry = raw === undefined ? undefined : parseEntry(tryParse(raw));
    const aiId = tryParse(`"${match[1] ?? ''}"`);
    if (raw === undefined || entry === undefined || typeof aiId !== 'string') continue;
    // Line breaks in JSON are layout only: inside of strings they are escaped.
    entries.set(aiId, storedEntry(aiId, entry, raw.replace(/\s*\n\s*/g, ' ')));
    memberStart.lastIndex = end ?? text.length;
  }
  return entries;
}

/** Index after the brace that closes the one at `start`, or undefined when none does. Braces in strings don't count. */
function endOfObject(text: string, start: number): number | undefined {
  const token = /"(?:[^"\\]|\\.)*"|[{}]/g;
  token.lastIndex = start;
  let depth = 0;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    if (match[0] === '{') depth++;
    if (match[0] === '}') depth--;
    if (depth === 0) return token.lastIndex;
  }
  return undefined;
}

/** The shape that counts: a port. The predecessor always wrote the other fields; somebody else's may lack them. */
function parseEntry(value: unknown): RegistryEntry | undefined {
  if (!isObject(value)) return undefined;
  const {port, component, metadata, registered_at: registeredAt} = value;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65535) return undefined;
  return {
    port,
    component: typeof component === 'string' ? component : '',
    metadata: isObject(metadata) ? (metadata as Record<string, Json>) : {}, // parsed JSON holds nothing but JSON
    registered_at: typeof registeredAt === 'number' ? registeredAt : 0,
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
