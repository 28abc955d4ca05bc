/** What `sessions` finds in the state folder of a specialist that doesn't run; with a worker: test/e2e/sessions.test.ts. */
import {mkdirSync, readdirSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {afterEach, beforeEach, describe, expect, it, test} from '@jest/globals';
import {Sessions} from '../../src/worker/sessions.js';
import {cli, exitCodes} from './host.js';
import {makeState, type State} from './state.js';

let state: State;
beforeEach(async () => {
  state = await makeState();
});
afterEach(() => state.remove());

async function remember(aiId: string, ...names: readonly string[]): Promise<void> {
  const limits = {maxTurns: 5, idleMinutes: 60, persist: true};
  const sessions = new Sessions({
    aiId,
    limits,
    concurrency: {max: 1, queue: 1},
    clock: {now: () => 0, after: () => () => undefined},
    log: () => undefined,
    home: state.home,
  });
  for (const name of names) {
    const chat = await sessions.open(name, new AbortController().signal);
    chat.remember([
      {role: 'user', content: 'question'},
      {role: 'assistant', content: 'answer'},
    ]);
    chat.close();
  }
}

const run = (...args: readonly string[]) => cli(['sessions', ...args], {home: state.home});

describe('sessions', () => {
  it('lists what stands on disk of a specialist that nobody declares any more', async () => {
    await remember('athena-ai', 'plan');
    const {code, out, err} = await run('athena');
    expect({code, err}).toEqual({code: 0, err: ''});
    expect(out).toMatch(/^SESSION {3}TURNS {3}TOKENS {3}IDLE\nplan {6}1 {7}\d+ {7}\d+s\n$/);
    expect((await run('athena', '-o', 'wide')).out).toMatch(/AI {10}KEPT IN\n.*athena-ai {3}disk\n$/);
  });

  it('tells programs the same', async () => {
    await remember('lab.athena-ai', 'a', 'b');
    const {out} = await run('lab/athena', '-o', 'json');
    const session = (name: string) => ({name, turns: 1, tokens: expect.any(Number), idleSeconds: expect.any(Number)});
    const {sessions, ...rest} = JSON.parse(out) as {sessions: {name: string}[]};
    expect(rest).toEqual({aiId: 'lab.athena-ai', running: false, persistent: true});
    expect(sessions.toSorted((a, b) => a.name.localeCompare(b.name))).toEqual([session('a'), session('b')]);
    expect((await run('lab/athena', '-o', 'yaml')).out).toContain('persistent: true\nsessions:\n  - name: ');
    expect((await run('-n', 'lab', 'athena', '-o', 'name')).out.split('\n').toSorted()).toEqual(['', 'a', 'b']);
  });

  it('shows no name that a terminal would obey', async () => {
    await remember('athena-ai', 'a\u001b[2Jb\nc\u202ed');
    expect((await run('athena', '-o', 'name')).out).toBe('a\\u{1b}[2Jb\\u{a}c\\u{202e}d\n');
  });

  it('says so where there are none, and where there is nobody', async () => {
    mkdirSync(path.join(state.home, 'sessions/athena-ai'), {recursive: true});
    expect(await run('athena')).toEqual({code: 0, out: '', err: 'no sessions\n'});
    expect(await run('apollo')).toMatchObject({
      code: exitCodes.failed,
      err: 'error: there is no specialist "apollo"\nhint: known: athena\n',
    });
  });
});

describe('sessions delete', () => {
  it('forgets those that are named, and says which were not there', async () => {
    await remember('athena-ai', 'a', 'b', 'c');
    expect(await run('delete', 'athena', 'a', 'none', 'b')).toEqual({
      code: exitCodes.failed,
      out: 'session a deleted\nsession b deleted\n',
      err: 'error: athena remembers no session "none"\nhint: tekton-ai sessions athena\n',
    });
    expect((await run('athena', '-o', 'name')).out).toBe('c\n');
  });

  it('forgets all, with what else lies there', async () => {
    await remember('athena-ai', 'a', 'b');
    writeFileSync(path.join(state.home, 'sessions/athena-ai/0.tmp'), '');
    expect(await run('delete', 'athena', '--all')).toEqual({code: 0, out: '2 sessions deleted\n', err: ''});
    expect(readdirSync(path.join(state.home, 'sessions'))).toEqual([]);
  });

  test.each([
    [['athena'], 'no session is named'],
    [['athena', 'a', '--all'], 'sessions are named, and --all is given'],
  ])('%j is refused', async (args, text) => {
    await remember('athena-ai', 'a');
    const {code, err} = await run('delete', ...args);
    expect(code).toBe(exitCodes.invalidInput);
    expect(err).toBe(`error: ${text}\nhint: tekton-ai sessions delete NAME SESSION…, or --all\n`);
    expect((await run('athena', '-o', 'name')).out).toBe('a\n');
  });
});
