/** Programs written for the seed's registry and protocol go on working. */
import {connect} from 'node:net';
import {createInterface} from 'node:readline';
import {mkdir, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {expect, it} from '@jest/globals';
import {isAlive, sandboxes, until} from './harness.js';

// These programs know ports only: to them everything is on this machine's usual address.
const sandbox = sandboxes({host: '127.0.0.1'});

it('answers the messages of the seed, one per line on one connection', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['apollo']});
  await box.ok(['apply', '--wait']);
  const port = box.registry()['apollo-ai']?.port ?? 0;
  const requests = [
    {type: 'ping'},
    {type: 'health'},
    {type: 'info'},
    {type: 'chat', content: 'what do you do?'},
    {content: 'what do you do?'},
    {type: 'chat', content: ''},
    {type: 'dance'},
  ];
  const [pong, health, info, chat, typeless, empty, unknown] = await converse(
    port,
    requests.map(r => JSON.stringify(r)),
  );
  expect(pong).toMatchObject({type: 'pong', ai_id: 'apollo-ai', timestamp: expect.any(Number)});
  expect(Math.abs(Number(pong?.['timestamp']) - Date.now() / 1000)).toBeLessThan(60);
  expect(health).toMatchObject({
    type: 'health_response',
    ai_id: 'apollo-ai',
    status: 'healthy',
    component: 'apollo',
    model: 'offline:expertise',
    clients: 1,
  });
  expect(info).toMatchObject({
    type: 'info_response',
    ai_id: 'apollo-ai',
    component: 'apollo',
    description: expect.stringMatching(/^AI specialist for Apollo - /),
    model_provider: 'offline',
    model_name: 'expertise',
    system_prompt: expect.stringMatching(/^[^]{200}\.\.\.$/),
    port,
  });
  expect(chat).toMatchObject({type: 'chat_response', ai_id: 'apollo-ai', content: expect.stringContaining('Apollo')});
  expect(typeless).toMatchObject({type: 'chat_response', content: chat?.['content']});
  expect(empty).toMatchObject({type: 'error', error: 'No content provided', message: expect.any(String)});
  expect(unknown).toMatchObject({type: 'error', error: expect.stringContaining('dance')});

  const [broken, alive] = await converse(port, ['{"type": "ping"', '{"type":"ping"}']);
  expect(broken).toMatchObject({type: 'error', error: 'Invalid JSON'});
  expect(alive).toMatchObject({type: 'pong'});
});

it('gives a whole answer to a client that sends text without a type and reads once', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['apollo']});
  await box.ok(['apply', '--wait']);
  const port = box.registry()['apollo-ai']?.port ?? 0;
  const socket = connect(port, '127.0.0.1');
  socket.write('{"content": "hello"}'); // and no newline: the end of what it says is the end of the line
  socket.end();
  const once = await new Promise<Buffer>((resolve, reject) => socket.once('data', resolve).once('error', reject));
  expect(JSON.parse(once.toString())).toMatchObject({type: 'chat_response', ai_id: 'apollo-ai'});
  socket.destroy();
});

it("keeps a registry in the seed's schema, and what others have written into it", async () => {
  const box = await sandbox();
  const {from} = box.ports;
  const foreign = {
    port: from,
    component: 'legacy',
    metadata: {description: 'AI specialist for Legacy', pid: 999_999_999},
    registered_at: 1_700_000_000.5,
  };
  await mkdir(box.home, {recursive: true, mode: 0o700});
  await writeFile(join(box.home, 'platform_ai_registry.json'), JSON.stringify({'legacy-ai': foreign}));
  await box.declare({specialists: ['hermes', 'athena']});
  await box.ok(['up']);

  const registry = box.registry();
  expect(registry['legacy-ai']).toEqual(foreign);
  for (const [id, {port, component, metadata, registered_at: at, ...more}] of Object.entries(registry)) {
    expect(id).toBe(`${component}-ai`);
    expect(port).toBeGreaterThanOrEqual(from);
    expect(port).toBeLessThanOrEqual(box.ports.to);
    expect(metadata.description).toMatch(/^AI specialist for /);
    expect(metadata.pid).toEqual(expect.any(Number));
    expect(at).toBeGreaterThan(1_600_000_000);
    expect(at).toBeLessThan(Date.now() / 1000 + 60);
    expect(more).toEqual({});
  }
  expect([registry['hermes-ai']?.port, registry['athena-ai']?.port]).not.toContain(from);

  await box.declare({specialists: ['hermes']});
  await until('athena to go', () => box.registry()['athena-ai'] === undefined);
  await box.ok(['down']);
  expect(box.registry()).toEqual({'legacy-ai': foreign});
});

it('serves one specialist by hand: registers it, answers, and deregisters when it is told to end', async () => {
  const box = await sandbox();
  const {subprocess, output} = box.start(['worker', '--component', 'athena']);
  const listens = () => /athena-ai listens on 127\.0\.0\.1:(\d+)/.exec(output.stderr)?.[1];
  const port = Number(await until('it to listen', listens));
  const entry = box.registry()['athena-ai'];
  expect(entry).toMatchObject({port, component: 'athena', metadata: {pid: subprocess.pid}});
  const [pong] = await converse(port, ['{"type":"ping"}']);
  expect(pong).toMatchObject({type: 'pong', ai_id: 'athena-ai'});
  expect((await box.ok(['get', '-o', 'name'])).stdout).toBe('specialist/athena\n');
  expect((await box.ok(['chat', 'athena', 'who are you?'])).stdout).toContain('I am Athena');

  const second = await box.run(['worker', '--component', 'athena']);
  expect(second.exitCode).toBe(5);
  expect(second.stderr).toContain(`it already runs on port ${port}`);

  subprocess.kill('SIGTERM');
  expect((await subprocess).exitCode).toBe(130);
  expect(box.registry()).toEqual({});
  expect(isAlive(subprocess.pid ?? 0)).toBe(false);
});

/** Sends each line once the reply to the one before has come, as the seed's clients do. */
async function converse(port: number, lines: readonly string[]): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const socket = connect(port, '127.0.0.1');
  const replies: AsyncIterator<string, undefined> = createInterface({input: socket})[Symbol.asyncIterator]();
  const answers: Record<string, unknown>[] = [];
  for (const line of lines) {
    socket.write(`${line}\n`);
    const {value, done} = await replies.next();
    if (done) throw new Error(`no reply to ${line}`);
    answers.push(JSON.parse(value) as Record<string, unknown>); // an object by protocol
  }
  socket.destroy();
  return answers;
}
