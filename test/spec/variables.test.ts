/** Variables of a fleet: what stands for `${NAME}`, where its value is from, and what is told of those that have none. */
import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {describe, expect, it, test} from '@jest/globals';
import {trustOf} from '../../src/api/trust.js';
import type {Json, LoadedFleet, Origin} from '../../src/api/types.js';
import type {LoadOptions} from '../../src/spec/load.js';
import {fleet, fleetYaml, folderOf, load, problemsOf} from './files.js';

/** One specialist, athena, with these fields after the definitions of these variables. */
const withVariables = (variables: string, fields: string): string =>
  fleetYaml(
    `  variables:\n${variables}\n  defaults: {provider: offline}\n  specialists:\n    - component: athena\n${fields}`,
  );

function athena({specialists}: LoadedFleet) {
  const found = specialists.find(({name}) => name === 'athena');
  if (!found) throw new Error('there is no athena');
  return found;
}

describe('the value of a variable', () => {
  const definition = '    REGION: {default: by-default, env: AWS_REGION, file: ./region.txt}';
  const all: Partial<LoadOptions> = {
    variables: {REGION: 'given'},
    environment: {TEKTON_VAR_REGION: 'own', AWS_REGION: 'named'},
  };
  const file = {'region.txt': '\n from-file \n'};
  test.each<[from: string, options: Partial<LoadOptions>, files: Record<string, string>, value: string]>([
    ['what a person gives', all, file, 'given'],
    ['its own variable of the environment', {environment: all.environment ?? {}}, file, 'own'],
    ['the variable that it names', {environment: {AWS_REGION: 'named'}}, file, 'named'],
    ['its file, trimmed', {}, file, 'from-file'],
    ['its default', {}, {}, 'by-default'],
    ['its default, where the environment says nothing', {environment: {TEKTON_VAR_REGION: ''}}, {}, 'by-default'],
  ])('is %s', async (_, options, files, value) => {
    const loaded = await fleet(withVariables(definition, '      model: in-${REGION}\n'), options, files);
    expect(athena(loaded).spec.model).toBe(`in-${value}`);
  });

  test.each<[from: string, options: Partial<LoadOptions>, file: boolean, says: 'environment' | 'file' | 'default']>([
    ['the environment', {environment: {AWS_REGION: 'x'}}, false, 'environment'],
    ['its file', {}, true, 'file'],
    ['its default', {}, false, 'default'],
  ])('says that it is from %s', async (_, options, hasFile, from) => {
    const loaded = await fleet(
      withVariables(definition, '      model: in-${REGION}\n'),
      options,
      hasFile ? {'region.txt': 'x'} : {},
    );
    const expected: Origin = {
      type: 'variable',
      variables: [{name: 'REGION', from}],
      file: expect.stringMatching(/tekton-ai\.yaml$/) as unknown as string,
      line: 11,
    };
    expect(athena(loaded).origins['model']).toEqual(expected);
  });

  it('of a file is watched, whether it is there or not', async () => {
    const folder = await folderOf({'tekton-ai.yaml': withVariables(definition, '      model: in-${REGION}\n')});
    const path = join(folder, 'region.txt');
    const [before] = await load(folder);
    expect(before?.watch).toContain(path);
    expect(before?.files).not.toContain(path);
    await writeFile(path, 'now');
    const [after] = await load(folder);
    expect(after?.files).toContain(path);
  });

  it('is recorded where the environment says it, and loads again from there', async () => {
    const folder = await folderOf({
      'tekton-ai.yaml': withVariables(definition, '      model: in-${REGION}\n'),
      'region.txt': 'other',
    });
    const [first] = await load(folder, {environment: {AWS_REGION: 'eu'}});
    expect(first?.overrides).toEqual({AWS_REGION: 'eu'});
    const [again] = await load(folder, {environment: first?.overrides ?? {}});
    expect(again?.specialists[0]?.specHash).toBe(first?.specialists[0]?.specHash);
  });
});

describe('within a document', () => {
  test.each<[what: string, fields: string, path: string, value: Json]>([
    ['a text takes it in', 'model: a-${X}-b', 'model', 'a-0.5-b'],
    ['two stand in one text', 'model: "${X}${Y}"', 'model', '0.5yes'],
    ['a plain scalar takes its type', 'parameters:\n        temperature: ${X}', 'parameters.temperature', 0.5],
    ['a plain scalar takes its truth', 'enabled: ${T}', 'enabled', true],
    ['one in quotes stays text', 'env:\n        A: "${X}"', 'env.A', '0.5'],
    ['one in quotes within braces stays text', 'env: {A: "${X}"}', 'env.A', '0.5'],
    ['`$${` stays what it means', 'env: {A: "$${X} $5"}', 'env.A', '${X} $5'],
    ['values are not filled in again', 'env: {A: "${NESTED}"}', 'env.A', '${X}'],
    ['other dollars stay', 'env: {A: "$X $$ ${X}"}', 'env.A', '$X $$ 0.5'],
    ['lists take it in', 'parameters: {stop: ["${Y}"]}', 'parameters.stop', ['yes']],
  ])('%s', async (_, fields, path, value) => {
    const variables =
      '    X: {default: 0.5}\n    Y: {default: "yes"}\n    T: {default: true}\n    NESTED: {default: "${X}"}';
    expect(athena(await fleet(withVariables(variables, `      ${fields}\n`))).declared[path]).toEqual(value);
  });

  it('stays literal where the fleet declares no variables', async () => {
    const spec = '  specialists:\n    - {component: athena, provider: offline, env: {A: "${X} $${Y}"}}\n';
    expect(athena(await fleet(fleetYaml(spec))).declared['env.A']).toBe('${X} $${Y}');
  });

  it('reaches bases, patches and included specialists, and the overlay has the last word', async () => {
    const header = (name: string): string =>
      `apiVersion: tekton.ai/v1alpha1\nkind: Fleet\nmetadata: {name: ${name}}\nspec:\n`;
    const folder = await folderOf({
      'base/tekton-ai.yaml': `${header('base')}  variables:\n    REGION: {default: base, file: ./region}\n    TIER: {default: low}\n  include: [athena.yaml]\n  patches:\n    - target: {name: "*"}\n      patch: {env: {TIER: "\${TIER}"}}\n`,
      'base/athena.yaml':
        'apiVersion: tekton.ai/v1alpha1\nkind: Specialist\nmetadata: {name: athena}\nspec:\n  component: athena\n  provider: offline\n  model: in-${REGION}\n',
      'base/region': 'from-base-file',
      'dev/tekton-ai.yaml': `${header('dev')}  bases: [../base]\n  variables:\n    TIER: {default: high}\n`,
    });
    const [dev] = await load(folder, {paths: ['dev']});
    if (!dev) throw new Error('nothing was loaded');
    expect(athena(dev).declared).toMatchObject({model: 'in-from-base-file', 'env.TIER': 'high'});
    const place = {file: join(folder, 'base/athena.yaml'), line: 7};
    expect(athena(dev).origins['model']).toMatchObject({type: 'variable', ...place});
    expect(dev.watch).toContain(join(folder, 'base/region'));
  });
});

describe('of a mistake', () => {
  test.each<[what: string, variables: string, fields: string, place: [number, number], message: RegExp, hint: RegExp]>([
    [
      'a variable without a value says what to set',
      '    REGION: {env: AWS_REGION, file: region.txt}',
      'concurrency:\n        max: ${REGION}',
      [7, 5],
      /^the variable `REGION` has no value$/,
      /--var REGION=….*TEKTON_VAR_REGION.*AWS_REGION.*region\.txt.*default/,
    ],
    [
      'an unknown name says which is meant',
      '    REGION: {default: eu}',
      'model: in-${REGOIN}',
      [11, 14],
      /^no variable `REGOIN` is declared$/,
      /did you mean `REGION`/,
    ],
    [
      'a name that does not end says so',
      '    REGION: {default: eu}',
      'model: "${REGION"',
      [11, 14],
      /begins a variable/,
      /write `\$\$\{`/,
    ],
    [
      'a value that is not among the possible ones says which are',
      '    REGION: {default: eux, enum: [eu, us]}',
      'model: ${REGION}',
      [7, 5],
      /is `eux`, and must be one of eu, us/,
      /did you mean `eu`/,
    ],
    [
      'a value of the wrong type is told where it is used',
      '    MAX: {default: many}',
      'concurrency:\n        max: ${MAX}',
      [12, 14],
      /`max` must be/,
      /^/,
    ],
    [
      'a secret by its name is refused',
      '    API_TOKEN: {default: x}',
      'model: m',
      [7, 5],
      /may hold no secret/,
      /refer to it/,
    ],
    [
      'an environment variable that holds a secret is refused',
      '    T: {env: GITHUB_TOKEN, default: x}',
      'model: m',
      [7, 14],
      /may hold no secret/,
      /refer to it/,
    ],
    [
      'a key as a value is refused',
      '    X: {default: sk-ant-api03-abcdefghijkl}',
      'model: ${X}',
      [7, 5],
      /is a secret/,
      /refer to it/,
    ],
    [
      'one without quotes within braces says that they are missing',
      '    X: {default: 1}',
      'parameters: {temperature: ${X}}',
      [11, 34],
      /not valid YAML/,
      /in quotes.*"\$\{X\}"/,
    ],
  ])('%s', async (_, variables, fields, [line, column], message, hint) => {
    const [problem] = await problemsOf({'tekton-ai.yaml': withVariables(variables, `      ${fields}\n`)});
    expect(problem).toMatchObject({file: 'tekton-ai.yaml', line, message: expect.stringMatching(message) as unknown});
    if (!/YAML/.test(problem?.message ?? '')) expect(problem?.column).toBe(column);
    expect(problem?.hint ?? '').toMatch(hint);
  });

  it('nothing else is said of a value that is missing', async () => {
    const text = withVariables('    MAX: {description: many}', '      concurrency:\n        max: ${MAX}\n');
    expect(await problemsOf({'tekton-ai.yaml': text})).toHaveLength(1);
  });

  it('other mistakes are told as well', async () => {
    const text = withVariables('    MAX: {description: many}', '      modle: ${MAX}\n      pull: Sometimes\n');
    const problems = await problemsOf({'tekton-ai.yaml': text});
    expect(problems.map(({message}) => message).join('\n')).toMatch(/has no value[^]*modle[^]*pull/);
  });

  it('a file that is too large is not read', async () => {
    const text = withVariables('    X: {file: x, default: y}', '      model: ${X}\n');
    const [problem] = await problemsOf({'tekton-ai.yaml': text, x: 'x'.repeat(64 * 1024 + 1)});
    expect(problem).toMatchObject({line: 7, message: 'cannot read `x`: it is no file of at most 64 KiB'});
  });

  it('a value for a variable that nobody declares is a slip', async () => {
    const folder = await folderOf({'tekton-ai.yaml': withVariables('    REGION: {default: x}', '      model: m\n')});
    await expect(load(folder, {variables: {REGOIN: 'eu'}})).rejects.toMatchObject({
      message: 'the files declare no variable `REGOIN`',
      hint: 'did you mean `REGION`?',
    });
  });
});

describe('of a repository', () => {
  const text = withVariables(
    '    REGION: {default: x, env: AWS_REGION}\n    FILE: {default: y, file: ../out}',
    '      model: ${REGION}\n',
  );
  const source = {name: 'default/platform', url: 'https://git.example.com/p.git', checkout: '/checkout'};

  test.each<[what: string, variables: readonly string[], model: string, recorded: Record<string, string>]>([
    ['nothing of the environment counts', [], 'x', {}],
    ['what the policy allows counts, and no more', ['TEKTON_VAR_*'], 'own', {TEKTON_VAR_REGION: 'own'}],
    ['of what it allows nothing else is let in by the name of a variable', ['AWS_*'], 'eu', {AWS_REGION: 'eu'}],
    ['both are looked at where both are allowed', ['AWS_*', 'TEKTON_VAR_*'], 'own', {TEKTON_VAR_REGION: 'own'}],
  ])('%s', async (_, variables, model, recorded) => {
    const root = await folderOf({'tekton-ai.yaml': text.replace('../out', './in')});
    const trust = trustOf({sources: [{match: {url: '*'}, variables}]}, source);
    const environment = {TEKTON_VAR_REGION: 'own', TEKTON_VAR_OTHER: 'z', AWS_REGION: 'eu'};
    const [loaded] = await load(root, {within: {root, as: '/checkout'}, trust, environment});
    expect(loaded && athena(loaded).spec.model).toBe(model);
    expect(loaded?.overrides).toEqual(recorded);
    // The controller knows what was recorded, and nothing else.
    const [again] = await load(root, {within: {root, as: '/checkout'}, trust, environment: recorded});
    expect(again && athena(again).spec.model).toBe(model);
  });

  it('a file outside of it is not looked at', async () => {
    const folder = await folderOf({'repo/tekton-ai.yaml': text, out: 'secret'});
    const root = join(folder, 'repo');
    const within = {root, as: '/checkout'};
    await expect(load(root, {within, trust: trustOf(undefined, source)})).rejects.toMatchObject({
      problems: [{line: 8, message: 'cannot read `../out`: it lies outside of the repository'}],
    });
  });
});
