import {describe, expect, it, test} from '@jest/globals';
import {hashOf} from '../../src/api/hash.js';
import type {Desired} from '../../src/api/types.js';
import {isMassPrune, noClaims, planFleet, planSpecialist} from '../../src/reconciler/plan.js';
import type {Claims, PlanInput} from '../../src/reconciler/plan.js';
import type {Action, Observed, ObservedState} from '../../src/reconciler/types.js';
import {desire} from '../fakes/ports.js';
import type {Says} from '../fakes/ports.js';

/** `desired` as it would be observed when it runs. */
function observe(desired: Desired, changes: Partial<Observed> = {}): Observed {
  const {aiId, name, namespace, fleet, declared, specHash, generation, spec} = desired;
  return {
    ...{aiId, name, namespace, fleet, component: spec.component, declared, specHash, generation},
    state: 'running',
    host: spec.host,
    port: spec.port ?? 45000,
    ...changes,
  };
}

function step(desired: Desired, observed: Observed | undefined, enabled = true, claims = noClaims): Action | undefined {
  return planSpecialist({desired, enabled, observed, claims, driftPolicy: 'heal'});
}

describe('the next step of one specialist', () => {
  const athena = desire('athena', {model: 'm1'});

  test.each<[string, Observed | undefined, boolean, object | undefined]>([
    ['nothing of it is known', undefined, true, {type: 'create', reason: 'it is new'}],
    ['it is absent', observe(athena, {state: 'absent'}), true, {type: 'create', reason: 'it is new'}],
    ['it has ended', observe(athena, {state: 'exited'}), true, {type: 'create', reason: 'it is not running'}],
    ['it runs as declared', observe(athena), true, {type: 'keep'}],
    ['it is coming up as declared', observe(athena, {state: 'starting'}), true, {type: 'keep'}],
    ['it is draining', observe(athena, {state: 'draining'}), true, {type: 'restart', changes: []}],
    ['it runs and is not to', observe(athena), false, {type: 'stop', reason: 'disabled'}],
    ['it drains and is not to run', observe(athena, {state: 'draining'}), false, {type: 'stop'}],
    ['it has ended and is not to run', observe(athena, {state: 'exited'}), false, undefined],
    ['nothing of it is known and it is not to run', undefined, false, undefined],
  ])('when %s', (_, observed, enabled, action) => {
    const next = step(athena, observed, enabled);
    if (action === undefined) expect(next).toBeUndefined();
    else expect(next).toMatchObject(action);
  });

  it('takes what a worker without facts runs with for nothing declared', () => {
    const {declared: _, specHash: __, ...silent} = observe(athena);
    expect(step(athena, silent)).toMatchObject({type: 'restart'});
  });

  it('shows old value, new value and origin of what changed', () => {
    expect(step(desire('athena', {model: 'm2'}), observe(athena))).toMatchObject({
      type: 'reconfigure',
      changes: [{path: 'model', from: 'm1', to: 'm2', origin: {type: 'file', file: '/f.yaml'}}],
    });
  });

  it('names the fields that force a restart, and lists all that change', () => {
    const next = step(desire('athena', {model: 'm2', env: {A: 'b'}}), observe(athena));
    expect(next).toMatchObject({type: 'restart', reason: 'a running worker cannot change its env.A'});
    expect(next && 'changes' in next && next.changes.map(c => c.path)).toEqual(['env.A', 'model']);
  });
});

describe('how a change takes effect', () => {
  test.each<[string, Says, Says, 'reconfigure' | 'restart' | 'keep']>([
    ['model', {model: 'a'}, {model: 'b'}, 'reconfigure'],
    ['provider', {}, {provider: 'offline'}, 'reconfigure'],
    ['parameters', {parameters: {temperature: 0.1}}, {parameters: {temperature: 0.2}}, 'reconfigure'],
    ['concurrency', {}, {concurrency: {max: 1, queue: 1}}, 'reconfigure'],
    ['sessions', {}, {sessions: {maxTurns: 1, idleMinutes: 1, persist: false}}, 'reconfigure'],
    ['dependsOn', {}, {dependsOn: ['hermes']}, 'reconfigure'],
    ['restartPolicy', {}, {restartPolicy: 'Never'}, 'reconfigure'],
    ['probes', {}, {probes: {periodSeconds: 1}}, 'reconfigure'],
    ['the grace', {}, {terminationGracePeriodSeconds: 1}, 'reconfigure'],
    ['component', {component: 'athena'}, {component: 'apollo'}, 'restart'],
    ['an env value', {env: {A: '1'}}, {env: {A: '2'}}, 'restart'],
    ['an env name taken away', {env: {A: '1', B: '2'}}, {env: {A: '1'}}, 'restart'],
    ['auth', {}, {auth: {token: {env: 'TOKEN'}}}, 'restart'],
    ['auth taken away', {auth: {token: {env: 'TOKEN'}}}, {}, 'restart'],
    ['another port', {port: 45001}, {port: 45002}, 'restart'],
    ['the port that it has anyway', {}, {port: 45000}, 'reconfigure'],
    ['a port where it has another', {}, {port: 45007}, 'restart'],
    ['a port no longer pinned', {port: 45001}, {}, 'reconfigure'],
    ['another host', {}, {host: '0.0.0.0'}, 'restart'],
    ['the host that it has anyway', {}, {host: '127.0.0.1'}, 'reconfigure'],
    ['back to the default host', {host: '0.0.0.0'}, {}, 'restart'],
    ['nothing', {model: 'a', env: {A: '1'}}, {model: 'a', env: {A: '1'}}, 'keep'],
  ])('of %s', (_, from, to, type) => {
    expect(step(desire('athena', to), observe(desire('athena', from)))?.type).toBe(type);
  });

  it('is told by name and not by its beginning', () => {
    // `environment` or `portal` would be fields of their own.
    const declared = {component: 'athena', portal: 1, environment: 'x'};
    expect(step({...desire('athena'), declared, specHash: hashOf(declared)}, observe(desire('athena')))?.type).toBe(
      'reconfigure',
    );
  });
});

describe('a conflict', () => {
  const athena = desire('athena', {port: 45001});
  const claims = (changes: Partial<Claims>): Claims => ({...noClaims, ...changes});

  test.each<[string, ObservedState, string]>([
    ['runs', 'running', 'block'],
    ['comes up', 'starting', 'block'],
    ['is draining', 'draining', 'block'],
    ['has ended', 'exited', 'create'],
  ])('with a worker of another fleet that %s: %s → %s', (_, state, type) => {
    expect(step(athena, observe(athena, {fleet: 'other', state}))?.type).toBe(type);
  });

  it('with the same fleet name in another namespace is one, too', () => {
    expect(step(athena, observe(athena, {namespace: 'prod'}))).toMatchObject({
      type: 'block',
      reason: 'Conflict',
      message: 'athena-ai runs for fleet prod/dev',
    });
  });

  it('about the name says who has it', () => {
    const taken = claims({aiIds: new Map([['athena-ai', 'default/a']])});
    expect(step(athena, undefined, true, taken)).toMatchObject({
      type: 'block',
      message: 'athena-ai belongs to fleet default/a',
    });
  });

  it('about a pinned port says who has it', () => {
    const taken = claims({ports: new Map([[45001, 'hermes-ai']])});
    expect(step(athena, observe(desire('athena')), true, taken)).toMatchObject({
      type: 'block',
      message: 'port 45001 is pinned by hermes-ai of another fleet',
    });
    expect(step(desire('athena', {port: 45002}), undefined, true, taken)?.type).toBe('create');
  });

  it('about a pinned port is none for who listens on it', () => {
    const taken = claims({ports: new Map([[45001, 'hermes-ai']])});
    expect(step(athena, observe(athena), true, taken)?.type).toBe('keep');
  });

  it('keeps nobody from stopping what is not to run', () => {
    const taken = claims({aiIds: new Map([['athena-ai', 'default/a']])});
    expect(step(athena, observe(athena), false, taken)?.type).toBe('stop');
    expect(step(athena, undefined, false, taken)).toBeUndefined();
  });

  it('with a worker of another fleet never stops that', () => {
    expect(step(athena, observe(athena, {fleet: 'other'}), false)).toBeUndefined();
  });
});

describe('the plan of a fleet', () => {
  function plan(input: Partial<PlanInput>) {
    return planFleet({
      namespace: 'default',
      fleet: 'dev',
      desired: [],
      enabled: true,
      observed: [],
      recorded: [],
      ...input,
    });
  }
  function summary(input: Partial<PlanInput>): readonly string[] {
    return plan(input).actions.map(a => `${a.type} ${'desired' in a ? a.desired.name : a.observed.name}`);
  }

  it('prunes first, then stops, then starts along dependsOn', () => {
    const numa = desire('numa', {dependsOn: ['hermes']});
    const hermes = desire('hermes');
    const athena = desire('athena', {enabled: false});
    const gone = desire('gone');
    expect(summary({desired: [numa, athena, hermes], observed: [observe(athena), observe(gone)]})).toEqual([
      'prune gone',
      'stop athena',
      'create hermes',
      'create numa',
    ]);
  });

  it('stops in the reverse of the start order', () => {
    const chain = [desire('c', {dependsOn: ['b']}), desire('b', {dependsOn: ['a']}), desire('a'), desire('d')];
    const observed = chain.map(d => observe(d));
    expect(summary({desired: chain, observed, enabled: false})).toEqual(['stop d', 'stop c', 'stop b', 'stop a']);
  });

  it('does nothing for a disabled fleet that does not run', () => {
    expect(summary({desired: [desire('a'), desire('b')], enabled: false})).toEqual([]);
  });

  it('prunes nothing that another fleet or another namespace owns', () => {
    const foreign = [
      observe(desire('x', {fleet: {namespace: 'default', fleet: 'other'}})),
      observe(desire('y', {fleet: {namespace: 'prod', fleet: 'dev'}})),
    ];
    expect(summary({desired: [], observed: foreign})).toEqual([]);
  });

  it('prunes nothing where pruning is off, and then warns of nothing', () => {
    const recorded = ['a', 'b', 'c', 'd', 'e'].map(name => `${name}-ai`);
    const without = plan({observed: [observe(desire('a'))], recorded, prune: false});
    expect(without).toMatchObject({actions: [], massPrune: false});
    expect(plan({observed: [observe(desire('a'))], recorded})).toMatchObject({massPrune: true});
  });

  it('hands claims on to every step', () => {
    const claims = {...noClaims, aiIds: new Map([['b-ai', 'default/other']])};
    expect(summary({desired: [desire('a'), desire('b')], claims})).toEqual(['create a', 'block b']);
  });

  it('counts for a mass prune what was recorded and is no longer declared, not what runs', () => {
    const recorded = ['a-ai', 'b-ai', 'c-ai', 'd-ai', 'e-ai'];
    expect(plan({desired: [desire('a'), desire('b')], recorded}).massPrune).toBe(true);
    expect(plan({desired: ['a', 'b', 'c'].map(n => desire(n)), recorded}).massPrune).toBe(false);
  });
});

test.each([
  [4, 4, false],
  [5, 2, false],
  [5, 3, true],
  [6, 3, false],
  [6, 4, true],
  [0, 0, false],
])('of %i, removing %i is a mass prune: %s', (before, removed, mass) => {
  expect(isMassPrune(before, removed)).toBe(mass);
});
