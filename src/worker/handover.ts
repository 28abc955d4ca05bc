/**
 * The worker's part in its own replacement: it forks the successor, hands it the listening server, and only then is
 * done. Clients never find the port closed, for the listening socket itself never is.
 *
 * forked ──'ready'──▶ gets the listener ──reports that it listens──▶ the predecessor closes its own copy
 *
 * Until the listener is sent the handover can be called off without a trace; from then on it takes a moment.
 */
import type {ChildProcess} from 'node:child_process';
import {closeSync, constants, lstatSync, openSync, unlinkSync} from 'node:fs';
import type {Server} from 'node:net';
import type {Readable} from 'node:stream';
import {describeError} from '../api/errors.js';
import type {HandoverMessage, ProcessExit, SuccessorOrder} from '../protocol/control.js';
import {readLaunchReport} from '../protocol/launch-report.js';

export type Handover =
  | {readonly ok: true; readonly pid: number}
  /** The successor, if there was one, is gone; the listener is ours alone. */
  | {readonly ok: false; readonly error: string; readonly exit?: ProcessExit};

/** How long a successor that holds the listener may take to say that it listens. It has nothing else left to do. */
const listenMs = 5_000;
/** How long one that reported a failure may take to end by itself. */
const endMs = 500;

/** Never rejects. `calledOff` counts until the listener is sent. */
export async function handOver(order: SuccessorOrder, listener: Server, calledOff: AbortSignal): Promise<Handover> {
  let child: ChildProcess;
  try {
    child = fork(order);
  } catch (error) {
    return {ok: false, error: `cannot start its successor: ${describeError(error)}`};
  }
  const exit = exitOf(child);
  // Without descriptors left there are no pipes, whatever the types say.
  const report = readLaunchReport(
    (child.stdio as ChildProcess['stdio'] | undefined)?.[3] as Readable | null | undefined,
  );
  const failed = Promise.race([
    report.then(said => (said?.type === 'failed' ? said.message : exit.then(describeExit))),
    // Its report comes before its end, but somebody whom it started may hold the pipe open.
    exit.then(ended => later(endMs).then(() => describeExit(ended))),
  ]);
  try {
    await within(Promise.race([readyOf(child), rejectWith(failed)]), {
      ms: order.startupMs,
      late: `it did not listen within ${order.startupMs / 1000} s`,
      signal: calledOff,
    });
    await giveListener(child, listener);
    const listening = report.then(said => (said?.type === 'listening' ? said : rejectWith(failed)));
    await within(Promise.race([listening, rejectWith(failed)]), {
      ms: listenMs,
      late: `it took the listening socket and did not listen within ${listenMs / 1000} s`,
    });
    // From here on it is on its own: nothing of it keeps us, and our end is none of its business.
    if (child.connected) child.disconnect();
    child.unref();
    return {ok: true, pid: child.pid ?? 0};
  } catch (error) {
    // Its own last words tell more than our signal; one that was called off has none to wait for.
    return {
      ok: false,
      error: describeError(error),
      ...(await end(child, {exit, patienceMs: calledOff.aborted ? 0 : endMs, order})),
    };
  }
}

/** With its own session and group, and with exactly the environment that was ordered. */
function fork({program, execPath, cwd, env, launch, logPath}: SuccessorOrder): ChildProcess {
  // Loaded here, as few workers ever need it.
  const {fork: start} = process.getBuiltinModule('node:child_process');
  const {O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW} = constants;
  const log = openSync(logPath, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    const args = ['--ai-id', launch.config.aiId, '--uid', launch.uid];
    const stdio = ['pipe', log, log, 'pipe', 'ipc'] as const;
    const child = start(program, args, {execPath, execArgv: [], detached: true, cwd, env, stdio: [...stdio]});
    child.stdin?.on('error', () => undefined); // it ended before it read: its exit says so
    child.stdin?.end(JSON.stringify(launch));
    return child;
  } finally {
    closeSync(log);
  }
}

function readyOf(child: ChildProcess): Promise<void> {
  return new Promise(resolve => child.once('message', () => resolve()));
}

function giveListener(child: ChildProcess, listener: Server): Promise<void> {
  const message: HandoverMessage = {type: 'listener'};
  return new Promise((resolve, reject) => {
    child.send(message, listener, error => (error === null ? resolve() : reject(error)));
  });
}

type Exit = ProcessExit & {readonly error?: string};

function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise(resolve => {
    child.once('exit', (code, signal) => resolve({code, signal}));
    child.once('error', error => resolve({code: null, signal: null, error: describeError(error)}));
  });
}

function describeExit({code, signal, error}: Exit): string {
  return error ?? (signal === null ? `it ended with exit code ${code}` : `it ended with signal ${signal}`);
}

interface End {
  readonly exit: Promise<Exit>;
  /** How long it may take to end by itself. */
  readonly patienceMs: number;
  readonly order: SuccessorOrder;
}

/** Ends it, if it hasn't ended by itself. As our own child it can't be mistaken: its pid is not free before we reap it. */
async function end(child: ChildProcess, {exit, patienceMs, order}: End): Promise<{exit: ProcessExit}> {
  const alone = patienceMs > 0 && (await Promise.race([exit, later(patienceMs)]));
  if (!alone && child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has just ended.
    }
  }
  const {code, signal} = await exit;
  if (signal !== null) removeSocket(order.launch.controlPath);
  return {exit: {code, signal}};
}

/** What one that was killed could not remove itself. */
function removeSocket(path: string): void {
  try {
    if (lstatSync(path, {throwIfNoEntry: false})?.isSocket()) unlinkSync(path);
  } catch {
    // Whoever binds it next finds that nobody listens, and removes it.
  }
}

interface Patience {
  readonly ms: number;
  readonly late: string;
  readonly signal?: AbortSignal;
}

async function within<T>(promise: Promise<T>, {ms, late, signal}: Patience): Promise<T> {
  let stop: () => void = () => undefined;
  const given = new Promise<never>((_, reject) => {
    const timer = setTimeout(() => reject(new Error(late)), ms);
    const abort = (): void => reject(signal?.reason as Error);
    if (signal?.aborted === true) abort();
    signal?.addEventListener('abort', abort, {once: true});
    stop = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
  });
  try {
    return await Promise.race([promise, given]);
  } finally {
    stop();
  }
}

async function rejectWith(reason: Promise<string>): Promise<never> {
  throw new Error(await reason);
}

function later(ms: number): Promise<undefined> {
  return new Promise(resolve => setTimeout(() => resolve(undefined), ms).unref());
}
