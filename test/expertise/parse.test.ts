import {describe, expect, it, test} from '@jest/globals';
import {parseExpertise} from '../../src/expertise/parse.js';

const spec = {
  title: 'The Cook',
  expertise: 'Soups. Ask who eats.',
  focus: 'soup',
  roles: ['cooking'],
  capabilities: ['Cook a soup'],
  personality: 'Warm.',
  refersTo: {numa: 'the rest'},
};

describe('parseExpertise', () => {
  it('gives the component and its expertise, texts trimmed', () => {
    expect(parseExpertise(yaml(document({...spec, focus: '  soup\n'})))).toEqual({
      type: 'expertise',
      component: 'cook',
      expertise: spec,
    });
  });

  it('keeps a template', () => {
    const parsed = parseExpertise(yaml(document({...spec, systemPrompt: 'You cook {{focus}}.'})));
    expect(parsed).toMatchObject({expertise: {systemPrompt: 'You cook {{focus}}.'}});
  });

  it('recognises an alias', () => {
    expect(parseExpertise(yaml(document({aliasOf: 'penia'})))).toEqual({
      type: 'alias',
      component: 'cook',
      aliasOf: 'penia',
    });
  });

  test.each([
    ['no document', null, 'the document must be a mapping'],
    ['a list', [], 'the document must be a mapping'],
    ['another version', {...document(spec), apiVersion: 'tekton.ai/v2'}, 'apiVersion must be tekton.ai/v1alpha1'],
    ['another kind', {...document(spec), kind: 'Fleet'}, 'kind must be Expertise'],
    ['an unknown top-level field', {...document(spec), status: {}}, 'the document has an unknown field status'],
    ['an unknown field', document({...spec, rolls: []}), 'spec has an unknown field rolls'],
    ['an empty title', document({...spec, title: ' '}), "spec.title must be a text that isn't empty"],
    ['a number for a text', document({...spec, focus: 7}), "spec.focus must be a text that isn't empty"],
    ['no roles', document({...spec, roles: []}), "spec.roles must be a list that isn't empty"],
    ['a role that is no text', document({...spec, roles: ['a', 1]}), "spec.roles[1] must be a text that isn't empty"],
    ['a referral to nothing', document({...spec, refersTo: {numa: null}}), 'spec.refersTo.numa must be a text'],
    ['an alias with more', document({...spec, aliasOf: 'penia'}), 'spec.aliasOf must stand alone'],
  ])('refuses %s', (_, value, message) => {
    expect(() => parseExpertise(yaml(value))).toThrow(message);
  });

  it('refuses what is not YAML, with its place', () => {
    expect(() => parseExpertise('spec: [')).toThrow(/line 1/);
    expect(() => parseExpertise('kind: Fleet\nkind: Expertise')).toThrow('unique');
  });
});

// JSON is YAML.
const yaml = (value: unknown) => JSON.stringify(value);

function document(content: unknown) {
  return {apiVersion: 'tekton.ai/v1alpha1', kind: 'Expertise', metadata: {name: 'cook'}, spec: content};
}
