/** One exchange of a conversation as a line of JSON, and a conversation from such lines. */
import {formatVersion} from '../api/types.js';
import type {ChatMessage, ToolCall} from '../providers/provider.js';
import {goOn} from './session-turns.js';

/** What a file says of a conversation. */
export interface StoredConversation {
  readonly name: string;
  readonly messages: readonly ChatMessage[];
  /** Of its last line, Unix ms. */
  readonly at: number;
}

interface Line extends StoredConversation {
  readonly whole: boolean;
}

/** Ends with its newline; holds no other. */
export function lineOf({name, messages, whole, at}: Line): string {
  return `${JSON.stringify({formatVersion, session: name, at, ...(whole && {whole}), messages})}\n`;
}

/**
 * The conversation that `text` holds. A line that is damaged, torn, or of a later format is left out.
 *
 * @returns undefined where no line is left
 */
export function joinLines(text: string): StoredConversation | undefined {
  let joined: StoredConversation | undefined;
  for (const line of text.split('\n').map(parseLine)) {
    if (line === undefined || (joined !== undefined && joined.name !== line.name)) continue;
    const before = line.whole ? [] : (joined?.messages ?? []);
    joined = {name: line.name, messages: goOn(before, line.messages), at: line.at};
  }
  return joined;
}

function parseLine(text: string): Line | undefined {
  if (text === '') return undefined;
  try {
    const value = JSON.parse(text) as unknown;
    if (!isRecord(value) || value['formatVersion'] !== formatVersion) return undefined;
    const {session: name, at, whole = false, messages} = value;
    const fits = typeof name === 'string' && typeof at === 'number' && typeof whole === 'boolean';
    return fits && Array.isArray(messages) && messages.every(isMessage) ? {name, at, whole, messages} : undefined;
  } catch {
    return undefined;
  }
}

function isMessage(value: unknown): value is ChatMessage {
  if (!isRecord(value) || typeof value['content'] !== 'string') return false;
  switch (value['role']) {
    case 'user':
      return true;
    case 'assistant':
      return (
        value['toolCalls'] === undefined || (Array.isArray(value['toolCalls']) && value['toolCalls'].every(isCall))
      );
    case 'tool':
      return typeof value['toolCallId'] === 'string';
    default:
      return false;
  }
}

function isCall(value: unknown): value is ToolCall {
  return isRecord(value) && ['id', 'name', 'arguments'].every(field => typeof value[field] === 'string');
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
