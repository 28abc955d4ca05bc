/** Starts one worker process and waits until it answers. */
import {spawn} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';
import {closeSync, existsSync} from 'node:fs';
import type {Readable} from 'node:stream';
import {describeError} from '../../api/errors.js';
import {formatVersion} from '../../api/types.js';
import type {LastExit, ProcessIdentity} from '../../api/types.js';
import type {LaunchMessage, LaunchReport} from '../../protocol/control.js';
import {ControlConnection} from '../../protocol/control-client.js';
import {readLaunchReport} from '../../protocol/launch-report.js';
import {runningOf} from '../../protocol/running.js';
import type {Told} from '../../protocol/running.js';
import {askHello} from '../../registry/ask-hello.js';
import type {LaunchRecord} from '../../registry/launch-records.js';
import {writeLaunchRecord} from '../../registry/launch-records.js';
import {endOffspring} from '../../registry/offspring.js';
import {controlSocketPath, ownSocketPath, statePaths} from '../../registry/paths.js';
import {ping} from '../../registry/ping.js';
import {environmentMarks, identify} from '../../registry/processes.js';
import {connectUnix} from '../connect.js';
import type {LaunchOutcome, LaunchRequest} from '../runtime.js';
import {openLog, tailOf} from './logs.js';
import {ProcessWorker} from './worker.js';

export interface LaunchOptions {
  readonly home: string;
  /** The worker's program, see program.ts. */
  readonly program: string;
  /** Of the launcher: only the little that a worker needs is passed on. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * What a worker gets of our environment; everything else, keys above all, it is given on purpose or not at all.
 * Certificates are there for providers behind https.
 */
const passedOn = [
  'PATH',
  'HOME',
  'USER',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'XDG_RUNTIME_DIR',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
];

const controlTimeoutMs = 5000;
/** For whoever has the usual control socket to say who it is. */
const whoTimeoutMs = 1000;

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/**
 * Writes the intent before the process is told what to be: whoever comes after a crash of ours knows what to look for. The
 * process comes up meanwhile, and does nothing until it is told; one that never is, for we ended, ends by itself.
 */
export async function launchWorker(request: LaunchRequest, options: LaunchOptions): Promise<LaunchOutcome> {
  const {uid, port, config} = request;
  const {home} = options;
  const logPath = statePaths(home).log(config.aiId);
  const controlPath = await freeSocketPath(request, options);
  const log = openLog(logPath);
  const intent = intentOf(request, {controlPath, logOffset: log.offset});
  let child: ChildProcess;
  try {
    child = spawn(process.execPath, [options.program, '--ai-id', config.aiId, '--uid', uid], {
      // Its own session and group: a signal to our terminal is not for it, and its children go with it.
      detached: true,
      cwd: home,
      stdio: ['pipe', log.fd, log.fd, 'pipe'],
      env: workerEnvironment(request, options),
    });
  } finally {
    closeSync(log.fd);
  }
  const exit = exitOf(child);
  const reported = readLaunchReport(child.stdio[3] as Readable | null | undefined);
  const message: LaunchMessage = {uid, port, controlPath, home, config};
  child.stdin?.on('error', () => undefined); // it ended before it read: `exit` says so
  child.unref();
  try {
    await writeLaunchRecord(home, intent);
  } catch (error) {
    killOwn(child);
    throw error;
  }
  child.stdin?.end(JSON.stringify(message));

  // Asked for while the process comes up: what takes time of ours costs nothing then. One that can't be looked up now (too
  // many open files) could not be managed.
  const identity = child.pid === undefined ? undefined : await identify(child.pid).catch(() => undefined);
  const report = await firstOf(reported, exit, request.startupMs);
  if (report === undefined || report.type === 'failed' || !identity) {
    // One that reported its failure ends by itself, and its own last words and exit code tell more than our signal.
    const ended = await quick(exit);
    if (!ended) killOwn(child);
    if (child.pid !== undefined) await endOffspring({home, uid, pid: child.pid});
    return failure(report, request, ended ?? (await quick(exit)), tailOf(logPath, log.offset));
  }
  const {aiId, host, authToken} = config;
  const [worker, silence] = await Promise.all([
    takeInHand({home, intent, identity, childExit: exit, authToken}),
    // Live means that its own socket answers as any client would be answered, not that it says so elsewhere.
    ping({aiId, uid, host, port, ...(authToken !== undefined && {authToken})}, {timeoutMs: controlTimeoutMs}),
  ]);
  if (worker instanceof ProcessWorker && silence === undefined) return {type: 'listening', worker};
  if (worker instanceof ProcessWorker) worker.release();
  const problem = 'problem' in worker ? worker.problem : `it does not answer on ${host}:${port}`;
  killOwn(child);
  return failure(
    {type: 'failed', reason: 'LaunchFailed', message: problem},
    request,
    await exit,
    tailOf(logPath, log.offset),
  );
}

/** The usual path, unless a predecessor that is retiring still has it. */
async function freeSocketPath({uid, config}: LaunchRequest, {home, environment}: LaunchOptions): Promise<string> {
  const usual = controlSocketPath(home, config.aiId, environment);
  if (!existsSync(usual)) return usual;
  const answer = await askHello(usual, uid, whoTimeoutMs);
  const retiring = answer.type === 'other' && answer.hello.retired === true;
  return retiring ? ownSocketPath(home, config.aiId, uid, environment) : usual;
}

/** The record of a launch that is to come. */
export function intentOf(
  {uid, port, config}: LaunchRequest,
  {controlPath, logOffset}: {readonly controlPath: string; readonly logOffset: number},
): LaunchRecord {
  const {aiId, name, namespace, fleet, component, host, generation, specHash, declared} = config;
  return {
    ...{formatVersion, aiId, name, namespace, fleet, component, uid, host, port, controlPath},
    ...{generation, specHash, declared, running: runningOf(config)},
    ...{startedAt: new Date().toISOString(), state: 'intent', logOffset},
  };
}

export interface Launched {
  readonly home: string;
  readonly intent: LaunchRecord;
  readonly identity: ProcessIdentity;
  /** Of our own child. */
  readonly childExit?: Promise<Exit>;
  readonly authToken: string | undefined;
}

/** Connects to a process that listens, and completes its launch record. */
export async function takeInHand({
  home,
  intent,
  identity,
  childExit,
  authToken,
}: Launched): Promise<ProcessWorker | {readonly problem: string}> {
  let control: ControlConnection | undefined;
  try {
    control = new ControlConnection(await connectUnix(intent.controlPath, {timeoutMs: controlTimeoutMs}));
    const reply = await control.request({type: 'hello'}, {timeoutMs: controlTimeoutMs});
    if (!reply.ok || reply.hello?.uid !== intent.uid) {
      control.close();
      return {problem: 'somebody else answers on its control socket'};
    }
    return new ProcessWorker({
      home,
      instance: {uid: intent.uid, identity, startedAt: intent.startedAt},
      hello: reply.hello,
      told: intent,
      host: intent.host,
      controlPath: intent.controlPath,
      log: {path: statePaths(home).log(intent.aiId), offset: intent.logOffset ?? 0},
      control,
      remember: keepRecord(home, {...intent, identity, state: 'running'}),
      ...(childExit && {childExit}),
      ...(authToken !== undefined && {authToken}),
    });
  } catch (error) {
    control?.close();
    return {problem: describeError(error)};
  }
}

/**
 * Writes the launch record, now (unless it is written) and whenever the worker runs with something else: it serves when the worker can't be
 * asked. One write at a time, and a failed one is no failure of the worker: its uid finds it in the process table.
 */
export function keepRecord(home: string, record: LaunchRecord, isWritten = false): Remember {
  const write = (now: LaunchRecord): Promise<void> => writeLaunchRecord(home, now).catch(() => undefined);
  let last = isWritten ? Promise.resolve() : write(record);
  const {before: _before, ...rest} = record;
  return (told, before) => {
    const now = {...rest, ...sayable(told), ...(before && {before: sayable(before)})};
    last = last.then(() => write(now));
    return last;
  };
}

/** Notes what a worker was told, or is about to be; then `before` is what it was told until then. */
export type Remember = (told: Told, before?: Told) => Promise<void>;

/** Of a record that stands for what was told, that alone. */
function sayable({generation, specHash, declared, running}: Told): Told {
  return {generation, specHash, declared, ...(running && {running})};
}

/** All that is in a worker's environment. */
export function workerEnvironment(request: LaunchRequest, {home, environment}: LaunchOptions): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of passedOn) {
    const value = environment[name];
    if (value !== undefined) env[name] = value;
  }
  // Reading the certificates costs every start of Node some 36 ms: only for those who will need them.
  const certificates = environment['NODE_EXTRA_CA_CERTS'];
  const {provider, fallback = []} = request.config;
  const providers = [provider, ...fallback.map(one => one.provider)];
  const isRemote = providers.some(({type, baseUrl}) => type === 'anthropic' || baseUrl?.startsWith('https:'));
  if (certificates !== undefined && isRemote) env['NODE_EXTRA_CA_CERTS'] = certificates;
  // Last, so that nothing overrides whose it is; what the worker starts inherits it.
  const {namespace, fleet} = request.config;
  return {
    ...env,
    ...request.env,
    [environmentMarks.home]: home,
    [environmentMarks.instance]: request.uid,
    [environmentMarks.fleet]: `${namespace}/${fleet}`,
  };
}

/** With its group. Our own child can't be mistaken, and needs no process table: its pid is not free before we reap it. */
function killOwn(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise(resolve => {
    child.once('exit', (code, signal) => resolve({code, signal}));
    child.once('error', () => resolve({code: null, signal: null}));
  });
}

async function firstOf(
  reported: Promise<LaunchReport | undefined>,
  exit: Promise<Exit>,
  timeoutMs: number,
): Promise<LaunchReport | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<LaunchReport>(resolve => {
    const message = `it did not listen within ${timeoutMs / 1000} s`;
    timer = setTimeout(() => resolve({type: 'failed', reason: 'LaunchFailed', message}), timeoutMs);
  });
  const ended = exit.then(() => quick(reported));
  const report = await Promise.race([reported, ended, late]);
  clearTimeout(timer);
  return report;
}

/** What is there already or comes at once. */
async function quick<T>(promise: Promise<T>): Promise<T | undefined> {
  const soon = new Promise<undefined>(resolve => setTimeout(() => resolve(undefined), 500).unref());
  return Promise.race([promise, soon]);
}

function failure(
  report: LaunchReport | undefined,
  {config, port}: LaunchRequest,
  exit: Exit | undefined,
  stderrTail: readonly string[],
): LaunchOutcome {
  const lastExit: LastExit = {
    at: new Date().toISOString(),
    ...(exit?.code != null && {code: exit.code}),
    ...(exit?.signal != null && {signal: exit.signal}),
    stderrTail,
  };
  if (report?.type === 'failed' && report.reason === 'PortTaken') {
    return {type: 'failed', reason: 'PortTaken', message: report.message, exit: lastExit};
  }
  const how = exit?.signal ? `ended with signal ${exit.signal}` : `ended with exit code ${exit?.code ?? 'unknown'}`;
  const cause = report?.type === 'failed' ? report.message : how;
  const message = `cannot start ${config.name} on port ${port}: ${cause}`;
  return {type: 'failed', reason: 'LaunchFailed', message, exit: lastExit};
}
