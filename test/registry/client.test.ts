import {existsSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {beforeEach, describe, expect, test} from '@jest/globals';
import {PortRegisteredError, PortTakenError, PortsExhaustedError, RegistryClient} from '../../src/index.js';
import {readEvents} from '../../src/registry/events.js';
import {writeLaunchRecord} from '../../src/registry/launch-records.js';
import type {LaunchRecord} from '../../src/registry/launch-records.js';
import {statePaths} from '../../src/registry/paths.js';
import {PortAllocator} from '../../src/registry/ports.js';
import {identify} from '../../src/registry/processes.js';
import type {RegistryState} from '../../src/registry/registry-file.js';
import {readReservations} from '../../src/registry/reservations.js';
import {listen, somePorts, start, startChild, tempHome} from './support.js';

let home = '';
let client: RegistryClient;
const ports = somePorts(4);

beforeEach(() => {
  home = tempHome();
  client = new RegistryClient({home, ports});
});

const dead = {pid: 2 ** 22 + 1, startTime: '1', bootId: 'earlier'};

describe('allocatePort', () => {
  test('keeps a port reserved until it is registered, and lets it go with its reservation', async () => {
    const a = await client.allocatePort({aiId: 'a-ai'});
    const b = await client.allocatePort({aiId: 'b-ai'});
    expect([a.port, b.port]).toEqual([ports.from, ports.from + 1]);
    await client.register({...a, component: 'a'});
    const c = await client.allocatePort({aiId: 'c-ai'});
    expect(c.port).toBe(ports.from + 2);
    expect(readReservations(home).map(({aiId}) => aiId)).toEqual(['b-ai', 'c-ai']);
    await client.releasePorts([b.uid]);
    expect((await client.allocatePort({aiId: 'd-ai'})).port).toBe(b.port);
  });

  test('asked again by the same process for the same specialist gives it the same port, or another to avoid', async () => {
    const first = await client.allocatePort({aiId: 'a-ai'});
    expect((await client.allocatePort({aiId: 'a-ai'})).port).toBe(first.port);
    const moved = await client.allocatePort({aiId: 'a-ai', avoid: [first.port]});
    expect(moved.port).toBe(ports.from + 1);
    expect(readReservations(home)).toHaveLength(1);
  });

  test('gives a specialist the port that it had', async () => {
    await client.register({aiId: 'a-ai', port: ports.from + 2, component: 'a', identity: dead});
    expect((await client.allocatePort({aiId: 'a-ai'})).port).toBe(ports.from + 2);
  });

  test('leaves a foreign program its port, registered or not', async () => {
    await listen(ports.from);
    await client.list();
    await client.register({aiId: 'a-ai', port: 1, component: 'a'});
    const text = readFileSync(statePaths(home).registry, 'utf8');
    writeFileSync(statePaths(home).registry, text.replace('{', `{"foreign": {"port": ${ports.from + 1}},`));
    const [result] = await client.allocatePorts([{aiId: 'b-ai', uid: 'u', preferred: ports.from}]);
    expect(result).toEqual({
      ok: true,
      port: ports.from + 2,
      movedFrom: {port: ports.from, holder: expect.stringContaining(`pid ${process.pid}`), transient: false},
    });
  });

  test('names who holds a pinned port or the whole range', async () => {
    await listen(ports.from);
    for (const [n, aiId] of ['a-ai', 'b-ai', 'c-ai'].entries()) {
      await client.register({aiId, port: ports.from + 1 + n, component: 'x'});
    }
    const pinned = client.allocatePort({aiId: 'd-ai', pinned: ports.from});
    await expect(pinned).rejects.toThrow(PortTakenError);
    await expect(pinned).rejects.toThrow(`pid ${process.pid}`);
    const any = client.allocatePort({aiId: 'd-ai'});
    await expect(any).rejects.toThrow(PortsExhaustedError);
    await expect(any).rejects.toThrow(`a-ai (${ports.from + 1}), b-ai (${ports.from + 2})`);
    const [first, second] = await client.allocatePorts([
      {aiId: 'd-ai', uid: '1', pinned: ports.from},
      {aiId: 'a-ai', uid: '2'},
    ]);
    expect([first?.ok, second?.ok]).toEqual([false, true]);
  });

  test('says that a pinned port is only the end of a connection', async () => {
    const server = await listen(0);
    const address = server.address();
    const {connect} = await import('node:net');
    const socket = connect({port: (address as {port: number}).port, host: '127.0.0.1'});
    await new Promise(resolve => socket.once('connect', resolve));
    const pinned = socket.localPort ?? 0; // the kernel chose it, as it does for any client
    const failure: unknown = await client.allocatePort({aiId: 'a-ai', pinned}).catch((e: unknown) => e);
    socket.destroy();
    expect(failure).toMatchObject({code: 'PortTaken', transient: true});
  });

  test('frees what a dead process reserved, unless the worker that it was for lives', async () => {
    const reserve = (aiId: string, port: number): object => ({
      port,
      aiId,
      uid: `u-${aiId}`,
      owner: dead,
      expiresAt: 1e15,
    });
    await client.allocatePort({aiId: 'x-ai'});
    const reservations = [reserve('gone-ai', ports.from), reserve('lives-ai', ports.from + 1)];
    writeFileSync(statePaths(home).ports, JSON.stringify({formatVersion: 1, reservations}));
    const worker = start(
      process.execPath,
      ['-e', 'console.log(1); setInterval(() => {}, 1e6)', '--', '--ai-id', 'lives-ai', '--uid', 'u-lives-ai'],
      {TEKTON_AI_HOME: home},
    );
    await worker.line();
    const got = await client.allocatePorts([1, 2, 3].map(n => ({aiId: `n${n}-ai`, uid: `${n}`})));
    expect(got.map(result => result.ok && result.port)).toEqual([ports.from, ports.from + 2, ports.from + 3]);
  });

  test('leaves the port to a launch that registered and died while its reservation was looked at', async () => {
    await client.allocatePort({aiId: 'x-ai'}); // makes the state folder
    const reservation = {port: ports.from, aiId: 'a-ai', uid: 'u', owner: dead, expiresAt: 1e15};
    writeFileSync(statePaths(home).ports, JSON.stringify({formatVersion: 1, reservations: [reservation]}));
    const entry = {port: ports.from, component: 'a', metadata: {uid: 'u'}, registered_at: 1};
    const states: RegistryState[] = [new Map(), new Map([['a-ai', entry]])];
    const registry = async (): Promise<RegistryState> => states.shift() ?? new Map();
    const allocator = new PortAllocator({home, registry});
    const results = await allocator.allocate([{aiId: 'b-ai', uid: 'v'}], {range: ports});
    expect(results).toEqual([{ok: true, port: ports.from + 1}]);
  });

  test('takes the port of a dead entry of ours when no other is left', async () => {
    for (let n = 0; n < 4; n++) {
      const identity = n === 2 ? dead : await identify(process.pid);
      await client.register({aiId: `a${n}-ai`, port: ports.from + n, component: 'x', ...(identity && {identity})});
    }
    const b = await client.allocatePort({aiId: 'b-ai'});
    expect(b.port).toBe(ports.from + 2);
    await client.register({...b, component: 'b'});
    expect((await client.list()).map(({aiId}) => aiId)).toEqual(['a0-ai', 'a1-ai', 'a3-ai', 'b-ai']);
  });
});

describe('register', () => {
  test('writes the schema of the seed', async () => {
    const before = Date.now() / 1000;
    await client.register({
      aiId: 'athena-ai',
      port: 45000,
      component: 'athena',
      metadata: {roles: ['r'], description: 'd'},
    });
    const text = JSON.parse(readFileSync(statePaths(home).registry, 'utf8')) as Record<string, Record<string, unknown>>;
    expect(text['athena-ai']).toMatchObject({
      port: 45000,
      component: 'athena',
      metadata: {pid: process.pid, description: 'd'},
    });
    expect(text['athena-ai']?.['registered_at']).toBeGreaterThanOrEqual(before - 1);
  });

  test('refuses a port that another living specialist has', async () => {
    await client.register({aiId: 'a-ai', port: 45000, component: 'a'});
    await expect(client.register({aiId: 'b-ai', port: 45000, component: 'b'})).rejects.toThrow(PortRegisteredError);
    expect(await client.list()).toHaveLength(1);
  });

  test('two specialists may swap their ports in one commit', async () => {
    await client.registerAll([1, 2].map(n => ({aiId: `a${n}-ai`, port: n, component: 'a'})));
    await client.registerAll([1, 2].map(n => ({aiId: `a${n}-ai`, port: 3 - n, component: 'a'})));
    expect((await client.list()).map(({aiId, port}) => [aiId, port])).toEqual([
      ['a1-ai', 2],
      ['a2-ai', 1],
    ]);
  });

  test('refuses what is no port', async () => {
    await expect(client.register({aiId: 'a-ai', port: 0, component: 'a'})).rejects.toThrow('not an ai id and a port');
  });
});

test('deregister with a uid leaves the successor alone', async () => {
  await client.register({aiId: 'a-ai', port: 45000, component: 'a', uid: 'new'});
  expect(await client.deregister('a-ai', {uid: 'old'})).toBe(false);
  expect(await client.deregister('a-ai', {uid: 'new'})).toBe(true);
  expect(await client.deregister('a-ai')).toBe(false);
  expect(await client.list()).toEqual([]);
});

test('entries are found by component and role', async () => {
  await client.register({aiId: 'tekton_core-ai', port: 45000, component: 'tekton_core', metadata: {roles: ['a', 'b']}});
  await client.register({aiId: 'other-ai', port: 45001, component: 'other', metadata: {roles: 'b'}});
  expect((await client.findByComponent('tekton-core')).map(found => found.aiId)).toEqual(['tekton_core-ai']);
  expect((await client.findByRole('b')).map(found => found.aiId)).toEqual(['tekton_core-ai']);
  expect(await client.get('nobody-ai')).toBeUndefined();
});

describe('sync', () => {
  const fact = (aiId: string, port: number, fleet: string): object => ({
    metadata: {fleet, uid: `u-${aiId}`, pid: 1},
    aiId,
    port,
    component: 'x',
  });
  const facts = (...of: [string, number, string][]): never[] => of.map(args => fact(...args)) as never[];

  test('makes the entries of its fleets exact, leaves others, and writes nothing when nothing differs', async () => {
    await client.sync(['default/one', 'default/two'], facts(['a-ai', 1, 'default/one'], ['b-ai', 2, 'default/two']));
    await client.register({aiId: 'hand-ai', port: 3, component: 'hand'});
    expect(await client.sync(['default/one'], facts(['c-ai', 4, 'default/one']))).toEqual(['a-ai', 'c-ai']);
    expect((await client.list()).map(({aiId}) => aiId)).toEqual(['b-ai', 'hand-ai', 'c-ai']);
    expect(await client.sync(['default/one'], facts(['c-ai', 4, 'default/one']))).toEqual([]);
  });

  test('heals an entry that was removed or edited by hand', async () => {
    const wanted = facts(['a-ai', 1, 'default/one']);
    await client.sync(['default/one'], wanted);
    const {registry} = statePaths(home);
    writeFileSync(registry, readFileSync(registry, 'utf8').replace('"port":1', '"port":7'));
    expect(await client.sync(['default/one'], wanted)).toEqual(['a-ai']);
    rmSync(registry);
    expect(await client.sync(['default/one'], wanted)).toEqual(['a-ai']);
    expect((await client.get('a-ai'))?.port).toBe(1);
  });
});

describe('a lost registry', () => {
  test('is rebuilt from launch records and listening workers, with an event', async () => {
    const worker = start(
      process.execPath,
      ['-e', 'console.log(1); setInterval(() => {}, 1e6)', '--', '--ai-id', 'athena-ai', '--uid', 'u1'],
      {TEKTON_AI_HOME: home},
    );
    await worker.line();
    const identity = await identify(worker.pid);
    const record: LaunchRecord = {
      formatVersion: 1,
      aiId: 'athena-ai',
      name: 'athena',
      namespace: 'default',
      fleet: 'dev',
      component: 'athena',
      uid: 'u1',
      ...(identity && {identity}),
      host: '127.0.0.1',
      port: 45003,
      controlPath: '/x',
      generation: 1,
      specHash: 'h',
      declared: {},
      startedAt: '2026-01-01T00:00:00.000Z',
      state: 'running',
    };
    await client.register({aiId: 'old-ai', port: 45009, component: 'old'});
    await writeLaunchRecord(home, record);
    await writeLaunchRecord(home, {...record, aiId: 'dead-ai', uid: 'u2', identity: dead});
    const program =
      'const s = require("net").createServer(); s.listen(0, "127.0.0.1", () => console.log(s.address().port))';
    const stray = start(process.execPath, ['-e', program, '--', '--ai-id', 'stray-ai', '--uid', 'u3'], {
      TEKTON_AI_HOME: home,
    });
    const strayPort = Number(await stray.line());
    writeFileSync(statePaths(home).registry, 'garbage');

    const found = await client.list();
    expect(found.map(({aiId, port, uid}) => ({aiId, port, uid}))).toEqual([
      {aiId: 'athena-ai', port: 45003, uid: 'u1'},
      {aiId: 'stray-ai', port: strayPort, uid: 'u3'},
    ]);
    await client.register({aiId: 'new-ai', port: 45010, component: 'new'});
    expect(await client.list()).toHaveLength(3);
    expect(readEvents(home)).toEqual([expect.objectContaining({reason: 'RegistryHealed', type: 'Warning'})]);
  });
});

describe('waitFor', () => {
  const pong = (aiId: string): Promise<number> =>
    new Promise(resolve => {
      const server = createServer(socket => {
        socket.on('error', () => undefined);
        socket.once('data', chunk => {
          const id = (JSON.parse(chunk.toString()) as {request_id?: string}).request_id;
          socket.end(`${JSON.stringify({type: 'pong', ai_id: aiId, timestamp: 1, ...(id && {request_id: id})})}\n`);
        });
      });
      server.listen(0, '127.0.0.1', () => {
        server.unref();
        resolve((server.address() as {port: number}).port);
      });
    });

  test('waits until the specialist is registered and answers under its own id', async () => {
    const waiting = client.waitFor('athena-ai', {timeoutMs: 10_000});
    await client.register({aiId: 'athena-ai', port: await pong('apollo-ai'), component: 'athena'});
    const early = await Promise.race([waiting, new Promise(resolve => setTimeout(resolve, 50, 'still waiting'))]);
    expect(early).toBe('still waiting');
    await client.register({aiId: 'athena-ai', port: await pong('athena-ai'), component: 'athena'});
    expect((await waiting).aiId).toBe('athena-ai');
  });

  test('says how far it came', async () => {
    await expect(client.waitFor('no-ai', {timeoutMs: 10})).rejects.toThrow('it is not registered');
    const port = await pong('apollo-ai');
    await client.register({aiId: 'athena-ai', port, component: 'athena'});
    await expect(client.waitFor('athena-ai', {timeoutMs: 300})).rejects.toThrow(`port ${port} answers as apollo-ai`);
    await expect(client.waitFor('athena-ai', {signal: AbortSignal.abort(new Error('enough'))})).rejects.toThrow(
      'enough',
    );
  });
});

test('reading makes nothing', async () => {
  expect(await client.list()).toEqual([]);
  expect(existsSync(home)).toBe(false);
});

test('two state folders on one machine never get one listening port', async () => {
  const other = new RegistryClient({home: tempHome(), ports});
  const mine = await client.allocatePort({aiId: 'a-ai'});
  await listen(mine.port);
  const theirs = await other.allocatePort({aiId: 'a-ai'});
  expect(theirs.port).not.toBe(mine.port);
});

test('a writer in another process and one here see each other', async () => {
  const wide = somePorts(300);
  const child = await startChild({type: 'write', home, name: 'child', count: 5, ports: wide});
  const here = new RegistryClient({home, ports: wide});
  for (let n = 0; n < 5; n++) {
    await here.register({...(await here.allocatePort({aiId: `here${n}-ai`})), component: 'x'});
  }
  await child.rest();
  expect(new Set((await here.list()).map(({port}) => port)).size).toBe(10);
});
