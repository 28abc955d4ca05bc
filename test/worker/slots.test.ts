/** Slots of a model server that several processes share: real ones, before a server that counts. */
import {mkdirSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import type {Server, ServerResponse} from 'node:http';
import type {AddressInfo} from 'node:net';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import {ensureStateHome} from '../../src/registry/home.js';
import {statePaths} from '../../src/registry/paths.js';
import {takeTurn} from '../../src/registry/turns.js';
import {serverOf} from '../../src/worker/slots.js';
import type {Child} from '../registry/support.js';
import {startChild, tempHome} from '../registry/support.js';
import * as harness from './harness.js';

/** Processes have to start, on a machine that may be busy. */
const until = (condition: () => boolean, what: string): Promise<void> => harness.until(condition, what, 25_000);

let home = '';
const children: Child[] = [];

beforeEach(async () => {
  home = tempHome();
  await ensureStateHome(home);
});

/** A model server in a test's hand: who calls, how many at once, and when they are answered. */
class CountingServer {
  /** Paths of the calls, in their order. */
  readonly calls: string[] = [];
  /** The most that were under way at once. */
  most = 0;
  /** Holds every answer back. */
  holds = false;
  readonly #open = new Map<ServerResponse, string>();
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      const path = request.url ?? '';
      this.#open.set(response, path);
      response.on('close', () => this.#open.delete(response));
      // The end of a killed caller may be read after the beginning of the next.
      setImmediate(() => setImmediate(() => (this.most = Math.max(this.most, this.#open.size))));
      this.calls.push(path);
      if (!this.holds) setTimeout(() => response.end('{}'), 3);
    });
  }

  get underWay(): readonly string[] {
    return [...this.#open.values()];
  }

  answerAll(): void {
    for (const response of this.#open.keys()) response.end('{}');
  }

  async listen(): Promise<string> {
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

describe('processes', () => {
  let server: CountingServer;
  let url = '';

  beforeEach(async () => {
    server = new CountingServer();
    url = await server.listen();
  });
  afterEach(async () => {
    await Promise.all(children.splice(0).map(child => child.kill('SIGKILL')));
    server.close();
  });

  async function run(specialists: Record<string, number>, limit = 2): Promise<Child> {
    const child = await startChild({type: 'slots', home, url, limit, specialists});
    children.push(child);
    return child;
  }

  it('never call more than so many at once, and eighteen specialists come on evenly, one of many chats among them', async () => {
    const names = Array.from({length: 18}, (_, n) => `s${n}-ai`);
    for (let n = 0; n < 18; n += 6) {
      await run(Object.fromEntries(names.slice(n, n + 6).map(name => [name, name === 's0-ai' ? 20 : 1])));
    }
    await until(() => new Set(server.calls).size === 18, 'a call of each');
    const from = server.calls.length;
    await until(() => server.calls.length >= from + 18 * 6, 'six rounds');
    const counts = names.map(name => server.calls.slice(from).filter(path => path === `/${name}`).length);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(3);
    expect(counts[0]).toBeLessThanOrEqual(12);
    expect(server.most).toBe(2);
  }, 60_000);

  it('that are killed have their slots back at once, and those that wait in line are passed', async () => {
    server.holds = true;
    const holder = await run({'holder-ai': 2});
    await until(() => server.underWay.length === 2, 'both slots taken');
    const waiting = await run({'gone-ai': 1});
    await until(() => tickets(url).length === 3, 'the one behind it');
    await run({'patient-ai': 1});
    await until(() => tickets(url).length === 4, 'the one behind that');
    await waiting.kill('SIGKILL');
    const before = performance.now();
    await holder.kill('SIGKILL');
    await until(() => server.calls.includes('/patient-ai'), 'the turn of the next');
    const tookMs = performance.now() - before;
    expect(server.calls).not.toContain('/gone-ai');
    expect(server.most).toBe(2);
    // Of no lock that goes stale after seconds.
    expect(tookMs).toBeLessThan(10_000);
  }, 90_000);
});

describe('a line', () => {
  const never = new AbortController().signal;
  const turn = (limit: number, signal = never): Promise<() => void> =>
    takeTurn({home, server: 'http://lab', limit, who: 'athena-ai', signal});

  it('lets in as many as there may be, in the order in which they came', async () => {
    const [a, b] = [await turn(2), await turn(2)];
    const entered: string[] = [];
    const c = turn(2).then(end => (entered.push('c'), end));
    const d = turn(2).then(end => (entered.push('d'), end));
    await until(() => tickets('http://lab').length === 4, 'four tickets');
    expect(entered).toEqual([]);
    b();
    b();
    (await c)();
    a();
    (await d)();
    expect(entered).toEqual(['c', 'd']);
    expect(tickets('http://lab')).toEqual([]);
  });

  it('forgets one that gives up', async () => {
    const a = await turn(1);
    const stop = new AbortController();
    const b = turn(1, stop.signal);
    const c = turn(1);
    await until(() => tickets('http://lab').length === 3, 'three tickets');
    stop.abort(new Error('left'));
    await expect(b).rejects.toThrow('left');
    expect(tickets('http://lab')).toHaveLength(2);
    a();
    (await c)();
  });

  it('passes the tickets of processes that are gone, or were before the machine began anew', async () => {
    const folder = join(statePaths(home).slots, encodeURIComponent('http://lab'));
    mkdirSync(folder, {recursive: true});
    const [mine] = (await turn(1), tickets('http://lab'));
    const boot = mine?.split('-').at(-1) ?? '';
    rmSync(join(folder, mine ?? ''));
    writeFileSync(join(folder, `000000000003.x-ai.${process.pid}-1-${boot}`), '');
    writeFileSync(join(folder, `000000000004.y-ai.4194303-1-${boot}`), '');
    writeFileSync(join(folder, `000000000005.z-ai.${process.pid}-1-otherboo`), '');
    writeFileSync(join(folder, 'notes.txt'), '');
    (await turn(1))();
    expect(readdirSync(folder)).toEqual(['notes.txt']);
  });

  it('that somebody clears away is begun anew by those who wait', async () => {
    await turn(1);
    const waiting = turn(1);
    await until(() => tickets('http://lab').length === 2, 'two tickets');
    rmSync(statePaths(home).slots, {recursive: true});
    (await waiting)();
  });
});

it.each([
  ['http://127.0.0.1:11434', 'http://LOCALHOST:11434/v1'],
  ['http://[::1]:8000', 'http://localhost:8000/'],
  ['https://api.example.com/v1', 'https://api.example.com:443'],
])('%s and %s are one server', (a, b) => {
  const of = (baseUrl: string): string => serverOf({name: 'x', type: 'openai', baseUrl});
  expect(of(a)).toBe(of(b));
});

it.each([
  [
    {name: 'a', type: 'openai', baseUrl: 'http://h:1'} as const,
    {name: 'a', type: 'openai', baseUrl: 'http://h:2'} as const,
  ],
  [{name: 'a', type: 'anthropic'} as const, {name: 'a', type: 'offline'} as const],
  [{name: 'a', type: 'scripted', script: '/1'} as const, {name: 'a', type: 'scripted', script: '/2'} as const],
])('%j and %j are not', (a, b) => {
  expect(serverOf(a)).not.toBe(serverOf(b));
});

function tickets(server: string): readonly string[] {
  try {
    return readdirSync(join(statePaths(home).slots, encodeURIComponent(server.replace('127.0.0.1', 'localhost'))));
  } catch {
    return [];
  }
}
