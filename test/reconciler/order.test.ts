import {describe, expect, it, test} from '@jest/globals';
import fc from 'fast-check';
import {startOrder} from '../../src/reconciler/order.js';
import {desire} from '../fakes/ports.js';

function order(...declared: readonly [string, ...string[]][]): string {
  const specialists = declared.map(([name, ...dependsOn]) => desire(name, {dependsOn}));
  return startOrder(specialists)
    .map(d => d.name)
    .join('');
}

describe('the start order', () => {
  test.each<[string, [string, ...string[]][], string]>([
    ['is that of the file where nothing depends', [['c'], ['a'], ['b']], 'cab'],
    ['moves only what has to move', [['c', 'b'], ['a'], ['b']], 'bca'],
    ['follows chains', [['a', 'b'], ['b', 'c'], ['c']], 'cba'],
    ['meets a diamond once', [['a', 'b', 'c'], ['b', 'd'], ['c', 'd'], ['d']], 'dbca'],
    ['passes over a name that is not declared', [['a', 'x'], ['b']], 'ab'],
    [
      'breaks a cycle at its first name',
      [
        ['a', 'b'],
        ['b', 'a'],
      ],
      'ba',
    ],
    ['survives one that depends on itself', [['a', 'a']], 'a'],
    ['of nothing is nothing', [], ''],
  ])('%s', (_, declared, names) => {
    expect(order(...declared)).toBe(names);
  });

  it('holds every specialist once, each behind all that it depends on', () => {
    // Dependencies on earlier numbers only: no cycles; the order of declaration is shuffled.
    const graph = fc
      .array(fc.array(fc.nat(), {maxLength: 3}), {maxLength: 12})
      .chain(edges => fc.record({edges: fc.constant(edges), ranks: fc.array(fc.nat(), {minLength: 12})}));
    fc.assert(
      fc.property(graph, ({edges, ranks}) => {
        const all = edges.map((to, i) => desire(`s${i}`, {dependsOn: i === 0 ? [] : to.map(n => `s${n % i}`)}));
        const shuffled = [...all].sort((a, b) => (ranks[all.indexOf(a)] ?? 0) - (ranks[all.indexOf(b)] ?? 0));
        const ordered = startOrder(shuffled);
        const at = new Map(ordered.map((d, i) => [d.name, i]));
        expect([...at.keys()].sort()).toEqual(all.map(d => d.name).sort());
        expect(ordered).toHaveLength(all.length);
        for (const d of all) for (const on of d.spec.dependsOn) expect(at.get(on)).toBeLessThan(at.get(d.name) ?? -1);
      }),
    );
  });
});
