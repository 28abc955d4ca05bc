/** A generated fleet in a private state folder, driven through the real program. */
import {spawn, spawnSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {connect} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {environment} from './floor.mjs';

const program = 'dist/tekton-ai.js';

export class Fleet {
  constructor(count) {
    this.count = count;
    this.folder = mkdtempSync(join(tmpdir(), 'tekton-bench-'));
    this.home = join(this.folder, 'state');
    this.file = join(this.folder, 'tekton-ai.yaml');
    this.write(0);
  }

  /** `version` makes one specialist's declaration differ. */
  write(version) {
    const specialists = Array.from({length: this.count}, (_, i) =>
      i === 0 ? `    - {component: c0, parameters: {maxTokens: ${1000 + version}}}` : `    - component: c${i}`,
    );
    const head = ['apiVersion: tekton.ai/v1alpha1', 'kind: Fleet', 'metadata: {name: bench}', 'spec:'];
    writeFileSync(
      this.file,
      [...head, '  defaults: {provider: offline}', '  specialists:', ...specialists, ''].join('\n'),
    );
  }

  run(...args) {
    const env = {...environment, TEKTON_AI_HOME: this.home};
    const result = spawnSync(process.execPath, [program, ...args], {env, encoding: 'utf8', maxBuffer: 64 << 20});
    return result;
  }

  /** ms of one command. */
  time(...args) {
    const start = performance.now();
    this.run(...args);
    return performance.now() - start;
  }

  apply() {
    return this.timed('apply', '-f', this.file, '--wait', '--timeout', '120s');
  }

  up() {
    return this.timed('up', '-f', this.file, '--timeout', '120s');
  }

  timed(...args) {
    const start = performance.now();
    const {status, stderr} = this.run(...args);
    if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}: ${stderr}`);
    return performance.now() - start;
  }

  /** Parsed only where it is another than at the last look: who waits for a change looks every millisecond. */
  status() {
    const file = join(this.home, 'status', 'default.bench.json');
    const {ino, mtimeMs} = statSync(file);
    const version = `${ino} ${mtimeMs}`;
    if (version !== this.seen) this.specialists = JSON.parse(readFileSync(file, 'utf8')).specialists;
    this.seen = version;
    return this.specialists;
  }

  pids() {
    return Object.fromEntries(this.status().map(s => [s.aiId, s.status.instance?.identity.pid]));
  }

  one(i) {
    return this.status().find(s => s.aiId === `c${i}-ai`);
  }

  /** ms until a killed worker's successor is Ready, as the status file says. */
  async killOne(i) {
    const before = this.one(i).status.instance;
    const start = performance.now();
    process.kill(before.identity.pid, 'SIGKILL');
    await until(() => {
      const {status} = this.one(i);
      return status.phase === 'Ready' && status.instance.uid !== before.uid;
    });
    return performance.now() - start;
  }

  /** ms from the save to the controller's word that the worker runs with it. */
  async edit(i) {
    const {observedGeneration} = this.one(0).status;
    const start = performance.now();
    this.write(i + 1);
    await until(() => this.one(0).status.observedGeneration > observedGeneration);
    return performance.now() - start;
  }

  /** ms from the start of a new controller to all in its hands; the old one was killed before. */
  async replaceController() {
    const record = join(this.home, 'run', 'controller.json');
    const old = JSON.parse(readFileSync(record, 'utf8'));
    const pids = JSON.stringify(this.pids());
    process.kill(old.identity.pid, 'SIGKILL');
    const start = performance.now();
    const env = {...environment, TEKTON_AI_HOME: this.home};
    spawn(process.execPath, [program, 'controller'], {env, detached: true, stdio: 'ignore'}).unref();
    await until(() => {
      const now = JSON.parse(readFileSync(record, 'utf8'));
      if (now.identity.pid === old.identity.pid) return false;
      const {syncedAt} = JSON.parse(readFileSync(join(this.home, 'status', 'default.bench.json'), 'utf8'));
      return syncedAt >= now.startedAt;
    });
    const ms = performance.now() - start;
    if (JSON.stringify(this.pids()) !== pids) throw new Error('a new controller restarted something');
    return ms;
  }

  /** Round trips in µs, one after the other on one connection. */
  async pings(times) {
    const socket = connect({host: '127.0.0.1', port: this.one(1).status.port, noDelay: true});
    await new Promise(resolve => socket.once('connect', resolve));
    const us = [];
    for (let i = 0; i < times; i++) {
      const start = process.hrtime.bigint();
      socket.write('{"type":"ping"}\n');
      await new Promise(resolve => socket.once('data', resolve));
      us.push(Number(process.hrtime.bigint() - start) / 1000);
    }
    socket.destroy();
    return us;
  }

  /** Linux only: from /proc. */
  memory() {
    const {pid} = JSON.parse(readFileSync(join(this.home, 'run', 'controller.json'), 'utf8')).identity;
    const kb = (file, name) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(file, 'utf8'))?.[1] ?? 0);
    const worker = `/proc/${this.pids()['c7-ai'] ?? this.pids()['c0-ai']}/smaps_rollup`;
    const uss = kb(worker, 'Private_Clean') + kb(worker, 'Private_Dirty');
    return {rssMb: kb(`/proc/${pid}/status`, 'VmRSS') / 1024, workerMb: uss / 1024};
  }

  remove() {
    this.run('down', '--timeout', '120s');
    rmSync(this.folder, {recursive: true, force: true});
  }
}

async function until(condition) {
  for (const deadline = performance.now() + 30_000; performance.now() < deadline;) {
    try {
      if (condition()) return;
    } catch {
      // a file that is not there yet
    }
    await new Promise(resolve => setTimeout(resolve, 1));
  }
  throw new Error('waited 30 s in vain');
}
