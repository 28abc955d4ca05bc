/** Workers as processes of this machine. */
import {describeError} from '../../api/errors.js';
import {formatVersion} from '../../api/types.js';
import type {ProcessIdentity} from '../../api/types.js';
import type {Hello} from '../../protocol/control.js';
import {ControlConnection} from '../../protocol/control-client.js';
import {readLaunchRecords, removeLaunchRecord} from '../../registry/launch-records.js';
import type {LaunchRecord} from '../../registry/launch-records.js';
import {controlSocketPath, statePaths} from '../../registry/paths.js';
import {findWorkers, isSame} from '../../registry/processes.js';
import type {FoundWorker} from '../../registry/processes.js';
import {connectUnix} from '../connect.js';
import type {Discovery, LaunchOutcome, LaunchRequest, Remains, Runtime} from '../runtime.js';
import {launchWorker, keepRecord} from './launch.js';
import {ensureProgram} from './program.js';
import {ProcessWorker} from './worker.js';

export interface ProcessRuntimeOptions {
  readonly home: string;
  /** The built program, copied into the state folder before the first launch. */
  readonly programFolder: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const helloTimeoutMs = 1000;

export class ProcessRuntime implements Runtime {
  readonly #options: ProcessRuntimeOptions;
  #program: Promise<string> | undefined;

  constructor(options: ProcessRuntimeOptions) {
    this.#options = options;
  }

  async discover(): Promise<Discovery> {
    const {home} = this.#options;
    const {records} = readLaunchRecords(home);
    const found = await findWorkers(home);
    const byUid = new Map(found.map(f => [f.uid, f]));
    const recorded = new Set(records.map(r => r.uid));
    const [looked, strays] = await Promise.all([
      Promise.all(records.map(record => this.#look(record, byUid.get(record.uid)))),
      Promise.all(found.filter(f => !recorded.has(f.uid)).map(f => this.#stray(f))),
    ]);
    const workers = [...looked, ...strays].filter(one => one instanceof ProcessWorker);
    const remains = looked.filter((one): one is Remains => !(one instanceof ProcessWorker));
    return {workers, remains};
  }

  async launch(request: LaunchRequest): Promise<LaunchOutcome> {
    const {home, programFolder, environment} = this.#options;
    try {
      this.#program ??= ensureProgram(home, programFolder);
      return await launchWorker(request, {home, environment, program: await this.#program});
    } catch (error) {
      this.#program = undefined;
      const message = `cannot start ${request.config.name}: ${describeError(error)}`;
      return {type: 'failed', reason: 'LaunchFailed', message};
    }
  }

  async forget(aiId: string): Promise<void> {
    const {home} = this.#options;
    const identity = readLaunchRecords(home).records.find(record => record.aiId === aiId)?.identity;
    if (!identity || !(await isSame(identity))) await removeLaunchRecord(home, aiId);
  }

  async #look(record: LaunchRecord, found: FoundWorker | undefined): Promise<ProcessWorker | Remains> {
    // An intent has no pid yet; the uid in the process's arguments tells which one it became.
    const identity = record.identity ?? found?.identity;
    if (!identity || !(await isSame(identity))) return remainsOf(record);
    const answer = await sayHello(record);
    return new ProcessWorker({
      instance: {uid: record.uid, identity, startedAt: record.startedAt},
      hello: answer?.hello ?? helloOf(record, identity),
      host: record.host,
      controlPath: record.controlPath,
      log: {path: statePaths(this.#options.home).log(record.aiId), offset: record.logOffset ?? 0},
      control: answer?.control,
      remember: keepRecord(this.#options.home, {...record, identity, state: 'running'}, record.state === 'running'),
    });
  }

  /** A worker of ours whose record is lost: it knows itself what it runs, and its record is written anew. */
  async #stray({aiId, uid, identity}: FoundWorker): Promise<ProcessWorker | undefined> {
    const {home, environment} = this.#options;
    const controlPath = controlSocketPath(home, aiId, environment);
    const answer = await sayHello({controlPath, uid});
    if (!answer) return undefined;
    const {hello, control} = answer;
    const {fleet, namespace, port, generation, specHash, declared} = hello;
    const startedAt = new Date().toISOString();
    const who = {aiId, uid, identity, name: hello.name, component: hello.component, fleet, namespace};
    const runs = {host: hello.host, port, controlPath, generation, specHash, declared, startedAt};
    const record: LaunchRecord = {formatVersion, ...who, ...runs, state: 'running'};
    const log = {path: statePaths(home).log(aiId), offset: 0};
    const instance = {uid, identity, startedAt};
    const remember = keepRecord(home, record);
    return new ProcessWorker({instance, hello, host: hello.host, controlPath, log, control, remember});
  }
}

async function sayHello(
  record: Pick<LaunchRecord, 'controlPath' | 'uid'>,
): Promise<{control: ControlConnection; hello: Hello} | undefined> {
  let control: ControlConnection | undefined;
  try {
    control = new ControlConnection(await connectUnix(record.controlPath, {timeoutMs: helloTimeoutMs}));
    const reply = await control.request({type: 'hello'}, {timeoutMs: helloTimeoutMs});
    if (reply.ok && reply.hello?.uid === record.uid) return {control, hello: reply.hello};
  } catch {
    // Hung, or just coming up: it is ours all the same, and probes decide about it.
  }
  control?.close();
  return undefined;
}

/** What a worker that does not answer would say, as far as its launch record knows. */
function helloOf(record: LaunchRecord, identity: ProcessIdentity): Hello {
  const {uid, port, aiId, name, component, host, fleet, namespace, generation, specHash, declared} = record;
  return {
    name,
    component,
    host,
    uid,
    pid: identity.pid,
    port,
    aiId,
    fleet,
    namespace,
    generation,
    specHash,
    declared,
    choice: {provider: 'unknown', type: 'offline', model: 'unknown'},
    draining: false,
    usage: {requests: 0, inputTokens: 0, outputTokens: 0},
  };
}

function remainsOf({aiId, name, namespace, fleet, component, port}: LaunchRecord): Remains {
  return {aiId, name, namespace, fleet, component, port, exit: undefined};
}
