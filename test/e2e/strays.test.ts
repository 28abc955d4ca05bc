/** A hand removes records, sockets and folders, with a controller and without one; nobody is lost, nobody doubled. */
import {existsSync} from 'node:fs';
import {mkdir, readdir, readFile, rename, rm, writeFile} from 'node:fs/promises';
import {createServer, type Server} from 'node:net';
import {join} from 'node:path';
import {describe, expect, it, jest} from '@jest/globals';
import type {SpecialistEntry} from '../../src/api/documents.js';
import {isAlive, isReady, kill, sandboxes, until, type Sandbox} from './harness.js';

const sandbox = sandboxes();

/** Several starts each, of the whole program. */
jest.setTimeout(60_000);

async function started(specialists: readonly (string | SpecialistEntry)[]): Promise<Sandbox> {
  const box = await sandbox();
  await box.declare({specialists});
  await box.ok(['up']);
  return box;
}

/** Listens as another program would, as soon as who had the port has let go of it. */
function stranger({host}: Sandbox, port: number): Promise<Server> {
  const listen = (): Promise<Server | undefined> =>
    new Promise(resolve => {
      const server = createServer().once('error', () => resolve(undefined));
      server.listen(port, host, () => resolve(server));
    });
  return until(`port ${port} to be free`, listen);
}

async function killController(box: Sandbox): Promise<void> {
  const pid = box.controllerPid();
  kill(pid, 'SIGKILL');
  await until('the controller to end', () => !isAlive(pid));
}

/** Ai ids of the worker processes of this state folder, by their arguments. */
async function workersOf(box: Sandbox): Promise<readonly string[]> {
  const found = (await box.processes()).map(async pid => {
    const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    return argv.includes('--ai-id') && isAlive(pid) ? [argv[argv.indexOf('--ai-id') + 1] ?? ''] : [];
  });
  return (await Promise.all(found)).flat().sort();
}

/** Every file of a kind in run/. */
async function removeFromRun(box: Sandbox, ending: string): Promise<void> {
  for (const name of await readdir(join(box.home, 'run'))) {
    if (name.endsWith(ending) && !name.startsWith('controller')) await rm(join(box.home, 'run', name));
  }
}

const three = ['hermes', 'athena', 'apollo'];
const threeIds = ['apollo-ai', 'athena-ai', 'hermes-ai'];

const damages: readonly (readonly [string, (box: Sandbox) => Promise<void>])[] = [
  [
    'launch records and control sockets',
    async box => {
      await removeFromRun(box, '.json');
      await removeFromRun(box, '.sock');
    },
  ],
  ['run/ as a whole', box => rm(join(box.home, 'run'), {recursive: true})],
  ['the registry', box => rm(join(box.home, 'platform_ai_registry.json'))],
  [
    'status and reservations',
    async box => {
      await rm(join(box.home, 'status'), {recursive: true});
      await rm(join(box.home, 'ports.json'), {force: true});
    },
  ],
];

describe.each(damages)('%s, removed by hand', (_what, damage) => {
  it('while no controller runs: the next one adopts everybody, and all are as before', async () => {
    const box = await started(three);
    const [pids, entries] = [await box.pids(), box.registry()];
    await killController(box);
    await damage(box);
    await box.ok(['up']);
    expect(await box.pids()).toEqual(pids);
    await until('the registry to be as before', () => sameEntries(box, entries));
    expect(await workersOf(box)).toEqual(threeIds);
    expect((await box.items()).map(item => item.status.restarts)).toEqual([0, 0, 0]);
    // They can be told something, too.
    await box.declare({specialists: three, defaults: {provider: 'offline', parameters: {temperature: 0.5}}});
    await box.ok(['apply', '--wait']);
    expect(await box.pids()).toEqual(pids);
    expect((await box.ok(['chat', 'athena', 'hello'])).stdout).not.toBe('');
  });

  it('while the controller runs: it goes on, heals a worker that is killed, and hands everybody over to the next', async () => {
    const box = await started(three);
    const [pids, entries] = [await box.pids(), box.registry()];
    await damage(box);
    kill(pids['athena'] ?? 0, 'SIGKILL');
    await box.untilEvent('Relaunched', 'athena-ai');
    await box.ok(['apply', '--wait']);
    await until('the registry to be as before', () => sameEntries(box, entries, 'athena-ai'));
    expect(await workersOf(box)).toEqual(threeIds);
    const now = await box.pids();
    expect({...now, athena: 0}).toEqual({...pids, athena: 0});
    await killController(box);
    await box.ok(['up']);
    expect(await box.pids()).toEqual(now);
    expect(await workersOf(box)).toEqual(threeIds);
  });
});

function sameEntries(box: Sandbox, before: ReturnType<Sandbox['registry']>, restarted?: string): boolean {
  const facts = (all: typeof before): string =>
    JSON.stringify(
      Object.entries(all)
        .map(([aiId, {port, metadata}]) => [aiId, port, aiId === restarted ? 0 : metadata.pid])
        .sort(),
    );
  try {
    return facts(box.registry()) === facts(before);
  } catch {
    return false; // being written
  }
}

describe('a fleet whose record is removed', () => {
  const record = (box: Sandbox): string => join(box.home, 'fleets', 'default.dev.json');

  it('still shows its workers, and `down` stops them, with a controller and without one', async () => {
    for (const withController of [true, false]) {
      const box = await started(three);
      const pids = Object.values(await box.pids());
      if (!withController) await killController(box);
      await rm(record(box));
      const shown = await box.ok(['get']);
      for (const name of three) expect(shown.stdout).toContain(name);
      const down = await box.ok(['down']);
      expect(down.stdout).toContain('fleet dev is stopped');
      expect(pids.filter(isAlive)).toEqual([]);
      expect(existsSync(record(box))).toBe(false);
      await box.ok(['up']);
      expect((await box.items()).every(isReady)).toBe(true);
    }
  });
});

it('ends a controller that has no fleet any more', async () => {
  const box = await sandbox();
  await box.declare({specialists: []});
  await box.ok(['up']);
  const pid = box.controllerPid();
  await rm(join(box.home, 'fleets', 'default.dev.json'));
  expect((await box.ok(['down'])).stdout).toContain('the controller has ended');
  expect(isAlive(pid)).toBe(false);
});

it('releases a registry entry of ours whose process and fleet are gone, and keeps what others wrote', async () => {
  const box = await sandbox();
  const ghost = {
    port: box.ports.to,
    component: 'ghost',
    metadata: {uid: 'u', pid: 4_000_000, start_time: '1', boot_id: 'another', fleet: 'default/gone'},
    registered_at: 1,
  };
  const foreign = {port: 39_999, component: 'old', metadata: {description: 'of another program'}, registered_at: 1};
  await mkdir(box.home, {recursive: true, mode: 0o700});
  await writeFile(join(box.home, 'platform_ai_registry.json'), JSON.stringify({'ghost-ai': ghost, 'old-ai': foreign}), {
    mode: 0o600,
  });
  await box.declare({specialists: ['athena']});
  await box.ok(['up']);
  await until('the entry to be released', () => !('ghost-ai' in box.registry()) && 'athena-ai' in box.registry());
  expect(box.registry()['old-ai']).toEqual(foreign);
});

it('finds the workers of a state folder that was deleted when `up` runs again, and adopts them', async () => {
  const box = await started(three);
  const pids = await box.pids();
  await killController(box);
  await rm(box.home, {recursive: true});
  // They live, and are found by what the process table tells of them.
  expect((await box.ok(['get'])).stdout).toMatch(/^athena +athena +True +Ready /m);
  await box.ok(['up']);
  expect(await box.pids()).toEqual(pids);
  expect(await workersOf(box)).toEqual(threeIds);
});

it('stops the workers of a state folder that was deleted, too', async () => {
  const box = await started(['athena']);
  const pids = Object.values(await box.pids());
  await killController(box);
  await rm(box.home, {recursive: true});
  await box.ok(['down']);
  expect(pids.filter(isAlive)).toEqual([]);
});

it('adopts the workers of a state folder that was moved', async () => {
  const box = await started(['athena', 'hermes']);
  const pids = await box.pids();
  await killController(box);
  const moved = `${box.home}2`;
  await rename(box.home, moved);
  const env = {TEKTON_AI_HOME: moved};
  const {stdout} = await box.ok(['get', '-o', 'json'], {env});
  const items = (JSON.parse(stdout) as {items: Awaited<ReturnType<Sandbox['items']>>}).items;
  expect(items.every(isReady)).toBe(true);
  await box.ok(['up'], {env});
  const workers = await workersOf(box); // of the old path: those that live on
  await box.ok(['down'], {env});
  expect(workers.length).toBeLessThanOrEqual(2);
  expect(Object.values(pids).filter(isAlive)).toEqual([]);
});

it('leaves a worker that was started by hand alone', async () => {
  const box = await started(['hermes']);
  const {subprocess, output} = box.start(['worker', '--component', 'athena']);
  await until('the worker by hand to listen', () => output.stderr.includes('athena-ai listens'));
  await killController(box);
  await rm(join(box.home, 'fleets', 'default.dev.json'));
  await box.ok(['up']);
  await box.ok(['down']);
  expect(isAlive(subprocess.pid ?? 0)).toBe(true);
  expect(Object.keys(box.registry())).toEqual(['athena-ai']);
  subprocess.kill('SIGINT');
  await subprocess;
});

describe('ports', () => {
  it('that a stranger took move the specialist, and the event names the stranger', async () => {
    const box = await started(['athena']);
    const {port = 0} = (await box.item('athena')).status;
    await killController(box);
    const pid = await box.pidOf('athena');
    kill(pid, 'SIGKILL');
    await until('the worker to end', () => !isAlive(pid));
    const server = await stranger(box, port);
    try {
      await box.ok(['up']);
      const {message} = await box.untilEvent('PortMoved', 'athena-ai');
      expect(message).toContain(`port ${port} is taken by`);
      expect(message).toContain(`(pid ${process.pid})`);
      expect((await box.item('athena')).status.port).not.toBe(port);
    } finally {
      await new Promise(resolve => server.close(resolve));
    }
  });

  it('that are pinned and taken are Stalled, with who has them; a full range names its holders', async () => {
    const box = await sandbox();
    const {from} = box.ports;
    const server = await stranger(box, from);
    try {
      await box.declare({specialists: [{component: 'athena', port: from}]});
      await box.run(['up', '--timeout', '5s']);
      const stalled = (await box.item('athena')).status.conditions.find(({type}) => type === 'Stalled');
      expect(stalled).toMatchObject({status: 'True', reason: 'PortTaken'});
      expect(stalled?.message).toContain(`(pid ${process.pid})`);

      const ports = {from, to: from + 1};
      await box.declare({specialists: ['hermes', 'apollo'], ports});
      await box.run(['up', '--timeout', '5s', '--yes']);
      const items = await box.items();
      const full = items.flatMap(item =>
        item.status.conditions.filter(c => c.reason === 'PortsExhausted' && c.type === 'Stalled'),
      );
      expect(full).toHaveLength(1);
      expect(full[0]?.message).toContain(`(pid ${process.pid})`);
      expect(full[0]?.message).toMatch(/(hermes|apollo)-ai/);
    } finally {
      await new Promise(resolve => server.close(resolve));
    }
    await box.untilItem('hermes', isReady);
    await box.untilItem('apollo', isReady);
  });

  it('of two state folders on one machine never collide, not even when all start at once, or again', async () => {
    const [one, two] = [await sandbox(), await sandbox()];
    const specialists = Array.from({length: 20}, (_, n) => ({component: 'athena', name: `s${n}`}));
    const both = [one, two];
    const defaults = {provider: 'offline', host: one.host};
    for (const box of both) await box.declare({specialists, defaults, ports: one.ports});
    await Promise.all(both.map(box => box.ok(['up'])));
    const portsOf = async (box: Sandbox): Promise<readonly number[]> =>
      (await box.items()).map(({status}) => status.port ?? 0).sort();
    const before = await Promise.all(both.map(portsOf));
    expect(new Set(before.flat()).size).toBe(40);

    for (const box of both) for (const pid of Object.values(await box.pids())) kill(pid, 'SIGKILL');
    for (const box of both) {
      await until('all to be Ready again', async () =>
        (await box.items()).every(item => isReady(item) && item.status.restarts === 1),
      );
    }
    const after = (await Promise.all(both.map(portsOf))).flat();
    expect(new Set(after).size).toBe(40);
    // Nobody moved for a worker of the other folder; that another test's client had a port for a minute is no fault.
    const events = (await Promise.all(both.map(box => box.events()))).flat();
    const moved = events.filter(({reason}) => reason === 'PortMoved').map(({message}) => message);
    expect(moved.filter(message => message.includes('is taken by'))).toEqual([]);
    expect(after.filter(port => !before.flat().includes(port)).length).toBeLessThanOrEqual(moved.length);
  });
});
