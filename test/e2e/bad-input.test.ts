/** Whatever stands in a fleet file: every problem with its place, exit code 4, and nothing changed. */
import {existsSync} from 'node:fs';
import {expect, it, test} from '@jest/globals';
import {sandboxes} from './harness.js';

const sandbox = sandboxes();

const head = 'apiVersion: tekton.ai/v1alpha1\nkind: Fleet\nmetadata: {name: dev}\nspec:\n';
const secret = `sk-ant-api03-${'aB3'.repeat(12)}`;

/** [what, tekton-ai.yaml, what is said at which line and column] */
const rows: readonly (readonly [what: string, text: string, said: readonly string[]])[] = [
  [
    'an unknown field',
    `${head}  specialists:\n    - component: athena\n      modle: x\n`,
    ['7:7: unknown field `modle`', 'did you mean `model`?'],
  ],
  [
    'a wrong type',
    `${head}  specialists:\n    - component: athena\n      port: high\n`,
    ['7:13: `port` must be a whole number, not text'],
  ],
  [
    'a duplicate name',
    `${head}  specialists:\n    - component: athena\n    - component: athena\n`,
    ['7:18: the name `athena` is already taken by tekton-ai.yaml:6'],
  ],
  [
    'an unknown provider',
    `${head}  specialists:\n    - {component: athena, provider: olama}\n`,
    ['6:37: there is no provider `olama`', 'did you mean `ollama`?'],
  ],
  ['a missing include', `${head}  include: [gone.yaml]\n`, ['5:13: cannot include `gone.yaml`: there is no such file']],
  [
    'a circle of dependencies',
    `${head}  specialists:\n    - {component: athena, dependsOn: [hermes]}\n    - {component: hermes, dependsOn: [athena]}\n`,
    ['6:38: `dependsOn` goes round in a circle: athena → hermes → athena'],
  ],
  [
    'a port outside of the range',
    `${head}  specialists:\n    - {component: athena, port: 44999}\n`,
    ["6:33: port 44999 is outside of the fleet's range, 45000 to 50000"],
  ],
  [
    'two specialists with one pinned port',
    `${head}  specialists:\n    - {component: athena, port: 45001}\n    - {component: hermes, port: 45001}\n`,
    ['7:33: port 45001 is already pinned by `athena` at tekton-ai.yaml:6'],
  ],
  [
    'a literal secret',
    `${head}  providers:\n    a: {type: anthropic, apiKey: ${secret}}\n`,
    ['6:34: `apiKey` must refer to a secret, not hold it', 'write {env: NAME} or {file: path}'],
  ],
  ['an empty file', '', ['1:1: ']],
  ['a file of comments', '# nothing yet\n', [':1: ']],
  ['a file of 50 MB', `${head}# ${'x'.repeat(50 * 1024 * 1024)}\n`, ['tekton-ai.yaml:1:1: ', 'too large: 50.0 MiB']],
  [
    'a bomb of aliases',
    `${head}  a: &a [${'x, '.repeat(9)}x]\n${[...'bcdefghi']
      .map((name, index) => `  ${name}: &${name} [${`*${'abcdefgh'[index] ?? ''}, `.repeat(10)}]\n`)
      .join('')}`,
    ['aliases expand to more than'],
  ],
  ['a key twice', `${head}  enabled: true\n  enabled: false\n`, ['6:3: ']],
  ['a __proto__', `${head}  __proto__: {enabled: false}\n`, ['5:3: the key `__proto__` is not allowed']],
  [
    'a path in a name',
    `${head}  specialists:\n    - component: athena\n      name: ../../x\n`,
    ['7:13: `name` must be a DNS label'],
  ],
  ['no YAML at all', '\u0000\u0001\u0002{{{]]\u00ff', ['tekton-ai.yaml:1:']],
  ['text that is no mapping', 'Dear fleet, please run athena.\n', ['1:1: ']],
  ['another kind', 'apiVersion: tekton.ai/v1alpha1\nkind: Flet\nmetadata: {name: dev}\nspec: {}\n', ['2:7: ']],
];

test.each(rows)('refuses %s, says where, and touches nothing', async (_what, text, said) => {
  const box = await sandbox();
  await box.write('tekton-ai.yaml', text);
  for (const verb of ['validate', 'apply']) {
    const {exitCode, stdout, stderr} = await box.run([verb]);
    expect({verb, exitCode, stdout}).toEqual({verb, exitCode: 4, stdout: ''});
    expect(stderr).toMatch(/^tekton-ai\.yaml:\d+:\d+: /);
    for (const part of said) expect(stderr).toContain(part);
    expect(stderr).toMatch(/^error: invalid input: \d+ problems?; nothing was changed$/m);
    expect(stderr).not.toMatch(/internal error|^ +at /m);
    expect(stderr).not.toContain(secret);
    expect(stderr.length).toBeLessThan(20_000);
  }
  expect(existsSync(box.home)).toBe(false);
});

it('lists every problem of every file at once, each with its line and a caret', async () => {
  const box = await sandbox();
  await box.write(
    'tekton-ai.yaml',
    `${head}  include: [more.yaml]\n  specialists:\n    - component: athena\n      modle: x\n      port: high\n`,
  );
  await box.write(
    'more.yaml',
    'apiVersion: tekton.ai/v1alpha1\nkind: Expertise\nmetadata: {name: athena}\nspec: {tilte: x}\n',
  );
  const {exitCode, stderr} = await box.run(['validate']);
  expect(exitCode).toBe(4);
  expect(stderr).toBe(
    [
      'more.yaml:4:8: unknown field `tilte`',
      '  4 | spec: {tilte: x}',
      '    |        ^',
      '  hint: did you mean `title`?',
      'tekton-ai.yaml:8:7: unknown field `modle`',
      '  8 |       modle: x',
      '    |       ^',
      '  hint: did you mean `model`?',
      'tekton-ai.yaml:9:13: `port` must be a whole number, not text',
      '  9 |       port: high',
      '    |             ^',
      'error: invalid input: 3 problems; nothing was changed',
      '',
    ].join('\n'),
  );
});

it('changes nothing that runs when a bad file is applied', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  await box.ok(['apply', '--wait']);
  const before = [await box.pids(), await box.events(), box.registry()];
  await box.write('tekton-ai.yaml', `${head}  specialists: []\n  modle: x\n`);
  expect((await box.run(['apply', '--yes'])).exitCode).toBe(4);
  expect((await box.run(['up'])).exitCode).toBe(4);
  expect([await box.pids(), await box.events(), box.registry()]).toEqual(before);
});

it('takes files, folders and standard input, and says where it looked when there is none', async () => {
  const box = await sandbox();
  const none = await box.run(['validate']);
  expect(none.exitCode).toBe(4);
  expect(none.stderr).toContain(`there is no tekton-ai.yaml in ${box.work} or a folder above it`);
  const gone = await box.run(['apply', '-f', 'gone.yaml']);
  expect(gone.exitCode).toBe(4);
  expect(gone.stderr).toContain('gone.yaml');

  await box.declare({specialists: ['athena']}, 'deep/tekton-ai.yaml');
  const folder = await box.ok(['validate', '-f', 'deep']);
  expect(folder.stdout).toBe('fleet dev is valid: 1 specialist\n');
  await box.write('deep/er/x', '');
  expect((await box.ok(['validate'], {cwd: `${box.work}/deep/er`})).stdout).toBe(folder.stdout);
  const input = `${head}  specialists: [{component: athena}, {component: hermes}]\n`;
  expect((await box.ok(['validate', '-f', '-'], {input})).stdout).toBe('fleet dev is valid: 2 specialists\n');
  const bad = await box.run(['validate', '-f', '-'], {input: `${head}  x: 1\n`});
  expect(bad.exitCode).toBe(4);
  expect(bad.stderr).toMatch(/^(<stdin>|-|standard input):5:3: unknown field `x`/);
});
