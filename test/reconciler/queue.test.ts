import {beforeEach, describe, expect, it} from '@jest/globals';
import {KeyedQueue} from '../../src/reconciler/queue.js';
import {FakeClock, settle} from '../fakes/clock.js';

let clock: FakeClock;
/** Passes that have begun, in order. */
let began: string[];
/** Ends the pass of a key that is under way. */
let ends: Map<string, (outcome?: number | Error) => void>;
let failures: string[];

beforeEach(() => {
  clock = new FakeClock();
  began = [];
  ends = new Map();
  failures = [];
});

function queueOf(parallel = 2): KeyedQueue {
  return new KeyedQueue({
    clock,
    parallel,
    work: key => {
      began.push(key);
      return new Promise((resolve, reject) => {
        ends.set(key, outcome => {
          ends.delete(key);
          if (outcome instanceof Error) reject(outcome);
          else resolve(outcome);
        });
      });
    },
    failed: (key, error) => {
      failures.push(`${key}: ${(error as Error).message}`);
      return 2000;
    },
  });
}

async function end(key: string, outcome?: number | Error): Promise<void> {
  const finish = ends.get(key);
  if (!finish) throw new Error(`no pass of ${key} is under way`);
  finish(outcome);
  await settle();
}

describe('the queue', () => {
  it('runs as many names at once as it may, the others in their order', async () => {
    const queue = queueOf(2);
    for (const key of ['a', 'b', 'c', 'd']) queue.add(key);
    expect(began).toEqual(['a', 'b']);
    await end('b');
    expect(began).toEqual(['a', 'b', 'c']);
    await end('a');
    expect(began).toEqual(['a', 'b', 'c', 'd']);
  });

  it('takes a name once that is added many times while it waits', async () => {
    const queue = queueOf(1);
    for (const key of ['a', 'b', 'b', 'c', 'b']) queue.add(key);
    await end('a');
    await end('b');
    await end('c');
    expect(began).toEqual(['a', 'b', 'c']);
    expect(ends.size).toBe(0);
  });

  it('never runs two passes of one name, and gives it one more for all that came meanwhile', async () => {
    const queue = queueOf(4);
    queue.add('a');
    queue.add('a');
    queue.add('a');
    expect(began).toEqual(['a']);
    await end('a');
    expect(began).toEqual(['a', 'a']);
    await end('a');
    expect(began).toEqual(['a', 'a']);
  });

  it('looks again after the delay that a pass asked for', async () => {
    const queue = queueOf();
    queue.add('a');
    await end('a', 300);
    await clock.advance(299);
    expect(began).toEqual(['a']);
    await clock.advance(1);
    expect(began).toEqual(['a', 'a']);
  });

  it('looks again at once for a delay of 0, behind those that wait', async () => {
    const queue = queueOf(1);
    queue.add('a');
    queue.add('b');
    await end('a', 0);
    expect(began).toEqual(['a', 'b']);
    await end('b');
    expect(began).toEqual(['a', 'b', 'a']);
  });

  it('lets what was added during a pass win over the delay that the pass asked for', async () => {
    const queue = queueOf();
    queue.add('a');
    queue.add('a');
    await end('a', 60_000);
    expect(began).toEqual(['a', 'a']);
    expect(clock.pending).toEqual([]);
  });

  it('lets an add go before a pending delay, which is then void', async () => {
    const queue = queueOf();
    queue.addAfter('a', 1000);
    queue.add('a');
    expect(began).toEqual(['a']);
    await end('a');
    await clock.advance(5000);
    expect(began).toEqual(['a']);
  });

  it('keeps one delay per name, the last', async () => {
    const queue = queueOf();
    queue.addAfter('a', 1000);
    queue.addAfter('a', 3000);
    expect(clock.pending).toEqual([3000]);
  });

  it('does not put off a name that waits already', async () => {
    const queue = queueOf(1);
    queue.add('a');
    queue.add('b');
    queue.addAfter('b', 1000);
    expect(clock.pending).toEqual([]);
    await end('a');
    expect(began).toEqual(['a', 'b']);
  });

  it('tries a name again whose pass threw, without holding up the others', async () => {
    const queue = queueOf(1);
    queue.add('a');
    queue.add('b');
    for (let round = 1; round <= 3; round++) {
      await end('a', new Error(`broken ${round}`));
      expect(failures).toHaveLength(round);
      await end('b', 2000);
      expect(clock.pending).toEqual([2000, 2000]);
      await clock.advance(2000);
    }
    expect(began).toEqual(['a', 'b', 'a', 'b', 'a', 'b', 'a']);
    expect(failures[0]).toBe('a: broken 1');
  });
});

describe('closing the queue', () => {
  it('waits for the passes under way, and begins none', async () => {
    const queue = queueOf(1);
    queue.add('a');
    queue.add('b');
    queue.addAfter('c', 100);
    let closed = false;
    void queue.close().then(() => (closed = true));
    queue.add('d');
    queue.addAfter('e', 1);
    await clock.advance(1000);
    expect(closed).toBe(false);
    await end('a', 10);
    expect(closed).toBe(true);
    await clock.advance(1000);
    expect(began).toEqual(['a']);
    expect(clock.pending).toEqual([]);
  });

  it('is done at once where nothing runs', async () => {
    await expect(queueOf().close()).resolves.toBeUndefined();
  });
});
