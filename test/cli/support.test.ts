import {expect, test} from '@jest/globals';
import {unsupported} from '../../src/cli/support.js';

test.each([
  ['20.19.0', 'linux', undefined],
  ['20.20.0', 'darwin', undefined],
  ['24.1.0', 'linux', undefined],
  ['20.18.3', 'linux', 'tekton-ai needs Node 20.19 or newer; this is Node 20.18.3'],
  ['18.20.0', 'linux', 'tekton-ai needs Node 20.19 or newer; this is Node 18.20.0'],
  ['22.0.0', 'win32', 'tekton-ai does not support Windows yet; use WSL'],
])('Node %s on %s: %s', (node, platform, expected) => {
  expect(unsupported(node, platform)).toBe(expected);
});
