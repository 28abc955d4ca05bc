import {join} from 'node:path';
import {describe, expect, it} from '@jest/globals';
import {findFleetFile} from '../../src/spec/find.js';
import {expand} from '../../src/spec/glob.js';
import {anywhere} from '../../src/spec/within.js';
import {folderOf} from './files.js';

describe('findFleetFile', () => {
  it('finds the nearest, here or above', async () => {
    const folder = await folderOf({'tekton-ai.yaml': '', 'a/b/x': '', 'c/tekton-ai.yaml': '', 'c/d/x': ''});
    expect(await findFleetFile(folder)).toBe(join(folder, 'tekton-ai.yaml'));
    expect(await findFleetFile(join(folder, 'a', 'b'))).toBe(join(folder, 'tekton-ai.yaml'));
    expect(await findFleetFile(join(folder, 'c', 'd'))).toBe(join(folder, 'c', 'tekton-ai.yaml'));
  });

  it('finds nothing where there is none', async () => {
    expect(await findFleetFile(await folderOf({}))).toBeUndefined();
  });
});

describe('expand', () => {
  const tree = {
    'a.yaml': '',
    'b.yaml': '',
    'c.yml': '',
    '.d.yaml': '',
    'x/e.yaml': '',
    'x/y/f.yaml': '',
    'node_modules/g.yaml': '',
    'x.y/h.yaml': '',
  };

  it.each([
    ['*.yaml', ['a.yaml', 'b.yaml'], '.', false],
    ['?.y*ml', ['a.yaml', 'b.yaml', 'c.yml'], '.', false],
    ['.*.yaml', ['.d.yaml'], '.', false],
    ['**/*.yaml', ['a.yaml', 'b.yaml', 'x.y/h.yaml', 'x/e.yaml', 'x/y/f.yaml'], '**', false],
    ['x/**/*.yaml', ['x/e.yaml', 'x/y/f.yaml'], 'x/**', false],
    ['*/e.yaml', ['x/e.yaml'], '**', false],
    ['x.?/*.yaml', ['x.y/h.yaml'], '**', false],
    ['none/*.yaml', [], 'none', false],
    ['a.yaml', ['a.yaml'], undefined, true],
    ['./x/../b.yaml', ['b.yaml'], undefined, true],
    ['x', ['x/e.yaml'], 'x', true],
    ['gone.yaml', [], undefined, true],
  ])('%s means %j', async (pattern, files, base, exact) => {
    const folder = await folderOf(tree);
    expect(await expand(pattern, folder, anywhere)).toEqual({
      files: files.map(file => join(folder, file)).sort(),
      base: base === undefined ? undefined : join(folder, base),
      exact,
    });
  });
});
