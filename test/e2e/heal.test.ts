/** Things break, and what runs is again as declared. */
import {rm, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {expect, it} from '@jest/globals';
import type {SpecialistEntry} from '../../src/api/documents.js';
import {isAlive, isReady, kill, sandboxes, until, type Sandbox} from './harness.js';

const sandbox = sandboxes();

async function started(specialists: readonly (string | SpecialistEntry)[]): Promise<Sandbox> {
  const box = await sandbox();
  await box.declare({specialists});
  await box.ok(['up']);
  return box;
}

it('replaces a killed worker at once, on its port', async () => {
  const box = await started(['hermes', 'athena']);
  const before = await box.item('athena');
  const pids = await box.pids();
  kill(pids['athena'] ?? 0, 'SIGKILL');
  const after = await box.untilItem('athena', item => item.status.restarts === 1 && isReady(item));
  expect(after.status.port).toBe(before.status.port);
  expect(after.status.instance?.identity.pid).not.toBe(pids['athena']);
  expect(after.status.lastExit).toMatchObject({signal: 'SIGKILL'});
  expect(await box.pidOf('hermes')).toBe(pids['hermes']);
  const {message} = await box.untilEvent('Exited', 'athena-ai');
  expect(message).toContain('SIGKILL');
  expect((await box.ok(['chat', 'athena', 'hello'])).stdout).not.toBe('');
});

it('lives on without its controller, and the next one adopts it with no restart', async () => {
  const box = await started(['hermes', 'athena']);
  const pids = await box.pids();
  const controller = box.controllerPid();
  kill(controller, 'SIGKILL');
  await until('the controller to end', () => !isAlive(controller));

  const seen = await box.ok(['get']);
  expect(seen.stderr).toContain('no controller is running');
  expect(seen.stdout).toMatch(/^athena +athena +True +Ready /m);
  kill(pids['hermes'] ?? 0, 'SIGKILL');
  const hermes = await box.untilItem('hermes', item => !isReady(item));
  expect(hermes.status.conditions.find(c => c.type === 'Live')?.status).not.toBe('True');
  expect((await box.ok(['chat', 'athena', 'hello'])).stdout).not.toBe('');

  await box.ok(['up']);
  expect(box.controllerPid()).not.toBe(controller);
  const athena = await box.item('athena');
  expect(athena.status).toMatchObject({restarts: 0, instance: {identity: {pid: pids['athena']}}});
  await box.untilEvent('Adopted', 'athena-ai');
  expect(isReady(await box.item('hermes'))).toBe(true);

  // It is no child of this controller, and still missed at once.
  kill(pids['athena'] ?? 0, 'SIGKILL');
  const replaced = await box.untilItem('athena', item => item.status.restarts === 1 && isReady(item));
  expect(replaced.status.port).toBe(athena.status.port);
});

it('says what to do about a damaged record of a fleet, and makes it anew from the file', async () => {
  const box = await started(['hermes', 'athena']);
  const pids = await box.pids();
  await writeFile(join(box.home, 'fleets/default.dev.json'), 'garbage');
  const get = await box.run(['get']);
  expect(get.exitCode).toBe(1);
  expect(get.stderr).toContain(
    'default.dev.json: it is damaged\nhint: Nothing was stopped. Apply the file of fleet dev again',
  );
  const up = await box.ok(['up']);
  expect(up.stderr).toContain('warning: the record of fleet default/dev was damaged; it was moved to ');
  expect(await box.pids()).toEqual(pids);
});

it('replaces a worker that hangs', async () => {
  const probes = {periodSeconds: 0.2, timeoutSeconds: 0.2, failureThreshold: 2};
  const box = await started(['hermes', {component: 'athena', probes}]);
  const before = await box.item('athena');
  const pid = await box.pidOf('athena');
  kill(pid, 'SIGSTOP');
  const after = await box.untilItem('athena', item => item.status.restarts === 1 && isReady(item));
  expect(after.status.port).toBe(before.status.port);
  await until('the hung process to end', () => !isAlive(pid));
  await box.untilEvent('ProbeFailed', 'athena-ai');
});

it('backs off and calls it a crash loop when a worker goes down again and again, and recovers', async () => {
  const box = await started(['athena']);
  let last = 0;
  for (const restarts of [0, 1, 2]) {
    const athena = await box.untilItem('athena', item => item.status.restarts === restarts && isReady(item));
    last = athena.status.instance?.identity.pid ?? 0;
    kill(last, 'SIGKILL');
  }
  const {message} = await box.untilEvent('CrashLoop', 'athena-ai');
  expect(message).toContain('SIGKILL');
  const recovered = await box.untilItem('athena', item => item.status.restarts === 3 && isReady(item));
  expect(recovered.status.instance?.identity.pid).not.toBe(last);
  const describe = await box.ok(['describe', 'athena']);
  expect(describe.stdout).toMatch(/^Last Exit: +signal SIGKILL, \d+s ago$/m);
});

it('heals a registry that was removed, damaged or edited by hand', async () => {
  const box = await started(['hermes', 'athena']);
  const pids = await box.pids();
  const file = join(box.home, 'platform_ai_registry.json');
  const complete = () => {
    try {
      const {'athena-ai': athena, 'hermes-ai': hermes} = box.registry();
      return athena?.metadata.pid === pids['athena'] && hermes?.metadata.pid === pids['hermes'];
    } catch {
      return false; // damaged still
    }
  };
  const lookAgain = () => box.ok(['apply']);

  await rm(file);
  await lookAgain();
  await until('the registry to be written anew', complete);
  await writeFile(file, '{"athena-ai": {"port": 45');
  await lookAgain();
  await until('the registry to be rebuilt', complete);
  await writeFile(file, '{}');
  await lookAgain();
  await until('the entries to return', complete);
  expect(await box.pids()).toEqual(pids);
  expect((await box.items()).map(item => item.status.restarts)).toEqual([0, 0]);
});
