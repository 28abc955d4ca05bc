/** What diff and apply say and do, with their exit codes, with a controller and without. */
import {existsSync} from 'node:fs';
import {expect, it} from '@jest/globals';
import type {SpecialistEntry} from '../../src/api/documents.js';
import {isAlive, isReady, kill, sandboxes, until} from './harness.js';

const sandbox = sandboxes();

it('ends diff with 0, 1 or 4, and shows what apply then does', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', 'athena']});
  const before = await box.run(['diff']);
  expect(before.exitCode).toBe(1);
  expect(before.stdout).toBe(
    [
      '  + create hermes (hermes, offline:expertise): it is new',
      '  + create athena (athena, offline:expertise): it is new',
      '',
      'Plan: 2 to create.',
      '',
    ].join('\n'),
  );
  expect(existsSync(box.home)).toBe(false);
  const apply = await box.ok(['apply', '--wait']);
  expect(apply.stdout).toBe(before.stdout);
  expect(await box.run(['diff'])).toEqual({
    stdout: 'No changes. 2 specialists are as declared.\n',
    stderr: '',
    exitCode: 0,
  });

  await box.declare({specialists: [{component: 'athena', model: 'wise', env: {LAMP: 'lit'}}, 'numa']});
  const changed = await box.run(['diff']);
  expect(changed.exitCode).toBe(1);
  expect(changed.stdout).toContain('  - prune hermes\n');
  expect(changed.stdout).toContain('-/+ restart athena because a running worker cannot change its env.LAMP\n');
  expect(changed.stdout).toMatch(/^ {6}model: \(not set\) -> "wise" {2}\(tekton-ai\.yaml:\d+\)$/m);
  expect(changed.stdout).toContain('Plan: 1 to create, 1 to restart, 1 to prune.\n');
  expect((await box.run(['plan'])).exitCode).toBe(0);
  expect((await box.run(['plan', '--detailed-exitcode'])).exitCode).toBe(2);

  await box.write('tekton-ai.yaml', 'kind: Flet\n');
  expect((await box.run(['diff'])).exitCode).toBe(4);
});

it('ends apply with 2 where asked for and something changed, and with 0 where nothing did', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  expect((await box.run(['apply', '--detailed-exitcode'])).exitCode).toBe(2);
  const pid = await box.pidOf('athena');
  const again = await box.run(['apply', '--detailed-exitcode']);
  expect(again).toMatchObject({exitCode: 0, stdout: 'No changes. 1 specialist is as declared.\n'});
  expect(await box.pidOf('athena')).toBe(pid);
});

it('changes nothing with --dry-run', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  const dry = await box.ok(['apply', '--dry-run']);
  expect(dry.stdout).toContain('Plan: 1 to create.');
  expect(existsSync(box.home)).toBe(false);

  await box.ok(['apply', '--wait']);
  const item = await box.item('athena');
  await box.declare({specialists: [{component: 'athena', model: 'wise'}]});
  expect((await box.run(['apply', '--dry-run', '--detailed-exitcode'])).exitCode).toBe(2);
  expect((await box.item('athena')).status).toEqual({...item.status, conditions: expect.anything()});
  expect((await box.run(['diff'])).exitCode).toBe(1);
});

it('takes over a worker that a controller-less apply launched, and heals it again', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  const apply = await box.ok(['apply', '--wait']);
  expect(apply.stderr).toContain('no controller is running: nothing heals them');
  const pid = await box.pidOf('athena');
  await box.ok(['up']);
  expect(await box.pidOf('athena')).toBe(pid);
  kill(pid, 'SIGKILL');
  await box.untilItem('athena', item => item.status.restarts === 1 && isReady(item));
});

it('hands an apply to the controller that runs', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  await box.ok(['up']);
  const pids = await box.pids();
  await box.declare({specialists: ['athena', 'hermes']});
  const apply = await box.ok(['apply', '--wait']);
  expect(apply.stderr).not.toContain('no controller');
  expect(await box.pids()).toMatchObject(pids);
  expect(isReady(await box.item('hermes'))).toBe(true);
  expect(await box.processes()).toHaveLength(3);
});

it('lets two applies at once come to one result', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', 'athena', 'numa']});
  const both = await Promise.all([box.run(['apply', '--wait']), box.run(['apply', '--wait'])]);
  expect(both.map(({exitCode, stderr}) => [exitCode, exitCode === 0 ? '' : stderr])).toEqual([
    [0, ''],
    [0, ''],
  ]);
  const items = await box.items();
  expect(items.map(item => [item.metadata.name, item.status.phase, item.status.restarts])).toEqual([
    ['athena', 'Ready', 0],
    ['hermes', 'Ready', 0],
    ['numa', 'Ready', 0],
  ]);
  expect((await box.processes()).length).toBe(3);
  expect(new Set(items.map(item => item.status.port)).size).toBe(3);
  expect(Object.keys(box.registry())).toHaveLength(3);
});

it('ends with 3 at once when nobody but a person can help, also for those that depend on it', async () => {
  const box = await sandbox();
  await box.declare({
    providers: {gone: {type: 'ollama', baseUrl: 'http://127.0.0.1:1'}},
    defaults: {provider: 'gone'},
    specialists: ['hermes', {component: 'athena', dependsOn: ['hermes']}, {component: 'numa', dependsOn: ['athena']}],
  });
  const begin = performance.now();
  const apply = await box.run(['apply', '--wait']);
  expect(performance.now() - begin).toBeLessThan(15_000);
  expect(apply.exitCode).toBe(3);
  expect(apply.stderr).toMatch(/^ {2}hermes: ProviderUnreachable: /m);
  expect(apply.stderr).toMatch(/^ {2}athena: DependencyNotReady: waits for hermes to be Ready$/m);
  expect(apply.stderr).toMatch(/^ {2}numa: DependencyNotReady: waits for athena to be Ready$/m);
});

it('ends with 3 when the time is over, and says whom it waited for', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  await box.ok(['up']);
  kill(box.controllerPid(), 'SIGSTOP');
  try {
    const hung = await box.run(['apply', '--timeout', '1s']);
    expect(hung.exitCode).toBe(3);
    expect(hung.stderr).toMatch(/error: the controller did not answer in time \(to load\)\nhint: .*kill -9/);
  } finally {
    kill(box.controllerPid(), 'SIGCONT');
  }
  kill(await box.pidOf('athena'), 'SIGSTOP');
  await box.declare({specialists: [{component: 'athena', model: 'wise'}]});
  const late = await box.run(['apply', '--wait', '--timeout', '1s']);
  expect(late.exitCode).toBe(3);
  expect(late.stderr).toMatch(/^not Ready within 1 s:\n {2}athena: /m);
  kill(await box.pidOf('athena'), 'SIGKILL');
});

it('lets two ups at once come to one controller, neither waiting for the other in vain', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', 'athena']});
  const begin = performance.now();
  await Promise.all([box.ok(['up']), box.ok(['up'])]);
  expect(performance.now() - begin).toBeLessThan(15_000);
  expect(await box.processes()).toHaveLength(3);
  expect((await box.items()).map(item => item.status.restarts)).toEqual([0, 0]);
});

it('waits in vain for nobody who depends on one that is disabled, or whose provider is gone', async () => {
  const box = await sandbox();
  const numa = {component: 'numa', dependsOn: ['athena']};
  await box.declare({specialists: [{component: 'athena', enabled: false}, numa]});
  const disabled = await box.run(['apply', '--wait', '--timeout', '1h']);
  expect(disabled).toMatchObject({exitCode: 3});
  expect(disabled.stderr).toContain(
    'a person or a provider is needed:\n  numa: DependencyNotReady: waits for athena to be Ready\n',
  );
  await box.declare({
    providers: {gone: {type: 'ollama', baseUrl: 'http://127.0.0.1:1'}},
    specialists: [{component: 'athena', provider: 'gone'}, numa],
  });
  expect(await box.run(['apply', '--timeout', '1h'])).toMatchObject({exitCode: 3});
});

it('ends with 130 when it is interrupted, and the next apply finishes', async () => {
  const box = await sandbox();
  await box.declare({
    providers: {gone: {type: 'ollama', baseUrl: 'http://127.0.0.1:1'}},
    specialists: ['hermes', {component: 'athena', provider: 'gone'}, {component: 'numa', dependsOn: ['athena']}],
  });
  const {subprocess, output} = box.start(['apply', '--wait']);
  await until('the plan', () => output.stdout.includes('Plan: 3 to create.'));
  subprocess.kill('SIGINT');
  expect((await subprocess).exitCode).toBe(130);
  await box.declare({specialists: ['hermes', 'athena', 'numa']});
  await box.ok(['apply', '--wait']);
  expect((await box.items()).every(isReady)).toBe(true);
  expect(await box.processes()).toHaveLength(3);
});

it('keeps things so in the foreground with run, and leaves the workers when it is interrupted', async () => {
  const box = await sandbox();
  const declare = (athena: SpecialistEntry) => box.declare({specialists: [athena]});
  await declare({component: 'athena'});
  const {subprocess, output} = box.start(['run']);
  await until('athena to be Ready', () => output.stdout.includes('athena-ai BecameReady'));
  const pid = await box.pidOf('athena');
  await declare({component: 'athena', model: 'wise'});
  await until('the edit to arrive', () => output.stdout.includes('athena-ai Reconfigured'));
  subprocess.kill('SIGINT');
  expect((await subprocess).exitCode).toBe(130);
  expect(output.stderr).toContain('the specialists live on');
  expect(isAlive(pid)).toBe(true);
  expect(isReady(await box.item('athena'))).toBe(true);
});
