/** Following git sources on a clock that a test turns. */
import {beforeEach, describe, expect, it} from '@jest/globals';
import {InvalidInputError} from '../../src/api/errors.js';
import type {FleetRecord, LoadedFleet} from '../../src/api/types.js';
import type {Controller} from '../../src/reconciler/controller.js';
import {nextRecord} from '../../src/reconciler/desired.js';
import {contentOf} from '../../src/reconciler/health-gate.js';
import {resumed} from '../../src/reconciler/rollouts.js';
import {held, refusalLiftedBy} from '../fakes/gates.js';
import {FakeGitSources} from '../fakes/git-sources.js';
import {desire, loaded, World} from '../fakes/ports.js';

let world: World;
let git: FakeGitSources;
let controller: Controller;

beforeEach(() => {
  git = new FakeGitSources();
  world = new World({git});
});

/** A fleet `name` with a specialist of the same name that uses `model`. */
function fleet(name: string, model = 'm1', more: readonly string[] = []): LoadedFleet {
  const key = {namespace: 'default', fleet: name};
  return loaded([desire(name, {fleet: key, model}), ...more.map(one => desire(one, {fleet: key}))], {name});
}

async function follow(content: readonly LoadedFleet[]): Promise<void> {
  git.remote.push(content);
  git.declare();
  controller = await world.start();
  await world.clock.advance(3000);
}

function status() {
  return git.statuses.get('default/platform');
}

function record(name: string): FleetRecord {
  return JSON.parse(world.store.records.get(`default/${name}`) ?? 'null') as FleetRecord;
}

function said(reason: string): readonly string[] {
  return world.store.events.filter(event => event.reason === reason).map(event => event.message);
}

const typo = new InvalidInputError([{file: 'envs/dev/a.yaml', line: 7, column: 3, message: 'unknown field `modle`'}]);

describe('a git source', () => {
  it('brings fleets that no record knew', async () => {
    await follow([fleet('athena'), fleet('hermes')]);
    expect(world.runtime.running.toSorted()).toEqual(['athena', 'hermes']);
    expect(record('athena')).toMatchObject({
      revision: git.remote.head,
      source: {type: 'git', source: 'default/platform'},
    });
    expect(status()).toMatchObject({
      ...{ready: 'True', reason: 'UpToDate', revision: git.remote.head, subject: 'a change'},
      fleets: ['default/athena', 'default/hermes'],
    });
    expect(git.current).toBe(git.remote.head);
  });

  it('takes fleets over in the order in which they wait for each other', async () => {
    await follow([{...fleet('athena'), dependsOn: ['default/hermes']}, fleet('hermes')]);
    expect([...world.store.records.keys()]).toEqual(['default/hermes', 'default/athena']);
    expect(world.runtime.running.toSorted()).toEqual(['athena', 'hermes']);
    expect(status()?.reason).toBe('UpToDate');
  });

  it('touches nothing but the fleet that a commit changes, and shows the commit on all', async () => {
    const names = Array.from({length: 20}, (_, i) => `f${i}`);
    await follow(names.map(name => fleet(name)));
    const before = new Map(world.store.records);
    world.runtime.log.length = 0;
    const head = git.remote.push(names.map(name => fleet(name, name === 'f7' ? 'm2' : 'm1')));
    await world.clock.advance(35_000);
    expect(names.filter(name => world.store.records.get(`default/${name}`) !== before.get(`default/${name}`))).toEqual([
      'f7',
    ]);
    expect(world.runtime.log).toEqual(['configure f7']);
    expect(names.map(name => world.store.statuses.get(`default/${name}`)?.revision)).toEqual(names.map(() => head));
  });

  it('is only looked at, and nothing is said, while nothing changes', async () => {
    await follow([fleet('athena')]);
    const {fetches, looks} = git.remote;
    const events = world.store.events.length;
    await world.clock.advance(300_000);
    expect(git.remote.fetches).toBe(fetches);
    expect(git.remote.looks - looks).toBeGreaterThanOrEqual(9);
    expect(git.remote.looks - looks).toBeLessThanOrEqual(11);
    expect(world.store.events).toHaveLength(events);
  });

  it('takes over a revert', async () => {
    await follow([fleet('athena', 'm1')]);
    git.remote.push([fleet('athena', 'm2')]);
    await world.clock.advance(35_000);
    git.remote.push([fleet('athena', 'm1')]);
    await world.clock.advance(35_000);
    expect(record('athena').generations).toEqual({'athena-ai': 3});
    expect(said('RevisionApplied')).toHaveLength(3);
  });
});

describe('a command that applies a newer commit while an older one is fetched', () => {
  it.each([
    ['known', true],
    ['not yet known', false],
  ])('is not overwritten, and nobody waits for the next look (%s to the controller)', async (_, isKnown) => {
    await follow([fleet('athena', 'm1')]);
    const older = git.remote.push([fleet('athena', 'm2')]);
    let open: () => void = () => undefined;
    git.remote.gate = new Promise(resolve => (open = resolve));
    await world.clock.advance(35_000);
    const newer = git.remote.push([fleet('athena', 'm3')]);
    const {source} = record('athena');
    const options = {confirmed: true, takeOver: false, prune: true, appliedAt: 'meanwhile', version: '1'};
    await world.store.updateFleet({namespace: 'default', fleet: 'athena'}, before =>
      nextRecord(before, {...fleet('athena', 'm3'), source, revision: newer}, options),
    );
    if (isKnown) await controller.loadRecords();
    open();
    await world.clock.advance(1000);
    expect(world.store.events.map(({revision}) => revision)).not.toContain(older);
    expect(record('athena')).toMatchObject({appliedAt: 'meanwhile', generations: {'athena-ai': 2}});
    expect(status()).toMatchObject({reason: 'UpToDate', revision: newer});
    expect(git.current).toBe(newer);
  });
});

describe('what is said of commits', () => {
  const told = (): readonly (readonly (string | undefined)[])[] =>
    world.store.events
      .filter(({reason}) => ['SourceApplied', 'RevisionReady', 'SourceInvalid'].includes(reason))
      .map(({reason, fleet: name, revision}) => [reason, name, revision]);

  it('each is Ready once, whatever it changes; a refused one is named and never Ready', async () => {
    await follow([fleet('athena')]);
    const first = git.remote.head;
    const second = git.remote.push([fleet('athena', 'm2')]);
    await world.clock.advance(35_000);
    const broken = git.remote.push(typo);
    await world.clock.advance(35_000);
    const untouched = git.remote.push([fleet('athena', 'm2')]);
    await world.clock.advance(400_000);
    const all = [
      ['SourceApplied', 'athena', first],
      ['RevisionReady', 'athena', first],
      ['SourceApplied', 'athena', second],
      ['RevisionReady', 'athena', second],
      ['SourceInvalid', undefined, broken],
      ['RevisionReady', 'athena', untouched],
    ];
    expect(told()).toEqual(all);
    expect(world.store.statuses.get('default/athena')?.readyRevision).toBe(untouched);
    await controller.close();
    controller = await world.start();
    await world.clock.advance(35_000);
    expect(told()).toEqual(all);
  });
});

describe('what is wrong with a revision', () => {
  it.each([
    ['a mistake in a document', typo, 'SourceInvalid', 'envs/dev/a.yaml:7:3: unknown field `modle`'],
    ['no fleet at the path', [], 'SourceInvalid', '. declares no fleet at 000000000000'],
  ] as const)('%s: the last good one stays, it is said once, and it recovers', async (_, content, reason, message) => {
    await follow([fleet('athena'), fleet('hermes')]);
    const good = git.remote.head;
    world.runtime.log.length = 0;
    git.remote.push(content);
    await world.clock.advance(200_000);
    expect(status()).toMatchObject({ready: 'False', reason, message, revision: good, seen: git.remote.head});
    expect(said(reason)).toHaveLength(1);
    expect(world.store.statuses.get('default/athena')).toMatchObject({revision: good, sourceError: {reason}});
    expect(git.current).toBe(good);
    git.remote.push([fleet('athena'), fleet('hermes')]);
    await world.clock.advance(35_000);
    expect(status()).toMatchObject({ready: 'True', reason: 'UpToDate', revision: git.remote.head});
    expect(said('SourceRecovered')).toHaveLength(1);
    expect(world.store.statuses.get('default/athena')?.sourceError).toBeUndefined();
    expect(world.runtime.log).toEqual([]);
  });

  it('a mistake is mended by the next push, however old it is, and read again less and less often', async () => {
    await follow([fleet('athena', 'm1')]);
    git.remote.push(typo);
    await world.clock.advance(35_000);
    const {looks, fetches} = git.remote;
    await world.clock.advance(1_200_000);
    expect(git.remote.looks - looks).toBeGreaterThanOrEqual(38);
    expect(git.remote.fetches - fetches).toBeGreaterThanOrEqual(3);
    expect(git.remote.fetches - fetches).toBeLessThanOrEqual(8);
    git.remote.push([fleet('athena', 'm2')]);
    await world.clock.advance(35_000);
    expect(record('athena').generations).toEqual({'athena-ai': 2});
  });

  it('a remote that is gone is asked less and less often, and prunes nothing', async () => {
    await follow([fleet('athena')]);
    git.remote.failure = new Error('Connection refused');
    await world.clock.advance(35_000);
    const {looks} = git.remote;
    await world.clock.advance(600_000);
    expect(git.remote.looks - looks).toBeLessThan(6);
    expect(status()).toMatchObject({ready: 'False', reason: 'FetchFailed', message: 'Connection refused'});
    expect(said('FetchFailed')).toHaveLength(1);
    expect(world.runtime.running).toEqual(['athena']);
    git.remote.failure = undefined;
    await world.clock.advance(350_000);
    expect(status()?.ready).toBe('True');
  });

  it('a rewritten history is taken over with a warning, or refused', async () => {
    await follow([fleet('athena', 'm1')]);
    git.remote.push([fleet('athena', 'm2')], {onto: 'nothing'});
    await world.clock.advance(35_000);
    expect(said('ForcePushed')).toHaveLength(1);
    expect(record('athena').generations).toEqual({'athena-ai': 2});
    git.declare({forcePush: 'refuse'});
    await world.clock.advance(1000);
    git.remote.push([fleet('athena', 'm3')], {onto: 'nothing'});
    await world.clock.advance(100_000);
    expect(status()).toMatchObject({ready: 'False', reason: 'ForcePushed'});
    expect(record('athena').generations).toEqual({'athena-ai': 2});
  });

  it('a signature that is missing keeps a revision out', async () => {
    await follow([fleet('athena', 'm1')]);
    git.declare({verify: {object: 'commit', by: {type: 'ssh', allowedSigners: '/etc/signers'}}});
    git.remote.push([fleet('athena', 'm2')], {isSigned: false});
    await world.clock.advance(35_000);
    expect(status()).toMatchObject({ready: 'False', reason: 'VerificationFailed'});
    expect(record('athena').generations).toEqual({'athena-ai': 1});
  });

  it('a fleet that it would mostly prune is held, and the others go on', async () => {
    await follow([fleet('athena', 'm1', ['a', 'b', 'c', 'd', 'e']), fleet('hermes', 'm1')]);
    git.remote.push([fleet('athena', 'm1'), fleet('hermes', 'm2')]);
    await world.clock.advance(35_000);
    expect(status()).toMatchObject({ready: 'False', reason: 'Held'});
    expect(status()?.message).toContain('fleet default/athena: would prune 5 of 6 specialists');
    expect(record('athena').specialists).toHaveLength(6);
    expect(record('hermes').generations).toEqual({'hermes-ai': 2});
    expect(world.store.statuses.get('default/athena')?.sourceError?.reason).toBe('MassPruneHeld');
  });

  it('files of revisions that fail do not pile up, and those of the one in force stay', async () => {
    await follow([fleet('athena')]);
    const good = git.remote.head;
    for (let i = 0; i < 8; i++) {
      git.remote.push(typo);
      await world.clock.advance(35_000);
    }
    expect(status()).toMatchObject({reason: 'SourceInvalid', seen: git.remote.head});
    expect(git.checkouts).toHaveLength(4);
    expect(git.checkouts).toContain(good);
  });

  it('files are not switched to and back while all that it declares is held', async () => {
    await follow([fleet('athena', 'm1', ['a', 'b', 'c', 'd', 'e'])]);
    const good = git.remote.head;
    const switches = git.switches.length;
    git.remote.push([fleet('athena', 'm1')]);
    const {fetches} = git.remote;
    await world.clock.advance(100_000);
    expect(git.remote.fetches - fetches).toBeGreaterThan(1);
    expect(status()).toMatchObject({reason: 'Held', seen: git.remote.head});
    expect(git.switches).toHaveLength(switches);
    expect(git.current).toBe(good);
  });

  it('a fleet that was rolled back is held with the reason, until the refusal is taken back', async () => {
    await follow([fleet('athena', 'm1')]);
    const good = git.remote.head;
    const refused = {content: contentOf(fleet('athena', 'm2')), message: 'was not healthy', at: 'then'};
    world.store.records.set('default/athena', JSON.stringify({...record('athena'), gate: {refused}}));
    await controller.loadRecords();
    git.remote.push([fleet('athena', 'm2')]);
    await world.clock.advance(35_000);
    expect(status()).toMatchObject({ready: 'False', reason: 'Held', message: 'fleet default/athena: was not healthy'});
    expect(status()?.revision).toBe(good);
    expect(git.current).toBe(good);
    expect(record('athena').generations).toEqual({'athena-ai': 1});

    world.store.records.set('default/athena', JSON.stringify({...record('athena'), gate: {}}));
    await controller.loadRecords();
    await world.clock.advance(1000);
    expect(record('athena').generations).toEqual({'athena-ai': 2});
    expect(status()).toMatchObject({ready: 'True', revision: git.remote.head});
  });

  it('a fleet that it no longer has stays, and says so once', async () => {
    await follow([fleet('athena'), fleet('hermes')]);
    git.remote.push([fleet('athena')]);
    await world.clock.advance(100_000);
    expect(world.runtime.running.toSorted()).toEqual(['athena', 'hermes']);
    expect(world.store.statuses.get('default/hermes')?.sourceError?.reason).toBe('SourceUnavailable');
    expect(said('SourceUnavailable')).toHaveLength(1);
  });

  it('a fleet of another source is left to it', async () => {
    await world.apply([desire('athena')], {name: 'athena'});
    await follow([fleet('athena', 'm2'), fleet('hermes')]);
    expect(status()).toMatchObject({ready: 'False', reason: 'Held'});
    expect(record('athena').source.type).toBe('files');
    expect(record('hermes')).toBeTruthy();
  });
});

describe('a person', () => {
  it('suspends it and resumes it', async () => {
    await follow([fleet('athena', 'm1')]);
    git.declare({}, {suspendedAt: 'now'});
    await world.clock.advance(1000);
    git.remote.push([fleet('athena', 'm2')]);
    const {looks} = git.remote;
    await world.clock.advance(300_000);
    expect(git.remote.looks).toBe(looks);
    expect(status()?.reason).toBe('Suspended');
    git.declare();
    await world.clock.advance(1000);
    expect(record('athena').generations).toEqual({'athena-ai': 2});
    expect(status()?.reason).toBe('UpToDate');
  });

  it('lets it end: what a later push brings ends with it, and what it had keeps its own time', async () => {
    const expiresAt = '2999-01-01T00:00:00.000Z';
    git.remote.push([fleet('athena')]);
    git.declare();
    controller = await world.start();
    await world.clock.advance(3000);
    git.declare({}, {expiresAt});
    git.remote.push([fleet('athena'), fleet('hermes')]);
    await world.clock.advance(35_000);
    expect(record('hermes').expiresAt).toBe(expiresAt);
    expect(record('athena').expiresAt).toBeUndefined();
    git.declare({}, {expiresAt, stoppedAt: 'now'});
    await world.clock.advance(1000);
    git.remote.push([fleet('athena'), fleet('hermes'), fleet('zeus')]);
    await world.clock.advance(300_000);
    expect(world.store.records.has('default/zeus')).toBe(false);
    expect(status()).toMatchObject({reason: 'Suspended', message: expect.stringContaining('applied again')});
  });

  it('pins a commit, which no push moves', async () => {
    await follow([fleet('athena', 'm1')]);
    const first = git.remote.head ?? '';
    git.remote.push([fleet('athena', 'm2')]);
    await world.clock.advance(35_000);
    git.declare({}, {pinned: {commit: first, at: 'now'}});
    await world.clock.advance(1000);
    git.remote.push([fleet('athena', 'm3')]);
    await world.clock.advance(100_000);
    expect(status()).toMatchObject({ready: 'True', reason: 'Pinned', revision: first});
    expect(record('athena').specialists[0]?.spec.model).toBe('m1');
    expect(said('ForcePushed')).toEqual([]);
  });

  it('asks for it to be looked at now', async () => {
    await follow([fleet('athena', 'm1')]);
    git.remote.push([fleet('athena', 'm2')]);
    git.declare({}, {requestedAt: 'now'});
    await world.clock.advance(500);
    expect(record('athena').generations).toEqual({'athena-ai': 2});
  });

  it('asks while it is being looked at: only the look after that is the answer', async () => {
    await follow([fleet('athena', 'm1')]);
    git.remote.push([fleet('athena', 'm2')]);
    let open: () => void = () => undefined;
    git.remote.gate = new Promise(resolve => (open = resolve));
    await world.clock.advance(35_000);
    git.declare({}, {requestedAt: 'now'});
    await world.clock.advance(100);
    git.written.length = 0;
    git.remote.push([fleet('athena', 'm3')]);
    open();
    await world.clock.advance(1000);
    expect(git.written.find(({requestSeen}) => requestSeen === 'now')?.revision).toBe(git.remote.head);
    expect(record('athena').specialists[0]?.spec.model).toBe('m3');
    expect(world.warnings).toEqual([]);
  });

  it('holds a specialist and lets go of it: it is as the repository says again, without a push', async () => {
    await follow([fleet('athena', 'm1')]);
    const key = {namespace: 'default', fleet: 'athena'};
    await world.store.updateFleet(key, before => before && held(before, 'athena', 'm0'));
    await controller.loadRecords();
    await world.clock.advance(2000);
    expect(record('athena').specialists[0]?.spec.model).toBe('m0');
    await world.store.updateFleet(key, before => before && resumed(before, ['athena-ai'], [], 'resumed'));
    await controller.loadRecords();
    await world.clock.advance(2000);
    expect(record('athena').specialists[0]?.spec.model).toBe('m1');
  });

  it('takes the refusal of what was rolled back back: it is tried once more, without a push', async () => {
    const rollback = {rollback: {enabled: true, deadlineSeconds: 60}};
    const key = {namespace: 'default', fleet: 'athena'};
    const judged = (provider: 'ollama' | 'hosted'): LoadedFleet =>
      loaded([desire('athena', {fleet: key, provider})], {name: 'athena', ...rollback});
    await follow([judged('ollama')]);
    await world.clock.advance(10_000);
    world.models.answers.set('hosted', {available: false, reason: 'Unauthorized', message: 'the key is wrong'});
    git.remote.push([judged('hosted')]);
    await world.clock.advance(120_000);
    expect(said('RolledBack')).toHaveLength(1);
    expect(record('athena').specialists[0]?.provider.name).toBe('ollama');
    expect(status()).toMatchObject({ready: 'False', reason: 'Held'});
    await world.store.updateFleet(key, refusalLiftedBy('lifted'));
    await controller.loadRecords();
    await world.clock.advance(2000);
    expect(record('athena').specialists[0]?.provider.name).toBe('hosted');
  });

  it.each([
    ['brings something new', fleet('athena', 'm2')],
    ['is broken', typo],
  ])('deletes it while a commit is fetched that %s: nothing of it comes back', async (_, content) => {
    await follow([fleet('athena', 'm1')]);
    const before = record('athena');
    git.remote.push(content instanceof Error ? content : [content, fleet('hermes')]);
    let open: () => void = () => undefined;
    git.remote.gate = new Promise(resolve => (open = resolve));
    await world.clock.advance(35_000);
    const events = world.store.events.length;
    git.records.clear();
    git.statuses.clear();
    open();
    await world.clock.advance(100_000);
    expect(git.remote.fetches).toBe(2);
    expect(record('athena')).toEqual(before);
    expect(record('hermes')).toBeNull();
    expect(status()).toBeUndefined();
    expect(world.store.events).toHaveLength(events);
  });

  it('stops a fleet, which no push starts again', async () => {
    await follow([fleet('athena', 'm1')]);
    const key = {namespace: 'default', fleet: 'athena'};
    await world.store.updateFleet(key, before => before && {...before, stopped: true});
    await controller.loadRecords();
    await world.clock.advance(2000);
    git.remote.push([fleet('athena', 'm2')]);
    await world.clock.advance(40_000);
    expect(world.runtime.running).toEqual([]);
    expect(status()?.ready).toBe('True');
  });
});

it('a controller that was killed between two steps leaves nothing half done', async () => {
  await follow([fleet('athena', 'm1'), fleet('hermes', 'm1')]);
  git.remote.push([fleet('athena', 'm2'), fleet('hermes', 'm2')]);
  git.remote.gate = new Promise(() => undefined);
  await world.clock.advance(35_000);
  world.crash(controller);
  git.remote.gate = undefined;
  await world.start();
  await world.clock.advance(3000);
  expect(record('athena').generations).toEqual({'athena-ai': 2});
  expect(record('hermes').generations).toEqual({'hermes-ai': 2});
  expect(status()).toMatchObject({ready: 'True', revision: git.remote.head});
});
