/** Private state folders and real child processes for the tests of this folder. */
import {spawn} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, rmSync} from 'node:fs';
import {createServer} from 'node:net';
import type {Server} from 'node:net';
import {tmpdir} from 'node:os';
import {join, resolve} from 'node:path';
import {createInterface} from 'node:readline';
import {afterAll, afterEach} from '@jest/globals';
import {build} from 'esbuild';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

export function tempHome(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tekton-registry-'));
  cleanups.push(() => rmSync(folder, {recursive: true, force: true}));
  return join(folder, 'home');
}

/** Ports that nobody uses right now, far from those that other tests take by default. */
export function somePorts(count: number): {readonly from: number; readonly to: number} {
  const from = 20_000 + (process.pid % 60) * 200;
  return {from, to: from + count - 1};
}

export async function listen(port: number, host = '127.0.0.1'): Promise<Server> {
  const server = createServer();
  server.listen(port, host);
  await once(server, 'listening');
  cleanups.push(() => new Promise(done => server.close(done)));
  return server;
}

export interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  /** The next line that it prints; undefined when it has ended. */
  line(): Promise<string | undefined>;
  /** Everything that it still prints, once it has ended. */
  rest(): Promise<readonly string[]>;
  kill(signal: NodeJS.Signals): Promise<void>;
}

/** A process of ours, killed after the test at the latest. */
export function start(command: string, args: readonly string[], env: Record<string, string> = {}): Child {
  const child = spawn(command, args, {stdio: ['pipe', 'pipe', 'inherit'], env: {...process.env, ...env}});
  const ended = once(child, 'exit');
  const lines = createInterface({input: child.stdout})[Symbol.asyncIterator]();
  cleanups.push(async () => {
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await ended;
  });
  const line = async (): Promise<string | undefined> => {
    const next = await lines.next();
    return next.done === true ? undefined : next.value;
  };
  return {
    process: child,
    pid: child.pid ?? -1,
    line,
    rest: async () => {
      const all: string[] = [];
      for (let next = await line(); next !== undefined; next = await line()) all.push(next);
      await ended;
      return all;
    },
    kill: async signal => {
      child.kill(signal);
      await ended;
    },
  };
}

let built: Promise<string> | undefined;

afterAll(async () => {
  if (built !== undefined) rmSync(await built, {force: true});
});

/** Runs `test/registry/child.ts` in a process of its own; `order` is what it is to do. */
export async function startChild(order: object): Promise<Child> {
  built ??= buildChild();
  return start(process.execPath, [await built, JSON.stringify(order)]);
}

/** Stands below the project, so that the packages that are not bundled are found. */
async function buildChild(): Promise<string> {
  const outfile = resolve(`node_modules/.cache/tekton-ai-tests/registry-child-${process.pid}.mjs`);
  await build({
    entryPoints: [resolve('test/registry/child.ts')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['fs-native-extensions', 'proper-lockfile', 'execa'],
    outfile,
    logLevel: 'error',
  });
  return outfile;
}
