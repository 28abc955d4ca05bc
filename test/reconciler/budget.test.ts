/** What becomes of a worker's word on its budget. */
import {beforeEach, expect, it} from '@jest/globals';
import {desire, World} from '../fakes/ports.js';

let world: World;
beforeEach(() => {
  world = new World();
});

const spent = {day: '2026-11-22', exceeded: true, message: "the day's budget of 9 tokens is spent"} as const;

function tell(budget: {
  readonly day: string;
  readonly exceeded: boolean;
  readonly mode: 'soft' | 'hard';
}): Promise<void> {
  world.runtime.process('athena').notify({type: 'budget', budget});
  return world.clock.advance(1000);
}

const told = (): readonly string[] => world.events('athena').map(({reason, message}) => `${reason}: ${message}`);

it('is an event once a day, also when the controller or the worker changes meanwhile', async () => {
  await world.apply([desire('athena', {budget: {tokensPerDay: 9, mode: 'soft'}})]);
  const first = await world.start();
  await tell({...spent, mode: 'soft'});
  await tell({...spent, mode: 'soft'});
  await world.close(first);
  await world.start();
  await world.clock.advance(1000);
  world.runtime.process('athena').end({signal: 'SIGKILL'});
  await world.clock.advance(5000);
  await tell({...spent, mode: 'soft'});
  const events = (): readonly string[] => told().filter(text => text.startsWith('BudgetExceeded'));
  const text = "BudgetExceeded: the day's budget of 9 tokens is spent; chats are answered all the same";
  expect(events()).toEqual([text]);
  expect(world.named('athena').status).toMatchObject({phase: 'Ready', budget: {exceeded: true}});

  await tell({day: '2026-11-23', exceeded: false, mode: 'soft'});
  await tell({...spent, day: '2026-11-23', mode: 'soft'});
  expect(events()).toEqual([text, text]);
});

it('makes it not Ready where the budget is hard, and Ready again with the next day', async () => {
  await world.apply([desire('athena', {budget: {tokensPerDay: 9, mode: 'hard'}})]);
  await world.start();
  await tell({...spent, mode: 'hard'});
  expect(world.named('athena').status.phase).toBe('NotReady');
  await tell({day: '2026-11-23', exceeded: false, mode: 'hard'});
  expect(world.named('athena').status.phase).toBe('Ready');
  expect(told().filter(text => /^B/.test(text))).toEqual([
    'BecameReady: a chat would be answered now',
    "BecameNotReady: the day's budget of 9 tokens is spent; chats are refused until midnight UTC",
    "BudgetExceeded: the day's budget of 9 tokens is spent; chats are refused until midnight UTC",
    'BecameReady: a chat would be answered now',
  ]);
});
