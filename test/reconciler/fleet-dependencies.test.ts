/** Fleets that wait for fleets: order, circles. */
import {expect, it, test} from '@jest/globals';
import {circleOf, fleetOrder} from '../../src/reconciler/fleet-dependencies.js';

const fleet = (name: string, ...dependsOn: readonly string[]) => ({
  ...{name, namespace: 'n'},
  ...(dependsOn.length > 0 && {dependsOn: dependsOn.map(other => `n/${other}`)}),
});

test.each<[what: string, fleets: readonly ReturnType<typeof fleet>[], order: string]>([
  ['none depends', [fleet('b'), fleet('a')], 'b a'],
  ['a chain', [fleet('c', 'b'), fleet('b', 'a'), fleet('a')], 'a b c'],
  ['a diamond', [fleet('d', 'b', 'c'), fleet('c', 'a'), fleet('b', 'a'), fleet('a')], 'a b c d'],
  ['one that is not there', [fleet('b', 'x'), fleet('a')], 'b a'],
  ['a circle breaks at its first', [fleet('a', 'b'), fleet('b', 'a')], 'b a'],
])('puts dependencies first: %s', (_what, fleets, order) => {
  expect(
    fleetOrder(fleets)
      .map(({name}) => name)
      .join(' '),
  ).toBe(order);
});

it('finds the circle that a declaration closes, and none where there is none', () => {
  const declared = [fleet('a'), fleet('b', 'a'), fleet('c', 'b')];
  expect(circleOf(fleet('a', 'c'), declared)).toEqual(['n/a', 'n/c', 'n/b', 'n/a']);
  expect(circleOf(fleet('d', 'c'), declared)).toBeUndefined();
  expect(circleOf(fleet('a', 'a'), [])).toEqual(['n/a', 'n/a']);
});
