/** `rollout`: a person's word on single specialists, over what the file says. */
import {expect, it} from '@jest/globals';
import {isReady, sandboxes} from './harness.js';

const sandbox = sandboxes();

it('replaces a worker on its port where that is asked for, and no other', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', 'athena']});
  await box.ok(['up']);
  const [before, port] = [await box.pids(), (await box.item('athena')).status.port];
  const {stdout} = await box.ok(['rollout', 'restart', 'athena', '--wait', '--timeout', '20s']);
  expect(stdout).toBe('specialist/athena is to be restarted (generation 2)\n');
  const after = await box.item('athena');
  expect(isReady(after)).toBe(true);
  expect(after.status.port).toBe(port);
  expect(after.status.restarts).toBe(0);
  const pids = await box.pids();
  expect(pids['athena']).not.toBe(before['athena']);
  expect(pids['hermes']).toBe(before['hermes']);
  // The file says nothing of it, and is still as what runs.
  expect((await box.run(['diff'])).exitCode).toBe(0);
  expect((await box.ok(['rollout', 'status', 'athena'])).stdout).toBe(
    'specialist/athena is rolled out (generation 2)\n',
  );
});

it('takes a change back and holds it there until it is resumed', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', {component: 'athena', parameters: {temperature: 0.1}}]});
  await box.ok(['up']);
  await box.declare({specialists: ['hermes', {component: 'athena', parameters: {temperature: 0.9}}]});
  await box.untilItem('athena', item => item.metadata.generation === 2 && item.status.observedGeneration === 2);
  const pid = await box.pidOf('athena');

  const undone = await box.ok(['rollout', 'undo', 'athena']);
  expect(undone.stdout).toContain(
    'specialist/athena back to what it was before (as generation 3), and held there until',
  );
  expect(await box.item('athena')).toMatchObject({spec: {parameters: {temperature: 0.1}}, metadata: {generation: 3}});
  await box.declare({specialists: ['hermes', {component: 'athena', parameters: {temperature: 0.5}}, 'numa']});
  await box.untilEvent('BecameReady', 'numa-ai');
  expect(await box.item('athena')).toMatchObject({spec: {parameters: {temperature: 0.1}}});

  expect((await box.run(['diff'])).stderr).toContain('athena is held by `rollout undo`');
  const history = await box.ok(['rollout', 'history', 'athena']);
  expect(history.stdout.split('\n').map(line => line.replace(/ +\d{4}-\S+ \S+ +/, ' | '))).toEqual([
    'GENERATION   DECLARED              CHANGES',
    '1 | <first known>',
    '2 | parameters.temperature',
    '3 * | parameters.temperature',
    '',
  ]);
  expect(history.stderr).toContain('held by `rollout undo`');

  expect((await box.ok(['rollout', 'resume', 'athena'])).stdout).toContain('follows its source again (generation 4)');
  expect(await box.item('athena')).toMatchObject({spec: {parameters: {temperature: 0.5}}});
  expect(await box.pidOf('athena')).toBe(pid);
});

it('holds what is paused through an apply without a controller, and restarts it all the same', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  await box.ok(['apply', '--wait']);
  await box.ok(['rollout', 'pause', 'athena']);
  await box.declare({specialists: [{component: 'athena', parameters: {temperature: 0.5}}]});
  expect((await box.ok(['apply'])).stdout).toContain('No changes.');
  const pid = await box.pidOf('athena');
  await box.ok(['rollout', 'restart', 'athena', '--wait']);
  expect(await box.pidOf('athena')).not.toBe(pid);
  expect(await box.item('athena')).toMatchObject({spec: {parameters: {}}});
});

it('says of one that serves on that it could not take over what is declared', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  await box.ok(['up']);
  await box.declare({specialists: [{component: 'athena', env: {TOKEN: {env: 'SET_BY_NOBODY'}}}]});
  await box.untilEvent('SecretMissing', 'athena-ai');
  const get = await box.ok(['get', 'athena']);
  expect(get.stdout).toMatch(/^athena +athena +True +Ready /m);
  expect(get.stderr).toContain('athena serves on as it was declared before: SecretMissing: ');
  expect((await box.ok(['why', 'athena'])).stdout).toMatch(
    /^athena is Ready for \d+s, as it was declared before \(generation 1 of 2\): SecretMissing: /,
  );
  const status = await box.run(['rollout', 'status', 'athena', '--timeout', '20s']);
  expect(status).toMatchObject({exitCode: 3, stdout: ''});
  expect(status.stderr).toContain('athena is not rolled out: SecretMissing: ');
});

it('refuses what makes no sense', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  await box.ok(['up']);
  expect((await box.run(['rollout', 'undo', 'athena'])).stderr).toContain('no earlier declaration is known');
  expect((await box.run(['rollout', 'resume', 'athena'])).stderr).toContain('not held');
  expect((await box.run(['rollout', 'restart', 'athenna'])).stderr).toContain('did you mean `athena`?');
  expect((await box.run(['rollout', 'restart'])).exitCode).toBe(4);
  expect((await box.run(['rollout', 'restat', 'athena'])).exitCode).toBe(4);
  await box.ok(['down']);
  expect((await box.run(['rollout', 'restart', 'athena'])).stderr).toContain('the fleet is stopped');
});
