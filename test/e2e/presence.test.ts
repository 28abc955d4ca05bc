/** A controller whose files somebody removes is still found, and stays the only one. */
import {rm, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {expect, it} from '@jest/globals';
import {isAlive, isReady, sandboxes, until, type Sandbox} from './harness.js';

const sandbox = sandboxes();

async function started(): Promise<Sandbox> {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', 'athena']});
  await box.ok(['up']);
  return box;
}

/** `get` says on standard error when it finds no controller. */
async function untilFound(box: Sandbox): Promise<void> {
  await until('the controller to be found', async () => {
    const {exitCode, stderr} = await box.run(['get']);
    return exitCode === 0 && !stderr.includes('controller');
  });
}

it.each([
  ['its socket', 'run/controller.sock'],
  ['its record', 'run/controller.json'],
  ['the whole folder', 'run'],
])('is found again after %s was removed, and obeys', async (_what, path) => {
  const box = await started();
  const pid = box.controllerPid();
  const workers = await box.pids();
  await rm(join(box.home, path), {recursive: true});
  await untilFound(box);

  expect(box.controllerPid()).toBe(pid);
  expect(await box.pids()).toEqual(workers);
  await box.declare({specialists: ['hermes', 'athena', 'rhetor']});
  await box.ok(['apply', '--wait']);
  expect((await box.items()).every(isReady)).toBe(true);
  await box.ok(['down']);
  await until('the controller to end', () => !isAlive(pid));
});

it('puts its socket in the place of a stranger’s file', async () => {
  const box = await started();
  const socket = join(box.home, 'run/controller.sock');
  await rm(socket);
  await writeFile(socket, 'not a socket');
  await untilFound(box);
});
