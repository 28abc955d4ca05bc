/** What a command does with a git source that it can't put in force. */
import {mkdirSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {afterEach, beforeEach, expect} from '@jest/globals';
import type {GitSourceRecord} from '../../src/api/git-source.js';
import {
  readGitSourceRecord,
  readGitSourceRecords,
  readGitSourceStatus,
  updateGitSource,
} from '../../src/registry/git-source-records.js';
import {describeGit, gitTest, TestRepository} from '../fakes/git.js';
import {cli} from './host.js';
import {makeState, type State} from './state.js';

let state: State;
let folder: string;
let repository: TestRepository;

beforeEach(async () => {
  state = await makeState();
  folder = path.join(state.home, 'work');
  mkdirSync(folder);
  repository = new TestRepository();
  repository.push({'tekton-ai.yaml': document('hermes')});
});

afterEach(() => {
  repository.remove();
  state.remove();
});

/** Nothing of it is to run: these tests are about what is recorded. */
function document(component: string): string {
  const specialists = [{component, provider: 'offline', enabled: false}];
  return JSON.stringify({
    apiVersion: 'tekton.ai/v1alpha1',
    kind: 'Fleet',
    metadata: {name: 'dev'},
    spec: {specialists},
  });
}

const at = (...argv: string[]) => cli(argv, {home: state.home, cwd: folder});

describeGit('a git source', () => {
  gitTest('is not followed where its apply was refused', async () => {
    writeFileSync(path.join(folder, 'tekton-ai.yaml'), document('athena'));
    expect((await at('apply')).code).toBe(0);
    const refused = await at('apply', '--git', repository.url);
    expect(refused).toMatchObject({code: 5, err: expect.stringContaining('--take-over')});
    expect(readGitSourceRecords(state.home)).toEqual([]);
    expect((await at('apply', '--git', repository.url, '--take-over', '--yes')).code).toBe(0);
    expect(readGitSourceRecords(state.home)).toHaveLength(1);
  });

  gitTest('that was stopped is followed again by an apply, without end; one that was suspended stays so', async () => {
    const key = {namespace: 'default', name: 'repo'};
    const now = new Date().toISOString();
    const change = (fields: Partial<GitSourceRecord>) =>
      updateGitSource(state.home, key, record => record && {...record, ...fields});
    expect((await at('apply', '--git', repository.url)).code).toBe(0);

    await change({expiresAt: '2999-01-01T00:00:00.000Z'});
    expect((await at('apply', '--git', repository.url)).code).toBe(0);
    expect(readGitSourceRecord(state.home, key)?.expiresAt).toBe('2999-01-01T00:00:00.000Z');

    expect((await at('down', '--all')).out).toContain('git source repo is stopped\n');
    expect(readGitSourceRecord(state.home, key)?.stoppedAt).toBeDefined();
    expect(readGitSourceStatus(state.home, key)?.reason).toBe('Suspended');
    expect((await at('down', '--all')).out).not.toContain('git source');
    expect((await at('apply', '--git', repository.url)).code).toBe(0);
    expect(readGitSourceRecord(state.home, key)).not.toHaveProperty('stoppedAt');
    expect(readGitSourceRecord(state.home, key)).not.toHaveProperty('expiresAt');
    expect(readGitSourceStatus(state.home, key)?.reason).toBe('UpToDate');

    await change({stoppedAt: now, suspendedAt: now});
    expect((await at('apply', '--git', repository.url)).err).toContain('git source default/repo is suspended');
    expect(readGitSourceRecord(state.home, key)?.suspendedAt).toBe(now);

    await change({stoppedAt: now, expiresAt: now});
    expect((await at('resume', 'repo')).code).toBe(0);
    for (const field of ['stoppedAt', 'suspendedAt', 'expiresAt']) {
      expect(readGitSourceRecord(state.home, key)).not.toHaveProperty(field);
    }
  });

  gitTest('has no plan in a file, which would be carried out without it', async () => {
    const ran = await at('plan', '--git', repository.url, '--out', 'plan.json');
    expect(ran).toMatchObject({code: 4, err: expect.stringContaining('cannot save the plan of a git source')});
  });
});
