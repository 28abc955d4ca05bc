import {spawn} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import {chmodSync, mkdirSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import type {AddressInfo} from 'node:net';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterEach, beforeEach, expect, jest, test} from '@jest/globals';
import {credentialConfig, describeGit, startGitDaemon, startGitHttp, type GitServer} from '../fakes/git.js';
import {failureOf, main, World} from './world.js';

jest.setTimeout(90_000);

let world: World;
const servers: GitServer[] = [];

beforeEach(() => {
  world = new World();
});

afterEach(async () => {
  await Promise.all(servers.splice(0).map(server => server.close()));
  world.remove();
});

/** Bytes that no compression makes fewer, so that a fetch can be stopped in the middle. */
const large = (): string => randomBytes(400_000).toString('base64');

async function serve(credentials?: {readonly user: string; readonly password: string}) {
  const server = await startGitHttp(world.remote, credentials);
  servers.push(server);
  return server;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(5);
}

/** Where processes can be told by their command lines. */
const linuxTest = process.platform === 'linux' ? test : test.skip;

/** Processes of git with this text in their command line. */
function gitsWith(text: string): readonly number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(Number)
    .filter(pid => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').join(' ');
        return line.includes(text) && line.includes('git') && pid !== process.pid;
      } catch {
        return false;
      }
    });
}

describeGit('a remote', () => {
  test('is followed through git daemon', async () => {
    const daemon = await startGitDaemon(world.remote);
    servers.push(daemon);
    world.remote.pushMany(3);
    const ours = await world.ours({url: daemon.url});
    await world.follow(ours);
    const id = world.remote.push({'a.yaml': 'two\n'});
    expect(await world.follow(ours)).toMatchObject({id, forced: false});
  });

  test('is followed over http with the credentials of the user', async () => {
    const [user, password] = ['ada', 'correct-horse'];
    const server = await serve({user, password});
    world.remote.push({'a.yaml': 'one\n'});
    const refused = await failureOf((await world.ours({url: server.url})).look(main, world.signal));
    expect(refused).toMatchObject({kind: 'authentication'});
    const environment = {
      ...world.remote.environment,
      GIT_CONFIG_GLOBAL: credentialConfig(world.home, {user, password}),
    };
    const ours = await world.ours({url: server.url, environment});
    await world.follow(ours);
    const id = world.remote.push({'a.yaml': 'two\n'});
    expect(await world.follow(ours)).toMatchObject({id, forced: false});
    const wrong = {
      ...world.remote.environment,
      GIT_CONFIG_GLOBAL: credentialConfig(world.remote.folder, {user, password: 'guess-me'}),
    };
    const failure = await failureOf((await world.ours({url: server.url, environment: wrong})).look(main, world.signal));
    expect(failure).toMatchObject({kind: 'authentication'});
    expect(JSON.stringify(failure)).not.toContain('guess-me');
  });

  test('gives credentials that CI put into variables', async () => {
    const server = await serve({user: 'ci', password: 'token'});
    world.remote.push({'a.yaml': 'one\n'});
    const environment = {
      ...world.remote.environment,
      GIT_CONFIG_COUNT: '2',
      GIT_CONFIG_KEY_0: 'core.worktree',
      GIT_CONFIG_VALUE_0: '/nowhere',
      GIT_CONFIG_KEY_1: 'http.extraHeader',
      GIT_CONFIG_VALUE_1: `Authorization: Basic ${Buffer.from('ci:token').toString('base64')}`,
    };
    await world.follow(await world.ours({url: server.url, environment}));
    expect(world.files()).toEqual({'a.yaml': 'one\n'});
  });

  test('costs one look one request of refs, and no look fetches anything', async () => {
    const server = await serve();
    world.remote.push({'a.yaml': 'one\n'});
    const ours = await world.ours({url: server.url});
    await ours.look(main, world.signal);
    expect(server.requests.map(line => line.split(' ', 1)[0])).toEqual(['GET', 'POST']);
    expect(readdirSync(world.folder)).toEqual([]);
  });

  test.each([
    [503, 'unreachable'],
    [404, 'not-a-repository'],
    [403, 'authentication'],
  ])('that answers %d is %s', async (status, kind) => {
    const server = await serve();
    world.remote.push({'a.yaml': 'one\n'});
    server.faults.status = status;
    const ours = await world.ours({url: server.url});
    expect(await failureOf(ours.look(main, world.signal))).toMatchObject({kind});
    delete server.faults.status;
    await world.follow(ours);
  });

  test('where nobody listens, and a host that does not exist, are unreachable', async () => {
    const silent = createServer();
    await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve));
    const {port} = silent.address() as AddressInfo;
    await new Promise(resolve => silent.close(resolve));
    for (const url of [
      `http://127.0.0.1:${port}/x.git`,
      `git://127.0.0.1:${port}/x.git`,
      'http://host.invalid/x.git',
    ]) {
      expect(await failureOf((await world.ours({url})).look(main, world.signal))).toMatchObject({kind: 'unreachable'});
    }
  });

  linuxTest('that says nothing is given up in time, and git is gone then', async () => {
    const silent = createServer(socket => void socket.on('error', () => undefined));
    await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve));
    const {port} = silent.address() as AddressInfo;
    const url = `git://127.0.0.1:${port}/x.git`;
    expect(await failureOf((await world.ours({url, timeoutMs: 1_000})).look(main, world.signal))).toMatchObject({
      kind: 'timeout',
    });
    await until(() => gitsWith(url).length === 0);
    silent.close();
  });

  test('that cuts the connection spoils nothing', async () => {
    const server = await serve();
    world.remote.push({'a.yaml': 'one\n'});
    const ours = await world.ours({url: server.url});
    await world.follow(ours);
    const id = world.remote.push({'a.yaml': 'two\n', 'large.txt': large()});
    server.faults.cutAfter = 50_000;
    const seen = await ours.look(main, world.signal);
    expect(await failureOf(ours.fetch({...seen, ref: main}, await ours.inForce(), world.signal))).toMatchObject({
      kind: 'unreachable',
    });
    expect(world.files()).toEqual({'a.yaml': 'one\n'});
    expect(readdirSync(join(world.folder, 'tmp'))).toEqual([]);
    delete server.faults.cutAfter;
    expect(await world.follow(ours)).toMatchObject({id, forced: false});
  });

  linuxTest('that stalls is left when the caller wants so', async () => {
    const server = await serve();
    world.remote.push({'large.txt': large()});
    const ours = await world.ours({url: server.url});
    server.faults.stallAfter = 50_000;
    const seen = await ours.look(main, world.signal);
    const controller = new AbortController();
    const fetching = ours.fetch({...seen, ref: main}, undefined, controller.signal);
    await until(() => server.stalled() > 0);
    controller.abort(new Error('enough'));
    await expect(fetching).rejects.toThrow('enough');
    await until(() => gitsWith(server.url).length === 0);
  });

  linuxTest('is fetched anew when git is killed in the middle, while an orphan still writes', async () => {
    const server = await serve();
    world.remote.push({'a.yaml': 'one\n'});
    const ours = await world.ours({url: server.url});
    await world.follow(ours);
    const id = world.remote.push({'large.txt': large()});
    const seen = await ours.look(main, world.signal);
    server.faults.stallAfter = 50_000;
    // As after kill -9 of ours: git goes on in a folder of its own, with its locks.
    const orphaned = join(world.folder, 'tmp', 'fetch-orphan');
    const args = ['clone', '--quiet', '--bare', server.url, orphaned];
    const orphan = spawn('git', args, {env: world.remote.environment, stdio: 'ignore'});
    const gone = new Promise(resolve => orphan.once('exit', resolve));
    await until(() => server.stalled() === 1);
    const fetching = ours.fetch({...seen, ref: main}, await ours.inForce(), world.signal);
    await until(() => server.stalled() === 2);
    delete server.faults.stallAfter;
    for (const pid of gitsWith('--git-dir=' + world.folder)) process.kill(pid, 'SIGKILL');
    expect(await fetching).toMatchObject({id, forced: false});
    expect(await world.follow(ours)).toMatchObject({id});
    orphan.kill('SIGKILL');
    await gone;
    expect(Object.keys(world.files())).toEqual(['a.yaml', 'large.txt']);
  });
});

describeGit('our copy', () => {
  const damages: readonly (readonly [string, (repo: string) => void])[] = [
    [
      'locks that a dead git left',
      repo =>
        ['shallow.lock', 'config.lock', 'HEAD.lock', 'packed-refs.lock'].forEach(name =>
          writeFileSync(join(repo, name), ''),
        ),
    ],
    ['half a pack', repo => writeFileSync(join(repo, 'objects', 'pack', 'tmp_pack_abc'), 'PACK')],
    ['no HEAD', repo => rmSync(join(repo, 'HEAD'))],
    ['an empty configuration', repo => writeFileSync(join(repo, 'config'), '[core')],
    ['no packs', repo => rmSync(join(repo, 'objects', 'pack'), {recursive: true})],
    [
      'a file in the place of its objects',
      repo => (rmSync(join(repo, 'objects'), {recursive: true}), writeFileSync(join(repo, 'objects'), '')),
    ],
    [
      'packs that are cut off',
      repo => {
        for (const name of readdirSync(join(repo, 'objects', 'pack'))) {
          chmodSync(join(repo, 'objects', 'pack', name), 0o600);
          truncateSync(join(repo, 'objects', 'pack', name), 40);
        }
      },
    ],
  ];

  test.each(damages)('with %s is followed on', async (_, damage) => {
    world.remote.pushMany(3);
    const ours = await world.ours();
    await world.follow(ours);
    damage(join(world.folder, 'repo.git'));
    const id = world.remote.push({'a.yaml': 'two\n'});
    expect(await world.follow(ours)).toMatchObject({id, forced: false});
    expect(world.files()).toMatchObject({'a.yaml': 'two\n'});
  });

  test.each(damages)('with %s is checked out anew', async (_, damage) => {
    const id = world.remote.push({'a.yaml': 'one\n'});
    await world.follow(await world.ours());
    damage(join(world.folder, 'repo.git'));
    rmSync(join(world.folder, 'revisions'), {recursive: true});
    const ours = await world.ours();
    await ours.checkout(id, world.signal);
    expect(world.files()).toEqual({'a.yaml': 'one\n'});
  });

  test('whose checkout lost a file is mended by the next process', async () => {
    const id = world.remote.push({'a.yaml': 'one\n', 'b/c.yaml': 'c\n'});
    const {folder} = await world.follow(await world.ours());
    rmSync(join(folder, 'b'), {recursive: true});
    truncateSync(join(folder, 'a.yaml'));
    await (await world.ours()).checkout(id, world.signal);
    expect(world.files()).toEqual({'a.yaml': 'one\n', 'b/c.yaml': 'c\n'});
  });

  test('is cleared of what a killed process left', async () => {
    const id = world.remote.push({'a.yaml': 'one\n'});
    mkdirSync(join(world.folder, 'tmp', 'checkout-0123'), {recursive: true});
    writeFileSync(join(world.folder, 'tmp', 'checkout-0123', 'a.yaml'), 'half');
    expect(await world.follow(await world.ours())).toMatchObject({id});
    expect(readdirSync(join(world.folder, 'tmp'))).toEqual([]);
  });

  test('is worked on by many at once', async () => {
    const first = world.remote.push({'a.yaml': 'one\n'});
    const several = await Promise.all(Array.from({length: 4}, () => world.ours()));
    const commits = await Promise.all(several.map(each => world.follow(each)));
    expect(new Set(commits.map(({id}) => id))).toEqual(new Set([first]));
    const second = world.remote.push({'a.yaml': 'two\n'});
    await Promise.all(several.map(each => world.follow(each)));
    expect(await several[0]?.inForce()).toBe(second);
    expect(world.files()).toEqual({'a.yaml': 'two\n'});
  });

  test('stays small, however many revisions it has seen', async () => {
    const ours = await world.ours();
    for (let at = 0; at < 34; at++) {
      world.remote.push({'a.yaml': `${at}\n`});
      await world.follow(ours);
      await ours.prune(2);
    }
    const packs = readdirSync(join(world.folder, 'repo.git', 'objects', 'pack')).filter(name => name.endsWith('.pack'));
    expect(packs.length).toBeLessThan(20);
    expect(world.files()).toEqual({'a.yaml': '33\n'});
  });
});
