/** Every kind of bad input: what is said of it, and that it is said at the right place. */
import {describe, expect, it, test} from '@jest/globals';
import {exitCodes, InvalidInputError} from '../../src/api/errors.js';
import {fleetYaml, folderOf, load, problemsOf} from './files.js';

/** [what, spec from line 6 on, line, column, message, hint] */
type Row = readonly [what: string, spec: string, line: number, column: number, message: string | RegExp, hint?: string];

const anthropicKey = `sk-ant-api03-${'aB3'.repeat(12)}`;

const rows: readonly Row[] = [
  [
    'an unknown field',
    '  specialists:\n    - component: athena\n      modle: x\n',
    8,
    7,
    'unknown field `modle`',
    'did you mean `model`?',
  ],
  [
    'a budget of cost for a hosted model without a price',
    '  providers:\n    lab: {type: openai, baseUrl: http://h/v1, prices: {other: {input: 1, output: 1}}}\n  specialists:\n    - component: athena\n      provider: lab\n      model: m1\n      budget: {costPerDay: 2}\n',
    12,
    28,
    '`athena` has `costPerDay`, but lab:m1 has no price',
    'add it under `prices` of the provider, or `"*"` for all of its models; {input: 0, output: 0} is for free',
  ],
  [
    'a budget of cost that the defaults set, for models that cost nothing',
    '  defaults:\n    budget:\n      costPerDay: 2\n  specialists:\n    - component: athena\n      provider: ollama\n      model: m1\n',
    8,
    19,
    '`athena` can never reach its `costPerDay`: ollama:m1 costs nothing',
    'limit `tokensPerDay`, or add `prices`',
  ],
  [
    'a budget without a limit',
    '  specialists:\n    - component: athena\n      budget: {mode: hard}\n',
    8,
    15,
    '`budget` has no limit',
    'give it `tokensPerDay` or `costPerDay`',
  ],
  [
    'an unknown field of the spec',
    '  specialist: []\n',
    6,
    3,
    'unknown field `specialist`',
    'did you mean `specialists`?',
  ],
  [
    'a field of a later version',
    '  specialists:\n    - component: athena\n      isolation: shared\n',
    8,
    7,
    'unknown field `isolation`',
    'not supported by this version',
  ],
  [
    'a drift policy that there is not',
    '  driftPolicy: warm\n',
    6,
    16,
    '`driftPolicy` must be one of heal, warn, ignore',
    'did you mean `warn`?',
  ],
  [
    'a drift policy of a field that there is not',
    '  driftPolicy: {default: heal, fields: {parameters.temprature: ignore}}\n',
    6,
    41,
    'unknown field `parameters.temprature`',
    'did you mean `parameters.temperature`?',
  ],
  [
    'a drift policy of a provider, with which goes a key',
    '  driftPolicy: {fields: {provider: ignore}}\n',
    6,
    26,
    'unknown field `provider`',
  ],
  [
    'a drift policy of a field that is none',
    '  driftPolicy: {fields: {model: leave}}\n',
    6,
    33,
    '`model` must be one of heal, warn, ignore',
  ],
  [
    'a fleet that depends on itself',
    '  dependsOn: [dev]\n',
    6,
    14,
    '`dependsOn` goes round in a circle: default/dev → default/dev',
  ],
  [
    'a dependency that is no name',
    '  dependsOn: [a/b/c]\n',
    6,
    15,
    "`dependsOn[0]` must be a fleet's name, or `namespace/name`",
  ],
  [
    'a schedule with six fields',
    '  syncWindows:\n    - {kind: deny, schedule: "0 0 9 * * *", durationSeconds: 60}\n',
    7,
    30,
    /^`schedule` must be five fields as in crontab\(5\)/,
  ],
  [
    'a schedule with a minute that there is not',
    '  syncWindows:\n    - {kind: deny, schedule: "61 9 * * *", durationSeconds: 60}\n',
    7,
    30,
    'this is no schedule: Invalid value for minute: 61',
  ],
  [
    'a schedule that never comes',
    '  syncWindows:\n    - {kind: deny, schedule: "0 9 30 2 *", durationSeconds: 60}\n',
    7,
    30,
    'this `schedule` names a time that never comes',
  ],
  [
    'a time zone that there is not',
    '  syncWindows:\n    - {kind: deny, schedule: "0 9 * * *", durationSeconds: 60, timeZone: Europe/Bonn}\n',
    7,
    74,
    'there is no time zone `Europe/Bonn`',
    'a name of the IANA database, such as Europe/Berlin',
  ],
  [
    'a window without a duration',
    '  syncWindows:\n    - {kind: deny, schedule: "0 9 * * *"}\n',
    7,
    7,
    '`durationSeconds` is missing',
  ],
  [
    'a pull that its provider cannot do',
    '  specialists:\n    - component: athena\n      provider: anthropic\n      pull: IfNotPresent\n',
    9,
    13,
    'only Ollama fetches models, and provider `anthropic` is of type anthropic',
    'leave `pull` out',
  ],
  [
    'a wrong type',
    '  specialists:\n    - component: athena\n      port: high\n',
    8,
    13,
    '`port` must be a whole number, not text',
  ],
  [
    'an entry that is no mapping',
    '  specialists:\n    - athena\n',
    7,
    7,
    '`specialists[0]` must be a mapping, not text',
  ],
  ['a list that is empty', '  specialists:\n', 6, 3, '`specialists` must be a list, not empty'],
  ['a missing component', '  specialists:\n    - model: x\n', 7, 7, '`component` is missing'],
  [
    'a path in a name',
    '  specialists:\n    - component: athena\n      name: ../../x\n',
    8,
    13,
    /^`name` must be a DNS label: /,
  ],
  [
    'a path in a component',
    '  specialists:\n    - component: ../x\n',
    7,
    18,
    /^`component` must be a component's name: /,
  ],
  [
    'a duplicate name',
    '  specialists:\n    - component: athena\n    - component: hermes\n      name: athena\n',
    9,
    13,
    'the name `athena` is already taken by tekton-ai.yaml:7',
  ],
  [
    'one component twice, spelled differently',
    '  specialists:\n    - component: tekton_core\n    - component: tekton-core\n',
    8,
    18,
    'the name `tekton-core` is already taken by tekton-ai.yaml:7',
    'give one of the two a `name` of its own',
  ],
  [
    'an unknown provider',
    '  specialists:\n    - {component: athena, provider: olama}\n',
    7,
    37,
    'there is no provider `olama`',
    'did you mean `ollama`?',
  ],
  [
    'an unknown default provider',
    '  defaults: {provider: cloud}\n',
    6,
    24,
    'there is no provider `cloud`',
    'there are anthropic, auto, offline, ollama, scripted',
  ],
  ['a provider that every object has', '  defaults: {provider: toString}\n', 6, 24, 'there is no provider `toString`'],
  [
    'an unknown provider type',
    '  providers:\n    lab: {type: opnai}\n',
    7,
    17,
    /^`type` must be one of auto, /,
    'did you mean `openai`?',
  ],
  [
    'an openai provider without an address',
    '  providers:\n    lab: {type: openai}\n',
    7,
    5,
    'provider `lab` needs a `baseUrl`',
  ],
  [
    'a scripted provider without a script',
    '  providers:\n    lab: {type: scripted}\n',
    7,
    5,
    'provider `lab` needs a `script`',
  ],
  [
    'the built-in scripted provider',
    '  specialists:\n    - {component: athena, provider: scripted}\n',
    7,
    37,
    'provider `scripted` needs a `script`',
  ],
  [
    'an address that is none',
    '  providers:\n    lab: {type: openai, baseUrl: lab:8000}\n',
    7,
    34,
    '`baseUrl` must be a URL that begins with http:// or https://',
  ],
  [
    'no model where the provider has none',
    '  providers:\n    lab: {type: openai, baseUrl: http://h}\n  specialists:\n    - {component: athena, provider: lab}\n',
    9,
    37,
    '`athena` needs a `model`: provider `lab` has no default model',
  ],
  ['a missing include', '  include: [gone.yaml]\n', 6, 13, 'cannot include `gone.yaml`: there is no such file'],
  [
    'a dependency on nobody',
    '  specialists:\n    - component: athena\n      dependsOn: [hermez]\n    - component: hermes\n',
    8,
    19,
    "`dependsOn` names `hermez`, which this fleet doesn't declare",
    'did you mean `hermes`?',
  ],
  [
    'a circle of dependencies',
    '  specialists:\n    - {component: apollo, dependsOn: [athena]}\n    - {component: athena, dependsOn: [hermes]}\n    - {component: hermes, dependsOn: [athena]}\n',
    8,
    38,
    '`dependsOn` goes round in a circle: athena → hermes → athena',
  ],
  [
    'a dependency on itself',
    '  specialists:\n    - {component: athena, dependsOn: [athena]}\n',
    7,
    38,
    '`dependsOn` goes round in a circle: athena → athena',
  ],
  [
    'a port outside of the range',
    '  specialists:\n    - {component: athena, port: 44999}\n',
    7,
    33,
    "port 44999 is outside of the fleet's range, 45000 to 50000",
  ],
  [
    'a range that is empty',
    '  ports: {from: 46000, to: 45000}\n',
    6,
    10,
    'the range of ports is empty: it goes from 46000 to 45000',
  ],
  [
    'a range of system ports',
    '  ports: {from: 80, to: 45000}\n',
    6,
    17,
    '`from` must be at least 1024 and at most 65535',
  ],
  ['a range beyond all ports', '  ports: {to: 70000}\n', 6, 15, '`to` must be at least 1024 and at most 65535'],
  [
    'two specialists with one pinned port',
    '  specialists:\n    - {component: athena, port: 45001}\n    - {component: hermes, port: 45001}\n',
    8,
    33,
    'port 45001 is already pinned by `athena` at tekton-ai.yaml:7',
  ],
  [
    'a literal secret',
    `  providers:\n    a: {type: anthropic, apiKey: ${anthropicKey}}\n`,
    7,
    34,
    '`apiKey` must refer to a secret, not hold it',
    'write {env: NAME} or {file: path}',
  ],
  [
    'a secret where none belongs',
    `  specialists:\n    - component: athena\n      model: ${anthropicKey}\n`,
    8,
    14,
    '`model` holds a secret: secrets are only ever referred to',
  ],
  [
    'a secret in a variable',
    `  defaults:\n    env:\n      TOKENS: ghp_${'a1B2'.repeat(9)}\n`,
    8,
    15,
    '`TOKENS` holds a secret: secrets are only ever referred to',
  ],
  [
    'a password in a variable',
    '  defaults: {env: {DB_PASSWORD: hunter2}}\n',
    6,
    33,
    '`DB_PASSWORD` seems to hold a secret: secrets are only ever referred to',
  ],
  [
    'a password in an address',
    '  providers:\n    l: {type: openai, baseUrl: "http://me:pw@h/v1"}\n',
    7,
    32,
    '`baseUrl` holds a password: secrets are only ever referred to',
  ],
  [
    'a reference to two places',
    '  defaults: {auth: {token: {env: A, file: b}}}\n',
    6,
    28,
    '`token` needs exactly one of `env`, `file`',
  ],
  [
    'a loader variable',
    '  specialists:\n    - component: athena\n      env: {NODE_OPTIONS: --require=x}\n',
    8,
    13,
    /^`NODE_OPTIONS` may not be set: /,
  ],
  [
    'a loader variable of the linker',
    '  defaults: {env: {DYLD_INSERT_LIBRARIES: x}}\n',
    6,
    20,
    /^`DYLD_INSERT_LIBRARIES` may not be set: /,
  ],
  ['a variable of our own', '  defaults: {env: {TEKTON_AI_HOME: /x}}\n', 6, 20, /^`TEKTON_AI_HOME` may not be set: /],
  [
    'a host beyond loopback without a token',
    '  specialists:\n    - {component: athena, host: 0.0.0.0}\n',
    7,
    33,
    '`0.0.0.0` can be reached from other machines, so `auth.token` is required',
  ],
  [
    'a key written twice',
    '  defaults: {model: a}\n  defaults: {model: b}\n',
    7,
    3,
    'the key `defaults` is written twice',
  ],
  ['__proto__', '  __proto__: {enabled: false}\n', 6, 3, 'the key `__proto__` is not allowed'],
  ['constructor', '  providers:\n    constructor: {type: ollama}\n', 7, 5, 'the key `constructor` is not allowed'],
  ['prototype', '  defaults: {prototype: 1}\n', 6, 14, 'the key `prototype` is not allowed'],
  ['a tab', '  defaults:\n\tmodel: x\n', 7, 1, 'tabs cannot indent YAML: use spaces'],
  [
    'wrong indentation',
    '  defaults:\n     model: x\n    provider: y\n',
    8,
    1,
    'the indentation does not fit the lines above',
  ],
  [
    'a merge key',
    '  defaults: {<<: {model: x}}\n',
    6,
    14,
    'unknown field `<<`',
    'YAML 1.2 has no merge keys; what specialists share goes into `defaults`',
  ],
  ['a tag', '  enabled: !!js/function x\n', 6, 12, 'tags (`!…`) are not supported'],
  ['an unknown anchor', '  enabled: *nobody\n', 6, 12, 'the anchor `nobody` is not defined before its use'],
];

describe('a fleet file', () => {
  it.each(rows)('with %s is refused', async (...row: Row) => {
    const [, spec, line, column, message, hint] = row;
    const problems = await problemsOf({'tekton-ai.yaml': fleetYaml(spec)});
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({
      file: 'tekton-ai.yaml',
      line,
      column,
      message: expect.stringMatching(asPattern(message)),
    });
    if (hint !== undefined) expect(problems[0]?.hint).toBe(hint);
    expect(JSON.stringify(problems)).not.toMatch(/sk-ant-|ghp_|hunter2|me:pw/);
  });

  test('ends a command with exit code 4', async () => {
    const folder = await folderOf({'tekton-ai.yaml': 'x'});
    const error: unknown = await load(folder).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(InvalidInputError);
    expect(error).toMatchObject({exitCode: exitCodes.invalidInput});
  });
});

describe('a file that is no fleet at all', () => {
  it.each([
    ['nothing', '', 1, 1, 'the file declares nothing'],
    ['comments only', '# later\n', 1, 1, 'the file declares nothing'],
    ['empty documents', '---\n---\n', 1, 1, 'the file declares nothing'],
    ['a text', 'hello world\n', 1, 1, 'a document must be a mapping, not text'],
    ['a list', '- a\n- b\n', 1, 1, 'a document must be a mapping, not a list'],
    [
      'another kind',
      'apiVersion: tekton.ai/v1alpha1\nkind: Flet\n',
      2,
      7,
      '`kind` must be one of Fleet, Specialist, Expertise, GitSource',
    ],
    ['no kind', 'services: {}\n', 1, 1, '`kind` is missing'],
    ['a program', 'import x from "y";\nconst {a} = b;\nx: [\n', 1, 1, /^not valid YAML: /],
    ['a NUL', 'apiVersion: x\nkind: \0\n', 2, 7, 'this is a binary file, not YAML'],
    ['bytes that are not UTF-8', new Uint8Array([0x61, 0x3a, 0x20, 0xff, 0xfe]), 1, 4, 'this is not UTF-8 text'],
    ['an open quote', 'kind: "Fleet\n', 2, 1, /^not valid YAML: /],
    [
      'two versions on',
      'apiVersion: tekton.ai/v2\nkind: Fleet\nmetadata: {name: a}\nspec: {}\n',
      1,
      13,
      '`apiVersion` must be tekton.ai/v1alpha1',
    ],
    ['no name', 'apiVersion: tekton.ai/v1alpha1\nkind: Fleet\nmetadata: {}\nspec: {}\n', 3, 11, '`name` is missing'],
    ['no spec', 'apiVersion: tekton.ai/v1alpha1\nkind: Fleet\nmetadata: {name: a}\n', 1, 1, '`spec` is missing'],
  ])('but %s is refused', async (_, content, line, column, message) => {
    const [problem] = await problemsOf({'tekton-ai.yaml': content});
    expect(problem).toMatchObject({
      file: 'tekton-ai.yaml',
      line,
      column,
      message: expect.stringMatching(asPattern(message)),
    });
  });
});

describe('a hostile file', () => {
  const nested = fleetYaml(`  defaults: ${'['.repeat(500_000)}\n`);
  const dashes = `a:\n${'- '.repeat(300_000)}\n`;
  const bomb = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]', ...levels(9)].join('\n');
  const aliases = `a: &a x\nb: [${'*a, '.repeat(200_000)}]\n`;
  const cycle = 'a: &a\n  b: *a\n';

  it.each([
    ['nests brackets without end', nested, 6, 'this is nested deeper than 64 levels'],
    ['nests dashes without end', dashes, 2, 'this is nested deeper than 64 levels'],
    ['is an alias bomb', bomb, 1, 'aliases expand to more than 10000 values'],
    ['repeats an alias without end', aliases, 1, 'aliases expand to more than 10000 values'],
    ['contains itself', cycle, 2, 'this is nested deeper than 64 levels'],
  ])('that %s is refused at once', async (_, content, line, message) => {
    const problems = await problemsOf({'tekton-ai.yaml': content});
    expect(problems).toEqual([expect.objectContaining({line, message})]);
  });

  it('of 50 MB is refused unread', async () => {
    const [problem, ...others] = await problemsOf({'tekton-ai.yaml': Buffer.alloc(50 * 1024 * 1024, 'a')});
    expect(others).toEqual([]);
    expect(problem).toMatchObject({
      line: 1,
      column: 1,
      message: 'the file is too large: 50.0 MiB; at most 1 MiB is read',
    });
  });

  it('that comes without end over standard input is left after 1 MiB', async () => {
    let sent = 0;
    const endless = async function* () {
      for (;;) {
        sent += 65_536;
        yield Buffer.alloc(65_536, '#');
      }
    };
    const [problem] = await problemsOf({}, {paths: ['-'], readStdin: endless});
    expect(problem).toMatchObject({
      file: '<stdin>',
      message: 'the file is too large: more than the limit; at most 1 MiB is read',
    });
    expect(sent).toBeLessThan(2 * 1024 * 1024);
  });

  it('of garbage tells no more than can be read', async () => {
    const problems = await problemsOf({'tekton-ai.yaml': '}: {\n'.repeat(10_000)});
    expect(problems.length).toBeGreaterThan(0);
    expect(problems.length).toBeLessThanOrEqual(200);
  });

  function levels(count: number): string[] {
    return Array.from({length: count}, (_, i) => `a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join(', ')}]`);
  }
});

describe('the problems of all files', () => {
  it('are told at once, by place, and none twice', async () => {
    const problems = await problemsOf({
      'tekton-ai.yaml': fleetYaml(`
  include: [gone.yaml, more.yaml]
  defaults: {provider: nowhere, modle: x}
  specialists:
    - component: athena
      port: 1
      dependsOn: [nobody]
    - {name: b}
    - component: hermes
      host: 10.0.0.1
`),
      'more.yaml': 'kind: Expertise\nspec: {titel: x}\n',
    });
    expect(problems.map(({file, line, column, message}) => `${file}:${line}:${column} ${message}`)).toEqual([
      'tekton-ai.yaml:6:13 cannot include `gone.yaml`: there is no such file',
      'tekton-ai.yaml:7:24 there is no provider `nowhere`',
      'tekton-ai.yaml:7:33 unknown field `modle`',
      "tekton-ai.yaml:10:13 port 1 is outside of the fleet's range, 45000 to 50000",
      "tekton-ai.yaml:11:19 `dependsOn` names `nobody`, which this fleet doesn't declare",
      'tekton-ai.yaml:12:7 `component` is missing',
      'tekton-ai.yaml:14:13 `10.0.0.1` can be reached from other machines, so `auth.token` is required',
      'more.yaml:1:1 `apiVersion` is missing',
      'more.yaml:1:1 `metadata` is missing',
      'more.yaml:2:8 unknown field `titel`',
    ]);
  });

  it('are not told again where they lead to others', async () => {
    const problems = await problemsOf({
      'tekton-ai.yaml': fleetYaml(`
  providers:
    lab: {type: openia, baseUrl: 'http://127.0.0.1:1/v1'}
  specialists:
    - component: athena
      provider: lab
      model: m
      budget: {tokensPerDay: -5}
`),
    });
    expect(problems.map(({line}) => line)).toEqual([7, 12]);
  });

  it('show the line, as it is but for secrets and control characters', async () => {
    const [first, second, third] = await problemsOf({
      'tekton-ai.yaml': fleetYaml(`
  specialists:
    - {component: athena, modle: "\u001b[31mred"}
  providers:
    lab: {typ: openai, apiKey: ${anthropicKey}}
    two:
      apiKey:
        hunter2
`),
    });
    expect(first?.excerpt).toBe('    - {component: athena, modle: " [31mred"}');
    expect([second?.excerpt, third?.excerpt].join('\n')).not.toContain(anthropicKey);
    expect(second?.excerpt).toMatch(/^ {4}lab: \{typ: openai, apiKey: \*+$/);
  });

  it('never show a secret, not even where it stands on a line of its own', async () => {
    const problems = await problemsOf({
      'tekton-ai.yaml': fleetYaml('  providers:\n    two:\n      type: ollama\n      apiKey:\n        hunter2\n'),
    });
    expect(problems).toEqual([
      expect.objectContaining({
        line: 10,
        column: 9,
        message: '`apiKey` must refer to a secret, not hold it',
        excerpt: '        *******',
      }),
    ]);
  });
});

function asPattern(message: string | RegExp): RegExp {
  return message instanceof RegExp ? message : new RegExp(`^${message.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);
}
