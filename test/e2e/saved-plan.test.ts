/** A plan that is made in one step and carried out in the next, or refused because the world has moved on. */
import {join} from 'node:path';
import {expect, it} from '@jest/globals';
import {isReady, kill, sandboxes} from './harness.js';

const sandbox = sandboxes();

it('carries out what was planned, whatever the file says by then, and is refused once somebody else has applied', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', 'athena']});
  await box.ok(['apply', '--wait']);
  await box.declare({specialists: ['hermes', {component: 'athena', parameters: {temperature: 0.3}}]});
  const planned = await box.ok(['plan', '--out', 'plan.json']);
  expect(planned.stdout).toContain('  ~ reconfigure athena\n');
  expect(planned.stderr).toBe('saved; carry it out with: tekton-ai apply plan.json\n');

  await box.declare({specialists: ['hermes', 'athena', 'numa']});
  const applied = await box.ok(['apply', 'plan.json', '--wait']);
  expect(applied.stdout).toBe(planned.stdout);
  expect(await box.item('athena')).toMatchObject({spec: {parameters: {temperature: 0.3}}});

  await box.ok(['plan', '--out', 'late.json']);
  await box.ok(['apply', '--wait']);
  const stale = await box.run(['apply', 'late.json']);
  expect(stale).toMatchObject({exitCode: 5, stdout: ''});
  expect(stale.stderr).toContain('athena-ai is declared otherwise, numa-ai is declared otherwise\n');
});

it('does not depend on the file any more', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes']});
  await box.ok(['plan', '--out', 'plan.json']);
  await box.write('tekton-ai.yaml', 'kind: [');
  const applied = await box.ok(['apply', 'plan.json', '--wait']);
  expect(applied.stdout).toContain('  + create hermes ');
  expect(isReady(await box.item('hermes'))).toBe(true);
  const again = await box.run(['apply', 'plan.json']);
  expect(again.exitCode).toBe(5);
  expect(again.stderr).toContain('fleet default/dev has moved on since it was made: hermes-ai is declared otherwise');
  expect(again.stderr).toContain('hint: make a new plan with: tekton-ai plan --out');
});

it('still stands when a worker crashed and came back in between', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', 'athena']});
  await box.ok(['up']);
  await box.ok(['plan', '--out', 'same.json']);
  const before = await box.pidOf('hermes');
  kill(before, 'SIGKILL');
  await box.untilItem('hermes', item => item.status.restarts === 1 && isReady(item));
  const applied = await box.ok(['apply', 'same.json']);
  expect(applied.stdout).toBe('No changes. 2 specialists are as declared.\n');
});

it('refuses what is no plan, a plan of another state folder, and a plan beside files', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes']});
  expect(await box.run(['apply', 'tekton-ai.yaml'])).toMatchObject({
    exitCode: 4,
    stderr: expect.stringContaining('it is no plan'),
  });
  expect((await box.run(['apply', 'missing.json'])).stderr).toContain('no such file');
  await box.ok(['plan', '--out', 'plan.json', '--home', join(box.folder, 'other')]);
  expect((await box.run(['apply', 'plan.json'])).exitCode).toBe(5);
  expect((await box.run(['apply', 'plan.json', '-f', 'tekton-ai.yaml'])).exitCode).toBe(4);
});
