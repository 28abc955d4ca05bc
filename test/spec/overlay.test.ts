/** Fleets over fleets: what they come to, and where each value says that it was written. */
import {join} from 'node:path';
import {describe, expect, it, test} from '@jest/globals';
import fc from 'fast-check';
import type {Desired, Json, LoadedFleet} from '../../src/api/types.js';
import {folderOf, load, problemsOf} from './files.js';

/** A fleet document around the lines of a `spec`, which begins in line 5. */
function document(name: string, spec: string, more = ''): string {
  return `apiVersion: tekton.ai/v1alpha1\nkind: Fleet\nmetadata: {name: ${name}}\nspec:\n${spec.replace(/^\n/, '')}${more}`;
}

const specialistDocument = (name: string, spec: string): string =>
  `apiVersion: tekton.ai/v1alpha1\nkind: Specialist\nmetadata: {name: ${name}, labels: {from: base}}\nspec:\n${spec}`;

async function overlay(
  base: string,
  over: string,
  files: Readonly<Record<string, string>> = {},
): Promise<{folder: string; fleet: LoadedFleet}> {
  const folder = await folderOf({
    'base/tekton-ai.yaml': document('base', base),
    'dev/tekton-ai.yaml': document('dev', `  bases: [../base]\n${over.replace(/^\n/, '')}`),
    ...files,
  });
  const [fleet] = await load(folder, {paths: ['dev/tekton-ai.yaml']});
  if (!fleet) throw new Error('nothing was loaded');
  return {folder, fleet};
}

function named({specialists}: LoadedFleet, name: string): Desired {
  const found = specialists.find(specialist => specialist.name === name);
  if (!found) throw new Error(`${name} is not among ${specialists.map(one => one.name).join(', ')}`);
  return found;
}

const base = `
  defaults: {provider: offline, model: base-model}
  specialists:
    - component: athena
      labels: {team: research, tier: one}
      parameters: {temperature: 0.1, seed: 7, stop: [a, b]}
      env: {A: one, B: {env: SECRET_B}}
      dependsOn: [hermes]
    - component: hermes
      restartPolicy: OnFailure
`;

describe('a specialist of a base', () => {
  test.each<[what: string, over: string, fields: Readonly<Record<string, Json | undefined>>]>([
    [
      'keeps what the overlay says nothing of',
      '{component: hermes, model: m}',
      {'parameters.seed': 7, model: 'base-model'},
    ],
    [
      'is merged with an entry of its component',
      '{component: athena, model: own}',
      {model: 'own', 'parameters.seed': 7},
    ],
    ['is merged with an entry of its name', '{name: athena, model: own}', {model: 'own', component: 'athena'}],
    [
      'keeps the fields of a mapping beside new ones',
      '{name: athena, parameters: {temperature: 0.9}}',
      {'parameters.temperature': 0.9, 'parameters.seed': 7},
    ],
    [
      'loses its list to another',
      '{name: athena, parameters: {stop: [c]}}',
      {'parameters.stop': ['c'], 'parameters.seed': 7},
    ],
    [
      'loses a field to null',
      '{name: athena, parameters: {seed: null}}',
      {'parameters.seed': undefined, 'parameters.temperature': 0.1},
    ],
    ['loses a mapping to null', '{name: athena, env: null}', {'env.A': undefined, 'env.B.env': undefined}],
    ['loses a list to null', '{name: athena, dependsOn: null}', {dependsOn: undefined}],
    [
      'has a reference to a secret replaced as one',
      '{name: athena, env: {B: {file: ./b.key}}}',
      {'env.B.env': undefined},
    ],
    [
      'has a text replaced by a reference',
      '{name: athena, env: {A: {env: OTHER}}}',
      {'env.A': undefined, 'env.A.env': 'OTHER'},
    ],
    [
      'is replaced whole',
      '{component: athena, $patch: replace, model: own}',
      {model: 'own', 'parameters.seed': undefined, dependsOn: undefined},
    ],
  ])('%s', async (_, over, fields) => {
    const {fleet} = await overlay(base, `  specialists:\n    - ${over}\n`);
    const {declared} = named(fleet, 'athena');
    for (const [path, value] of Object.entries(fields)) expect([path, declared[path]]).toEqual([path, value]);
  });

  it('is left out by `$patch: delete`, and new ones follow', async () => {
    const {fleet} = await overlay(
      base,
      '  specialists:\n    - {name: hermes, $patch: delete}\n    - {component: metis}\n    - {name: athena, dependsOn: null}\n',
    );
    expect(fleet.specialists.map(({name}) => name)).toEqual(['athena', 'metis']);
    expect(named(fleet, 'athena').labels).toEqual({team: 'research', tier: 'one'});
  });

  it('may come from a document that the base includes', async () => {
    const {fleet, folder} = await overlay(
      '  include: [specialists/*.yaml]\n',
      '  specialists:\n    - {name: athena, parameters: {seed: 9}, labels: {by: dev}}\n',
      {'base/specialists/athena.yaml': specialistDocument('athena', '  component: athena\n  env: {K: {file: ./k}}\n')},
    );
    const athena = named(fleet, 'athena');
    expect(athena.labels).toEqual({from: 'base', by: 'dev'});
    expect(athena.spec).toMatchObject({component: 'athena', parameters: {seed: 9}});
    expect(athena.spec.env).toEqual({K: {file: join(folder, 'base/specialists/k')}});
  });
});

describe('of the fleet itself', () => {
  it('name and namespace come from the overlay, other fields are merged', async () => {
    const {fleet} = await overlay(
      `${base}  ports: {from: 45000, to: 45100}\n  driftPolicy: warn\n  providers: {lab: {type: openai, baseUrl: http://127.0.0.1:1/v1, keepAlive: 5m}}\n`,
      '  driftPolicy: null\n  ports: {to: 46000}\n  providers: {lab: {baseUrl: http://127.0.0.1:2/v1}}\n  defaults: {provider: lab, model: null}\n  specialists:\n    - {name: athena, model: m}\n    - {name: hermes, model: m}\n',
    );
    expect(fleet).toMatchObject({
      name: 'dev',
      namespace: 'default',
      ports: {from: 45000, to: 46000},
      driftPolicy: 'heal',
    });
    expect(named(fleet, 'athena').provider).toEqual({
      name: 'lab',
      type: 'openai',
      baseUrl: 'http://127.0.0.1:2/v1',
      keepAlive: '5m',
    });
  });

  it.each([
    [
      'driftPolicy: {default: warn, fields: {model: heal}}',
      'driftPolicy: {fields: {model: ignore, parameters.*: warn}}',
      'warn',
    ],
    ['driftPolicy: warn', 'driftPolicy: {fields: {model: ignore, parameters.*: warn}}', 'heal'],
  ])('drift policies are merged field by field: %s and %s', async (below, above, byDefault) => {
    const {fleet} = await overlay(`${base}  ${below}\n`, `  ${above}\n`);
    expect(fleet.driftPolicy).toEqual({default: byDefault, fields: {model: 'ignore', 'parameters.*': 'warn'}});
  });

  it('every layer has its own includes, and of two Expertise documents the upper one counts', async () => {
    const expertise = (title: string): string =>
      `apiVersion: tekton.ai/v1alpha1\nkind: Expertise\nmetadata: {name: athena}\nspec: {title: ${title}}\n`;
    const {fleet} = await overlay(
      '  include: [e.yaml]\n  specialists: [{component: athena}]\n',
      '  include: [e.yaml]\n',
      {
        'base/e.yaml': expertise('base'),
        'dev/e.yaml': expertise('dev'),
      },
    );
    expect(named(fleet, 'athena').spec.expertise.title).toBe('dev');
  });

  it('a diamond of bases is laid over once, the last word wins', async () => {
    const folder = await folderOf({
      'd.yaml': document('d', '  specialists:\n    - {component: athena, model: d, parameters: {seed: 1}}\n'),
      'b.yaml': document('b', '  bases: [d.yaml]\n  specialists: [{name: athena, model: b}]\n'),
      'c.yaml': document('c', '  bases: [d.yaml]\n  specialists: [{name: athena, parameters: {topP: 0.5}}]\n'),
      'tekton-ai.yaml': document('a', '  bases: [b.yaml, c.yaml]\n'),
    });
    const [fleet] = await load(folder);
    expect(fleet && named(fleet, 'athena').declared).toEqual({
      component: 'athena',
      ...{model: 'b', 'parameters.seed': 1, 'parameters.topP': 0.5},
    });
    expect(fleet?.files).toEqual(['tekton-ai', 'b', 'd', 'c'].map(name => join(folder, `${name}.yaml`)));
    expect(fleet?.watch).toEqual(expect.arrayContaining([join(folder, 'd.yaml')]));
  });

  it('a base that lies in the same folder is no fleet of its own when the folder is named', async () => {
    const files = {
      'base.yaml': document('base', '  specialists: [{component: athena}]\n'),
      'dev.yaml': document('dev', '  bases: [base.yaml]\n'),
    };
    const folder = await folderOf(files);
    expect((await load(folder, {paths: ['.']})).map(({name}) => name)).toEqual(['dev']);
    expect((await load(folder, {paths: ['base.yaml']})).map(({name}) => name)).toEqual(['base']);
  });
});

describe('the place of a value is that of the layer that it was written in:', () => {
  const yaml = `
  defaults: {provider: offline}
  specialists:
    - component: athena
      parameters: &p
        temperature: 0.1
        seed: 7
    - component: hermes
      parameters: *p
`;
  const over = `
  specialists:
    - name: athena
      parameters:
        temperature: 0.9
  patches:
    - target: {name: 'h*'}
      patch:
        model: patched
`;
  test.each([
    ['athena', 'component', {type: 'base', file: 'base', line: 7}],
    ['athena', 'parameters.temperature', {type: 'file', file: 'dev', line: 9}],
    ['athena', 'parameters.seed', {type: 'base', file: 'base', line: 10}],
    ['hermes', 'parameters.seed', {type: 'base', file: 'base', line: 10}],
    ['hermes', 'model', {type: 'patch', file: 'dev', line: 13}],
    ['athena', 'provider', {type: 'fleet-default', file: 'base', line: 5}],
  ] as const)('%s %s', async (name, path, {file, ...origin}) => {
    const {folder, fleet} = await overlay(yaml, over);
    expect(named(fleet, name).origins[path]).toEqual({...origin, file: join(folder, file, 'tekton-ai.yaml')});
  });

  it('files are relative to it', async () => {
    const {folder, fleet} = await overlay(
      '  providers:\n    s: {type: scripted, script: ./s.yaml, apiKey: {file: ./b.key}}\n  specialists: [{component: athena, provider: s, auth: {token: {file: ./t}}}]\n',
      '  providers: {s: {apiKey: {file: ./d.key}}}\n',
    );
    const athena = named(fleet, 'athena');
    expect(athena.provider).toMatchObject({
      script: join(folder, 'base/s.yaml'),
      apiKey: {file: join(folder, 'dev/d.key')},
    });
    expect(athena.spec.auth).toEqual({token: {file: join(folder, 'base/t')}});
  });
});

describe('patches', () => {
  test.each<[target: string, meant: readonly string[]]>([
    ['{name: athena}', ['athena']],
    ['{name: "*"}', ['athena', 'hermes', 'own']],
    ['{name: "a*a"}', ['athena']],
    ['{component: tekton_core}', ['own']],
    ['{component: tekton-core}', ['own']],
    ['{labels: {team: research}}', ['athena', 'own']],
    ['{labels: {team: research}, name: "o*"}', ['own']],
    ['{name: nobody, optional: true}', []],
  ])('for %s mean %j', async (target, meant) => {
    const folder = await folderOf({
      'tekton-ai.yaml': document(
        'dev',
        `  include: [own.yaml]\n  defaults: {provider: offline}\n  specialists: [{component: athena, labels: {team: research}}, {component: hermes, parameters: {seed: 1}}]\n  patches: [{target: ${target}, patch: {parameters: {seed: 2}}}]\n`,
      ),
      'own.yaml': specialistDocument('own', '  component: tekton_core\n').replace('from: base', 'team: research'),
    });
    const [fleet] = await load(folder);
    const changed = fleet?.specialists.filter(({spec}) => spec.parameters.seed === 2).map(({name}) => name);
    expect(changed).toEqual(meant);
  });

  it('are applied in order, those of a base before what lies over it', async () => {
    const {fleet} = await overlay(
      `${base}  patches:\n    - {target: {name: athena}, patch: {model: base-patch, labels: {tier: two}}}\n`,
      '  specialists: [{name: athena, parameters: {seed: 3}}]\n  patches:\n    - {target: {labels: {tier: two}}, patch: {parameters: {seed: 4, topP: 0.1}}}\n    - {target: {name: athena}, patch: {parameters: {seed: null}}}\n',
    );
    expect(named(fleet, 'athena').declared).toMatchObject({model: 'base-patch', 'parameters.topP': 0.1});
    expect(named(fleet, 'athena').declared).not.toHaveProperty(['parameters.seed']);
  });

  it('thousands of them for thousands of specialists take seconds at most', async () => {
    const specialists = Array.from({length: 1000}, (_, i) => `    - {component: c${i}, provider: offline}\n`).join('');
    const patches = Array.from(
      {length: 2000},
      (_, i) => `    - {target: {name: c${i % 1000}}, patch: {parameters: {seed: ${i}}}}\n`,
    );
    const yaml = document('dev', `  specialists:\n${specialists}  patches:\n${patches.join('')}`);
    const [fleet] = await load(await folderOf({'tekton-ai.yaml': yaml}));
    expect(fleet && named(fleet, 'c999').spec.parameters.seed).toBe(1999);
  }, 20_000);
});

describe('what is wrong is told where it stands:', () => {
  const over = (spec: string) => ({
    'base/tekton-ai.yaml': document('base', base),
    'dev/tekton-ai.yaml': document('dev', `  bases: [../base]\n${spec}`),
  });
  test.each<[what: string, files: Readonly<Record<string, string>>, problems: readonly string[]]>([
    [
      'a name that the bases lack',
      over('  specialists: [{name: athen, model: x}]\n'),
      ['dev/tekton-ai.yaml:6:24: the bases have no specialist `athen` (did you mean `athena`?)'],
    ],
    [
      'a name to be deleted that the bases lack',
      over('  specialists: [{component: herme, $patch: delete}]\n'),
      ['dev/tekton-ai.yaml:6:29: the bases have no specialist `herme` (did you mean `hermes`?)'],
    ],
    [
      'more than a name beside delete',
      over('  specialists: [{name: hermes, $patch: delete, model: x}]\n'),
      ['dev/tekton-ai.yaml:6:48: `model` says nothing beside `$patch: delete`'],
    ],
    [
      'another word for `$patch`',
      over('  specialists: [{name: hermes, $patch: remove}]\n'),
      ['dev/tekton-ai.yaml:6:40: `$patch` must be one of delete, replace'],
    ],
    [
      'a name that is there twice',
      over('  specialists: [{name: hermes}, {name: hermes, model: x}]\n'),
      ['dev/tekton-ai.yaml:6:40: `specialists` names `hermes` twice'],
    ],
    [
      'neither name nor component',
      over('  specialists: [{model: x}]\n'),
      ['dev/tekton-ai.yaml:6:17: `name` is missing: whom of the bases does this mean?'],
    ],
    [
      'a field that nobody knows, in both layers at once',
      {
        'base/tekton-ai.yaml': document('base', '  specialists: [{component: athena, modle: x}]\n'),
        'dev/tekton-ai.yaml': document('dev', '  bases: [../base]\n  specialists: [{name: athena, modle: x}]\n'),
      },
      [
        'dev/tekton-ai.yaml:6:32: unknown field `modle` (did you mean `model`?)',
        'base/tekton-ai.yaml:5:37: unknown field `modle` (did you mean `model`?)',
      ],
    ],
    [
      'what only the whole shows, in the layer that says it',
      over('  specialists: [{name: athena, provider: nobody}]\n'),
      ['dev/tekton-ai.yaml:6:42: there is no provider `nobody` (there are anthropic, auto, offline, ollama, scripted)'],
    ],
    [
      'a base that lacks what a fleet needs',
      {
        'base/tekton-ai.yaml': document('base', '  specialists: [{name: athena}]\n'),
        'dev/tekton-ai.yaml': document('dev', '  bases: [../base]\n'),
      },
      ['base/tekton-ai.yaml:5:17: `component` is missing'],
    ],
    [
      'what the overlay took away and a fleet needs',
      over('  specialists: [{name: athena, component: null}]\n'),
      ['base/tekton-ai.yaml:7:7: `component` is missing'],
    ],
    [
      '`$patch` without bases',
      {'dev/tekton-ai.yaml': document('dev', '  specialists: [{component: athena, $patch: delete}]\n')},
      ['dev/tekton-ai.yaml:5:37: unknown field `$patch`'],
    ],
    [
      'a patch for nobody',
      over('  patches: [{target: {name: athen}, patch: {model: x}}]\n'),
      ['dev/tekton-ai.yaml:6:22: this patch means no specialist (did you mean `athena`?)'],
    ],
    [
      'a patch that is none',
      over('  patches: [{target: {}, patch: {name: x}}]\n'),
      [
        'dev/tekton-ai.yaml:6:22: `target` needs at least one of `name`, `component`, `labels`, `optional`',
        'dev/tekton-ai.yaml:6:34: unknown field `name`',
      ],
    ],
    [
      'a base that is not there',
      {'dev/tekton-ai.yaml': document('dev', '  bases: [../basis]\n')},
      ['dev/tekton-ai.yaml:5:11: cannot read the base `../basis`: there is no such file or folder'],
    ],
    [
      'a base that is no fleet',
      {
        'dev/tekton-ai.yaml': document('dev', '  bases: [a.yaml]\n'),
        'dev/a.yaml': specialistDocument('a', '  component: a\n'),
      },
      ['dev/tekton-ai.yaml:5:11: `a.yaml` has no Fleet document'],
    ],
    [
      'a base that is two',
      {
        'dev/tekton-ai.yaml': document('dev', '  bases: [../two]\n'),
        'two/a.yaml': document('a', '  enabled: true\n'),
        'two/b.yaml': document('b', '  enabled: true\n'),
      },
      ['dev/tekton-ai.yaml:5:11: `../two` has 2 fleets, and a base is one (name the file of the one that is meant)'],
    ],
    [
      'a circle of bases',
      {
        'dev/tekton-ai.yaml': document('dev', '  bases: [../a.yaml]\n'),
        'a.yaml': document('a', '  bases: [b.yaml]\n'),
        'b.yaml': document('b', '  bases: [a.yaml]\n'),
      },
      ['b.yaml:5:11: `bases` go round in a circle: a.yaml → b.yaml → a.yaml'],
    ],
    [
      'a fleet that lies over itself',
      {'dev/tekton-ai.yaml': document('dev', '  bases: [.]\n')},
      ['dev/tekton-ai.yaml:5:11: `bases` go round in a circle: dev/tekton-ai.yaml → dev/tekton-ai.yaml'],
    ],
    [
      'a key that is none',
      over('  specialists: [{name: athena, parameters: {__proto__: {x: 1}}}]\n'),
      ['dev/tekton-ai.yaml:6:45: the key `__proto__` is not allowed'],
    ],
    [
      'a specialist of another namespace',
      {
        ...over('  include: [a.yaml]\n'),
        'dev/a.yaml': specialistDocument('a', '  component: a\n').replace('name: a,', 'name: a, namespace: x,'),
      },
      ['dev/a.yaml:3:32: namespace `x` is not that of the fleet `dev`, which is `default`'],
    ],
  ])('%s', async (_, files, expected) => {
    const found = await problemsOf(files, {paths: ['dev/tekton-ai.yaml']});
    const lines = found.map(
      ({file, line, column, message, hint}) =>
        `${file}:${line}:${column}: ${message}${hint !== undefined && expected.some(e => e.includes(`(${hint})`)) ? ` (${hint})` : ''}`,
    );
    expect(lines).toEqual(expected);
  });

  it('bases that have bases, too many times', async () => {
    const chain = Object.fromEntries(
      Array.from({length: 20}, (_, i) => [
        `${i}.yaml`,
        document(`f${i}`, i === 19 ? '  enabled: true\n' : `  bases: [${i + 1}.yaml]\n`),
      ]),
    );
    const [problem] = await problemsOf(chain, {paths: ['0.yaml']});
    expect(problem?.file).toBe('16.yaml');
    expect(problem?.message).toContain('bases have bases more than 16 deep: 0.yaml → 1.yaml');
  });

  it('a base outside of the repository', async () => {
    const folder = await folderOf({
      'repo/tekton-ai.yaml': document('dev', '  bases: [../base]\n'),
      'base/tekton-ai.yaml': document('base', base),
    });
    const root = join(folder, 'repo');
    await expect(load(root, {within: {root, as: root}})).rejects.toMatchObject({
      problems: [{line: 5, message: 'cannot read the base `../base`: it lies outside of the repository'}],
    });
  });
});

describe('whatever the fleet is,', () => {
  const specialist = fc.record(
    {
      model: fc.constantFrom('m', 'n'),
      labels: fc.dictionary(fc.constantFrom('a', 'b'), fc.constantFrom('x', 'y')),
      parameters: fc.record(
        {seed: fc.nat(9), stop: fc.array(fc.constantFrom('p', 'q'), {maxLength: 2})},
        {requiredKeys: []},
      ),
      env: fc.dictionary(fc.constantFrom('A', 'B'), fc.oneof(fc.constant('text'), fc.constant({env: 'S'}))),
    },
    {requiredKeys: []},
  );
  const specialists = fc
    .uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), {minLength: 1})
    .chain(names => fc.tuple(...names.map(component => specialist.map(fields => ({component, ...fields})))));
  const hashes = (fleets: readonly LoadedFleet[]) =>
    fleets[0]?.specialists.map(({name, specHash, labels}) => [name, specHash, labels]);
  const fleetOf = (name: string, spec: object): string =>
    JSON.stringify({apiVersion: 'tekton.ai/v1alpha1', kind: 'Fleet', metadata: {name}, spec});

  it('an empty overlay changes nothing of it', async () => {
    await fc.assert(
      fc.asyncProperty(specialists, async list => {
        const folder = await folderOf({
          'a.yaml': fleetOf('f', {specialists: list}),
          'b.yaml': fleetOf('f', {bases: ['a.yaml']}),
        });
        const [under, over] = [await load(folder, {paths: ['a.yaml']}), await load(folder, {paths: ['b.yaml']})];
        expect(hashes(over)).toEqual(hashes(under));
      }),
      {numRuns: 30},
    );
  });

  it('patches of different fields may come in any order', async () => {
    const patches = [
      {target: {name: '*'}, patch: {parameters: {seed: 42}}},
      {target: {name: 'a', optional: true}, patch: {model: 'other'}},
      {target: {component: 'b', optional: true}, patch: {env: {A: null}}},
    ];
    await fc.assert(
      fc.asyncProperty(specialists, fc.shuffledSubarray(patches, {minLength: 3}), async (list, order) => {
        const folder = await folderOf({
          'a.yaml': fleetOf('f', {specialists: list, patches}),
          'b.yaml': fleetOf('f', {specialists: list, patches: order}),
        });
        expect(hashes(await load(folder, {paths: ['b.yaml']}))).toEqual(
          hashes(await load(folder, {paths: ['a.yaml']})),
        );
      }),
      {numRuns: 20},
    );
  });
});
