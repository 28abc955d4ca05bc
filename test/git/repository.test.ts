import {lstatSync, mkdirSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {describeGit} from '../fakes/git.js';
import {failureOf, main, World} from './world.js';

describeGit('a repository that is followed', () => {
  let world: World;

  beforeEach(() => {
    world = new World();
  });

  afterEach(() => world.remove());

  test('shows the files of the newest commit, and nothing else', async () => {
    const id = world.remote.push(
      {'a.yaml': 'one\n', 'envs/dev/b.yaml': 'zwei ü\n', 'empty.txt': ''},
      {message: 'Begin\n\nbody'},
    );
    const ours = await world.ours();
    const commit = await world.follow(ours);
    expect(commit).toMatchObject({id, subject: 'Begin', author: 'Ada', forced: false});
    expect(Date.parse(commit.committedAt)).toBeGreaterThan(Date.now() - 600_000);
    expect(world.files()).toEqual({'a.yaml': 'one\n', 'envs/dev/b.yaml': 'zwei ü\n', 'empty.txt': ''});
    expect(commit.folder).toBe(join(world.folder, 'revisions', id));
    expect(readlinkSync(join(world.folder, 'checkout'))).toBe(join('revisions', id));
    expect(await ours.inForce()).toBe(id);
    expect(readdirSync(join(world.folder, 'tmp'))).toEqual([]);
  });

  test('keeps files private to their owner', async () => {
    world.remote.push({'envs/a.yaml': 'one\n'});
    const {folder} = await world.follow(await world.ours());
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, 'envs')).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, 'envs', 'a.yaml')).mode & 0o777).toBe(0o600);
  });

  test('goes on to the next commit, and says what differs', async () => {
    const first = world.remote.push({'a.yaml': 'one\n', 'b.yaml': 'b\n'});
    const ours = await world.ours();
    await world.follow(ours);
    const second = world.remote.push({'a.yaml': 'two\n', 'b.yaml': undefined, 'ü c.yaml': 'c\n'});
    expect(await world.follow(ours)).toMatchObject({id: second, forced: false});
    expect(world.files()).toEqual({'a.yaml': 'two\n', 'ü c.yaml': 'c\n'});
    expect(await ours.changedFiles(first, second, world.signal)).toEqual(['a.yaml', 'b.yaml', 'ü c.yaml']);
  });

  test('brings a first commit without its history', async () => {
    world.remote.pushMany(50);
    const ours = await world.ours();
    await world.follow(ours);
    expect(world.remote.git('--git-dir', join(world.folder, 'repo.git'), 'rev-list', '--all', '--count').trim()).toBe(
      '1',
    );
  });

  test('tells a fast-forward over 500 commits', async () => {
    world.remote.pushMany(5);
    const ours = await world.ours();
    await world.follow(ours);
    const last = world.remote.pushMany(500);
    expect(await world.follow(ours)).toMatchObject({id: last, forced: false});
  });

  test('tells a forced push of an amended commit', async () => {
    world.remote.pushMany(5);
    const ours = await world.ours();
    await world.follow(ours);
    const amended = world.remote.push({'a.yaml': 'other\n'}, {amend: true, force: true});
    expect(await world.follow(ours)).toMatchObject({id: amended, forced: true});
    expect(world.files()).toMatchObject({'a.yaml': 'other\n'});
  });

  test('tells a forced push back to an older commit, and forwards again', async () => {
    const older = world.remote.pushMany(40);
    const newer = world.remote.pushMany(5);
    const ours = await world.ours();
    await world.follow(ours);
    world.remote.git('reset', '--quiet', '--hard', older);
    world.remote.git('push', '--quiet', '--force', 'origin', 'HEAD');
    expect(await world.follow(ours)).toMatchObject({id: older, forced: true});
    world.remote.git('reset', '--quiet', '--hard', newer);
    world.remote.git('push', '--quiet', 'origin', 'HEAD');
    expect(await world.follow(ours)).toMatchObject({id: newer, forced: false});
  });

  test('tells a forced push of a history that has nothing in common with the last one', async () => {
    world.remote.pushMany(30);
    const ours = await world.ours();
    await world.follow(ours);
    world.remote.git('checkout', '--quiet', '--orphan', 'other');
    world.remote.commit({'a.yaml': 'new\n'});
    world.remote.git('push', '--quiet', '--force', 'origin', 'HEAD:main');
    expect(await world.follow(ours)).toMatchObject({forced: true});
  });

  test('takes a merge of a branch that is older than what it has for a fast-forward', async () => {
    const base = world.remote.pushMany(60);
    const ours = await world.ours();
    world.remote.git('branch', 'feature', `${base}~50`);
    await world.follow(ours);
    world.remote.git('checkout', '--quiet', 'feature');
    world.remote.commit({'feature.yaml': 'f\n'});
    world.remote.git('checkout', '--quiet', 'main');
    world.remote.git('merge', '--quiet', '--no-ff', '-m', 'Merge', 'feature');
    world.remote.git('push', '--quiet', 'origin', 'main');
    expect(await world.follow(ours)).toMatchObject({subject: 'Merge', forced: false});
  });

  test('has the revision in force fetched no second time', async () => {
    const id = world.remote.push({'a.yaml': 'one\n'});
    const ours = await world.ours();
    await world.follow(ours);
    rmSync(world.remote.bare, {recursive: true});
    const commit = await ours.fetch({commit: id, name: 'main', ref: main}, id, world.signal);
    expect(commit).toMatchObject({id, forced: false});
    expect(await ours.checkout(id, world.signal)).toBe(join(world.folder, 'revisions', id));
  });

  test('goes back to a commit that it has without the remote', async () => {
    const first = world.remote.push({'a.yaml': 'one\n'});
    const ours = await world.ours();
    await world.follow(ours);
    const second = world.remote.push({'a.yaml': 'two\n'});
    await world.follow(ours);
    rmSync(world.remote.bare, {recursive: true});
    const ref = {type: 'commit', commit: first} as const;
    const seen = await ours.look(ref, world.signal);
    expect(await ours.fetch({...seen, ref}, second, world.signal)).toMatchObject({id: first, forced: true});
    await ours.checkout(first, world.signal);
    await ours.switchTo(first);
    expect(world.files()).toEqual({'a.yaml': 'one\n'});
  });

  test('follows the default branch, whatever its name', async () => {
    world.remote.push({'a.yaml': 'one\n'});
    world.remote.git('checkout', '--quiet', '-b', 'trunk');
    const id = world.remote.push({'a.yaml': 'two\n'});
    world.remote.gitBare('symbolic-ref', 'HEAD', 'refs/heads/trunk');
    const ours = await world.ours();
    expect(await ours.look({type: 'default'}, world.signal)).toEqual({commit: id, name: 'trunk'});
  });

  test('follows the highest tag of a pattern, and peels it', async () => {
    const first = world.remote.push({'a.yaml': 'one\n'});
    world.remote.tag('v1.9.0');
    const second = world.remote.push({'a.yaml': 'two\n'});
    world.remote.tag('v1.10.0', {annotated: true});
    world.remote.push({'a.yaml': 'three\n'});
    world.remote.tag('v2.0.0');
    world.remote.tag('v1.11.0-rc.1', {target: first});
    world.remote.tag('v1.11.0-rc.1', {target: first});
    const ours = await world.ours();
    const seen = await ours.look({type: 'tag', pattern: 'v1.1*.0'}, world.signal);
    expect(seen).toMatchObject({commit: second, name: 'v1.10.0'});
    expect(await world.follow(ours, {type: 'tag', pattern: 'v1.1*.0'})).toMatchObject({id: second});
    expect(await ours.look({type: 'tag', pattern: 'v1.9.0'}, world.signal)).toEqual({commit: first, name: 'v1.9.0'});
  });

  test('follows a tag that is moved', async () => {
    const first = world.remote.push({'a.yaml': 'one\n'});
    world.remote.tag('stable', {annotated: true});
    const ours = await world.ours();
    const ref = {type: 'tag', pattern: 'stable'} as const;
    expect(await world.follow(ours, ref)).toMatchObject({id: first});
    const second = world.remote.push({'a.yaml': 'two\n'});
    world.remote.tag('stable', {annotated: true});
    expect(await world.follow(ours, ref)).toMatchObject({id: second, forced: false});
  });

  test('leaves everything as it is when the repository is removed', async () => {
    world.remote.push({'a.yaml': 'one\n'});
    const ours = await world.ours();
    await world.follow(ours);
    rmSync(world.remote.bare, {recursive: true});
    expect(await failureOf(ours.look(main, world.signal))).toMatchObject({kind: 'not-a-repository'});
    expect(world.files()).toEqual({'a.yaml': 'one\n'});
  });

  test.each([
    ['an empty repository', () => undefined, 'the repository is empty'],
    [
      'a branch that is removed',
      () => {
        world.remote.push({'a.yaml': 'one\n'});
        world.remote.git('push', '--quiet', 'origin', 'HEAD:maine');
        world.remote.gitBare('update-ref', '-d', 'refs/heads/main');
      },
      'it has no branch main',
    ],
  ])('says what is wrong with %s', async (_, arrange, text) => {
    arrange();
    const failure = await failureOf((await world.ours()).look(main, world.signal));
    expect(failure.kind).toBe('no-such-ref');
    expect(failure.message).toContain(text);
  });

  test('suggests a branch whose name comes close', async () => {
    world.remote.push({'a.yaml': 'one\n'});
    const failure = await failureOf((await world.ours()).look({type: 'branch', name: 'mian'}, world.signal));
    expect(failure.hint).toBe('did you mean `main`?');
  });

  test('looks again when the branch has moved since the look', async () => {
    const gone = world.remote.push({'a.yaml': 'one\n'});
    const ours = await world.ours();
    const seen = await ours.look(main, world.signal);
    world.remote.push({'a.yaml': 'two\n'}, {amend: true, force: true});
    world.remote.gitBare('reflog', 'expire', '--expire=now', '--all');
    world.remote.gitBare('gc', '--quiet', '--prune=now');
    expect(seen.commit).toBe(gone);
    expect(await failureOf(ours.fetch({...seen, ref: main}, undefined, world.signal))).toMatchObject({kind: 'moved'});
  });

  test('keeps the newest revisions and the one in force', async () => {
    const ours = await world.ours();
    const ids: string[] = [];
    for (const text of ['1', '2', '3', '4', '5']) {
      ids.push(world.remote.push({'a.yaml': text}));
      await world.follow(ours);
    }
    await ours.checkout(ids[0] ?? '', world.signal);
    await ours.switchTo(ids[0] ?? '');
    await ours.prune(2);
    const revisions = readdirSync(join(world.folder, 'revisions')).sort();
    expect(revisions).toEqual([ids[0], ids[4]].sort());
    expect(readdirSync(join(world.folder, 'repo.git', 'refs', 'revisions')).sort()).toEqual(revisions);
    await ours.prune(0);
    expect(readdirSync(join(world.folder, 'revisions'))).toEqual([ids[0]]);
  });

  test('makes symbolic links as they are in the tree, and leaves submodules out', async () => {
    world.remote.commit({'target.txt': 'x', inside: {link: 'target.txt'}, outside: {link: '/etc/passwd'}});
    world.remote.git('update-index', '--add', '--cacheinfo', `160000,${world.remote.head()},sub`);
    world.remote.git('commit', '--quiet', '-m', 'submodule');
    world.remote.git('push', '--quiet', 'origin', 'HEAD');
    const {folder} = await world.follow(await world.ours());
    expect(readdirSync(folder).sort()).toEqual(['inside', 'outside', 'target.txt']);
    expect(lstatSync(join(folder, 'outside')).isSymbolicLink()).toBe(true);
    expect(readlinkSync(join(folder, 'outside'))).toBe('/etc/passwd');
  });

  test('writes what is committed, whatever .gitattributes say', async () => {
    const files = {'.gitattributes': '* text eol=crlf ident\n*.bin filter=evil\n', 'a.txt': '$Id$\n', 'x.bin': 'x\n'};
    world.remote.push(files);
    writeFileSync(join(world.home, 'gitconfig'), `[filter "evil"]\n\tsmudge = touch ${world.home}/smudged\n`);
    const environment = {...world.remote.environment, GIT_CONFIG_GLOBAL: join(world.home, 'gitconfig')};
    await world.follow(await world.ours({environment}));
    expect(world.files()).toEqual(files);
    expect(readdirSync(world.home)).not.toContain('smudged');
  });

  test('is led astray by none of the variables that a git hook sets', async () => {
    world.remote.push({'a.yaml': 'one\n'});
    const elsewhere = join(world.home, 'elsewhere');
    mkdirSync(elsewhere);
    const environment = {
      ...world.remote.environment,
      GIT_DIR: elsewhere,
      GIT_WORK_TREE: elsewhere,
      GIT_INDEX_FILE: join(elsewhere, 'index'),
      GIT_OBJECT_DIRECTORY: elsewhere,
      GIT_CONFIG_PARAMETERS: "'core.sshCommand=false'",
      GIT_TRACE: join(elsewhere, 'trace'),
      GIT_NAMESPACE: 'other',
    };
    await world.follow(await world.ours({environment}));
    expect(world.files()).toEqual({'a.yaml': 'one\n'});
    expect(readdirSync(elsewhere)).toEqual([]);
  });

  test('follows a repository with SHA-256 ids, also one that became so', async () => {
    world.remote.push({'a.yaml': 'one\n'});
    const ours = await world.ours();
    await world.follow(ours);
    const other = new World({objectFormat: 'sha256'});
    try {
      const id = other.remote.push({'a.yaml': 'long\n'});
      const moved = await world.ours({url: other.remote.url});
      expect(await world.follow(moved)).toMatchObject({id, forced: true});
      expect(world.files()).toEqual({'a.yaml': 'long\n'});
    } finally {
      other.remove();
    }
  });
});
