/** Which model answers, and whether it would: asked once for many, at the pace of their probes. */
import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import type {Desired, ModelCheck} from '../../src/api/types.js';
import {ModelMonitor} from '../../src/reconciler/models.js';
import {settle} from '../fakes/clock.js';
import {autoOf, desire, World} from '../fakes/ports.js';

const away: ModelCheck = {available: false, reason: 'ProviderUnreachable', message: 'nobody there'};

let world: World;
let monitor: ModelMonitor;
let changed: string[];

beforeEach(() => {
  world = new World();
  changed = [];
  const {clock, models, ports} = world;
  monitor = new ModelMonitor({clock, models, log: ports.log, changed: id => changed.push(id)});
});

afterEach(() => monitor.close());

function want(desired: Desired): void {
  monitor.want(desired.name, desired, undefined);
}

/** Holds every question back until the returned function is called. */
function hold(): () => Promise<void> {
  let open: () => void = () => undefined;
  world.models.gate = new Promise(resolve => (open = resolve));
  return async () => {
    world.models.gate = undefined;
    open();
    await settle();
  };
}

describe('checks', () => {
  it('of many specialists behind one provider are one question, about each model once', async () => {
    for (const [name, model] of Object.entries({a: 'm1', b: 'm2', c: 'm1'})) want(desire(name, {model}));
    await settle();
    expect(world.models.asked).toEqual([{provider: 'ollama', models: ['m1', 'm2']}]);
    expect(monitor.check('c')).toEqual({available: true});
  });

  it('are repeated at the pace of the most impatient probe', async () => {
    want(desire('a'));
    want(desire('b', {probes: {periodSeconds: 4}}));
    await settle();
    await world.clock.advance(3999);
    expect(world.models.asked).toHaveLength(1);
    await world.clock.advance(1);
    expect(world.models.asked).toHaveLength(2);
  });

  it('of a hosted service come once a minute while it answers, and at the usual pace while it does not', async () => {
    world.secretValues.set('HOSTED_KEY', 'k');
    want(desire('a', {provider: 'hosted'}));
    await settle();
    await world.clock.advance(59_999);
    expect(world.models.asked).toHaveLength(1);
    world.models.answers.set('hosted', away);
    await world.clock.advance(1);
    expect(world.models.asked).toHaveLength(2);
    await world.clock.advance(10_000);
    expect(world.models.asked).toHaveLength(3);
  });

  it('of the embedded provider are made once', async () => {
    want(desire('a', {provider: 'offline'}));
    await settle();
    expect(world.models.asked).toHaveLength(1);
    expect(world.clock.pending).toEqual([]);
  });

  it('tell only of changes', async () => {
    want(desire('a'));
    want(desire('b'));
    await settle();
    expect(changed).toEqual(['a', 'b']);
    await world.clock.advance(10_000);
    expect(changed).toEqual(['a', 'b']);
    world.models.answers.set('ollama', away);
    await world.clock.advance(10_000);
    expect(changed).toEqual(['a', 'b', 'a', 'b']);
    expect(monitor.check('a')).toEqual(away);
  });

  it('that get no answer end after ten seconds, and say who did not answer', async () => {
    world.models.answers.set('ollama', 'hang');
    want(desire('a'));
    await world.clock.advance(9_999);
    expect(monitor.check('a')).toBeUndefined();
    await world.clock.advance(1);
    expect(monitor.check('a')).toEqual({
      available: false,
      reason: 'ProviderUnreachable',
      message: 'ollama at http://127.0.0.1:11434 did not answer within 10 s',
    });
  });

  it('are made at once where somebody suspects the model', async () => {
    want(desire('a'));
    await settle();
    void monitor.suspect('a');
    void monitor.suspect('a');
    void monitor.suspect('nobody');
    await settle();
    expect(world.models.asked).toHaveLength(2);
  });

  it('are made once more for all that is said during one', async () => {
    want(desire('a'));
    await settle();
    const open = hold();
    void monitor.suspect('a');
    await settle();
    void monitor.suspect('a');
    want(desire('b', {model: 'm2'}));
    await open();
    expect(world.models.asked.map(({models}) => models)).toEqual([['llama3'], ['llama3'], ['llama3', 'm2']]);
  });

  it('end with the last that wants them', async () => {
    want(desire('a'));
    want(desire('b'));
    await settle();
    monitor.drop('a');
    expect(world.clock.pending).toHaveLength(1);
    monitor.drop('b');
    expect(world.clock.pending).toEqual([]);
    expect(monitor.check('b')).toBeUndefined();
  });

  it('are not made anew for a wish that is said again', async () => {
    want(desire('a', {model: 'm1'}));
    await settle();
    want(desire('a', {model: 'm1', env: {A: 'b'}}));
    await settle();
    expect(world.models.asked).toHaveLength(1);
    expect(monitor.check('a')).toEqual({available: true});
  });
});

describe('the target', () => {
  it('is what is declared, known before the model has been asked about', async () => {
    world.models.answers.set('ollama', 'hang');
    want(desire('a', {model: 'm1'}));
    expect(await monitor.target('a')).toEqual({
      provider: {name: 'ollama', type: 'ollama', baseUrl: 'http://127.0.0.1:11434'},
      model: 'm1',
      choice: {provider: 'ollama', type: 'ollama', model: 'm1'},
    });
  });

  it('is the last that was wished for, also by those that have been waiting', async () => {
    const open = hold();
    want(desire('a', {model: 'm1'}));
    const target = monitor.target('a');
    await settle();
    want(desire('a', {model: 'm2'}));
    await open();
    expect((await target).model).toBe('m2');
    expect(monitor.check('a')).toEqual({available: true});
    expect(world.models.asked.at(-1)?.models).toEqual(['m2']);
  });

  it('moves with a wish for another provider', async () => {
    want(desire('a'));
    await settle();
    want(desire('a', {provider: 'offline'}));
    expect((await monitor.target('a')).provider.name).toBe('offline');
    await world.clock.advance(60_000);
    expect(world.models.asked.filter(({provider}) => provider === 'ollama')).toHaveLength(1);
  });

  it('is no longer waited for when nobody wants it', async () => {
    const open = hold();
    want(desire('a'));
    const failure = expect(monitor.target('a')).rejects.toThrow('nobody wants the model of a any more');
    await settle();
    monitor.drop('a');
    await open();
    await failure;
  });

  it('is no longer waited for when the monitor is closed', async () => {
    const open = hold();
    want(desire('a', {provider: 'auto'}));
    const failure = expect(monitor.target('a')).rejects.toThrow('cannot find out the provider of a');
    await settle();
    monitor.close();
    await open();
    await failure;
  });

  it('that cannot be found out is an error, not an endless search', async () => {
    world.models.resolve = async () => {
      throw new Error('the state folder is gone');
    };
    want(desire('a'));
    want(desire('b'));
    await expect(monitor.target('a')).rejects.toThrow('cannot find out the provider of a');
    expect(world.warnings.join()).toContain('the state folder is gone');
  });
});

describe('auto', () => {
  beforeEach(async () => {
    want(desire('a', {provider: 'auto'}));
    await settle();
    changed.length = 0;
  });

  it('says what it chose and why', async () => {
    expect(monitor.known('a')?.choice).toEqual({provider: 'ollama', type: 'ollama', model: 'm', why: 'ollama it is'});
  });

  it('takes what is better at once', async () => {
    world.models.auto = autoOf('offline');
    for (let look = 0; look < 3; look++) await world.clock.advance(10_000);
    expect(monitor.known('a')?.choice.type).toBe('offline');
    world.models.auto = autoOf('anthropic');
    await world.clock.advance(10_000);
    expect(monitor.known('a')?.choice.type).toBe('anthropic');
    world.models.auto = autoOf('ollama');
    await world.clock.advance(60_000); // the pace of a hosted service
    expect(monitor.known('a')?.choice.type).toBe('ollama');
  });

  it('takes another model of the same provider at once', async () => {
    world.models.auto = autoOf('ollama', 'bigger');
    await world.clock.advance(10_000);
    expect(monitor.known('a')?.model).toBe('bigger');
    expect(changed).toContain('a');
  });

  it('leaves for something lesser only at the third look in a row', async () => {
    world.models.auto = autoOf('offline');
    await world.clock.advance(20_000);
    expect(monitor.known('a')?.choice.type).toBe('ollama');
    world.models.auto = autoOf('ollama');
    await world.clock.advance(10_000);
    world.models.auto = autoOf('offline');
    await world.clock.advance(20_000);
    expect(monitor.known('a')?.choice.type).toBe('ollama');
    await world.clock.advance(10_000);
    expect(monitor.known('a')?.choice.type).toBe('offline');
  });

  it('tells meanwhile that what it holds on to does not answer', async () => {
    world.models.auto = autoOf('offline');
    world.models.answers.set('ollama', away);
    await world.clock.advance(10_000);
    expect(monitor.check('a')).toEqual(away);
  });
});

it('names a secret that is not set', async () => {
  want(desire('a', {provider: 'hosted'}));
  expect((await monitor.target('a')).provider).toMatchObject({missingSecret: 'HOSTED_KEY is not set'});
});

describe('fallbacks', () => {
  const fallback = [
    {provider: 'hosted', model: 'big'},
    {provider: 'offline', model: 'expertise'},
  ];

  beforeEach(() => void world.secretValues.set('HOSTED_KEY', 'k'));

  it('are checked like any other model, each at its own provider', async () => {
    want(desire('a', {fallback}));
    want(desire('b', {provider: 'hosted', model: 'big'}));
    await settle();
    expect([...world.models.asked].sort((x, y) => (x.provider < y.provider ? -1 : 1))).toEqual([
      {provider: 'hosted', models: ['big']},
      {provider: 'offline', models: ['expertise']},
      {provider: 'ollama', models: ['llama3']},
    ]);
    expect(monitor.check('a')).toEqual({available: true});
  });

  it('stand in for a model that cannot answer, in their order', async () => {
    world.models.answers.set('ollama', away);
    want(desire('a', {fallback}));
    await settle();
    const {reason, message} = away;
    expect(monitor.check('a')).toEqual({available: true, fallback: {by: 'hosted:big', reason, message}});
    world.models.answers.set('hosted', {...away, message: 'no hosted'});
    await world.clock.advance(60_000);
    expect(monitor.check('a')).toMatchObject({fallback: {by: 'offline:expertise', message}});
    expect(changed).toContain('a');
    expect(changed.every(id => id === 'a')).toBe(true);
  });

  it('that cannot answer either leave the fault of the model', async () => {
    world.models.answers.set('ollama', away).set('hosted', {...away, message: 'no hosted'});
    want(desire('a', {fallback: fallback.slice(0, 1)}));
    await settle();
    expect(monitor.check('a')).toEqual(away);
  });

  it('that are no longer declared are not asked about any more', async () => {
    want(desire('a', {fallback}));
    await settle();
    want(desire('a'));
    world.models.asked.length = 0;
    await world.clock.advance(60_000);
    expect(new Set(world.models.asked.map(({provider}) => provider))).toEqual(new Set(['ollama']));
    monitor.drop('a');
    expect(world.clock.pending).toEqual([]);
  });

  it('are given with their secrets to whoever launches', async () => {
    want(desire('a', {fallback}));
    expect(await monitor.fallbacks('a')).toMatchObject([
      {provider: {name: 'hosted', apiKey: 'k'}, model: 'big'},
      {provider: {name: 'offline'}, model: 'expertise'},
    ]);
    expect(monitor.knownFallbacks('a')).toHaveLength(2);
  });
});
