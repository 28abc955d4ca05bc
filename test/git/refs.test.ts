import {expect, test} from '@jest/globals';
import {compareVersions, highestTag, parseRemoteRefs, resolveRef} from '../../src/git/refs.js';

test.each([
  ['v1.*', ['v1.9.0', 'v1.10.0', 'v2.0.0'], 'v1.10.0'],
  ['v1.*', ['v1.10.0', 'v1.10.0-rc.1'], 'v1.10.0'],
  ['*', ['v1.0.0', 'nightly', 'zebra'], 'v1.0.0'],
  ['release-*', ['release-2026.09.1', 'release-2026.10.0'], 'release-2026.10.0'],
  ['v1.*', ['v1', 'xv1.2', 'V1.3'], undefined],
  ['v*.0', ['v1.1', 'v3.0', 'v20.0', 'v.0'], 'v20.0'],
  ['a*a', ['a', 'aa'], 'aa'],
  ['v*-*-x', ['v1-x', 'v1-2-x'], 'v1-2-x'],
  ['v1.0', ['v1.0.1', 'v1.0'], 'v1.0'],
  ['build-*', ['build-9', 'build-99999999999999999999', 'build-100'], 'build-99999999999999999999'],
])('the highest of %s in %j is %s', (pattern, tags, expected) => {
  expect(highestTag(pattern, tags)).toBe(expected);
  expect(highestTag(pattern, [...tags].reverse())).toBe(expected);
});

test('versions are in the order of semver.org, 11', () => {
  const order = [
    'junk',
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0-rc.1',
    '1.0.0',
    '1.0.1',
    '1.2',
    '1.10',
  ];
  for (const [at, lower] of order.entries()) {
    for (const higher of order.slice(at + 1)) {
      expect([lower, higher, Math.sign(compareVersions(lower, higher))]).toEqual([lower, higher, -1]);
      expect(Math.sign(compareVersions(higher, lower))).toBe(1);
    }
  }
});

test('a pattern of many stars is no burden', () => {
  const tag = 'a'.repeat(200);
  expect(highestTag(`${'a*'.repeat(100)}b`, [tag])).toBeUndefined();
});

const [a, b, c] = ['a', 'b', 'c'].map(letter => letter.repeat(40)) as [string, string, string];

test('reads what ls-remote says, and nothing that looks like it', () => {
  const refs = parseRemoteRefs(
    `ref: refs/heads/main\tHEAD\n${a}\tHEAD\n${b}\trefs/tags/v1\n${c}\trefs/tags/v1^{}\nnoise\n${a.slice(1)}\tx\n`,
  );
  expect(refs.head).toBe('refs/heads/main');
  expect([...refs.ids.keys()]).toEqual(['HEAD', 'refs/tags/v1', 'refs/tags/v1^{}']);
  expect(resolveRef({type: 'default'}, refs)).toEqual({commit: a, name: 'main'});
  expect(resolveRef({type: 'tag', pattern: 'v*'}, refs)).toEqual({commit: c, name: 'v1'});
  expect(resolveRef({type: 'branch', name: 'main'}, refs)).toBeUndefined();
});
