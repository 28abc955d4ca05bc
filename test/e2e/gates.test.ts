/** Gates with real workers: bad answers and bad health go back to what was good. */
import {expect, it} from '@jest/globals';
import {sandboxes, until} from './harness.js';

const sandbox = sandboxes();

const canary = {prompts: [{name: 'capital', prompt: 'the capital?', contains: 'Paris'}]};
const providers = {
  good: {type: 'scripted', script: 'good.yaml'},
  bad: {type: 'scripted', script: 'bad.yaml'},
} as const;

it('a model that answers badly is taken back, and chats are answered by the one before', async () => {
  const box = await sandbox();
  await box.write('good.yaml', 'rules: [{contains: capital, reply: It is Paris.}]\n');
  await box.write('bad.yaml', 'rules: [{contains: capital, reply: It is London.}]\n');
  await box.declare({providers, specialists: [{component: 'athena', provider: 'good', canary}]});
  await box.ok(['up']);
  await box.declare({providers, specialists: [{component: 'athena', provider: 'bad', canary}]});
  await box.untilEvent('CanaryFailed');
  await until('it is so', async () =>
    (await box.ok(['chat', 'athena', 'the capital?', '--no-stream'])).stdout.includes('Paris'),
  );
  expect((await box.run(['why', 'athena'])).stdout).toContain('the answer was "It is London."');
  expect((await box.run(['canary', 'athena'])).exitCode).toBe(0);
}, 60_000);

it('a fleet whose provider can not be reached goes back, and a removed specialist comes back', async () => {
  const box = await sandbox();
  const rollback = {deadlineSeconds: 3};
  await box.declare({
    rollback,
    specialists: [
      {component: 'athena', provider: 'offline'},
      {component: 'rhetor', provider: 'offline'},
    ],
  });
  await box.ok(['up']);
  await box.untilEvent('FleetHealthy');
  await box.declare({
    rollback,
    specialists: [
      {component: 'athena', provider: 'offline'},
      {component: 'numa', provider: 'ollama'},
    ],
  });
  await box.untilEvent('RolledBack');
  await until('it is so', async () => (await box.run(['get', 'rhetor', '-o', 'name'])).exitCode === 0);
  await box.ok(['wait', 'rhetor']);
  const {stdout, stderr} = await box.run(['get']);
  expect(stdout).not.toContain('numa');
  expect(stderr).toContain('RolledBack');
}, 60_000);
