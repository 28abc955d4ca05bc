/** Workers as processes of this machine. */
import {describeError} from '../../api/errors.js';
import {readLaunchRecords, removeLaunchRecord} from '../../registry/launch-records.js';
import {isSame} from '../../registry/processes.js';
import type {Discovery, LaunchOutcome, LaunchRequest, Runtime, Worker} from '../runtime.js';
import {discoverWorkers} from './discover.js';
import {launchWorker} from './launch.js';
import {ensureProgram} from './program.js';
import {replaceWorker} from './replace.js';
import {ProcessWorker} from './worker.js';

export interface ProcessRuntimeOptions {
  readonly home: string;
  /** The built program, copied into the state folder before the first launch. */
  readonly programFolder: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export class ProcessRuntime implements Runtime {
  readonly #options: ProcessRuntimeOptions;
  #program: Promise<string> | undefined;

  constructor(options: ProcessRuntimeOptions) {
    this.#options = options;
  }

  async discover(): Promise<Discovery> {
    return discoverWorkers(this.#options.home, this.#options.environment);
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

  async replace(worker: Worker, request: LaunchRequest): Promise<LaunchOutcome> {
    const {home, programFolder, environment} = this.#options;
    try {
      if (!(worker instanceof ProcessWorker)) throw new Error('internal error: it is no process of ours');
      this.#program ??= ensureProgram(home, programFolder);
      return await replaceWorker(worker, request, {home, environment, program: await this.#program});
    } catch (error) {
      this.#program = undefined;
      const message = `cannot replace ${request.config.name}: ${describeError(error)}`;
      return {type: 'failed', reason: 'LaunchFailed', message};
    }
  }

  async forget(aiId: string): Promise<void> {
    const {home} = this.#options;
    const identity = readLaunchRecords(home).records.find(record => record.aiId === aiId)?.identity;
    if (!identity || !(await isSame(identity))) await removeLaunchRecord(home, aiId);
  }
}
