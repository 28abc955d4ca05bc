import {describe, expect, it} from '@jest/globals';
import type {Desired, FleetRecord, Revision} from '../../src/api/types.js';
import {nextRecord} from '../../src/reconciler/desired.js';
import {noClaims, planSpecialist} from '../../src/reconciler/plan.js';
import {held, laidOver, restarted, resumed, revisionToUndoTo} from '../../src/reconciler/rollouts.js';
import {desire, loaded} from '../fakes/ports.js';

function apply(previous: FleetRecord | undefined, ...specialists: readonly Desired[]): FleetRecord {
  const options = {confirmed: true, takeOver: true, prune: true, appliedAt: 'now', version: '1'};
  return nextRecord(previous, loaded(specialists), options);
}

function find({specialists}: FleetRecord, name: string): Desired {
  const found = specialists.find(desired => desired.name === name);
  if (!found) throw new Error(`no ${name}`);
  return found;
}

function planFor(running: Desired, desired: Desired) {
  const {aiId, name, namespace, fleet, declared, specHash, generation} = running;
  const observed = {aiId, name, namespace, fleet, component: name, state: 'running', declared, specHash, generation};
  const now = {...observed, state: 'running' as const};
  return planSpecialist({desired, enabled: true, observed: now, claims: noClaims, driftPolicy: 'heal'});
}

describe('a restart that was asked for', () => {
  const before = apply(undefined, desire('athena'), desire('hermes'));
  const after = restarted(before, ['athena-ai'], '2026-01-05T10:00:00.000Z');

  it('is a generation of its own, which only a new worker can take over', () => {
    expect(find(after, 'athena').generation).toBe(2);
    expect(find(after, 'hermes')).toEqual(find(before, 'hermes'));
    expect(planFor(find(before, 'athena'), find(after, 'athena'))).toMatchObject({
      type: 'restart',
      reason: 'that was asked for',
    });
    expect(planFor(find(after, 'athena'), find(after, 'athena'))).toMatchObject({type: 'keep'});
  });

  it('survives an apply of the same and of another declaration', () => {
    expect(find(apply(after, desire('athena'), desire('hermes')), 'athena')).toEqual(find(after, 'athena'));
    const changed = find(apply(after, desire('athena', {model: 'b'})), 'athena');
    expect(changed.generation).toBe(3);
    expect(planFor(find(after, 'athena'), changed)).toMatchObject({type: 'reconfigure'});
  });

  it('is forgotten with its name', () => {
    const gone = apply(after, desire('hermes'));
    expect(gone.rollouts).toBeUndefined();
    expect(find(apply(gone, desire('athena')), 'athena').declared).not.toHaveProperty('restartedAt');
  });
});

describe('a declaration that is held', () => {
  const first = apply(undefined, desire('athena', {model: 'a'}), desire('hermes'));
  const paused = held(first, find(first, 'athena'), 'pause', 'later');

  it('changes nothing by itself', () => {
    expect(paused.specialists).toEqual(first.specialists);
  });

  it('stands over what the source says, for its name alone', () => {
    const edited = apply(paused, desire('athena', {model: 'b'}), desire('hermes', {model: 'b'}));
    expect(find(edited, 'athena')).toMatchObject({generation: 1, spec: {model: 'a'}});
    expect(find(edited, 'hermes')).toMatchObject({generation: 2, spec: {model: 'b'}});
    expect(laidOver([desire('athena', {model: 'b'})], edited.rollouts)).toMatchObject([{spec: {model: 'a'}}]);
  });

  it('ends with resume, which takes over what the source says by then', () => {
    const edited = apply(paused, desire('athena', {model: 'b'}), desire('hermes'));
    const open = resumed(edited, ['athena-ai'], [desire('athena', {model: 'b'}), desire('hermes', {model: 'c'})], 'on');
    expect(find(open, 'athena')).toMatchObject({generation: 2, spec: {model: 'b'}});
    expect(find(open, 'hermes')).toEqual(find(edited, 'hermes'));
    expect(find(apply(open, desire('athena', {model: 'c'})), 'athena')).toMatchObject({generation: 3});
  });

  it('is restarted where that is asked for', () => {
    const again = restarted(paused, ['athena-ai'], 'T');
    expect(find(again, 'athena')).toMatchObject({generation: 2, spec: {model: 'a'}, declared: {restartedAt: 'T'}});
    expect(find(apply(again, desire('athena', {model: 'b'})), 'athena')).toMatchObject({
      generation: 2,
      spec: {model: 'a'},
    });
  });
});

describe('what undo goes back to', () => {
  const at = (generation: number, desired: Desired): Revision => ({
    aiId: desired.aiId,
    generation,
    at: '',
    desired: {...desired, generation},
  });
  const withTime = (desired: Desired): Desired => ({...desired, declared: {...desired.declared, restartedAt: 'T'}});
  const revisions = [
    at(1, desire('athena', {model: 'a'})),
    at(1, desire('hermes')),
    at(2, desire('athena', {model: 'b'})),
    at(3, withTime(desire('athena', {model: 'b'}))),
  ];
  const current = {...withTime(desire('athena', {model: 'b'})), generation: 3};

  it('is the last that was another declaration, a restart aside', () => {
    expect(revisionToUndoTo(revisions, current, undefined)?.generation).toBe(1);
    expect(revisionToUndoTo(revisions, {...desire('hermes'), generation: 1}, undefined)).toBeUndefined();
  });

  it('is the one that is named', () => {
    expect(revisionToUndoTo(revisions, current, 2)?.generation).toBe(2);
    expect(revisionToUndoTo(revisions, current, 7)).toBeUndefined();
  });
});
