/** What happens to a fleet reaches those who are to be told, and no secret reaches the state folder. */
import {readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {afterEach, expect, test} from '@jest/globals';
import type {FleetEvent} from '../../src/api/types.js';
import {Receiver} from '../notify/support.js';
import {sandboxes, until} from './harness.js';

const sandbox = sandboxes();
const open: Receiver[] = [];
afterEach(async () => {
  for (const receiver of open.splice(0)) await receiver.close();
});

async function receiver(): Promise<Receiver> {
  const made = await Receiver.listen();
  open.push(made);
  return made;
}

const reasonsOf = ({requests}: Receiver): readonly string[] =>
  requests.map(({body}) => (JSON.parse(body) as FleetEvent).reason);

test('a killed worker is told of, and that it is back; the secrets of it are in no file', async () => {
  const box = await sandbox();
  const hook = await receiver();
  const secrets = {HOOK_URL: `${hook.url}/hook/a-very-secret-path`, HOOK_TOKEN: 'a-very-secret-token'};
  const program = join(box.folder, 'told.mjs');
  const out = join(box.folder, 'told.txt');
  await writeFile(
    program,
    `import {appendFileSync} from 'node:fs'; appendFileSync('${out}', process.argv[2] + '\\n');`,
  );
  await box.declare({
    specialists: ['athena'],
    notifications: [
      {
        name: 'hook',
        on: {reasons: ['Exited', 'Relaunched']},
        webhook: {url: {env: 'HOOK_URL'}, headers: {Authorization: {env: 'HOOK_TOKEN'}}, secret: {env: 'HOOK_TOKEN'}},
      },
      {name: 'program', on: {reasons: ['Exited']}, command: {argv: [process.execPath, program, '{{specialist}}']}},
      {name: 'dead', on: {reasons: ['Exited']}, webhook: {url: 'http://127.0.0.1:1/', retries: 0}},
    ],
  });
  await box.ok(['up'], {env: secrets});
  process.kill(await box.pidOf('athena'), 'SIGKILL');
  await hook.got(2);
  expect(reasonsOf(hook)).toEqual(['Exited', 'Relaunched']);
  expect(hook.requests[0]?.headers['authorization']).toBe('a-very-secret-token');
  await until('the command to be run', () => readFile(out, 'utf8').catch(() => undefined));
  expect(await readFile(out, 'utf8')).toBe('athena\n');
  const failed = await box.untilEvent('NotificationFailed');
  expect(failed.message).toContain('cannot notify dead (webhook, 127.0.0.1:1)');
  const tried = await box.run(['notify', 'test'], {env: secrets});
  expect(tried).toMatchObject({exitCode: 1, stderr: ''});
  expect(tried.stdout.split('\n')).toEqual([
    'default/dev hook: told (webhook, the address in HOOK_URL)',
    `default/dev program: told (command, ${process.execPath})`,
    expect.stringMatching(/^default\/dev dead: not told \(webhook, 127\.0\.0\.1:1\): cannot reach it/),
    '',
  ]);
  expect(JSON.parse(hook.requests[2]?.body ?? '')).toMatchObject({reason: 'CrashLoop', fleet: 'dev'});
  expect(await box.run(['notify', 'test', 'hook'])).toMatchObject({
    exitCode: 1,
    stdout: expect.stringContaining('environment variable HOOK_URL is not set'),
  });
  expect(await box.run(['notify', 'test', 'hok'])).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('did you mean `hook`?'),
  });
  await box.ok(['down']);
  expect(await filesWith(box.home, 'very-secret')).toEqual([]);
});

test('what happened while no controller could tell is told by the next one', async () => {
  const box = await sandbox();
  const hook = await receiver();
  const url = hook.url;
  await box.declare({
    specialists: ['athena'],
    notifications: [{name: 'hook', on: {reasons: ['Stopped', 'Exited']}, webhook: {url}}],
  });
  await box.ok(['up']);
  await until('the position to be noted', async () => (await readdir(box.home)).includes('notifications'));
  const {pid} = await controllerOf(box.home);
  process.kill(pid, 'SIGKILL');
  // Written by one that is killed before it tells.
  const event = {at: new Date().toISOString(), type: 'Warning', reason: 'Exited', namespace: 'default', fleet: 'dev'};
  await writeFile(join(box.home, 'events.jsonl'), `${JSON.stringify({...event, message: 'by hand'})}\n`, {flag: 'a'});
  await box.ok(['up']);
  await hook.got(1);
  expect(hook.requests[0]?.body).toContain('by hand');
});

async function controllerOf(home: string): Promise<{readonly pid: number}> {
  const text = await readFile(join(home, 'run', 'controller.json'), 'utf8');
  return (JSON.parse(text) as {readonly identity: {readonly pid: number}}).identity;
}

async function filesWith(folder: string, text: string): Promise<readonly string[]> {
  const entries = await readdir(folder, {recursive: true, withFileTypes: true});
  const files = entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name));
  expect(files.length).toBeGreaterThan(5);
  const found = await Promise.all(files.map(async file => ((await readFile(file)).includes(text) ? [file] : [])));
  return found.flat();
}
