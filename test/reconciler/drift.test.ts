/** What somebody else than its owner makes of a worker: noticed at once, and put right, told of or left. */
import {beforeEach, describe, expect, it, test} from '@jest/globals';
import type {Desired, DriftPolicy, FieldChange} from '../../src/api/types.js';
import {runningOf, toldOf} from '../../src/protocol/running.js';
import type {WorkerConfig} from '../../src/protocol/control.js';
import type {Controller} from '../../src/reconciler/controller.js';
import {driftText, fieldsOff, isSameDrift, leftText, tellsOfWarned} from '../../src/reconciler/drift.js';
import {withHand} from '../../src/reconciler/hand.js';
import {noClaims, planSpecialist} from '../../src/reconciler/plan.js';
import type {Action, Observed} from '../../src/reconciler/types.js';
import {dev, desire, World} from '../fakes/ports.js';
import {configOf} from '../worker/harness.js';

const byHand = {model: 'm2', parameters: {temperature: 0.9}};

describe('what differs from what a worker was told', () => {
  const config = configOf({parameters: {temperature: 0.2}});
  const told = toldOf(config);
  const say = (changes: Partial<WorkerConfig>) => fieldsOff(told, toldOf({...config, ...changes}));

  it('is nothing where it runs just that', () => {
    expect(say({})).toEqual([]);
  });

  it('is named field by field, whatever the worker claims to be declared with', () => {
    expect(say(byHand)).toEqual([
      {path: 'model', from: 'm2', to: 'm1', origin: undefined},
      {path: 'parameters.temperature', from: 0.9, to: 0.2, origin: undefined},
    ]);
  });

  it('is a mere claim, too, and a field is named once', () => {
    const claims = {specHash: 'h', declared: {model: 'm2', 'probes.periodSeconds': 99}};
    expect(say({...claims, model: 'm2'}).map(({path}) => path)).toEqual(['model', 'probes.periodSeconds']);
  });

  it('is not a secret, and holds none', () => {
    const secret = 'sk-very-secret';
    const provider = {...config.provider, apiKey: secret, apiKeyFrom: 'KEY'};
    const target = {provider, model: 'm'};
    expect(say({provider, authToken: secret})).toEqual([]);
    expect(JSON.stringify(toldOf({...config, provider, authToken: secret, fallback: [target]}))).not.toContain(secret);
  });

  it('goes by its claims where it says no more, as one of an older version', () => {
    const {running: _, ...claims} = toldOf({...config, specHash: 'h', declared: {model: 'm2'}, model: 'm2'});
    expect(fieldsOff(told, claims)).toEqual([{path: 'model', from: 'm2', to: 'm1', origin: undefined}]);
  });

  it('reads the same for the same drift, short, and without keys', () => {
    const changes = say({
      model: 'sk-ant-api03-abcdefghijklmnop',
      expertise: {...config.expertise, focus: 'x'.repeat(99)},
    });
    const text = driftText(changes);
    expect(text).toMatch(
      /^changed by hand: expertise\.focus is "x{38}… instead of "graphs"; model is .* instead of "m1"$/,
    );
    expect(text).not.toContain('abcdefghijklmnop');
    expect(
      driftText(Array.from({length: 6}, (_, i) => ({path: `p${i}`, from: 1, to: undefined, origin: undefined}))),
    ).toBe(
      'changed by hand: p0 is 1 instead of not set; p1 is 1 instead of not set; ' +
        'p2 is 1 instead of not set; p3 is 1 instead of not set; and 2 more',
    );
  });
});

describe('the next step with drift', () => {
  const athena = desire('athena', {model: 'm1', generation: 3});

  /** Runs what `told` was told, but for what a hand changed. */
  function observe(told: Desired, hand: Partial<WorkerConfig> = {}, changes: Partial<Observed> = {}): Observed {
    const {aiId, name, namespace, fleet, spec, declared, specHash, generation} = told;
    const config = configOf({declared, specHash, generation, model: spec.model});
    const says = toldOf({...config, ...hand});
    const who = {aiId, name, namespace, fleet, component: name, host: '127.0.0.1', port: 45000};
    return {...who, state: 'running', ...says, told: toldOf(config), ...changes};
  }

  function step(observed: Observed, driftPolicy: DriftPolicy, desired = athena): Action | undefined {
    return planSpecialist({desired, enabled: true, observed, claims: noClaims, driftPolicy});
  }

  it('is to put it right, or to leave it and say so, by the policy', () => {
    const drifted = observe(athena, {model: 'm2'});
    const changes = [{path: 'model', from: 'm2', to: 'm1', origin: {type: 'file', file: '/f.yaml'}}];
    const left = 'changed by hand: model is "m2" instead of "m1" (left so: driftPolicy is';
    expect(step(drifted, 'heal')).toMatchObject({type: 'reconfigure', drift: true, changes});
    expect(step(drifted, 'warn')).toMatchObject({type: 'leave', changes, message: `${left} warn)`});
    expect(step(drifted, 'ignore')).toMatchObject({type: 'leave', changes, message: `${left} ignore)`});
  });

  test.each<[DriftPolicy, readonly string[] | undefined, readonly string[]]>([
    [{default: 'heal', fields: {model: 'ignore'}}, ['parameters.temperature'], ['model']],
    [{default: 'ignore', fields: {model: 'heal'}}, ['model'], ['parameters.temperature']],
    [{default: 'ignore', fields: {parameters: 'heal'}}, ['parameters.temperature'], ['model']],
    [{default: 'ignore', fields: {'parameters.*': 'heal', parameters: 'warn'}}, ['parameters.temperature'], ['model']],
    [
      {default: 'ignore', fields: {'parameters.*': 'heal', 'parameters.temperature': 'warn'}},
      undefined,
      ['model', 'parameters.temperature'],
    ],
    [{default: 'heal', fields: {'parameters.temp': 'ignore'}}, ['model', 'parameters.temperature'], []],
  ])('is decided field by field, the longest that matches first: %j', (driftPolicy, healed, left) => {
    const action = step(observe(athena, byHand), driftPolicy);
    const paths = (changes: readonly FieldChange[] = []) => changes.map(({path}) => path);
    if (healed === undefined) {
      expect(action).toMatchObject({type: 'leave'});
      expect(paths(action?.type === 'leave' ? action.changes : [])).toEqual(left);
      return;
    }
    expect(action).toMatchObject({type: 'reconfigure', drift: true});
    if (action?.type !== 'reconfigure') return;
    expect(paths(action.changes)).toEqual(healed);
    expect(paths(action.left)).toEqual(left);
  });

  it('is all of it where a person applies, and says what was left until then', () => {
    const input = {desired: athena, enabled: true, observed: observe(athena, byHand), claims: noClaims, heal: true};
    const driftPolicy: DriftPolicy = {default: 'heal', fields: {model: 'ignore'}};
    const action = planSpecialist({...input, driftPolicy});
    expect(action).toMatchObject({
      type: 'reconfigure',
      changes: [{path: 'model', left: 'ignore'}, {path: 'parameters.temperature'}],
    });
    expect(action).not.toHaveProperty('left');
  });

  it.each<DriftPolicy>(['heal', 'warn', 'ignore'])('keeps one that runs as told: %s', policy => {
    expect(step(observe(athena), policy)).toMatchObject({type: 'keep'});
  });

  it.each<DriftPolicy>(['heal', 'warn', 'ignore'])(
    'takes over what is newly declared, whatever the policy: %s',
    policy => {
      const before = desire('athena', {model: 'm0', generation: 2});
      expect(step(observe(before, {model: 'm2'}), policy)).toMatchObject({
        type: 'reconfigure',
        changes: [{path: 'model', from: 'm0', to: 'm1'}],
      });
      expect(step(observe(before, {}, {state: 'draining'}), policy)).toMatchObject({type: 'restart'});
    },
  );

  test.each<[DriftPolicy, Partial<Observed>, string]>([
    ['heal', {}, 'restart'],
    ['warn', {}, 'leave'],
    ['ignore', {}, 'leave'],
    ['warn', {ending: true}, 'restart'],
    ['ignore', {ending: true}, 'restart'],
  ])('of one that drains, policy %s, %j', (policy, changes, type) => {
    expect(step(observe(athena, {}, {state: 'draining', ...changes}), policy)?.type).toBe(type);
  });

  it('is no restart, whatever a worker claims: what a running one cannot change nobody has changed', () => {
    const claims = {specHash: 'h', declared: {...athena.declared, 'env.A': 'x', component: 'hermes'}};
    expect(step(observe(athena, claims), 'heal')).toMatchObject({type: 'reconfigure', drift: true});
  });
});

describe('a worker that somebody reconfigures', () => {
  let world: World;

  beforeEach(() => {
    world = new World();
  });

  async function started(driftPolicy?: DriftPolicy) {
    await world.apply([desire('athena'), desire('hermes')], driftPolicy && {driftPolicy});
    const controller = await world.start();
    await world.clock.advance(60_000);
    world.runtime.log.length = 0;
    world.store.events.length = 0;
    return controller;
  }

  it('is put right at once, and what was off is told', async () => {
    await started();
    const before = world.clock.monotonic();
    world.runtime.process('athena').configureByHand(byHand);
    await world.clock.advance(0);
    expect(world.clock.monotonic()).toBe(before);
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(world.runtime.process('athena').config).toMatchObject({model: 'llama3', parameters: {}});
    await world.clock.advance(1000);
    expect(world.events()).toMatchObject([
      {
        aiId: 'athena-ai',
        type: 'Normal',
        reason: 'DriftHealed',
        message:
          'put right what was changed by hand: model is "m2" instead of "llama3"; ' +
          'parameters.temperature is 0.9 instead of not set',
      },
    ]);
    expect(world.condition('athena', 'Progressing')).toMatchObject({status: 'False', reason: 'Converged'});
  });

  it('is put right by what it runs, though it claims to run what is declared, or anything else', async () => {
    await started();
    const athena = world.runtime.process('athena');
    athena.configureByHand({specHash: 'by hand', declared: {model: 'm2'}, generation: 77, model: 'm2'});
    await world.clock.advance(1000);
    expect(athena.config).toMatchObject({model: 'llama3', generation: 1});
    expect(world.named('athena').status.observedGeneration).toBe(1);
  });

  it('is told again where only its secrets can be others', async () => {
    await started();
    const athena = world.runtime.process('athena');
    athena.configureByHand({authToken: 'of a stranger'});
    await world.clock.advance(1000);
    expect(athena.config.authToken).toBeUndefined();
    expect(world.reasons()).toEqual(['DriftHealed']);
  });

  it('is left as it is with warn: said once, for as long as it is the same', async () => {
    await started('warn');
    const athena = world.runtime.process('athena');
    athena.configureByHand(byHand);
    await world.clock.advance(1_000_000); // resyncs
    expect(world.runtime.log).toEqual([]);
    expect(athena.config).toMatchObject(byHand);
    expect(world.events()).toHaveLength(1);
    expect(world.events()[0]).toMatchObject({type: 'Warning', reason: 'Drifted', aiId: 'athena-ai'});
    expect(world.condition('athena', 'Progressing')).toMatchObject({
      status: 'False',
      reason: 'Drifted',
      message: `${world.events()[0]?.message}`,
    });
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', observedGeneration: 1});

    athena.configureByHand({model: 'm3'});
    await world.clock.advance(1000);
    expect(world.events().map(({message}) => message)).toEqual([
      expect.stringContaining('"m2"'),
      expect.stringContaining('"m3"'),
    ]);
  });

  it('is left alone until it is known who declares it', async () => {
    await world.apply([desire('athena')]);
    await world.close(await world.start());
    // The first look at what is declared takes its time.
    const {sources} = world;
    const watch = sources.watch.bind(sources);
    sources.watch = async (...args) => {
      world.runtime.process('athena').configureByHand(byHand);
      await new Promise<void>(resolve => world.clock.after(1000, resolve));
      return watch(...args);
    };
    world.runtime.log.length = 0;
    const starting = world.controller().start();
    await world.clock.advance(3000);
    await starting;
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(world.runtime.process('athena').config.model).toBe('llama3');
  });

  it('is as declared again when the hand puts it back', async () => {
    await started('warn');
    const athena = world.runtime.process('athena');
    const {model, parameters} = athena.config;
    athena.configureByHand(byHand);
    await world.clock.advance(1000);
    athena.configureByHand({model, parameters});
    await world.clock.advance(1000);
    expect(world.condition('athena', 'Progressing').reason).toBe('Converged');
    expect(world.runtime.log).toEqual([]);
  });

  it('is left as it is with ignore, and nothing is said but in its status', async () => {
    await started('ignore');
    const athena = world.runtime.process('athena');
    athena.configureByHand(byHand);
    await world.clock.advance(1_000_000);
    expect(world.runtime.log).toEqual([]);
    expect(world.events()).toEqual([]);
    expect(world.condition('athena', 'Progressing').reason).toBe('Drifted');
  });

  it.each<DriftPolicy>(['warn', 'ignore'])('is put right when the policy turns from %s to heal', async policy => {
    const controller = await started(policy);
    world.runtime.process('athena').configureByHand(byHand);
    await world.clock.advance(1000);
    await world.apply([desire('athena'), desire('hermes')], {driftPolicy: 'heal'});
    await controller.loadRecords();
    await world.clock.advance(0);
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(world.runtime.process('athena').config.model).toBe('llama3');
  });

  it('is put right by an apply, whatever the policy; who looks meanwhile sees that it is under way', async () => {
    const controller = await started('warn');
    world.runtime.process('athena').configureByHand(byHand);
    await world.clock.advance(1000);
    const record = await world.apply([desire('athena'), desire('hermes')], {driftPolicy: 'warn'});
    await controller.loadRecords();
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual([]); // a look at the records alone is no apply

    await controller.loadRecords([`${record.namespace}/${record.name}`]);
    const stop = controller.subscribe(({specialists}) => {
      const progressing = specialists[0]?.status.conditions.find(({type}) => type === 'Progressing');
      expect(progressing).toMatchObject({status: 'True', reason: 'Reconfiguring'});
    });
    stop();
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(world.reasons('athena')).toEqual(['Drifted', 'DriftHealed']);
    // That was this once.
    world.runtime.process('athena').configureByHand(byHand);
    await world.clock.advance(1000);
    expect(world.reasons('athena')).toEqual(['Drifted', 'DriftHealed', 'Drifted']);
  });

  it('takes over a new declaration whatever the policy, and is as declared then', async () => {
    const controller = await started('warn');
    world.runtime.process('athena').configureByHand(byHand);
    await world.clock.advance(1000);
    await world.apply([desire('athena', {parameters: {seed: 7}}), desire('hermes')], {driftPolicy: 'warn'});
    await controller.loadRecords();
    await world.clock.advance(1000);
    expect(world.runtime.process('athena').config).toMatchObject({model: 'llama3', parameters: {seed: 7}});
    expect(world.condition('athena', 'Progressing').reason).toBe('Converged');
  });

  describe('while no controller runs', () => {
    async function changed(driftPolicy?: DriftPolicy): Promise<void> {
      await world.close(await started(driftPolicy));
      world.runtime.process('athena').configureByHand(byHand);
    }

    it('is found, and put right, by the next', async () => {
      await changed();
      await world.start();
      expect(world.runtime.process('athena').config.model).toBe('llama3');
      expect(world.reasons('athena')).toContain('DriftHealed');
    });

    it('is found by each that comes, and told of once', async () => {
      await changed('warn');
      await world.close(await world.start());
      await world.close(await world.start());
      expect(world.runtime.process('athena').config).toMatchObject(byHand);
      expect(world.reasons('athena').filter(reason => reason === 'Drifted')).toHaveLength(1);
    });

    it('is put right by an apply, which needs none', async () => {
      await changed('ignore');
      await world.close(await world.start({follow: false, only: dev}));
      expect(world.runtime.process('athena').config).toMatchObject(byHand);
      await world.close(await world.start({follow: false, only: dev, heal: true}));
      expect(world.runtime.process('athena').config.model).toBe('llama3');
    });

    it('is not taken for changed where what it was told could not be noted', async () => {
      await world.close(await started('warn'));
      const athena = world.runtime.process('athena');
      athena.toldConfig = {...athena.config, model: 'before', choice: {...athena.config.choice, model: 'before'}};
      await world.start();
      expect(world.reasons('athena')).not.toContain('Drifted');
      expect(world.condition('athena', 'Progressing').reason).toBe('Converged');
    });
  });
});

describe('what of a worker that somebody reconfigures is left', () => {
  const policy: DriftPolicy = {
    default: 'heal',
    fields: {model: 'ignore', 'parameters.*': 'warn', 'parameters.seed': 'heal'},
  };
  let world: World;
  let controller: Controller;

  beforeEach(async () => {
    world = new World();
    await world.apply([desire('athena', {parameters: {seed: 1}}), desire('hermes')], {driftPolicy: policy});
    controller = await world.start();
    await world.clock.advance(60_000);
    world.runtime.log.length = 0;
    world.store.events.length = 0;
  });

  it('stays as the hand made it, while what is to be healed is told again', async () => {
    const athena = world.runtime.process('athena');
    const {expertise} = athena.config;
    athena.configureByHand({
      model: 'm2',
      parameters: {temperature: 0.9, seed: 7},
      expertise: {...expertise, focus: 'chess'},
      authToken: 'of a stranger',
    });
    await world.clock.advance(1_000_000); // resyncs
    expect(world.runtime.log).toEqual(['configure athena']);
    expect(athena.config).toMatchObject({
      model: 'm2',
      choice: {model: 'm2'},
      parameters: {temperature: 0.9, seed: 1},
      expertise,
    });
    expect(athena.config.authToken).toBeUndefined();
    expect(world.events('athena').map(({type, reason, message}) => [type, reason, message])).toEqual([
      [
        'Normal',
        'DriftHealed',
        expect.stringMatching(
          /^put right what was changed by hand: expertise\.focus is .*; parameters\.seed is 7 instead of 1$/,
        ),
      ],
      [
        'Warning',
        'Drifted',
        'changed by hand: parameters.temperature is 0.9 instead of not set (left so: driftPolicy is warn for parameters.temperature)',
      ],
    ]);
    expect(world.condition('athena', 'Progressing')).toMatchObject({
      status: 'False',
      reason: 'Drifted',
      message:
        'changed by hand: model is "m2" instead of "llama3"; parameters.temperature is 0.9 instead of not set ' +
        '(left so: driftPolicy is warn for parameters.temperature; ignore for model)',
    });
  });

  it('is not told of where the policy ignores it, and a change of it is no news of another', async () => {
    const athena = world.runtime.process('athena');
    athena.configureByHand({model: 'm2'});
    await world.clock.advance(1000);
    expect(world.events('athena')).toEqual([]);
    expect(world.condition('athena', 'Progressing').reason).toBe('Drifted');
    athena.configureByHand({parameters: {seed: 1, topP: 0.5}});
    await world.clock.advance(1000);
    athena.configureByHand({model: 'm3'});
    await world.clock.advance(1000);
    expect(athena.config).toMatchObject({model: 'm3', parameters: {seed: 1, topP: 0.5}});
    expect(world.reasons('athena')).toEqual(['Drifted']);
  });

  it('is put right by an apply, and by one that drains the default decides', async () => {
    const athena = world.runtime.process('athena');
    athena.configureByHand({model: 'm2'});
    await world.clock.advance(1000);
    expect(athena.config.model).toBe('m2');
    await controller.loadRecords(['default/dev']);
    await world.clock.advance(1000);
    expect(athena.config.model).toBe('llama3');
    world.runtime.process('hermes').drainByHand();
    await world.clock.advance(60_000);
    expect(world.runtime.log).toContain('launch hermes');
  });

  it('stays over a restart of the controller, which heals the rest', async () => {
    const fresh = new World();
    await fresh.apply([desire('athena')], {driftPolicy: policy});
    await fresh.close(await fresh.start());
    const athena = fresh.runtime.process('athena');
    athena.configureByHand({model: 'm2', graceMs: 1});
    await fresh.close(await fresh.start());
    expect(athena.config).toMatchObject({model: 'm2', graceMs: athena.toldConfig.graceMs});
    await fresh.close(await fresh.start());
    expect(athena.config.model).toBe('m2');
    expect(fresh.reasons('athena').filter(reason => reason === 'DriftHealed')).toHaveLength(1);
  });

  it('is told of against the revision that declares it', async () => {
    const fresh = new World();
    const revision = '1a2b3c4d5e6f7890';
    await fresh.apply([desire('athena')], {driftPolicy: {default: 'warn', fields: {model: 'heal'}}, revision});
    await fresh.start();
    fresh.runtime.process('athena').configureByHand(byHand);
    await fresh.clock.advance(1000);
    const drift = fresh.events('athena').filter(({reason}) => reason.startsWith('Drift'));
    expect(drift.map(({message}) => message)).toEqual([
      'put right what was changed by hand against revision 1a2b3c4d5e6f: model is "m2" instead of "llama3"',
      expect.stringContaining('changed by hand against revision 1a2b3c4d5e6f: parameters.temperature is 0.9'),
    ]);
  });
});

describe('what is said of what is left', () => {
  const change = (path: string, left: 'warn' | 'ignore') => ({path, from: 1, to: 2, origin: undefined, left});
  const policy: DriftPolicy = {default: 'ignore', fields: {model: 'warn'}};

  test.each([
    ['warn', [change('model', 'warn')], true],
    ['ignore', [change('model', 'ignore')], false],
    [policy, [change('model', 'warn')], true],
    [policy, [change('overflow', 'ignore')], false],
    [policy, [change('model', 'warn'), change('overflow', 'ignore')], true],
  ] as const)('%j of %j is to be told of: %s', (one, changes, expected) => {
    expect(tellsOfWarned(leftText(changes, one), one)).toBe(expected);
  });

  it('is the same of another revision that declares the same', () => {
    const said = (path: string, revision?: string): string => leftText([change(path, 'warn')], policy, revision);
    expect(isSameDrift(said('model', 'a1'), said('model', 'b2'))).toBe(true);
    expect(isSameDrift(said('model'), said('model', 'b2'))).toBe(true);
    expect(isSameDrift(said('model', 'a1'), said('overflow', 'a1'))).toBe(false);
    expect(isSameDrift(undefined, said('model'))).toBe(false);
  });
});

describe('a configuration that keeps what is left', () => {
  const config = configOf({parameters: {temperature: 0.2}, budget: {tokensPerDay: 5, mode: 'hard'}});
  const keep = (hand: Partial<WorkerConfig>, ...paths: readonly string[]) =>
    withHand(
      config,
      runningOf({...config, ...hand}),
      paths.map(path => ({path})),
    );

  it('is what is declared where nothing is', () => {
    expect(keep({model: 'm2'})).toEqual(config);
  });

  test.each<[string, Partial<WorkerConfig>, readonly string[], Partial<WorkerConfig>]>([
    ['another value', {model: 'm2'}, ['model'], {model: 'm2', choice: {...config.choice, model: 'm2'}}],
    [
      'a value more',
      {parameters: {temperature: 0.2, seed: 3}},
      ['parameters.seed'],
      {parameters: {temperature: 0.2, seed: 3}},
    ],
    ['one that the hand took away', {parameters: {}}, ['parameters.temperature'], {parameters: {}}],
    ['seconds', {graceMs: 1500}, ['terminationGracePeriodSeconds'], {graceMs: 1500}],
    [
      'one of a section',
      {budget: {tokensPerDay: 9, mode: 'soft'}},
      ['budget.tokensPerDay'],
      {budget: {tokensPerDay: 9, mode: 'hard'}},
    ],
  ])('keeps %s', (_, hand, paths, expected) => {
    expect(keep(hand, ...paths)).toEqual({...config, ...expected});
  });

  it('has no budget where the hand took it away', () => {
    const {budget: _, ...without} = config;
    const kept = withHand(config, runningOf(without), [{path: 'budget.tokensPerDay'}, {path: 'budget.mode'}]);
    expect(kept).toEqual(without);
  });

  it('never keeps a provider, nor its address', () => {
    const provider = {...config.provider, baseUrl: 'http://127.0.0.1:9'} as WorkerConfig['provider'];
    expect(keep({provider}, 'provider.baseUrl')).toEqual(config);
  });
});

describe('a worker that somebody tells to drain', () => {
  let world: World;

  beforeEach(() => {
    world = new World();
  });

  async function started(driftPolicy: DriftPolicy) {
    await world.apply([desire('athena'), desire('hermes', {restartPolicy: 'Never'})], {driftPolicy});
    const controller = await world.start();
    await world.clock.advance(60_000);
    world.runtime.log.length = 0;
    world.store.events.length = 0;
    return controller;
  }

  it('is replaced: it would take no chat any more', async () => {
    await started('heal');
    world.runtime.process('athena').drainByHand();
    await world.clock.advance(1000);
    expect(world.runtime.log).toEqual(['stop athena', 'gone athena', 'launch athena']);
    expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 0});
  });

  it('stays so with warn, says so at once, and needs a person', async () => {
    const controller = await started('warn');
    world.runtime.process('athena').drainByHand();
    await world.clock.advance(100);
    expect(world.named('athena').status.phase).toBe('Draining');
    expect(world.condition('athena', 'Ready')).toMatchObject({status: 'False', reason: 'Draining'});
    expect(world.condition('athena', 'Stalled')).toMatchObject({status: 'True', reason: 'Drifted'});
    await world.clock.advance(1_000_000);
    expect(world.runtime.log).toEqual([]);
    expect(world.reasons('athena')).toEqual(['Drifted', 'BecameNotReady']);

    await controller.loadRecords(['default/dev']);
    await world.clock.advance(1000);
    expect(world.named('athena').status.phase).toBe('Ready');
  });

  describe('and to end, by SIGTERM', () => {
    it.each<DriftPolicy>(['heal', 'warn', 'ignore'])(
      'is Draining at once, and replaced when it has ended: %s',
      async policy => {
        await started(policy);
        const athena = world.runtime.process('athena');
        athena.chats = 1;
        athena.terminateByHand();
        await world.clock.advance(100);
        expect(world.named('athena').status.phase).toBe('Draining');
        expect(world.condition('athena', 'Progressing')).toMatchObject({status: 'True', reason: 'Draining'});
        expect(world.events('athena')[0]).toMatchObject({
          type: 'Warning',
          reason: 'ToldToStop',
          message: 'somebody sent it SIGTERM: it takes no new chats, and ends when those under way have',
        });
        await world.clock.advance(20_000);
        expect(world.runtime.log).toEqual([]);
        athena.end({code: 0});
        await world.clock.advance(1000);
        expect(world.runtime.log).toEqual(['launch athena']);
        expect(world.named('athena').status).toMatchObject({phase: 'Ready', restarts: 1});
        expect(world.reasons('athena')).toEqual(
          expect.arrayContaining(['ToldToStop', 'BecameNotReady', 'Exited', 'Relaunched', 'BecameReady']),
        );
        expect(world.reasons('athena')).not.toContain('Drifted');
      },
    );

    it('is not started again where its restart policy says so', async () => {
      await started('heal');
      world.runtime.process('hermes').terminateByHand();
      await world.clock.advance(1000);
      expect(world.runtime.running).toEqual(['athena']);
      expect(world.condition('hermes', 'Stalled')).toMatchObject({status: 'True', reason: 'Exited'});
    });

    it('is waited for with a new declaration, which is for who comes after it', async () => {
      const controller = await started('heal');
      const athena = world.runtime.process('athena');
      athena.chats = 1;
      athena.terminateByHand();
      await world.clock.advance(100);
      await world.apply([desire('athena', {model: 'm2'}), desire('hermes', {restartPolicy: 'Never'})]);
      await controller.loadRecords();
      await world.clock.advance(1000);
      expect(world.runtime.log).toEqual([]);
      athena.end({code: 0});
      await world.clock.advance(1000);
      expect(world.runtime.process('athena').config.model).toBe('m2');
    });

    it('is still stopped at once by down', async () => {
      const controller = await started('heal');
      const athena = world.runtime.process('athena');
      athena.chats = 1;
      athena.terminateByHand();
      await world.apply([desire('hermes', {restartPolicy: 'Never'})]);
      await controller.loadRecords();
      await world.clock.advance(40_000);
      expect(athena.alive).toBe(false);
      expect(world.runtime.running).toEqual(['hermes']);
    });
  });
});
