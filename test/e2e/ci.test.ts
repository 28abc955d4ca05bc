/** The scripts of the GitHub action, the GitLab template and the pre-commit hook, run as those run them. */
import {spawnSync} from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {afterEach, beforeEach, expect, it} from '@jest/globals';
import {parse} from 'yaml';
import {describeGit as withGit} from '../fakes/git.js';
import {program} from './harness.js';

const root = path.resolve('.');
const fleet = `apiVersion: tekton.ai/v1alpha1
kind: Fleet
metadata: {name: dev}
spec:
  defaults: {provider: offline}
  specialists:
    - component: athena
`;

let folder: string;
/** A shallow clone of one branch, as a CI has it. */
let work: string;

beforeEach(() => {
  folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'tekton-ci-')));
  work = path.join(folder, 'work');
});

afterEach(() => rmSync(folder, {recursive: true, force: true}));

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(command: string, args: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}): Ran {
  const identity = {GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@b', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@b'};
  const environment = {PATH: process.env['PATH'] ?? '', HOME: folder, TEKTON_AI_HOME: path.join(folder, 'home')};
  const ran = spawnSync(command, args, {cwd, env: {...environment, ...identity, ...env}, encoding: 'utf8'});
  return {code: ran.status, out: ran.stdout, err: ran.stderr};
}

function git(cwd: string, ...args: string[]): void {
  const {code, err} = run('git', args, cwd);
  if (code !== 0) throw new Error(`git ${args.join(' ')}: ${err}`);
}

/** A remote with `main` and `feature`, and the checkout of a job of `feature`. */
function checkOut(feature: string): void {
  const remote = path.join(folder, 'remote');
  mkdirSync(path.join(remote, 'envs'), {recursive: true});
  git(folder, 'init', '-q', '-b', 'main', remote);
  writeFileSync(path.join(remote, 'envs/dev.yaml'), fleet);
  git(remote, 'add', '-A');
  git(remote, 'commit', '-q', '-m', 'first');
  git(remote, 'checkout', '-q', '-b', 'feature');
  writeFileSync(path.join(remote, 'envs/dev.yaml'), feature);
  git(remote, 'commit', '-q', '-a', '--allow-empty', '-m', 'second');
  git(folder, 'clone', '-q', '--depth=1', '--branch=feature', `file://${remote}`, work);
}

const script = path.join(root, 'ci/plan.sh');
const common = {TEKTON_AI: program, TEKTON_AI_FILES: 'envs/dev.yaml'};

withGit('the action of GitHub', () => {
  const github = () => ({
    ...common,
    GITHUB_ACTIONS: 'true',
    GITHUB_BASE_REF: 'main',
    GITHUB_OUTPUT: path.join(folder, 'output'),
    GITHUB_STEP_SUMMARY: path.join(folder, 'summary.md'),
    TEKTON_AI_OUT: path.join(folder, 'out'),
  });

  it('fetches the base, annotates, sums up, and says that it differs', () => {
    checkOut(`${fleet}    - component: hermes\n`);
    const ran = run(script, [], work, github());
    expect(ran).toMatchObject({code: 0});
    expect(ran.out).toContain(
      '::notice file=envs/dev.yaml,line=8,title=tekton-ai plan against origin/main::create hermes',
    );
    expect(readFileSync(path.join(folder, 'output'), 'utf8')).toBe(`changed=true\nplan=${folder}/out/plan.md\n`);
    expect(readFileSync(path.join(folder, 'summary.md'), 'utf8')).toContain('**Plan: 1 to create, 1 unchanged.**');
    expect(readFileSync(path.join(folder, 'out/plan.md'), 'utf8')).toContain('`hermes`');
    expect(JSON.parse(readFileSync(path.join(folder, 'out/plan.json'), 'utf8'))).toMatchObject({differs: true});
    expect(existsSync(path.join(folder, 'home'))).toBe(false);
  });

  it('says that nothing differs', () => {
    checkOut(fleet);
    expect(run(script, [], work, github())).toMatchObject({code: 0});
    expect(readFileSync(path.join(folder, 'output'), 'utf8')).toContain('changed=false\n');
  });

  it('annotates what is wrong, and fails', () => {
    checkOut(`${fleet}    - componet: hermes\n`);
    const ran = run(script, [], work, github());
    expect(ran).toMatchObject({code: 4});
    expect(ran.out).toContain('::error file=envs/dev.yaml,line=8,');
    expect(existsSync(path.join(folder, 'output'))).toBe(false);
  });

  it('says why where a later report fails, with its code', () => {
    checkOut(`${fleet}    - component: hermes\n`);
    const failing = path.join(folder, 'failing');
    writeFileSync(
      failing,
      `#!/bin/sh\ncase "$*" in *plan*json*) echo 'out of memory' >&2; exit 7;; esac\nexec "${program}" "$@"\n`,
      {mode: 0o755},
    );
    const ran = run(script, [], work, {...github(), TEKTON_AI: failing});
    expect(ran).toMatchObject({code: 7, err: expect.stringContaining('out of memory')});
    expect(existsSync(path.join(folder, 'output'))).toBe(false);
  });

  it('checks alone where there is nothing to compare with', () => {
    checkOut(fleet);
    expect(run(script, [], work, {...github(), GITHUB_BASE_REF: ''})).toMatchObject({code: 0});
    expect(existsSync(path.join(folder, 'output'))).toBe(false);
  });

  it('writes one comment, and the same one again', () => {
    const bin = path.join(folder, 'bin');
    mkdirSync(bin);
    // Tells what it was asked, and keeps the comment that it was given.
    const log = path.join(folder, 'gh.log');
    const fake = `#!/bin/sh\necho "$@" >>${log}\ncase "$*" in *--paginate*) [ ! -f ${folder}/made ] || echo 77 ;; *) touch ${folder}/made; cp "\${6#body=@}" ${folder}/body ;; esac\n`;
    writeFileSync(path.join(bin, 'gh'), fake);
    chmodSync(path.join(bin, 'gh'), 0o755);
    writeFileSync(path.join(folder, 'plan.md'), '### a plan\n');
    const comment = path.join(root, 'ci/github/comment.sh');
    const env = {
      PATH: `${bin}:${process.env['PATH'] ?? ''}`,
      GITHUB_REF: 'refs/pull/12/merge',
      GITHUB_REPOSITORY: 'acme/platform',
      GH_TOKEN: 'a',
    };
    for (let times = 0; times < 2; times++) {
      expect(run(comment, ['plan.md'], folder, env)).toMatchObject({code: 0, err: ''});
    }
    const asked = readFileSync(log, 'utf8');
    expect(asked).toContain('--method POST repos/acme/platform/issues/12/comments');
    expect(asked).toContain('--method PATCH repos/acme/platform/issues/comments/77');
    expect(readFileSync(path.join(folder, 'body'), 'utf8')).toBe('<!-- tekton-ai plan -->\n### a plan\n');
    expect(run(comment, ['plan.md'], folder, {...env, GH_TOKEN: ''}).err).toBe('no token: no comment\n');
    expect(run(comment, ['plan.md'], folder, {...env, GITHUB_REF: 'refs/heads/main'}).err).toContain('no pull request');
  });
});

withGit('the template of GitLab', () => {
  it('writes the reports that it names', () => {
    checkOut(`${fleet}    - component: hermes\n`);
    const env = {...common, GITLAB_CI: 'true', CI_MERGE_REQUEST_TARGET_BRANCH_NAME: 'main'};
    expect(run(script, [], work, env)).toMatchObject({code: 0});
    const job = template()['tekton-ai-plan'];
    for (const report of Object.values(job.artifacts.reports)) expect(existsSync(path.join(work, report))).toBe(true);
    expect(readFileSync(path.join(work, 'tekton-ai-plan/plan.env'), 'utf8')).toBe('TEKTON_AI_CHANGED=true\n');
  });

  it('reports what is wrong, and fails', () => {
    checkOut(`${fleet}    - componet: hermes\n`);
    const env = {...common, GITLAB_CI: 'true', CI_MERGE_REQUEST_TARGET_BRANCH_NAME: 'main'};
    expect(run(script, [], work, env)).toMatchObject({code: 4});
    const report = readFileSync(path.join(work, 'tekton-ai-plan/gl-code-quality-report.json'), 'utf8');
    expect(JSON.parse(report)).toContainEqual(
      expect.objectContaining({location: {path: 'envs/dev.yaml', lines: {begin: 8}}}),
    );
  });
});

interface Template {
  readonly 'tekton-ai-plan': {
    readonly script: readonly string[];
    readonly artifacts: {readonly reports: Readonly<Record<string, string>>};
  };
}

function template(): Template {
  return parse(readFileSync('ci/gitlab/tekton-ai.gitlab-ci.yml', 'utf8')) as Template;
}

it('names scripts that are there, can be run, and go into the package', () => {
  const action = parse(readFileSync('action.yml', 'utf8')) as {
    readonly runs: {readonly steps: readonly {readonly run: string; readonly shell: string}[]};
  };
  const lines = [...action.runs.steps.map(step => step.run), ...template()['tekton-ai-plan'].script];
  const scripts = lines.flatMap(line => line.match(/ci\/[\w./-]+\.sh/g) ?? []);
  expect(new Set(scripts)).toEqual(new Set(['ci/plan.sh', 'ci/github/comment.sh']));
  for (const name of scripts) expect([name, statSync(name).mode & 0o111]).toEqual([name, 0o111]);
  // What a pull request says never stands in a command itself.
  for (const line of lines) expect(line).not.toContain('${{');
  expect((JSON.parse(readFileSync('package.json', 'utf8')) as {files: string[]}).files).toContain('ci');
});

withGit('the hook of pre-commit', () => {
  it('checks what is staged', () => {
    const [hook] = parse(readFileSync('.pre-commit-hooks.yaml', 'utf8')) as readonly [
      {readonly id: string; readonly entry: string; readonly files: string},
    ];
    expect(hook.id).toBe('tekton-ai-validate');
    expect(['envs/dev.yaml', 'a.yml', 'b.md'].map(name => new RegExp(hook.files).test(name))).toEqual([
      true,
      true,
      false,
    ]);
    const [word, ...args] = hook.entry.split(' ');
    expect(word).toBe('tekton-ai');
    checkOut(fleet);
    git(work, 'add', '-A');
    expect(run(program, [...args, '-f', 'envs/dev.yaml'], work)).toMatchObject({code: 0});
    writeFileSync(path.join(work, 'envs/dev.yaml'), fleet.replace('component', 'componet'));
    git(work, 'add', '-A');
    expect(run(program, [...args, '-f', 'envs/dev.yaml'], work)).toMatchObject({code: 4});
  });
});
