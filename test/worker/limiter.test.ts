/** Places for chats: how many run, who waits, in which order, and for how long. */
import {describe, expect, it} from '@jest/globals';
import fc from 'fast-check';
import {Limiter, QueueFullError, QueueTimeoutError} from '../../src/worker/limiter.js';
import type {Limits} from '../../src/worker/limiter.js';
import {FakeClock, settle} from '../fakes/clock.js';

/** A limiter whose chats are named, and the names in the order in which they began. */
function bench(limits: Limits) {
  const clock = new FakeClock();
  const limiter = new Limiter(limits, {now: () => clock.monotonic(), after: (ms, run) => clock.after(ms, run)});
  const begun: string[] = [];
  const failed = new Map<string, unknown>();
  const release = new Map<string, () => void>();
  const chat = (name: string, client?: object): AbortController => {
    const stop = new AbortController();
    limiter.acquire(stop.signal, {client}).then(
      done => {
        begun.push(name);
        release.set(name, done);
      },
      (error: unknown) => failed.set(name, error),
    );
    return stop;
  };
  const end = async (name: string): Promise<void> => {
    release.get(name)?.();
    await settle();
  };
  return {clock, limiter, begun, failed, chat, end};
}

describe('order', () => {
  it('is first come, first served among clients with one chat each', async () => {
    const {begun, chat, end} = bench({max: 1, queue: 9});
    for (const name of ['a', 'b', 'c', 'd']) chat(name);
    await settle();
    for (const name of ['a', 'b', 'c']) await end(name);
    expect(begun).toEqual(['a', 'b', 'c', 'd']);
  });

  it('lets one client of many chats wait behind the first chat of every other', async () => {
    const {begun, chat, end} = bench({max: 1, queue: 99});
    const [greedy, modest] = [{}, {}];
    for (let n = 0; n < 5; n++) chat(`greedy ${n}`, greedy);
    chat('modest 0', modest);
    chat('modest 1', modest);
    chat('single');
    await settle();
    for (let n = 0; n < 7; n++) await end(begun.at(-1) ?? '');
    expect(begun).toEqual([
      ...['greedy 0', 'greedy 1', 'modest 0', 'single'],
      ...['greedy 2', 'modest 1', 'greedy 3', 'greedy 4'],
    ]);
  });

  it('admits those who wait when the limit grows', async () => {
    const {begun, limiter, chat} = bench({max: 1, queue: 9});
    for (const name of ['a', 'b', 'c']) chat(name);
    await settle();
    limiter.configure({max: 2, queue: 9});
    await settle();
    expect(begun).toEqual(['a', 'b']);
  });
});

describe('a full queue', () => {
  it('refuses one more, and says when to try again by how long chats took', async () => {
    const {clock, failed, chat, end} = bench({max: 2, queue: 1});
    chat('a');
    chat('b');
    await settle();
    await clock.advance(30_000);
    await end('a');
    chat('c');
    chat('d');
    chat('e');
    await settle();
    expect(failed.get('e')).toBeInstanceOf(QueueFullError);
    expect(failed.get('e')).toMatchObject({code: 'queue_full', retryable: true, retryAfterMs: 15_000});
    expect((failed.get('e') as Error).message).toBe(
      'Queue full: 2 chats are under way and 1 are waiting; try again later',
    );
  });

  it('gives the place of the newest chat of the client with the most to one with fewer', async () => {
    const {begun, failed, limiter, chat, end} = bench({max: 1, queue: 3});
    const greedy = {};
    for (let n = 0; n < 4; n++) chat(`greedy ${n}`, greedy);
    chat('modest');
    await settle();
    expect([...failed.keys()]).toEqual(['greedy 3']);
    expect(failed.get('greedy 3')).toBeInstanceOf(QueueFullError);
    expect(limiter.queued).toBe(3);
    for (let n = 0; n < 3; n++) await end(begun.at(-1) ?? '');
    expect(begun).toEqual(['greedy 0', 'greedy 1', 'modest', 'greedy 2']);
  });

  it('takes no place from those who would then have fewer than the newcomer', async () => {
    const {failed, chat} = bench({max: 1, queue: 2});
    const [a, b] = [{}, {}];
    chat('running');
    chat('a', a);
    chat('b', b);
    chat('a2', a);
    chat('c');
    await settle();
    expect([...failed.keys()]).toEqual(['a2', 'c']);
  });
});

describe('the deadline', () => {
  it('ends a wait, and says when to try again', async () => {
    const {clock, failed, limiter, chat, end} = bench({max: 1, queue: 9, queueSeconds: 5});
    chat('a');
    chat('b');
    await settle();
    await clock.advance(4_999);
    expect(failed.size).toBe(0);
    await clock.advance(1);
    expect(failed.get('b')).toBeInstanceOf(QueueTimeoutError);
    expect(failed.get('b')).toMatchObject({code: 'queue_timeout', retryable: true, retryAfterMs: 1_000});
    expect(limiter.queued).toBe(0);
    await end('a');
    expect(limiter.active).toBe(0);
  });

  it('is no concern of a chat that was begun, and none of one whose client left', async () => {
    const {clock, failed, chat} = bench({max: 1, queue: 9, queueSeconds: 5});
    chat('a');
    await settle();
    chat('b').abort(new Error('left'));
    await clock.advance(60_000);
    expect([...failed]).toEqual([['b', new Error('left')]]);
    expect(clock.pending).toEqual([]);
  });

  it('of a limiter that says none is five minutes', async () => {
    const {clock, failed, chat} = bench({max: 1, queue: 9});
    chat('a');
    chat('b');
    await clock.advance(299_999);
    expect(failed.size).toBe(0);
    await clock.advance(1);
    expect(failed.get('b')).toBeInstanceOf(QueueTimeoutError);
  });
});

describe('whatever comes', () => {
  const step = fc.oneof(
    {weight: 3, arbitrary: fc.record({do: fc.constant('acquire' as const), client: fc.nat({max: 2})})},
    {weight: 2, arbitrary: fc.record({do: fc.constant('release' as const), which: fc.nat()})},
    {weight: 1, arbitrary: fc.record({do: fc.constant('abort' as const), which: fc.nat()})},
    {weight: 1, arbitrary: fc.record({do: fc.constant('advance' as const), ms: fc.integer({min: 1, max: 3_000})})},
  );
  const limits = fc.record({max: fc.integer({min: 1, max: 3}), queue: fc.integer({min: 0, max: 4})});

  it('never more run than the limit, no place is lost, and no client has two turns while another waits for one', async () => {
    await fc.assert(
      fc.asyncProperty(limits, fc.array(step, {maxLength: 60}), async ({max, queue}, steps) => {
        const clock = new FakeClock();
        const time = {now: () => clock.monotonic(), after: (ms: number, run: () => void) => clock.after(ms, run)};
        const limiter = new Limiter({max, queue, queueSeconds: 5}, time);
        const clients = [{}, {}, {}];
        const held: (() => void)[] = [];
        const waiting: {client: number; stop: AbortController; since: number}[] = [];
        /** Turns that a waiting client has seen each other client get since it came to wait. */
        const passed = new Map<number, Map<number, number>>();
        for (const action of steps) {
          if (action.do === 'acquire') {
            const waits = limiter.active >= max;
            const chat = {client: action.client, stop: new AbortController(), since: clock.monotonic()};
            if (waits && !waiting.some(({client}) => client === action.client)) passed.set(action.client, new Map());
            waiting.push(chat);
            const leave = (): void => void waiting.splice(waiting.indexOf(chat), 1);
            limiter.acquire(chat.stop.signal, {client: clients[chat.client]}).then(
              release => {
                leave();
                held.push(release);
                if (!waits) return;
                passed.set(chat.client, new Map());
                for (const client of new Set(waiting.map(other => other.client))) {
                  const seen = passed.get(client);
                  seen?.set(chat.client, (seen.get(chat.client) ?? 0) + 1);
                }
              },
              (error: unknown) => {
                leave();
                if (error instanceof QueueFullError) expect(waiting.length).toBe(queue);
                if (error instanceof QueueTimeoutError) expect(clock.monotonic() - chat.since).toBe(5_000);
              },
            );
          } else if (action.do === 'release' && held.length > 0) {
            const [release] = held.splice(action.which % held.length, 1);
            release?.();
            release?.();
          } else if (action.do === 'abort' && waiting.length > 0) {
            waiting[action.which % waiting.length]?.stop.abort(new Error('left'));
          } else if (action.do === 'advance') {
            await clock.advance(action.ms);
          }
          await settle();
          expect(limiter.active).toBe(held.length);
          expect(limiter.queued).toBe(waiting.length);
          expect(limiter.active).toBeLessThanOrEqual(max);
          expect(limiter.queued).toBeLessThanOrEqual(queue);
          expect(limiter.queued === 0 || limiter.active === max).toBe(true);
          for (const {client} of waiting) {
            for (const turns of passed.get(client)?.values() ?? []) expect(turns).toBeLessThanOrEqual(1);
          }
        }
      }),
      {numRuns: 60},
    );
  });
});
