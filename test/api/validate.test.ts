import {describe, expect, it, test} from '@jest/globals';
import {validate} from '../../src/api/validate.js';
import {unsupportedFields} from '../../src/api/schema.js';

const fleet = (spec: object) => ({apiVersion: 'tekton.ai/v1alpha1', kind: 'Fleet', metadata: {name: 'dev'}, spec});
const one = (fields: object) => fleet({specialists: [{component: 'athena', ...fields}]});
const at = (...path: string[]) => ['spec', 'specialists', '0', ...path];

describe('validate', () => {
  it('has nothing to say about every field used well', async () => {
    const specialist = {
      name: 'athena',
      labels: {team: 'research'},
      enabled: true,
      provider: 'ollama',
      model: 'llama3.3:70b',
      parameters: {temperature: 0, topP: 1, maxTokens: 1, contextTokens: 8192, stop: ['x'], seed: 7},
      expertise: {
        title: 'T',
        expertise: 'E',
        focus: 'F',
        roles: ['r'],
        capabilities: ['c'],
        personality: 'P',
        refersTo: {hermes: 'mail'},
        systemPrompt: 'S',
      },
      concurrency: {max: 1, queue: 0},
      sessions: {maxTurns: 1, idleMinutes: 0.5, persist: false},
      auth: {token: {env: 'T'}},
      port: 45001,
      host: '0.0.0.0',
      env: {A: 'x', B: {env: 'C'}, D: {file: './d'}},
      dependsOn: ['hermes'],
      restartPolicy: 'OnFailure',
      probes: {periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1, startupSeconds: 1},
      terminationGracePeriodSeconds: 0,
    };
    expect(await validate('Fleet', one(specialist))).toEqual([]);
    const {name, labels, ...spec} = {...specialist, component: 'athena'};
    expect(
      await validate('Specialist', {
        apiVersion: 'tekton.ai/v1alpha1',
        kind: 'Specialist',
        metadata: {name, labels},
        spec,
      }),
    ).toEqual([]);
  });

  test.each([
    [{modle: 'x'}, at('modle'), 'key', 'unknown field `modle`', 'did you mean `model`?'],
    [{Model: 'x'}, at('Model'), 'key', 'unknown field `Model`', 'did you mean `model`?'],
    [
      {temperature: 1},
      at('temperature'),
      'key',
      'unknown field `temperature`',
      'did you mean `parameters.temperature`?',
    ],
    [{zzzzzz: 1}, at('zzzzzz'), 'key', 'unknown field `zzzzzz`', undefined],
    [
      {sessions: {isolation: 1}},
      at('sessions', 'isolation'),
      'key',
      'unknown field `isolation`',
      'not supported by this version',
    ],
    [{model: 3}, at('model'), 'value', '`model` must be text, not a whole number', 'put it in quotes'],
    [{model: null}, at('model'), 'value', '`model` must be text, not empty', undefined],
    [{model: ['x']}, at('model'), 'value', '`model` must be text, not a list', undefined],
    [{port: '45000'}, at('port'), 'value', '`port` must be a whole number, not text', undefined],
    [{enabled: 'yes'}, at('enabled'), 'value', '`enabled` must be true or false, not text', undefined],
    [
      {parameters: {temperature: 3}},
      at('parameters', 'temperature'),
      'value',
      '`temperature` must be at least 0 and at most 2',
      undefined,
    ],
    [{parameters: {topP: 0}}, at('parameters', 'topP'), 'value', '`topP` must be more than 0 and at most 1', undefined],
    [
      {parameters: {temperature: Number.NaN}},
      at('parameters', 'temperature'),
      'value',
      '`temperature` must be a number, not NaN or infinity',
      undefined,
    ],
    [
      {parameters: {stop: ['a', 4]}},
      at('parameters', 'stop', '1'),
      'value',
      '`stop[1]` must be text, not a whole number',
      'put it in quotes',
    ],
    [
      {restartPolicy: 'always'},
      at('restartPolicy'),
      'value',
      '`restartPolicy` must be one of Always, OnFailure, Never',
      'did you mean `Always`?',
    ],
    [
      {auth: {token: 'abc'}},
      at('auth', 'token'),
      'value',
      '`token` must refer to a secret, not hold it',
      'write {env: NAME} or {file: path}',
    ],
    [{auth: {}}, at('auth'), 'inside', '`token` is missing', undefined],
    [{env: {A: {}}}, at('env', 'A'), 'value', '`A` needs exactly one of `env`, `file`', undefined],
    [{env: {A: 1}}, at('env', 'A'), 'value', '`A` must be text or a mapping, not a whole number', 'put it in quotes'],
    [{dependsOn: ['a', 'a']}, at('dependsOn', '0'), 'value', '`dependsOn` names the same thing twice', undefined],
  ])('says of %j what is wrong and where', async (fields, path, place, message, hint) => {
    const [problem, ...others] = await validate('Fleet', one(fields));
    expect(others).toEqual([]);
    expect(problem).toEqual({path, at: place, message, ...(hint !== undefined && {hint})});
  });

  test.each([
    ['../etc/passwd', undefined],
    ['a/b', undefined],
    ['Athena', 'did you mean `athena`?'],
    ['my athena', 'did you mean `my-athena`?'],
    ['a'.repeat(64), undefined],
  ])('refuses the name %j', async (name, hint) => {
    const [problem] = await validate('Fleet', one({name}));
    expect(problem?.message).toMatch(/^`name` must be a DNS label: /);
    expect(problem?.hint).toBe(hint);
  });

  test.each([...unsupportedFields])('refuses `%s`, which this version does not act on', async field => {
    const documents = [one({[field]: 1}), fleet({[field]: 1}), one({sessions: {[field]: 1}})];
    const problems = (await Promise.all(documents.map(document => validate('Fleet', document)))).flat();
    expect(problems.filter(({message}) => message === `unknown field \`${field}\``)).toHaveLength(3);
    expect(problems.some(({hint}) => hint === 'not supported by this version')).toBe(true);
  });

  it('tells all problems at once', async () => {
    const problems = await validate(
      'Fleet',
      fleet({defaults: {modle: 'x', port: 'y'}, specialists: [{model: 'z'}, 'athena'], ports: {from: 80}}),
    );
    expect(problems.map(({message}) => message).sort()).toEqual([
      '`component` is missing',
      '`from` must be at least 1024 and at most 65535',
      '`port` must be a whole number, not text',
      '`specialists[1]` must be a mapping, not text',
      'unknown field `modle`',
    ]);
  });

  it('says which version of the format it reads', async () => {
    const [problem] = await validate('Fleet', {...fleet({}), apiVersion: 'tekton.ai/v2'});
    expect(problem?.message).toBe('`apiVersion` must be tekton.ai/v1alpha1');
    expect(problem?.hint).toBe('this version of tekton-ai reads no other');
  });

  it('never repeats a key in a message', async () => {
    const key = `sk-ant-${'aB3'.repeat(10)}`;
    const problems = await validate('Fleet', one({[key]: 1, env: {[`a ${key}`]: 'x'}, restartPolicy: key, name: key}));
    expect(problems.length).toBeGreaterThan(2);
    expect(problems.map(({message, hint}) => `${message} ${hint}`).join()).not.toContain(key);
  });

  it.each(['Fleet', 'Specialist', 'Expertise'] as const)('survives anything as a %s', async kind => {
    for (const value of [null, undefined, 1, 'x', [], {}, {spec: null}, {kind, spec: []}]) {
      expect((await validate(kind, value)).length).toBeGreaterThan(0);
    }
  });
});
