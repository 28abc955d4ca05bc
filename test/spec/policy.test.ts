/** The operator's policy: how it is found and read, and what follows from it. */
import {chmod, chown, mkdir, symlink} from 'node:fs/promises';
import {join} from 'node:path';
import {describe, expect, it, test} from '@jest/globals';
import {InvalidInputError} from '../../src/api/errors.js';
import type {Policy, PolicyRule, Trust} from '../../src/api/policy.js';
import {trustOf} from '../../src/api/trust.js';
import {distrust, findPolicy, loadPolicy, PolicyUnreadableError} from '../../src/spec/policy.js';
import {fleetYaml, folderOf, problemsOf} from './files.js';

const head = 'apiVersion: tekton.ai/v1alpha1\nkind: Policy\nmetadata: {name: local}\n';

const whole = `${head}spec:
  sources:
    - match: {url: "https://git.example.com/acme/*"}
      hosts: ["lab.corp.example:8000", "*.corp.example"]
      secrets:
        - {env: LAB_KEY, hosts: ["lab.corp.example"]}
        - {file: /etc/tekton/lab.key, hosts: [lab.corp.example]}
        - {env: WORKER_TOKEN, use: [auth, env]}
      variables: [REGION, "TEKTON_VAR_*"]
      commands: [/usr/local/bin/notify]
      files: [/var/log/tekton.jsonl]
      includes: [/srv/shared/expertise]
      bind: [0.0.0.0]
      pull: ["llama3.3:*"]
`;

async function policyFile(content: string): Promise<string> {
  const folder = await folderOf({'policy.yaml': content});
  await chmod(join(folder, 'policy.yaml'), 0o600);
  return join(folder, 'policy.yaml');
}

describe('a policy file', () => {
  it('says per source what is allowed', async () => {
    const {sources = []} = await loadPolicy(await policyFile(whole));
    expect(sources).toHaveLength(1);
    expect(sources[0]).toMatchObject({match: {url: 'https://git.example.com/acme/*'}, bind: ['0.0.0.0']});
  });

  it.each([
    ['an unknown field', '  sources: [{match: {name: x}, host: [a]}]', 5, 32, 'unknown field `host`'],
    ['a rule for nobody', '  sources: [{hosts: [a]}]', 5, 13, '`match` is missing'],
    ['a match of nothing', '  sources: [{match: {}, hosts: [a]}]', 5, 21, '`match` needs at least one of'],
    ['a relative program', '  sources: [{match: {name: x}, commands: [notify]}]', 5, 43, 'must be an absolute path'],
    ['no host', '  sources: [{match: {name: x}, hosts: ["a b"]}]', 5, 40, 'must be [http[s]://]host[:port]'],
    ['another scheme', '  sources: [{match: {name: x}, hosts: ["ftp://a"]}]', 5, 40, 'is not [http[s]://]host[:port]'],
    ['no port', '  sources: [{match: {name: x}, hosts: ["a:99999"]}]', 5, 40, 'is not [http[s]://]host[:port]'],
    [
      'a path behind a host',
      '  sources: [{match: {name: x}, hosts: ["a/b"]}]',
      5,
      40,
      'must be [http[s]://]host[:port]',
    ],
    ['a secret that is none', '  sources: [{match: {name: x}, secrets: [{hosts: [a]}]}]', 5, 42, 'exactly one of'],
    ['a secret for nothing', '  sources: [{match: {name: x}, secrets: [{env: A}]}]', 5, 42, 'this allows nothing'],
    [
      'two secrets in one',
      '  sources: [{match: {name: x}, secrets: [{env: A, file: /a, use: [env]}]}]',
      5,
      42,
      'exactly one',
    ],
    [
      'an unknown use',
      '  sources: [{match: {name: x}, secrets: [{env: A, use: [all]}]}]',
      5,
      57,
      'must be one of auth',
    ],
  ])('of %s is refused at its place', async (_, spec, line, column, message) => {
    const file = await policyFile(`${head}spec:\n${spec}\n`);
    const error: unknown = await loadPolicy(file).catch((error: unknown) => error);
    if (!(error instanceof InvalidInputError)) throw error;
    expect(error.problems).toEqual([
      expect.objectContaining({file, line, column, message: expect.stringContaining(message)}),
    ]);
  });

  it.each([
    ['another kind', fleetYaml('  specialists: []'), '`kind` must be Policy'],
    ['two documents', `${whole}---\n${whole}`, 'a policy is one document'],
    ['nothing', '', 'the file declares nothing'],
    ['no YAML', '\t{', 'not valid YAML'],
  ])('of %s is refused', async (_, content, message) => {
    const error: unknown = await loadPolicy(await policyFile(content)).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(InvalidInputError);
    expect((error as InvalidInputError).problems[0]?.message).toContain(message);
  });

  it.each([0o620, 0o602, 0o666, 0o777])('that others can write is refused (mode %o)', async mode => {
    const file = await policyFile(whole);
    await chmod(file, mode);
    await expect(loadPolicy(file)).rejects.toThrow(`cannot use the policy ${file}: others than its owner can write it`);
  });

  it.each([
    [{uid: 1000, mode: 0o100644}, 1000, undefined],
    [{uid: 0, mode: 0o100644}, 1000, undefined],
    [{uid: 1001, mode: 0o100600}, 1000, 'user 1001 owns it, not you or root'],
    [{uid: 1000, mode: 0o100600}, 0, 'user 1000 owns it, not you or root'],
    [{uid: 1000, mode: 0o100660}, 1000, 'others than its owner can write it'],
  ])('of %j is for user %i: %s', (found, self, why) => {
    expect(distrust(found, self)?.why).toBe(why);
  });

  const isRoot = process.getuid?.() === 0;
  (isRoot ? it : it.skip)('of another user is refused', async () => {
    const file = await policyFile(whole);
    await chown(file, 12_345, 12_345);
    await expect(loadPolicy(file)).rejects.toThrow('user 12345 owns it');
  });

  it('is asked whose it is where it really stands, behind a link', async () => {
    const file = await policyFile(whole);
    const link = `${file}.link`;
    await symlink(file, link);
    await expect(loadPolicy(link)).resolves.toBeDefined();
    await chmod(file, 0o666);
    await expect(loadPolicy(link)).rejects.toThrow(PolicyUnreadableError);
  });

  it('is no part of a fleet, wherever one comes from', async () => {
    const [problem] = await problemsOf({'tekton-ai.yaml': whole});
    expect(problem).toMatchObject({line: 2, column: 7, message: 'a policy is no part of a fleet'});
  });
});

describe('the policy of a machine', () => {
  it('is policy.yaml in the state folder, and none where that is missing', async () => {
    const home = await folderOf({});
    expect(await findPolicy({}, home)).toEqual({file: join(home, 'policy.yaml'), policy: undefined});
    const file = await policyFile(whole);
    expect((await findPolicy({}, join(file, '..'))).policy?.sources).toHaveLength(1);
  });

  it('is the one that TEKTON_AI_POLICY names, which then must be there', async () => {
    const file = await policyFile(whole);
    const found = await findPolicy({TEKTON_AI_POLICY: file}, '/nowhere');
    expect(found).toMatchObject({file, policy: {sources: [{bind: ['0.0.0.0']}]}});
    await expect(findPolicy({TEKTON_AI_POLICY: `${file}.gone`}, '/nowhere')).rejects.toThrow('there is no such file');
  });

  it('that cannot be used is not taken for none', async () => {
    const home = await folderOf({'policy.yaml': 'nonsense: ['});
    await chmod(join(home, 'policy.yaml'), 0o600);
    await expect(findPolicy({}, home)).rejects.toThrow(InvalidInputError);
    const other = await folderOf({});
    await mkdir(join(other, 'policy.yaml'));
    await expect(findPolicy({}, other)).rejects.toThrow('it is not a file');
    const circle = await folderOf({});
    await symlink('policy.yaml', join(circle, 'policy.yaml'));
    await expect(findPolicy({}, circle)).rejects.toThrow('ELOOP');
  });
});

const source = {
  name: 'default/platform',
  url: 'https://git.example.com/acme/platform.git',
  checkout: '/state/git/x/checkout',
};

function trust(rule: Omit<PolicyRule, 'match'> = {}, match: PolicyRule['match'] = {name: 'default/platform'}): Trust {
  return trustOf({sources: [{match, ...rule}]}, source);
}

describe('a rule counts', () => {
  it.each<[PolicyRule['match'], boolean]>([
    [{name: 'default/platform'}, true],
    [{name: '*/platform'}, true],
    [{name: 'platform'}, false],
    [{url: 'https://git.example.com/acme/*'}, true],
    [{url: 'https://git.example.com/acme'}, false],
    [{url: 'https://git.example.com/acme/*', name: 'default/other'}, false],
    [{url: 'https://git.example.com/acme/*', name: 'default/*'}, true],
    [{}, false],
  ])('for a source that %j matches: %s', (match, counts) => {
    expect(trust({bind: ['0.0.0.0']}, match).mayListen('0.0.0.0')).toBe(counts);
  });

  it('beside every other that matches', () => {
    const policy: Policy = {
      sources: [
        {match: {name: '*'}, bind: ['::']},
        {match: {url: '*'}, bind: ['0.0.0.0']},
      ],
    };
    const both = trustOf(policy, source);
    expect(['::', '0.0.0.0', '10.0.0.1'].map(host => both.mayListen(host))).toEqual([true, true, false]);
  });
});

describe('without a policy', () => {
  const strict = trustOf(undefined, source);

  test.each([
    'http://127.0.0.1:11434',
    'http://127.9.9.9:1/v1',
    'http://localhost:8000/v1',
    'http://[::1]:8000',
    'https://api.anthropic.com',
    'https://api.openai.com/v1',
    'https://openrouter.ai/api/v1',
    'http://2130706433/', // 127.0.0.1, as the request has it as well
    'https://API.OpenAI.com/v1',
  ])('%s may be spoken to', url => {
    expect(strict.mayReach(url)).toBe(true);
  });

  test.each([
    'http://api.openai.com/v1',
    'https://api.openai.com:8443/v1',
    'https://api.openai.com./v1',
    'https://api.openai.com.evil.example/v1',
    'https://evil.example/api.openai.com',
    'https://evil.example#api.openai.com',
    'https://api.openai.com@evil.example/v1',
    'https://user:pass@api.openai.com/v1',
    'https://user@127.0.0.1/',
    'https://evil.example\\@api.openai.com/',
    'https://аpi.openai.com/v1', // a Cyrillic а
    'http://127.0.0.1.evil.example/',
    'http://localhost.evil.example/',
    'http://evil.localhost/',
    'http://localhost./',
    'http://0.0.0.0:8000/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::]/',
    'http://169.254.169.254/latest/meta-data',
    'http://2852039166/',
    'http://0xa9fea9fe/',
    'http://10.0.0.1/',
    'file:///etc/passwd',
    'ftp://127.0.0.1/',
    'unix:/var/run/docker.sock',
    'not an address',
    '',
  ])('%s may not', url => {
    expect(strict.mayReach(url)).toBe(false);
    expect(strict.maySend(url, {env: 'OPENAI_API_KEY'})).toBe(false);
    expect(strict.maySend(url, {file: `${source.checkout}/key`})).toBe(false);
  });

  test.each<[string, string, boolean]>([
    ['ANTHROPIC_API_KEY', 'https://api.anthropic.com', true],
    ['OPENAI_API_KEY', 'https://api.openai.com/v1', true],
    ['OPENAI_API_KEY', 'https://openrouter.ai/api/v1', false],
    ['AWS_SECRET_ACCESS_KEY', 'https://api.openai.com/v1', false],
    ['ANTHROPIC_API_KEY', 'http://127.0.0.1:8000', false],
    ['ANTHROPIC_API_KEY', 'http://api.anthropic.com', false],
  ])('the variable %s may go to %s: %s', (env, url, may) => {
    expect(strict.maySend(url, {env})).toBe(may);
  });

  it('a file of the repository may go where it may speak to, and one of elsewhere nowhere', () => {
    expect(strict.maySend('http://127.0.0.1:1', {file: `${source.checkout}/envs/key`})).toBe(true);
    expect(strict.maySend('http://127.0.0.1:1', {file: '/etc/passwd'})).toBe(false);
    expect(strict.maySend('http://127.0.0.1:1', {file: `${source.checkout}/../key`})).toBe(false);
    expect(strict.maySend('http://127.0.0.1:1', {file: `${source.checkout}-other/key`})).toBe(false);
  });

  it('nothing else is allowed', () => {
    expect([
      strict.mayUse({env: 'X'}, 'auth'),
      strict.mayUse({env: 'X'}, 'env'),
      strict.mayUse({file: '/x'}, 'env'),
      strict.mayRead('HOME'),
      strict.mayRun('/bin/true'),
      strict.mayAppend('/tmp/x'),
      strict.mayInclude('/etc/passwd'),
      strict.mayListen('0.0.0.0'),
      strict.mayListen('::'),
      strict.mayListen('127.0.0.1.evil.example'),
      strict.mayPull('llama3.3:70b'),
    ]).toEqual(Array(11).fill(false));
    expect(strict.includes).toEqual([]);
  });
});

describe('a host in a policy', () => {
  test.each<[string, string, boolean]>([
    ['lab.corp.example', 'http://lab.corp.example:8000/v1', true],
    ['lab.corp.example', 'https://lab.corp.example', true],
    ['LAB.corp.example', 'https://lab.corp.example', true],
    ['lab.corp.example:8000', 'https://lab.corp.example:8000', true],
    ['lab.corp.example:8000', 'https://lab.corp.example:8001', false],
    ['https://lab.corp.example', 'http://lab.corp.example', false],
    ['http://lab.corp.example', 'http://lab.corp.example:8000', true],
    ['lab.corp.example:443', 'https://lab.corp.example', true],
    ['*.corp.example', 'https://a.b.corp.example', true],
    ['*.corp.example', 'https://corp.example', false],
    ['*.corp.example', 'https://corp.example.evil.example', false],
    ['*.corp.example', 'https://x.corp.example@evil.example', false],
    ['bücher.example', 'https://xn--bcher-kva.example', true],
    ['[fd00::1]:8000', 'http://[FD00:0::1]:8000', true],
    ['192.168.1.20', 'http://3232235796:11434', true],
  ])('%s is meant by %s: %s', (host, url, meant) => {
    expect(trust({hosts: [host]}).mayReach(url)).toBe(meant);
  });

  test.each<[string, string, boolean]>([
    ['lab.corp.example', 'https://lab.corp.example', true],
    ['lab.corp.example', 'http://lab.corp.example:8000', false],
    ['http://lab.corp.example', 'http://lab.corp.example:8000', true],
    ['127.0.0.1:8000', 'http://127.0.0.1:8000', true],
    ['127.0.0.1:8000', 'http://127.0.0.1:8001', false],
  ])('of a secret, %s, lets it go to %s: %s', (host, url, may) => {
    const some = trust({secrets: [{env: 'LAB_KEY', hosts: [host]}]});
    expect(some.maySend(url, {env: 'LAB_KEY'})).toBe(may);
    expect(some.maySend(url, {env: 'OTHER'})).toBe(false);
    expect(some.maySend(url, {file: 'LAB_KEY'})).toBe(false);
  });

  it('lets no secret follow: who may be spoken to need not be told any', () => {
    expect(trust({hosts: ['lab.corp.example']}).maySend('https://lab.corp.example', {env: 'LAB_KEY'})).toBe(false);
  });
});

it('allows what it names, as it names it', () => {
  const some = trust({
    secrets: [
      {env: 'TOKEN', use: ['auth']},
      {file: '/etc/tekton/x', use: ['env']},
    ],
    variables: ['REGION', 'TEKTON_VAR_*'],
    commands: ['/usr/local/bin/notify'],
    files: ['/var/log/x'],
    includes: ['/srv/shared'],
    pull: ['llama3.3:*'],
  });
  expect([
    some.mayUse({env: 'TOKEN'}, 'auth'),
    some.mayUse({file: '/etc/tekton/x'}, 'env'),
    some.mayRead('TEKTON_VAR_A'),
    some.mayRun('/usr/local/bin/notify'),
    some.mayAppend('/var/log/x'),
    some.mayInclude('/srv/shared/a/b.yaml'),
    some.mayPull('llama3.3:70b'),
  ]).toEqual(Array(7).fill(true));
  expect([
    some.mayUse({env: 'TOKEN'}, 'env'),
    some.mayUse({env: 'TOKEN'}, 'webhook'),
    some.mayUse({file: '/etc/tekton/x'}, 'auth'),
    some.mayRead('REGIONS'),
    some.mayRun('/usr/local/bin/../../../tmp/notify'),
    some.mayAppend('/var/log/x/../y'),
    some.mayInclude('/srv/shared/../secret'),
    some.mayInclude('/srv/shared-not/x'),
    some.mayPull('evil.example/llama3.3:70b'),
  ]).toEqual(Array(9).fill(false));
});
