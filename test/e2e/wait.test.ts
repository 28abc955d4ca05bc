/** `wait`: a script goes on when specialists stand as it needs them. */
import {expect, it} from '@jest/globals';
import {sandboxes, until} from './harness.js';

const sandbox = sandboxes();

it('ends when all that is to run is Ready, and says whom it saw', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', {component: 'apollo', enabled: false}]});
  await box.ok(['up']);
  const {stdout, stderr} = await box.ok(['wait']);
  expect(stdout).toBe('specialist/hermes condition met\n');
  expect(stderr).toBe('');
  expect((await box.ok(['wait', 'apollo', '--for', 'condition=Live=False'])).stdout).toBe(
    'specialist/apollo condition met\n',
  );
});

it('waits for what comes later', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', 'athena']});
  await box.ok(['up']);
  const gone = box.start(['wait', 'athena', '--for=delete', '--timeout', '20s']);
  await box.declare({specialists: ['hermes']});
  const {exitCode} = await gone.subprocess;
  expect(gone.output.stdout).toBe('specialist/athena deleted\n');
  expect(exitCode).toBe(0);
  // Who is gone is gone, however late the question.
  expect(await box.run(['wait', 'athena', '--for=delete'])).toMatchObject({exitCode: 0, stdout: ''});
});

it('ends with 3 when the time is up, and says why', async () => {
  const box = await sandbox();
  await box.declare({defaults: {provider: 'ollama'}, specialists: ['hermes']});
  await box.ok(['apply']);
  await until('its process to live', async () => (await box.run(['wait', '--for', 'condition=Live'])).exitCode === 0);
  const {exitCode, stdout, stderr} = await box.run(['wait', 'hermes', '--timeout', '100ms']);
  expect(exitCode).toBe(3);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^not Ready=True within 0\.1 s:\n {2}hermes: ProviderUnreachable: /m);
  const why = await box.ok(['why', 'hermes']);
  expect(why.stdout).toMatch(/^hermes is NotReady for \d+s: ProviderUnreachable: /);
  expect(why.stdout).toContain('\nnext: start the model server');
});

it('refuses what can not be waited for', async () => {
  const box = await sandbox();
  expect((await box.run(['wait'])).exitCode).toBe(1);
  await box.declare({specialists: ['hermes']});
  await box.ok(['up']);
  expect(await box.run(['wait', 'hermess'])).toMatchObject({exitCode: 1, stderr: expect.stringContaining('`hermes`?')});
  const wrong = await box.run(['wait', '--for', 'condition=Redy']);
  expect(wrong.exitCode).toBe(4);
  expect(wrong.stderr).toContain('Accepted, Live, ModelAvailable, Ready');
});
