/** Models that are fetched because a specialist wants them and Ollama lacks them. */
import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import type {ModelCheck} from '../../src/api/types.js';
import {ModelMonitor} from '../../src/reconciler/models.js';
import {outlook} from '../../src/reconciler/status.js';
import {settle} from '../fakes/clock.js';
import {desire, World} from '../fakes/ports.js';
import type {Says} from '../fakes/ports.js';

const missing: ModelCheck = {available: false, reason: 'ModelNotFound', message: 'llama3 is not there'};
const gib = 1024 ** 3;

describe('the monitor', () => {
  let world: World;
  let monitor: ModelMonitor;
  let changed: string[];

  beforeEach(() => {
    world = new World();
    changed = [];
    const {clock, models, ports} = world;
    models.answers.set('ollama', missing);
    monitor = new ModelMonitor({clock, models, log: ports.log, changed: id => changed.push(id)});
  });

  afterEach(() => monitor.close());

  async function want(name: string, says: Says = {pull: 'IfNotPresent'}): Promise<void> {
    monitor.want(name, desire(name, says), undefined);
    await settle();
  }

  it('fetches a model once, however many specialists want it', async () => {
    for (const name of ['a', 'b', 'c']) await want(name);
    await world.clock.advance(60_000);
    expect(world.models.pulls.map(({provider, model}) => [provider, model])).toEqual([['ollama', 'llama3']]);
    for (const id of ['a', 'b', 'c']) {
      expect(monitor.check(id)).toEqual({
        available: false,
        reason: 'Pulling',
        message: 'llama3 is being pulled from ollama at http://127.0.0.1:11434',
      });
    }
  });

  it('fetches nothing where that is not wanted, or nothing is missing, or nobody answers', async () => {
    await want('a', {});
    world.models.answers.set('ollama', {available: false, reason: 'ProviderUnreachable', message: 'away'});
    await want('b');
    world.models.answers.set('ollama', {available: true});
    await want('c');
    await world.clock.advance(60_000);
    expect(world.models.pulls).toEqual([]);
  });

  it('tells of progress that a person would see, and looks at once when the model is there', async () => {
    await want('a');
    const [pull] = world.models.pulls;
    pull?.step({status: 'pulling manifest'});
    await settle();
    changed.length = 0;
    for (let i = 1; i <= 50; i++) pull?.step({status: 'pulling', completedBytes: i * 1e6, totalBytes: gib});
    await settle();
    expect(monitor.pull('a')).toEqual({model: 'llama3', step: 'pulling', completedBytes: 50e6, totalBytes: gib});
    expect(changed.length).toBeLessThan(8);

    world.models.answers.set('ollama', {available: true});
    pull?.step('done');
    await settle();
    expect(monitor.check('a')).toEqual({available: true});
    expect(monitor.pull('a')).toBeUndefined();
  });

  it('says why a download failed, and tries again ever more rarely', async () => {
    await want('a', {pull: 'IfNotPresent', probes: {periodSeconds: 1}});
    world.models.pulls[0]?.step(new Error('no space left on the server'));
    await settle();
    expect(monitor.check('a')).toEqual({
      available: false,
      reason: 'PullFailed',
      message: 'no space left on the server',
    });
    const begun: number[] = [];
    for (let seconds = 1; seconds <= 120; seconds++) {
      await world.clock.advance(1000);
      if (world.models.pulls.length > begun.length + 1) {
        begun.push(seconds);
        world.models.pulls.at(-1)?.step(new Error('again'));
        await settle();
      }
    }
    expect(begun).toHaveLength(3);
    const [first = 0, second = 0, third = 0] = begun;
    expect([first, second - first, third - second]).toEqual([15, 30, 60]);
  });

  it('does not fetch on and on what the server says that it has fetched and lacks all the same', async () => {
    await want('a');
    world.models.pulls[0]?.step('done');
    await settle();
    expect(monitor.check('a')).toEqual({
      available: false,
      reason: 'PullFailed',
      message: 'ollama at http://127.0.0.1:11434 says that it has pulled llama3, and lacks it all the same',
    });
    await world.clock.advance(14_000);
    expect(world.models.pulls).toHaveLength(1);
  });

  it('ends a download that nobody wants any more', async () => {
    await want('a');
    await want('b');
    const [pull] = world.models.pulls;
    monitor.drop('a');
    expect(pull?.signal.aborted).toBe(false);
    await want('b', {pull: 'Never'});
    expect(pull?.signal.aborted).toBe(true);
    expect(monitor.check('b')).toEqual(missing);
  });
});

describe('the controller', () => {
  it('shows how far a download is, waits for it, and is Ready when the model is there', async () => {
    const world = new World();
    world.models.answers.set('ollama', missing);
    await world.apply([desire('athena', {pull: 'IfNotPresent'})]);
    const controller = await world.start();
    try {
      await world.clock.advance(100);
      world.models.pulls[0]?.step({status: 'pulling', completedBytes: gib, totalBytes: 4 * gib});
      await world.clock.advance(5000);
      const named = world.named('athena');
      expect(named.status.pull).toEqual({model: 'llama3', step: 'pulling', completedBytes: gib, totalBytes: 4 * gib});
      expect(named.status.conditions).toEqual(
        expect.arrayContaining([
          expect.objectContaining({type: 'ModelAvailable', status: 'False', reason: 'Pulling'}),
          expect.objectContaining({type: 'Progressing', status: 'True', reason: 'Pulling'}),
          expect.objectContaining({type: 'Stalled', status: 'False'}),
        ]),
      );
      expect(outlook(named).type).toBe('waiting');

      world.models.answers.set('ollama', {available: true});
      world.models.pulls[0]?.step('done');
      await world.clock.advance(5000);
      const after = world.named('athena');
      expect(after.status.phase).toBe('Ready');
      expect(after.status.pull).toBeUndefined();
    } finally {
      await world.close(controller);
    }
  });
});

it('tells once that a model is no longer the one that was pinned, and calls it Ready all the same', async () => {
  const world = new World();
  const warning = 'llama3 has the digest sha256:bbbb and not the declared sha256:aaaa';
  await world.apply([desire('athena')]);
  const controller = await world.start();
  try {
    await world.clock.advance(5000);
    world.models.answers.set('ollama', {available: true, digest: 'sha256:bbbb', warning});
    await world.clock.advance(60_000);
    expect(world.named('athena').status.phase).toBe('Ready');
    expect(world.condition('athena', 'ModelAvailable').message).toContain(warning);
    expect(world.events('athena').filter(({reason}) => reason === 'ModelMoved')).toMatchObject([
      {type: 'Warning', message: warning},
    ]);
  } finally {
    await world.close(controller);
  }
});
