/** A fleet that goes back when a change doesn't become healthy, and whose fault that has to be. */
import {beforeEach, describe, expect, it, test} from '@jest/globals';
import {canaryDefaults} from '../../src/api/defaults.js';
import {hashOf} from '../../src/api/hash.js';
import type {Canary, Desired, FleetRecord, LoadedFleet, ModelCheck} from '../../src/api/types.js';
import type {Controller} from '../../src/reconciler/controller.js';
import {nextRecord} from '../../src/reconciler/desired.js';
import {contentOf, faultsOf, isRefused, passed, rolledBack, unmetText} from '../../src/reconciler/health-gate.js';
import type {Unmet} from '../../src/reconciler/health-gate.js';
import {held, refusalLiftedBy} from '../fakes/gates.js';
import {desire, dev, loaded, World} from '../fakes/ports.js';
import type {Says} from '../fakes/ports.js';

const rollback = {rollback: {enabled: true, deadlineSeconds: 60}};
const down: ModelCheck = {available: false, reason: 'ProviderUnreachable', message: 'cannot reach it'};

describe('whose fault it is', () => {
  const record = (specialists: readonly Desired[], previous?: FleetRecord, notReady = {}): FleetRecord =>
    nextRecord(previous, loaded(specialists, rollback), {
      ...{confirmed: true, takeOver: false, prune: true, version: '1', notReady},
      appliedAt: previous ? '2' : '1',
    });
  const unmet = (name: string, reason: Unmet['why']['reason']): Unmet => ({
    aiId: `${name}-ai`,
    name,
    why: {reason, message: 'm'},
  });
  const pinned = (says: Says = {}) => desire('athena', {model: 'm1', ...says});

  test.each<[string, Says, Says, Unmet['why']['reason'], Record<string, string>, boolean]>([
    ['a provider that is as it was', {}, {parameters: {temperature: 1}}, 'ProviderUnreachable', {}, false],
    ['a provider that is another', {}, {provider: 'hosted'}, 'ProviderUnreachable', {}, true],
    ['a model that is another', {}, {model: 'm2'}, 'ModelNotFound', {}, true],
    ['a model that is being fetched for it', {}, {model: 'm2'}, 'Pulling', {}, true],
    ['a model that is as it was', {}, {port: 45001}, 'ModelNotFound', {}, false],
    ['a key that is as it was', {}, {port: 45001}, 'Unauthorized', {}, false],
    ['a secret that is new', {}, {env: {A: {env: 'NO'}}}, 'SecretMissing', {}, true],
    ['a budget that is as it was', {}, {model: 'm2'}, 'BudgetExceeded', {}, false],
    ['a budget that is new', {}, {budget: {mode: 'hard', tokensPerDay: 1}}, 'BudgetExceeded', {}, true],
    ['a crash of what changed', {}, {model: 'm2'}, 'CrashLoop', {'athena-ai': 'CrashLoop'}, true],
    ['a crash of what is unchanged, and was well', {}, {}, 'CrashLoop', {}, true],
    ['a crash of what is unchanged, and crashed before', {}, {}, 'BackingOff', {'athena-ai': 'CrashLoop'}, false],
    ['another fault of what is unchanged', {}, {}, 'PortTaken', {'athena-ai': 'CrashLoop'}, true],
  ])('%s', (_, before, after, reason, notReady, isFault) => {
    const good = passed(record([pinned(before), desire('hermes')]), 'then');
    const next = record([pinned(after), desire('hermes', {port: 45009})], good, notReady);
    expect(faultsOf(next, [unmet('athena', reason)]).length > 0).toBe(isFault);
  });

  it('of a new one is not that of a provider which the others had', () => {
    const next = record([pinned(), desire('numa')], passed(record([pinned()]), 'then'));
    expect(faultsOf(next, [unmet('numa', 'ProviderUnreachable')])).toEqual([]);
    expect(faultsOf(next, [unmet('numa', 'ModelNotFound')])).toHaveLength(1);
  });

  it('of one that waits is that of those that it waits for', () => {
    const chain = [pinned(), desire('b', {dependsOn: ['athena']}), desire('c', {dependsOn: ['b']})];
    const next = record([...chain, desire('new')], passed(record(chain), 'then'));
    const waiting = [unmet('b', 'DependencyNotReady'), unmet('c', 'DependencyNotReady')];
    expect(faultsOf(next, [...waiting, unmet('athena', 'ProviderUnreachable')])).toEqual([]);
    expect(faultsOf(next, [...waiting, unmet('athena', 'CrashLoop')]).map(({name}) => name)).toEqual([
      'b',
      'c',
      'athena',
    ]);
  });

  it('of a failed canary is always the change’s', () => {
    const next = record([pinned({model: 'm2'})], passed(record([pinned()]), 'then'));
    expect(faultsOf(next, [{...unmet('athena', 'CanaryFailed'), failed: true}])).toHaveLength(1);
  });

  it('of a change upon a change that was not judged yet is judged from where all was well', () => {
    const good = passed(record([pinned(), desire('b')]), 'then');
    const bad = record([pinned({model: 'm2'}), desire('b')], good);
    // By then athena is down, for the change before.
    const next = record([pinned({model: 'm2'}), desire('b', {port: 45001})], bad, {'athena-ai': 'CrashLoop'});
    expect(faultsOf(next, [unmet('athena', 'CrashLoop')])).toHaveLength(1);
  });

  it('is told with a few names', () => {
    const many = ['a', 'b', 'c', 'd', 'e'].map(name => unmet(name, 'CrashLoop'));
    expect(unmetText(many)).toBe('a: CrashLoop: m; b: CrashLoop: m; c: CrashLoop: m; and 2 more');
  });
});

describe('what is declared', () => {
  const base = loaded([desire('athena', {model: 'm1'}), desire('hermes')], rollback);

  test.each<[string, Partial<LoadedFleet>, boolean]>([
    ['another commit', {revision: 'abc'}, true],
    ['other files', {files: ['/elsewhere'], watch: ['/x'], notices: ['n']}, true],
    ['another order', {specialists: base.specialists.toReversed()}, true],
    ['another deadline', {rollback: {enabled: true, deadlineSeconds: 61}}, false],
    ['another model', {specialists: [desire('athena', {model: 'm2'}), desire('hermes')]}, false],
    ['one less', {specialists: [desire('hermes')]}, false],
  ])('with %s is the same: %s', (_, changes, same) => {
    expect(contentOf({...base, ...changes}) === contentOf(base)).toBe(same);
  });

  it('is not mixed up by where it stands', () => {
    const [first, ...rest] = base.specialists;
    const moved = first && {...first, origins: {model: {type: 'file' as const, file: '/f.yaml', line: 99}}};
    expect(contentOf({...base, specialists: moved ? [moved, ...rest] : []})).toBe(contentOf(base));
    expect(hashOf(first?.declared ?? {})).toBe(first?.specHash);
  });
});

describe('a record', () => {
  const apply = (fleet: LoadedFleet, previous: FleetRecord | undefined, at: string): FleetRecord =>
    nextRecord(previous, fleet, {confirmed: true, takeOver: false, prune: true, appliedAt: at, version: '1'});
  const good = passed(apply(loaded([desire('athena', {model: 'm1'}), desire('b')], rollback), undefined, '1'), 'then');
  const changedFleet = loaded([desire('athena', {model: 'm2'}), desire('c')], {...rollback, revision: 'bad'});

  it('that goes back has those that were removed again, and counts on', () => {
    const back = rolledBack(apply(changedFleet, good, '2'), 'why', '3');
    expect(back?.specialists.map(({name, spec, generation}) => [name, spec.model, generation])).toEqual([
      ['athena', 'm1', 3],
      ['b', 'llama3', 2],
    ]);
    expect(back?.generations).toMatchObject({'athena-ai': 3, 'b-ai': 2, 'c-ai': 1});
    expect(back && isRefused(back, changedFleet)).toBe(true);
    expect(back && isRefused(back, {...changedFleet, revision: 'another'})).toBe(true);
    expect(back && isRefused(back, loaded([desire('athena', {model: 'm3'})], rollback))).toBe(false);
  });

  it('keeps a person’s word on a specialist', () => {
    const heldAt = held(good, 'athena', 'm0');
    const back = rolledBack(apply(changedFleet, heldAt, '3'), 'why', '4');
    expect(back?.specialists[0]?.spec.model).toBe('m0');
    expect(back?.rollouts?.['athena-ai']?.held).toMatchObject({by: 'pause'});
  });

  it('of a fleet that has no gate any more has none', () => {
    expect(apply(loaded([desire('athena')]), good, '2').gate).toBeUndefined();
    const off = loaded([desire('athena')], {rollback: {enabled: false, deadlineSeconds: 60}});
    expect(apply(off, good, '2').gate).toBeUndefined();
  });
});

describe('a fleet with rollback', () => {
  let world: World;
  let controller: Controller;
  const record = (): FleetRecord => JSON.parse(world.store.records.get('default/dev') ?? '{}') as FleetRecord;
  const status = () => world.store.statuses.get('default/dev');
  const edit = async (specialists: readonly Desired[], changes: Partial<LoadedFleet> = {}, ms = 3000) => {
    world.store.events.length = 0;
    world.sources.edit(loaded(specialists, {...rollback, ...changes}));
    await world.clock.advance(ms);
  };
  const fleetEvents = () => world.store.events.filter(({aiId}) => aiId === undefined).map(({reason}) => reason);
  const athena = (model: string) => desire('athena', {model});

  beforeEach(async () => {
    world = new World();
    await world.apply([athena('m1'), desire('hermes')], {...rollback, revision: 'a'.repeat(40)});
    controller = await world.start();
    await world.clock.advance(5000);
  });

  const bad = [athena('m1'), desire('numa', {provider: 'hosted'})];
  const goesBad = async (ms = 65_000) => {
    world.models.answers.set('hosted', down);
    await edit(bad, {revision: 'b'.repeat(40)}, ms);
  };

  it('has what is healthy on disk', () => {
    expect(record().gate).toMatchObject({
      healthy: {revision: 'a'.repeat(40), specialists: [{name: 'athena'}, {name: 'hermes'}]},
    });
    expect(record().gate?.judging).toBeUndefined();
    expect(fleetEvents()).toContain('FleetHealthy');
  });

  it('is under judgement on disk before a worker is touched', async () => {
    let judged: unknown;
    const before = world.store.updateFleet.bind(world.store);
    world.store.updateFleet = async (key, change) => {
      const next = await before(key, change);
      judged ??= {judging: next?.gate?.judging?.of, log: [...world.runtime.log]};
      return next;
    };
    world.runtime.log.length = 0;
    await edit([athena('m2'), desire('hermes')]);
    expect(judged).toEqual({judging: 'change', log: []});
    expect(world.runtime.log).toEqual(['configure athena']);
  });

  it('takes over what becomes healthy, and goes back to that from then on', async () => {
    await edit([athena('m2')], {revision: 'c'.repeat(40)}, 10_000);
    expect(record().gate).toMatchObject({healthy: {revision: 'c'.repeat(40)}});
    expect(fleetEvents()).toEqual(['SourceApplied', 'FleetHealthy']);
    expect(status()?.sourceError).toBeUndefined();
  });

  it('goes back when the time is up: the new one goes, the removed one comes', async () => {
    await goesBad(30_000);
    expect([...world.runtime.running].sort()).toEqual(['athena', 'numa']);
    await world.clock.advance(40_000);
    expect([...world.runtime.running].sort()).toEqual(['athena', 'hermes']);
    const message =
      'revision bbbbbbbbbbbb was not healthy within 60 s (numa: ProviderUnreachable: cannot reach it): ' +
      'rolled back to revision aaaaaaaaaaaa';
    expect(world.store.events).toContainEqual(
      expect.objectContaining({type: 'Warning', reason: 'RolledBack', message}),
    );
    expect(status()?.sourceError).toMatchObject({reason: 'RolledBack', message});
    expect(status()?.revision).toBe('a'.repeat(40));
    expect(record().gate?.judging).toBeUndefined();
  });

  it('does not take over again what was refused, whatever the commit', async () => {
    await goesBad();
    world.runtime.log.length = 0;
    await edit(bad, {revision: 'd'.repeat(40)});
    await world.close(controller);
    controller = await world.start();
    await world.clock.advance(400_000);
    expect(world.runtime.log).toEqual([]);
    expect(status()?.sourceError?.reason).toBe('RolledBack');
  });

  it('takes over something else', async () => {
    await goesBad();
    await edit([athena('m3'), desire('hermes')], {}, 10_000);
    expect(world.runtime.process('athena').config.model).toBe('m3');
    expect(status()?.sourceError).toBeUndefined();
    expect(record().gate?.refused).toBeUndefined();
  });

  it('has nothing to say any more when the source is as it was', async () => {
    await goesBad();
    await edit([athena('m1'), desire('hermes')], {}, 10_000);
    expect(status()?.sourceError).toBeUndefined();
    expect(record().gate?.refused).toBeUndefined();
  });

  it('takes over what was refused when a person says so, and judges it anew', async () => {
    await goesBad();
    world.models.answers.delete('hosted');
    await world.store.updateFleet(dev, refusalLiftedBy('by hand'));
    await controller.loadRecords();
    await world.clock.advance(10_000);
    expect([...world.runtime.running].sort()).toEqual(['athena', 'numa']);
    expect(record().gate?.healthy?.specialists.map(({name}) => name)).toEqual(['athena', 'numa']);
  });

  it('judges what comes while it judges, and keeps what was healthy last', async () => {
    await goesBad(50_000);
    await edit([athena('m2'), desire('numa', {provider: 'hosted'})], {}, 50_000);
    expect(fleetEvents()).not.toContain('RolledBack'); // a deadline of its own
    await world.clock.advance(20_000);
    expect(fleetEvents()).toContain('RolledBack');
    expect([...world.runtime.running].sort()).toEqual(['athena', 'hermes']);
    expect(world.runtime.process('athena').config.model).toBe('m1');
  });

  it('does not go back for a provider that is down for all', async () => {
    world.models.answers.set('ollama', down);
    await edit([athena('m2'), desire('hermes')], {}, 400_000);
    expect(world.runtime.process('athena').config.model).toBe('m2');
    expect(fleetEvents().filter(reason => reason === 'HealthUndecided')).toHaveLength(1);
    world.models.answers.delete('ollama');
    await world.clock.advance(30_000);
    expect(fleetEvents()).toContain('FleetHealthy');
    expect(record().gate?.healthy?.specialists[0]?.spec.model).toBe('m2');
  });

  it('goes back once: a rollback that is not healthy either ends there', async () => {
    world.models.answers.set('hosted', down);
    await edit(bad, {}, 30_000);
    world.runtime.always.set('hermes', {type: 'fail', code: 1});
    await world.clock.advance(40_000);
    expect(fleetEvents()).toContain('RolledBack');
    await world.clock.advance(600_000);
    expect(fleetEvents().filter(reason => /Roll/.test(reason))).toEqual(['RolledBack', 'RollbackFailed']);
    expect(status()?.sourceError).toMatchObject({reason: 'RollbackFailed'});
    world.runtime.always.delete('hermes');
    await world.clock.advance(600_000);
    expect(status()?.sourceError?.reason).toBe('RolledBack');
  });

  it('with nothing to go back to says so, once', async () => {
    world = new World();
    world.models.answers.set('hosted', down);
    await world.apply([desire('numa', {provider: 'hosted'})], rollback);
    await world.start();
    await world.clock.advance(300_000);
    expect(fleetEvents().filter(reason => reason === 'NotHealthy')).toHaveLength(1);
    expect(status()?.sourceError?.reason).toBe('NotHealthy');
    world.models.answers.delete('hosted');
    await world.clock.advance(30_000);
    expect(status()?.sourceError).toBeUndefined();
  });

  it('goes on judging after a kill of the controller, at whatever step', async () => {
    for (const ms of [
      1, 5, 10, 20, 50, 200, 500, 1000, 30_000, 59_900, 60_001, 60_010, 60_050, 60_200, 61_000, 62_500,
    ]) {
      world.models.answers.set('hosted', down);
      await edit([athena('m1'), desire('hermes')], {}, 5000);
      await edit(bad, {}, ms);
      world.crash(controller);
      controller = await world.start();
      await world.clock.advance(70_000);
      expect([...world.runtime.running].sort()).toEqual(['athena', 'hermes']);
      expect(record().gate).toMatchObject({refused: {}, healthy: {}});
      expect(record().gate?.judging).toBeUndefined();
    }
  });

  it('that is stopped is not judged, and is when it is started again', async () => {
    await goesBad(30_000);
    await world.store.updateFleet(dev, previous => previous && {...previous, stopped: true});
    await controller.loadRecords();
    await world.clock.advance(300_000);
    expect(fleetEvents()).not.toContain('RolledBack');
    await world.store.updateFleet(dev, previous => previous && {...previous, stopped: false});
    await controller.loadRecords();
    await world.clock.advance(65_000);
    expect(fleetEvents()).toContain('RolledBack');
  });

  it('goes back at once for a failed canary, and the specialist is not held on its own', async () => {
    const canary: Canary = {...canaryDefaults, prompts: [{prompt: 'capital?', contains: 'Paris'}]};
    world.chats.answer = () => (world.runtime.process('athena').config.model === 'm2' ? 'London' : 'Paris');
    await edit([desire('athena', {model: 'm1', canary}), desire('hermes')], {}, 10_000);
    expect(fleetEvents()).toContain('FleetHealthy');
    await edit([desire('athena', {model: 'm2', canary}), desire('numa')], {}, 5000);
    expect(world.reasons()).toEqual(expect.arrayContaining(['CanaryFailed', 'RolledBack']));
    expect(world.runtime.process('athena').config.model).toBe('m1');
    expect([...world.runtime.running].sort()).toEqual(['athena', 'hermes']);
    expect(record().rollouts?.['athena-ai']?.held).toBeUndefined();
    expect(world.condition('athena', 'Stalled').status).toBe('False');
    expect(status()?.sourceError?.message).toContain('the answer was "London"');
  });

  it('counts as healthy only what stays so for a moment', async () => {
    await edit([athena('m2'), desire('hermes')], {}, 1500);
    world.runtime.process('athena').end({signal: 'SIGSEGV'});
    await world.clock.advance(1000);
    expect(fleetEvents()).not.toContain('FleetHealthy');
    await world.clock.advance(3000);
    expect(fleetEvents()).toContain('FleetHealthy');
  });

  it('that a person has hold a specialist keeps that through a rollback', async () => {
    await world.store.updateFleet(dev, previous => previous && held(previous, 'athena', 'm9'));
    await controller.loadRecords();
    await world.clock.advance(5000);
    await goesBad();
    expect(fleetEvents()).toContain('RolledBack');
    expect(world.runtime.process('athena').config.model).toBe('m9');
  });

  it('tries again when its record can not be written', async () => {
    world.models.answers.set('hosted', down);
    await edit(bad, {}, 59_000);
    const write = world.store.updateFleet.bind(world.store);
    world.store.updateFleet = () => Promise.reject(new Error('no space left on device'));
    await world.clock.advance(10_000);
    world.store.updateFleet = write;
    await world.clock.advance(5000);
    expect(fleetEvents()).toContain('RolledBack');
  });
});
