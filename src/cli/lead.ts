/** Being the controller of a state folder: the leader lock, the loop, the socket, until somebody says stop. */
import {rmSync} from 'node:fs';
import {ConflictError, LockBusyError} from '../api/errors.js';
import type {GitSourceRecord} from '../api/git-source.js';
import {formatVersion} from '../api/types.js';
import type {FleetStatus} from '../api/types.js';
import {version} from '../api/version.js';
import {Controller} from '../reconciler/controller.js';
import type {Logger, Ports} from '../reconciler/ports.js';
import {
  controllerSocketPath,
  findController,
  removeControllerRecord,
  writeControllerRecord,
} from '../registry/controller-record.js';
import {ensureStateHome} from '../registry/home.js';
import {holdLock, tryHold} from '../registry/locks.js';
import type {HeldLock} from '../registry/locks.js';
import {statePaths} from '../registry/paths.js';
import {identify} from '../registry/processes.js';
import {readBuildHash} from '../runtime/process/program.js';
import type {CommandContext} from './context.js';
import {serveController} from './controller-link.js';
import type {ControllerServer} from './controller-link.js';
import {parallel} from './converge.js';
import {programFolder} from './package.js';
import {keepExpiry} from './expiry.js';
import {keepPresent} from './presence.js';
import type {Webhooks} from './webhooks.js';
import {wire} from './wire.js';

export interface LeadOptions {
  readonly log: Logger;
  /** Called once the socket listens. */
  readonly listening?: () => void;
  readonly status?: (status: FleetStatus) => void;
}

/** A one-shot apply holds the lock for as long as it converges: that is waited for. */
const leaderTimeoutMs = 60_000;
/** Whoever has the lock may have turned out to be a controller. */
const lookAgainMs = 100;

/**
 * Runs the loop until `context.signal` aborts or a `stop` comes in; the workers live on.
 *
 * @throws {ConflictError} there is a controller already
 */
export async function lead(context: CommandContext, options: LeadOptions): Promise<void> {
  const {home, environment} = context;
  for (const warning of await ensureStateHome(home)) options.log.warn({}, warning);
  let lock = await becomeLeader(home, context.signal);
  // Statuses count as this controller's from here on.
  const startedAt = new Date().toISOString();
  const socketPath = controllerSocketPath(home);
  const ports = wire({home, environment, log: options.log});
  const controller: Controller = new Controller({
    ports,
    version,
    follow: true,
    gitSources: records => webhooks.follow(records),
    parallel,
  });
  const webhooks = webhooksOf(ports, controller);
  let server: ControllerServer | undefined;
  let leave: (() => Promise<void>) | undefined;
  let endExpiry: (() => Promise<void>) | undefined;
  let leads = true;
  try {
    await controller.start();
    const stopped = stopRequest(context.signal);
    const serving = await serveController(socketPath, controller, stopped.stop);
    server = serving;
    await writeRecord(home, socketPath, startedAt);
    leave = keepPresent({
      home,
      paths: [statePaths(home).controllerRecord, socketPath],
      log: options.log,
      restore: async () => {
        const held = await stillLeads(home, lock);
        leads = held !== undefined;
        if (!held) {
          options.log.warn({}, 'another controller took over; this one stops');
          return stopped.stop();
        }
        lock = held;
        if ((await findController(home))?.record.identity.pid !== process.pid) {
          await writeRecord(home, socketPath, startedAt);
        }
        await serving.restore();
      },
    });
    endExpiry = keepExpiry({home, controller, log: options.log, done: stopped.stop});
    const unsubscribe = options.status && controller.subscribe(options.status);
    options.log.info({version, home}, 'controller is running');
    options.listening?.();
    await stopped.asked;
    unsubscribe?.();
    options.log.info({}, 'controller stops; workers live on');
  } finally {
    await leave?.();
    await endExpiry?.();
    await webhooks.close();
    // First of all, so that those who are cut off look for another one to take over, and don't take us for it.
    if (leads) await removeControllerRecord(home).catch(() => undefined);
    server?.close();
    await controller.close();
    ports.notifications.close();
    if (leads) rmSync(socketPath, {force: true});
    await lock.release();
  }
}

/** Loaded by the first source that declares one. */
function webhooksOf({log, secrets}: Ports, controller: Controller) {
  let loading: Promise<Webhooks> | undefined;
  const load = async (): Promise<Webhooks> => {
    const {Webhooks: Listener} = await import('./webhooks.js');
    return new Listener({
      log,
      resolve: secret => secrets.resolve(secret, undefined),
      pushed: id => controller.pushed(id),
      unavailable: (source, message) => controller.webhookUnavailable(source, message),
    });
  };
  return {
    follow: (records: readonly GitSourceRecord[]): void => {
      if (!loading && !records.some(({spec}) => spec.webhook)) return;
      loading ??= load();
      void loading.then(webhooks => webhooks.follow(records));
    },
    close: async (): Promise<void> => (await loading)?.close(),
  };
}

function stopRequest(signal: AbortSignal): {readonly asked: Promise<void>; readonly stop: () => void} {
  let stop: () => void = () => undefined;
  const asked = new Promise<void>(resolve => (stop = resolve));
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, {once: true});
  return {asked, stop};
}

/** Waits for a one-shot apply to be done, but not for a controller that came first. */
async function becomeLeader(home: string, signal: AbortSignal): Promise<HeldLock> {
  const deadline = performance.now() + leaderTimeoutMs;
  for (;;) {
    const running = await findController(home);
    if (running) throw alreadyRuns(home, running.record.identity.pid);
    try {
      return await holdLock(home, 'leader', {timeoutMs: lookAgainMs, signal});
    } catch (error) {
      if (!(error instanceof LockBusyError) || performance.now() > deadline) throw error;
    }
  }
}

export function alreadyRuns(home: string, pid: number): ConflictError {
  return new ConflictError(`cannot run a controller for ${home}: pid ${pid} is one`, {
    hint: '`tekton-ai apply` hands changes to it; `tekton-ai down` stops it',
  });
}

/** Lock and folders made anew where somebody removed them; undefined: another controller leads meanwhile. */
async function stillLeads(home: string, lock: HeldLock): Promise<HeldLock | undefined> {
  try {
    lock.assertHeld();
    return lock;
  } catch {
    await ensureStateHome(home);
    await lock.release(); // of a file that nobody can find any more
    return tryHold(home, 'leader');
  }
}

async function writeRecord(home: string, socketPath: string, startedAt: string): Promise<void> {
  const identity = await identify(process.pid);
  if (!identity) throw new Error('internal error: cannot find this process in the process table');
  const build = await readBuildHash(programFolder());
  await writeControllerRecord(home, {formatVersion, identity, version, build, startedAt, socketPath});
}
