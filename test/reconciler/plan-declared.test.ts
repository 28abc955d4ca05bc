/** Declared against declared: what an apply would do where the other side runs. */
import {describe, expect, it, test} from '@jest/globals';
import type {Desired, LoadedFleet} from '../../src/api/types.js';
import {planDeclared, removedFleets} from '../../src/reconciler/plan-declared.js';
import type {Action, Plan} from '../../src/reconciler/types.js';
import {desire, loaded} from '../fakes/ports.js';

/** "create athena", one for each action. */
function steps(plans: readonly Plan[]): readonly string[] {
  return plans.flatMap(plan => plan.actions).map(action => `${action.type} ${nameOf(action)}`);
}

function nameOf(action: Action): string {
  return action.type === 'prune' ? action.observed.name : action.desired.name;
}

function fleet(names: readonly Desired[], changes: Partial<LoadedFleet> = {}): LoadedFleet {
  const {name = 'dev', namespace = 'default'} = changes;
  return loaded(
    names.map(desired => ({...desired, fleet: name, namespace})),
    changes,
  );
}

const [athena, hermes] = [desire('athena', {model: 'm1'}), desire('hermes', {model: 'm1'})];

describe('a plan from one declaration to another', () => {
  test.each<[string, readonly LoadedFleet[], readonly LoadedFleet[], readonly string[]]>([
    ['nothing differs', [fleet([athena])], [fleet([athena])], ['keep athena']],
    ['one is new', [fleet([athena, hermes])], [fleet([athena])], ['keep athena', 'create hermes']],
    ['one is gone', [fleet([athena])], [fleet([athena, hermes])], ['prune hermes', 'keep athena']],
    ['a model is another', [fleet([desire('athena', {model: 'm2'})])], [fleet([athena])], ['reconfigure athena']],
    ['a variable is set', [fleet([desire('athena', {env: {A: 'b'}})])], [fleet([athena])], ['restart athena']],
    ['a fleet is new', [fleet([athena])], [], ['create athena']],
    ['a fleet is gone', [], [fleet([athena, hermes])], ['prune athena', 'prune hermes']],
    ['a fleet is turned off', [fleet([athena], {enabled: false})], [fleet([athena])], ['stop athena']],
    ['a fleet is turned on', [fleet([athena])], [fleet([athena], {enabled: false})], ['create athena']],
    ['one that did not run is gone', [fleet([])], [fleet([desire('athena', {enabled: false})])], []],
    [
      'one moves from a fleet to another',
      [fleet([], {name: 'a'}), fleet([athena], {name: 'b'})],
      [fleet([athena], {name: 'a'}), fleet([], {name: 'b'})],
      ['prune athena', 'create athena'],
    ],
  ])('when %s', (_, now, before, expected) => {
    expect(steps(planDeclared(now, before))).toEqual(expected);
  });

  it('blocks what a fleet that nobody declares any more still runs', () => {
    const plans = planDeclared([fleet([athena], {name: 'renamed'})], [fleet([athena])]);
    expect(plans[0]?.actions).toMatchObject([
      {type: 'block', reason: 'Conflict', message: 'athena-ai runs for fleet default/dev'},
    ]);
    expect(steps(plans.slice(1))).toEqual(['prune athena']);
  });

  it('restarts for a port that is pinned anew, and not for one that is let go', () => {
    const pinned = desire('athena', {model: 'm1', port: 45_010});
    expect(steps(planDeclared([fleet([pinned])], [fleet([athena])]))).toEqual(['restart athena']);
    expect(steps(planDeclared([fleet([athena])], [fleet([pinned])]))).toEqual(['reconfigure athena']);
  });

  it('says which fleets are gone', () => {
    const before = [fleet([], {name: 'a'}), fleet([], {name: 'a', namespace: 'lab'})];
    expect(removedFleets([fleet([], {name: 'a'})], before)).toEqual([before[1]]);
  });

  it('knows a mass prune, unless the fleet allows it', () => {
    const before = fleet(['a', 'b', 'c', 'd', 'e'].map(name => desire(name)));
    expect(planDeclared([fleet([])], [before])[0]?.massPrune).toBe(true);
    expect(planDeclared([fleet([], {allowMassPrune: true})], [before])[0]?.massPrune).toBe(false);
  });
});
