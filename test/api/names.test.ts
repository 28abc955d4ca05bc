import {describe, expect, test} from '@jest/globals';
import {aiIdOf, canonicalComponent, componentKey, defaultName, isDnsLabel, modelVariable} from '../../src/api/names.js';

describe('the ai id of a specialist', () => {
  test.each([
    ['default', 'athena', 'athena', 'athena-ai'],
    ['default', 'tekton-core', 'tekton_core', 'tekton_core-ai'],
    ['default', 'tekton-core', 'tekton-core', 'tekton_core-ai'],
    ['default', 'core', 'tekton_core', 'core-ai'],
    ['default', 'athena-2', 'athena', 'athena-2-ai'],
    ['default', 'my-thing', 'my-thing', 'my-thing-ai'],
    ['default', 'my-thing', 'my_thing', 'my_thing-ai'],
    ['lab', 'athena', 'athena', 'lab.athena-ai'],
    ['lab', 'tekton-core', 'tekton_core', 'lab.tekton_core-ai'],
    ['lab', 'core', 'tekton_core', 'lab.core-ai'],
  ])('in namespace %s, named %s, of component %s is %s', (namespace, name, component, aiId) => {
    expect(aiIdOf({namespace, name, component})).toBe(aiId);
  });
});

test('spellings of one component share a key, a default name and the platform’s spelling', () => {
  expect(componentKey('tekton-core')).toBe(componentKey('tekton_core'));
  expect(defaultName('tekton_core')).toBe('tekton-core');
  expect(canonicalComponent('tekton-core')).toBe('tekton_core');
  expect(canonicalComponent('my-thing')).toBe('my-thing');
});

test('the variable of a component’s model is upper case with underscores', () => {
  expect(modelVariable('athena')).toBe('ATHENA_AI_MODEL');
  expect(modelVariable('tekton-core')).toBe('TEKTON_CORE_AI_MODEL');
});

test.each([
  ['a', true],
  ['a-1', true],
  ['a'.repeat(63), true],
  ['a'.repeat(64), false],
  ['', false],
  ['-a', false],
  ['a-', false],
  ['A', false],
  ['a_b', false],
  ['a.b', false],
  ['../a', false],
  ['a\n', false],
])('%j is a DNS label: %p', (text, expected) => {
  expect(isDnsLabel(text)).toBe(expected);
});
