/** What the worker remembers of conversations: in memory, bounded in every direction, without timers. */
import type {SessionLimits} from '../api/types.js';
import type {Turn} from '../protocol/messages.js';
import type {ChatMessage} from '../providers/provider.js';

interface Session {
  readonly turns: readonly Turn[];
  readonly usedAt: number;
}

/** The least recently used session goes when there are more, or when all together hold more text. */
const maxSessions = 1000;
const maxCharacters = 16 * 1024 * 1024;

export class Sessions {
  #limits: SessionLimits;
  readonly #now: () => number;
  /** Least recently used first. */
  readonly #sessions = new Map<string, Session>();
  #characters = 0;

  /** `now`: ms, monotonic. */
  constructor(limits: SessionLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  get size(): number {
    return this.#sessions.size;
  }

  configure(limits: SessionLimits): void {
    this.#limits = limits;
  }

  /** Earlier turns of a conversation, oldest first; none for one that is new, expired, or forgotten to make room. */
  turns(name: string): readonly Turn[] {
    this.#expire();
    return this.#sessions.get(name)?.turns ?? [];
  }

  /** The conversation as it stands now, in place of what was remembered; what tools said is not kept. */
  remember(name: string, messages: readonly ChatMessage[]): void {
    this.#expire();
    this.#forget(name);
    const {maxTurns} = this.#limits;
    const all = messages.flatMap(({role, content}): Turn[] => (role === 'tool' ? [] : [{role, content}]));
    const turns = maxTurns > 0 ? all.slice(-2 * maxTurns) : [];
    this.#sessions.set(name, {turns, usedAt: this.#now()});
    this.#characters += lengthOf(turns);
    this.#makeRoom();
  }

  #expire(): void {
    const oldest = this.#now() - this.#limits.idleMinutes * 60_000;
    for (const [name, {usedAt}] of this.#sessions) {
      if (usedAt >= oldest) return;
      this.#forget(name);
    }
  }

  #makeRoom(): void {
    for (const name of this.#sessions.keys()) {
      if (this.#sessions.size <= maxSessions && this.#characters <= maxCharacters) return;
      this.#forget(name);
    }
  }

  #forget(name: string): void {
    const session = this.#sessions.get(name);
    if (session === undefined) return;
    this.#characters -= lengthOf(session.turns);
    this.#sessions.delete(name);
  }
}

function lengthOf(turns: readonly Turn[]): number {
  return turns.reduce((sum, turn) => sum + turn.content.length, 0);
}
