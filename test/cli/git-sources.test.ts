import {existsSync, mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, it} from '@jest/globals';
import type {GitSourceRecord} from '../../src/api/git-source.js';
import {formatVersion} from '../../src/api/types.js';
import {gitSourcesOf} from '../../src/cli/git-sources.js';
import {ensureStateHome} from '../../src/registry/home.js';
import {statePaths} from '../../src/registry/paths.js';

let home: string;

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'tekton-git-sources-'));
  await ensureStateHome(home);
});

afterEach(() => rmSync(home, {recursive: true}));

it('a repository whose source was deleted is not made anew', async () => {
  const record: GitSourceRecord = {
    ...{formatVersion, version: '1', namespace: 'default', name: 'platform', appliedAt: 'then', overrides: {}},
    spec: {
      ...{url: 'file:///nowhere', ref: {type: 'default'}, path: '.', intervalSeconds: 60, timeoutSeconds: 1},
      ...{suspend: false, forcePush: 'accept'},
    },
  };
  const repository = await gitSourcesOf(home, {}).repository(record);
  await expect(repository.prune(3)).rejects.toThrow('cannot work on git source default/platform: it was deleted');
  expect(existsSync(statePaths(home).gitFolder(record))).toBe(false);
});
