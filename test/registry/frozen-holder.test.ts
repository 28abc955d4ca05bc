/** Real processes that stop at each step of a change: nobody waits for them for good, and they do no harm when they go on. */
import {readFileSync, readdirSync, rmSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import {ensureStateHome} from '../../src/registry/home.js';
import {statePaths} from '../../src/registry/paths.js';
import {RegistryClient} from '../../src/registry/registry-client.js';
import {freezePoints} from './freeze.js';
import {sleep} from '../../src/registry/waiting.js';
import {somePorts, startChild, tempHome} from './support.js';
import type {Child} from './support.js';

const ports = somePorts(20);

async function frozenAt(home: string, at: string, action: string): Promise<Child> {
  const child = await startChild({type: 'freeze', home, at, action, ports});
  expect(await child.line()).toBe('stopping');
  return child;
}

/** The last holder may still be letting go. */
async function leftNothing(home: string): Promise<void> {
  while (readdirSync(home).some(name => name.endsWith('.tmp') || name.endsWith('.lock'))) await sleep(5);
}

describe.each(freezePoints)('a holder that is frozen %s', at => {
  test('delays a registration for a second at most, and loses nobody anything when it goes on', async () => {
    const home = tempHome();
    await ensureStateHome(home);
    const client = new RegistryClient({home, lockTimeoutMs: 6_000});
    await client.register({aiId: 'before-ai', port: 1, component: 'x'});
    const frozen = await frozenAt(home, at, 'register');

    await Promise.all(
      [3, 4].map(port => new RegistryClient({home}).register({aiId: `during${port}-ai`, port, component: 'x'})),
    );
    const during = (await client.list()).map(({aiId}) => aiId);
    expect(during).toEqual(expect.arrayContaining(['before-ai', 'during3-ai', 'during4-ai']));
    frozen.process.kill('SIGCONT');

    expect(await frozen.rest()).toEqual(['registered frozen-ai']);
    await client.register({aiId: 'after-ai', port: 5, component: 'x'});
    const all = (await client.list()).map(({aiId}) => aiId).toSorted();
    expect(all).toEqual(['after-ai', 'before-ai', 'during3-ai', 'during4-ai', 'frozen-ai']);
    await leftNothing(home);
  });

  test('delays an allocation for a second at most, and no port is given twice', async () => {
    const home = tempHome();
    await ensureStateHome(home);
    const client = new RegistryClient({home, ports, lockTimeoutMs: 6_000});
    const before = await client.allocatePort({aiId: 'before-ai'});
    const frozen = await frozenAt(home, at, 'allocate');
    const during = await client.allocatePort({aiId: 'during-ai'});
    frozen.process.kill('SIGCONT');
    const [line] = await frozen.rest();
    const after = await client.allocatePort({aiId: 'after-ai'});

    expect(line).toMatch(/^allocated \d+$/);
    // The frozen one has ended by now, so its port may be given again; those of the living may not.
    expect(new Set([before.port, during.port, after.port]).size).toBe(3);
    expect([before.port, during.port]).not.toContain(Number(line?.split(' ')[1]));
  });
});

test('two contenders that pass a frozen holder at once, again and again, lose nothing', async () => {
  const home = tempHome();
  await ensureStateHome(home);
  const client = new RegistryClient({home, ports: somePorts(200)});
  await client.list();
  const frozen = await frozenAt(home, 'before the rename', 'register');
  const writers = await Promise.all(
    [0, 1, 2].map(n => startChild({type: 'write', home, name: `w${n}`, count: 10, ports: somePorts(200)})),
  );
  const acknowledged = (await Promise.all(writers.map(writer => writer.rest()))).flat();
  frozen.process.kill('SIGCONT');
  expect(await frozen.rest()).toEqual(['registered frozen-ai']);

  const registered = (await client.list()).map(({aiId, port}) => `${aiId} ${port}`);
  expect(new Set(registered)).toEqual(new Set([...acknowledged, 'frozen-ai 2']));
  expect(acknowledged).toHaveLength(30);
});

test('a lock file with a second name is replaced, so that its other name keeps its content', async () => {
  const {linkSync, writeFileSync} = await import('node:fs');
  const home = tempHome();
  await ensureStateHome(home);
  const theirs = `${home}/theirs.txt`;
  writeFileSync(theirs, 'precious');
  rmSync(`${statePaths(home).locks}/registration.kernel`, {force: true});
  linkSync(theirs, `${statePaths(home).locks}/registration.kernel`);
  const client = new RegistryClient({home});
  await client.register({aiId: 'a-ai', port: 1, component: 'x'});
  expect(readFileSync(theirs, 'utf8')).toBe('precious');
  expect(await client.list()).toHaveLength(1);
});

test('a lock file that is no file is refused by name', async () => {
  const {execFileSync} = await import('node:child_process');
  const home = tempHome();
  await ensureStateHome(home);
  execFileSync('mkfifo', [`${statePaths(home).locks}/registration.kernel`]);
  await expect(new RegistryClient({home}).register({aiId: 'a-ai', port: 1, component: 'x'})).rejects.toThrow(
    'registration.kernel: it is not a regular file',
  );
});
