import {mkdirSync, rmSync, statSync, unlinkSync, utimesSync, writeFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import {appendEvent, readEvents} from '../../src/registry/events.js';
import {ensureStateHome} from '../../src/registry/home.js';
import {holdLock, tryHold} from '../../src/registry/locks.js';
import {statePaths} from '../../src/registry/paths.js';
import {RegistryClient} from '../../src/registry/registry-client.js';
import {somePorts, startChild, tempHome} from './support.js';

test('eight writers at once lose nothing and give no port twice', async () => {
  const home = tempHome();
  await ensureStateHome(home);
  const ports = somePorts(700);
  const writers = await Promise.all(
    Array.from({length: 8}, (_, n) => startChild({type: 'write', home, name: `w${n}`, count: 40, ports})),
  );
  const acknowledged = (await Promise.all(writers.map(writer => writer.rest()))).flat();
  const registered = await new RegistryClient({home}).list();

  expect(acknowledged).toHaveLength(320);
  expect(new Set(registered.map(({aiId, port}) => `${aiId} ${port}`))).toEqual(new Set(acknowledged));
  expect(new Set(registered.map(({port}) => port)).size).toBe(320);
}, 60_000);

test('writers that are killed at any moment lose nothing that was acknowledged, beside a predecessor that unlinks locks', async () => {
  const home = tempHome();
  await ensureStateHome(home);
  const {registrationLock, portAllocationLock} = statePaths(home);
  const ports = somePorts(700);
  const acknowledged: string[] = [];
  const stayers = await Promise.all(
    [0, 1].map(n => startChild({type: 'write', home, name: `stays${n}`, count: 25, ports})),
  );
  const stayed = Promise.all(stayers.map(stayer => stayer.rest()));
  for (let n = 0; n < 6; n++) {
    const victim = await startChild({type: 'write', home, name: `dies${n}`, count: 1000, ports});
    for (let line = 0; line < 1 + n; line++) acknowledged.push((await victim.line()) ?? 'the victim printed nothing');
    for (const path of [registrationLock, portAllocationLock]) {
      writeFileSync(path, ''); // what its constructor does with lock files older than a minute
      unlinkSync(path);
    }
    await victim.kill('SIGKILL');
  }
  acknowledged.push(...(await stayed).flat());
  const registered = await new RegistryClient({home}).list();

  expect(registered.map(({aiId, port}) => `${aiId} ${port}`)).toEqual(expect.arrayContaining(acknowledged));
  expect(new Set(registered.map(({port}) => port)).size).toBe(registered.length);
}, 60_000);

test.each(['registration', 'port_allocation', 'leader'])(
  'a killed holder of %s does not delay the next one',
  async name => {
    const home = tempHome();
    await ensureStateHome(home);
    await (await holdLock(home, name)).release(); // loads what the lock needs
    const holder = await startChild({type: 'hold', home, lock: name});
    expect(await holder.line()).toBe('held');
    expect(await tryHold(home, name)).toBeUndefined();
    await holder.kill('SIGKILL');

    const lock = await holdLock(home, name, {timeoutMs: 900});
    lock.assertHeld();
    await lock.release();
  },
);

test('a holder that was frozen while a foreign tool took its stale lock over may not commit', async () => {
  const home = tempHome();
  await ensureStateHome(home);
  const holder = await startChild({type: 'hold', home, lock: 'registration'});
  expect(await holder.line()).toBe('held');
  holder.process.stdin?.write('?\n');
  expect(await holder.line()).toBe('still held');

  holder.process.kill('SIGSTOP');
  const folder = `${statePaths(home).registrationLock}.lock`;
  rmSync(folder, {recursive: true});
  mkdirSync(folder);
  holder.process.kill('SIGCONT');
  holder.process.stdin?.write('?\n');

  expect(await holder.line()).toMatch(/lost the lock/);
  holder.process.stdin?.end();
  await holder.rest();
  expect(statSync(folder).isDirectory()).toBe(true); // the new owner's: not removed by the old one
});

test('a folder that a foreign tool holds is respected, and taken over only when it is stale', async () => {
  const home = tempHome();
  await ensureStateHome(home);
  const folder = `${statePaths(home).registrationLock}.lock`;
  mkdirSync(folder);
  await expect(holdLock(home, 'registration', {timeoutMs: 100})).rejects.toThrow('others held it for 100 ms');

  const longAgo = new Date(Date.now() - 60_000);
  utimesSync(folder, longAgo, longAgo);
  await (await holdLock(home, 'registration', {timeoutMs: 900})).release();
});

test('events of several processes never mix', async () => {
  const home = tempHome();
  await ensureStateHome(home);
  const writers = await Promise.all(['a', 'b', 'c'].map(name => startChild({type: 'events', home, name, count: 50})));
  await Promise.all(writers.map(writer => writer.rest()));
  await appendEvent(home, {at: new Date().toISOString(), type: 'Normal', reason: 'Launched', message: 'last'});

  const messages = readEvents(home).map(event => event.message);
  expect(messages).toHaveLength(151);
  expect(messages.filter(message => message.startsWith('b '))).toEqual(Array.from({length: 50}, (_, i) => `b ${i}`));
});
