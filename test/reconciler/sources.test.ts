/** Following the files that declare a fleet: what is taken over, and what is held back. */
import {beforeEach, describe, expect, it} from '@jest/globals';
import {InvalidInputError, SourceUnavailableError} from '../../src/api/errors.js';
import type {FleetRecord} from '../../src/api/types.js';
import type {Controller} from '../../src/reconciler/controller.js';
import {desire, loaded, World} from '../fakes/ports.js';

const typo = new InvalidInputError([
  {file: '/work/tekton-ai.yaml', line: 7, column: 3, message: 'unknown field "modle"', hint: 'did you mean `model`?'},
]);

let world: World;
let controller: Controller;

beforeEach(async () => {
  world = new World();
  await world.apply([desire('athena', {model: 'm1'}), desire('hermes')]);
  controller = await world.start();
  world.runtime.log.length = 0;
  world.store.events.length = 0;
});

function record(): FleetRecord {
  return JSON.parse(world.store.records.get('default/dev') ?? '') as FleetRecord;
}

function sourceError() {
  return world.store.statuses.get('default/dev')?.sourceError;
}

describe('at the resync', () => {
  it('takes over a record that nobody told of', async () => {
    await world.apply([desire('athena', {model: 'm2'}), desire('hermes')]);
    await world.clock.advance(400_000);
    expect(world.runtime.log).toEqual(['configure athena']);
  });

  it('takes over a source whose change was not noticed', async () => {
    world.sources.content.set('default/dev', loaded([desire('athena', {model: 'm2'}), desire('hermes')]));
    await world.clock.advance(400_000);
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(record().generations).toEqual({'athena-ai': 2, 'hermes-ai': 1});
  });
});

describe('an edit of the source', () => {
  it('takes effect at once, and is recorded', async () => {
    world.sources.edit(loaded([desire('athena', {model: 'm2'}), desire('hermes'), desire('numa')]));
    await world.clock.advance(500);
    expect([...world.runtime.log].sort()).toEqual(['configure athena', 'launch numa']);
    expect(record().generations).toEqual({'athena-ai': 2, 'hermes-ai': 1, 'numa-ai': 1});
    expect(world.named('numa').status.phase).toBe('Ready');
    expect(world.reasons()).toContain('SourceApplied');
  });

  it('that changes nothing says nothing', async () => {
    world.sources.edit(loaded([desire('athena', {model: 'm1'}), desire('hermes')]));
    await world.clock.advance(5000);
    expect(world.store.events).toEqual([]);
    expect(record().appliedAt).toBe('apply 1');
  });

  it('while nobody watched is found at the next start', async () => {
    await world.close(controller);
    world.sources.edit(loaded([desire('athena', {model: 'm2'}), desire('hermes')]));
    await world.start();
    expect(world.runtime.log).toEqual(['configure athena']);
  });

  it('is not followed by a one-shot apply', async () => {
    await world.close(controller);
    world.sources.edit(loaded([desire('athena', {model: 'm2'}), desire('hermes')]));
    await world.start({follow: false});
    expect(world.runtime.log).toEqual([]);
  });

  it('of a stopped fleet does not start it', async () => {
    await world.store.updateFleet({namespace: 'default', fleet: 'dev'}, r => r && {...r, stopped: true});
    await controller.loadRecords();
    await world.clock.advance(1000);
    world.sources.edit(loaded([desire('athena', {model: 'm2'}), desire('hermes')]));
    await world.clock.advance(5000);
    expect(world.runtime.running).toEqual([]);
    expect(record()).toMatchObject({stopped: true, generations: {'athena-ai': 1}});
  });

  it('of a fleet that was stopped since does not start it either', async () => {
    // `down` has written the record; the controller has not been told yet.
    await world.store.updateFleet({namespace: 'default', fleet: 'dev'}, r => r && {...r, stopped: true});
    world.sources.edit(loaded([desire('athena', {model: 'm2'}), desire('hermes'), desire('numa')]));
    await world.clock.advance(1000);
    expect(record()).toMatchObject({stopped: true});
    expect(world.runtime.log).not.toContain('launch numa');
  });
});

describe('a source that can not be used', () => {
  it('with a typo keeps the last good declaration, and says where the typo is', async () => {
    world.sources.edit(typo);
    await world.clock.advance(500);
    expect(sourceError()).toMatchObject({
      reason: 'SourceInvalid',
      message: '/work/tekton-ai.yaml:7:3: unknown field "modle"',
    });
    expect(world.events()).toMatchObject([{type: 'Warning', reason: 'SourceInvalid'}]);
    expect(world.runtime.log).toEqual([]);
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('still heals what it declared', async () => {
    world.sources.edit(typo);
    await world.clock.advance(500);
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    expect(world.runtime.log).toEqual(['launch athena']);
  });

  it('says the same error once', async () => {
    world.sources.edit(typo);
    await world.clock.advance(500);
    const at = sourceError()?.at;
    world.sources.edit(typo);
    await world.clock.advance(500);
    expect(world.reasons()).toEqual(['SourceInvalid']);
    expect(sourceError()?.at).toBe(at);
  });

  it('is done with when it is valid again', async () => {
    world.sources.edit(typo);
    await world.clock.advance(500);
    world.sources.edit(loaded([desire('athena', {model: 'm2'}), desire('hermes')]));
    await world.clock.advance(500);
    expect(sourceError()).toBeUndefined();
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(world.reasons()).toEqual(expect.arrayContaining(['SourceInvalid', 'SourceApplied', 'SourceRecovered']));
  });

  it('is done with, too, when it is again what it was', async () => {
    world.sources.edit(typo);
    await world.clock.advance(500);
    world.sources.edit(loaded([desire('athena', {model: 'm1'}), desire('hermes')]));
    await world.clock.advance(500);
    expect(sourceError()).toBeUndefined();
    expect(world.reasons()).toEqual(['SourceInvalid', 'SourceRecovered']);
  });

  it('because it is gone stops nothing', async () => {
    world.sources.edit(new SourceUnavailableError('cannot read /work/tekton-ai.yaml: no such file'));
    await world.clock.advance(60_000);
    expect(sourceError()).toMatchObject({
      reason: 'SourceUnavailable',
      message: 'cannot read /work/tekton-ai.yaml: no such file',
    });
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
  });

  it('for a reason nobody thought of stops nothing, and is logged', async () => {
    world.sources.edit(new TypeError('x is not a function'));
    await world.clock.advance(1000);
    expect(sourceError()?.message).toContain('x is not a function');
    expect(world.warnings.join()).toContain('x is not a function');
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
  });

  it('is forgotten when somebody applies another', async () => {
    world.sources.edit(typo);
    await world.clock.advance(500);
    await world.apply([desire('athena', {model: 'm1'}), desire('hermes')]);
    await controller.loadRecords();
    await world.clock.advance(500);
    expect(sourceError()).toBeUndefined();
  });
});

describe('a source that got shorter', () => {
  it('is read again a second later before anything is pruned', async () => {
    world.sources.reads.length = 0;
    world.sources.edit(loaded([desire('hermes')]));
    await world.clock.advance(999);
    expect(world.runtime.log).toEqual([]);
    expect(world.sources.reads).toHaveLength(1);
    await world.clock.advance(500);
    expect(world.sources.reads).toHaveLength(2);
    expect(Date.parse(world.sources.reads[1] ?? '') - Date.parse(world.sources.reads[0] ?? '')).toBe(1000);
    expect(world.runtime.running).toEqual(['hermes']);
  });

  it('only for a moment, as a file that is being written, prunes nothing', async () => {
    world.sources.edit(loaded([desire('hermes')]));
    await world.clock.advance(400);
    world.sources.edit(loaded([desire('athena', {model: 'm1'}), desire('hermes')]));
    await world.clock.advance(10_000);
    expect(world.runtime.log).toEqual([]);
    expect(world.store.events).toEqual([]);
  });

  it('in another way at the second reading is read until it stays the same', async () => {
    world.sources.edit(loaded([desire('hermes')]));
    await world.clock.advance(500);
    world.sources.content.set('default/dev', loaded([desire('athena', {model: 'm1'})]));
    await world.clock.advance(700);
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
    await world.clock.advance(2000);
    expect(world.runtime.running).toEqual(['athena']);
  });

  it('and then invalid prunes nothing', async () => {
    world.sources.edit(loaded([desire('hermes')]));
    await world.clock.advance(500);
    world.sources.content.set('default/dev', typo);
    await world.clock.advance(5000);
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
    expect(sourceError()?.reason).toBe('SourceInvalid');
  });

  it('just before the controller ends prunes nothing', async () => {
    world.sources.edit(loaded([desire('hermes')]));
    await world.clock.advance(500);
    let closed = false;
    void controller.close().then(() => (closed = true));
    await world.clock.advance(100);
    expect(closed).toBe(true); // and does not wait for the second reading
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
    expect(record().specialists).toHaveLength(2);
    expect(world.clock.pending).toEqual([]);
  });
});

describe('a mass prune', () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];

  beforeEach(async () => {
    await world.apply(names.map(name => desire(name)));
    await controller.loadRecords();
    await world.clock.advance(1000);
    world.runtime.log.length = 0;
    world.store.events.length = 0;
    world.sources.edit(loaded([desire('a', {model: 'm2'}), desire('b'), desire('new')]));
    await world.clock.advance(5000);
  });

  it('by an edit is held, all else of the edit with it', () => {
    expect(world.runtime.log).toEqual([]);
    expect(sourceError()).toMatchObject({
      reason: 'MassPruneHeld',
      message: expect.stringContaining('would prune 4 of 6 specialists (c, d, e, f)'),
    });
    expect(world.reasons()).toEqual(['MassPruneHeld']);
  });

  it('is let through by an apply that was confirmed', async () => {
    await world.apply([desire('a', {model: 'm2'}), desire('b'), desire('new')]);
    await controller.loadRecords();
    await world.clock.advance(1000);
    expect([...world.runtime.running].sort()).toEqual(['a', 'b', 'new']);
    expect(sourceError()).toBeUndefined();
  });

  it('is let through by the fleet itself', async () => {
    world.sources.edit(loaded([desire('a'), desire('b'), desire('new')], {allowMassPrune: true}));
    await world.clock.advance(5000);
    expect([...world.runtime.running].sort()).toEqual(['a', 'b', 'new']);
    expect(sourceError()).toBeUndefined();
  });
});

describe('a name that moves to another fleet', () => {
  const other = {namespace: 'default', fleet: 'other'};

  it('by edits of both sources runs once at a time, and ends up where it is declared', async () => {
    await world.apply([desire('numa', {fleet: other})], {name: 'other'});
    await controller.loadRecords();
    await world.clock.advance(500);
    world.sources.edit(
      loaded([desire('numa', {fleet: other}), desire('athena', {fleet: other})], {name: 'other'}),
      other,
    );
    await world.clock.advance(500);
    expect(world.condition('athena', 'Accepted', other)).toMatchObject({status: 'False', reason: 'Conflict'});
    world.sources.edit(loaded([desire('hermes')]));
    await world.clock.advance(5000);
    expect(world.runtime.process('athena').config.fleet).toBe('other');
    expect(world.runtime.running.filter(name => name === 'athena')).toHaveLength(1);
    expect(world.named('athena', other).status.phase).toBe('Ready');
  });

  it('with a chat under way waits for its end', async () => {
    await world.apply([desire('athena', {fleet: other})], {name: 'other'});
    await controller.loadRecords();
    await world.clock.advance(500);
    world.runtime.process('athena').chats = 1;
    await world.apply([desire('hermes')]);
    await controller.loadRecords();
    await world.clock.advance(10_000);
    expect(world.runtime.running.filter(name => name === 'athena')).toHaveLength(1);
    world.runtime.process('athena').chats = 0;
    await world.clock.advance(20_000);
    expect(world.runtime.process('athena').config.fleet).toBe('other');
    expect((await world.runtime.discover()).workers.map(w => w.hello.fleet).sort()).toEqual(['dev', 'other']);
  });
});
