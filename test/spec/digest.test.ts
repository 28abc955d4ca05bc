/** Models that are pinned to a digest: the form of the digest, and whose models can be pinned. */
import {describe, expect, it, test} from '@jest/globals';
import {digestFault, splitDigest} from '../../src/api/model-name.js';
import {fleet, fleetYaml, problemsOf} from './files.js';

const digest = `sha256:${'0a1b'.repeat(16)}`;
const pinned = `llama3.3:70b@${digest}`;

describe('a pinned model', () => {
  test.each([
    [pinned, {name: 'llama3.3:70b', digest}],
    ['phi4@sha256:AC896E5B8B34', {name: 'phi4', digest: 'sha256:ac896e5b8b34'}],
    ['llama3.3:70b', {name: 'llama3.3:70b'}],
    ['some@thing', {name: 'some@thing'}],
    ['x@sha256:abc', {name: 'x@sha256:abc'}],
    ['@sha256:ac896e5b8b34', {name: '@sha256:ac896e5b8b34'}],
  ])('%s in its parts', (model, parts) => {
    expect(splitDigest(model)).toEqual(parts);
  });

  test.each([
    [pinned, false],
    ['model@work', false],
    ['x@sha256:abc', true],
    ['x@sha256', true],
    [`x@sha256:${'g'.repeat(64)}`, true],
    [`x@${digest}0`, true],
    ['@sha256:ac896e5b8b34', true],
  ])('%s has a digest that is none: %s', (model, wrong) => {
    expect(digestFault(model) !== undefined).toBe(wrong);
  });
});

describe('a fleet with pinned models', () => {
  const problems = async (spec: string, environment: Record<string, string> = {}) =>
    problemsOf({'tekton-ai.yaml': fleetYaml(spec)}, {environment});

  test.each([
    ['a specialist', `  specialists:\n    - {component: athena, provider: anthropic, model: '${pinned}'}\n`, 7],
    ['the defaults', `  defaults:\n    provider: anthropic\n    model: '${pinned}'\n`, 8],
    ['a provider', `  providers:\n    lab: {type: openai, baseUrl: http://h/v1, defaultModel: '${pinned}'}\n`, 7],
    [
      'a fallback',
      `  specialists:\n    - component: athena\n      fallback: [{provider: anthropic, model: '${pinned}'}]\n`,
      8,
    ],
  ])('is told where it stands in %s that Ollama is not asked by', async (_name, spec, line) => {
    expect(await problems(spec)).toEqual([
      expect.objectContaining({
        line,
        message: expect.stringMatching(/^provider `\w+` is of type (anthropic|openai), which can't tell the digest/),
        hint: 'leave `@sha256:…` out: only models of Ollama can be pinned',
      }),
    ]);
  });

  it('is told of a digest that is none, wherever it comes from', async () => {
    const spec = `  specialists:\n    - {component: athena, model: 'phi4@sha256:12'}\n    - {component: hermes}\n`;
    expect(await problems(spec, {HERMES_AI_MODEL: 'phi4@sha256:xyz'})).toEqual([
      expect.objectContaining({message: 'HERMES_AI_MODEL: the digest of this model is none'}),
      expect.objectContaining({line: 7, message: 'the digest of this model is none'}),
    ]);
  });

  it('is taken as it stands where Ollama answers, chosen or by itself', async () => {
    const spec = `
  specialists:
    - {component: athena, provider: ollama, model: '${pinned}'}
    - {component: hermes, provider: auto, model: '${pinned}', fallback: [{provider: ollama, model: '${pinned}'}]}
`;
    const loaded = await fleet(fleetYaml(spec));
    expect(loaded.specialists.map(specialist => specialist.spec.model)).toEqual([pinned, pinned]);
  });
});
