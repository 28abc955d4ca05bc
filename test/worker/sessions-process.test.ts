/** Sessions on disk under workers that are killed and replaced: real processes, one state folder. */
import {spawn} from 'node:child_process';
import {mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, beforeEach, expect, it} from '@jest/globals';
import {ControlConnection} from '../../src/protocol/control-client.js';
import type {LaunchMessage} from '../../src/protocol/control.js';
import {connectUnix} from '../../src/runtime/connect.js';
import {buildProgram, freePort} from '../runtime/process/world.js';
import {Client, configOf, until} from './harness.js';

let programFolder = '';
let program = '';
let home = '';
let port = 0;
const closing: {close(): void}[] = [];

beforeAll(async () => {
  programFolder = await buildProgram();
  program = join(programFolder, 'main.cjs');
});
afterAll(() => rmSync(programFolder, {recursive: true}));

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'tekton-sessions-'));
  port = await freePort();
  const rules = `rules:
  - {contains: hold, reply: held, delayMs: 300}
  - {contains: forever, reply: never, delayMs: 600000}
  - {reply: answer}
`;
  writeFileSync(join(home, 'answers.yaml'), rules);
});
afterEach(async () => {
  for (const one of closing.splice(0)) one.close();
  for (const pid of workers()) process.kill(pid, 'SIGKILL');
  await until(() => workers().length === 0, 'the workers to be gone');
  rmSync(home, {recursive: true});
});

/** All living workers of this test, known by their environment. */
function workers(): readonly number[] {
  return readdirSync('/proc').flatMap(name => {
    try {
      const ours = readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(`TEKTON_AI_HOME=${home}`);
      return ours && !readFileSync(`/proc/${name}/stat`, 'latin1').includes(') Z ') ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

const env = (): Record<string, string> => ({PATH: process.env['PATH'] ?? '', TEKTON_AI_HOME: home});

function launchOf(uid: string): LaunchMessage {
  const config = configOf({
    provider: {name: 'scripted', type: 'scripted', script: join(home, 'answers.yaml')},
    sessions: {maxTurns: 50, idleMinutes: 60, persist: true},
    graceMs: 20_000,
  });
  return {uid, port, home, controlPath: join(home, `${uid}.sock`), config};
}

async function start(uid: string): Promise<number> {
  const child = spawn(process.execPath, [program, '--ai-id', 'athena-ai', '--uid', uid], {
    stdio: ['pipe', 'ignore', 'ignore', 'pipe'],
    detached: true,
    env: env(),
  });
  child.stdin?.end(JSON.stringify(launchOf(uid)));
  await new Promise(resolve => child.stdio[3]?.once('data', resolve));
  return child.pid ?? 0;
}

async function replace(old: string, uid: string): Promise<void> {
  const control = new ControlConnection(await connectUnix(join(home, `${old}.sock`)));
  closing.push(control);
  const launch: LaunchMessage = {...launchOf(uid), inherits: true};
  const start = {program, execPath: process.execPath, cwd: home, env: env(), logPath: join(home, 'log')};
  const reply = await control.request({type: 'replace', ...start, launch, startupMs: 20_000});
  expect(reply).toMatchObject({ok: true});
}

function client(): Client {
  const made = new Client(port);
  closing.push(made);
  return made;
}

async function turns(): Promise<unknown> {
  const {sessions} = await client().send({type: 'sessions'}).line();
  return (sessions as {name: string; turns: number}[]).map(({name, turns: count}) => [name, count]);
}

it('loses no answer that was given when a worker is killed', async () => {
  const pid = await start('u0');
  const talk = client();
  const used: number[] = [];
  for (const content of ['one', 'two']) {
    const {usage} = await talk.send({content, session: 's'}).line();
    used.push((usage as {input_tokens: number}).input_tokens);
  }
  talk.send({content: 'forever', session: 's', request_id: 1});
  talk.send({type: 'ping'});
  expect(await talk.line()).toMatchObject({type: 'pong'});
  process.kill(pid, 'SIGKILL');
  await until(() => workers().length === 0, 'the worker to be gone');

  await start('u1');
  expect(await turns()).toEqual([['s', 2]]);
  const {usage} = await client().send({content: 'six', session: 's'}).line();
  // The provider got all that was said before, and not only the last exchange.
  const [first = 0, second = 0] = used;
  expect(second).toBeGreaterThan(first);
  expect((usage as {input_tokens: number}).input_tokens).toBeGreaterThan(second);
}, 30_000);

it('knows after a handover what both workers were told, to the last answer of the old one', async () => {
  await start('u0');
  const stays = client();
  await stays.send({content: 'one', session: 's'}).line();
  await replace('u0', 'u1');
  stays.send({content: 'hold this', session: 's'}, {content: 'then this', session: 's'});
  expect(await client().send({content: 'at the new one', session: 's'}).line()).toMatchObject({content: 'answer'});
  expect(await stays.line()).toMatchObject({content: 'held'});
  expect(await stays.line()).toMatchObject({content: 'answer'});
  await until(() => workers().length === 1, 'the retired worker to be gone');
  expect(await turns()).toEqual([['s', 4]]);
  const [file = ''] = readdirSync(join(home, 'sessions/athena-ai'));
  const lines = readFileSync(join(home, 'sessions/athena-ai', file), 'utf8')
    .trim()
    .split('\n');
  expect(lines).toHaveLength(4);
  expect(statSync(join(home, 'sessions/athena-ai', file)).mode & 0o777).toBe(0o600);
}, 30_000);
