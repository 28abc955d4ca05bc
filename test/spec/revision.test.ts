import {mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {revisionOf} from '../../src/spec/revision.js';

const commit = 'a'.repeat(40);
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tekton-revision-'));
});
afterEach(() => rmSync(folder, {recursive: true, force: true}));

function put(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), {recursive: true});
    writeFileSync(join(folder, name), text);
  }
}

test.each<[string, Readonly<Record<string, string>>]>([
  ['a branch', {'.git/HEAD': 'ref: refs/heads/main\n', '.git/refs/heads/main': `${commit}\n`}],
  [
    'a packed branch',
    {
      '.git/HEAD': 'ref: refs/heads/main\n',
      '.git/packed-refs': `# pack-refs with: peeled\n${'b'.repeat(40)} refs/heads/not/main\n${commit} refs/heads/main\n`,
    },
  ],
  ['a commit alone', {'.git/HEAD': `${commit}\n`}],
  [
    'a linked worktree',
    {
      'fleets/.git': 'gitdir: ../main/.git/worktrees/fleets\n',
      'main/.git/worktrees/fleets/HEAD': 'ref: refs/heads/side\n',
      'main/.git/worktrees/fleets/commondir': '../..\n',
      'main/.git/refs/heads/side': `${commit}\n`,
    },
  ],
])('finds the commit of %s, from a folder below', async (_what, files) => {
  put({'fleets/dev/tekton-ai.yaml': '', ...files});
  expect(await revisionOf(join(folder, 'fleets/dev'))).toBe(commit);
});

test.each<[string, Readonly<Record<string, string>>]>([
  ['no repository', {}],
  ['no commit yet', {'.git/HEAD': 'ref: refs/heads/main\n'}],
  ['something else under that name', {'.git': 'a file of somebody'}],
  ['a damaged HEAD', {'.git/HEAD': '../../etc/passwd'}],
])('knows of none where there is %s', async (_what, files) => {
  put(files);
  expect(await revisionOf(folder)).toBeUndefined();
});
