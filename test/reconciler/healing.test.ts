/** What happens by itself, and how it is put right. */
import {beforeEach, describe, expect, it, test} from '@jest/globals';
import type {RestartPolicy} from '../../src/api/types.js';
import type {Controller} from '../../src/reconciler/controller.js';
import {desire, World} from '../fakes/ports.js';

let world: World;
let controller: Controller;

beforeEach(() => {
  world = new World();
});

describe('a worker that is killed', () => {
  beforeEach(async () => {
    await world.apply([desire('athena'), desire('hermes')]);
    controller = await world.start();
    await world.clock.advance(60_000);
    world.runtime.log.length = 0;
  });

  it('is replaced at once, on its port', async () => {
    const before = world.clock.monotonic();
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(0);
    expect(world.clock.monotonic()).toBe(before);
    expect(world.runtime.log).toEqual(['launch athena']);
    expect(world.runtime.process('athena')).toMatchObject({port: 45000});
  });

  it('is told of: how it ended, that it is back, and how often that happened', async () => {
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 1, lastExit: {signal: 'SIGKILL'}});
    expect(world.events('athena').slice(2)).toMatchObject([
      {reason: 'Exited', type: 'Warning', message: 'pid 1001 ended with signal SIGKILL'},
      {reason: 'Relaunched', message: 'pid 1003 listens on port 45000'},
    ]);
    expect(world.registry.entries.find(e => e.aiId === 'athena-ai')?.metadata['pid']).toBe(1003);
  });

  it('is the last error of its fleet, which is counted as it stands, also for the next controller', async () => {
    const counts = {declared: 2, enabled: 2, live: 2, ready: 2, progressing: 0, stalled: 0};
    const fleetStatus = () => world.store.statuses.get('default/dev');
    expect(fleetStatus()).toMatchObject({counts});
    expect(fleetStatus()).not.toHaveProperty('lastError');
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    const lastError = {reason: 'Exited', aiId: 'athena-ai', message: 'pid 1001 ended with signal SIGKILL'};
    expect(fleetStatus()).toMatchObject({counts, lastError});
    await world.apply([desire('athena'), desire('hermes', {enabled: false})]);
    await controller.loadRecords();
    await world.clock.advance(500);
    expect(fleetStatus()).toMatchObject({counts: {...counts, enabled: 1, live: 1, ready: 1}, lastError});
    await controller.close();
    await world.start();
    await world.clock.advance(500);
    expect(fleetStatus()).toMatchObject({lastError});
  });

  it('comes back where it was, though a lower port has become free', async () => {
    await world.apply([desire('hermes')]);
    await controller.loadRecords();
    await world.clock.advance(500);
    world.registry.expire('athena-ai');
    world.runtime.process('hermes').end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    expect(world.runtime.process('hermes').port).toBe(45001);
  });

  it('is told again what is known of its model', async () => {
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    expect(world.runtime.process('athena').told).toEqual([{available: true}]);
  });

  it('does not touch the others', async () => {
    const hermes = world.runtime.process('hermes');
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(5000);
    expect(world.runtime.process('hermes')).toBe(hermes);
    expect(world.named('hermes').status.restarts).toBe(0);
  });

  it('is not replaced where it was being stopped anyway', async () => {
    world.runtime.process('athena').chats = 1;
    await world.apply([desire('athena', {enabled: false}), desire('hermes')]);
    await controller.loadRecords();
    await world.clock.advance(100);
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(5000);
    expect(world.runtime.log).toEqual(['stop athena', 'gone athena']);
    expect(world.reasons('athena')).not.toContain('Exited');
    expect(world.named('athena').status.phase).toBe('Disabled');
  });

  it('leaves the registry for as long as it is away', async () => {
    world.runtime.always.set('athena', {type: 'listen', afterMs: 5000});
    world.runtime.process('athena').end();
    await world.clock.advance(1000);
    expect(world.registry.syncs.at(-1)?.aiIds).toEqual(['hermes-ai']);
    await world.clock.advance(5000);
    expect(world.registry.syncs.at(-1)?.aiIds).toEqual(['athena-ai', 'hermes-ai']);
  });
});

describe('a worker that goes down again and again', () => {
  beforeEach(async () => {
    await world.apply([desire('athena'), desire('hermes')]);
    world.runtime.always.set('athena', {type: 'fail', code: 3, stderr: ['loading', 'out of memory']});
    controller = await world.start();
    await world.clock.advance(100);
  });

  function launches(): number {
    return world.runtime.launches.filter(({config}) => config.name === 'athena').length;
  }

  it('is started at longer and longer intervals', async () => {
    // Within the first 600 ms: the first, the one that comes at once, and the one after half a second.
    const seen = [launches()];
    for (const ms of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]) {
      await world.clock.advance(ms);
      seen.push(launches());
    }
    expect(seen).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it('is in a crash loop, with the last lines that it wrote, and asks for a person', () => {
    expect(world.named('athena').status).toMatchObject({
      phase: 'CrashLoop',
      lastExit: {code: 3, stderrTail: ['loading', 'out of memory']},
    });
    expect(world.condition('athena', 'Stalled')).toMatchObject({
      status: 'True',
      reason: 'CrashLoop',
      message: 'cannot start athena: exit code 3: out of memory',
    });
    expect(world.reasons('athena')).toEqual(['CrashLoop']);
  });

  it('holds up nobody else', () => {
    expect(world.named('hermes').status.phase).toBe('Ready');
  });

  it('is not started any sooner because something else is looked at', async () => {
    await world.clock.advance(40_000);
    const before = launches();
    world.models.answers.set('ollama', {available: false, reason: 'ProviderError', message: 'status 500'});
    await world.clock.advance(10_000);
    expect(world.condition('hermes', 'Ready').reason).toBe('ProviderError');
    expect(launches()).toBe(before);
  });

  it('is started at once when its declaration changes', async () => {
    await world.clock.advance(100_000);
    world.runtime.always.delete('athena');
    await world.apply([desire('athena', {env: {FIXED: '1'}}), desire('hermes')]);
    await controller.loadRecords();
    await world.clock.advance(500);
    expect(world.named('athena').status).toMatchObject({phase: 'Ready'});
    expect(world.condition('athena', 'Stalled').status).toBe('False');
  });

  it('is well again once a start succeeds and lasts', async () => {
    world.runtime.always.delete('athena');
    await world.clock.advance(5000);
    expect(world.named('athena').status.phase).toBe('Ready');
    await world.clock.advance(30_000);
    const before = launches();
    world.runtime.process('athena').end({code: 1});
    await world.clock.advance(0);
    expect(launches()).toBe(before + 1);
  });

  it('is still in it when a start succeeds but does not last', async () => {
    world.runtime.always.delete('athena');
    await world.clock.advance(5000);
    const before = launches();
    world.runtime.process('athena').end({code: 1});
    await world.clock.advance(100);
    expect(launches()).toBe(before);
    expect(world.named('athena').status.phase).toBe('CrashLoop');
  });
});

describe('restartPolicy', () => {
  test.each<[RestartPolicy, number, boolean]>([
    ['Always', 0, true],
    ['Always', 1, true],
    ['OnFailure', 0, false],
    ['OnFailure', 1, true],
    ['Never', 0, false],
    ['Never', 1, false],
  ])('%s after exit code %i: starts it again: %s', async (restartPolicy, code, again) => {
    await world.apply([desire('athena', {restartPolicy})]);
    controller = await world.start();
    world.runtime.process('athena').end({code});
    await world.clock.advance(60_000);
    expect(world.runtime.running).toEqual(again ? ['athena'] : []);
    if (again) return;
    expect(world.condition('athena', 'Stalled')).toMatchObject({
      status: 'True',
      reason: 'Exited',
      message: `it ended and restartPolicy is ${restartPolicy}`,
    });
  });

  it('OnFailure starts one again that was killed', async () => {
    await world.apply([desire('athena', {restartPolicy: 'OnFailure'})]);
    controller = await world.start();
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    expect(world.runtime.running).toEqual(['athena']);
  });

  it('Never does not keep an edit from taking effect', async () => {
    await world.apply([desire('athena', {restartPolicy: 'Never'})]);
    controller = await world.start();
    world.runtime.process('athena').end({code: 1});
    await world.clock.advance(1000);
    await world.apply([desire('athena', {restartPolicy: 'Never', model: 'm2'})]);
    await controller.loadRecords();
    await world.clock.advance(1000);
    expect(world.runtime.running).toEqual(['athena']);
  });
});

describe('probes', () => {
  const probes = {periodSeconds: 10, timeoutSeconds: 2, failureThreshold: 3};

  beforeEach(async () => {
    await world.apply([desire('athena', {probes})]);
    controller = await world.start();
    world.runtime.log.length = 0;
  });

  it('kill a hung worker at the threshold, without grace, and replace it', async () => {
    const hung = world.runtime.process('athena');
    hung.hung = true;
    await world.clock.advance(24_000);
    expect(world.runtime.log).toEqual([]);
    expect(world.named('athena').status.phase).toBe('NotReady');
    expect(world.condition('athena', 'Live')).toMatchObject({status: 'False', reason: 'ProbeFailed'});
    await world.clock.advance(13_000);
    expect(world.runtime.log).toEqual(['kill athena', 'launch athena']);
    expect(hung.exit?.signal).toBe('SIGKILL');
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 1});
    expect(world.reasons('athena').slice(2)).toEqual([
      'BecameNotReady',
      'ProbeFailed',
      'Exited',
      'Relaunched',
      'BecameReady',
    ]);
  });

  it('forgive misses that are not in a row', async () => {
    for (let round = 0; round < 4; round++) {
      world.runtime.process('athena').missPings = 2;
      await world.clock.advance(40_000);
    }
    expect(world.runtime.log).toEqual([]);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('count one that comes late, after the machine slept, once', async () => {
    world.runtime.process('athena').missPings = 1;
    await world.clock.advance(3_600_000);
    expect(world.runtime.log).toEqual([]);
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 0});
  });

  it('go by the declaration as it is now', async () => {
    await world.apply([desire('athena', {probes: {...probes, failureThreshold: 1}})]);
    await controller.loadRecords();
    await world.clock.advance(500);
    world.runtime.process('athena').hung = true;
    await world.clock.advance(13_000);
    expect(world.runtime.log).toEqual(['configure athena', 'kill athena', 'launch athena']);
  });

  it('of a worker that ended are not answered by its successor', async () => {
    world.runtime.process('athena').missPings = 2;
    await world.clock.advance(23_000);
    world.runtime.process('athena').end({code: 1});
    await world.clock.advance(500);
    world.runtime.process('athena').missPings = 1;
    await world.clock.advance(60_000);
    expect(world.runtime.log).toEqual(['launch athena']);
  });
});

describe('a port', () => {
  it('that a stranger took while the worker was away is given up, and said so', async () => {
    await world.apply([desire('athena')]);
    controller = await world.start();
    world.runtime.occupied.add(45000);
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    expect(world.runtime.process('athena').port).toBe(45001);
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', port: 45001, restarts: 1});
    expect(world.events('athena').find(e => e.reason === 'PortMoved')).toMatchObject({
      type: 'Warning',
      message: expect.stringMatching(/45000.*45001/),
    });
    expect(world.registry.entries).toMatchObject([{aiId: 'athena-ai', port: 45001}]);
  });

  it('that a stranger listens on is given up at once, and the event names the stranger', async () => {
    await world.apply([desire('athena')]);
    controller = await world.start();
    world.registry.taken.add(45000);
    world.registry.holders.set(45000, 'python3 (pid 4711)');
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(100);
    expect(world.runtime.process('athena').port).toBe(45001);
    expect(world.events('athena').find(e => e.reason === 'PortMoved')?.message).toBe(
      'port 45000 is taken by python3 (pid 4711); now on 45001',
    );
  });

  it("that is somebody's client port for a moment is waited for, and moves nobody", async () => {
    await world.apply([desire('athena')]);
    controller = await world.start();
    world.registry.taken.add(45000);
    world.registry.transient.add(45000);
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(2000);
    expect(world.runtime.running).toEqual([]);
    world.registry.taken.clear();
    await world.clock.advance(300);
    expect(world.runtime.process('athena').port).toBe(45000);
    expect(world.reasons('athena')).not.toContain('PortMoved');
  });

  it("that stays somebody's client port is waited for no longer than three seconds, and holds up nobody else", async () => {
    await world.apply([desire('athena'), desire('hermes')]);
    controller = await world.start();
    world.registry.taken.add(45000);
    world.registry.transient.add(45000);
    for (const name of ['athena', 'hermes']) world.runtime.process(name).end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    expect(world.runtime.running).toEqual(['hermes']);
    await world.clock.advance(3000);
    expect([...world.runtime.running].sort()).toEqual(['athena', 'hermes']);
    expect(world.reasons('athena')).toContain('PortMoved');
  });

  it("that is pinned and somebody's client port for a moment is looked at again after a second", async () => {
    await world.apply([desire('athena', {port: 45000})]);
    world.registry.taken.add(45000);
    world.registry.transient.add(45000);
    controller = await world.start();
    expect(world.named('athena').status.phase).toBe('Stalled');
    world.registry.taken.clear();
    await world.clock.advance(1000);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('that another state folder takes as fast as we do is looked for elsewhere', async () => {
    await world.apply([desire('athena')]);
    // The other one has all that is low, and its reservations are not ours to see.
    for (let port = 45000; port < 45020; port++) world.runtime.occupied.add(port);
    controller = await world.start();
    await world.clock.advance(100);
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', port: 47500, restarts: 0});
  });

  it('that is pinned and taken asks for a person, spins not, and is taken once it is free', async () => {
    await world.apply([desire('athena', {port: 45000})]);
    world.registry.taken.add(45000);
    controller = await world.start();
    expect(world.named('athena').status.phase).toBe('Stalled');
    expect(world.condition('athena', 'Stalled')).toMatchObject({
      reason: 'PortTaken',
      message: 'port 45000 is taken by another program',
    });
    await world.clock.advance(60_000);
    expect(world.runtime.launches).toEqual([]);
    expect(world.registry.passes.length).toBeLessThanOrEqual(8);
    expect(world.reasons('athena')).toEqual(['PortTaken']);
    world.registry.taken.clear();
    await world.clock.advance(11_000);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('that only the kernel knows to be taken is no crash of the worker', async () => {
    await world.apply([desire('athena', {port: 45000})]);
    world.runtime.occupied.add(45000);
    controller = await world.start();
    expect(world.condition('athena', 'Stalled')).toMatchObject({status: 'True', reason: 'PortTaken'});
    expect(world.named('athena').status.restarts).toBe(0);
  });

  it('is not to be had where the range is used up', async () => {
    await world.apply([desire('athena'), desire('hermes')], {ports: {from: 45000, to: 45000}});
    controller = await world.start();
    expect(world.runtime.running).toHaveLength(1);
    expect(world.condition('hermes', 'Stalled')).toMatchObject({
      status: 'True',
      reason: 'PortsExhausted',
      message: 'no free port in 45000-45000',
    });
  });

  it('is asked for anew so often only', async () => {
    await world.apply([desire('athena')], {ports: {from: 45000, to: 45100}});
    for (let port = 45000; port <= 45100; port++) world.runtime.occupied.add(port);
    controller = await world.start();
    await world.clock.advance(100);
    const [first] = world.runtime.launches;
    expect(first?.port).toBe(45000);
    // Three starts (at once, at once, after half a second) of five ports each.
    expect(world.runtime.launches).toHaveLength(15);
    expect(new Set(world.runtime.launches.slice(0, 5).map(l => l.port)).size).toBe(5);
    expect(world.condition('athena', 'Stalled').status).toBe('True');
  });
});

describe('a secret', () => {
  it('of the environment that is missing is named, asked for again, and then used', async () => {
    await world.apply([desire('athena', {env: {TOKEN: {env: 'LAB_TOKEN'}}})]);
    controller = await world.start();
    expect(world.runtime.launches).toEqual([]);
    expect(world.condition('athena', 'Stalled')).toMatchObject({
      status: 'True',
      reason: 'SecretMissing',
      message: 'env TOKEN: LAB_TOKEN is not set',
    });
    world.secretValues.set('LAB_TOKEN', 'xyz');
    await world.clock.advance(11_000);
    expect(world.runtime.process('athena').launch.env).toEqual({TOKEN: 'xyz'});
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  it('that guards the worker is never left out', async () => {
    await world.apply([desire('athena', {auth: {token: {file: '/keys/athena'}}})]);
    controller = await world.start();
    expect(world.runtime.launches).toEqual([]);
    expect(world.condition('athena', 'Stalled').message).toBe('auth.token: /keys/athena is not set');
    world.secretValues.set('/keys/athena', 'open sesame');
    await world.clock.advance(11_000);
    expect(world.runtime.process('athena').config.authToken).toBe('open sesame');
  });

  it('that guards the worker stays when it is reconfigured while the file is away', async () => {
    world.secretValues.set('/keys/athena', 'open sesame');
    const auth = {token: {file: '/keys/athena'}};
    await world.apply([desire('athena', {auth})]);
    controller = await world.start();
    world.secretValues.clear();
    await world.apply([desire('athena', {auth, model: 'm2'})]);
    await controller.loadRecords();
    await world.clock.advance(5000);
    expect(world.runtime.process('athena').config).toMatchObject({authToken: 'open sesame', model: 'llama3'});
    expect(world.condition('athena', 'Progressing').message).toContain('auth.token: /keys/athena is not set');
    world.secretValues.set('/keys/athena', 'new words');
    await world.clock.advance(3000);
    expect(world.runtime.process('athena').config).toMatchObject({authToken: 'new words', model: 'm2'});
  });

  it('stands in nothing that is written', async () => {
    world.secretValues.set('HOSTED_KEY', 'sk-hidden');
    world.secretValues.set('LAB_TOKEN', 'tok-hidden');
    await world.apply([desire('athena', {provider: 'hosted', env: {TOKEN: {env: 'LAB_TOKEN'}}})]);
    controller = await world.start();
    expect(world.runtime.process('athena').config.provider.apiKey).toBe('sk-hidden');
    const written = JSON.stringify([
      world.store.written,
      world.store.events,
      [...world.store.records],
      world.registry.entries,
      world.warnings,
    ]);
    expect(written).toContain('athena');
    expect(written).not.toContain('hidden');
  });
});

describe('the registry', () => {
  it('that can not be written is tried again until it can', async () => {
    world.registry.failSyncs = 3;
    await world.apply([desire('athena')]);
    controller = await world.start();
    expect(world.runtime.running).toEqual(['athena']);
    expect(world.registry.syncs).toEqual([]);
    await world.clock.advance(5000);
    expect(world.registry.failed).toBe(3);
    expect(world.registry.syncs.at(-1)?.aiIds).toEqual(['athena-ai']);
    expect(world.warnings.join()).toContain('no space left on device');
  });

  it('is put right at each resync, though nothing happened here', async () => {
    await world.apply([desire('athena')]);
    controller = await world.start();
    world.registry.entries = [];
    await world.clock.advance(400_000);
    expect(world.registry.entries).toMatchObject([{aiId: 'athena-ai'}]);
  });

  it('that a hand has changed is put right at once, and our own writing of it calls nobody', async () => {
    await world.apply([desire('athena')]);
    controller = await world.start();
    const {length} = world.registry.syncs;
    world.registry.edit([]);
    await world.clock.advance(1000);
    expect(world.registry.entries).toMatchObject([{aiId: 'athena-ai'}]);
    // One that heals, and one that finds that there is nothing more to do.
    expect(world.registry.syncs.length - length).toBeLessThanOrEqual(2);
  });

  it('gets many changes in few commits', async () => {
    await world.apply(Array.from({length: 40}, (_, i) => desire(`s${i}`)));
    controller = await world.start({parallel: 8});
    expect(world.runtime.running).toHaveLength(40);
    expect(world.registry.syncs.length).toBeLessThanOrEqual(3);
    expect(world.registry.entries).toHaveLength(40);
  });
});

describe('a state folder that can not be written', () => {
  it('does not keep the controller from healing; what it missed is written later', async () => {
    await world.apply([desire('athena')]);
    controller = await world.start();
    world.store.unwritable = new Error('read-only file system');
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(1000);
    expect(world.runtime.running).toEqual(['athena']);
    world.store.unwritable = undefined;
    // Nothing changes from here on: the next look finds what is still to be written.
    await world.clock.advance(400_000);
    expect(world.named('athena').status.restarts).toBe(1);
  });
});

describe('nothing happening', () => {
  it('sets no timers but probes, model checks and the resync, writes nothing and says nothing', async () => {
    await world.apply([desire('athena'), desire('hermes', {provider: 'offline'})]);
    controller = await world.start();
    // Two probes, one look at Ollama, the resync.
    expect(world.clock.pending).toHaveLength(4);
    const {length} = world.store.written;
    const events = world.store.events.length;
    const syncs = world.registry.syncs.length;
    await world.clock.advance(290_000);
    expect(world.clock.pending).toHaveLength(4);
    expect(world.store.written).toHaveLength(length);
    expect(world.store.events).toHaveLength(events);
    expect(world.registry.syncs).toHaveLength(syncs);
    expect(world.runtime.launches).toHaveLength(2);
  });

  it('stays so over resyncs', async () => {
    await world.apply([desire('athena')]);
    controller = await world.start();
    const {length} = world.store.written;
    const events = world.store.events.length;
    await world.clock.advance(3_000_000);
    expect(world.store.written).toHaveLength(length);
    expect(world.store.events).toHaveLength(events);
    expect(world.runtime.log).toEqual(['launch athena']);
  });
});

describe('usage', () => {
  it('goes on counting over restarts', async () => {
    await world.apply([desire('athena')]);
    controller = await world.start();
    world.runtime.process('athena').notify({type: 'usage', usage: {requests: 5, inputTokens: 50, outputTokens: 500}});
    world.runtime.process('athena').end({code: 1});
    await world.clock.advance(500);
    world.runtime.process('athena').notify({type: 'usage', usage: {requests: 1, inputTokens: 10, outputTokens: 100}});
    await world.clock.advance(500);
    expect(world.named('athena').status.usage).toEqual({requests: 6, inputTokens: 60, outputTokens: 600});
  });
});
