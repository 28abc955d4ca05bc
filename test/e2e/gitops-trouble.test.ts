/** What goes wrong with a repository that is followed: the last good revision stays in force, and nothing is pruned. */
import {existsSync, renameSync} from 'node:fs';
import {readdir} from 'node:fs/promises';
import {join} from 'node:path';
import {afterEach, expect, jest, test} from '@jest/globals';
import {stringify} from 'yaml';
import {
  describeGit,
  gitTest,
  gitVersion,
  hasProgram,
  startGitHttp,
  TestRepository,
  type GitServer,
} from '../fakes/git.js';
import {isAlive, isReady, kill, sandboxes, until, type Sandbox} from './harness.js';

// Long ways with real programs, on a machine that may be busy.
jest.setTimeout(90_000);

const sandbox = sandboxes();
const repositories: TestRepository[] = [];
const servers: GitServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
  for (const repository of repositories.splice(0)) repository.remove();
});

const file = 'envs/dev/dev.yaml';
const [, major = '0', minor = '0'] = gitVersion ?? [];
const sshTest = Number(major) * 1000 + Number(minor) >= 2034 && hasProgram('ssh-keygen') ? gitTest : test.skip;

function newRepository(): TestRepository {
  const repository = new TestRepository();
  repositories.push(repository);
  return repository;
}

const flags = (url: string) => ['--git', url, '--branch', 'main', '--path', 'envs/dev', '--interval', '1s'];

const athena = (box: Sandbox, model: string): string => box.document({specialists: [{component: 'athena', model}]});

const hasModel = (box: Sandbox, model: string) =>
  box.untilItem('athena', item => item.status.model?.model === model && isReady(item));

async function count(box: Sandbox, reason: string): Promise<number> {
  return (await box.events()).filter(event => event.reason === reason).length;
}

function gitSource(spec: Readonly<Record<string, unknown>>): string {
  const place = {branch: 'main', path: 'envs/dev', intervalSeconds: 1};
  const metadata = {name: 'platform'};
  return stringify({apiVersion: 'tekton.ai/v1alpha1', kind: 'GitSource', metadata, spec: {...place, ...spec}});
}

describeGit('a branch that is followed', () => {
  gitTest(
    'keeps the last good revision, whatever is wrong with the newest, and goes on with what mends it',
    async () => {
      const box = await sandbox();
      const repository = newRepository();
      const good = repository.push({[file]: athena(box, 'good')});
      await box.ok(['up', ...flags(repository.url)]);
      const pids = await box.pids();

      const second = await box.run(['run', ...flags(repository.url)]);
      expect(second.exitCode).toBe(5);
      expect(second.stderr).toContain(String(box.controllerPid()));

      const bad = [
        [
          {[file]: athena(box, 'good').replace('model:', 'modle:')},
          'SourceInvalid',
          /^envs\/dev\/dev\.yaml:\d+:\d+: unknown field `modle`/,
        ],
        [
          {
            [file]: box.document({
              providers: {far: {type: 'openai', baseUrl: 'https://models.example.net/v1'}},
              specialists: [{component: 'athena', provider: 'far', model: 'good'}],
            }),
          },
          'PolicyViolation',
          /^envs\/dev\/dev\.yaml:\d+:\d+: .*models\.example\.net/,
        ],
        [{[file]: undefined, 'envs/dev/README.md': 'empty\n'}, 'SourceInvalid', /envs\/dev/],
      ] as const;
      for (const [files, reason, message] of bad) {
        const seen = repository.push(files);
        const status = await box.untilGit('repo', one => one.seen === seen && one.ready === 'False');
        expect(status).toMatchObject({reason, revision: good, message: expect.stringMatching(message)});
        const said = await until('get to say so', async () => {
          const {stderr} = await box.ok(['get']);
          return stderr.includes(status.message) && stderr;
        });
        expect(said).toContain(`fleet dev: ${reason}: git source default/repo: `);
        expect(await box.pids()).toEqual(pids);
        expect(isReady(await box.item('athena'))).toBe(true);
      }

      repository.push({[file]: athena(box, 'mended')});
      await hasModel(box, 'mended');
      await box.untilEvent('SourceRecovered');
      await until('get to be silent', async () => (await box.ok(['get'])).stderr === '');

      renameSync(repository.bare, `${repository.bare}.away`);
      await box.untilGit('repo', one => one.reason === 'FetchFailed');
      expect(await box.pids()).toEqual(pids);
      renameSync(`${repository.bare}.away`, repository.bare);
      await box.untilGit('repo', one => one.reason === 'UpToDate');
      await until('get to be silent', async () => (await box.ok(['get'])).stderr === '');
      expect(await box.pids()).toEqual(pids);
      expect(await count(box, 'Pruned')).toBe(0);
    },
  );

  gitTest('takes a rewritten history over with a warning, and holds a mass prune until somebody says yes', async () => {
    const box = await sandbox();
    const repository = newRepository();
    const others = ['hermes', 'numa', 'engram', 'apollo'];
    const all = (model: string): string =>
      box.document({
        specialists: [
          {component: 'athena', model},
          ...others.map(component => ({component, enabled: component === 'hermes'})),
        ],
      });
    repository.push({[file]: all('good')});
    await box.ok(['up', ...flags(repository.url)]);
    const pids = await box.pids();
    expect(Object.keys(pids).sort()).toEqual(['athena', 'hermes']);

    const rewritten = repository.push({[file]: all('other')}, {amend: true, force: true});
    await hasModel(box, 'other');
    await box.untilGit('repo', status => status.revision === rewritten && status.ready === 'True');
    const event = await box.untilEvent('ForcePushed');
    expect(event).toMatchObject({type: 'Warning', gitSource: 'default/repo'});

    const few = repository.push({[file]: athena(box, 'few')});
    const held = await box.untilGit('repo', status => status.reason === 'Held');
    expect(held).toMatchObject({revision: rewritten, seen: few});
    expect(held.message).toContain('would prune 4 of 5 specialists');
    expect(await box.pids()).toEqual(pids);
    expect((await box.run(['apply', ...flags(repository.url)])).exitCode).toBe(5);
    await box.ok(['apply', '--wait', '--yes', ...flags(repository.url)]);
    await box.untilGit('repo', status => status.reason === 'UpToDate' && status.revision === few);
    expect(await box.pids()).toEqual({athena: pids['athena']});
    await until('get to be silent', async () => (await box.ok(['get'])).stderr === '');
  });

  sshTest('refuses what was force-pushed or not signed, where its source says so', async () => {
    const box = await sandbox();
    const repository = newRepository();
    const [ada, eve] = [repository.sshKey('ada@example.com'), repository.sshKey('eve@example.com')];
    const allowedSigners = repository.allowedSigners(ada);
    const verify = {object: 'commit', ssh: {allowedSigners}};
    await box.write('source.yaml', gitSource({url: repository.url, forcePush: 'refuse', verify}));
    repository.push({[file]: athena(box, 'unsigned')});
    const unsigned = await box.run(['up', '-f', 'source.yaml']);
    expect(unsigned.exitCode).toBe(1);
    expect(unsigned.stderr).toMatch(/cannot follow git source default\/platform \(file:.*\): .*sign/);
    expect(existsSync(join(box.home, 'run/controller.json'))).toBe(false);

    const good = repository.push({[file]: athena(box, 'good')}, {sign: ada});
    await box.ok(['up', '-f', 'source.yaml']);
    const pids = await box.pids();

    for (const options of [{}, {sign: eve}]) {
      const seen = repository.push({[file]: athena(box, 'bad')}, options);
      const status = await box.untilGit('platform', one => one.seen === seen && one.ready === 'False');
      expect(status).toMatchObject({reason: 'VerificationFailed', revision: good});
    }
    const better = repository.push({[file]: athena(box, 'better')}, {sign: ada});
    await hasModel(box, 'better');
    await box.untilGit('platform', one => one.revision === better && one.ready === 'True');

    const forced = repository.push({[file]: athena(box, 'forced')}, {sign: ada, amend: true, force: true});
    const status = await box.untilGit('platform', one => one.reason === 'ForcePushed');
    expect(status).toMatchObject({ready: 'False', revision: better, seen: forced});
    expect((await box.item('athena')).status.model?.model).toBe('better');
    expect(await box.pids()).toEqual(pids);
  });

  gitTest('finishes what a controller that was killed in the middle of a fetch has begun', async () => {
    const box = await sandbox();
    const repository = newRepository();
    repository.push({[file]: athena(box, 'good')});
    const server = await startGitHttp(repository);
    servers.push(server);
    await box.ok(['up', ...flags(server.url)]);
    const pids = await box.pids();

    server.faults.stallAfter = 150;
    const next = repository.push({[file]: athena(box, 'next'), 'big.txt': 'no end of it\n'.repeat(1000)});
    await until('the fetch to stall', () => server.stalled() > 0);
    const controller = box.controllerPid();
    kill(controller, 'SIGKILL');
    await until('the controller to end', () => !isAlive(controller));
    expect((await box.item('athena')).status.model?.model).toBe('good');

    delete server.faults.stallAfter;
    // A controller for something else: what the source is behind with is its own doing.
    await box.declare({name: 'other', specialists: [{component: 'numa', enabled: false}]}, 'other.yaml');
    await box.ok(['up', '-f', 'other.yaml']);
    await hasModel(box, 'next');
    await box.untilGit('repo', status => status.revision === next && status.ready === 'True');
    expect(await box.pids()).toEqual(pids);
    // The git that was left alone waits for its answer still.
    await server.close();
  });

  gitTest('begins with nothing that it could not fetch or may not have', async () => {
    const box = await sandbox();
    const repository = newRepository();
    const unreachable = await box.run(['up', ...flags('http://127.0.0.1:1/acme/platform.git')]);
    expect(unreachable.exitCode).toBe(1);
    expect(unreachable.stderr).toMatch(
      /^error: cannot follow git source default\/platform \(http:\/\/127\.0\.0\.1:1\//m,
    );

    repository.push({[file]: athena(box, 'good'), 'envs/dev/source.yaml': gitSource({url: repository.url})});
    const nested = await box.run(['up', ...flags(repository.url)]);
    expect(nested.exitCode).toBe(4);
    expect(nested.stderr).toMatch(/envs\/dev\/source\.yaml:\d+:\d+: .*GitSource/);

    for (const folder of ['sources', 'fleets']) {
      expect(await readdir(join(box.home, folder)).catch(() => [])).toEqual([]);
    }
    expect(existsSync(join(box.home, 'run/controller.json'))).toBe(false);
    expect(await box.processes()).toEqual([]);
  });
});
