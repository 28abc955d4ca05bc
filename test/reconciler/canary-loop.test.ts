/** Canaries as the controller asks them: after a change of what answers, and what becomes of it. */
import {beforeEach, describe, expect, it} from '@jest/globals';
import {canaryDefaults} from '../../src/api/defaults.js';
import type {Canary, FleetRecord} from '../../src/api/types.js';
import type {Controller} from '../../src/reconciler/controller.js';
import {desire, dev, loaded, World} from '../fakes/ports.js';
import type {Says} from '../fakes/ports.js';

let world: World;
let controller: Controller;
/** What athena's model says. */
let answers: Record<string, string>;

const canary: Canary = {...canaryDefaults, prompts: [{name: 'capital', prompt: 'capital?', contains: 'Paris'}]};
const athena = (model: string, says: Says = {}) => desire('athena', {model, canary, ...says});
const record = (): FleetRecord => JSON.parse(world.store.records.get('default/dev') ?? '{}') as FleetRecord;
const model = (name = 'athena'): string => world.runtime.process(name).config.model;
const asked = (): readonly string[] => world.chats.asked.map(({content}) => content);

beforeEach(async () => {
  world = new World();
  answers = {m1: 'Paris', m2: 'London'};
  world.chats.answer = port => {
    const name = world.runtime.running.find(one => world.runtime.process(one).port === port) ?? '';
    return answers[model(name)] ?? 'nothing';
  };
  await world.apply([athena('m1'), desire('hermes', {model: 'h1'})]);
  controller = await world.start();
  await world.clock.advance(1000);
});

const edit = async (...specialists: Parameters<typeof loaded>[0]) => {
  world.chats.asked.length = 0;
  world.store.events.length = 0;
  world.sources.edit(loaded([...specialists, desire('hermes', {model: 'h1'})]));
  await world.clock.advance(3000);
};

describe('a first launch', () => {
  it('is asked once, and passes', async () => {
    expect(asked()).toEqual(['capital?']);
    expect(world.events('athena')).toContainEqual(
      expect.objectContaining({reason: 'CanaryPassed', message: '1 of 1 prompts passed'}),
    );
    expect(world.condition('athena', 'Progressing')).toMatchObject({status: 'False', reason: 'Converged'});
    await world.close(controller);
    await world.start();
    await world.clock.advance(5000);
    expect(asked()).toHaveLength(1);
  });

  it('that fails stays, and a person is needed', async () => {
    await edit(athena('m1'), desire('numa', {model: 'm2', canary}));
    expect(world.condition('numa', 'Stalled')).toMatchObject({status: 'True', reason: 'CanaryFailed'});
    expect(world.condition('numa', 'Ready')).toMatchObject({status: 'True'});
    expect(model('numa')).toBe('m2');
    await world.clock.advance(600_000);
    expect(asked()).toHaveLength(1);
  });
});

describe('a change of what answers', () => {
  it('that passes stays', async () => {
    answers['m3'] = 'It is Paris.';
    await edit(athena('m3'));
    expect(world.reasons('athena')).toEqual(expect.arrayContaining(['Reconfigured', 'CanaryPassed']));
    expect(model()).toBe('m3');
  });

  it('is not asked before it is Ready with what is new', async () => {
    world.models.answers.set('ollama', {available: false, reason: 'ModelNotFound', message: 'no m2'});
    await edit(athena('m2'));
    expect(asked()).toEqual([]);
    expect(world.condition('athena', 'Progressing').reason).toBe('CanaryRunning');
    world.models.answers.delete('ollama');
    await world.clock.advance(30_000);
    expect(world.reasons('athena')).toContain('CanaryFailed');
  });

  it('that fails goes back to what it was, and says why', async () => {
    await edit(athena('m2'));
    expect(model()).toBe('m1');
    const failed = world.events('athena').find(({reason}) => reason === 'CanaryFailed');
    expect(failed).toMatchObject({
      type: 'Warning',
      message:
        '1 of 1 prompts failed: capital: expected that the answer contains "Paris"; the answer was "London"; ' +
        'back to what it was before (as generation 3)',
    });
    expect(world.condition('athena', 'Ready')).toMatchObject({status: 'True'});
    expect(world.condition('athena', 'Stalled')).toMatchObject({status: 'True', reason: 'CanaryFailed'});
    expect(record().rollouts?.['athena-ai']?.held).toMatchObject({by: 'canary'});
    await world.clock.advance(600_000);
    expect(asked()).toHaveLength(1);
  });

  it('that failed is not taken over again by the same file, nor by the next controller', async () => {
    await edit(athena('m2'));
    await world.close(controller);
    world.runtime.log.length = 0;
    await world.start();
    world.sources.edit(loaded([athena('m2'), desire('hermes', {model: 'h2'})]));
    await world.clock.advance(3000);
    expect(world.runtime.log).toEqual(['configure hermes']);
    expect(model()).toBe('m1');
  });

  it('is let go of when the file says something else', async () => {
    await edit(athena('m2'));
    answers['m3'] = 'Paris!';
    await edit(athena('m3'));
    expect(model()).toBe('m3');
    expect(record().rollouts?.['athena-ai']).toBeUndefined();
    expect(world.condition('athena', 'Stalled')).toMatchObject({status: 'False'});
  });

  it('is let go of when the file is as it was before', async () => {
    await edit(athena('m2'));
    await edit(athena('m1'));
    expect(record().rollouts?.['athena-ai']).toBeUndefined();
    expect(model()).toBe('m1');
    expect(world.reasons('athena')).not.toContain('CanaryFailed');
    expect(world.condition('athena', 'Stalled')).toMatchObject({status: 'False'});
  });

  it('that fails again after a failure goes back to what was good last', async () => {
    await edit(athena('m2'));
    await edit(athena('m4'));
    expect(model()).toBe('m1');
    expect(world.reasons('athena')).toContain('CanaryFailed');
  });

  it('only warns where that is wanted', async () => {
    const warn: Canary = {...canary, onFailure: 'warn'};
    await edit(athena('m2', {canary: warn}));
    expect(model()).toBe('m2');
    expect(world.reasons('athena')).toContain('CanaryFailed');
    expect(world.condition('athena', 'Stalled')).toMatchObject({status: 'False'});
    expect(world.condition('athena', 'Progressing')).toMatchObject({status: 'False', reason: 'CanaryFailed'});
  });

  it('that a person applies is asked anew, though it failed before', async () => {
    await edit(athena('m2'));
    answers['m2'] = 'Paris by now';
    const options = {confirmed: true, takeOver: true, prune: true, appliedAt: 'by hand', version: '1', byPerson: true};
    const {nextRecord} = await import('../../src/reconciler/desired.js');
    await world.store.updateFleet(dev, previous => nextRecord(previous, loaded([athena('m2')]), options));
    await controller.loadRecords();
    await world.clock.advance(3000);
    expect(model()).toBe('m2');
    expect(world.reasons('athena').at(-1)).toBe('CanaryPassed');
  });

  it('while it is judged is judged by what is new', async () => {
    world.chats.answer = () => 'hang';
    await edit(athena('m2'));
    world.chats.answer = () => 'Paris';
    await edit(athena('m3'));
    expect(model()).toBe('m3');
    expect(world.reasons('athena')).toContain('CanaryPassed');
    expect(record().canaries?.['athena-ai']?.before).toBeUndefined();
  });

  it('of nothing that answers is not asked', async () => {
    await edit(athena('m1', {concurrency: {max: 2, queue: 1}}));
    expect(world.reasons('athena')).toContain('Reconfigured');
    expect(asked()).toEqual([]);
  });

  it('that takes the worker down whenever it is asked has failed', async () => {
    world.chats.answer = () => {
      if (model() !== 'm2') return 'Paris';
      world.runtime.process('athena').end({signal: 'SIGSEGV'});
      return {ok: false, message: 'connection lost', retryable: true};
    };
    await edit(athena('m2'));
    await world.clock.advance(600_000);
    expect(model()).toBe('m1');
    expect(world.events('athena')).toContainEqual(
      expect.objectContaining({
        reason: 'CanaryFailed',
        message: expect.stringContaining('it went down 3 times while it was asked'),
      }),
    );
  });

  it('survives a kill of the controller at any moment', async () => {
    for (let ms = 1; ms < 1500; ms += 50) {
      await edit(athena('m1'));
      world.sources.edit(loaded([athena('m2'), desire('hermes', {model: 'h1'})]));
      await world.clock.advance(ms);
      world.crash(controller);
      controller = await world.start();
      await world.clock.advance(5000);
      expect(model()).toBe('m1');
      expect(record().rollouts?.['athena-ai']?.held).toMatchObject({by: 'canary'});
    }
  });
});

describe('a token', () => {
  it('is shown to the worker', async () => {
    world.secretValues.set('TOKEN', 'secret');
    answers['m3'] = 'Paris';
    await edit(athena('m3', {auth: {token: {env: 'TOKEN'}}}));
    expect(world.chats.asked.at(-1)).toMatchObject({token: 'secret'});
    expect(world.reasons('athena')).toContain('CanaryPassed');
  });
});

describe('a judge', () => {
  it('that is not Ready is waited for', async () => {
    const judge = {specialist: 'rhetor', question: 'Polite?', expect: 'yes'};
    const judged: Canary = {...canary, prompts: [{prompt: 'hi', judge}]};
    world.chats.answer = (_, {content}) => (content.startsWith('Polite?') ? 'Yes.' : 'good day');
    world.models.answers.set('offline', {available: false, reason: 'ProviderError', message: 'soon'});
    await edit(athena('m3', {canary: judged}), desire('rhetor', {provider: 'offline'}));
    await world.clock.advance(10_000);
    expect(world.reasons('athena')).not.toContain('CanaryPassed');
    world.models.answers.delete('offline');
    world.store.events.length = 0;
    await controller.loadRecords();
    world.sources.edit(loaded([athena('m3', {canary: judged}), desire('rhetor', {provider: 'auto'})]));
    await world.clock.advance(20_000);
    expect(world.reasons('athena')).toContain('CanaryPassed');
  });
});
