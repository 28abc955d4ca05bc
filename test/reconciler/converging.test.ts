/** From what is declared to what runs, when all goes well. */
import {beforeEach, describe, expect, it} from '@jest/globals';
import type {Controller} from '../../src/reconciler/controller.js';
import {desire, World} from '../fakes/ports.js';

let world: World;
let controller: Controller;

beforeEach(() => {
  world = new World();
});

/** Another apply while the controller runs, as the CLI hands it over. */
async function applyNow(...args: Parameters<World['apply']>): Promise<void> {
  await world.apply(...args);
  await controller.loadRecords();
  await world.clock.advance(500);
}

describe('a fleet that is new', () => {
  it('is launched as declared, each with a port of its own, and becomes Ready', async () => {
    await world.apply([desire('athena', {model: 'm1', env: {A: 'b'}}), desire('hermes')]);
    controller = await world.start();
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
    const [athena] = world.runtime.launches;
    expect(athena).toMatchObject({
      uid: 'uid-1',
      port: 45000,
      env: {A: 'b'},
      startupMs: 30_000,
      config: {
        aiId: 'athena-ai',
        fleet: 'dev',
        namespace: 'default',
        model: 'm1',
        generation: 1,
        host: '127.0.0.1',
        provider: {name: 'ollama', baseUrl: 'http://127.0.0.1:11434'},
        choice: {provider: 'ollama', type: 'ollama', model: 'm1'},
        graceMs: 30_000,
      },
    });
    expect(world.runtime.process('hermes').port).toBe(45001);
    expect(world.named('athena').status).toMatchObject({
      phase: 'Ready',
      port: 45000,
      observedGeneration: 1,
      restarts: 0,
      instance: {uid: 'uid-1'},
    });
    expect(world.reasons('athena')).toEqual(['Launched', 'BecameReady']);
  });

  it('asks for all ports of one burst in one pass', async () => {
    await world.apply(['a', 'b', 'c', 'd'].map(name => desire(name)));
    controller = await world.start();
    expect(world.registry.passes.map(pass => pass.length)).toEqual([4]);
  });

  it('launches no more at once than it may', async () => {
    await world.apply(['a', 'b', 'c', 'd', 'e'].map(name => desire(name)));
    for (const name of ['a', 'b', 'c', 'd', 'e']) world.runtime.always.set(name, {type: 'listen', afterMs: 1000});
    controller = await world.start({parallel: 2});
    expect(world.runtime.launches).toHaveLength(2);
    await world.clock.advance(1000);
    expect(world.runtime.launches).toHaveLength(4);
    await world.clock.advance(1000);
    expect(world.runtime.launches).toHaveLength(5);
  });

  it('replaces no more at once than it may when a change concerns the whole fleet', async () => {
    const names = ['a', 'b', 'c', 'd', 'e'];
    await world.apply(names.map(name => desire(name)));
    controller = await world.start({parallel: 2});
    await world.clock.advance(1000);
    for (const name of names) world.runtime.always.set(name, {type: 'listen', afterMs: 1000});
    world.runtime.log.length = 0;
    await world.apply(names.map(name => desire(name, {env: {A: '2'}})));
    await controller.loadRecords();
    await world.clock.advance(0);
    const counts = [world.runtime.log.filter(line => line.startsWith('replace')).length];
    for (let second = 1; second <= 2; second++) {
      await world.clock.advance(1000);
      counts.push(world.runtime.log.filter(line => line.startsWith('replace')).length);
    }
    expect(counts).toEqual([2, 4, 5]);
    await world.clock.advance(2000);
    for (const name of names) expect(world.named(name).status).toMatchObject({phase: 'Ready', observedGeneration: 2});
  });

  it('says Starting while a slow one comes up', async () => {
    await world.apply([desire('athena')]);
    world.runtime.always.set('athena', {type: 'listen', afterMs: 5000});
    controller = await world.start();
    expect(world.named('athena').status.phase).toBe('Starting');
    expect(world.condition('athena', 'Progressing')).toMatchObject({status: 'True', reason: 'Launching'});
    await world.clock.advance(5000);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('is in the registry, exactly the workers that live', async () => {
    await world.apply([desire('athena'), desire('hermes', {enabled: false})]);
    controller = await world.start();
    expect(world.registry.entries).toMatchObject([
      {
        aiId: 'athena-ai',
        port: 45000,
        component: 'athena',
        metadata: {pid: 1001, uid: 'uid-1', fleet: 'default/dev', model: 'llama3', host: '127.0.0.1'},
      },
    ]);
    expect(world.registry.syncs.at(-1)?.fleets).toEqual(['default/dev']);
  });
});

describe('an edit', () => {
  beforeEach(async () => {
    await world.apply([desire('athena', {model: 'm1'}), desire('hermes')]);
    controller = await world.start();
    world.runtime.log.length = 0;
  });

  it('of the model reconfigures the worker without a restart', async () => {
    const before = world.runtime.process('athena');
    await applyNow([desire('athena', {model: 'm2'}), desire('hermes')]);
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(world.runtime.process('athena')).toBe(before);
    expect(before.config).toMatchObject({model: 'm2', generation: 2, choice: {model: 'm2'}});
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', observedGeneration: 2, restarts: 0});
    expect(world.events('athena').at(-1)).toMatchObject({
      reason: 'Reconfigured',
      message: 'changed model, without a restart',
    });
    expect(world.models.asked.at(-1)?.models).toContain('m2');
  });

  it('of the environment restarts the worker on its port', async () => {
    await applyNow([desire('athena', {model: 'm1', env: {A: '1'}}), desire('hermes')]);
    expect(world.runtime.log).toEqual(['replace athena']);
    expect(world.runtime.process('athena')).toMatchObject({port: 45000, launch: {env: {A: '1'}}});
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', observedGeneration: 2, restarts: 0});
    expect(world.events('athena').find(e => e.reason === 'Restarted')?.message).toContain('env.A');
  });

  it('that could not start anew stops nobody: what serves goes on, and says what is missing', async () => {
    await applyNow([desire('athena', {model: 'm1', env: {A: {env: 'NOT_SET'}}}), desire('hermes')]);
    expect(world.runtime.log).toEqual([]);
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
    expect(world.condition('athena', 'Stalled')).toMatchObject({status: 'True', reason: 'SecretMissing'});
    expect(world.condition('athena', 'Ready').status).toBe('True');
  });

  it('that removes one stops and forgets it, and leaves the other alone', async () => {
    await applyNow([desire('hermes')]);
    expect(world.runtime.log).toEqual(['stop athena', 'gone athena', 'forget athena-ai']);
    expect(world.runtime.running).toEqual(['hermes']);
    expect(world.reasons('athena').at(-1)).toBe('Pruned');
    expect(world.store.statuses.get('default/dev')?.specialists.map(s => s.name)).toEqual(['hermes']);
    expect(world.registry.syncs.at(-1)?.aiIds).toEqual(['hermes-ai']);
  });

  it('that brings one back while it is being stopped starts it again', async () => {
    world.runtime.process('athena').chats = 1;
    await applyNow([desire('hermes')]);
    expect(world.runtime.log).toEqual(['stop athena']);
    await applyNow([desire('athena', {model: 'm1'}), desire('hermes')]);
    world.runtime.process('athena').chats = 0;
    await world.clock.advance(1000);
    expect([...world.runtime.running].sort()).toEqual(['athena', 'hermes']);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('that disables one stops it, keeps its port, and starts it there again', async () => {
    await applyNow([desire('athena', {model: 'm1', enabled: false}), desire('hermes')]);
    expect(world.runtime.running).toEqual(['hermes']);
    expect(world.named('athena').status).toMatchObject({phase: 'Disabled', observedGeneration: 2});
    expect(world.condition('athena', 'Ready')).toMatchObject({status: 'False', reason: 'Disabled'});
    expect(world.reasons('athena').at(-1)).toBe('Stopped');
    await applyNow([desire('athena', {model: 'm1'}), desire('hermes')]);
    expect(world.runtime.process('athena').port).toBe(45000);
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 0});
  });

  it('of the pinned port moves the worker, and blames nobody for it', async () => {
    await applyNow([desire('athena', {model: 'm1', port: 45009}), desire('hermes')]);
    expect(world.runtime.process('athena').port).toBe(45009);
    expect(world.reasons('athena')).not.toContain('PortMoved');
  });

  it('of the range moves the worker at its next start, and blames nobody for it', async () => {
    const ports = {from: 46000, to: 46010};
    await applyNow([desire('athena', {model: 'm1', env: {A: '1'}}), desire('hermes')], {ports});
    expect(world.runtime.process('athena').port).toBe(46000);
    expect(world.reasons('athena')).not.toContain('PortMoved');
  });

  it('that changes nothing touches nothing and says nothing', async () => {
    const events = world.store.events.length;
    await applyNow([desire('athena', {model: 'm1'}), desire('hermes')]);
    expect(world.runtime.log).toEqual([]);
    expect(world.store.events).toHaveLength(events);
  });

  it('that a worker refuses is tried again, and said so meanwhile', async () => {
    world.runtime.process('athena').refuseConfigure = 'cannot do that';
    await applyNow([desire('athena', {model: 'm2'}), desire('hermes')]);
    expect(world.condition('athena', 'Progressing').message).toContain('cannot do that');
    expect(world.named('athena').status.observedGeneration).toBe(1);
    world.runtime.process('athena').refuseConfigure = undefined;
    await world.clock.advance(2500);
    expect(world.named('athena').status.observedGeneration).toBe(2);
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(world.condition('athena', 'Progressing').status).toBe('False');
  });

  it('during a slow launch is taken over right after it', async () => {
    world.runtime.always.set('numa', {type: 'listen', afterMs: 2000});
    await applyNow([desire('athena', {model: 'm1'}), desire('hermes'), desire('numa', {model: 'm1'})]);
    await applyNow([desire('athena', {model: 'm1'}), desire('hermes'), desire('numa', {model: 'm2'})]);
    await world.clock.advance(3000);
    expect(world.runtime.log).toEqual(['launch numa', 'configure numa']);
    expect(world.runtime.process('numa').config.model).toBe('m2');
  });

  it('that takes a name away during its launch stops it once it is up', async () => {
    world.runtime.always.set('numa', {type: 'listen', afterMs: 2000});
    await applyNow([desire('athena', {model: 'm1'}), desire('hermes'), desire('numa')]);
    await applyNow([desire('athena', {model: 'm1'}), desire('hermes')]);
    await world.clock.advance(3000);
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
  });
});

describe('dependsOn', () => {
  const chain = [desire('numa', {dependsOn: ['hermes']}), desire('hermes', {dependsOn: ['athena']}), desire('athena')];

  it('waits with the launch until the other is Ready', async () => {
    await world.apply(chain);
    world.models.answers.set('ollama', {available: false, reason: 'ProviderUnreachable', message: 'nobody there'});
    controller = await world.start();
    expect(world.runtime.running).toEqual(['athena']);
    expect(world.condition('hermes', 'Ready')).toMatchObject({
      reason: 'DependencyNotReady',
      message: 'waits for athena to be Ready',
    });
    world.models.answers.delete('ollama');
    await world.clock.advance(11_000);
    expect(world.runtime.running).toEqual(['athena', 'hermes', 'numa']);
    expect(world.named('numa').status.phase).toBe('Ready');
  });

  it('starts a whole chain without waiting for a resync', async () => {
    await world.apply(chain);
    controller = await world.start();
    expect(world.runtime.log).toEqual(['launch athena', 'launch hermes', 'launch numa']);
  });

  it('is turned round when the fleet is stopped', async () => {
    await world.apply(chain);
    controller = await world.start();
    world.runtime.log.length = 0;
    world.runtime.process('numa').chats = 1;
    const record = await world.store.updateFleet({namespace: 'default', fleet: 'dev'}, r => r && {...r, stopped: true});
    expect(record?.stopped).toBe(true);
    await controller.loadRecords();
    await world.clock.advance(5000);
    expect(world.runtime.log).toEqual(['stop numa']);
    expect(world.named('numa').status.phase).toBe('Draining');
    world.runtime.process('numa').chats = 0;
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual([
      'stop numa',
      'gone numa',
      'stop hermes',
      'gone hermes',
      'stop athena',
      'gone athena',
    ]);
    expect(world.named('athena').status.phase).toBe('Stopped');
  });

  it('does not stop what runs when the other is no longer Ready', async () => {
    await world.apply(chain);
    controller = await world.start();
    world.models.answers.set('ollama', {available: false, reason: 'ProviderUnreachable', message: 'nobody there'});
    await world.clock.advance(11_000);
    expect(world.named('athena').status.phase).toBe('NotReady');
    expect(world.runtime.running).toHaveLength(3);
  });
});

describe('a fleet that is to be off', () => {
  it('by its own word is stopped as a whole, and says why', async () => {
    await world.apply([desire('athena')]);
    controller = await world.start();
    await applyNow([desire('athena')], {enabled: false, notices: ['TEKTON_REGISTER_AI=false: nothing runs']});
    expect(world.runtime.running).toEqual([]);
    expect(world.condition('athena', 'Ready')).toMatchObject({
      reason: 'Disabled',
      message: 'TEKTON_REGISTER_AI=false: nothing runs',
    });
    expect(world.registry.entries).toEqual([]);
  });
});

describe('stopping', () => {
  it('gives chats under way the grace that is declared, and no more', async () => {
    await world.apply([desire('athena', {terminationGracePeriodSeconds: 7})]);
    controller = await world.start();
    world.runtime.process('athena').chats = 1;
    await applyNow([desire('athena', {terminationGracePeriodSeconds: 7, enabled: false})]);
    await world.clock.advance(6000);
    expect(world.runtime.running).toEqual(['athena']);
    await world.clock.advance(1000);
    expect(world.runtime.running).toEqual([]);
  });
});

describe('several fleets', () => {
  const other = {namespace: 'default', fleet: 'other'};

  it('are each brought to what they declare', async () => {
    await world.apply([desire('athena')]);
    await world.apply([desire('hermes', {fleet: other})], {name: 'other'});
    controller = await world.start();
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
    expect(world.named('hermes', other).status.phase).toBe('Ready');
    expect(world.registry.syncs.at(-1)).toEqual({
      fleets: ['default/dev', 'default/other'],
      aiIds: ['athena-ai', 'hermes-ai'],
    });
  });

  it('cannot both have one name: the first keeps it as declared, the second is told so', async () => {
    await world.apply([desire('athena', {model: 'm1'})]);
    await world.apply([desire('athena', {fleet: other, model: 'm2'})], {name: 'other'});
    controller = await world.start();
    expect(world.runtime.log).toEqual(['launch athena']);
    expect(world.runtime.process('athena').config).toMatchObject({fleet: 'dev', model: 'm1'});
    expect(world.named('athena').status.phase).toBe('Ready');
    expect(world.condition('athena', 'Accepted', other)).toMatchObject({
      status: 'False',
      reason: 'Conflict',
      message: 'athena-ai runs for fleet default/dev',
    });
    expect(world.condition('athena', 'Stalled', other).status).toBe('True');
  });

  it('leave a name to the fleet that runs it, though another that declares it comes first in the order of names', async () => {
    await world.apply([desire('athena', {fleet: other, model: 'm2'})], {name: 'other'});
    controller = await world.start();
    await applyNow([desire('athena', {model: 'm1'})]);
    expect(world.runtime.log).toEqual(['launch athena']);
    expect(world.named('athena', other).status.phase).toBe('Ready');
    expect(world.condition('athena', 'Accepted')).toMatchObject({status: 'False', reason: 'Conflict'});
  });

  it('leave a name to a program that serves it without a fleet, and take it when that is gone', async () => {
    world.registry.strangers.set('athena-ai', 'a worker that was started by hand (pid 4711)');
    await world.apply([desire('athena')]);
    controller = await world.start();
    expect(world.runtime.log).toEqual([]);
    expect(world.condition('athena', 'Accepted')).toMatchObject({
      status: 'False',
      reason: 'Conflict',
      message: 'athena-ai is registered by a worker that was started by hand (pid 4711)',
    });
    world.registry.strangers.clear();
    await world.clock.advance(10_000);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('hand a name over when the first gives it up', async () => {
    await world.apply([desire('athena', {model: 'm1'}), desire('hermes')]);
    await world.apply([desire('athena', {fleet: other, model: 'm2'})], {name: 'other'});
    controller = await world.start();
    await applyNow([desire('hermes')]);
    await world.clock.advance(1000);
    expect(world.runtime.process('athena').config).toMatchObject({fleet: 'other', model: 'm2'});
    expect(world.named('athena', other).status.phase).toBe('Ready');
    expect(world.condition('athena', 'Accepted', other).status).toBe('True');
  });

  it('cannot both have one pinned port', async () => {
    await world.apply([desire('athena', {port: 45005})]);
    await world.apply([desire('hermes', {fleet: other, port: 45005})], {name: 'other'});
    controller = await world.start();
    expect(world.runtime.running).toEqual(['athena']);
    expect(world.condition('hermes', 'Stalled', other)).toMatchObject({status: 'True', reason: 'Conflict'});
  });

  it('are left alone by a one-shot apply of one of them', async () => {
    await world.apply([desire('athena')]);
    await world.apply([desire('hermes', {fleet: other})], {name: 'other'});
    controller = await world.start({follow: false, only: other});
    expect(world.runtime.running).toEqual(['hermes']);
    expect(world.registry.syncs.at(-1)).toEqual({fleets: ['default/other'], aiIds: ['hermes-ai']});
    expect(world.store.statuses.has('default/dev')).toBe(false);
    expect(world.sources.watching).toBe(0);
  });
});
