/** An environment follows a branch of a real repository: what is pushed is what runs. */
import {spawnSync} from 'node:child_process';
import {createHmac} from 'node:crypto';
import {statSync} from 'node:fs';
import {readdir} from 'node:fs/promises';
import {join} from 'node:path';
import {afterEach, expect, jest} from '@jest/globals';
import {stringify} from 'yaml';
import type {FleetEvent} from '../../src/api/types.js';
import {describeGit, gitTest, TestRepository} from '../fakes/git.js';
import {isAlive, isReady, kill, sandboxes, until, type FleetSpec, type Sandbox} from './harness.js';

// Long ways with real programs, on a machine that may be busy.
jest.setTimeout(90_000);

const sandbox = sandboxes();
const open: TestRepository[] = [];
afterEach(() => {
  for (const repository of open.splice(0)) repository.remove();
});

function repositoryOf(files: Readonly<Record<string, string>>): TestRepository {
  const repository = new TestRepository();
  open.push(repository);
  repository.push(files, {message: 'First'});
  return repository;
}

/** Follows `envs/dev` of it in the background. */
function up(box: Sandbox, repository: TestRepository, path = 'envs/dev') {
  return box.ok(['up', '--git', repository.url, '--branch', 'main', '--path', path, '--interval', '1s']);
}

const one = (box: Sandbox, model?: string): string =>
  box.document({specialists: ['hermes', {component: 'athena', ...(model !== undefined && {model})}]});

const hasModel = (box: Sandbox, model: string) =>
  box.untilItem('athena', item => item.status.model?.model === model && isReady(item));

const reasons = (events: readonly FleetEvent[], reason: string): readonly FleetEvent[] =>
  events.filter(event => event.reason === reason);

describeGit('a branch that is followed', () => {
  gitTest('reconfigures by a push, and back by its revert; files may come, and stop nothing when they go', async () => {
    const box = await sandbox();
    const repository = repositoryOf({'envs/dev/dev.yaml': one(box)});
    await up(box, repository);
    const pids = await box.pids();
    expect(Object.keys(pids).sort()).toEqual(['athena', 'hermes']);

    const wise = repository.push({'envs/dev/dev.yaml': one(box, 'wise')}, {message: 'Wiser'});
    await hasModel(box, 'wise');
    await box.untilGit('repo', status => status.revision === wise && status.reason === 'UpToDate');
    expect(box.record().revision).toBe(wise);
    expect(box.record().source).toMatchObject({type: 'git', source: 'default/repo'});

    repository.git('revert', '--no-edit', 'HEAD');
    const reverted = repository.push();
    await hasModel(box, 'expertise');
    await box.untilGit('repo', status => status.revision === reverted);
    expect(await box.pids()).toEqual(pids);

    repository.push({'envs/dev/more.yaml': box.document({name: 'more', specialists: ['numa']})});
    await box.untilEvent('BecameReady', 'numa-ai');
    const numa = await box.pidOf('numa');

    const without = repository.push({'envs/dev/more.yaml': undefined});
    const gone = await until('the fleet to be missed', async () =>
      reasons(await box.events(), 'SourceUnavailable').find(({fleet}) => fleet === 'more'),
    );
    expect(gone.message).toContain('no longer declares the fleet; nothing was stopped');
    await box.untilGit('repo', status => status.revision === without);
    expect((await box.ok(['get'])).stderr).toMatch(/fleet more: SourceUnavailable: .*tekton-ai down --fleet more/);
    expect(await box.pids()).toEqual({...pids, numa});
    expect(reasons(await box.events(), 'SourceUnavailable')).toHaveLength(1);
  });

  gitTest(
    'ends at the last of concurrent pushes, goes 500 commits in one step, and outlives its controller',
    async () => {
      const box = await sandbox();
      const repository = repositoryOf({'envs/dev/dev.yaml': one(box), 'README.md': 'ours\n'});
      await up(box, repository);
      const pids = await box.pids();

      // Another person's clone pushes in between: ours has to be laid on top of it.
      const other = join(repository.folder, 'other');
      const theirs = (...args: readonly string[]): void => {
        const done = spawnSync('git', ['-C', other, ...args], {env: repository.environment, encoding: 'utf8'});
        expect(done).toMatchObject({status: 0});
      };
      repository.git('clone', '--quiet', repository.bare, other);
      for (const round of ['1', '2', '3']) {
        theirs('pull', '--quiet', '--rebase');
        theirs('commit', '--quiet', '--allow-empty', '-m', `Theirs ${round}`);
        theirs('push', '--quiet');
        repository.commit({'envs/dev/dev.yaml': one(box, `model-${round}`)});
        repository.git('pull', '--quiet', '--rebase', 'origin', 'main');
        repository.push();
      }
      await hasModel(box, 'model-3');
      await box.untilGit('repo', status => status.revision === repository.head());

      const before = reasons(await box.events(), 'RevisionApplied').length;
      repository.commit({'envs/dev/dev.yaml': one(box, 'far')});
      const far = repository.pushMany(500);
      await box.untilGit('repo', status => status.revision === far);
      await hasModel(box, 'far');
      const steps = reasons(await box.events(), 'RevisionApplied').slice(before);
      expect(steps.map(({message}) => message)).toEqual([`${far.slice(0, 12)} many`]);
      expect(reasons(await box.events(), 'ForcePushed')).toEqual([]);

      const controller = box.controllerPid();
      kill(controller, 'SIGKILL');
      await until('the controller to end', () => !isAlive(controller));
      await up(box, repository);
      expect(box.controllerPid()).not.toBe(controller);
      repository.push({'envs/dev/dev.yaml': one(box, 'after')});
      await hasModel(box, 'after');
      expect(await box.pids()).toEqual(pids);
    },
  );

  gitTest('touches of twenty fleets the one that a line was changed of', async () => {
    const box = await sandbox();
    const fleet = (at: number, more: Partial<FleetSpec> = {}): string =>
      box.document({
        name: `fleet-${at}`,
        // Four run; the others are declared all the same.
        enabled: at < 4,
        specialists: Array.from({length: 5}, (_, k) => ({
          component: ['hermes', 'athena', 'numa', 'engram', 'apollo'][k] ?? '',
          name: `s-${at}-${k}`,
          enabled: k === 0,
        })),
        ...more,
      });
    const names = Array.from({length: 20}, (_, at) => `fleets/${String(at).padStart(2, '0')}.yaml`);
    const repository = repositoryOf(Object.fromEntries(names.map((name, at) => [name, fleet(at)])));
    await up(box, repository, 'fleets');
    const pids = await box.pids();
    expect(Object.keys(pids)).toHaveLength(4);
    const folder = join(box.home, 'fleets');
    const written = async () =>
      Object.fromEntries(
        (await readdir(folder))
          .filter(name => name.endsWith('.json'))
          .map(name => [name, `${statSync(join(folder, name)).ino} ${statSync(join(folder, name)).mtimeMs}`]),
      );
    const before = await written();
    expect(Object.keys(before)).toHaveLength(20);

    const changed = repository.push({'fleets/02.yaml': fleet(2, {defaults: {provider: 'offline', model: 'wise'}})});
    await box.untilItem('s-2-0', item => item.status.model?.model === 'wise' && isReady(item));
    await box.untilGit('repo', status => status.revision === changed);
    const after = await written();
    expect(Object.keys(after).filter(name => after[name] !== before[name])).toEqual(['default.fleet-2.json']);
    expect(await box.pids()).toEqual(pids);
    const reconfigured = reasons(await box.events(), 'Reconfigured').map(({aiId}) => aiId);
    expect(reconfigured).toEqual(['s-2-0-ai']);
  });

  gitTest('converges at the word of a webhook that is signed, and at no other', async () => {
    const box = await sandbox();
    const repository = repositoryOf({'envs/dev/dev.yaml': one(box)});
    const port = box.ports.to;
    const spec = {
      ...{url: repository.url, branch: 'main', path: 'envs/dev', intervalSeconds: 3600},
      webhook: {host: box.host, port, secret: {env: 'HOOK_SECRET'}},
    };
    const document = {apiVersion: 'tekton.ai/v1alpha1', kind: 'GitSource', metadata: {name: 'repo'}, spec};
    await box.write('source.yaml', stringify(document));
    await box.ok(['up', '-f', 'source.yaml'], {env: {HOOK_SECRET: 'a secret of the hook'}});
    const pids = await box.pids();
    repository.push({'envs/dev/dev.yaml': one(box, 'wise')});
    const body = JSON.stringify({ref: 'refs/heads/main', repository: {clone_url: repository.url}});
    const told = async (key: string): Promise<number> => {
      const signature = `sha256=${createHmac('sha256', key).update(body).digest('hex')}`;
      const headers = {'content-type': 'application/json', 'x-github-event': 'push', 'x-hub-signature-256': signature};
      const url = `http://${box.host}:${port}/hooks/default/repo`;
      return (await fetch(url, {method: 'POST', headers, body})).status;
    };
    const {seen} = box.gitStatus('repo');
    expect(await told('another')).toBe(401);
    expect(box.gitStatus('repo').seen).toBe(seen);
    expect(await told('a secret of the hook')).toBe(202);
    await hasModel(box, 'wise');
    expect(await box.pids()).toEqual(pids);
  });
});
