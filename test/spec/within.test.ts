/** A load that is confined to a checkout: what it reads, and under which paths that is recorded. */
import {mkdir, rename, symlink, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {describe, expect, it, test} from '@jest/globals';
import {InvalidInputError, SourceUnavailableError} from '../../src/api/errors.js';
import type {Problem} from '../../src/api/errors.js';
import type {LoadedFleet} from '../../src/api/types.js';
import {trustOf} from '../../src/api/trust.js';
import {loadCheckout} from '../../src/spec/load.js';
import {filesWithin, isIn, OutsideError} from '../../src/spec/within.js';
import {fleetYaml, folderOf} from './files.js';

/** Where links point, by where they stand; `~` is the folder that the checkout lies in. */
type Links = Readonly<Record<string, string>>;

const revision = 'a'.repeat(40);

const athena = `apiVersion: tekton.ai/v1alpha1
kind: Specialist
metadata: {name: athena}
spec: {component: athena}
`;
const secret = 'TOKEN=do-not-tell-me\n';

/** A folder with a checkout `repo` in it, and files beside that which nobody may read. */
async function checkout(files: Readonly<Record<string, string>>, links: Links = {}): Promise<string> {
  const base = await folderOf({
    'outside/athena.yaml': athena,
    'outside/secret': secret,
    ...Object.fromEntries(Object.entries(files).map(([name, content]) => [join('repo', name), content])),
  });
  for (const [name, target] of Object.entries(links)) {
    await mkdir(dirname(join(base, 'repo', name)), {recursive: true});
    await symlink(target.replace('~', base), join(base, 'repo', name));
  }
  return base;
}

interface Load {
  readonly root: string;
  readonly path: string;
  readonly also: readonly string[];
}

async function loadFrom(base: string, options: Partial<Load> = {}): Promise<readonly LoadedFleet[]> {
  const {root = join(base, 'repo'), path = 'envs/dev', also = []} = options;
  const policy = {sources: [{match: {name: '*'}, includes: also}]};
  const url = 'https://git.example.com/acme/platform.git';
  return loadCheckout({
    root,
    path,
    trust: trustOf(policy, {name: 'default/platform', url, checkout: join(base, 'checkout')}),
    policyFile: join(base, 'policy.yaml'),
    revision,
    environment: {},
    shippedExpertise: () => Promise.resolve(undefined),
  });
}

async function problemsIn(base: string, options: Partial<Load> = {}): Promise<readonly Problem[]> {
  try {
    await loadFrom(base, options);
  } catch (error) {
    if (error instanceof InvalidInputError) return error.problems;
    throw error;
  }
  throw new Error('nothing was found wrong');
}

function places(problems: readonly Problem[]): readonly string[] {
  return problems.map(({file, line, column, message}) => `${file}:${line}:${column}: ${message}`);
}

const fleetOf = (include: string): string => fleetYaml(`  include: ['${include}']`);

const overlayOf = (base: string): string => fleetYaml(`  bases: ['${base}']`);

describe('what a checkout declares', () => {
  it('is recorded by the path that stays the same from one revision to the next', async () => {
    const spec = `
  include: [../../shared/*.yaml]
  providers:
    lab: {type: openai, baseUrl: 'http://127.0.0.1:1/v1', apiKey: {file: ./lab.key}}
    played: {type: scripted, script: ../answers.txt}
  defaults: {provider: played, model: m}
  specialists:
    - {component: hermes, provider: lab, model: m, env: {LAB: {file: lab.key}}}`;
    const files = {'envs/dev/tekton-ai.yaml': fleetYaml(spec), 'shared/athena.yaml': athena, 'envs/answers.txt': ''};
    const base = await checkout({...files, 'envs/dev/.env.tekton': 'TEKTON_REGISTER_AI=true\n'});
    const load = () => loadFrom(base);
    const [before] = await load();
    const as = join(base, 'checkout');
    expect(before).toMatchObject({
      source: {type: 'git', source: 'default/platform', path: 'envs/dev'},
      revision,
      files: [join(as, 'envs/dev/tekton-ai.yaml'), join(as, 'shared/athena.yaml')],
      envFile: join(as, 'envs/dev/.env.tekton'),
      specialists: [
        {
          provider: {apiKey: {file: join(as, 'envs/dev/lab.key')}},
          spec: {env: {LAB: {file: join(as, 'envs/dev/lab.key')}}},
          origins: {component: {file: join(as, 'envs/dev/tekton-ai.yaml'), line: 12}},
        },
        {
          provider: {script: join(as, 'envs/answers.txt')},
          origins: {component: {file: join(as, 'shared/athena.yaml')}},
        },
      ],
    });
    expect(JSON.stringify(before)).not.toContain(join(base, 'repo'));

    await rename(join(base, 'repo'), join(base, 'elsewhere'));
    const [after] = await loadFrom(base, {root: join(base, 'elsewhere')});
    expect(after).toEqual(before);
  });

  it('may use links that stay in it, and `..`', async () => {
    const base = await checkout(
      {'envs/dev/tekton-ai.yaml': fleetOf('all/*.yaml'), 'shared/athena.yaml': athena},
      {'envs/dev/all': '../../shared', 'envs/current': 'dev'},
    );
    const [fleet] = await loadFrom(base, {path: 'envs/current'});
    expect(fleet?.specialists.map(({name}) => name)).toEqual(['athena']);
    expect(fleet?.files).toContain(join(base, 'checkout/envs/current/all/athena.yaml'));
  });

  it('may lie over a base in it, whose files are recorded like its own', async () => {
    const base = await checkout(
      {
        'envs/dev/tekton-ai.yaml': overlayOf('base'),
        'shared/tekton-ai.yaml': fleetOf('athena.yaml'),
        'shared/athena.yaml': athena,
      },
      {'envs/dev/base': '../../shared'},
    );
    const [fleet] = await loadFrom(base);
    expect(fleet?.specialists.map(({name}) => name)).toEqual(['athena']);
    expect(fleet?.specialists[0]?.origins['component']).toMatchObject({
      file: join(base, 'checkout/envs/dev/base/athena.yaml'),
    });
    expect(JSON.stringify(fleet)).not.toContain(join(base, 'repo'));
  });

  it('names its files relative to the top', async () => {
    const base = await checkout({'envs/dev/tekton-ai.yaml': fleetYaml('  specialist: []')});
    const [problem] = await problemsIn(base);
    expect(problem).toMatchObject({file: 'envs/dev/tekton-ai.yaml', line: 6, column: 3});
  });

  it('never comes from standard input', async () => {
    const base = await checkout({'-': fleetYaml('  specialists: [{component: athena}]')});
    expect((await loadFrom(base, {path: '-'}))[0]?.files).toEqual([join(base, 'checkout/-')]);
  });

  it.each(['envs/gone', 'empty'])('is an error where `%s` has nothing, never an empty list', async path => {
    const base = await checkout({'empty/readme.md': ''});
    await expect(loadFrom(base, {path})).rejects.toThrow(SourceUnavailableError);
  });
});

describe('out of a checkout leads', () => {
  const leadsOut = 'a symbolic link leads out of the repository';
  const fleet = 'envs/dev/tekton-ai.yaml';
  const cases: [what: string, files: Record<string, string>, links: Links, problem: string][] = [
    [
      'a path',
      {[fleet]: fleetOf('../../../outside/athena.yaml')},
      {},
      `${fleet}:6:13: cannot include \`../../../outside/athena.yaml\`: it lies outside of the repository`,
    ],
    [
      'an absolute path',
      {[fleet]: fleetOf('/etc/passwd')},
      {},
      `${fleet}:6:13: cannot include \`/etc/passwd\`: it lies outside of the repository`,
    ],
    [
      'a pattern',
      {[fleet]: fleetOf('/etc/*.conf')},
      {},
      `${fleet}:6:13: cannot include \`/etc/*.conf\`: it lies outside of the repository`,
    ],
    [
      'a link to a file',
      {[fleet]: fleetOf('athena.txt')},
      {'envs/dev/athena.txt': '~/outside/athena.yaml'},
      `${fleet}:6:13: cannot include \`athena.txt\`: ${leadsOut}`,
    ],
    [
      'a relative link',
      {[fleet]: fleetOf('athena.txt')},
      {'envs/dev/athena.txt': '../../../outside/athena.yaml'},
      `${fleet}:6:13: cannot include \`athena.txt\`: ${leadsOut}`,
    ],
    [
      'a link to what is not there',
      {[fleet]: fleetOf('athena.txt')},
      {'envs/dev/athena.txt': '~/outside/nothing'},
      `${fleet}:6:13: cannot include \`athena.txt\`: ${leadsOut}`,
    ],
    [
      'a linked folder',
      {[fleet]: fleetOf('all')},
      {'envs/dev/all': '~/outside'},
      `${fleet}:6:13: cannot include \`all\`: ${leadsOut}`,
    ],
    [
      'a pattern in a linked folder',
      {[fleet]: fleetOf('all/*.yaml')},
      {'envs/dev/all': '~/outside'},
      `${fleet}:6:13: cannot include \`all/*.yaml\`: ${leadsOut}`,
    ],
    [
      'a pattern for linked folders',
      {[fleet]: fleetOf('*/*.yaml')},
      {'envs/dev/all': '~/outside'},
      `${fleet}:6:13: cannot include \`*/*.yaml\`: ${leadsOut}`,
    ],
    [
      'a pattern that matches a link',
      {[fleet]: fleetOf('*.txt')},
      {'envs/dev/athena.txt': '/etc/passwd'},
      `${fleet}:6:13: cannot include \`*.txt\`: ${leadsOut}`,
    ],
    [
      'two links, one to the other',
      {[fleet]: fleetOf('a')},
      {'envs/dev/a': 'b', 'envs/dev/b': '/etc/passwd'},
      `${fleet}:6:13: cannot include \`a\`: ${leadsOut}`,
    ],
    [
      'a link out and in again',
      {[fleet]: fleetOf('a'), 'b.yaml': athena},
      {'envs/dev/a': '../../../repo/b.yaml'},
      `${fleet}:6:13: cannot include \`a\`: ${leadsOut}`,
    ],
    [
      'a circle of links',
      {[fleet]: fleetOf('a')},
      {'envs/dev/a': 'b', 'envs/dev/b': 'a'},
      `${fleet}:6:13: cannot include \`a\`: symbolic links lead round in a circle`,
    ],
    [
      'a base by its path',
      {[fleet]: overlayOf('../../../outside')},
      {},
      `${fleet}:6:11: cannot read the base \`../../../outside\`: it lies outside of the repository`,
    ],
    [
      'a base by its absolute path',
      {[fleet]: overlayOf('/etc/passwd')},
      {},
      `${fleet}:6:11: cannot read the base \`/etc/passwd\`: it lies outside of the repository`,
    ],
    [
      'a base that is a linked folder',
      {[fleet]: overlayOf('base')},
      {'envs/dev/base': '~/outside'},
      `${fleet}:6:11: cannot read the base \`base\`: ${leadsOut}`,
    ],
    [
      'a base that is a link to what is not there',
      {[fleet]: overlayOf('base.txt')},
      {'envs/dev/base.txt': '~/outside/nothing'},
      `${fleet}:6:11: cannot read the base \`base.txt\`: ${leadsOut}`,
    ],
    [
      'a link among the files of a base',
      {[fleet]: overlayOf('../base')},
      {'envs/base/tekton-ai.yaml': '~/outside/secret'},
      `${fleet}:6:11: cannot read the base \`../base\`: ${leadsOut}`,
    ],
    [
      'a base of a base',
      {[fleet]: overlayOf('../base'), 'envs/base/tekton-ai.yaml': overlayOf('../../../outside')},
      {},
      'envs/base/tekton-ai.yaml:6:11: cannot read the base `../../../outside`: it lies outside of the repository',
    ],
    [
      'an include of a base',
      {[fleet]: overlayOf('../base'), 'envs/base/tekton-ai.yaml': fleetOf('athena.txt')},
      {'envs/base/athena.txt': '~/outside/athena.yaml'},
      `envs/base/tekton-ai.yaml:6:13: cannot include \`athena.txt\`: ${leadsOut}`,
    ],
    ['a fleet file that is a link', {}, {[fleet]: '~/outside/athena.yaml'}, `${fleet}:1:1: ${leadsOut}`],
    [
      'a file of variables that is a link',
      {[fleet]: fleetYaml('  specialists: []')},
      {'envs/dev/.env.tekton': '~/outside/secret'},
      `envs/dev/.env.tekton:1:1: ${leadsOut}`,
    ],
    [
      'a key that is a link',
      {[fleet]: fleetYaml("  providers: {lab: {type: openai, baseUrl: 'http://127.0.0.1:1', apiKey: {file: key}}}")},
      {'envs/dev/key': '~/outside/secret'},
      `${fleet}:6:81: ${leadsOut}`,
    ],
    [
      'an answers file that is a link',
      {[fleet]: fleetYaml('  providers: {played: {type: scripted, script: answers.txt}}')},
      {'envs/dev/answers.txt': '~/outside/secret'},
      `${fleet}:6:48: ${leadsOut}`,
    ],
    [
      'a secret of a variable that is a link',
      {[fleet]: fleetYaml('  specialists: [{component: a, env: {X: {file: x}}}]')},
      {'envs/dev/x': '~/outside/secret'},
      `${fleet}:6:48: ${leadsOut}`,
    ],
    [
      'a token among the defaults that is a link',
      {[fleet]: fleetYaml('  defaults: {auth: {token: {file: ../x}}}')},
      {'envs/x': '~/outside/secret'},
      `${fleet}:6:35: ${leadsOut}`,
    ],
  ];

  test.each(cases)('%s, which is refused at its place', async (_, files, links, problem) => {
    const problems = await problemsIn(await checkout(files, links));
    expect(places(problems)).toEqual([problem]);
    expect(JSON.stringify(problems)).not.toContain('do-not-tell-me');
  });

  it.each([
    ['../outside', {}],
    ['linked', {linked: '~/outside'}],
    ['linked/athena.yaml', {linked: '~/outside'}],
    ['/etc', {}],
  ] as [string, Links][])('the path `%s` of a source, which is refused', async (path, links) => {
    const base = await checkout({'readme.md': ''}, links);
    await expect(loadFrom(base, {path})).rejects.toThrow(/^cannot read .*: (it lies|a symbolic link leads) out/);
  });
});

describe('a folder that the policy lets includes reach', () => {
  it('can be included from, by its own path and through links in it', async () => {
    const base = await checkout({'envs/dev/tekton-ai.yaml': ''});
    await symlink('athena.yaml', join(base, 'outside/linked.yaml'));
    await writeFile(join(base, 'repo/envs/dev/tekton-ai.yaml'), fleetOf(`${base}/outside/linked.yaml`));
    const [fleet] = await loadFrom(base, {also: [join(base, 'outside')]});
    expect(fleet?.files).toContain(join(base, 'outside/linked.yaml'));
  });

  it('leads no further', async () => {
    const base = await checkout({'envs/dev/tekton-ai.yaml': ''});
    await symlink('/etc/passwd', join(base, 'outside/linked.yaml'));
    await writeFile(join(base, 'repo/envs/dev/tekton-ai.yaml'), fleetOf(`${base}/outside/linked.yaml`));
    const problems = await problemsIn(base, {also: [join(base, 'outside')]});
    expect(problems[0]?.message).toContain('a symbolic link leads out');
  });

  it('is for includes: a secret in it is not reached by a link', async () => {
    const spec = "  providers: {lab: {type: openai, baseUrl: 'http://127.0.0.1:1', apiKey: {file: key}}}";
    const base = await checkout({'envs/dev/tekton-ai.yaml': fleetYaml(spec)}, {'envs/dev/key': '~/outside/secret'});
    const problems = await problemsIn(base, {also: [join(base, 'outside')]});
    expect(problems[0]?.message).toBe('a symbolic link leads out of the repository');
  });

  it('that is not there is no reason to fail', async () => {
    const base = await checkout({'envs/dev/tekton-ai.yaml': fleetYaml('  specialists: []')});
    await expect(loadFrom(base, {also: [join(base, 'gone')]})).resolves.toHaveLength(1);
  });
});

it('does not take a folder for another whose name begins alike', async () => {
  const base = await folderOf({'repo/a': '', 'repo-secret/b': ''});
  const disk = await filesWithin({root: join(base, 'repo'), as: join(base, 'as')});
  await expect(disk.locate(join(base, 'as-secret/b'))).rejects.toThrow(OutsideError);
  expect(disk.recorded(join(base, 'repo-secret/b'))).toBe(join(base, 'repo-secret/b'));
  await symlink('../repo-secret/b', join(base, 'repo/link'));
  await expect(disk.locate(join(base, 'as/link'))).rejects.toThrow(OutsideError);
  expect(await disk.locate(join(base, 'as/..a')).catch((error: NodeJS.ErrnoException) => error.code)).toBe('ENOENT');
});

test.each([
  ['/a', '/a', true],
  ['/a/b', '/a', true],
  ['/a/..b', '/a', true],
  ['/a-b', '/a', false],
  ['/a-b/c', '/a', false],
  ['/', '/a', false],
  ['/b/a', '/a', false],
  ['/a/../b', '/a', false],
])('%s lies in %s: %s', (path, folder, expected) => {
  expect(isIn(path, folder)).toBe(expected);
});
