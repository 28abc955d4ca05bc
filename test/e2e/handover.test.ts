/** Restarts and controllers that come and go, under clients that chat all the time and must notice nothing. */
import {existsSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterEach, expect, it} from '@jest/globals';
import type {SpecialistEntry} from '../../src/api/documents.js';
import {Traffic} from '../worker/traffic.js';
import {conditionText, isAlive, isReady, kill, sandboxes, until, type Sandbox} from './harness.js';

const sandbox = sandboxes();
let scene: Scene;
afterEach(() => scene.close());

const answers = `rules:
  - {contains: slowly, chunks: [so, on], delayMs: 300, chunkDelayMs: 300}
`;

/** A fleet of one, and clients that talk to it. */
class Scene {
  readonly box: Sandbox;
  readonly traffic: Traffic;
  readonly port: number;
  /** Looks at the registry that showed no entry of ours, or another port. */
  readonly gaps: string[] = [];
  #watching = true;
  readonly #watch: Promise<void>;

  private constructor(box: Sandbox, port: number) {
    this.box = box;
    this.port = port;
    this.traffic = new Traffic({host: box.host, port, aiId: 'athena-ai', slow: 'slowly'});
    this.#watch = this.#lookAtRegistry();
  }

  static async open(box: Sandbox): Promise<Scene> {
    await box.write('answers.yaml', answers);
    await declare(box, {LAMP: '0'});
    await box.ok(['up']);
    return new Scene(box, await until('the registry', () => box.registry()['athena-ai']?.port));
  }

  /** Edits what only another process can take over. */
  async edit(env: Readonly<Record<string, string>>): Promise<void> {
    await declare(this.box, env);
  }

  /** Waits until the one that serves was started with `env`, is Ready, and got traffic. */
  async rolledOut(lamp: string): Promise<void> {
    await this.box.untilItem('athena', item => {
      const pid = item.status.instance?.identity.pid ?? 0;
      return isReady(item) && isAlive(pid) && environ(pid).includes(`LAMP=${lamp}`);
    });
    const before = this.traffic.exchanges;
    await until('traffic', () => this.traffic.exchanges > before + 20);
  }

  /** Ends what looks and talks. */
  async close(): Promise<void> {
    this.#watching = false;
    await Promise.all([this.traffic.stop(), this.#watch]);
  }

  /** No exchange failed, nobody was restarted, and of everything one is left. */
  async check(): Promise<void> {
    await this.close();
    expect(this.traffic.failures).toEqual([]);
    expect(this.gaps).toEqual([]);
    expect(this.traffic.exchanges).toBeGreaterThan(20);
    const pid = await this.box.pidOf('athena');
    await until('the predecessors to end', () => this.workers().length === 1);
    expect(this.workers()).toEqual([pid]);
    expect((await this.box.item('athena')).status).toMatchObject({restarts: 0, port: this.port});
    const {uid} = this.box.registry()['athena-ai']?.metadata ?? {};
    const sockets = readdirSync(join(this.box.home, 'run')).filter(name => /^athena.*\.sock$/.test(name));
    expect(sockets).toEqual([`athena-ai.${String(uid).slice(0, 8)}.sock`]);
  }

  /** Pids of athena's processes. */
  workers(): readonly number[] {
    return readdirSync('/proc')
      .map(Number)
      .filter(pid => pid > 0 && isAlive(pid) && environ(pid).includes(`TEKTON_AI_HOME=${this.box.home}`))
      .filter(pid => read(`/proc/${pid}/cmdline`).split('\0').includes('athena-ai'));
  }

  async #lookAtRegistry(): Promise<void> {
    while (this.#watching) {
      const entry = this.box.registry()['athena-ai'];
      if (entry?.port !== this.port) this.gaps.push(JSON.stringify(entry ?? 'no entry'));
      await delay(2);
    }
  }
}

function declare(box: Sandbox, env: Readonly<Record<string, string>>): Promise<void> {
  const athena: SpecialistEntry = {component: 'athena', provider: 'script', env, concurrency: {max: 16, queue: 64}};
  const providers = {script: {type: 'scripted' as const, script: './answers.yaml'}};
  return box.declare({specialists: [athena], providers});
}

function environ(pid: number): readonly string[] {
  return read(`/proc/${pid}/environ`).split('\0');
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it has ended
  }
}

async function killController(box: Sandbox): Promise<void> {
  const pid = box.controllerPid();
  kill(pid, 'SIGKILL');
  await until('the controller to end', () => !isAlive(pid));
}

it('rolls out one edit after the other without a client noticing', async () => {
  scene = await Scene.open(await sandbox());
  for (const lamp of ['1', '2', '3', '4', '5']) {
    await scene.edit({LAMP: lamp});
    await scene.rolledOut(lamp);
  }
  const events = (await scene.box.events()).filter(event => event.aiId === 'athena-ai');
  const restarted = events.filter(event => event.reason === 'Restarted');
  expect(restarted).toHaveLength(5);
  expect(restarted[0]?.message).toMatch(/^handed over to pid \d+: a running worker cannot change its env\.LAMP$/);
  expect(events.filter(event => event.type === 'Warning')).toEqual([]);
  await scene.check();
}, 90_000);

it('does so with a controller that never launched the worker', async () => {
  scene = await Scene.open(await sandbox());
  for (const lamp of ['1', '2']) {
    await killController(scene.box);
    await scene.box.ok(['up']);
    await scene.edit({LAMP: lamp});
    await scene.rolledOut(lamp);
  }
  await scene.check();
}, 90_000);

/** Each is a moment of a handover, told by what can be seen of it from outside. */
const moments: readonly [string, (scene: Scene, lamp: string) => boolean][] = [
  ['the edit has been read', ({box}) => existsSync(join(box.home, 'status'))],
  ['the successor has been forked', scene => scene.workers().length > 1],
  [
    'the successor runs our program',
    (scene, lamp) => scene.workers().some(pid => environ(pid).includes(`LAMP=${lamp}`)),
  ],
  ['the successor has its control socket', scene => sockets(scene).length > 1],
  ['the launch record names the successor', (scene, lamp) => environ(recordedPid(scene)).includes(`LAMP=${lamp}`)],
];

function sockets({box}: Scene): readonly string[] {
  return readdirSync(join(box.home, 'run')).filter(name => /^athena.*\.sock$/.test(name));
}

function recordedPid({box}: Scene): number {
  const text = readFileSync(join(box.home, 'run/athena-ai.json'), 'utf8');
  return (JSON.parse(text) as {readonly identity?: {readonly pid: number}}).identity?.pid ?? 0;
}

it('survives a controller that is killed at any moment of a handover', async () => {
  scene = await Scene.open(await sandbox());
  let lamp = 0;
  for (const [name, isNow] of moments) {
    lamp += 1;
    const controller = scene.box.controllerPid();
    await scene.edit({LAMP: String(lamp)});
    const deadline = performance.now() + 10_000;
    while (!isNow(scene, String(lamp))) {
      if (performance.now() > deadline) throw new Error(`waited in vain until ${name}`);
      await delay(1);
    }
    kill(controller, 'SIGKILL');
    await until('the controller to end', () => !isAlive(controller));
    await scene.box.ok(['up']);
    await scene.rolledOut(String(lamp));
  }
  await scene.check();
}, 120_000);

it('leaves the old process serving when the new one does not come up, and says so', async () => {
  scene = await Scene.open(await sandbox());
  const {box} = scene;
  const before = await box.item('athena');
  const [folder = ''] = readdirSync(join(box.home, 'bin'));
  const program = join(box.home, 'bin', folder, 'main.cjs');
  const intact = readFileSync(program);
  writeFileSync(program, `console.error('worn out'); process.exit(3);`);
  await scene.edit({LAMP: '1'});
  const event = await box.untilEvent('RolloutFailed', 'athena-ai');
  expect(event.message).toBe('cannot replace athena: it ended with exit code 3: worn out; the old one serves on');
  const failed = await box.untilItem('athena', item => conditionText(item, 'Stalled').startsWith('True'));
  expect(conditionText(failed, 'Stalled')).toContain('RolloutFailed cannot replace athena');
  expect(conditionText(failed, 'Progressing')).toContain('False RolloutFailed cannot replace athena');
  expect(isReady(failed)).toBe(true);
  expect(failed.status).toMatchObject({observedGeneration: 1, instance: before.status.instance});
  const applied = await box.run(['apply', '--wait']);
  expect(applied.exitCode).toBe(3);
  expect(applied.stderr).toContain('RolloutFailed');
  writeFileSync(program, intact);
  await scene.rolledOut('1');
  expect((await box.events()).filter(({reason}) => reason === 'RolloutFailed')).toHaveLength(1);
  await scene.check();
}, 90_000);

it('twenty times in a row leaves one process and one socket', async () => {
  scene = await Scene.open(await sandbox());
  for (let n = 1; n <= 20; n++) {
    await scene.edit({LAMP: String(n)});
    await scene.rolledOut(String(n));
  }
  await scene.check();
  const files = readdirSync(join(scene.box.home, 'run')).filter(
    name => name.startsWith('athena') || name.startsWith('.'),
  );
  expect(files.filter(name => !name.endsWith('.sock'))).toEqual(['athena-ai.json']);
}, 120_000);

it('stops a predecessor that is still with its clients, too', async () => {
  scene = await Scene.open(await sandbox());
  await scene.edit({LAMP: '1'});
  await until('a predecessor beside its successor', () => scene.workers().length > 1);
  const stopping = scene.traffic.stop();
  await scene.box.ok(['down']);
  expect(scene.workers()).toEqual([]);
  await stopping;
}, 60_000);
