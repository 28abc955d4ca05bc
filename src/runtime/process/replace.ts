/**
 * Replaces a serving worker by a successor that it forks itself, so that the listening socket goes from one to the other
 * and is never closed: whoever the controller is by now, the worker has the socket.
 *
 * Crash-safe without a record of its own: the launch record stays that of the old worker until the new one listens, and
 * the successor is found in the process table by its uid. Whoever comes after a controller that was killed on the way
 * finds the old one (a handover that nobody waits for is called off), or the new one and a retired one, or, for a moment,
 * an old one that says it is being replaced, and looks again.
 */
import {closeSync, rmSync} from 'node:fs';
import {setTimeout as sleep} from 'node:timers/promises';
import {describeError} from '../../api/errors.js';
import type {ControlReply, LaunchMessage, SuccessorOrder} from '../../protocol/control.js';
import {askHello} from '../../registry/ask-hello.js';
import type {LaunchRecord} from '../../registry/launch-records.js';
import {ownSocketPath, statePaths} from '../../registry/paths.js';
import {findWorkers, identify, signalVerified} from '../../registry/processes.js';
import type {LaunchOutcome, LaunchRequest} from '../runtime.js';
import {intentOf, takeInHand, workerEnvironment} from './launch.js';
import type {LaunchOptions} from './launch.js';
import {openLog, tailOf} from './logs.js';
import type {ProcessWorker} from './worker.js';

/** Beyond the start of the successor: until it listens, and until one that failed is gone. */
const handoverMs = 10_000;
/** How long we look for a successor whose predecessor ended before it could say what became of it. */
const lookMs = 3_000;

/** As `Runtime.replace`. */
export async function replaceWorker(
  old: ProcessWorker,
  request: LaunchRequest,
  options: LaunchOptions,
): Promise<LaunchOutcome> {
  const {uid, port, config, startupMs} = request;
  const {home, program, environment} = options;
  const logPath = statePaths(home).log(config.aiId);
  const controlPath = ownSocketPath(home, config.aiId, uid, environment);
  const log = openLog(logPath);
  closeSync(log.fd); // the old worker opens it; the rotation is ours
  const intent = intentOf(request, {controlPath, logOffset: log.offset});
  const launch: LaunchMessage = {uid, port, controlPath, home, config, inherits: true};
  const order: SuccessorOrder = {
    ...{program, execPath: process.execPath, cwd: home, env: workerEnvironment(request, options)},
    ...{launch, logPath, startupMs},
  };
  const answer = await ask(old, order, intent, home);
  if ('pid' in answer) {
    const identity = await identify(answer.pid);
    const launched = {home, intent, authToken: config.authToken};
    const worker = identity ? await takeInHand({...launched, identity}) : {problem: 'it ended as soon as it listened'};
    if (!('problem' in worker)) return {type: 'listening', worker};
    // The old one has left the port to it by now: better nobody there than somebody who can't be managed.
    if (identity) await signalVerified(identity, 'SIGKILL', {group: true});
    return failure(request, {error: worker.problem}, tailOf(logPath, log.offset));
  }
  rmSync(controlPath, {force: true}); // of one that was killed
  return failure(request, answer, tailOf(logPath, log.offset));
}

type Refusal = Pick<Extract<ControlReply, {ok: false}>, 'error' | 'exit'>;

/** The successor's pid, or why there is none. */
async function ask(
  old: ProcessWorker,
  order: SuccessorOrder,
  intent: LaunchRecord,
  home: string,
): Promise<{readonly pid: number} | Refusal> {
  try {
    const reply = await old.replace(order, order.startupMs + handoverMs);
    if (reply.ok) return reply.successor ?? {error: 'it was replaced by nobody'};
    return reply;
  } catch (error) {
    // It ended, or hangs, and the successor may have got the socket all the same.
    const pid = await find(intent, home);
    return pid === undefined ? {error: describeError(error)} : {pid};
  }
}

/** One that has the listener; one that hasn't ends by itself, for nobody is left to give it. */
async function find({controlPath, uid}: LaunchRecord, home: string): Promise<number | undefined> {
  const deadline = performance.now() + lookMs;
  // Missing twice: one that is just being forked has no arguments yet to be known by. Looked for a few times at least:
  // the time may have passed while we were suspended.
  for (let missing = 0, looks = 0; missing < 2 && (looks < 3 || performance.now() < deadline); looks++) {
    const answer = await askHello(controlPath, uid, lookMs);
    if (answer.type === 'answers') {
      answer.control.close();
      if (answer.hello.port !== 0) return answer.hello.pid;
    }
    missing = (await findWorkers(home)).some(worker => worker.uid === uid) ? 0 : missing + 1;
    await sleep(50);
  }
  return undefined;
}

function failure({config}: LaunchRequest, {error, exit}: Refusal, stderrTail: readonly string[]): LaunchOutcome {
  const message = `cannot replace ${config.name}: ${error}`;
  if (!exit) return {type: 'failed', reason: 'LaunchFailed', message};
  const {code, signal} = exit;
  const at = new Date().toISOString();
  const lastExit = {at, ...(code !== null && {code}), ...(signal !== null && {signal}), stderrTail};
  return {type: 'failed', reason: 'LaunchFailed', message, exit: lastExit};
}
