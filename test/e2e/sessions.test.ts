/** A conversation that outlives its worker, and the verbs that show and end it. */
import {expect, it} from '@jest/globals';
import {sandboxes, type Sandbox} from './harness.js';

const sandbox = sandboxes();

interface Listed {
  readonly running: boolean;
  readonly persistent: boolean;
  readonly sessions: readonly {readonly name: string; readonly turns: number}[];
}

async function listed(box: Sandbox): Promise<Listed> {
  return JSON.parse((await box.ok(['sessions', 'athena', '-o', 'json'])).stdout) as Listed;
}

/** Input tokens of the chat: more, the more of the conversation is sent along. */
async function say(box: Sandbox, message: string): Promise<number> {
  const {stdout} = await box.ok(['chat', 'athena', '--session', 'plan', '-o', 'json', message]);
  return (JSON.parse(stdout) as {readonly usage: {readonly input_tokens: number}}).usage.input_tokens;
}

it('is remembered by the next worker, and stands on disk without one, until it is deleted', async () => {
  const box = await sandbox();
  const athena = {component: 'athena', overflow: 'trimOldest', sessions: {persist: true, maxTokens: 8000}} as const;
  await box.declare({specialists: [athena]});
  await box.ok(['up']);
  const alone = await say(box, 'What is an ontology?');
  const second = await say(box, 'And a taxonomy?');
  expect(second).toBeGreaterThan(alone);

  await box.ok(['rollout', 'restart', 'athena', '--wait']);
  expect(await say(box, 'What did I ask first?')).toBeGreaterThan(second);
  expect(await listed(box)).toMatchObject({running: true, persistent: true, sessions: [{name: 'plan', turns: 3}]});

  await box.ok(['chat', 'athena', '--session', 'other', 'hello']);
  expect((await box.ok(['sessions', 'athena', '-o', 'name'])).stdout).toBe('other\nplan\n');
  expect((await box.ok(['sessions', 'delete', 'athena', 'plan'])).stdout).toBe('session plan deleted\n');
  expect((await box.run(['sessions', 'delete', 'athena', 'plan'])).exitCode).toBe(1);
  expect(await say(box, 'What is an ontology?')).toBe(alone);

  await box.ok(['down']);
  const left = await listed(box);
  expect(left).toMatchObject({running: false, sessions: [{name: 'plan', turns: 1}, {name: 'other'}]});
  expect((await box.ok(['sessions', 'delete', 'athena', '--all'])).stdout).toBe('2 sessions deleted\n');
  expect((await listed(box)).sessions).toEqual([]);
}, 60_000);
