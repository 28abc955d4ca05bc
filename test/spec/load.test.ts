/** What files come to: values and where they come from, names, sources, the seed's variables. */
import {mkdir} from 'node:fs/promises';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {describe, expect, it, test} from '@jest/globals';
import {defaultModels} from '../../src/api/defaults.js';
import {SourceUnavailableError} from '../../src/api/errors.js';
import type {Desired, Expertise, LoadedFleet} from '../../src/api/types.js';
import {fleet, fleetYaml, folderOf, load, problemsOf} from './files.js';

function named(loaded: LoadedFleet, name: string): Desired {
  const found = loaded.specialists.find(specialist => specialist.name === name);
  if (!found) {
    throw new Error(`${name} is not among ${loaded.specialists.map(specialist => specialist.name).join(', ')}`);
  }
  return found;
}

const catalogue: Expertise = {
  title: 'The Knowledge Weaver',
  expertise: 'knowledge graphs',
  focus: 'connections',
  roles: ['knowledge'],
  capabilities: ['queries'],
  personality: 'patient',
  refersTo: {engram: 'memory'},
};

it('reads what a fleet depends on, with its own namespace where none is named', async () => {
  const {dependsOn} = await fleet(fleetYaml('  dependsOn: [infra, shared/base]\n'));
  expect(dependsOn).toEqual(['default/infra', 'shared/base']);
  expect(await fleet(fleetYaml('  dependsOn: []\n'))).not.toHaveProperty('dependsOn');
});

it('reads sync windows, in UTC and open to people where nothing else is said', async () => {
  const {syncWindows} = await fleet(
    fleetYaml('  syncWindows:\n    - {kind: allow, schedule: "0 9 * * 1-5", durationSeconds: 28800}\n'),
  );
  expect(syncWindows).toEqual([
    {kind: 'allow', schedule: '0 9 * * 1-5', durationSeconds: 28_800, timeZone: 'UTC', manual: true},
  ]);
  expect(await fleet(fleetYaml('  syncWindows: []\n'))).not.toHaveProperty('syncWindows');
});

describe('a specialist of which only the component is said', () => {
  it('gets built-in values, and declares its component alone', async () => {
    const loaded = await fleet(fleetYaml('  specialists:\n    - component: tekton_core\n'));
    const [specialist] = loaded.specialists;
    expect(specialist).toMatchObject({
      aiId: 'tekton_core-ai',
      name: 'tekton-core',
      namespace: 'default',
      fleet: 'dev',
      declared: {component: 'tekton_core'},
      provider: {name: 'ollama', type: 'ollama', baseUrl: 'http://127.0.0.1:11434'},
      spec: {
        enabled: true,
        provider: 'ollama',
        model: 'llama3.3:70b',
        host: '127.0.0.1',
        concurrency: {max: 4, queue: 64, queueSeconds: 300},
        restartPolicy: 'Always',
        probes: {periodSeconds: 10, timeoutSeconds: 2, failureThreshold: 3, startupSeconds: 30},
        terminationGracePeriodSeconds: 30,
        expertise: {title: 'The Tekton Core Specialist'},
      },
    });
    expect(specialist?.origins).toEqual({component: {type: 'file', file: loaded.files[0], line: 7}});
    expect(loaded).toMatchObject({enabled: true, ports: {from: 45000, to: 50000}, allowMassPrune: false, notices: []});
  });

  it('is hashed over what was declared', async () => {
    const [a, b, c] = (
      await fleet(
        fleetYaml(
          '  specialists:\n    - component: a\n    - {component: a, name: b}\n    - {component: a, name: c, model: x}\n',
        ),
      )
    ).specialists;
    expect(a?.specHash).toBe(b?.specHash);
    expect(a?.specHash).not.toBe(c?.specHash);
  });
});

describe('values come from the strongest that says them:', () => {
  const yaml = fleetYaml(`
  defaults:
    provider: ollama
    model: fleet-model
    parameters: {temperature: 0.1, seed: 7}
    env: {A: from-defaults, B: {env: SECRET_B}}
    probes: {periodSeconds: 5}
  specialists:
    - component: athena
      model: own-model
      parameters: {temperature: 0.9}
      env: {B: plain}
    - component: hermes
`);

  test('the specialist over the fleet’s defaults, field by field, over built-in ones', async () => {
    const athena = named(await fleet(yaml), 'athena');
    expect(athena.spec).toMatchObject({
      model: 'own-model',
      parameters: {temperature: 0.9, seed: 7},
      env: {A: 'from-defaults', B: 'plain'},
      probes: {periodSeconds: 5, timeoutSeconds: 2},
    });
    expect(athena.declared).toEqual({
      component: 'athena',
      provider: 'ollama',
      model: 'own-model',
      'parameters.temperature': 0.9,
      'parameters.seed': 7,
      'env.A': 'from-defaults',
      'env.B': 'plain',
      'probes.periodSeconds': 5,
    });
  });

  test('the environment over the specialist', async () => {
    const loaded = await fleet(yaml, {environment: {ATHENA_AI_MODEL: 'env-model', UNRELATED: 'x'}});
    expect(named(loaded, 'athena').spec.model).toBe('env-model');
    expect(named(loaded, 'athena').origins['model']).toEqual({type: 'env', variable: 'ATHENA_AI_MODEL'});
    expect(named(loaded, 'hermes').spec.model).toBe('fleet-model');
    expect(loaded.overrides).toEqual({ATHENA_AI_MODEL: 'env-model'});
  });

  test('the environment over .env.tekton, and that over the specialist', async () => {
    const files = {'.env.tekton': '# models\nATHENA_AI_MODEL=file-model\nexport HERMES_AI_MODEL="quoted"\n'};
    const fromFile = await fleet(yaml, {}, files);
    expect(named(fromFile, 'athena').spec.model).toBe('file-model');
    expect(named(fromFile, 'hermes').spec.model).toBe('quoted');
    expect(named(fromFile, 'athena').origins['model']).toEqual({
      type: 'env',
      variable: 'ATHENA_AI_MODEL',
      file: fromFile.envFile,
    });
    expect(fromFile.overrides).toEqual({});
    const both = await fleet(yaml, {environment: {ATHENA_AI_MODEL: 'env-model'}}, files);
    expect(named(both, 'athena').spec.model).toBe('env-model');
  });

  test('names with dots in them keep their places, and prices reach what asks for them', async () => {
    const loaded = await fleet(`apiVersion: tekton.ai/v1alpha1
kind: Fleet
metadata: {name: dev}
spec:
  providers:
    ollama:
      type: ollama
      prices:
        llama3.3:70b: {input: 1, output: 2}
  specialists:
    - component: athena
      provider: ollama
      model: llama3.3:70b
      budget: {costPerDay: 2, mode: hard}
`);
    const {declared, origins, provider, spec} = named(loaded, 'athena');
    expect(declared['provider.prices.llama3.3:70b.output']).toBe(2);
    expect(origins['provider.prices.llama3.3:70b.output']).toMatchObject({type: 'file', line: 9});
    expect(provider.prices).toEqual({'llama3.3:70b': {input: 1, output: 2}});
    expect(spec.budget).toEqual({costPerDay: 2, mode: 'hard'});
  });

  test('each value names its origin', async () => {
    const loaded = await fleet(yaml);
    const [file] = loaded.files;
    expect(named(loaded, 'athena').origins).toEqual({
      component: {type: 'file', file, line: 13},
      provider: {type: 'fleet-default', file, line: 7},
      model: {type: 'file', file, line: 14},
      'parameters.temperature': {type: 'file', file, line: 15},
      'parameters.seed': {type: 'fleet-default', file, line: 9},
      'env.A': {type: 'fleet-default', file, line: 10},
      'env.B': {type: 'file', file, line: 16},
      'probes.periodSeconds': {type: 'fleet-default', file, line: 11},
    });
  });

  test('a change of the default model changes those that inherit it, and no others', async () => {
    const before = await fleet(yaml);
    const after = await fleet(yaml.replace('fleet-model', 'new-model'));
    expect(named(after, 'hermes').declared['model']).toBe('new-model');
    expect(named(after, 'hermes').specHash).not.toBe(named(before, 'hermes').specHash);
    expect(named(after, 'athena').specHash).toBe(named(before, 'athena').specHash);
  });
});

describe('a model goes only to the provider that it was declared for:', () => {
  const of = async (defaults: string, own: string, environment: Record<string, string> = {}) => {
    const yaml = fleetYaml(`
  providers:
    lab: {type: openai, baseUrl: "http://lab/v1", defaultModel: lab-model}
  defaults: {${defaults}}
  specialists:
    - {component: athena${own}}
`);
    const {spec, declared} = named(await fleet(yaml, {environment}), 'athena');
    return [spec.provider, spec.model, declared['model']];
  };

  test.each([
    ['', '', {}, ['ollama', 'llama3.3:70b', undefined]],
    ['model: m', '', {}, ['ollama', 'm', 'm']],
    ['provider: anthropic', '', {}, ['anthropic', defaultModels.anthropic, undefined]],
    ['provider: anthropic, model: m', '', {}, ['anthropic', 'm', 'm']],
    ['provider: anthropic, model: m', ', model: n', {}, ['anthropic', 'n', 'n']],
    ['provider: ollama, model: m', ', provider: anthropic', {}, ['anthropic', defaultModels.anthropic, undefined]],
    ['provider: ollama, model: m', ', provider: ollama', {}, ['ollama', 'm', 'm']],
    ['model: m', ', provider: lab', {}, ['lab', 'lab-model', 'lab-model']],
    ['model: m', ', provider: lab, model: n', {}, ['lab', 'n', 'n']],
    ['model: m', ', provider: offline', {}, ['offline', 'expertise', undefined]],
    [
      'provider: ollama, model: m',
      '',
      {TEKTON_AI_PROVIDER: 'anthropic'},
      ['anthropic', defaultModels.anthropic, undefined],
    ],
    ['provider: ollama, model: m', ', model: n', {TEKTON_AI_PROVIDER: 'lab'}, ['lab', 'lab-model', 'lab-model']],
    ['provider: ollama, model: m', ', model: n', {TEKTON_AI_PROVIDER: 'ollama'}, ['ollama', 'n', 'n']],
    [
      'provider: ollama, model: m',
      '',
      {TEKTON_AI_PROVIDER: 'anthropic', ATHENA_AI_MODEL: 'e'},
      ['anthropic', 'e', 'e'],
    ],
  ])('defaults {%s}, specialist {%s}, environment %j', async (defaults, own, environment, expected) => {
    expect(await of(defaults, own, environment as Record<string, string>)).toEqual(expected);
  });
});

describe('the seed’s variables', () => {
  const yaml = fleetYaml('  specialists: [{component: athena}, {component: tekton_core}]\n');

  it.each(['false', 'False', '0', 'no', 'off'])(
    'TEKTON_REGISTER_AI=%s turns the fleet off and says so',
    async value => {
      const loaded = await fleet(yaml, {environment: {TEKTON_REGISTER_AI: value}});
      expect(loaded.enabled).toBe(false);
      expect(loaded.specialists).toHaveLength(2);
      expect(loaded.notices).toEqual([
        `TEKTON_REGISTER_AI=${value} (environment): no specialist of fleet \`dev\` is to run`,
      ]);
      expect(loaded.overrides).toEqual({TEKTON_REGISTER_AI: value});
    },
  );

  it('TEKTON_REGISTER_AI=true leaves it on, also against .env.tekton', async () => {
    const files = {'.env.tekton': 'TEKTON_REGISTER_AI=false'};
    expect((await fleet(yaml, {}, files)).enabled).toBe(false);
    expect((await fleet(yaml, {environment: {TEKTON_REGISTER_AI: 'true'}}, files)).enabled).toBe(true);
  });

  it('TEKTON_CORE_AI_MODEL means tekton_core, and an empty variable means nothing', async () => {
    const loaded = await fleet(yaml, {environment: {TEKTON_CORE_AI_MODEL: 'm', ATHENA_AI_MODEL: ''}});
    expect(loaded.specialists.map(({spec}) => spec.model)).toEqual(['llama3.3:70b', 'm']);
  });

  it('TEKTON_AI_PROVIDER that is no provider is an error at its place', async () => {
    const [fromEnvironment] = await problemsOf({'tekton-ai.yaml': yaml}, {environment: {TEKTON_AI_PROVIDER: 'olama'}});
    expect(fromEnvironment).toMatchObject({
      file: 'environment variable TEKTON_AI_PROVIDER',
      message: 'TEKTON_AI_PROVIDER: there is no provider `olama`',
      hint: 'did you mean `ollama`?',
    });
    const [fromFile] = await problemsOf({'tekton-ai.yaml': yaml, '.env.tekton': '# x\nTEKTON_AI_PROVIDER=olama\n'});
    expect(fromFile).toMatchObject({file: expect.stringMatching(/\.env\.tekton$/), line: 2, column: 1});
  });

  it('OLLAMA_HOST is the address of an Ollama that declares none, and part of what is declared', async () => {
    const loaded = await fleet(yaml, {environment: {OLLAMA_HOST: 'gpu-box'}});
    const athena = named(loaded, 'athena');
    expect(athena.provider.baseUrl).toBe('http://gpu-box:11434');
    expect(athena.declared['provider.baseUrl']).toBe('http://gpu-box:11434');
    expect(athena.origins['provider.baseUrl']).toEqual({type: 'env', variable: 'OLLAMA_HOST'});
    const [problem] = await problemsOf({'tekton-ai.yaml': yaml}, {environment: {OLLAMA_HOST: 'http://me:pw@gpu-box'}});
    expect(problem?.message).toMatch(/^OLLAMA_HOST holds a password/);
  });

  it('are recorded so that a reload with the record alone gives the same fleet, whatever is added to it', async () => {
    const environment = {
      ATHENA_AI_MODEL: 'm',
      ZEUS_AI_MODEL: 'z',
      TEKTON_AI_PROVIDER: 'anthropic',
      HOME: '/root',
      ANTHROPIC_API_KEY: 'k',
    };
    const folder = await folderOf({'tekton-ai.yaml': yaml});
    const [first] = await load(folder, {environment});
    expect(first?.overrides).toEqual({ATHENA_AI_MODEL: 'm', TEKTON_AI_PROVIDER: 'anthropic', ZEUS_AI_MODEL: 'z'});
    expect(await load(folder, {environment: first?.overrides ?? {}})).toEqual([first]);
  });
});

describe('providers', () => {
  it('are declared field by field, their secrets as references with absolute files', async () => {
    const loaded = await fleet(
      fleetYaml(`
  providers:
    lab: {type: openai, baseUrl: "http://lab/v1", apiKey: {file: keys/lab.key}, defaultModel: q}
    fake: {type: scripted, script: ./answers.yaml}
    ollama: {type: ollama, baseUrl: "http://box:1", keepAlive: 5m}
  specialists:
    - {component: athena, provider: lab}
    - {component: hermes, provider: fake}
    - {component: apollo, provider: auto}
`),
    );
    const file = loaded.files[0] ?? '';
    const folder = file.replace(/\/[^/]*$/, '');
    expect(named(loaded, 'athena').provider).toEqual({
      name: 'lab',
      type: 'openai',
      baseUrl: 'http://lab/v1',
      apiKey: {file: join(folder, 'keys/lab.key')},
      defaultModel: 'q',
    });
    expect(named(loaded, 'athena').declared).toEqual({
      component: 'athena',
      provider: 'lab',
      model: 'q',
      'provider.type': 'openai',
      'provider.baseUrl': 'http://lab/v1',
      'provider.apiKey.file': join(folder, 'keys/lab.key'),
    });
    expect(named(loaded, 'athena').origins['model']).toEqual({type: 'file', file, line: 7});
    expect(named(loaded, 'hermes').provider.script).toBe(join(folder, 'answers.yaml'));
    expect(named(loaded, 'apollo').provider).toEqual({
      name: 'auto',
      type: 'auto',
      baseUrl: 'http://box:1',
      keepAlive: '5m',
      apiKey: {env: 'ANTHROPIC_API_KEY'},
    });
    expect(named(loaded, 'apollo').declared).toEqual({
      component: 'apollo',
      provider: 'auto',
      'provider.baseUrl': 'http://box:1',
      'provider.keepAlive': '5m',
    });
  });

  it('lend an undeclared auto what holds for calls to them', async () => {
    const loaded = await fleet(
      fleetYaml(`
  providers:
    ollama: {type: ollama, maxConcurrency: 2}
    anthropic: {type: anthropic, maxConcurrency: 9, prices: {"*": {input: 3, output: 15}}}
  specialists: [{component: apollo, provider: auto}]
`),
    );
    const apollo = named(loaded, 'apollo');
    expect(apollo.provider.choices).toEqual({
      ollama: {maxConcurrency: 2},
      anthropic: {maxConcurrency: 9, prices: {'*': {input: 3, output: 15}}},
    });
    expect(apollo.declared).toMatchObject({
      'provider.choices.ollama.maxConcurrency': 2,
      'provider.choices.anthropic.maxConcurrency': 9,
      'provider.choices.anthropic.prices.*.input': 3,
    });
    expect(apollo.origins['provider.choices.ollama.maxConcurrency']).toMatchObject({type: 'file', line: 7});
  });

  it('that are declared under a built-in name replace it', async () => {
    const loaded = await fleet(
      fleetYaml('  providers:\n    offline: {type: anthropic}\n  specialists: [{component: a, provider: offline}]\n'),
    );
    expect(named(loaded, 'a').provider).toEqual({
      name: 'offline',
      type: 'anthropic',
      apiKey: {env: 'ANTHROPIC_API_KEY'},
    });
  });
});

describe('expertise', () => {
  const expertiseYaml = (name: string, spec: string) =>
    `apiVersion: tekton.ai/v1alpha1\nkind: Expertise\nmetadata: {name: ${name}}\nspec: ${spec}\n`;

  it('of an alias is its target’s, but for the fields that the alias states itself', async () => {
    const asked: string[] = [];
    const loaded = await fleet(
      fleetYaml(`
  include: [expertise/*.yaml]
  specialists:
    - component: budget
`),
      {
        shippedExpertise: component => {
          asked.push(component);
          return Promise.resolve(catalogue);
        },
      },
      {
        'expertise/budget.yaml': expertiseYaml('budget', '{aliasOf: penia, title: Purse}'),
        'expertise/penia.yaml': expertiseYaml('penia', '{title: Theirs, focus: money}'),
      },
    );
    expect(asked).toEqual(['penia']);
    expect(named(loaded, 'budget').spec.expertise).toEqual({...catalogue, title: 'Purse', focus: 'money'});
  });

  it('is the shipped one under the included one under that of the defaults under the specialist’s own', async () => {
    const loaded = await fleet(
      fleetYaml(`
  include: [expertise/*.yaml]
  defaults:
    expertise: {personality: terse}
  specialists:
    - component: athena
      expertise: {title: Mine, refersTo: {hermes: mail}}
`),
      {shippedExpertise: () => Promise.resolve(catalogue)},
      {'expertise/athena.yaml': expertiseYaml('athena', '{title: Theirs, focus: theirs, personality: loud}')},
    );
    const {spec, declared, origins} = named(loaded, 'athena');
    expect(spec.expertise).toEqual({
      ...catalogue,
      title: 'Mine',
      focus: 'theirs',
      personality: 'terse',
      refersTo: {hermes: 'mail'},
    });
    expect(declared).toEqual({
      component: 'athena',
      'expertise.title': 'Mine',
      'expertise.focus': 'theirs',
      'expertise.personality': 'terse',
      'expertise.refersTo.hermes': 'mail',
    });
    expect(origins['expertise.focus']).toEqual({type: 'file', file: loaded.files[1], line: 4});
  });

  it('that is shipped is asked for by the platform’s spelling and isn’t declared', async () => {
    const asked: string[] = [];
    const shippedExpertise = (component: string) => {
      asked.push(component);
      return Promise.resolve(catalogue);
    };
    const loaded = await fleet(fleetYaml('  specialists: [{component: tekton-core}]\n'), {shippedExpertise});
    expect(asked).toEqual(['tekton_core']);
    expect(loaded.specialists[0]).toMatchObject({spec: {expertise: catalogue}, declared: {component: 'tekton_core'}});
  });
});

describe('sources', () => {
  const specialist = (name: string, more = '') =>
    `apiVersion: tekton.ai/v1alpha1\nkind: Specialist\nmetadata: {name: ${name}${more}}\nspec: {component: ${name}}\n`;
  const empty = fleetYaml('  specialists: []\n');
  const names = (loaded: readonly LoadedFleet[]) =>
    loaded.map(({name, specialists}) => [name, specialists.map(({aiId}) => aiId)]);

  it('may hold several documents: specialists beside one fleet belong to it', async () => {
    const loaded = await fleet(
      `${fleetYaml('  specialists: [{component: a}]\n')}---\n${specialist('b', ', labels: {tier: x}')}`,
    );
    expect(loaded.specialists.map(({aiId, labels}) => [aiId, labels])).toEqual([
      ['a-ai', {}],
      ['b-ai', {tier: 'x'}],
    ]);
  });

  it('may be several files; bare specialists make up the fleet default', async () => {
    const folder = await folderOf({
      'tekton-ai.yaml': fleetYaml('  specialists: [{component: a}]\n'),
      'b.yaml': specialist('b'),
      'c.yaml': specialist('c'),
    });
    const loaded = await load(folder, {paths: ['b.yaml', 'tekton-ai.yaml', 'c.yaml', './b.yaml']});
    expect(names(loaded)).toEqual([
      ['dev', ['a-ai']],
      ['default', ['b-ai', 'c-ai']],
    ]);
    expect(loaded[1]?.source).toEqual({type: 'files', paths: [join(folder, 'b.yaml'), join(folder, 'c.yaml')]});
  });

  it('may be a folder: its YAML files, not those below, not hidden ones', async () => {
    const folder = await folderOf({
      'fleet/a.yaml': specialist('a'),
      'fleet/b.yml': specialist('b'),
      'fleet/.c.yaml': 'x',
      'fleet/d.txt': 'x',
      'fleet/e/f.yaml': 'x',
    });
    const [loaded] = await load(folder, {paths: ['fleet']});
    expect(loaded?.specialists.map(({name}) => name)).toEqual(['a', 'b']);
    expect(loaded?.source).toEqual({type: 'files', paths: [join(folder, 'fleet')]});
    expect(loaded?.watch).toContain(join(folder, 'fleet'));
  });

  it('may be standard input; what it names is relative to the working folder', async () => {
    const folder = await folderOf({'x.yaml': specialist('x')});
    const stdin = fleetYaml('  include: [x.yaml]\n  defaults: {auth: {token: {file: t}}}\n');
    const [loaded] = await load(folder, {paths: ['-'], readStdin: () => Readable.from([Buffer.from(stdin)])});
    expect(loaded).toMatchObject({name: 'dev', source: {type: 'stdin'}, files: [join(folder, 'x.yaml')]});
    expect(loaded?.specialists[0]?.spec.auth).toEqual({token: {file: join(folder, 't')}});
  });

  it('that a fleet includes aren’t read as bare ones too', async () => {
    const folder = await folderOf({'tekton-ai.yaml': fleetYaml('  include: [b.yaml]\n'), 'b.yaml': specialist('b')});
    expect(names(await load(folder, {paths: ['.']}))).toEqual([['dev', ['b-ai']]]);
  });

  it('in another namespace give longer ai ids', async () => {
    const lab = fleetYaml('  specialists: [{component: tekton_core}]\n').replace(
      'name: dev',
      'name: dev\n  namespace: lab',
    );
    expect(names([await fleet(lab)])).toEqual([['dev', ['lab.tekton_core-ai']]]);
    const folder = await folderOf({'a.yaml': specialist('a', ', namespace: lab')});
    expect(names(await load(folder, {paths: ['a.yaml']}))).toEqual([['default', ['lab.a-ai']]]);
  });

  it('are watched with the folders of their patterns and .env.tekton, which need not exist', async () => {
    const loaded = await fleet(
      fleetYaml('  include: [one.yaml, "more/*.yaml", "deep/**/*.yaml"]\n'),
      {},
      {
        'one.yaml': specialist('a'),
        'more/b.yaml': specialist('b'),
        'deep/er/c.yaml': specialist('c'),
        'deep/er/node_modules/d.yaml': 'x',
      },
    );
    const folder = loaded.files[0]?.replace(/\/tekton-ai.yaml$/, '') ?? '';
    const files = ['tekton-ai.yaml', 'one.yaml', 'more/b.yaml', 'deep/er/c.yaml'].map(name => join(folder, name));
    expect(loaded.files).toEqual(files);
    expect(loaded.watch).toEqual([
      ...files,
      join(folder, 'more'),
      join(folder, 'deep/**'),
      join(folder, '.env.tekton'),
    ]);
    expect(loaded.envFile).toBeUndefined();
  });

  it('say so where a pattern matches nothing and where nothing is declared', async () => {
    const loaded = await fleet(fleetYaml('  include: ["none/*.yaml"]\n'));
    expect(loaded.notices).toEqual([
      'include `none/*.yaml` of tekton-ai.yaml matches no file',
      'fleet `dev` declares no specialists',
    ]);
  });

  it('that can’t be read are an error, never an empty fleet', async () => {
    const folder = await folderOf({'tekton-ai.yaml': empty});
    await mkdir(join(folder, 'void'));
    await expect(load(folder, {paths: ['gone.yaml']})).rejects.toEqual(
      expect.objectContaining({
        name: 'SourceUnavailableError',
        message: 'cannot read gone.yaml: there is no such file',
      }),
    );
    await expect(load(folder, {paths: ['void']})).rejects.toEqual(
      expect.objectContaining({
        name: 'SourceUnavailableError',
        message: 'cannot read void: the folder has no YAML files',
      }),
    );
    await expect(load(folder, {paths: []})).rejects.toThrow(SourceUnavailableError);
  });

  it('must agree with each other', async () => {
    const problems = await problemsOf(
      {
        'a.yaml': fleetYaml('  specialists: [{component: a, port: 45005}]\n'),
        'b.yaml': fleetYaml('  specialists: [{component: b, port: 45005}, {component: a}]\n'),
        'c.yaml': `${fleetYaml('').replace('spec:', 'spec: {}').replace('dev', 'c')}---\n${empty.replace('dev', 'd')}---\n${specialist('x')}`,
        'd.yaml': `${empty.replace('dev', 'e')}---\n${specialist('y', ', namespace: lab')}`,
      },
      {paths: ['.']},
    );
    expect(problems.map(({file, line, message}) => `${file}:${line} ${message}`)).toEqual([
      'b.yaml:4 a fleet `dev` is already declared in a.yaml',
      'b.yaml:6 port 45005 is already pinned by `a` at a.yaml:6',
      'b.yaml:6 the name `a` is already taken by a.yaml:6',
      'c.yaml:15 this file has 2 fleets: which does it belong to?',
      'd.yaml:10 namespace `lab` is not that of the fleet `e`, which is `default`',
    ]);
  });

  it('may not include a fleet', async () => {
    const problems = await problemsOf({
      'tekton-ai.yaml': fleetYaml('  include: [b.yaml]\n'),
      'b.yaml': empty.replace('dev', 'b'),
    });
    expect(problems).toEqual([
      expect.objectContaining({file: 'b.yaml', line: 2, column: 7, message: 'a fleet cannot be included in a fleet'}),
    ]);
  });
});

describe('dependsOn', () => {
  it('takes a component in its own spelling, and of the defaults not the one that is named itself', async () => {
    const loaded = await fleet(
      fleetYaml(
        '  defaults: {dependsOn: [tekton_core]}\n  specialists: [{component: tekton_core}, {component: a}, {component: b, dependsOn: []}]\n',
      ),
    );
    expect(loaded.specialists.map(({spec}) => spec.dependsOn)).toEqual([[], ['tekton-core'], []]);
  });

  it('may be five thousand long', async () => {
    const rows = Array.from({length: 5000}, (_, i) => `    - {component: c${i}, dependsOn: [c${i + 1}]}`);
    const loaded = await fleet(fleetYaml(`  specialists:\n${rows.join('\n')}\n    - {component: c5000}\n`));
    expect(loaded.specialists).toHaveLength(5001);
  });
});

test('the sample of the root folder loads', async () => {
  const [loaded] = await load(join(import.meta.dirname, '..', '..'));
  expect(loaded?.specialists.length).toBeGreaterThanOrEqual(6);
  expect(loaded?.specialists.every(({spec}) => spec.provider === 'auto')).toBe(true);
});
