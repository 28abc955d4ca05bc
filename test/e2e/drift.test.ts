/** Somebody changes a worker by hand, past its controller. */
import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {expect, it} from '@jest/globals';
import type {DriftPolicy} from '../../src/api/types.js';
import type {WorkerConfig} from '../../src/protocol/control.js';
import type {Running} from '../../src/protocol/running.js';
import {ControlConnection} from '../../src/protocol/control-client.js';
import type {LaunchRecord} from '../../src/registry/launch-records.js';
import {connectUnix} from '../../src/runtime/connect.js';
import {conditionText, isReady, kill, sandboxes, until, type Sandbox} from './harness.js';

const sandbox = sandboxes();

async function declare(box: Sandbox, driftPolicy: DriftPolicy): Promise<void> {
  await box.write('answers.yaml', slowAnswers);
  await box.declare({
    driftPolicy,
    providers: {slow: {type: 'scripted', script: './answers.yaml'}},
    specialists: [
      {component: 'athena', parameters: {temperature: 0.2}},
      {component: 'hermes', provider: 'slow', model: 'scripted'},
    ],
  });
}

const slowAnswers = `
rules:
  - {contains: slowly, chunks: ['well, ', 'at last'], chunkDelayMs: 1500}
`;

async function controlOf(box: Sandbox, aiId: string): Promise<ControlConnection> {
  const text = await readFile(join(box.home, 'run', `${aiId}.json`), 'utf8');
  const {controlPath} = JSON.parse(text) as LaunchRecord;
  return new ControlConnection(await connectUnix(controlPath));
}

/** As somebody with a shell would: what the worker says it is, with another temperature and the like. */
async function reconfigure(box: Sandbox, temperature: number, more: Partial<WorkerConfig> = {}): Promise<void> {
  const control = await controlOf(box, 'athena-ai');
  const asked = await control.request({type: 'hello'});
  if (!asked.ok || !asked.hello) throw new Error('no hello');
  const {running, choice, ...who} = asked.hello;
  const config = {...running, ...who, choice, formatVersion: 1, graceMs: 30_000, parameters: {temperature}, ...more};
  const reply = await control.request({type: 'configure', config: config as unknown as WorkerConfig});
  control.close();
  expect(reply).toMatchObject({ok: true});
}

async function runningOf(box: Sandbox): Promise<Running> {
  const control = await controlOf(box, 'athena-ai');
  const reply = await control.request({type: 'hello'});
  control.close();
  return (reply.ok && reply.hello?.running) || {};
}

async function temperatureOf(box: Sandbox): Promise<unknown> {
  const {parameters} = await runningOf(box);
  return (parameters as {readonly temperature?: number} | undefined)?.temperature;
}

it('puts a worker right that somebody reconfigured, at once and without a restart', async () => {
  const box = await sandbox();
  await declare(box, 'heal');
  await box.ok(['up']);
  const pid = await box.pidOf('athena');
  await reconfigure(box, 0.9);
  const {message} = await box.untilEvent('DriftHealed', 'athena-ai');
  expect(message).toContain('parameters.temperature is 0.9 instead of 0.2');
  expect(await temperatureOf(box)).toBe(0.2);
  expect(await box.pidOf('athena')).toBe(pid);
  expect((await box.ok(['diff'])).stdout).toContain('No changes.');
});

it('leaves it so with warn and says it everywhere, over a restart of the controller, until somebody applies', async () => {
  const box = await sandbox();
  await declare(box, 'warn');
  await box.ok(['up']);
  await reconfigure(box, 0.9);
  const said = 'parameters.temperature is 0.9 instead of 0.2';
  expect((await box.untilEvent('Drifted', 'athena-ai')).message).toContain(said);
  const drifted = await box.untilItem('athena', item => conditionText(item, 'Progressing').includes('Drifted'));
  expect(isReady(drifted)).toBe(true);
  expect(conditionText(drifted, 'Progressing')).toBe(
    `False Drifted changed by hand: ${said} (left so: driftPolicy is warn)`,
  );
  expect((await box.ok(['get'])).stderr).toContain(`athena is not as declared: changed by hand: ${said}`);
  expect((await box.ok(['describe', 'athena'])).stdout).toMatch(/Progressing +False +Drifted .*temperature is 0\.9/);
  const why = (await box.ok(['why', 'athena'])).stdout;
  expect(why).toContain(`not as declared: changed by hand: ${said}`);
  expect(why).toContain('next: put it right with: tekton-ai apply');
  const diff = await box.run(['diff']);
  expect(diff.exitCode).toBe(1);
  expect(diff.stdout).toMatch(/~ reconfigure athena: it was changed by hand\n +parameters\.temperature: 0\.9 -> 0\.2/);

  const controller = box.controllerPid();
  kill(controller, 'SIGKILL');
  await until('no controller to be there', async () =>
    (await box.ok(['get'])).stderr.includes('no controller is running'),
  );
  expect(conditionText(await box.item('athena'), 'Progressing')).toContain(said);
  await box.ok(['rollout', 'restart', 'hermes', '--wait']); // by a controller of its own, which leaves athena alone
  expect(await temperatureOf(box)).toBe(0.9);

  await box.ok(['up']);
  expect(await temperatureOf(box)).toBe(0.2);
  expect(conditionText(await box.item('athena'), 'Progressing')).toContain('Converged');
  expect((await box.events()).filter(({reason}) => reason === 'Drifted')).toHaveLength(1);
});

it('decides field by field, and says which is which, until somebody applies', async () => {
  const box = await sandbox();
  await declare(box, {default: 'heal', fields: {model: 'ignore', 'parameters.temperature': 'warn'}});
  await box.ok(['up']);
  const pid = await box.pidOf('athena');
  await reconfigure(box, 0.9, {model: 'by-hand', graceMs: 1000});
  const {message} = await box.untilEvent('DriftHealed', 'athena-ai');
  expect(message).toBe('put right what was changed by hand: terminationGracePeriodSeconds is 1 instead of 30');
  const warned = await box.untilEvent('Drifted', 'athena-ai');
  expect(warned.message).toContain('temperature is 0.9 instead of 0.2 (left so: driftPolicy is warn for');
  expect(warned.message).not.toContain('model');
  const running = await runningOf(box);
  expect(running).toMatchObject({model: 'by-hand', parameters: {temperature: 0.9}, terminationGracePeriodSeconds: 30});
  const left = /model is "by-hand" .*left so: driftPolicy is warn for parameters\.temperature; ignore for model/;
  expect((await box.ok(['why', 'athena'])).stdout).toMatch(left);
  expect((await box.ok(['describe', 'athena'])).stdout).toMatch(left);
  expect((await box.ok(['get'])).stderr).toMatch(left);
  const {stdout} = await box.run(['diff']);
  expect(stdout).toMatch(/ model: "by-hand" -> .*\(left so until an apply: driftPolicy is ignore\)/);
  expect(stdout).toMatch(/ parameters\.temperature: 0\.9 -> 0\.2.*\(left so until an apply: driftPolicy is warn\)/);
  expect(stdout).not.toContain('terminationGracePeriodSeconds');
  await box.ok(['up']);
  expect(await runningOf(box)).toMatchObject({parameters: {temperature: 0.2}});
  expect((await box.ok(['diff'])).stdout).toContain('No changes.');
  expect(await box.pidOf('athena')).toBe(pid);
});

it('says nothing of it with ignore, and puts it right when the policy turns to heal', async () => {
  const box = await sandbox();
  await declare(box, 'ignore');
  await box.ok(['up']);
  await reconfigure(box, 0.9);
  await box.untilItem('athena', item => conditionText(item, 'Progressing').includes('Drifted'));
  expect((await box.ok(['get'])).stderr).toBe('');
  expect((await box.events()).map(({reason}) => reason)).not.toContain('Drifted');
  await declare(box, 'heal'); // the controller follows the file
  await box.untilEvent('DriftHealed', 'athena-ai');
  expect(await temperatureOf(box)).toBe(0.2);
});

it('shows at once that somebody sent a worker SIGTERM, and replaces it when its chats have ended', async () => {
  const box = await sandbox();
  await declare(box, 'warn');
  await box.ok(['up']);
  const pid = await box.pidOf('hermes');
  const chat = box.start(['chat', 'hermes', 'slowly']);
  await until('the chat to be under way', () => chat.output.stdout.includes('well'));
  kill(pid, 'SIGTERM');
  const draining = await box.untilItem('hermes', item => item.status.phase === 'Draining');
  expect(draining.status.instance?.identity.pid).toBe(pid);
  expect(conditionText(draining, 'Progressing')).toContain('True Draining somebody sent it SIGTERM');
  expect((await box.untilEvent('ToldToStop', 'hermes-ai')).message).toContain('SIGTERM');
  await chat.subprocess;
  expect(chat.output.stdout).toContain('well, at last');
  const after = await box.untilItem('hermes', item => isReady(item) && item.status.instance?.identity.pid !== pid);
  expect(after.status.restarts).toBe(1);
});
