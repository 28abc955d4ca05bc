/** Workers outlive their controller; the next one takes them over. */
import {beforeEach, describe, expect, it} from '@jest/globals';
import {TektonError} from '../../src/api/errors.js';
import {desire, World} from '../fakes/ports.js';

let world: World;

beforeEach(() => {
  world = new World();
});

describe('a controller that takes over', () => {
  const fleet = [desire('athena', {model: 'm1'}), desire('hermes', {dependsOn: ['athena']})];

  it('from one that was killed launches nothing, stops nothing and tells nobody anything new', async () => {
    await world.apply(fleet);
    const first = await world.start();
    await world.clock.advance(5000);
    world.crash(first);
    world.runtime.log.length = 0;
    const before = world.named('athena').status;
    const pids = world.runtime.processes.map(p => p.instance.identity.pid);
    await world.start();
    await world.clock.advance(60_000);
    expect(world.runtime.log).toEqual([]);
    expect(world.runtime.processes.map(p => p.instance.identity.pid)).toEqual(pids);
    expect(world.named('athena').status).toEqual(before);
  });

  it('calls nobody unready only because the provider takes its time to answer', async () => {
    await world.apply([desire('athena')]);
    const first = await world.start();
    await world.close(first);
    const {length} = world.store.events;
    let answer: () => void = () => undefined;
    world.models.gate = new Promise(resolve => (answer = resolve));
    world.clock.after(300, answer);
    await world.start();
    await world.clock.advance(1000);
    expect(world.store.events.slice(length).map(e => e.reason)).toEqual(['Adopted']);
  });

  it('takes nobody for Ready who gives no answer, and replaces one that goes on like that', async () => {
    await world.apply([desire('athena')]);
    const first = await world.start();
    await world.close(first);
    world.runtime.process('athena').hung = true;
    await world.start();
    await world.clock.advance(100);
    expect(world.named('athena').status.phase).toBe('NotReady');
    expect(world.condition('athena', 'Live')).toMatchObject({status: 'False', reason: 'ProbeFailed'});
    await world.clock.advance(20_000);
    expect(world.runtime.log).toContain('kill athena');
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('says whom it adopted', async () => {
    await world.apply(fleet);
    const first = await world.start();
    await world.close(first);
    const {length} = world.store.events;
    await world.start();
    expect(world.store.events.slice(length)).toMatchObject([
      {reason: 'Adopted', aiId: 'athena-ai', message: 'took over pid 1001 on port 45000'},
      {reason: 'Adopted', aiId: 'hermes-ai'},
    ]);
  });

  it('keeps counts, transition times and the last exit', async () => {
    await world.apply([desire('athena')]);
    const first = await world.start();
    world.runtime.process('athena').end({code: 7});
    await world.clock.advance(1000);
    world.runtime.process('athena').notify({type: 'usage', usage: {requests: 3, inputTokens: 4, outputTokens: 5}});
    await world.clock.advance(1000);
    const before = world.named('athena').status;
    expect(before).toMatchObject({restarts: 1, lastExit: {code: 7}, usage: {requests: 3}});
    await world.close(first);
    await world.clock.advance(100_000);
    await world.start();
    expect(world.named('athena').status).toEqual(before);
  });

  it('is not Ready only by what was written: a worker that hung meanwhile is found out', async () => {
    await world.apply([desire('athena')]);
    const first = await world.start();
    await world.close(first);
    world.runtime.process('athena').hung = true;
    await world.start();
    await world.clock.advance(40_000);
    expect(world.reasons('athena')).toContain('ProbeFailed');
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 1});
  });

  it('brings up at the same port what died meanwhile', async () => {
    await world.apply([desire('hermes'), desire('athena')]);
    const first = await world.start();
    await world.close(first);
    const {port} = world.runtime.process('athena');
    for (const process of world.runtime.processes) process.end({signal: 'SIGKILL'});
    world.runtime.loseRecord('hermes-ai');
    await world.start();
    expect(world.runtime.process('athena').port).toBe(port);
    expect(world.runtime.process('hermes').port).not.toBe(port);
  });

  it('wakes what waits for one that was Ready all the time', async () => {
    // Two providers: the model of the one that waits is known before that of the one that is waited for.
    const slow = desire('athena', {provider: 'auto'});
    await world.apply([slow, desire('hermes', {provider: 'offline', dependsOn: ['athena']})]);
    const first = await world.start();
    await world.close(first);
    world.runtime.process('hermes').end({signal: 'SIGKILL'});
    await world.start();
    await world.clock.advance(1000);
    expect([...world.runtime.running].sort()).toEqual(['athena', 'hermes']);
    expect(world.named('hermes').status.phase).toBe('Ready');
  });

  it('carries out what was applied while there was none', async () => {
    await world.apply([desire('athena', {model: 'm1'}), desire('hermes')]);
    const first = await world.start();
    await world.close(first);
    world.runtime.log.length = 0;
    await world.apply([desire('athena', {model: 'm2'}), desire('numa')]);
    await world.start();
    expect([...world.runtime.log].sort()).toEqual([
      'configure athena',
      'forget hermes-ai',
      'gone hermes',
      'launch numa',
      'stop hermes',
    ]);
  });

  it('finishes a stop that the last one had begun', async () => {
    await world.apply([desire('athena')]);
    const first = await world.start();
    world.crash(first);
    world.runtime.process('athena').draining = true;
    await world.start();
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual(['launch athena', 'stop athena', 'gone athena', 'launch athena']);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('tells adopted workers their keys once, without an event', async () => {
    world.secretValues.set('HOSTED_KEY', 'k1');
    await world.apply([desire('athena', {provider: 'hosted'})]);
    const first = await world.start();
    await world.close(first);
    world.secretValues.set('HOSTED_KEY', 'k2');
    await world.start();
    await world.clock.advance(100_000);
    const {configured} = world.runtime.process('athena');
    expect(configured.map(c => c.provider.apiKey)).toEqual(['k2']);
    expect(world.reasons('athena')).not.toContain('Reconfigured');
  });
});

describe('a controller that is killed', () => {
  it.each(Array.from({length: 12}, (_, step) => step))('after %i steps leaves what the next can finish', async step => {
    await world.apply([desire('athena'), desire('hermes', {dependsOn: ['athena']}), desire('numa')]);
    for (const name of ['athena', 'hermes', 'numa']) world.runtime.always.set(name, {type: 'listen', afterMs: 40});
    const first = world.controller();
    void first.start();
    await world.clock.advance(step * 25);
    world.crash(first);
    await world.start();
    await world.clock.advance(1000);
    expect(world.runtime.log.filter(line => line.startsWith('launch')).sort()).toEqual([
      'launch athena',
      'launch hermes',
      'launch numa',
    ]);
    expect(world.named('hermes').status.phase).toBe('Ready');
    expect(new Set(world.runtime.processes.map(p => p.port)).size).toBe(3);
  });
});

describe('a worker whose control socket is gone for good', () => {
  it('serves on, and is started again when its declaration changes', async () => {
    await world.apply([desire('athena', {model: 'm1'})]);
    const controller = await world.start();
    await world.clock.advance(1000);
    world.runtime.process('athena').unreachable = true;
    await world.clock.advance(60_000);
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 0});
    await world.apply([desire('athena', {model: 'm2'})]);
    await controller.loadRecords();
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual(['launch athena', 'stop athena', 'gone athena', 'launch athena']);
    expect(world.runtime.process('athena').config.model).toBe('m2');
    expect(world.events('athena').find(({reason}) => reason === 'Restarted')?.message).toBe(
      'its control socket is gone, so it cannot be told of model',
    );
  });
});

describe('what nobody declares', () => {
  it('is only watched where its fleet has no record, until that was missed twice', async () => {
    await world.apply([desire('athena')]);
    const first = await world.start();
    await world.close(first);
    world.store.records.clear();
    await world.apply([desire('hermes', {fleet: {namespace: 'default', fleet: 'other'}})], {name: 'other'});
    world.runtime.log.length = 0;
    await world.start();
    world.runtime.process('athena').hung = true;
    await world.clock.advance(29_000);
    expect(world.runtime.log).toEqual(['launch hermes']);
    expect(world.runtime.running).toContain('athena');
    await world.clock.advance(40_000);
    expect(world.runtime.log).toEqual(['launch hermes', 'stop athena', 'gone athena', 'forget athena-ai']);
  });

  it('is taken over without a restart when its record comes', async () => {
    await world.apply([desire('athena')]);
    const first = await world.start();
    await world.close(first);
    world.store.records.clear();
    const second = await world.start();
    world.runtime.log.length = 0;
    await world.apply([desire('athena')]);
    await second.loadRecords();
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual([]);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('is let go where it was started by hand', async () => {
    const hand = {namespace: 'default', fleet: ''};
    await world.apply([desire('athena', {fleet: hand})], {name: ''});
    const {uid, port} = {uid: 'uid-by-hand', port: 45003};
    const config = {...desire('athena'), ...desire('athena').spec};
    await world.runtime.launch({
      uid,
      port,
      env: {},
      startupMs: 1,
      config: {
        formatVersion: 1,
        aiId: 'athena-ai',
        name: 'athena',
        component: 'athena',
        namespace: 'default',
        fleet: '',
        generation: 0,
        specHash: '',
        declared: {},
        host: '127.0.0.1',
        provider: {name: 'offline', type: 'offline'},
        model: 'm',
        choice: {provider: 'offline', type: 'offline', model: 'm'},
        parameters: {},
        expertise: config.expertise,
        concurrency: config.concurrency,
        sessions: config.sessions,
        graceMs: 1,
      },
    });
    world.store.records.clear();
    await world.start();
    expect(world.runtime.released).toBe(1);
    expect(world.runtime.running).toEqual(['athena']);
  });

  it('is pruned where its fleet has a record that does not name it', async () => {
    await world.apply([desire('athena'), desire('hermes')]);
    const first = await world.start();
    await world.close(first);
    await world.apply([desire('hermes')]);
    await world.start();
    expect(world.runtime.running).toEqual(['hermes']);
  });

  it('is of the generation that was acted on while it is pruned, though it was told of an earlier one only', async () => {
    const hermes = desire('hermes');
    for (const model of ['m1', 'm2', 'm1']) {
      await world.apply([desire('athena', {model}), hermes]);
      if (world.runtime.processes.length === 0) await world.close(await world.start());
    }
    const controller = await world.start();
    world.runtime.process('athena').chats = 1;
    await world.apply([hermes]);
    await controller.loadRecords();
    await world.clock.advance(500);
    expect(world.runtime.process('athena').hello().generation).toBe(1);
    const status = {phase: 'Draining', observedGeneration: 3};
    expect(world.named('athena')).toMatchObject({generation: 3, status});
  });
});

describe('state that can not be read', () => {
  it('of the fleets stops the start, and no worker', async () => {
    await world.apply([desire('athena')]);
    const first = await world.start();
    await world.close(first);
    world.runtime.log.length = 0;
    world.store.unreadable = new TektonError('cannot read fleets/default.dev.json: not JSON');
    const controller = world.controller();
    await expect(controller.start()).rejects.toThrow('not JSON');
    await world.close(controller);
    await world.clock.advance(600_000);
    expect(world.runtime.log).toEqual([]);
    expect(world.runtime.running).toEqual(['athena']);
  });

  it('of the fleets, later, changes nothing of what runs', async () => {
    await world.apply([desire('athena')]);
    const controller = await world.start();
    world.store.unreadable = new TektonError('cannot read fleets');
    await expect(controller.loadRecords()).rejects.toThrow('cannot read fleets');
    await world.clock.advance(600_000);
    expect(world.runtime.log).toEqual(['launch athena']);
  });

  it('of the runtime stops the start before anything is launched twice', async () => {
    await world.apply([desire('athena')]);
    await world.start();
    world.runtime.unreadable = new TektonError('cannot read run/');
    await expect(world.controller().start()).rejects.toThrow('cannot read run/');
    expect(world.runtime.log).toEqual(['launch athena']);
  });
});

describe('closing a controller', () => {
  it('lets go of the workers, writes the last status, and leaves no timer and no watch behind', async () => {
    await world.apply([desire('athena'), desire('hermes')]);
    const controller = await world.start();
    world.runtime.process('athena').notify({type: 'usage', usage: {requests: 9, inputTokens: 0, outputTokens: 0}});
    await world.close(controller);
    expect(world.runtime.released).toBe(2);
    expect(world.runtime.running).toEqual(['athena', 'hermes']);
    expect(world.named('athena').status.usage.requests).toBe(9);
    expect(world.sources.watching).toBe(0);
    expect(world.registry.watching).toBe(0);
    expect(world.clock.pending).toEqual([]);
  });

  it('does nothing about a worker that ends afterwards', async () => {
    await world.apply([desire('athena')]);
    const controller = await world.start();
    await world.close(controller);
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(600_000);
    expect(world.runtime.launches).toHaveLength(1);
    expect(world.clock.pending).toEqual([]);
  });

  it('in the middle of a launch waits for it, and leaves the worker to the next', async () => {
    await world.apply([desire('athena'), desire('hermes')]);
    for (const name of ['athena', 'hermes']) world.runtime.always.set(name, {type: 'listen', afterMs: 3000});
    const controller = await world.start({parallel: 1});
    const closed = controller.close();
    await world.clock.advance(5000);
    await closed;
    expect(world.runtime.running).toEqual(['athena']);
    expect(world.clock.pending).toEqual([]);
    await world.start();
    await world.clock.advance(5000);
    expect(world.runtime.log).toEqual(['launch athena', 'launch hermes']);
  });

  it('tells those that listen no more once they have stopped listening', async () => {
    await world.apply([desire('athena')]);
    const controller = await world.start();
    const heard: string[] = [];
    const stop = controller.subscribe(status => heard.push(status.specialists.map(s => s.status.phase).join()));
    expect(heard).toEqual(['Ready']);
    world.runtime.process('athena').hung = true;
    await world.clock.advance(15_000);
    expect(heard.at(-1)).toBe('NotReady');
    stop();
    const {length} = heard;
    await world.clock.advance(60_000);
    expect(heard).toHaveLength(length);
  });
});
