/** Changes that are handed to whoever holds the lock, with real processes that die and freeze in between. */
import {existsSync, mkdirSync, readFileSync, readdirSync, utimesSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {beforeEach, describe, expect, test} from '@jest/globals';
import {LockBusyError} from '../../src/api/errors.js';
import {OutcomeUnknownError, ownIdentity} from '../../src/registry/combiner.js';
import {ensureStateHome} from '../../src/registry/home.js';
import {holdLock} from '../../src/registry/locks.js';
import {statePaths} from '../../src/registry/paths.js';
import {PortRegisteredError, RegistryClient} from '../../src/index.js';
import {OpenRequest, PostedRequest, nothingWritten, requestPaths} from '../../src/registry/request-file.js';
import {sleep} from '../../src/registry/waiting.js';
import {somePorts, startChild, tempHome} from './support.js';

let home = '';
let changes = '';
const dead = {pid: 2 ** 22 + 1, startTime: '1', bootId: 'earlier'};
const entry = (port: number): object => ({port, component: 'x', metadata: {uid: `u${port}`}, registered_at: 1});
const putting = (aiId: string, port: number): object => ({
  type: 'put',
  entries: [{aiId, entry: entry(port)}],
  dead: {},
});

beforeEach(async () => {
  home = tempHome();
  await ensureStateHome(home);
  changes = `${statePaths(home).run}/changes`;
});

/** Waits until so many requests lie in the folder. */
async function posted(count: number): Promise<readonly string[]> {
  for (;;) {
    const paths = requestPaths(changes, 'registration');
    if (paths.length >= count) return paths;
    await sleep(2);
  }
}

function post(owner: object, ...actions: readonly object[]): PostedRequest {
  const request = PostedRequest.post(changes, 'registration', owner as typeof dead, actions);
  if (request === undefined) throw new Error('could not be written');
  return request;
}

/** A commit by somebody who finds the lock free. */
async function somebodyCommits(): Promise<RegistryClient> {
  const client = new RegistryClient({home});
  await client.register({aiId: 'somebody-ai', port: 60000, component: 'x'});
  return client;
}

const listed = async (): Promise<readonly string[]> =>
  (await new RegistryClient({home}).list()).map(({aiId}) => aiId).filter(aiId => aiId !== 'somebody-ai');

describe('a change that was handed over', () => {
  test('is made by the holder, in the order it came, and each requester gets its own answer', async () => {
    const own = await ownIdentity();
    const requests = [
      post(own, putting('a-ai', 1)),
      post(own, putting('b-ai', 1)),
      post(own, {type: 'remove', aiId: 'a-ai'}, putting('c-ai', 1)),
    ];
    await somebodyCommits();
    expect(requests.map(request => request.answer())).toMatchObject([
      {type: 'done', outcomes: [{type: 'listed', entries: [{aiId: 'a-ai'}]}]},
      {type: 'done', outcomes: [{type: 'refused', refusal: {aiId: 'b-ai', port: 1, holder: 'a-ai'}}]},
      {type: 'done', outcomes: [{type: 'removed', removed: true}, {type: 'listed'}]},
    ]);
    expect(await listed()).toEqual(['c-ai']);
  });

  test('is skipped while it is torn, or of a kind that this version does not know, or not JSON at all', async () => {
    const own = await ownIdentity();
    mkdirSync(changes);
    writeFileSync(
      `${changes}/registration.0-torn.json`,
      `\n${JSON.stringify({owner: own, changes: [putting('t-ai', 3)]})}`,
    );
    writeFileSync(`${changes}/registration.1-garbage.json`, '\0garbage\n{"owner":1}\n');
    const unknown = post(own, {type: 'dance'});
    await somebodyCommits();
    expect(unknown.answer()).toEqual({type: 'open'});
    expect(await listed()).toEqual([]);
  });

  test('is dropped with its file when its requester is dead', async () => {
    post(dead, putting('a-ai', 1));
    await somebodyCommits();
    expect(await listed()).toEqual([]);
    expect(readdirSync(changes)).toEqual([]);
  });

  test('is not made after its withdrawal', async () => {
    const request = post(await ownIdentity(), putting('a-ai', 1));
    request.withdraw();
    expect(request.answer()).toEqual({type: 'withdrawn'});
    await somebodyCommits();
    expect(await listed()).toEqual([]);
  });

  test('is not made again when its holder died after the commit, though it had not said so', async () => {
    const client = await somebodyCommits();
    const request = post(await ownIdentity(), {type: 'remove', aiId: 'somebody-ai'});
    const holder = OpenRequest.open(requestPaths(changes, 'registration')[0] ?? '');
    const {dev, ino, birthtimeNs} = (await import('node:fs')).statSync(statePaths(home).registry, {bigint: true});
    holder?.prepare(`${dev}.${ino}.${birthtimeNs}`, [{type: 'removed', removed: true}]);
    await client.register({aiId: 'other-ai', port: 2, component: 'x'});
    expect(request.answer()).toMatchObject({type: 'done', outcomes: [{removed: true}]});
    expect((await client.list()).map(({aiId}) => aiId)).toEqual(['somebody-ai', 'other-ai']);
  });

  test('is made when its holder died before the commit that it had prepared', async () => {
    const request = post(await ownIdentity(), putting('a-ai', 1));
    const holder = OpenRequest.open(requestPaths(changes, 'registration')[0] ?? '');
    expect(holder?.prepare('1.2.3', [{type: 'removed', removed: true}])).toBe(true);
    await somebodyCommits();
    expect(request.answer()).toMatchObject({type: 'done', outcomes: [{type: 'listed'}]});
    expect(await listed()).toEqual(['a-ai']);
  });

  test('withdrawn after a holder began is declared off by the next one, if the first came to nothing', async () => {
    const request = post(await ownIdentity(), putting('a-ai', 1));
    OpenRequest.open(requestPaths(changes, 'registration')[0] ?? '')?.prepare('1.2.3', []);
    request.withdraw();
    expect(request.answer()).toEqual({type: 'open'});
    await somebodyCommits();
    expect(request.answer()).toEqual({type: 'withdrawn'});
    expect(await listed()).toEqual([]);
  });

  test('that is withdrawn first is seen so by the holder', async () => {
    const request = post(await ownIdentity(), putting('a-ai', 1));
    const holder = OpenRequest.open(requestPaths(changes, 'registration')[0] ?? '');
    request.withdraw();
    expect(holder?.prepare('1.2.3', [])).toBe(false);
  });

  test('is not answered by a passed holder that found nothing to write, once the next one has begun', async () => {
    const request = post(await ownIdentity(), {type: 'remove', aiId: 'a-ai'});
    const [path = ''] = requestPaths(changes, 'registration');
    const [passed, next] = [OpenRequest.open(path), OpenRequest.open(path)];
    passed?.prepare(nothingWritten, [{type: 'removed', removed: false}]);
    expect(next?.prepare('1.2.3', [{type: 'removed', removed: true}])).toBe(true);
    passed?.done(nothingWritten);
    expect(request.answer()).toEqual({type: 'open'});
    next?.done('1.2.3');
    expect(request.answer()).toMatchObject({type: 'done', outcomes: [{removed: true}]});
  });

  test('is not made by a holder that had read it before another one answered it', async () => {
    post(await ownIdentity(), {type: 'remove', aiId: 'a-ai'});
    const [path = ''] = requestPaths(changes, 'registration');
    const [first, second] = [OpenRequest.open(path), OpenRequest.open(path)];
    first?.prepare(nothingWritten, [{type: 'removed', removed: false}]);
    first?.done(nothingWritten);
    expect(second?.prepare('1.2.3', [{type: 'removed', removed: true}])).toBe(false);
  });

  test("through a second name of somebody else's file changes nothing in that", async () => {
    const {linkSync} = await import('node:fs');
    mkdirSync(changes);
    const text = `\n${JSON.stringify({owner: await ownIdentity(), changes: [putting('a-ai', 1)]})}\n`;
    writeFileSync(`${home}/theirs`, text);
    linkSync(`${home}/theirs`, `${changes}/registration.0-1-1.json`);
    await somebodyCommits();
    expect(readFileSync(`${home}/theirs`, 'utf8')).toBe(text);
    expect(await listed()).toEqual([]);
  });
});

describe('writers of several processes', () => {
  test('get the errors that are theirs', async () => {
    const lock = await holdLock(home, 'registration');
    const children = await Promise.all(
      ['a-ai', 'b-ai', 'c-ai'].map(aiId =>
        startChild({type: 'request', home, aiId, port: aiId === 'c-ai' ? 2 : 1, timeoutMs: 20_000}),
      ),
    );
    for (const child of children) await child.line();
    for (const [index, child] of children.entries()) {
      child.process.stdin?.write('go\n');
      await posted(index + 1);
    }
    await lock.release();
    const ends = (await Promise.all(children.map(child => child.rest()))).flat();
    expect(ends).toEqual([
      'registered',
      expect.stringMatching(/^PortRegisteredError: .* registered to a-ai/),
      'registered',
    ]);
    expect(await listed()).toEqual(['a-ai', 'c-ai']);
    expect(readdirSync(changes)).toEqual([]);
  });

  test('withdraw when their time is up, and nothing of theirs is made later', async () => {
    const lock = await holdLock(home, 'registration');
    const child = await startChild({type: 'request', home, aiId: 'a-ai', port: 1, timeoutMs: 300});
    await child.line();
    child.process.stdin?.write('go\n');
    const [end] = await child.rest();
    await lock.release();
    expect(end).toMatch(/^LockBusyError: .*others held it for 300 ms/);
    await somebodyCommits();
    expect(await listed()).toEqual([]);
    expect(existsSync(changes) ? readdirSync(changes) : []).toEqual([]);
  });

  test('lose nothing when requesters and holders are killed and frozen at any moment', async () => {
    const ports = somePorts(2_000);
    const acknowledged: string[] = [];
    const stayers = await Promise.all(
      [0, 1, 2].map(n => startChild({type: 'write', home, name: `stays${n}`, count: 30, ports})),
    );
    const stayed = Promise.all(stayers.map(stayer => stayer.rest()));
    for (let n = 0; n < 4; n++) {
      const victims = await Promise.all(
        [0, 1].map(m => startChild({type: 'write', home, name: `dies${n}${m}`, count: 1_000, ports})),
      );
      for (const victim of victims) acknowledged.push((await victim.line()) ?? 'the victim printed nothing');
      victims[0]?.process.kill('SIGSTOP');
      await victims[1]?.kill('SIGKILL');
      acknowledged.push(...(await ended(victims[0])));
    }
    acknowledged.push(...(await stayed).flat());
    const registered = await new RegistryClient({home}).list();
    expect(registered.map(({aiId, port}) => `${aiId} ${port}`)).toEqual(expect.arrayContaining(acknowledged));
    expect(new Set(registered.map(({port}) => port)).size).toBe(registered.length);
    // Who died between making its file and writing it left one that says nothing: it goes when it is a minute old.
    const longAgo = new Date(Date.now() - 120_000);
    for (const name of readdirSync(changes)) utimesSync(join(changes, name), longAgo, longAgo);
    await somebodyCommits();
    expect(readdirSync(changes).filter(name => name.startsWith('registration.'))).toEqual([]);
  }, 60_000);
});

/** Goes on for a while after its freeze, and is killed; what it printed was acknowledged. */
async function ended(child: Awaited<ReturnType<typeof startChild>> | undefined): Promise<readonly string[]> {
  if (child === undefined) return [];
  child.process.kill('SIGCONT');
  const lines = [(await child.line()) ?? 'printed nothing'];
  child.process.kill('SIGKILL');
  return [...lines, ...(await child.rest())];
}

test('errors of a change that was handed over are of the classes that they always are', async () => {
  const lock = await holdLock(home, 'registration');
  const client = new RegistryClient({home, lockTimeoutMs: 50});
  await expect(client.register({aiId: 'a-ai', port: 1, component: 'x'})).rejects.toThrow(LockBusyError);
  await lock.release();
  await client.register({aiId: 'a-ai', port: 1, component: 'x'});
  await expect(client.register({aiId: 'b-ai', port: 1, component: 'x'})).rejects.toThrow(PortRegisteredError);
  expect(new OutcomeUnknownError('x')).not.toBeInstanceOf(LockBusyError);
});
