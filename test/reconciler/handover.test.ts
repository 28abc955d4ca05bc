/** A restart of a specialist that serves: its successor takes the port over, or the old one serves on. */
import {beforeEach, describe, expect, it} from '@jest/globals';
import type {Controller} from '../../src/reconciler/controller.js';
import {desire, World} from '../fakes/ports.js';
import type {Says} from '../fakes/ports.js';
import type {FakeProcess} from '../fakes/runtime.js';

let world: World;
let controller: Controller;
let old: FakeProcess;

const before: Says = {env: {A: '1'}, terminationGracePeriodSeconds: 60};
const after: Says = {env: {A: '2'}, terminationGracePeriodSeconds: 60};

beforeEach(async () => {
  world = new World();
  await world.apply([desire('athena', before), desire('hermes')]);
  controller = await world.start();
  old = world.runtime.process('athena');
  world.runtime.log.length = 0;
});

async function edit(says: Says | undefined, settleMs = 500): Promise<void> {
  await world.apply([...(says ? [desire('athena', says)] : []), desire('hermes')]);
  await controller.loadRecords();
  await world.clock.advance(settleMs);
}

function status() {
  return world.named('athena').status;
}

describe('a serving specialist', () => {
  it('is handed over to a process with what is declared now, and is Ready all the time', async () => {
    const {length} = world.store.written;
    await edit(after);
    expect(world.runtime.log).toEqual(['replace athena']);
    const {instance, port, launch} = world.runtime.process('athena');
    expect({port, env: launch.env}).toEqual({port: 45000, env: {A: '2'}});
    expect(status()).toMatchObject({phase: 'Ready', observedGeneration: 2, restarts: 0, instance, port: 45000});
    const {pid} = instance.identity;
    const text = `handed over to pid ${pid}: a running worker cannot change its env.A`;
    expect(world.events('athena').at(-1)).toMatchObject({type: 'Normal', reason: 'Restarted', message: text});
    expect(world.reasons('athena')).not.toContain('Exited');
    const phases = world.store.written.slice(length).flatMap(({specialists}) => {
      return specialists.filter(s => s.name === 'athena').map(s => s.status.phase);
    });
    expect(new Set(phases)).toEqual(new Set(['Ready']));
  });

  it('has one entry in the registry all the time, in the end that of the new process', async () => {
    const {length} = world.registry.syncs;
    await edit(after);
    expect(world.registry.syncs.length).toBeGreaterThan(length);
    for (const {aiIds} of world.registry.syncs) expect(aiIds).toContain('athena-ai');
    const {uid, identity} = world.runtime.process('athena').instance;
    const entries = world.registry.entries.filter(entry => entry.aiId === 'athena-ai');
    expect(entries).toMatchObject([{port: 45000, metadata: {uid, pid: identity.pid}}]);
  });

  it('is probed in its new process only, and not while two share the port', async () => {
    world.runtime.scripts.set('athena', [{type: 'listen', afterMs: 60_000}]);
    await edit(after);
    old.missPings = 1000;
    await world.clock.advance(59_000);
    expect(world.condition('athena', 'Live').status).toBe('True');
    await world.clock.advance(60_000);
    expect(world.reasons('athena')).not.toContain('ProbeFailed');
    expect(old.exit).toMatchObject({code: 0});
    world.runtime.process('athena').hung = true;
    await world.clock.advance(60_000);
    expect(world.reasons('athena')).toContain('ProbeFailed');
  });

  it('is handed over again while a predecessor has not ended yet', async () => {
    old.chats = 1;
    await edit(after);
    const second = world.runtime.process('athena');
    second.chats = 1;
    await edit({...after, env: {A: '3'}});
    expect(world.runtime.retiring).toEqual([old, second]);
    expect(world.runtime.process('athena').launch.env).toEqual({A: '3'});
    old.chats = second.chats = 0;
    await world.clock.advance(1000);
    expect(world.runtime.retiring).toEqual([]);
    expect(status()).toMatchObject({phase: 'Ready', restarts: 0});
    expect(world.reasons('athena')).not.toContain('Exited');
  });

  it.each<[string, Says, () => void]>([
    ['it does not answer', after, () => (old.hung = true)],
    ['it is of a version that does not know how', after, () => (old.old = true)],
    ['its host changes', {...before, host: '0.0.0.0'}, () => undefined],
    ['its port changes', {...before, port: 45077}, () => undefined],
  ])('is stopped and started where %s', async (_, says, change) => {
    change();
    if (old.hung) await world.clock.advance(15_000); // a probe finds it out
    world.runtime.log.length = 0;
    await edit(says, 65_000);
    // A hung one may also be killed by its probe, before the stop would come to that.
    const steps = world.runtime.log.filter(line => line !== 'kill athena');
    expect(steps).toEqual(['stop athena', 'gone athena', 'launch athena']);
    expect(status()).toMatchObject({phase: 'Ready', observedGeneration: 2});
  });

  it('is stopped and started where its port is no longer of the fleet', async () => {
    await world.apply([desire('athena', after), desire('hermes')], {ports: {from: 46000, to: 46010}});
    await controller.loadRecords();
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual(['stop athena', 'gone athena', 'launch athena']);
    expect(status()).toMatchObject({phase: 'Ready', port: 46000});
  });
});

describe('a predecessor', () => {
  beforeEach(async () => {
    old.chats = 1;
    old.notify({type: 'usage', usage: {requests: 3, inputTokens: 30, outputTokens: 300}});
    await edit(after);
    expect(world.runtime.retiring).toEqual([old]);
  });

  it('is counted to its end, and its end is nobody’s failure', async () => {
    world.runtime.process('athena').notify({type: 'usage', usage: {requests: 1, inputTokens: 1, outputTokens: 1}});
    old.notify({type: 'usage', usage: {requests: 4, inputTokens: 40, outputTokens: 400}});
    await world.clock.advance(500);
    const usage = {requests: 5, inputTokens: 41, outputTokens: 401};
    expect(status().usage).toEqual(usage);
    old.chats = 0;
    await world.clock.advance(1000);
    expect(old.exit).toMatchObject({code: 0});
    expect(status()).toMatchObject({phase: 'Ready', restarts: 0, usage});
    expect(world.reasons('athena')).not.toContain('Exited');
  });

  it('that is killed is missed by nobody', async () => {
    old.end({signal: 'SIGKILL'});
    await world.clock.advance(5000);
    expect(status()).toMatchObject({phase: 'Ready', restarts: 0, usage: {requests: 3}});
    expect(world.runtime.log).toEqual(['replace athena']);
  });

  it('does not keep a new instance from the port when its successor is killed', async () => {
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    expect(world.runtime.log).toEqual(['replace athena', 'launch athena']);
    expect(status()).toMatchObject({phase: 'Ready', port: 45000, restarts: 1, lastExit: {signal: 'SIGKILL'}});
    expect(world.runtime.retiring).toEqual([old]);
  });

  it('is left to its last clients where its successor is stopped, to be started anew', async () => {
    world.runtime.process('athena').drainByHand();
    await world.clock.advance(500);
    expect(world.runtime.log).toEqual(['replace athena', 'stop athena', 'gone athena', 'launch athena']);
    expect(world.runtime.retiring).toEqual([old]);
    expect(old.draining).toBe(false);
    expect(status()).toMatchObject({phase: 'Ready', port: 45000});
  });

  it.each<[string, Says | undefined]>([
    ['disabled', {...after, enabled: false}],
    ['no longer declared', undefined],
  ])('is stopped with its successor where the specialist is %s', async (_, says) => {
    await edit(says, 70_000);
    expect(old.alive).toBe(false);
    expect(world.runtime.running).toEqual(['hermes']);
    expect(world.runtime.log.filter(line => line === 'stop athena')).toHaveLength(2);
  });

  it('is stopped where its successor has gone before', async () => {
    world.runtime.always.set('athena', {type: 'fail'});
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await edit({...after, enabled: false}, 1000);
    expect(world.runtime.log.at(-1)).toBe('stop athena');
    await world.clock.advance(70_000);
    expect(old.alive).toBe(false);
    expect(status()).toMatchObject({phase: 'Disabled'});
  });

  it('is known to the next controller, which adopts its successor with no restart', async () => {
    world.crash(controller);
    controller = await world.start();
    expect(status()).toMatchObject({phase: 'Ready', restarts: 0, observedGeneration: 2, usage: {requests: 3}});
    expect(world.runtime.log).toEqual(['replace athena']);
    expect(old.alive).toBe(true);
    await edit({...after, enabled: false}, 70_000);
    expect(old.alive).toBe(false);
  });

  it('lives on without a controller that closes', async () => {
    await world.close(controller);
    expect(old.alive).toBe(true);
    expect(world.runtime.released).toBe(3);
  });
});

describe('a successor that does not come up', () => {
  beforeEach(() => {
    world.runtime.always.set('athena', {type: 'fail', code: 7, stderr: ['no such module']});
  });

  it('leaves the old one serving, and the conditions say so', async () => {
    await edit(after, 300);
    expect(world.runtime.process('athena')).toBe(old);
    expect(status()).toMatchObject({phase: 'Ready', observedGeneration: 1, instance: old.instance, restarts: 0});
    const message = 'cannot replace athena: it ended with exit code 7: no such module';
    expect(world.condition('athena', 'Progressing')).toMatchObject({status: 'False', reason: 'RolloutFailed', message});
    expect(world.condition('athena', 'Ready').status).toBe('True');
    expect(world.events('athena').at(-1)).toMatchObject({
      type: 'Warning',
      reason: 'RolloutFailed',
      message: `${message}; the old one serves on`,
    });
  });

  it('is tried again, later and later, said once, and needs a person after the third time', async () => {
    await edit(after, 300);
    expect(world.condition('athena', 'Stalled').status).toBe('False');
    await world.clock.advance(60_000);
    const tries = world.runtime.log.length;
    expect(tries).toBeGreaterThan(4);
    expect(tries).toBeLessThan(12);
    expect(world.reasons('athena').filter(reason => reason === 'RolloutFailed')).toHaveLength(1);
    expect(world.condition('athena', 'Stalled')).toMatchObject({status: 'True', reason: 'RolloutFailed'});
    expect(status()).toMatchObject({phase: 'Ready', restarts: 0});

    world.runtime.always.delete('athena');
    await world.clock.advance(60_000);
    expect(status()).toMatchObject({phase: 'Ready', observedGeneration: 2, restarts: 0});
    expect(world.condition('athena', 'Progressing')).toMatchObject({status: 'False', reason: 'Converged'});
    expect(world.condition('athena', 'Stalled').status).toBe('False');
  });

  it('is tried again at once when the declaration changes, and not at all when it changes back', async () => {
    await edit(after, 30_000);
    world.runtime.log.length = 0;
    await edit({...after, env: {A: '3'}}, 300);
    expect(world.runtime.log[0]).toBe('replace athena');
    await edit(before, 300);
    world.runtime.log.length = 0;
    await world.clock.advance(120_000);
    expect(world.runtime.log).toEqual([]);
    expect(world.runtime.process('athena')).toBe(old);
    expect(world.condition('athena', 'Progressing')).toMatchObject({status: 'False', reason: 'Converged'});
    expect(status()).toMatchObject({phase: 'Ready', observedGeneration: 4});
  });

  it('is no concern any more when the old one goes down: what is declared is launched', async () => {
    await edit(after, 300);
    world.runtime.always.delete('athena');
    old.end({signal: 'SIGKILL'});
    await world.clock.advance(100);
    expect(world.runtime.process('athena').launch.env).toEqual({A: '2'});
    expect(status()).toMatchObject({phase: 'Ready', observedGeneration: 2, restarts: 1});
  });

  it('as the old one died meanwhile, is launched as after any crash', async () => {
    world.runtime.always.delete('athena');
    world.runtime.scripts.set('athena', [{type: 'hang'}]);
    await edit(after);
    old.end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    expect(world.runtime.log).toEqual(['replace athena', 'launch athena']);
    expect(status()).toMatchObject({phase: 'Ready', observedGeneration: 2, restarts: 1});
    expect(world.reasons('athena').filter(reason => /Exited|Rollout/.test(reason))).toEqual(['Exited']);
  });
});

describe('a controller that is killed during a handover', () => {
  it.each([10, 500, 1500])('after %i ms leaves one that serves, and the next one finishes', async ms => {
    world.runtime.scripts.set('athena', [{type: 'listen', afterMs: 1000}]);
    await edit(after, ms);
    world.crash(controller);
    controller = await world.start();
    await world.clock.advance(3000);
    expect(world.runtime.running.filter(name => name === 'athena')).toHaveLength(1);
    expect(world.runtime.retiring).toEqual([]);
  });
});
