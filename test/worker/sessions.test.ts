import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, it, jest, test} from '@jest/globals';
import type {SessionLimits} from '../../src/api/types.js';
import type {ChatMessage} from '../../src/providers/provider.js';
import {QueueFullError, QueueTimeoutError} from '../../src/worker/limiter.js';
import {SessionFiles} from '../../src/worker/session-files.js';
import {Sessions} from '../../src/worker/sessions.js';

const never = new AbortController().signal;
const minute = 60_000;

let home = '';
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'tekton-sessions-'));
});
afterEach(() => rmSync(home, {recursive: true, force: true}));

/** Turned by hand; each worker has its own monotonic one, as after a start. */
class Clock {
  ms = 1_000_000_000_000;
  readonly #timers: {at: number; run: () => void}[] = [];

  readonly after = (ms: number, run: () => void): (() => void) => {
    const timer = {at: this.ms + ms, run};
    this.#timers.push(timer);
    return () => this.#timers.splice(this.#timers.indexOf(timer), 1);
  };

  pass(ms: number): void {
    this.ms += ms;
    for (const timer of [...this.#timers]) if (timer.at <= this.ms) timer.run();
  }

  start(): () => number {
    const begin = this.ms;
    return () => this.ms - begin;
  }
}

interface Made {
  readonly sessions: Sessions;
  readonly logged: string[];
  /** Says `message` in the session, hears `answer`, and remembers both. */
  readonly say: (name: string, message?: string, answer?: string) => Promise<void>;
  readonly turns: (name: string) => Promise<readonly string[]>;
}

function worker(limits: Partial<SessionLimits> = {}, {clock = new Clock(), persist = false, queue = 9} = {}): Made {
  const logged: string[] = [];
  const sessions = new Sessions({
    aiId: 'athena-ai',
    limits: {maxTurns: 5, idleMinutes: 10, persist, ...limits},
    concurrency: {max: 4, queue},
    clock: {now: clock.start(), after: clock.after},
    wallNow: () => clock.ms,
    log: (level, message) => logged.push(`${level} ${message}`),
    home,
  });
  return {
    sessions,
    logged,
    say: async (name, message = 'q', answer = 'a') => {
      const chat = await sessions.open(name, never);
      chat.remember(exchange(message, answer));
      chat.close();
    },
    turns: async name => {
      const chat = await sessions.open(name, never);
      chat.close();
      return chat.turns.map(({content}) => content);
    },
  };
}

function persistent(limits: Partial<SessionLimits> = {}, clock = new Clock()): Made {
  return worker(limits, {clock, persist: true});
}

function exchange(message: string, answer: string): ChatMessage[] {
  return [
    {role: 'user', content: message},
    {role: 'assistant', content: answer},
  ];
}

function files(): string[] {
  return readdirSync(join(home, 'sessions/athena-ai')).map(name => join(home, 'sessions/athena-ai', name));
}

describe('a session', () => {
  it('holds the newest turns, whole ones, tools with their results', async () => {
    const {sessions, say, turns} = worker({maxTurns: 2});
    await say('s', 'q0', 'a0');
    const chat = await sessions.open('s', never);
    chat.remember([
      {role: 'user', content: 'q1'},
      {role: 'assistant', content: '', toolCalls: [{id: '1', name: 'look', arguments: '{}'}]},
      {role: 'tool', content: 'r1', toolCallId: '1'},
      {role: 'assistant', content: 'a1'},
    ]);
    chat.close();
    await say('s', 'q2', 'a2');
    expect(await turns('s')).toEqual(['q1', '', 'r1', 'a1', 'q2', 'a2']);
    await say('s', 'q3', 'a3');
    expect(await turns('s')).toEqual(['q2', 'a2', 'q3', 'a3']);
  });

  it('holds no more tokens than it may, by estimate', async () => {
    const {sessions, say, turns} = worker({maxTokens: 100});
    for (const n of [0, 1, 2]) await say('s', `q${n} ${'word '.repeat(30)}`, `a${n}`);
    expect(await turns('s')).toHaveLength(4);
    const [summary] = await sessions.list();
    expect(summary?.tokens).toBeLessThanOrEqual(100);
    await say('s', 'word '.repeat(200));
    expect(await turns('s')).toEqual([]);
  });

  it('begins anew with the history that a client gives', async () => {
    const {sessions, say, turns} = worker();
    await say('s', 'old');
    const chat = await sessions.open('s', never);
    chat.remember(exchange('q1', 'a1'), exchange('q0', 'a0'));
    chat.close();
    expect(await turns('s')).toEqual(['q0', 'a0', 'q1', 'a1']);
  });

  it('goes on without tools that were called and whose results never came', async () => {
    const {sessions, say, turns} = worker();
    const chat = await sessions.open('s', never);
    chat.remember([
      {role: 'user', content: 'q0'},
      {role: 'assistant', content: '', toolCalls: [{id: '1', name: 'look', arguments: '{}'}]},
    ]);
    chat.close();
    await say('s', 'q1', 'a1');
    expect(await turns('s')).toEqual(['q0', 'q1', 'a1']);
  });

  it('that was silent for too long is a new one; another is not', async () => {
    const clock = new Clock();
    const {sessions, say, turns} = worker({idleMinutes: 10}, {clock});
    await say('old');
    clock.ms += 6 * minute;
    await say('new');
    clock.ms += 5 * minute;
    expect(await turns('old')).toEqual([]);
    expect(await turns('new')).toHaveLength(2);
    expect(sessions.size).toBe(1);
  });

  it('does not expire while its answer is under way', async () => {
    const clock = new Clock();
    const {sessions, say, turns} = worker({idleMinutes: 10}, {clock});
    await say('s', 'q0', 'a0');
    const chat = await sessions.open('s', never);
    clock.ms += 30 * minute;
    await say('other');
    chat.remember(exchange('q1', 'a1'));
    chat.close();
    expect(await turns('s')).toEqual(['q0', 'a0', 'q1', 'a1']);
  });

  it('takes what is reconfigured from then on', async () => {
    const {sessions, say, turns} = worker();
    for (const n of [0, 1, 2]) await say('s', `q${n}`, `a${n}`);
    sessions.configure({maxTurns: 1, idleMinutes: 10, persist: false}, {max: 4, queue: 9});
    expect(await turns('s')).toEqual(['q2', 'a2']);
  });
});

describe('chats of one session', () => {
  it('come one after the other, in the order in which they came, each with the answers before it', async () => {
    const {sessions} = worker();
    const order: string[] = [];
    const talk = async (n: number): Promise<void> => {
      const chat = await sessions.open('s', never);
      order.push(`${n} after ${chat.turns.length}`);
      await new Promise(resolve => setImmediate(resolve));
      chat.remember(exchange(`q${n}`, `a${n}`));
      chat.close();
    };
    await Promise.all([0, 1, 2].map(talk));
    expect(order).toEqual(['0 after 0', '1 after 2', '2 after 4']);
  });

  it('hold up no other session, and give way when they are stopped', async () => {
    const {sessions, turns} = worker();
    const first = await sessions.open('s', never);
    const stop = new AbortController();
    const second = sessions.open('s', stop.signal);
    expect(await turns('other')).toEqual([]);
    stop.abort(new Error('left'));
    await expect(second).rejects.toThrow('left');
    first.close();
    expect(await turns('s')).toEqual([]);
  });

  it('are refused when too many wait', async () => {
    const {sessions} = worker({}, {queue: 1});
    const first = await sessions.open('s', never);
    const second = sessions.open('s', never);
    await expect(sessions.open('s', never)).rejects.toThrow(QueueFullError);
    first.close();
    (await second).close();
  });

  it('wait until the deadline of the chat', async () => {
    const clock = new Clock();
    const {sessions} = worker({}, {clock});
    const first = await sessions.open('s', never);
    const second = sessions.open('s', never, {deadline: 1000});
    const refused = expect(second).rejects.toThrow(QueueTimeoutError);
    clock.pass(1000);
    await refused;
    first.close();
    (await sessions.open('s', never)).close();
  });
});

describe('all sessions together', () => {
  it('are at most a thousand: those used last', async () => {
    const {sessions, say, turns} = worker();
    for (let n = 0; n < 1000; n++) await say(`s${n}`);
    await say('s0');
    await say('one more');
    expect(sessions.size).toBe(1000);
    expect(await turns('s1')).toEqual([]);
    expect(await turns('s0')).toHaveLength(4);
  });

  it('hold a bounded amount of text, however long the messages are', async () => {
    const {say, turns} = worker();
    const long = 'x'.repeat(6 * 1024 * 1024);
    for (const name of ['a', 'b', 'c']) await say(name, long, '');
    expect([(await turns('a')).length, (await turns('b')).length, (await turns('c')).length]).toEqual([0, 2, 2]);
  });

  it('are listed, the one used last first', async () => {
    const clock = new Clock();
    const {sessions, say} = worker({}, {clock});
    await say('a');
    clock.ms += minute;
    for (const name of ['b', 'b']) await say(name);
    clock.ms += minute;
    expect(await sessions.list()).toEqual([
      {name: 'b', turns: 2, tokens: expect.any(Number), idleMs: minute},
      {name: 'a', turns: 1, tokens: expect.any(Number), idleMs: 2 * minute},
    ]);
  });

  it('can be deleted, one or all; an answer that was under way then is not remembered', async () => {
    const {sessions, say, turns} = worker();
    for (const name of ['a', 'b', 'c']) await say(name);
    const chat = await sessions.open('a', never);
    expect([await sessions.delete('a'), await sessions.delete('none')]).toEqual([true, false]);
    chat.remember(exchange('late', 'answer'));
    chat.close();
    expect(await turns('a')).toEqual([]);
    expect(await sessions.deleteAll()).toBe(2);
    expect(await sessions.list()).toEqual([]);
  });
});

describe('sessions that outlive the worker', () => {
  it('are there again after it, each with its idle time', async () => {
    const clock = new Clock();
    const first = persistent({}, clock);
    await first.say('s', 'q0', 'a0');
    await first.say('s', 'q1', 'a1\u2028\n"ü😀');
    clock.ms += 4 * minute;
    const second = persistent({}, clock);
    expect(await second.sessions.list()).toEqual([
      {name: 's', turns: 2, tokens: expect.any(Number), idleMs: 4 * minute},
    ]);
    expect(await second.turns('s')).toEqual(['q0', 'a0', 'q1', 'a1\u2028\n"ü😀']);
    expect(second.logged).toEqual([]);
  });

  it('lie in private files whose names tell nothing', async () => {
    const {say} = persistent();
    for (const name of ['../../escape', 'a/b\0c', 'x'.repeat(256)]) await say(name);
    expect(readdirSync(home)).toEqual(['sessions']);
    expect(files().map(file => file.replace(/^.*\//, ''))).toEqual(
      Array(3).fill(expect.stringMatching(/^[0-9a-f]{32}\.jsonl$/)),
    );
    expect(files().map(file => statSync(file).mode & 0o777)).toEqual([0o600, 0o600, 0o600]);
    expect(statSync(join(home, 'sessions/athena-ai')).mode & 0o777).toBe(0o700);
  });

  it('write nothing without `persist`', async () => {
    const {say, sessions} = worker();
    await say('s');
    await sessions.load();
    await sessions.delete('s');
    expect(readdirSync(home)).toEqual([]);
  });

  it('that are expired go from the disk, too, at the start of a worker and later', async () => {
    const clock = new Clock();
    const first = persistent({}, clock);
    for (const name of ['a', 'b']) await first.say(name);
    clock.ms += 6 * minute;
    await first.say('b');
    clock.ms += 6 * minute;
    await persistent({}, clock).sessions.load();
    expect(files()).toHaveLength(1);
    clock.ms += 6 * minute;
    await first.say('c');
    expect(files()).toHaveLength(1);
    expect(await persistent({}, clock).turns('b')).toEqual([]);
  });

  it('stand in files that do not grow without end', async () => {
    const {say, turns} = persistent({maxTurns: 2});
    const long = 'x'.repeat(10_000);
    for (let n = 0; n < 40; n++) await say('s', `q${n} ${long}`, `a${n}`);
    expect(statSync(files()[0] ?? '').size).toBeLessThan(110_000);
    expect(await turns('s')).toHaveLength(4);
    expect((await persistent({maxTurns: 2}).turns('s'))[0]).toContain('q38');
    expect(files()).toHaveLength(1);
  });

  it('are deleted from the disk, one or all', async () => {
    const {sessions, say} = persistent();
    for (const name of ['a', 'b', 'c']) await say(name);
    expect(await sessions.delete('a')).toBe(true);
    expect(files()).toHaveLength(2);
    expect(await sessions.deleteAll()).toBe(2);
    expect(readdirSync(join(home, 'sessions'))).toEqual([]);
    expect(await persistent().sessions.list()).toEqual([]);
  });

  it('are kept when `persist` is turned off, and can be deleted then', async () => {
    const {sessions, say} = persistent();
    await say('s');
    sessions.configure({maxTurns: 5, idleMinutes: 10, persist: false}, {max: 4, queue: 9});
    await say('s');
    expect(await worker().turns('s')).toEqual([]);
    expect(await worker().sessions.delete('s')).toBe(true);
    expect(files()).toEqual([]);
  });

  it('take in what was remembered before `persist` was turned on', async () => {
    const {sessions, say} = worker();
    await say('s', 'q0', 'a0');
    sessions.configure({maxTurns: 5, idleMinutes: 10, persist: true}, {max: 4, queue: 9});
    await say('s', 'q1', 'a1');
    expect(await persistent().turns('s')).toEqual(['q0', 'a0', 'q1', 'a1']);
  });
});

describe('a worker and its successor', () => {
  it('see what the other remembers, also of chats that were under way at once', async () => {
    const clock = new Clock();
    const [old, next] = [persistent({}, clock), persistent({}, clock)];
    await old.say('s', 'q0', 'a0');
    expect(await next.turns('s')).toEqual(['q0', 'a0']);
    const late = await old.sessions.open('s', never);
    await next.say('s', 'q1', 'a1');
    late.remember(exchange('q2', 'a2'));
    late.close();
    expect(await next.turns('s')).toEqual(['q0', 'a0', 'q1', 'a1', 'q2', 'a2']);
    expect(await old.turns('s')).toEqual(await next.turns('s'));
  });

  it('forget what the other deleted, and keep what the other still uses', async () => {
    const clock = new Clock();
    const [old, next] = [persistent({}, clock), persistent({}, clock)];
    for (const name of ['a', 'b']) await old.say(name);
    await next.sessions.delete('a');
    expect(await old.turns('a')).toEqual([]);
    clock.ms += 6 * minute;
    await next.say('b', 'again');
    clock.ms += 6 * minute;
    await old.say('c');
    expect(await next.turns('b')).toHaveLength(4);
    expect(await old.turns('b')).toHaveLength(4);
  });

  it('lose nothing when one of them writes a file anew', async () => {
    const clock = new Clock();
    const [old, next] = [persistent({maxTurns: 3}, clock), persistent({maxTurns: 3}, clock)];
    const long = 'x'.repeat(9_000);
    for (let n = 0; n < 40; n++) {
      await (n % 3 === 0 ? old : next).say('s', `q${n} ${long}`, `a${n}`);
      const heard = await (n % 2 === 0 ? old : next).turns('s');
      expect(heard.at(-1)).toBe(`a${n}`);
      expect(heard).toHaveLength(2 * Math.min(n + 1, 3));
    }
  });
});

describe('a file', () => {
  const fileOf = async (name: string): Promise<string> => {
    await persistent().say(name, 'q0', 'a0');
    return files()[0] ?? '';
  };

  it('whose last line is torn loses that line alone, also when it goes on', async () => {
    const file = await fileOf('s');
    await persistent().say('s', 'q1', 'a1');
    truncateSync(file, statSync(file).size - 7);
    expect(await persistent().turns('s')).toEqual(['q0', 'a0']);
    await persistent().say('s', 'q2', 'a2');
    expect(await persistent().turns('s')).toEqual(['q0', 'a0', 'q2', 'a2']);
  });

  test.each([
    ['garbage', 'x'],
    ['another shape', '{"formatVersion":1,"session":"s","at":1,"messages":[{"role":"king","content":""}]}'],
    ['a later format', '{"formatVersion":99,"session":"s","at":1,"messages":[]}'],
    ['another session', '{"formatVersion":1,"session":"t","at":1,"messages":[]}'],
    ['bytes that are no text', Buffer.from([0xff, 0xfe, 0])],
  ])('with %s in it is read without', async (_, line) => {
    const file = await fileOf('s');
    appendFileSync(file, Buffer.concat([Buffer.from(line), Buffer.from('\n')]));
    await persistent().say('s', 'q1', 'a1');
    expect(await persistent().turns('s')).toEqual(['q0', 'a0', 'q1', 'a1']);
  });

  it('that was removed by hand is a session that was forgotten', async () => {
    const {say, turns, logged} = persistent();
    await say('s');
    rmSync(join(home, 'sessions'), {recursive: true});
    expect(await turns('s')).toEqual([]);
    await say('s', 'q1', 'a1');
    expect(await persistent().turns('s')).toEqual(['q1', 'a1']);
    expect(logged).toEqual([]);
  });

  it('in whose place a link stands is not followed: the session goes on in memory, which is logged once', async () => {
    const file = await fileOf('s');
    const target = join(home, 'mine.txt');
    writeFileSync(target, 'mine');
    rmSync(file);
    symlinkSync(target, file);
    const {say, turns, logged} = persistent();
    for (const n of [1, 2]) await say('s', `q${n}`, `a${n}`);
    expect(await turns('s')).toEqual(['q1', 'a1', 'q2', 'a2']);
    expect(readFileSync(target, 'utf8')).toBe('mine');
    expect(logged).toEqual(['error sessions are kept in memory only']);
  });
});

describe('a disk that fails', () => {
  it('costs no start and no answer, where what is expired cannot be removed', async () => {
    const clock = new Clock();
    await persistent({}, clock).say('s', 'q0', 'a0');
    clock.ms += 11 * minute;
    const readOnly = jest.spyOn(SessionFiles.prototype, 'remove').mockImplementation(() => {
      throw Object.assign(new Error('EROFS: read-only file system, unlink'), {code: 'EROFS'});
    });
    try {
      const {sessions, say, turns, logged} = persistent({}, clock);
      await sessions.load();
      expect(await turns('s')).toEqual([]);
      await say('t');
      expect(await turns('t')).toHaveLength(2);
      expect(logged[0]).toBe('error sessions are kept in memory only');
    } finally {
      readOnly.mockRestore();
    }
  });

  it('costs no answer and, when it works again, no turn', async () => {
    const {say, turns, logged} = persistent();
    await say('s', 'q0', 'a0');
    rmSync(join(home, 'sessions'), {recursive: true});
    // What can't be a folder, for root, too.
    writeFileSync(join(home, 'sessions'), '');
    for (const n of [1, 2]) await say('s', `q${n}`, `a${n}`);
    const before = await turns('s');
    expect(before.slice(-4)).toEqual(['q1', 'a1', 'q2', 'a2']);
    expect(logged).toEqual(['error sessions are kept in memory only']);
    rmSync(join(home, 'sessions'));
    mkdirSync(join(home, 'sessions'), {mode: 0o700});
    await say('s', 'q3', 'a3');
    expect(await persistent().turns('s')).toEqual([...before, 'q3', 'a3']);
    expect(logged).toEqual(['error sessions are kept in memory only', 'info sessions are kept on disk again']);
  });
});
