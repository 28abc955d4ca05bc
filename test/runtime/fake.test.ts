/** The contract of runtimes, kept by the fake that the reconciler is tested with. */
import {genericExpertise} from '../../src/api/defaults.js';
import type {WorkerConfig} from '../../src/protocol/control.js';
import type {Clock} from '../../src/reconciler/ports.js';
import type {LaunchRequest, Worker} from '../../src/runtime/runtime.js';
import {runtimeContract} from '../contract/runtime.js';
import type {Chat, RuntimeWorld} from '../contract/runtime.js';
import {FakeRuntime} from '../fakes/runtime.js';
import type {FakeProcess} from '../fakes/runtime.js';

const clock: Clock = {
  iso: () => new Date().toISOString(),
  monotonic: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

class FakeWorld implements RuntimeWorld {
  readonly #runtime = new FakeRuntime(clock);
  #requests = 0;

  runtime(): FakeRuntime {
    return this.#runtime;
  }

  async request(changes: Partial<WorkerConfig> = {}): Promise<LaunchRequest> {
    const n = ++this.#requests;
    const config: WorkerConfig = {
      formatVersion: 1,
      aiId: 'athena-ai',
      name: 'athena',
      component: 'athena',
      namespace: 'default',
      fleet: 'dev',
      generation: 1,
      specHash: 'hash',
      declared: {model: 'm1'},
      host: '127.0.0.1',
      provider: {name: 'offline', type: 'offline'},
      model: 'm1',
      choice: {provider: 'offline', type: 'offline', model: 'm1'},
      parameters: {},
      expertise: genericExpertise('athena'),
      concurrency: {max: 4, queue: 4},
      sessions: {maxTurns: 5, idleMinutes: 5, persist: false},
      graceMs: 5000,
      ...changes,
    };
    return {uid: `uid-${n}`, port: 45000 + n, config, env: {}, startupMs: 1000};
  }

  async failing(): Promise<{request: LaunchRequest; stderr: string}> {
    this.#runtime.scripts.set('athena', [{type: 'fail', code: 1, stderr: ['cannot listen']}]);
    return {request: await this.request(), stderr: 'cannot listen'};
  }

  async failingSuccessor({port}: Worker): Promise<{request: LaunchRequest; stderr: string}> {
    const {request, stderr} = await this.failing();
    return {request: {...request, port}, stderr};
  }

  async signal(worker: Worker, signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT' | 'SIGTERM'): Promise<void> {
    const process = this.#processOf(worker);
    if (signal === 'SIGKILL') process.end({signal});
    else if (signal === 'SIGTERM') process.terminateByHand();
    else process.hung = signal === 'SIGSTOP';
  }

  async configureByHand(worker: Worker, config: WorkerConfig): Promise<void> {
    this.#processOf(worker).configureByHand(config);
  }

  async loseRecord(aiId: string): Promise<void> {
    this.#runtime.loseRecord(aiId);
  }

  async occupy(port: number): Promise<void> {
    this.#runtime.occupied.add(port);
  }

  async chat(worker: Worker): Promise<Chat> {
    const process = this.#processOf(worker);
    process.chats += 1;
    let finish: () => void = () => undefined;
    const finished = new Promise<boolean>(resolve => {
      finish = () => {
        process.chats -= 1;
        resolve(true);
        if (process.ending && process.chats === 0) process.end({code: 0});
      };
    });
    return {finish, answered: Promise.race([finished, process.exited.then(() => false)])};
  }

  async close(): Promise<void> {
    for (const process of this.#runtime.processes) process.end({signal: 'SIGKILL'});
  }

  #processOf({instance}: Worker): FakeProcess {
    const process = this.#runtime.processes.find(p => p.instance.uid === instance.uid);
    if (!process) throw new Error(`no process of ${instance.uid}`);
    return process;
  }
}

runtimeContract('FakeRuntime', async () => new FakeWorld());
