/** Workers whose fleet's record vanished, and second instances of one name. */
import {beforeEach, describe, expect, it} from '@jest/globals';
import {TektonError} from '../../src/api/errors.js';
import {desire, dev, World} from '../fakes/ports.js';

let world: World;

beforeEach(() => {
  world = new World();
});

const names = (count: number): readonly string[] => Array.from({length: count}, (_, n) => `s${n}`);

/** A controller over a fleet of so many, all Ready, and nothing else on record. */
async function running(count: number) {
  await world.apply(names(count).map(name => desire(name)));
  const controller = await world.start();
  await world.clock.advance(1000);
  world.runtime.log.length = 0;
  return controller;
}

describe('a fleet whose record vanishes while the controller runs', () => {
  it('is pruned when it was missed twice, and not before', async () => {
    await running(2);
    world.store.removeFleet(dev);
    await world.clock.advance(29_000);
    expect(world.runtime.log).toEqual([]);
    await world.clock.advance(2000);
    expect([...world.runtime.log].sort()).toEqual(
      ['s0', 's1'].flatMap(name => [`stop ${name}`, `gone ${name}`, `forget ${name}-ai`]).sort(),
    );
    expect(world.events('s0').at(-1)).toMatchObject({
      reason: 'Pruned',
      message: 'the record of its fleet default/dev is gone',
    });
    expect(world.registry.entries).toEqual([]);
    expect(world.clock.pending.length).toBeLessThanOrEqual(1); // the resync
  });

  it('is healed as ever meanwhile', async () => {
    await running(1);
    world.store.removeFleet(dev);
    await world.clock.advance(5000);
    world.runtime.process('s0').end({signal: 'SIGKILL'});
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual(['launch s0']);
  });

  it('stays when its record comes back in time', async () => {
    await running(2);
    const record = world.store.records.get('default/dev') ?? '';
    world.store.removeFleet(dev);
    await world.clock.advance(20_000);
    world.store.records.set('default/dev', record);
    await world.clock.advance(400_000);
    expect(world.runtime.log).toEqual([]);
  });

  it('is missed for as long again when it came back in between', async () => {
    const controller = await running(1);
    const record = world.store.records.get('default/dev') ?? '';
    world.store.removeFleet(dev);
    await world.clock.advance(20_000);
    world.store.records.set('default/dev', record);
    await controller.loadRecords();
    world.store.removeFleet(dev);
    await world.clock.advance(25_000);
    expect(world.runtime.log).toEqual([]);
    await world.clock.advance(10_000);
    expect(world.runtime.running).toEqual([]);
  });

  it('is never taken for gone because the records could not be read', async () => {
    await running(2);
    world.store.removeFleet(dev);
    await world.clock.advance(1000);
    world.store.unreadable = new TektonError('cannot read the folder: too many open files');
    await world.clock.advance(200_000);
    expect(world.runtime.log).toEqual([]);
    world.store.unreadable = undefined;
    await world.clock.advance(31_000);
    expect(world.runtime.running).toEqual([]);
  });

  it('of more than four is held, said once, with the ways out; and `down` is one of them', async () => {
    const controller = await running(5);
    world.store.removeFleet(dev);
    await world.clock.advance(700_000);
    expect(world.runtime.log).toEqual([]);
    const held = world.store.events.filter(({reason}) => reason === 'MassPruneHeld');
    expect(held).toHaveLength(1);
    expect(held[0]).toMatchObject({type: 'Warning', namespace: 'default', fleet: 'dev'});
    expect(held[0]?.message).toMatch(
      /5 specialists .* Apply its file again, or stop them: tekton-ai down --fleet dev$/,
    );

    const record = await world.apply([]);
    world.store.records.set('default/dev', JSON.stringify({...record, stopped: true}));
    await controller.loadRecords();
    await world.clock.advance(1000);
    expect(world.runtime.running).toEqual([]);
  });

  it('of more than four goes on when its file is applied again', async () => {
    const controller = await running(5);
    world.store.removeFleet(dev);
    await world.clock.advance(60_000);
    await world.apply(names(5).map(name => desire(name)));
    await controller.loadRecords();
    await world.clock.advance(60_000);
    expect(world.runtime.log).toEqual([]);
    expect(world.runtime.running).toHaveLength(5);
  });

  it('harms no other fleet', async () => {
    const other = {namespace: 'default', fleet: 'other'};
    const controller = await running(1);
    await world.apply([desire('hermes', {fleet: other})], {name: 'other'});
    await controller.loadRecords();
    await world.clock.advance(1000);
    world.store.removeFleet(dev);
    await world.clock.advance(60_000);
    expect(world.runtime.running).toEqual(['hermes']);
    expect(world.registry.entries.map(({aiId}) => aiId)).toEqual(['hermes-ai']);
  });
});

describe('a fleet whose record vanished while no controller ran', () => {
  it('is pruned by the next one, which waits before it believes that', async () => {
    const first = await running(2);
    await world.close(first);
    world.store.removeFleet(dev);
    await world.start();
    await world.clock.advance(28_000);
    expect(world.runtime.running).toHaveLength(2);
    await world.clock.advance(5000);
    expect(world.runtime.running).toEqual([]);
  });

  it('is left alone by an apply of another fleet that only converges and leaves', async () => {
    const first = await running(2);
    await world.close(first);
    world.store.removeFleet(dev);
    const other = {namespace: 'default', fleet: 'other'};
    await world.apply([desire('hermes', {fleet: other})], {name: 'other'});
    const once = await world.start({follow: false, only: other});
    await world.clock.advance(120_000);
    expect([...world.runtime.running].sort()).toEqual(['hermes', 's0', 's1']);
    await world.close(once);
  });
});

describe('of two instances of one name', () => {
  it('one is adopted and the other stopped, and an event says so', async () => {
    const first = await running(1);
    await world.close(first);
    const {port: oldPort} = world.runtime.process('s0');
    const kept = world.runtime.duplicate('s0', 45_009);
    await world.start();
    await world.clock.advance(1000);
    expect(world.runtime.processes.filter(({alive}) => alive)).toEqual([kept]);
    expect(world.named('s0').status).toMatchObject({phase: 'Ready', port: 45_009, restarts: 0});
    expect(world.events('s0').find(({reason}) => reason === 'DuplicateStopped')).toMatchObject({
      type: 'Warning',
      message: expect.stringMatching(new RegExp(`^stopped pid \\d+ on port ${oldPort}: a second instance of s0-ai$`)),
    });
  });
});
