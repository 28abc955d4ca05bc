import {describe, expect, it, test} from '@jest/globals';
import {ConflictError} from '../../src/api/errors.js';
import type {Desired, FleetRecord, LoadedFleet, Source} from '../../src/api/types.js';
import {MassPruneError, nextRecord} from '../../src/reconciler/desired.js';
import type {ApplyOptions} from '../../src/reconciler/desired.js';
import {desire, loaded} from '../fakes/ports.js';

const usual: ApplyOptions = {confirmed: false, takeOver: false, prune: true, appliedAt: 'now', version: '1.2.3'};

function apply(
  previous: FleetRecord | undefined,
  specialists: readonly Desired[],
  options: Partial<ApplyOptions> = {},
  changes: Partial<LoadedFleet> = {},
): FleetRecord {
  return nextRecord(previous, loaded(specialists, changes), {...usual, ...options});
}

function generations({specialists}: FleetRecord): Record<string, number> {
  return Object.fromEntries(specialists.map(d => [d.name, d.generation]));
}

describe('the record that an apply makes', () => {
  it('is new with the first apply, generations from 1', () => {
    const record = apply(undefined, [desire('athena'), desire('hermes')]);
    expect(generations(record)).toEqual({athena: 1, hermes: 1});
    expect(record).toMatchObject({
      formatVersion: 1,
      appliedAt: 'now',
      version: '1.2.3',
      stopped: false,
      generations: {'athena-ai': 1, 'hermes-ai': 1},
    });
  });

  it('counts a generation for what changed and for nothing else', () => {
    const first = apply(undefined, [desire('athena', {model: 'a'}), desire('hermes')]);
    const second = apply(first, [desire('athena', {model: 'b'}), desire('hermes')]);
    expect(generations(second)).toEqual({athena: 2, hermes: 1});
    expect(generations(apply(second, [desire('athena', {model: 'b'}), desire('hermes')]))).toEqual({
      athena: 2,
      hermes: 1,
    });
  });

  it('counts `enabled`, which the hash may not show', () => {
    const athena = desire('athena');
    const first = apply(undefined, [athena]);
    const off = {...athena, spec: {...athena.spec, enabled: false}};
    expect(generations(apply(first, [off]))).toEqual({athena: 2});
  });

  it('goes on counting for a name that returns', () => {
    const first = apply(undefined, [desire('athena', {model: 'a'}), desire('hermes')]);
    const second = apply(first, [desire('athena', {model: 'b'}), desire('hermes')]);
    const without = apply(second, [desire('hermes')]);
    expect(without.generations).toEqual({'athena-ai': 2, 'hermes-ai': 1});
    expect(generations(apply(without, [desire('athena', {model: 'b'}), desire('hermes')]))).toEqual({
      athena: 3,
      hermes: 1,
    });
  });

  it('starts a stopped fleet again', () => {
    const stopped = {...apply(undefined, [desire('athena')]), stopped: true};
    expect(apply(stopped, [desire('athena')])).toMatchObject({stopped: false, generations: {'athena-ai': 1}});
  });

  it('keeps what is no longer declared where nothing is to be pruned', () => {
    const first = apply(undefined, [desire('athena', {model: 'a'}), desire('hermes')]);
    const second = apply(first, [desire('numa')], {prune: false});
    expect(generations(second)).toEqual({numa: 1, athena: 1, hermes: 1});
    expect(second.specialists.find(d => d.name === 'athena')?.spec.model).toBe('a');
  });
});

describe('a source that is not the one that declared the fleet', () => {
  const files = (...paths: string[]): Source => ({type: 'files', paths});
  test.each<[Source, Source, boolean]>([
    [files('/a'), files('/a'), true],
    [files('/a', '/b'), files('/b', '/a'), true],
    [files('/a'), files('/b'), false],
    [files('/a', '/b'), files('/a'), false],
    [files('/a'), files('/a', '/b'), false],
    [{type: 'stdin'}, {type: 'stdin'}, true],
    [files('/a'), {type: 'stdin'}, false],
    [{type: 'stdin'}, files('/a'), false],
  ])('%j after %j is let through: %s', (from, to, allowed) => {
    const first = apply(undefined, [desire('athena')], {}, {source: from});
    const again = (): FleetRecord => apply(first, [desire('athena')], {}, {source: to});
    if (allowed) expect(again().source).toEqual(to);
    else expect(again).toThrow(ConflictError);
    expect(apply(first, [desire('athena')], {takeOver: true}, {source: to}).source).toEqual(to);
  });

  it('is told who has the fleet and how to take it over', () => {
    const first = apply(undefined, [desire('athena')], {}, {source: files('/home/a/tekton-ai.yaml')});
    expect(() => apply(first, [desire('athena')], {}, {source: {type: 'stdin'}})).toThrow(
      expect.objectContaining({
        message: expect.stringMatching(/from standard input: it is declared by \/home\/a\/tekton-ai\.yaml/),
        hint: expect.stringContaining('--take-over'),
        exitCode: 5,
      }),
    );
  });
});

describe('a mass prune', () => {
  const five = ['a', 'b', 'c', 'd', 'e'].map(name => desire(name));
  const first = apply(undefined, five);

  it('is refused, naming who would go', () => {
    expect(() => apply(first, five.slice(0, 2))).toThrow(MassPruneError);
    expect(() => apply(first, five.slice(0, 2))).toThrow('would prune 3 of 5 specialists (c, d, e)');
  });

  test.each<[string, Partial<ApplyOptions>, Partial<LoadedFleet>]>([
    ['a person agreed', {confirmed: true}, {}],
    ['the fleet allows it', {}, {allowMassPrune: true}],
    ['nothing is pruned', {prune: false}, {}],
  ])('is none where %s', (_, options, changes) => {
    expect(() => apply(first, five.slice(0, 2), options, changes)).not.toThrow();
  });

  it('is not what renames make of a small fleet', () => {
    expect(() => apply(apply(undefined, five.slice(0, 4)), [desire('x')])).not.toThrow();
  });
});
