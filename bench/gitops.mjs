/** An environment that follows a branch: from a push to the worker, at rest, and with many fleets in one repository. */
import {spawnSync} from 'node:child_process';
import {createHmac} from 'node:crypto';
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {environment} from './floor.mjs';

const program = 'dist/tekton-ai.js';
const secret = 'of this benchmark alone';
/** Long enough for two looks at the remote, ms. */
const restMs = 65_000;
const ticksPerSecond = 100;

/** Figures of a repository with `fleets` fleets of `size` specialists each. */
export async function gitopsBench({fleets = 20, size = 5, pushes = 10} = {}) {
  const follower = await Follower.start({fleets, size});
  try {
    const pushed = [];
    const touched = [];
    const raw = [];
    for (let i = 1; i <= pushes; i++) {
      const before = follower.records();
      pushed.push(await follower.push(i));
      touched.push(follower.records().filter((record, at) => record !== before[at]).length);
      raw.push(follower.rawFetch());
    }
    const restarted = follower.restarts();
    const withGit = await follower.restCpu();
    follower.stop();
    const withFiles = await restWithFiles({fleets, size});
    return {fleets, size, pushed, raw, touched, restarted, withGit, withFiles};
  } finally {
    follower.remove();
  }
}

export function gitopsText({machine, fleets, size, pushed, raw, touched, restarted, withGit, withFiles}) {
  const p50 = Math.round(median(pushed));
  return [
    '## Following a branch',
    '',
    `${fleets} fleets of ${size} specialists in one repository, interval 30 s, told by a webhook. ${machine}.`,
    '',
    '| what | measured | beside |',
    '|---|---|---|',
    `| push → worker reconfigured, p50 of ${pushed.length} | ${p50} ms (bar 1000) | \`git ls-remote\` and \`git fetch\` by hand: ${Math.round(median(raw))} ms: ${(p50 / median(raw)).toFixed(1)} × |`,
    `| the slowest of them | ${Math.round(Math.max(...pushed))} ms | |`,
    `| fleet records written by a change of one line | ${Math.max(...touched)} of ${fleets} | bar 1 |`,
    `| workers restarted by all of them | ${restarted} of ${fleets * size} | bar 0 |`,
    `| CPU of the controller at rest, git included | ${withGit.toFixed(2)} % | the same fleets from files: ${withFiles.toFixed(2)} % |`,
    '',
  ];
}

class Follower {
  static async start({fleets, size}) {
    const follower = new Follower(fleets, size);
    follower.write(0);
    follower.git(follower.folder, 'init', '-q', '--bare', '-b', 'main', 'origin.git');
    follower.git(follower.work, 'init', '-q', '-b', 'main');
    follower.git(follower.work, 'remote', 'add', 'origin', join(follower.folder, 'origin.git'));
    follower.commit('begin');
    follower.hookPort = await freePort();
    const source = {
      apiVersion: 'tekton.ai/v1alpha1',
      kind: 'GitSource',
      metadata: {name: 'bench'},
      spec: {
        url: `file://${join(follower.folder, 'origin.git')}`,
        branch: 'main',
        path: 'fleets',
        intervalSeconds: 30,
        webhook: {port: follower.hookPort, secret: {env: 'BENCH_HOOK'}},
      },
    };
    writeFileSync(join(follower.folder, 'source.yaml'), JSON.stringify(source));
    follower.run('up', '-f', join(follower.folder, 'source.yaml'), '--timeout', '180s');
    return follower;
  }

  constructor(fleets, size) {
    this.fleets = fleets;
    this.size = size;
    this.folder = mkdtempSync(join(tmpdir(), 'tekton-bench-'));
    this.home = join(this.folder, 'state');
    this.work = join(this.folder, 'work');
    mkdirSync(this.work);
  }

  /** `version` makes one specialist of the first fleet differ. */
  write(version) {
    for (let fleet = 0; fleet < this.fleets; fleet++) {
      writeFleet(join(this.work, 'fleets', `f${fleet}.yaml`), fleet, this.size, fleet === 0 ? version : 0);
    }
  }

  commit(message) {
    this.git(this.work, 'add', '-A');
    this.git(this.work, 'commit', '-q', '-m', message);
    this.git(this.work, 'push', '-q', 'origin', 'main');
  }

  /** ms from the end of a push to the controller's word that the worker runs with it. */
  async push(version) {
    const {observedGeneration} = this.first();
    this.write(version);
    this.commit(`version ${version}`);
    const start = performance.now();
    await this.tell();
    await until(() => this.first().observedGeneration > observedGeneration);
    return performance.now() - start;
  }

  async tell() {
    const after = spawnSync('git', ['rev-parse', 'HEAD'], {cwd: this.work, encoding: 'utf8'}).stdout.trim();
    const body = JSON.stringify({
      ref: 'refs/heads/main',
      after,
      repository: {clone_url: 'https://git.example.com/b.git'},
    });
    const signature = `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;
    const response = await fetch(`http://127.0.0.1:${this.hookPort}/hooks/default/bench`, {
      method: 'POST',
      headers: {'content-type': 'application/json', 'x-github-event': 'push', 'x-hub-signature-256': signature},
      body,
    });
    if (!response.ok) throw new Error(`the webhook answered ${response.status}`);
  }

  /** What the two calls that can't be saved take a person, ms. */
  rawFetch() {
    const clone = join(this.folder, 'clone.git');
    const url = `file://${join(this.folder, 'origin.git')}`;
    this.git(this.folder, 'init', '-q', '--bare', clone);
    const start = performance.now();
    this.git(clone, 'ls-remote', url, 'refs/heads/main');
    this.git(clone, 'fetch', '-q', '--depth=1', url, 'refs/heads/main');
    const ms = performance.now() - start;
    rmSync(clone, {recursive: true, force: true});
    return ms;
  }

  first() {
    const status = JSON.parse(readFileSync(join(this.home, 'status', 'default.f0.json'), 'utf8'));
    return status.specialists.find(one => one.name === 'c0-0').status;
  }

  records() {
    return Array.from({length: this.fleets}, (_, i) =>
      readFileSync(join(this.home, 'fleets', `default.f${i}.json`), 'utf8'),
    );
  }

  restarts() {
    const files = readdirSync(join(this.home, 'status')).filter(name => name.startsWith('default.f'));
    const all = files.flatMap(name => JSON.parse(readFileSync(join(this.home, 'status', name), 'utf8')).specialists);
    return all.reduce((sum, {status}) => sum + status.restarts, 0);
  }

  restCpu() {
    return restCpu(this.home);
  }

  run(...args) {
    const env = {...environment, TEKTON_AI_HOME: this.home, BENCH_HOOK: secret};
    const {status, stderr} = spawnSync(process.execPath, [program, ...args], {env, encoding: 'utf8'});
    if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}: ${stderr}`);
  }

  git(cwd, ...args) {
    const env = {...environment, HOME: this.folder, GIT_CONFIG_NOSYSTEM: '1'};
    const identity = ['-c', 'user.name=bench', '-c', 'user.email=bench@example.com'];
    const {status, stderr} = spawnSync('git', [...identity, ...args], {cwd, env, encoding: 'utf8'});
    if (status !== 0) throw new Error(`git ${args.join(' ')} ended with ${status}: ${stderr}`);
  }

  stop() {
    this.run('down', '--timeout', '120s');
  }

  remove() {
    try {
      this.stop();
    } finally {
      rmSync(this.folder, {recursive: true, force: true});
    }
  }
}

async function restWithFiles({fleets, size}) {
  const folder = mkdtempSync(join(tmpdir(), 'tekton-bench-'));
  const env = {...environment, TEKTON_AI_HOME: join(folder, 'state')};
  const files = Array.from({length: fleets}, (_, i) => join(folder, `f${i}.yaml`));
  files.forEach((file, i) => writeFleet(file, i, size, 0));
  const run = (...args) => spawnSync(process.execPath, [program, ...args], {env, encoding: 'utf8'});
  try {
    const {status, stderr} = run('up', ...files.flatMap(file => ['-f', file]), '--timeout', '180s');
    if (status !== 0) throw new Error(stderr);
    return await restCpu(join(folder, 'state'));
  } finally {
    run('down', '--timeout', '120s');
    rmSync(folder, {recursive: true, force: true});
  }
}

/** Per cent of one processor that the controller and the programs that it ran took while nothing happened. */
async function restCpu(home) {
  const {pid} = JSON.parse(readFileSync(join(home, 'run', 'controller.json'), 'utf8')).identity;
  const used = () => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
  };
  await delay(3000);
  const before = used();
  await delay(restMs);
  return ((used() - before) / ticksPerSecond / (restMs / 1000)) * 100;
}

function writeFleet(file, fleet, size, version) {
  mkdirSync(dirname(file), {recursive: true});
  const specialists = Array.from({length: size}, (_, i) => {
    const more = fleet === 0 && i === 0 ? `, parameters: {maxTokens: ${1000 + version}}` : '';
    return `    - {component: c${fleet}-${i}${more}}`;
  });
  const head = ['apiVersion: tekton.ai/v1alpha1', 'kind: Fleet', `metadata: {name: f${fleet}}`, 'spec:'];
  writeFileSync(file, [...head, '  defaults: {provider: offline}', '  specialists:', ...specialists, ''].join('\n'));
}

async function until(condition) {
  for (const deadline = performance.now() + 30_000; performance.now() < deadline;) {
    if (condition()) return;
    await delay(1);
  }
  throw new Error('waited 30 s in vain');
}

function freePort() {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const {port} = server.address();
      server.close(() => resolve(port));
    });
  });
}

function median(list) {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
}
