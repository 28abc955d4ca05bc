/** When statuses are written: at once where somebody may wait, seldom where much happens. */
import {beforeEach, describe, expect, it} from '@jest/globals';
import {desire, World} from '../fakes/ports.js';

let world: World;
const writes = (): number => world.store.written.length;

describe('a status', () => {
  beforeEach(async () => {
    world = new World();
    await world.apply([desire('athena')]);
    await world.start();
    await world.clock.advance(60_000);
    world.store.written.length = 0;
  });

  it('is written within five milliseconds after a quiet time, once for what happens together', async () => {
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(5);
    expect(writes()).toBe(1);
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 1});
  });

  it('is not written again before it has rested', async () => {
    const athena = world.runtime.process('athena');
    for (let requests = 1; requests <= 100; requests++) {
      athena.notify({type: 'usage', usage: {requests, inputTokens: 0, outputTokens: 0}});
      await world.clock.advance(1);
    }
    expect(writes()).toBe(4);
    await world.clock.advance(25);
    expect(world.named('athena').status.usage.requests).toBe(100);
  });

  it('rests nine times as long as its writes took, once there were a few', async () => {
    const athena = world.runtime.process('athena');
    const {store, clock} = world;
    const write = store.writeStatus.bind(store);
    store.writeStatus = async status => {
      await new Promise<void>(resolve => clock.after(10, resolve));
      await write(status);
    };
    for (let requests = 1; requests <= 2000; requests++) {
      athena.notify({type: 'usage', usage: {requests, inputTokens: 0, outputTokens: 0}});
      await clock.advance(1);
    }
    const times = store.written.map(({syncedAt}) => Date.parse(syncedAt));
    const gaps = times.slice(1).map((at, i) => at - (times[i] ?? 0));
    expect(gaps.slice(0, 5)).toEqual([35, 35, 35, 35, 35]);
    expect(gaps.slice(-5)).toEqual([100, 100, 100, 100, 100]);
    await clock.advance(200);
    expect(world.named('athena').status.usage.requests).toBe(2000);
  });
});
