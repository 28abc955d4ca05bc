/** `diff --against`, with real repositories. */
import {spawnSync} from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test} from '@jest/globals';
import {describeGit as withGit} from '../fakes/git.js';
import {cli, type HostOptions, type Ran} from './host.js';

const fleet = `apiVersion: tekton.ai/v1alpha1
kind: Fleet
metadata: {name: dev}
spec:
  defaults: {provider: offline}
  include: [../../parts/*.yaml]
  specialists:
    - component: athena
    - component: hermes
      auth: {token: {file: ./token}}
`;
const rhetor = `apiVersion: tekton.ai/v1alpha1
kind: Specialist
metadata: {name: rhetor}
spec: {component: rhetor, parameters: {temperature: 0.8}}
`;

/** Everything is below it; temporary folders of the command, too. */
let folder: string;
let work: string;
let temporary: string | undefined;

beforeEach(() => {
  folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'tekton-against-')));
  work = path.join(folder, 'work');
  mkdirSync(path.join(folder, 'tmp'));
  temporary = process.env['TMPDIR'];
  process.env['TMPDIR'] = path.join(folder, 'tmp');
  put('envs/dev/tekton-ai.yaml', fleet);
  put('parts/rhetor.yaml', rhetor);
});

afterEach(() => {
  expect(readdirSync(path.join(folder, 'tmp'))).toEqual([]);
  expect(existsSync(path.join(folder, 'home'))).toBe(false);
  if (temporary === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = temporary;
  rmSync(folder, {recursive: true, force: true});
});

function put(name: string, content: string): void {
  const file = path.join(work, name);
  mkdirSync(path.dirname(file), {recursive: true});
  writeFileSync(file, content);
}

const identity = {GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@b', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@b'};

function git(args: readonly string[], cwd = work): string {
  const env = {PATH: process.env['PATH'], HOME: folder, ...identity};
  const {status, stdout, stderr} = spawnSync('git', args, {cwd, env, encoding: 'utf8'});
  if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

function commit(message = 'a change'): string {
  git(['add', '-A']);
  git(['commit', '-q', '-m', message]);
  return git(['rev-parse', 'HEAD']);
}

function run(argv: readonly string[], options: HostOptions = {}): Promise<Ran> {
  const environment = {PATH: process.env['PATH'] ?? '', HOME: folder, ...options.environment};
  return cli(argv, {home: path.join(folder, 'home'), cwd: work, ...options, environment});
}

const diff = (...more: string[]) => run(['diff', '--against', 'main', '-f', 'envs/dev', ...more]);

const changed = `  ~ reconfigure rhetor
      parameters.temperature: 0.8 -> 0.3  (parts/rhetor.yaml:4)

Plan: 1 to reconfigure, 2 unchanged.
`;

withGit('against a commit', () => {
  let first: string;
  let made: string;

  // Made once: git starts a program for every step.
  beforeAll(() => {
    made = realpathSync(mkdtempSync(path.join(tmpdir(), 'tekton-against-')));
    folder = made;
    work = path.join(made, 'work');
    put('envs/dev/tekton-ai.yaml', fleet);
    put('parts/rhetor.yaml', rhetor);
    git(['init', '-q', '-b', 'main']);
    first = commit('first');
    git(['checkout', '-q', '-b', 'feature']);
  });

  beforeEach(() => cpSync(path.join(made, 'work'), work, {recursive: true}));

  afterAll(() => rmSync(made, {recursive: true, force: true}));

  it('finds nothing where nothing was changed', async () => {
    expect(await diff()).toEqual({
      code: 0,
      out: 'No changes. 3 specialists are as declared.\n',
      err: `compared with main (${first.slice(0, 12)}): what is declared, not what runs\n`,
    });
  });

  it('shows what the work tree says otherwise, committed or not, includes of other folders too', async () => {
    put('parts/rhetor.yaml', rhetor.replace('0.8', '0.3'));
    expect(await diff()).toMatchObject({code: 1, out: changed});
    commit();
    expect(await diff()).toMatchObject({code: 1, out: changed});
  });

  it('ends as the live verbs do', async () => {
    put('parts/rhetor.yaml', rhetor.replace('0.8', '0.3'));
    const plan = ['plan', '--against', 'main', '-f', 'envs/dev'];
    expect(await run(plan)).toMatchObject({code: 0, out: changed});
    expect(await run([...plan, '--detailed-exitcode'])).toMatchObject({code: 2, out: changed});
  });

  test.each([
    ['a tag', 'v1'],
    ['an annotated tag', 'v2'],
    ['a commit before another', 'HEAD~1'],
    ['a branch of the remote', 'origin/trunk'],
    ['a branch that only the remote has, by its own name', 'trunk'],
  ])('knows %s', async (_, ref) => {
    git(['tag', 'v1', 'main']);
    git(['tag', '-a', 'v2', '-m', 'second', 'main']);
    git(['update-ref', 'refs/remotes/origin/trunk', 'main']);
    put('parts/rhetor.yaml', rhetor.replace('0.8', '0.3'));
    commit();
    expect(await run(['diff', '--against', ref, '-f', 'envs/dev'])).toMatchObject({code: 1, out: changed});
  });

  it('takes a path only with a slash or the ending of YAML for one', async () => {
    put('main', 'this is no fleet');
    expect(await diff()).toMatchObject({code: 0});
    git(['branch', 'old/dev.yaml']);
    expect(await run(['diff', '--against', 'old/dev.yaml', '-f', 'envs/dev'])).toMatchObject({code: 0});
    put('old/dev.yaml', fleet.replace('../../', '../').replace('athena', 'telos'));
    expect((await run(['diff', '--against', 'old/dev.yaml', '-f', 'envs/dev'])).out).toContain('create athena');
  });

  it('follows a file that was renamed', async () => {
    git(['mv', 'envs/dev/tekton-ai.yaml', 'envs/dev/fleet.yaml']);
    const ran = await run(['diff', '--against', 'main', '-f', 'envs/dev/fleet.yaml']);
    expect(ran).toMatchObject({code: 0, out: 'No changes. 3 specialists are as declared.\n'});
    expect(ran.err).toContain('envs/dev/fleet.yaml is envs/dev/tekton-ai.yaml in main\n');
  });

  it('follows a file that was moved into the folder', async () => {
    mkdirSync(path.join(work, 'envs/next'));
    git(['mv', 'envs/dev/tekton-ai.yaml', 'envs/next/fleet.yaml']);
    const ran = await run(['diff', '--against', 'main', '-f', 'envs/next']);
    // Where its token is has moved along.
    expect(ran.out).toContain('Plan: 1 to restart, 2 unchanged.');
  });

  it('says what a file that is new declares', async () => {
    put('envs/lab/tekton-ai.yaml', fleet.replace('name: dev', 'name: lab, namespace: lab'));
    const ran = await run(['diff', '--against', 'main', '-f', 'envs/lab/tekton-ai.yaml']);
    expect(ran).toMatchObject({code: 1});
    expect(ran.out).toContain('Plan: 3 to create.');
    expect(ran.err).toContain('envs/lab/tekton-ai.yaml is not in main: all that it declares is new\n');
  });

  it('says what a file that is gone declared, and that no apply stops it', async () => {
    rmSync(path.join(work, 'envs/dev/tekton-ai.yaml'));
    for (const argv of [
      ['-f', 'envs/dev'],
      ['-f', 'envs/dev/tekton-ai.yaml'],
    ]) {
      const ran = await run(['diff', '--against', 'main', ...argv]);
      expect(ran).toMatchObject({code: 1});
      expect(ran.out).toContain('Plan: 3 to prune.');
      expect(ran.err).toContain('no apply stops it, that is done with: tekton-ai down -n default --fleet dev\n');
    }
    const nearest = await run(['diff', '--against', 'main'], {cwd: path.join(work, 'envs/dev')});
    expect(nearest.out).toContain('Plan: 3 to prune.');
  });

  it('compares all that a folder of several fleets declares, or the one that is meant', async () => {
    put('envs/dev/lab.yaml', fleet.replace('name: dev', 'name: lab, namespace: lab'));
    commit();
    put('envs/dev/lab.yaml', fleet.replace('name: dev', 'name: lab, namespace: lab').replace('hermes', 'telos'));
    put('parts/rhetor.yaml', rhetor.replace('0.8', '0.3'));
    const against = ['diff', '--against', 'feature', '-f', 'envs/dev'];
    expect((await run(against)).out).toContain('Plan: 1 to create, 2 to reconfigure, 1 to prune, 3 unchanged.');
    expect((await run([...against, '-n', 'lab'])).out).toContain('Plan: 1 to create, 1 to reconfigure, 1 to prune');
    expect(await run([...against, '--fleet', 'none'])).toMatchObject({code: 4});
  });

  it('has variables of the environment, and of a file that is not committed, count for both sides', async () => {
    put('envs/dev/.env.tekton', "ATHENA_AI_MODEL='m 1'\nSECRET=never\n");
    expect(await diff()).toMatchObject({code: 0});
    const ran = await run(['diff', '--against', 'main', '-f', 'envs/dev'], {environment: {HERMES_AI_MODEL: 'm2'}});
    expect(ran).toMatchObject({code: 0});
  });

  it('shows a variable that is committed as the change that it is', async () => {
    put('envs/dev/.env.tekton', 'ATHENA_AI_MODEL=m1\n');
    commit();
    const {out} = await diff();
    expect(out).toContain('model: (not set) -> "m1"  (ATHENA_AI_MODEL in envs/dev/.env.tekton)');
  });

  it('reads includes of any ending, and through links', async () => {
    put('parts/more.inc', rhetor.replaceAll('rhetor', 'telos'));
    symlinkSync('../../parts/rhetor.yaml', path.join(work, 'envs/dev/link.yml'));
    put('envs/dev/tekton-ai.yaml', fleet.replace('[../../parts/*.yaml]', '[./link.yml, ../../parts/more.inc]'));
    commit();
    git(['branch', 'with-more']);
    put('parts/more.inc', rhetor.replaceAll('rhetor', 'telos').replace('0.8', '0.1'));
    const ran = await run(['diff', '--against', 'with-more', '-f', 'envs/dev/tekton-ai.yaml']);
    expect(ran.out).toContain('Plan: 1 to reconfigure, 3 unchanged.');
  });

  it('reads an include from outside of the repository for both sides', async () => {
    writeFileSync(path.join(folder, 'outside.yaml'), rhetor.replaceAll('rhetor', 'telos'));
    put('envs/dev/tekton-ai.yaml', fleet.replace('parts/*', '../outside'));
    commit();
    const ran = await run(['diff', '--against', 'HEAD', '-f', 'envs/dev']);
    expect(ran).toMatchObject({code: 0, out: 'No changes. 3 specialists are as declared.\n'});
  });

  it('names a port that it can not know', async () => {
    put('envs/dev/tekton-ai.yaml', fleet.replace('athena', 'athena\n      port: 45010'));
    const {out, err} = await diff();
    expect(out).toContain('-/+ restart athena because a running worker cannot change its port');
    expect(err).toContain('which port athena was given is not known here: where it is 45010, that needs no restart\n');
  });

  it('says which side is wrong', async () => {
    put('parts/rhetor.yaml', rhetor.replace('parameters', 'paramters'));
    expect(await diff()).toMatchObject({code: 4, err: expect.stringMatching(/^parts\/rhetor\.yaml:4:/) as unknown});
    commit();
    git(['branch', 'broken']);
    put('parts/rhetor.yaml', rhetor);
    const ran = await run(['diff', '--against', 'broken', '-f', 'envs/dev']);
    expect(ran).toMatchObject({code: 4, err: expect.stringMatching(/^broken:parts\/rhetor\.yaml:4:/) as unknown});
  });

  it('is not led astray by what a hook of git is given, nor by the settings of the repository', async () => {
    const marker = path.join(folder, 'ran');
    git(['mv', 'envs/dev/tekton-ai.yaml', 'envs/dev/fleet.yaml']);
    git(['config', 'core.fsmonitor', `touch ${marker}; false`]);
    git(['config', 'diff.external', `touch ${marker}`]);
    const environment = {GIT_DIR: '/nonexistent', GIT_WORK_TREE: '/nonexistent', GIT_INDEX_FILE: '/nonexistent'};
    const ran = await run(['diff', '--against', 'main', '-f', 'envs/dev/fleet.yaml'], {environment});
    expect(ran).toMatchObject({code: 0});
    expect(existsSync(marker)).toBe(false);
  });

  it('says how a shallow clone gets what it lacks', async () => {
    git(['clone', '-q', '--depth=1', '--branch=feature', `file://${work}`, path.join(folder, 'clone')], folder);
    const cwd = path.join(folder, 'clone');
    const argv = ['diff', '--against', 'main', '-f', 'envs/dev'];
    const ran = await run(argv, {cwd});
    expect(ran.code).toBe(4);
    expect(ran.err).toContain('error: cannot compare with `main`: the repository ');
    expect(ran.err).toContain('`git fetch --depth=1 origin main`');
    expect(ran.err).toContain('`fetch-depth: 0` of actions/checkout');
    git(['remote', 'set-branches', 'origin', '*'], cwd); // as actions/checkout has it
    git(['fetch', '-q', '--depth=1', 'origin', 'main'], cwd);
    expect(await run(argv, {cwd})).toMatchObject({code: 0});
  });

  test.each([
    ['--upload-pack=x', 'it is no branch, tag or commit'],
    ['main..feature', 'it is no branch, tag or commit'],
    ['main:envs', 'it is no branch, tag or commit'],
    ['', 'it is no branch, tag or commit'],
    ['nothing', 'has no such branch, tag or commit'],
    ['HEAD^{tree}', 'has no such branch, tag or commit'],
  ])('refuses %j', async (ref, message) => {
    const ran = await run(['diff', `--against=${ref}`, '-f', 'envs/dev']);
    expect(ran.code).toBe(4);
    expect(ran.err).toContain(message);
  });

  it('refuses what lies in no repository, or in two', async () => {
    writeFileSync(path.join(folder, 'alone.yaml'), fleet);
    const alone = await run(['diff', '--against', 'main', '-f', path.join(folder, 'alone.yaml')]);
    expect(alone).toMatchObject({code: 4, err: expect.stringContaining('it lies in no git repository') as unknown});
    git(['init', '-q', path.join(folder, 'second')], folder);
    writeFileSync(path.join(folder, 'second/a.yaml'), fleet);
    const two = await run(['diff', '--against', 'main', '-f', 'envs/dev', '-f', path.join(folder, 'second/a.yaml')]);
    expect(two).toMatchObject({code: 4, err: expect.stringContaining('cannot compare with one commit') as unknown});
    const stdin = await run(['diff', '--against', 'main', '-f', '-'], {stdin: fleet});
    expect(stdin).toMatchObject({code: 4, err: expect.stringContaining('standard input') as unknown});
    expect(await run(['diff', '--against', 'main', '-f', 'nothing.yaml'])).toMatchObject({code: 4});
  });
});

describe('against files', () => {
  it('compares with a file of another folder as if it lay here', async () => {
    put('old/dev/tekton-ai.yaml', fleet.replace('hermes', 'hermes\n      model: expertise'));
    const ran = await run(['diff', '--against', 'old/dev/tekton-ai.yaml', '-f', 'envs/dev/tekton-ai.yaml']);
    expect(ran).toEqual({
      code: 1,
      out:
        '  ~ reconfigure hermes\n      model: "expertise" -> (not set)\n\n' + 'Plan: 1 to reconfigure, 2 unchanged.\n',
      err: 'compared with old/dev/tekton-ai.yaml: what is declared, not what runs\n',
    });
  });

  it('compares with a folder, and with what standard input says', async () => {
    expect(await run(['diff', '--against', './envs/dev', '-f', 'envs/dev'])).toMatchObject({code: 0});
    const cwd = path.join(work, 'envs/dev');
    expect(await run(['diff', '--against', './tekton-ai.yaml', '-f', '-'], {cwd, stdin: fleet})).toMatchObject({
      code: 0,
    });
  });

  it('names the file that is wrong', async () => {
    put('old.yaml', 'kind: [');
    const ran = await run(['diff', '--against', 'old.yaml', '-f', 'envs/dev']);
    expect(ran).toMatchObject({code: 4, err: expect.stringMatching(/^old\.yaml:1:/) as unknown});
  });
});

it('does not save a plan that looked at nothing here', async () => {
  const ran = await run(['plan', '--against', 'main', '--out', 'plan.json']);
  expect(ran).toMatchObject({code: 4, err: expect.stringContaining('--out') as unknown});
});
