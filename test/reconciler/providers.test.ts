/** Providers and models that come, go and change, as the fleet's status and workers show it. */
import {beforeEach, describe, expect, it} from '@jest/globals';
import type {ModelCheck} from '../../src/api/types.js';
import type {Controller} from '../../src/reconciler/controller.js';
import {autoOf, desire, World} from '../fakes/ports.js';

const away: ModelCheck = {
  available: false,
  reason: 'ProviderUnreachable',
  message: 'cannot reach Ollama at http://127.0.0.1:11434: connection refused',
};

let world: World;
let controller: Controller;

beforeEach(() => {
  world = new World();
});

async function applyNow(...args: Parameters<World['apply']>): Promise<void> {
  await world.apply(...args);
  await controller.loadRecords();
  await world.clock.advance(500);
}

describe('a provider that goes away', () => {
  beforeEach(async () => {
    await world.apply([desire('athena'), desire('hermes', {provider: 'offline'})]);
    controller = await world.start();
    world.runtime.log.length = 0;
    world.models.answers.set('ollama', away);
    await world.clock.advance(10_500);
  });

  it('makes its specialists not Ready, with its own reason, and touches no worker', () => {
    expect(world.named('athena').status.phase).toBe('NotReady');
    expect(world.condition('athena', 'Ready')).toMatchObject({status: 'False', ...reasonOf(away)});
    expect(world.condition('athena', 'ModelAvailable')).toMatchObject({status: 'False', ...reasonOf(away)});
    expect(world.condition('athena', 'Live').status).toBe('True');
    expect(world.condition('athena', 'Stalled').status).toBe('False');
    expect(world.runtime.log).toEqual([]);
    expect(world.events('athena').at(-1)).toMatchObject({
      reason: 'BecameNotReady',
      type: 'Warning',
      message: away.message,
    });
  });

  it('leaves those of other providers Ready', () => {
    expect(world.named('hermes').status.phase).toBe('Ready');
  });

  it('is told to the workers, which tell their clients', () => {
    expect(world.runtime.process('athena').told.at(-1)).toEqual(away);
  });

  it('makes them Ready again by itself when it is back', async () => {
    world.models.answers.delete('ollama');
    await world.clock.advance(10_500);
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 0});
    expect(world.runtime.process('athena').told.at(-1)).toEqual({available: true});
    expect(world.reasons('athena')).toEqual(['Launched', 'BecameReady', 'BecameNotReady', 'BecameReady']);
    expect(world.runtime.log).toEqual([]);
  });

  it('does not keep a worker that ends from being brought up', async () => {
    world.runtime.process('athena').end({signal: 'SIGKILL'});
    await world.clock.advance(500);
    expect(world.runtime.running).toContain('athena');
  });
});

it('asks for a person where the model is missing, and no more once it is there', async () => {
  const missing: ModelCheck = {available: false, reason: 'ModelNotFound', message: 'run: ollama pull llama3'};
  world.models.answers.set('ollama', missing);
  await world.apply([desire('athena')]);
  controller = await world.start();
  expect(world.runtime.running).toEqual(['athena']);
  expect(world.condition('athena', 'Stalled')).toMatchObject({status: 'True', reason: 'ModelNotFound'});
  world.models.answers.delete('ollama');
  await world.clock.advance(10_500);
  expect(world.condition('athena', 'Stalled').status).toBe('False');
});

it('looks at once when a worker says that a chat failed', async () => {
  await world.apply([desire('athena')]);
  controller = await world.start();
  world.models.answers.set('ollama', away);
  world.runtime.process('athena').notify({type: 'model-suspect', code: 'provider_unreachable'});
  await world.clock.advance(100);
  expect(world.named('athena').status.phase).toBe('NotReady');
});

it('tells a worker that the model is there after all, when a chat made it think otherwise', async () => {
  await world.apply([desire('athena')]);
  controller = await world.start();
  const athena = world.runtime.process('athena');
  athena.told.length = 0;
  athena.notify({type: 'model-suspect', code: 'timeout'});
  await world.clock.advance(100);
  expect(athena.told).toEqual([{available: true}]);
});

it('launches, and says that nothing is known of the model, while a provider hangs', async () => {
  world.models.answers.set('ollama', 'hang');
  await world.apply([desire('athena')]);
  controller = await world.start();
  await world.clock.advance(1000);
  expect(world.runtime.running).toEqual(['athena']);
  expect(world.condition('athena', 'ModelAvailable')).toMatchObject({status: 'Unknown', reason: 'NotChecked'});
  await world.clock.advance(10_000);
  expect(world.condition('athena', 'Ready')).toMatchObject({status: 'False', reason: 'ProviderUnreachable'});
});

it('says the truth of a specialist whose new model was not looked at yet', async () => {
  await world.apply([desire('athena', {model: 'm1'})]);
  controller = await world.start();
  world.models.answers.set('ollama', 'hang');
  await applyNow([desire('athena', {model: 'm2'})]);
  expect(world.runtime.process('athena').config.model).toBe('m2');
  expect(world.condition('athena', 'Ready')).toMatchObject({status: 'False', reason: 'NotChecked'});
  expect(world.events('athena').at(-1)).toMatchObject({reason: 'BecameNotReady', message: 'not checked yet'});
});

describe('auto', () => {
  beforeEach(async () => {
    await world.apply([desire('athena', {provider: 'auto'}), desire('hermes', {provider: 'auto'})]);
    controller = await world.start();
    world.runtime.log.length = 0;
  });

  it('shows what it chose, and why', () => {
    expect(world.named('athena').status.model).toEqual({
      provider: 'ollama',
      type: 'ollama',
      model: 'm',
      why: 'ollama it is',
    });
    expect(world.condition('athena', 'ModelAvailable').message).toBe('ollama:m answers; ollama it is');
  });

  it('asks once for all of a look', () => {
    expect(world.models.asked).toEqual([{provider: 'ollama', models: ['m']}]);
  });

  it('moves its workers to another choice without a restart, says so, and tells the registry', async () => {
    world.models.auto = autoOf('ollama', 'bigger');
    await world.clock.advance(10_500);
    expect(world.runtime.log).toEqual(['configure athena', 'configure hermes']);
    expect(world.runtime.process('athena').config).toMatchObject({model: 'bigger', generation: 1});
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 0, model: {model: 'bigger'}});
    const event = world.events('athena').find(e => e.reason === 'Reconfigured');
    expect(event?.message).toContain('ollama it is');
    expect(world.registry.entries.find(e => e.aiId === 'athena-ai')?.metadata['model']).toBe('bigger');
  });

  it('does not move them for a provider that stumbles', async () => {
    world.models.auto = autoOf('offline');
    await world.clock.advance(20_500);
    expect(world.runtime.log).toEqual([]);
    await world.clock.advance(10_000);
    expect(world.runtime.log).toEqual(['configure athena', 'configure hermes']);
    expect(world.named('athena').status.model?.type).toBe('offline');
  });

  it('is not changed by what a worker was launched with before: an adopted one keeps its choice', async () => {
    await world.close(controller);
    await world.start();
    await world.clock.advance(30_000);
    expect(world.runtime.log).toEqual([]);
  });
});

describe('the key of a provider', () => {
  beforeEach(async () => {
    world.secretValues.set('HOSTED_KEY', 'k1');
    await world.apply([desire('athena', {provider: 'hosted'})]);
    controller = await world.start();
    world.runtime.log.length = 0;
  });

  it('that changes reaches the worker without a restart', async () => {
    world.secretValues.set('HOSTED_KEY', 'k2');
    await world.clock.advance(61_000);
    await world.clock.advance(400_000);
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(world.runtime.process('athena').config.provider.apiKey).toBe('k2');
    expect(world.events('athena').at(-1)?.message).toBe('changed the secret of its provider, without a restart');
  });

  it('that a worker refuses at first reaches it later', async () => {
    world.runtime.process('athena').refuseConfigure = 'not now';
    world.secretValues.set('HOSTED_KEY', 'k2');
    await world.clock.advance(61_000);
    world.runtime.process('athena').refuseConfigure = undefined;
    await world.clock.advance(10_000);
    expect(world.runtime.process('athena').config.provider.apiKey).toBe('k2');
  });

  it('that is not set is not asked for by the worker: it is told what is missing', async () => {
    world.secretValues.clear();
    await world.clock.advance(61_000);
    expect(world.runtime.process('athena').config.provider).toMatchObject({missingSecret: 'HOSTED_KEY is not set'});
  });
});

it('gives a specialist whose provider changes the model of the new one', async () => {
  await world.apply([desire('athena', {model: 'm1'})]);
  controller = await world.start();
  world.runtime.log.length = 0;
  await applyNow([desire('athena', {provider: 'offline', model: 'expertise'})]);
  expect(world.runtime.log).toEqual(['configure athena']);
  expect(world.runtime.process('athena').config).toMatchObject({model: 'expertise', provider: {type: 'offline'}});
  expect(world.named('athena').status).toMatchObject({phase: 'Ready', model: {provider: 'offline'}});
});

function reasonOf(check: ModelCheck): {reason?: string; message?: string} {
  return check.available ? {} : {reason: check.reason, message: check.message};
}

describe('a specialist with a fallback', () => {
  const fallback = [{provider: 'hosted', model: 'big'}];

  beforeEach(async () => {
    world.secretValues.set('HOSTED_KEY', 'k1');
    await world.apply([desire('athena', {fallback})]);
    controller = await world.start();
    world.runtime.log.length = 0;
  });

  it('is launched with it', () => {
    expect(world.runtime.process('athena').config.fallback).toMatchObject([
      {provider: {name: 'hosted', apiKey: 'k1'}, model: 'big'},
    ]);
  });

  it('stays Ready while its own provider is away, and says so; and again when it is back', async () => {
    world.models.answers.set('ollama', away);
    await world.clock.advance(10_500);
    expect(world.named('athena').status.phase).toBe('Ready');
    expect(world.condition('athena', 'Ready')).toMatchObject({status: 'True', reason: 'Fallback'});
    expect(world.condition('athena', 'ModelAvailable')).toMatchObject({status: 'False', ...reasonOf(away)});
    expect(world.events('athena').at(-1)).toMatchObject({reason: 'FellBack', type: 'Warning'});
    expect(world.runtime.process('athena').told.at(-1)).toMatchObject({available: true, fallback: {by: 'hosted:big'}});
    world.models.answers.delete('ollama');
    await world.clock.advance(10_500);
    expect(world.condition('athena', 'Ready')).toMatchObject({status: 'True', reason: 'Ready'});
    expect(world.events('athena').at(-1)).toMatchObject({reason: 'ModelRecovered', type: 'Normal'});
    expect(world.runtime.log).toEqual([]);
  });

  it('is told a changed key of its fallback without a restart, once', async () => {
    world.secretValues.set('HOSTED_KEY', 'k2');
    await world.clock.advance(61_000);
    await world.clock.advance(400_000);
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(world.runtime.process('athena').config.fallback?.[0]?.provider.apiKey).toBe('k2');
  });
});
