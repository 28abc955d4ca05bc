import {describe, expect, it} from '@jest/globals';
import fc from 'fast-check';
import {canonicalJson, diffDeclared, flatten, hashOf} from '../../src/api/hash.js';
import type {Json, Origin} from '../../src/api/types.js';

const key = fc.stringMatching(/^[a-zA-Z_]{1,6}$/);
const leaf = fc.oneof(
  fc.string(),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.array(fc.string(), {maxLength: 3}),
);
const tree = fc.letrec<{node: Json}>(tie => ({
  node: fc.oneof({maxDepth: 3}, leaf, fc.dictionary(key, tie('node'), {maxKeys: 4})),
})).node;
const record = fc.dictionary(key, tree, {maxKeys: 5});

describe('hashOf', () => {
  it('is 16 hex digits that stay the same from version to version', () => {
    expect(hashOf({component: 'athena', model: 'llama3.3:70b'})).toBe('3aad82b9f89622bd');
  });

  it('does not depend on the order of keys', () => {
    fc.assert(
      fc.property(record, value => {
        const turned = Object.fromEntries(Object.entries(value).reverse());
        expect(hashOf(turned)).toBe(hashOf(value));
      }),
    );
  });

  it('differs where canonical text differs, list order included', () => {
    expect(hashOf({stop: ['a', 'b']})).not.toBe(hashOf({stop: ['b', 'a']}));
    expect(hashOf({seed: 1})).not.toBe(hashOf({seed: '1'}));
  });
});

describe('canonicalJson', () => {
  it('is JSON of the same value', () => {
    fc.assert(fc.property(tree, value => expect(JSON.parse(canonicalJson(value))).toEqual(value)));
  });
});

describe('flatten', () => {
  it('gives one entry per leaf and takes lists for leaves', () => {
    expect(
      flatten({model: 'x', parameters: {stop: ['a'], seed: 1}, expertise: {refersTo: {hermes: 'mail'}}, env: {}}),
    ).toEqual({
      model: 'x',
      'parameters.stop': ['a'],
      'parameters.seed': 1,
      'expertise.refersTo.hermes': 'mail',
    });
  });
});

describe('diffDeclared', () => {
  it('names each field that differs, sorted by path, with the origin of its new value', () => {
    const origin: Origin = {type: 'file', file: '/f.yaml', line: 3};
    expect(diffDeclared({b: 1, c: 2, same: [1]}, {a: 0, c: 3, same: [1]}, {c: origin})).toEqual([
      {path: 'a', from: undefined, to: 0, origin: undefined},
      {path: 'b', from: 1, to: undefined, origin: undefined},
      {path: 'c', from: 2, to: 3, origin},
    ]);
  });

  it('is empty if and only if the declarations are equal, which is when their hashes are', () => {
    fc.assert(
      fc.property(record, record, fc.boolean(), (a, b, sameTwice) => {
        const from = flatten(a);
        const to = flatten(sameTwice ? structuredClone(a) : b);
        const isEmpty = diffDeclared(from, to, {}).length === 0;
        expect(isEmpty).toBe(canonicalJson(from) === canonicalJson(to));
        expect(isEmpty).toBe(hashOf(from) === hashOf(to));
      }),
    );
  });

  it('is not misled by names that every object has', () => {
    expect(diffDeclared({}, {toString: 1}, {})).toEqual([
      {path: 'toString', from: undefined, to: 1, origin: undefined},
    ]);
  });
});
