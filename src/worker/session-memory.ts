/** Conversations in memory: how many there are, and how much text they hold together, is bounded. */
import type {ChatMessage} from '../providers/provider.js';
import type {FileVersion} from './session-files.js';

/** How a conversation in memory stands to its file: as this version of it, ahead of it (or without one), or behind it. */
export type Saved = FileVersion | 'ahead' | 'behind';

export interface Session {
  /** Oldest first. */
  readonly messages: readonly ChatMessage[];
  /** ms, monotonic. */
  readonly usedAt: number;
  readonly saved: Saved;
}

/** The least recently used session goes when there are more, or when all together hold more text. */
const maxSessions = 1000;
const maxCharacters = 16 * 1024 * 1024;

export class SessionMemory {
  /** Least recently put first. */
  readonly #sessions = new Map<string, Session>();
  #characters = 0;

  get size(): number {
    return this.#sessions.size;
  }

  get(name: string): Session | undefined {
    return this.#sessions.get(name);
  }

  entries(): readonly (readonly [string, Session])[] {
    return [...this.#sessions];
  }

  put(name: string, session: Session): void {
    this.forget(name);
    this.#sessions.set(name, session);
    this.#characters += countCharacters(session.messages);
  }

  /** Keeps its place. */
  mark(name: string, saved: Saved): void {
    const session = this.#sessions.get(name);
    if (session !== undefined) this.#sessions.set(name, {...session, saved});
  }

  /** @returns whether it was there */
  forget(name: string): boolean {
    const session = this.#sessions.get(name);
    if (session === undefined) return false;
    this.#characters -= countCharacters(session.messages);
    return this.#sessions.delete(name);
  }

  clear(): void {
    this.#sessions.clear();
    this.#characters = 0;
  }

  silentSince(usedAt: number): readonly string[] {
    const names: string[] = [];
    for (const [name, session] of this.#sessions) if (session.usedAt < usedAt) names.push(name);
    return names;
  }

  /** Those that have to go so that the rest is within bounds. */
  surplus(): readonly string[] {
    let [sessions, characters] = [this.#sessions.size, this.#characters];
    const names: string[] = [];
    for (const [name, {messages}] of this.#sessions) {
      if (sessions <= maxSessions && characters <= maxCharacters) break;
      names.push(name);
      sessions -= 1;
      characters -= countCharacters(messages);
    }
    return names;
  }
}

/** UTF-16 units of text. */
function countCharacters(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, message) => {
    const calls = message.role === 'assistant' ? (message.toolCalls ?? []) : [];
    return sum + message.content.length + calls.reduce((n, call) => n + call.arguments.length, 0);
  }, 0);
}
