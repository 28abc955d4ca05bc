import {mkdtemp, readFile, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import type {CommandDestination} from '../../src/api/notifications.js';
import {send} from '../../src/notify/send.js';
import {event, world} from './support.js';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'tk-notify-'))));
afterEach(() => rm(folder, {recursive: true, force: true}));

/** A program of a test: Node with this text. */
async function program(text: string): Promise<CommandDestination> {
  const file = join(folder, 'program.mjs');
  await writeFile(file, `import {readFileSync, writeFileSync} from 'node:fs';\n${text}`);
  return {type: 'command', argv: [process.execPath, file, '{{reason}}', '{{message}}'], timeoutSeconds: 20, env: {}};
}

const about = {fleet: {namespace: 'default', name: 'dev'}, revision: 'abc', repositoryUrl: undefined};
const message = {...about, event: event(), leftOut: 2};

function run(to: CommandDestination, deps = world(), signal = new AbortController().signal): Promise<void> {
  return send(to, message, {deps, envFile: undefined, signal, reported: new Map()});
}

test('gets arguments, the event on standard input, and a small environment of its own', async () => {
  const deps = world();
  deps.secrets.set('TOKEN', 's3cret');
  const out = join(folder, 'out.json');
  const to = await program(
    `writeFileSync(${JSON.stringify(out)}, JSON.stringify({args: process.argv.slice(2), input: readFileSync(0, 'utf8'), env: process.env}));`,
  );
  await run({...to, env: {TOKEN: {env: 'TOKEN'}, COLOUR: 'red'}}, deps);
  const seen = JSON.parse(await readFile(out, 'utf8')) as {args: string[]; input: string; env: Record<string, string>};
  expect(seen.args).toEqual(['Exited', 'pid 7 ended by "SIGKILL"']);
  expect(JSON.parse(seen.input)).toEqual({...event(), leftOut: 2});
  expect(seen.env).toMatchObject({
    ...{TOKEN: 's3cret', COLOUR: 'red', TEKTON_REASON: 'Exited', TEKTON_SPECIALIST: 'athena'},
    ...{TEKTON_FLEET: 'dev', TEKTON_NAMESPACE: 'default', TEKTON_TYPE: 'Warning', TEKTON_LEFT_OUT: '2'},
    TEKTON_REVISION: 'abc',
  });
  expect(seen.env).not.toHaveProperty('SECRET_OF_THE_CONTROLLER');
});

test('a command that fails says how, and its output without secrets', async () => {
  const deps = world();
  deps.secrets.set('TOKEN', 'plain-words');
  const to = await program(`console.error('bad', process.env.TOKEN); process.exit(3);`);
  await expect(run({...to, env: {TOKEN: {env: 'TOKEN'}}}, deps)).rejects.toThrow('exit code 3: bad ***');
});

test('a program that is not there is said', async () => {
  const to = {type: 'command', argv: [join(folder, 'none')], timeoutSeconds: 20, env: {}} as const;
  await expect(run(to)).rejects.toThrow(/ENOENT/);
});

test('one that writes without end is not waited on, nor kept', async () => {
  const deps = world();
  const to = await program(`for (let n = 0; n < 2000; n++) console.log('x'.repeat(1000));`);
  await run(to, deps);
  expect(deps.log.lines.join('').length).toBeLessThan(4000);
});

test('at its time limit it is killed with what it started, though it listens to no signal', async () => {
  const pids = join(folder, 'pids');
  const to = await program(`
    import {spawn} from 'node:child_process';
    process.on('SIGTERM', () => {});
    const child = spawn(process.execPath, ['-e', "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up')"]);
    child.stdout.once('data', () => writeFileSync(${JSON.stringify(pids)}, process.pid + ' ' + child.pid));
    setInterval(() => {}, 1000);
  `);
  await expect(run({...to, timeoutSeconds: 1.5})).rejects.toThrow('it took longer than 1.5 s and was killed');
  const started = (await readFile(pids, 'utf8')).split(' ').map(Number);
  expect(started).toHaveLength(2);
  for (const pid of started) await gone(pid);
});

async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    // A zombie that nobody reaps in a container is gone, too.
    const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
    if (/\) Z/.test(state)) return;
    await delay(20);
  }
}
