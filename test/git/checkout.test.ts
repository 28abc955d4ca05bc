import {execFileSync} from 'node:child_process';
import {readdirSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {assertSafePath, parseTree, treeLimits} from '../../src/git/checkout.js';
import {describeGit} from '../fakes/git.js';
import {failureOf, World} from './world.js';

const id = 'a'.repeat(40);

test.each([
  '../x',
  'a/../../x',
  './x',
  'a//b',
  '/etc/passwd',
  '.git/config',
  'a/.GIT/hooks/x',
  'a/.git',
  'GIT~1/config',
  '.git ',
  '.git.',
  '.git::$INDEX_ALLOCATION/x',
  '.g\u200cit/config',
  '',
])('the path %j is refused', path => {
  expect(() => assertSafePath(path, id)).toThrow(/is not safe/);
});

test.each(['.gitignore', '.github/workflows/x.yml', 'a/.gitattributes', '...', 'git', 'a b/ü.yaml', '-rf'])(
  'the path %j is fine',
  path => {
    expect(() => assertSafePath(path, id)).not.toThrow();
  },
);

test('a tree of too many files, too many bytes or a long link is refused', () => {
  const line = (mode: string, bytes: number | string, path: string): string => `${mode} blob ${id} ${bytes}\t${path}\0`;
  const many = Array.from({length: treeLimits.files + 1}, (_, at) => line('100644', 1, `f${at}`)).join('');
  expect(() => parseTree(many, id)).toThrow(/more than/);
  expect(() => parseTree(line('100644', treeLimits.totalBytes + 1, 'big'), id)).toThrow(/more than/);
  expect(() => parseTree(line('120000', 5_000, 'link'), id)).toThrow(/symbolic link/);
  expect(parseTree(line('160000', '-', 'sub') + line('100755', 3, 'run'), id)).toEqual([
    {type: 'file', id, bytes: 3, path: 'run'},
  ]);
});

describeGit('a tree made by hand', () => {
  let world: World;

  beforeEach(() => {
    world = new World();
  });

  afterEach(() => world.remove());

  /** Pushes a commit of a tree that git itself would not write. */
  function pushTree(entries: readonly (readonly [mode: string, id: string, name: string])[], parent?: string): string {
    const options = {cwd: world.remote.work, env: world.remote.environment, encoding: 'utf8'} as const;
    const raw = Buffer.concat(
      entries.map(([mode, object, name]) =>
        Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(object, 'hex')]),
      ),
    );
    const args = ['hash-object', '--literally', '-t', 'tree', '-w', '--stdin'];
    const tree = execFileSync('git', args, {...options, input: raw}).trim();
    const commit = world.remote.git('commit-tree', tree, '-m', 'odd', ...(parent ? ['-p', parent] : [])).trim();
    world.remote.git('push', '--quiet', '--force', 'origin', `${commit}:refs/heads/main`);
    return tree;
  }

  function blob(text: string): string {
    const options = {cwd: world.remote.work, env: world.remote.environment, encoding: 'utf8', input: text} as const;
    return execFileSync('git', ['hash-object', '-w', '--stdin'], options).trim();
  }

  test.each(['.git', '..', '.GIT', 'a/b'])(
    'with the name %j is never checked out, and the last one stays',
    async name => {
      world.remote.push({'a.yaml': 'one\n'});
      const ours = await world.ours();
      await world.follow(ours);
      pushTree([['100644', blob('evil'), name]]);
      expect(await failureOf(world.follow(ours))).toMatchObject({kind: 'refused'});
      expect(world.files()).toEqual({'a.yaml': 'one\n'});
      expect(readdirSync(world.home)).not.toContain('evil');
    },
  );

  test('that unfolds to billions of files is refused in a moment', async () => {
    let tree = pushTree([['100644', blob('x'), 'f']]);
    for (let depth = 0; depth < 10; depth++) {
      const copy = tree;
      tree = pushTree(Array.from({length: 10}, (_, at) => ['40000', copy, `d${at}`] as const));
    }
    const failure = await failureOf(world.follow(await world.ours()));
    expect(failure.kind).toBe('too-large');
    expect(readdirSync(join(world.folder, 'tmp'))).toEqual([]);
  });
});
