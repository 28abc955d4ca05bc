/** GitSource documents: what they come to, and what is refused at which place. */
import {describe, expect, it, test} from '@jest/globals';
import {InvalidInputError} from '../../src/api/errors.js';
import type {Problem} from '../../src/api/errors.js';
import {loadDocuments} from '../../src/spec/load.js';
import type {Loaded, LoadOptions} from '../../src/spec/load.js';
import {folderOf} from './files.js';

const head = 'apiVersion: tekton.ai/v1alpha1\nkind: GitSource\nmetadata: {name: platform}\nspec:\n';
const url = '  url: https://git.example.com/acme/platform.git\n';
const fleet =
  'apiVersion: tekton.ai/v1alpha1\nkind: Fleet\nmetadata: {name: dev}\nspec: {specialists: [{component: athena}]}\n';

async function load(text: string, options: Partial<LoadOptions> = {}): Promise<Loaded & {readonly folder: string}> {
  const folder = await folderOf({'source.yaml': text});
  const loaded = await loadDocuments({
    ...{paths: ['source.yaml'], cwd: folder, environment: {}},
    readStdin: () => Promise.reject(new Error('no standard input in this test')) as never,
    shippedExpertise: () => Promise.resolve(undefined),
    ...options,
  });
  return {...loaded, folder};
}

async function problemsOf(text: string): Promise<readonly Problem[]> {
  const error: unknown = await load(text).catch((thrown: unknown) => thrown);
  if (!(error instanceof InvalidInputError)) throw new Error('it is valid');
  return error.problems;
}

describe('a GitSource', () => {
  it('has a default for everything but its address', async () => {
    const {gitSources, fleets} = await load(head + url);
    expect(fleets).toEqual([]);
    expect(gitSources).toEqual([
      {
        ...{name: 'platform', namespace: 'default'},
        spec: {
          ...{url: 'https://git.example.com/acme/platform.git', ref: {type: 'default'}, path: '.'},
          ...{intervalSeconds: 60, timeoutSeconds: 60, suspend: false, forcePush: 'accept'},
        },
      },
    ]);
  });

  it('names files relative to itself', async () => {
    const text = `${head}${url}  verify: {ssh: {allowedSigners: ./signers}}\n`;
    const {gitSources, folder} = await load(text);
    expect(gitSources[0]?.spec.verify).toEqual({
      ...{object: 'commit', by: {type: 'ssh', allowedSigners: `${folder}/signers`}},
    });
  });

  it('is told of pushes with a secret, on loopback unless it says otherwise', async () => {
    const {gitSources, folder} = await load(`${head}${url}  webhook: {port: 45900, secret: {file: ./hook.key}}\n`);
    expect(gitSources[0]?.spec.webhook).toEqual({
      ...{host: '127.0.0.1', port: 45_900, secret: {file: `${folder}/hook.key`}},
    });
    const open = await load(`${head}${url}  webhook: {port: 1, host: 0.0.0.0, secret: {env: HOOK}}\n`);
    expect(open.gitSources[0]?.spec.webhook).toEqual({host: '0.0.0.0', port: 1, secret: {env: 'HOOK'}});
  });

  it('stands beside others, and beside fleets', async () => {
    const other = `${head}${url}`.replace('platform}', 'other}');
    const {gitSources, fleets} = await load([head + url, other, fleet].join('---\n'));
    expect(gitSources.map(({name}) => name)).toEqual(['platform', 'other']);
    expect(fleets.map(({name}) => name)).toEqual(['dev']);
  });

  it.each([
    ['branch: main', {type: 'branch', name: 'main'}],
    ['tag: v1.*', {type: 'tag', pattern: 'v1.*'}],
    [`commit: "${'a'.repeat(40)}"`, {type: 'commit', commit: 'a'.repeat(40)}],
  ])('follows %s', async (line, ref) => {
    const {gitSources} = await load(`${head}${url}  ${line}\n`);
    expect(gitSources[0]?.spec.ref).toEqual(ref);
  });
});

test.each([
  ['no address', '  branch: main\n', 5, 3, '`url` is missing'],
  ['a password', '  url: https://ada:s3cret@git.example.com/x.git\n', 5, 8, 'a password in an address is refused'],
  ['a helper of git', '  url: ext::sh -c x\n', 5, 8, /spaces/],
  ['two refs', `${url}  branch: main\n  tag: v1\n`, 7, 8, 'only one of branch, tag can be followed'],
  ['a path that leads out', `${url}  path: ../etc\n`, 6, 9, /must lie in the repository/],
  ['an absolute path', `${url}  path: /etc\n`, 6, 9, /must lie in the repository/],
  ['a short commit', `${url}  commit: abc123\n`, 6, 11, /`commit` must be a full commit id/],
  ['an option for a branch', `${url}  branch: --upload-pack=x\n`, 6, 11, /`branch` must be the name of a branch/],
  ['a verification by nobody', `${url}  verify: {object: commit}\n`, 6, 11, /needs `ssh` or `gpg`/],
  [
    'a signed tag of a branch',
    `${url}  verify: {object: tag, ssh: {allowedSigners: x}}\n`,
    6,
    20,
    /where a tag is followed/,
  ],
  ['a webhook without a secret', `${url}  webhook: {port: 1}\n`, 6, 12, '`secret` is missing'],
  ['a misspelled field', `${url}  brnch: main\n`, 6, 3, 'unknown field `brnch`'],
] as const)('refuses %s at its place', async (_, spec, line, column, message) => {
  const problems = await problemsOf(head + spec);
  expect(problems).toEqual([expect.objectContaining({file: 'source.yaml', line, column})]);
  if (typeof message === 'string') expect(problems[0]?.message).toBe(message);
  else expect(problems[0]?.message).toMatch(message);
  expect(JSON.stringify(problems.map(({message: text, hint}) => [text, hint]))).not.toContain('s3cret');
});

test('one name twice is one too many', async () => {
  const problems = await problemsOf([head + url, head + url].join('---\n'));
  expect(problems.map(({message, line}) => [line, message])).toEqual([
    [9, 'the git source `default/platform` is declared twice'],
  ]);
});

test('a repository leads to no other repository', async () => {
  const folder = await folderOf({'a.yaml': head + url, 'fleet.yaml': fleet});
  const options = {cwd: folder, within: {root: folder, as: '/checkout'}};
  const error: unknown = await load('', {...options, paths: ['.']}).catch((thrown: unknown) => thrown);
  expect((error as InvalidInputError).problems).toEqual([
    expect.objectContaining({file: 'a.yaml', line: 2, column: 7, message: expect.stringContaining('GitSource cannot')}),
  ]);
});

test('a fleet includes no GitSource', async () => {
  const folder = await folderOf({
    'a.yaml': head + url,
    'tekton-ai.yaml': fleet.replace('{specialists', '{include: [a.yaml], specialists'),
  });
  const error: unknown = await load('', {cwd: folder, paths: ['tekton-ai.yaml']}).catch((thrown: unknown) => thrown);
  expect((error as InvalidInputError).problems).toHaveLength(1);
});
