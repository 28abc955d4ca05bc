/** An operator's day where nothing goes wrong: start, look, talk, stop. */
import {expect, it} from '@jest/globals';
import {parse} from 'yaml';
import type {FleetEvent} from '../../src/api/types.js';
import {isAlive, sandboxes, type Sandbox} from './harness.js';

const sandbox = sandboxes();

async function started(): Promise<Sandbox> {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', {component: 'athena', dependsOn: ['hermes']}]});
  await box.ok(['up']);
  return box;
}

it('starts everything with up, and changes nothing when it is said again', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', 'athena']});
  const up = await box.ok(['up']);
  const [head, ...rows] = up.stdout.trimEnd().split('\n');
  expect(head).toMatch(/^NAME +COMPONENT +READY +STATUS +PROVIDER:MODEL +PORT +RESTARTS +AGE$/);
  expect(rows).toEqual([
    expect.stringMatching(/^athena +athena +True +Ready +offline:expertise +\d{5} +0 /),
    expect.stringMatching(/^hermes +hermes +True +Ready +offline:expertise +\d{5} +0 /),
  ]);
  expect(up.stderr).toMatch(/^controller \d+ keeps it so/m);

  const pids = await box.pids();
  const controller = box.controllerPid();
  await box.ok(['up']);
  const apply = await box.ok(['apply', '--wait']);
  expect(apply.stdout).toBe('No changes. 2 specialists are as declared.\n');
  expect(await box.pids()).toEqual(pids);
  expect(box.controllerPid()).toBe(controller);
  expect(await box.processes()).toHaveLength(3);
});

it('answers a chat whole, in a stream, from standard input and as JSON', async () => {
  const box = await started();
  const streamed = await box.ok(['chat', 'athena', 'who', 'are', 'you?']);
  expect(streamed.stdout).toContain('I am Athena');
  expect(streamed.stdout).toContain('No model is connected');
  expect(streamed.stderr).toBe('');

  const [whole, piped, json, empty] = [
    await box.ok(['chat', 'athena', '--no-stream', 'who are you?']),
    await box.ok(['chat', 'athena-ai', '-'], {input: 'who are you?\n'}),
    await box.ok(['chat', 'default/athena', '-o', 'json', 'who are you?']),
    await box.run(['chat', 'athena', '-']),
  ];
  expect(whole.stdout).toBe(streamed.stdout);
  expect(piped.stdout).toBe(streamed.stdout);
  expect(JSON.parse(json.stdout)).toEqual({
    type: 'chat_response',
    ai_id: 'athena-ai',
    content: streamed.stdout.trimEnd(),
    model: 'offline:expertise',
    usage: {input_tokens: expect.any(Number), output_tokens: expect.any(Number)},
    latency: expect.any(Number),
    stop_reason: 'end',
  });
  expect(empty.exitCode).toBe(4);
  expect(empty.stderr).toContain('standard input is empty');
});

it('shows specialists as a table, as documents and by component or role', async () => {
  const box = await started();
  const wide = await box.ok(['get', '-o', 'wide']);
  expect(wide.stdout).toMatch(/ PID +GENERATION +FLEET +REASON\n/);
  expect((await box.ok(['get', '-o', 'name'])).stdout).toBe('specialist/athena\nspecialist/hermes\n');

  const items = await box.items();
  expect(items.map(item => item.metadata.name)).toEqual(['athena', 'hermes']);
  const yaml = await box.ok(['get', 'athena', '-o', 'yaml']);
  expect(parse(yaml.stdout)).toEqual(items[0]);
  expect(items[0]).toMatchObject({
    apiVersion: 'tekton.ai/v1alpha1',
    kind: 'Specialist',
    metadata: {generation: 1, annotations: {'tekton.ai/ai-id': 'athena-ai', 'tekton.ai/fleet': 'dev'}},
    spec: {component: 'athena', provider: 'offline', dependsOn: ['hermes']},
    status: {phase: 'Ready', observedGeneration: 1, restarts: 0},
  });

  const byComponent = await box.ok(['get', '--component', 'hermes', '-o', 'name']);
  const byRole = await box.ok(['get', '--role', 'ontology', '-o', 'name']);
  const nobody = await box.ok(['get', '--role', 'cook']);
  expect(byComponent.stdout).toBe('specialist/hermes\n');
  expect(byRole.stdout).toBe('specialist/athena\n');
  expect(nobody).toEqual({stdout: '', stderr: 'no specialists found\n', exitCode: 0});

  const unknown = await box.run(['get', 'athene']);
  expect(unknown.exitCode).toBe(1);
  expect(unknown.stderr).toMatch(/there is no specialist "athene"\nhint: did you mean `athena`\?/);
});

it('tells about health, one specialist, its log and what happened', async () => {
  const box = await started();
  const status = await box.ok(['status']);
  expect(status.stdout).toMatch(/^COMPONENT +AI-ID +PORT +MODEL +HEALTH +RESTARTS +UPTIME +MEMORY$/m);
  expect(status.stdout).toMatch(/^athena +athena-ai +\d{5} +offline:expertise +Ready +0 +\d+s +\d+ MB$/m);

  const describe = await box.ok(['describe', 'athena']);
  expect(describe.stdout).toMatch(/^Depends On: +hermes$/m);
  expect(describe.stdout).toMatch(/^ +Ready +True +Ready +\d+s +a chat would be answered now$/m);
  expect(describe.stdout).toMatch(/BecameReady +athena-ai/);

  const logs = await box.ok(['logs', 'athena', '--tail', '1']);
  expect(logs.stdout).toMatch(/^\S+ info athena-ai listening \{.*\}\n$/);

  const events = await box.ok(['events', 'athena']);
  expect(events.stdout.split('\n')).toEqual([
    expect.stringMatching(/Normal +Launched +athena-ai +pid \d+ listens on port \d{5}$/),
    expect.stringMatching(/Normal +BecameReady +athena-ai/),
    '',
  ]);
});

it('starts along dependsOn, and stops everything with down, forgetting no port', async () => {
  const box = await started();
  const at = (events: readonly FleetEvent[], reason: string, aiId: string) =>
    events.findIndex(event => event.reason === reason && event.aiId === aiId);
  const events = await box.events();
  expect(at(events, 'Launched', 'athena-ai')).toBeGreaterThan(at(events, 'BecameReady', 'hermes-ai'));

  const before = await box.items();
  const pids = [...Object.values(await box.pids()), box.controllerPid()];
  const down = await box.ok(['down']);
  expect(down.stdout).toBe('fleet dev is stopped\nthe controller has ended\n');
  expect(pids.filter(isAlive)).toEqual([]);
  expect(box.registry()).toEqual({});
  const stopped = await box.items();
  expect(stopped.map(item => item.status.phase)).toEqual(['Stopped', 'Stopped']);
  const stops = await box.events();
  expect(at(stops, 'Stopped', 'athena-ai')).toBeLessThan(at(stops, 'Stopped', 'hermes-ai'));

  await box.ok(['up']);
  const after = await box.items();
  expect(after.map(item => item.status.port)).toEqual(before.map(item => item.status.port));
});
