/** Holds the floors of the house: who may import whom (CONTRIBUTING.md draws them). */
import {readdirSync, readFileSync} from 'node:fs';
import path from 'node:path';
import {expect, test} from '@jest/globals';

const source = path.resolve('src');

/** A room imports what it likes from lower floors, types from its own floor, and nothing from above. */
const floors: Readonly<Record<string, number>> = {
  api: 0,
  protocol: 0,
  spec: 1,
  registry: 1,
  expertise: 1,
  providers: 1,
  git: 1,
  notify: 1,
  // Stands on the registry: launch records and the process table are its memory.
  runtime: 2,
  reconciler: 3,
  worker: 3,
  cli: 4,
  // The roof: files that stand beside the rooms, main.ts and index.ts.
  '': 5,
};

/** Every room stands on it, protocol too. */
const ground = 'api';

interface Import {
  readonly file: string;
  readonly target: string;
  readonly typeOnly: boolean;
}

test('every room is on a floor', () => {
  expect([...new Set(files().map(roomOf))].filter(room => !(room in floors))).toEqual([]);
});

test('a room imports from lower floors, and only types from its own', () => {
  const imports = files().flatMap(importsOf);
  expect(imports.length).toBeGreaterThan(50);
  const wrong = imports.filter(i => !isAllowed(i)).map(i => `${i.file} → ${i.target}`);
  expect(wrong).toEqual([]);
});

test.each<[Import, boolean]>([
  [{file: 'api/a.ts', target: 'registry/b.ts', typeOnly: true}, false],
  [{file: 'registry/a.ts', target: 'spec/b.ts', typeOnly: false}, false],
  [{file: 'registry/a.ts', target: 'spec/b.ts', typeOnly: true}, true],
  [{file: 'reconciler/a.ts', target: 'spec/b.ts', typeOnly: false}, true],
  [{file: 'protocol/a.ts', target: 'api/b.ts', typeOnly: false}, true],
  [{file: 'api/a.ts', target: 'protocol/b.ts', typeOnly: false}, false],
  [{file: 'cli/a.ts', target: 'cli/print/b.ts', typeOnly: false}, true],
])('%j is allowed: %s', (statement, allowed) => {
  expect(isAllowed(statement)).toBe(allowed);
});

function isAllowed({file, target, typeOnly}: Import): boolean {
  const [from, to] = [roomOf(file), roomOf(target)];
  if (from === to || to === ground) return true;
  const [above, below] = [floors[from] ?? NaN, floors[to] ?? NaN];
  return below < above || (below === above && typeOnly);
}

function files(): readonly string[] {
  return readdirSync(source, {recursive: true, encoding: 'utf8'}).filter(name => name.endsWith('.ts'));
}

function roomOf(file: string): string {
  return file.includes(path.sep) ? (file.split(path.sep, 1)[0] ?? '') : '';
}

/** Static and dynamic imports and re-exports of our own files; `import {type A}` alone counts as type-only too. */
function importsOf(file: string): readonly Import[] {
  const text = readFileSync(path.join(source, file), 'utf8').replaceAll(/^\s*(\/\/|\*|\/\*).*$/gm, '');
  const statements = text.matchAll(
    /^(?:import|export)\s+([^'";]*?)\s*from\s*'(\.[^']+)'|\bimport\(\s*'(\.[^']+)'\s*\)/gm,
  );
  return [...statements].map(([, clause, fixed, dynamic]) => ({
    file,
    target: path.normalize(path.join(path.dirname(file), fixed ?? dynamic ?? '')),
    typeOnly: clause !== undefined && isTypeOnly(clause),
  }));
}

function isTypeOnly(clause: string): boolean {
  if (clause.startsWith('type ')) return true;
  const names = /^\{(.*)\}$/s
    .exec(clause)?.[1]
    ?.split(',')
    .map(name => name.trim());
  return names !== undefined && names.filter(name => name !== '').every(name => name.startsWith('type '));
}
