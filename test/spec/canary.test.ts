/** Canaries as they are declared: defaults, and what is refused where it stands. */
import {describe, expect, it, test} from '@jest/globals';
import {fleet, fleetYaml, problemsOf} from './files.js';

const problems = (specialists: string) => problemsOf({'tekton-ai.yaml': fleetYaml(`  specialists:\n${specialists}`)});

describe('a canary', () => {
  it('has defaults for what it does not say', async () => {
    const yaml = fleetYaml('  specialists:\n    - component: athena\n      canary: {prompts: [{prompt: hi}]}\n');
    const [athena] = (await fleet(yaml)).specialists;
    expect(athena?.spec.canary).toEqual({
      ...{passRate: 1, attempts: 1, timeoutSeconds: 60, onFailure: 'rollback'},
      prompts: [{prompt: 'hi'}],
    });
    expect(athena?.declared).toMatchObject({'canary.prompts': [{prompt: 'hi'}]});
  });

  it('is inherited as a whole', async () => {
    const yaml = fleetYaml(
      '  defaults:\n    canary: {prompts: [{prompt: hi}], attempts: 2}\n' +
        '  specialists:\n    - component: athena\n    - component: hermes\n      canary: {prompts: []}\n',
    );
    const {specialists} = await fleet(yaml);
    expect(specialists.map(({spec}) => [spec.canary?.prompts.length, spec.canary?.attempts])).toEqual([
      [1, 2],
      [0, 1],
    ]);
  });

  test.each([
    ['a pattern that is none', '{prompt: hi, matches: "(a"}', 8, 'is no regular expression'],
    ['a schema that is none', '{prompt: hi, schema: {type: nothing}}', 8, "`schema` can't be used"],
    [
      'a schema that refers to another place',
      '{prompt: hi, schema: {$ref: "https://example.com/s.json"}}',
      8,
      "can't resolve reference https://example.com/s.json",
    ],
    [
      'a judge that is not declared',
      '{prompt: hi, judge: {specialist: rethor, question: q, expect: y}}',
      8,
      'not declared',
    ],
    [
      'itself as its judge',
      '{prompt: hi, judge: {specialist: athena, question: q, expect: y}}',
      8,
      'would judge itself',
    ],
    ['an unknown field', '{prompt: hi, contain: x}', 8, 'contain'],
    ['an empty expectation', '{prompt: hi, contains: ""}', 8, 'contains'],
  ])('is refused for %s', async (_, prompt, line, message) => {
    const found = await problems(
      `    - component: athena\n      canary: {prompts: [${prompt}]}\n    - component: rhetor\n`,
    );
    expect(found).toEqual([expect.objectContaining({line, message: expect.stringContaining(message)})]);
  });

  it('is refused for a name that is used twice', async () => {
    const found = await problems(
      '    - component: athena\n      canary: {prompts: [{name: a, prompt: x}, {name: a, prompt: y}]}\n',
    );
    expect(found).toEqual([expect.objectContaining({message: 'there is a prompt `a` already'})]);
  });

  it('is refused where two judge each other', async () => {
    const judged = (by: string) =>
      `canary: {prompts: [{prompt: x, judge: {specialist: ${by}, question: q, expect: y}}]}`;
    const found = await problems(
      `    - component: athena\n      ${judged('rhetor')}\n    - component: rhetor\n      ${judged('athena')}\n`,
    );
    expect(found).toEqual([
      expect.objectContaining({
        line: 8,
        message: 'canaries judge each other in a circle: athena → rhetor → athena',
      }),
    ]);
  });

  it('of the defaults is refused for whom it would have judge itself', async () => {
    const found = await problemsOf({
      'tekton-ai.yaml': fleetYaml(
        '  defaults:\n    canary: {prompts: [{prompt: x, judge: {specialist: rhetor, question: q, expect: y}}]}\n' +
          '  specialists:\n    - component: athena\n    - component: rhetor\n',
      ),
    });
    expect(found).toEqual([
      expect.objectContaining({
        message: '`rhetor` would judge itself',
        hint: 'give `rhetor` a `canary` of its own, {prompts: []} for none',
      }),
    ]);
  });
});
