/** What a person says to a git source: look now, don't look, go back, forget. */
import {afterEach, beforeEach, expect} from '@jest/globals';
import type {GitSourceStatus} from '../../src/api/git-source.js';
import {describeGit, gitTest, TestRepository} from '../fakes/git.js';
import {sandboxes, until, type Sandbox} from './harness.js';

const sandbox = sandboxes();
let repository: TestRepository;

beforeEach(() => {
  repository = new TestRepository({parent: '/tmp'});
});

afterEach(() => repository.remove());

interface SourceDocument {
  readonly spec: {readonly branch?: string};
  readonly status: GitSourceStatus & {readonly suspendedAt?: string};
}

/** Nothing but a person's word has it looked at within a test. */
const rarely = ['--interval', '1h'];

function fleet({host, ports}: Sandbox, temperature: number): Record<string, string> {
  const document = {
    apiVersion: 'tekton.ai/v1alpha1',
    kind: 'Fleet',
    metadata: {name: 'dev'},
    spec: {
      ports,
      defaults: {provider: 'offline', host},
      specialists: [{component: 'athena', parameters: {temperature}}],
    },
  };
  return {'envs/dev/tekton-ai.yaml': JSON.stringify(document)};
}

async function following(): Promise<{own: Sandbox; first: string}> {
  const own = await sandbox();
  const first = repository.push(fleet(own, 0.1), {message: 'Begin'});
  await own.ok(['up', '--git', repository.url, '--path', 'envs/dev', '--name', 'platform', ...rarely]);
  return {own, first};
}

async function source(own: Sandbox): Promise<SourceDocument> {
  return JSON.parse((await own.ok(['sources', 'platform', '-o', 'json'])).stdout) as SourceDocument;
}

async function temperature(own: Sandbox): Promise<unknown> {
  const {spec} = await own.item('athena');
  return 'parameters' in spec ? spec.parameters.temperature : undefined;
}

describeGit('a git source', () => {
  gitTest('is looked at when somebody says so, and says what it found', async () => {
    const {own, first} = await following();
    expect((await source(own)).status).toMatchObject({ready: 'True', reason: 'UpToDate', revision: first});
    const second = repository.push(fleet(own, 0.2), {message: 'Warmer'});
    expect((await own.ok(['reconcile', 'platform', '--wait'])).stdout).toBe('gitsource/platform is looked at now\n');
    expect((await source(own)).status).toMatchObject({revision: second, subject: 'Warmer'});
    expect(await temperature(own)).toBe(0.2);
    repository.push({'envs/dev/tekton-ai.yaml': 'kind: Flet\n'});
    const broken = await own.run(['reconcile', 'platform', '--wait']);
    expect(broken.exitCode).toBe(1);
    expect(broken.stderr).toContain('platform: SourceInvalid: ');
    expect((await source(own)).status).toMatchObject({ready: 'False', reason: 'SourceInvalid', revision: second});
    const table = await own.ok(['sources']);
    expect(table.stdout).toMatch(/^platform +file:\/\/.*the default branch +[0-9a-f]{7} +False +SourceInvalid/m);
    expect(table.stderr).toContain('git source platform: SourceInvalid: ');
  });

  gitTest('is not followed while it is suspended, and followed at once when it is resumed', async () => {
    const {own, first} = await following();
    expect((await own.ok(['suspend', 'platform'])).stdout).toBe('gitsource/platform suspended\n');
    await until('it to be suspended', async () => (await source(own)).status.reason === 'Suspended');
    const second = repository.push(fleet(own, 0.2));
    const refused = await own.run(['reconcile', 'platform']);
    expect(refused).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('cannot reconcile platform: it is suspended'),
    });
    expect((await source(own)).status.revision).toBe(first);
    await own.ok(['resume', 'platform']);
    await until('the new revision', async () => (await source(own)).status.revision === second);
  });

  gitTest('goes back to a commit and stays there until it is resumed', async () => {
    const {own, first} = await following();
    const second = repository.push(fleet(own, 0.2));
    await own.ok(['reconcile', 'platform', '--wait']);
    await own.ok(['rollout', 'undo', '--source', 'platform', '--to-revision', first.slice(0, 8)]);
    await until('the first revision', async () => (await source(own)).status.reason === 'Pinned');
    expect((await source(own)).status.revision).toBe(first);
    expect(await temperature(own)).toBe(0.1);
    await own.ok(['reconcile', 'platform', '--wait']);
    expect((await source(own)).status.revision).toBe(first);
    await own.ok(['rollout', 'resume', '--source', 'platform']);
    await until('the newest revision', async () => (await source(own)).status.revision === second);
    const unknown = await own.run(['rollout', 'undo', '--source', 'platform', '--to-revision', 'fffffff']);
    expect(unknown).toMatchObject({exitCode: 1, stderr: expect.stringContaining('no such commit is known here')});
  });

  gitTest('is forgotten only when nothing of it is to run', async () => {
    const {own} = await following();
    const refused = await own.run(['sources', 'delete', 'platform']);
    expect(refused).toMatchObject({exitCode: 5, stderr: expect.stringContaining('it declares dev')});
    await own.ok(['down']);
    await own.ok(['sources', 'delete', 'platform']);
    expect((await own.ok(['sources'])).stderr).toBe('no git source is followed here\n');
    const gone = await own.run(['suspend', 'platform']);
    expect(gone).toMatchObject({exitCode: 1, stderr: expect.stringContaining('there is no git source "platform"')});
  });
});
