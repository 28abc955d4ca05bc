/** Changes that wait: for a window to open. Nothing of them is lost, and what runs is kept meanwhile. */
import {beforeEach, describe, expect, it, test} from '@jest/globals';
import type {FleetRecord, LoadedFleet, SyncWindow} from '../../src/api/types.js';
import {admissionOf, whatWaits} from '../../src/reconciler/admission.js';
import type {Controller} from '../../src/reconciler/controller.js';
import {nextRecord} from '../../src/reconciler/desired.js';
import {fleetId} from '../../src/reconciler/fleets.js';
import type {FleetKey} from '../../src/reconciler/ports.js';
import {desire, dev, loaded, World} from '../fakes/ports.js';

const minuteMs = 60_000;

/** The fakes' clock begins at midnight, on Thursday, 1 January 2026. */
const tenPast: SyncWindow = {
  kind: 'allow',
  schedule: '10 0 * * *',
  durationSeconds: 1200,
  timeZone: 'UTC',
  manual: true,
};

function recordOf(fleet: LoadedFleet, previous?: FleetRecord): FleetRecord {
  const options = {confirmed: true, takeOver: true, prune: true, appliedAt: '', version: '1'};
  return nextRecord(previous, fleet, options);
}

describe('what waits', () => {
  const record = recordOf(loaded([desire('athena', {model: 'm1'}), desire('hermes')]));

  test.each<[what: string, next: LoadedFleet, text: string]>([
    ['a change', loaded([desire('athena', {model: 'm2'}), desire('hermes')]), 'athena (changed)'],
    ['a new one', loaded([...record.specialists, desire('numa')]), 'numa (new)'],
    ['one that goes', loaded([desire('athena', {model: 'm1'})]), 'hermes (removed)'],
    ['all at once', loaded([desire('numa'), desire('hermes')]), 'numa (new), athena (removed)'],
    ['what is no specialist', loaded(record.specialists, {allowMassPrune: true}), 'settings of the fleet'],
    [
      'many',
      loaded([...record.specialists, ...['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map(name => desire(name))]),
      'a (new), b (new), c (new), d (new), e (new), f (new) and 2 more',
    ],
  ])('is summed up: %s', (_what, next, text) => {
    expect(whatWaits(record, recordOf(next, record))).toBe(text);
  });

  test.each<[untilMs: number | undefined, lookAgainMs: number, text: string]>([
    [5_000, 5_000, 'the sync window opens at 1970-01-01T00:00:05Z'],
    [60 * minuteMs, 60_000, 'the sync window opens at 1970-01-01T01:00:00Z'],
    [undefined, 60_000, 'the sync window is closed, and no opening is in sight'],
  ])('is looked at again when the window opens, and once a minute: %s', (untilMs, lookAgainMs, text) => {
    const window = {open: false, manual: true, ...(untilMs !== undefined && {untilMs})};
    expect(admissionOf({record, next: record, window, dependency: undefined, nowMs: 0})).toEqual({
      admit: false,
      reason: 'SyncWindowClosed',
      message: `${text}; until then these wait: settings of the fleet`,
      lookAgainMs,
    });
  });
});

describe('a change while the window is closed', () => {
  let world: World;
  let controller: Controller;

  const before = [desire('athena', {model: 'm1'}), desire('hermes')];
  const after = [desire('athena', {model: 'm2'}), desire('hermes')];

  beforeEach(async () => {
    world = new World();
    await world.apply(before, {syncWindows: [tenPast]});
    controller = await world.start();
    world.runtime.log.length = 0;
    world.store.events.length = 0;
  });

  function untilOpen(): number {
    return Date.UTC(2026, 0, 1, 0, 10) - Date.parse(world.clock.iso());
  }

  function sourceError() {
    return world.store.statuses.get('default/dev')?.sourceError;
  }

  it('waits, says until when and what, and is taken over at the very moment', async () => {
    world.sources.edit(loaded(after, {syncWindows: [tenPast]}));
    await world.clock.advance(1000);
    const message = 'the sync window opens at 2026-01-01T00:10:00Z; until then these wait: athena (changed)';
    expect(sourceError()).toMatchObject({reason: 'SyncWindowClosed', message});
    expect(world.events()).toMatchObject([{type: 'Normal', reason: 'ChangeHeld', message}]);

    await world.clock.advance(untilOpen() - 1);
    expect(world.runtime.log).toEqual([]);
    expect(world.reasons()).toEqual(['ChangeHeld']);
    await world.clock.advance(1);
    expect(world.runtime.log).toEqual(['configure athena']);
    await world.clock.advance(100);
    expect(sourceError()).toBeUndefined();
    expect(world.reasons()).toEqual(expect.arrayContaining(['ChangeHeld', 'SourceApplied', 'Reconfigured']));
    expect(world.reasons()).not.toContain('SourceRecovered');
  });

  it('is replaced by a newer one, and only that is taken over', async () => {
    world.sources.edit(loaded([...after, desire('numa')], {syncWindows: [tenPast]}));
    await world.clock.advance(1000);
    world.sources.edit(loaded([desire('athena', {model: 'm3'}), desire('hermes')], {syncWindows: [tenPast]}));
    await world.clock.advance(11 * minuteMs);
    expect(world.runtime.process('athena').config.model).toBe('m3');
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
    expect(world.named('athena').generation).toBe(2);
  });

  it('that is taken back leaves nothing waiting', async () => {
    world.sources.edit(loaded(after, {syncWindows: [tenPast]}));
    await world.clock.advance(1000);
    world.sources.edit(loaded(before, {syncWindows: [tenPast]}));
    await world.clock.advance(1000);
    expect(sourceError()).toBeUndefined();
    await world.clock.advance(20 * minuteMs);
    expect(world.runtime.log).toEqual([]);
    expect(world.reasons()).toEqual(['ChangeHeld', 'ChangeWithdrawn']);
  });

  it('can not open its own window', async () => {
    world.sources.edit(loaded(after, {syncWindows: []}));
    await world.clock.advance(1000);
    expect(sourceError()?.reason).toBe('SyncWindowClosed');
    await world.clock.advance(8 * minuteMs);
    expect(world.runtime.log).toEqual([]);
    await world.clock.advance(3 * minuteMs);
    expect(world.runtime.log).toEqual(['configure athena']);
  });

  it('does not keep what runs from being healed, restarted and adopted', async () => {
    world.sources.edit(loaded(after, {syncWindows: [tenPast]}));
    await world.clock.advance(1000);
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual(['launch athena']);
    expect(world.runtime.process('athena').config.model).toBe('m1');
    world.runtime.process('hermes').configureByHand({model: 'by hand'});
    await world.clock.advance(1000);
    expect(world.reasons('hermes')).toContain('DriftHealed');
    await world.close(controller);
    await world.start();
    expect(world.reasons('athena')).toContain('Adopted');
    expect(world.runtime.process('athena').config.model).toBe('m1');
  });

  it('is held by the next controller, which says it no second time, and is taken over by it', async () => {
    world.sources.edit(loaded(after, {syncWindows: [tenPast]}));
    await world.clock.advance(1000);
    world.crash(controller);
    const next = await world.start();
    expect(sourceError()?.reason).toBe('SyncWindowClosed');
    expect(world.reasons().filter(reason => reason === 'ChangeHeld')).toHaveLength(1);
    await world.close(next);
    // Nobody is there when it opens; the next comes while it is open.
    await world.clock.advance(15 * minuteMs);
    await world.start();
    expect(world.runtime.process('athena').config.model).toBe('m2');
    expect(sourceError()).toBeUndefined();
  });

  it('of a file that nobody watched is held all the same', async () => {
    await world.close(controller);
    world.sources.content.set('default/dev', loaded(after, {syncWindows: [tenPast]}));
    await world.start();
    expect(sourceError()?.reason).toBe('SyncWindowClosed');
    expect(world.runtime.log).toEqual([]);
  });

  it('waits no longer when a person applies it', async () => {
    world.sources.edit(loaded(after, {syncWindows: [tenPast]}));
    await world.clock.advance(1000);
    await world.apply(after, {syncWindows: [tenPast]});
    await controller.loadRecords();
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(sourceError()).toBeUndefined();
  });

  it('is not in the way of a mistake that is made meanwhile, nor of the guard against mass prunes', async () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    await world.apply(
      names.map(name => desire(name)),
      {syncWindows: [tenPast]},
    );
    await controller.loadRecords();
    await world.clock.advance(1000);
    world.sources.edit(loaded([desire('a', {model: 'm2'})], {syncWindows: [tenPast]}));
    await world.clock.advance(5000);
    expect(sourceError()?.reason).toBe('MassPruneHeld');
    await world.clock.advance(11 * minuteMs);
    expect(sourceError()?.reason).toBe('MassPruneHeld');
    expect([...world.runtime.running].sort()).toEqual(names);
  });

  it('is noticed within a minute though the wall clock was set', async () => {
    world.sources.edit(loaded(after, {syncWindows: [tenPast]}));
    await world.clock.advance(1000);
    world.clock.set('2026-01-01T00:15:00Z');
    await world.clock.advance(60_000);
    expect(world.runtime.log).toEqual(['configure athena']);
  });

  it('leaves no timer behind when the controller ends', async () => {
    world.sources.edit(loaded(after, {syncWindows: [tenPast]}));
    await world.clock.advance(1000);
    await world.close(controller);
    expect(world.clock.pending).toEqual([]);
  });
});

it('takes a change over at once while the window is open', async () => {
  const world = new World();
  await world.apply([desire('athena', {model: 'm1'})], {syncWindows: [{...tenPast, schedule: '0 0 * * *'}]});
  await world.start();
  world.runtime.log.length = 0;
  world.sources.edit(loaded([desire('athena', {model: 'm2'})]));
  await world.clock.advance(500);
  expect(world.runtime.log).toEqual(['configure athena']);
});

describe('a fleet that depends on another', () => {
  const base: FleetKey = {namespace: 'default', fleet: 'base'};
  const middle: FleetKey = {namespace: 'default', fleet: 'middle'};
  let world: World;

  beforeEach(() => {
    world = new World();
  });

  const declared = (key: FleetKey, name: string, model: string, dependsOn?: readonly string[]): LoadedFleet =>
    loaded([desire(name, {fleet: key, provider: 'hosted', model})], {
      name: key.fleet,
      ...(dependsOn && {dependsOn}),
    });
  const onBase = ['default/base'];

  async function apply({specialists, ...rest}: LoadedFleet): Promise<void> {
    await world.apply(specialists, rest);
  }

  const statusOf = (key: FleetKey) => world.store.statuses.get(fleetId(key));
  const model = (name: string) => world.runtime.process(name).config.model;

  it('is launched when that one is Ready, not before', async () => {
    await apply(declared(base, 'hermes', 'm1'));
    await apply(declared(dev, 'athena', 'm1', onBase));
    world.models.answers.set('hosted', {available: false, reason: 'ProviderUnreachable', message: 'nobody answers'});
    await world.start();
    await world.clock.advance(1000);
    expect(world.runtime.running).toEqual(['hermes']);
    expect(world.condition('athena', 'Ready')).toMatchObject({
      reason: 'DependencyNotReady',
      message: 'waits for fleet default/base: hermes is not Ready: ProviderUnreachable',
    });
    world.models.answers.delete('hosted');
    await world.clock.advance(20_000);
    expect(world.runtime.running).toEqual(['hermes', 'athena']);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('is not launched while that one has only been read', async () => {
    const first: FleetKey = {namespace: 'default', fleet: 'a'};
    await apply(declared(first, 'athena', 'm1', onBase));
    await apply(declared(base, 'hermes', 'm1'));
    world.models.answers.set('hosted', {available: false, reason: 'ProviderUnreachable', message: 'nobody answers'});
    const {sources} = world;
    const watch = sources.watch.bind(sources);
    sources.watch = async (...args) => {
      await new Promise<void>(resolve => world.clock.after(1000, resolve));
      return watch(...args);
    };
    await world.start();
    await world.clock.advance(5000);
    expect(world.runtime.running).toEqual(['hermes']);
  });

  describe('and runs', () => {
    let controller: Controller;

    beforeEach(async () => {
      world.secretValues.set('HOSTED_KEY', 'k');
      await apply(declared(base, 'hermes', 'm1'));
      await apply(declared(middle, 'numa', 'm1', onBase));
      await apply(declared(dev, 'athena', 'm1', ['default/middle']));
      controller = await world.start();
      await world.clock.advance(30_000);
      expect([...world.runtime.running].sort()).toEqual(['athena', 'hermes', 'numa']);
      world.runtime.log.length = 0;
      world.store.events.length = 0;
    });

    it('takes a change over at once while that one is well', async () => {
      world.sources.edit(declared(dev, 'athena', 'm2', ['default/middle']));
      await world.clock.advance(500);
      expect(world.runtime.log).toEqual(['configure athena']);
    });

    it('has its change wait while that one is not, and is healed all the same', async () => {
      world.models.answers.set('hosted', {available: false, reason: 'ProviderUnreachable', message: 'nobody answers'});
      await world.clock.advance(30_000);
      world.sources.edit(declared(dev, 'athena', 'm2', ['default/middle']));
      await world.clock.advance(500);
      expect(statusOf(dev)?.sourceError).toMatchObject({
        reason: 'DependencyNotReady',
        message:
          'waits for fleet default/middle: numa is not Ready: ProviderUnreachable; until then these wait: athena (changed)',
      });
      world.runtime.process('athena').end({signal: 'SIGKILL'});
      await world.clock.advance(2000);
      expect(world.runtime.log).toEqual(['launch athena']);
      expect(model('athena')).toBe('m1');
      world.models.answers.delete('hosted');
      await world.clock.advance(30_000);
      expect(model('athena')).toBe('m2');
      expect(statusOf(dev)?.sourceError).toBeUndefined();
      const said = world.reasons().filter(reason => reason === 'ChangeHeld' || reason === 'SourceApplied');
      expect(said).toEqual(['ChangeHeld', 'SourceApplied']);
    });

    it('moves after those that it depends on when all change at once, whoever is told first', async () => {
      const order: string[] = [];
      for (const [key, name, dependsOn] of [
        [base, 'hermes', undefined],
        [middle, 'numa', onBase],
        [dev, 'athena', ['default/middle']],
      ] as const) {
        world.sources.content.set(fleetId(key), declared(key, name, 'm2', dependsOn));
      }
      world.sources.edit(declared(dev, 'athena', 'm2', ['default/middle']), dev);
      world.sources.edit(declared(middle, 'numa', 'm2', onBase), middle);
      world.sources.edit(declared(base, 'hermes', 'm2'), base);
      await world.clock.advance(30_000);
      order.push(...world.runtime.log);
      expect(order).toEqual(['configure hermes', 'configure numa', 'configure athena']);
      expect([statusOf(dev)?.sourceError, statusOf(middle)?.sourceError]).toEqual([undefined, undefined]);
    });

    it.each<[what: string, dependsOn: readonly string[], reason: string, text: string]>([
      [
        'there is none of',
        ['default/none'],
        'DependencyNotReady',
        'waits for fleet default/none: there is none of this name',
      ],
      ['that is stopped', ['default/idle'], 'DependencyNotReady', 'waits for fleet default/idle: it is stopped'],
    ])('waits for one %s, and says so', async (_what, dependsOn, reason, text) => {
      await apply(declared({namespace: 'default', fleet: 'idle'}, 'telos', 'm1'));
      await world.store.updateFleet({namespace: 'default', fleet: 'idle'}, r => r && {...r, stopped: true});
      await controller.loadRecords();
      await world.clock.advance(1000);
      world.sources.edit(declared(dev, 'athena', 'm2', dependsOn));
      await world.clock.advance(500);
      expect(statusOf(dev)?.sourceError).toMatchObject({reason, message: expect.stringContaining(text)});
      expect(model('athena')).toBe('m1');
      // A change that doesn't wait for it goes through.
      world.sources.edit(declared(dev, 'athena', 'm3'));
      await world.clock.advance(500);
      expect(model('athena')).toBe('m3');
    });

    it('is told of a circle, and nothing of it moves', async () => {
      world.sources.edit(declared(base, 'hermes', 'm2', ['default/dev']), base);
      await world.clock.advance(30_000);
      expect(statusOf(base)?.sourceError).toMatchObject({
        reason: 'Conflict',
        message:
          '`dependsOn` goes round in a circle: default/base → default/dev → default/middle → default/base; ' +
          'until then these wait: hermes (changed)',
      });
      expect(world.runtime.log).toEqual([]);
      world.sources.edit(declared(base, 'hermes', 'm2'), base);
      await world.clock.advance(1000);
      expect(model('hermes')).toBe('m2');
    });
  });
});
