/** Where everything stands in the state folder. */
import {createHash} from 'node:crypto';
import {lstatSync, mkdirSync} from 'node:fs';
import type {Stats} from 'node:fs';
import {homedir, tmpdir} from 'node:os';
import {basename, join, resolve} from 'node:path';
import {ConflictError, TektonError} from '../api/errors.js';
import {errorCode, fileError} from './files.js';

/** A fleet is known by namespace and name; both are DNS labels, so the dot between them is unambiguous. */
export interface FleetKey {
  readonly namespace: string;
  readonly name: string;
}

export interface StatePaths {
  readonly home: string;
  readonly registry: string;
  /** Lock paths of the seed: proper-lockfile makes `<path>.lock` folders beside them. */
  readonly registrationLock: string;
  readonly portAllocationLock: string;
  readonly ports: string;
  /** Which machine, boot and pid namespace the folder belongs to. */
  readonly host: string;
  readonly events: string;
  readonly previousEvents: string;
  readonly fleets: string;
  readonly status: string;
  /** Git sources as last applied. */
  readonly sources: string;
  readonly logs: string;
  /** Copies of the worker's program. */
  readonly programs: string;
  readonly run: string;
  /** Kernel lock files: never deleted. */
  readonly locks: string;
  /** Who calls which model server, and who waits to: a folder per server. */
  readonly slots: string;
  readonly controllerRecord: string;
  readonly fleet: (key: FleetKey) => string;
  readonly fleetHistory: (key: FleetKey) => string;
  readonly fleetStatus: (key: FleetKey) => string;
  /** How far the fleet's notifications have come in the event log. */
  readonly notifications: (key: FleetKey) => string;
  readonly gitSource: (key: FleetKey) => string;
  readonly gitSourceStatus: (key: FleetKey) => string;
  /** Copy and checkouts of a git source's repository. */
  readonly gitFolder: (key: FleetKey) => string;
  readonly log: (aiId: string) => string;
  readonly launchRecord: (aiId: string) => string;
  /** Conversations that outlive workers: all of them, and one specialist's. */
  readonly allSessions: string;
  readonly sessions: (aiId: string) => string;
  /** What specialists used, by day. */
  readonly usageFolder: string;
  readonly usage: (aiId: string) => string;
}

/** The state folder, absolute: `$TEKTON_AI_HOME`, or `~/.tekton/ai_registry`. */
export function stateHome(environment: Readonly<Record<string, string | undefined>>): string {
  const declared = environment['TEKTON_AI_HOME'];
  if (declared !== undefined && declared !== '') return resolve(declared);
  return join(resolve(environment['HOME'] || homedir()), '.tekton', 'ai_registry');
}

/** Every path of the state folder `home`. A name that could leave its folder throws. */
export function statePaths(home: string): StatePaths {
  const run = join(home, 'run');
  const inFolder = (folder: string, name: string, extension: string): string =>
    join(home, folder, fileName(name) + extension);
  return {
    home,
    registry: join(home, 'platform_ai_registry.json'),
    registrationLock: join(home, '.registration.lock'),
    portAllocationLock: join(home, '.port_allocation.lock'),
    ports: join(home, 'ports.json'),
    host: join(home, 'host.json'),
    events: join(home, 'events.jsonl'),
    previousEvents: join(home, 'events.1.jsonl'),
    fleets: join(home, 'fleets'),
    status: join(home, 'status'),
    sources: join(home, 'sources'),
    logs: join(home, 'logs'),
    programs: join(home, 'bin'),
    run,
    locks: join(run, 'locks'),
    slots: join(run, 'slots'),
    controllerRecord: join(run, 'controller.json'),
    fleet: key => inFolder('fleets', `${key.namespace}.${key.name}`, '.json'),
    fleetHistory: key => inFolder('fleets', `${key.namespace}.${key.name}`, '.history.jsonl'),
    fleetStatus: key => inFolder('status', `${key.namespace}.${key.name}`, '.json'),
    notifications: key => inFolder('notifications', `${key.namespace}.${key.name}`, '.json'),
    gitSource: key => inFolder('sources', `${key.namespace}.${key.name}`, '.json'),
    gitSourceStatus: key => inFolder('status', `git.${key.namespace}.${key.name}`, '.json'),
    gitFolder: key => inFolder('git', `${key.namespace}.${key.name}`, ''),
    log: aiId => inFolder('logs', aiId, '.log'),
    launchRecord: aiId => inFolder('run', aiId, '.json'),
    allSessions: join(home, 'sessions'),
    sessions: aiId => inFolder('sessions', aiId, ''),
    usageFolder: join(home, 'usage'),
    usage: aiId => inFolder('usage', aiId, ''),
  };
}

/** What `sun_path` holds, less the final NUL. Node silently cuts a longer path and listens elsewhere. */
const socketPathLimit = process.platform === 'darwin' ? 103 : 107;

/**
 * Where the worker `aiId` (or `controller`) has its control socket: `run/<aiId>.sock`, or, where that is too long
 * for a Unix socket, a short name in a private folder under `$XDG_RUNTIME_DIR` or the system's temporary folder,
 * which is made here. The choice depends on the environment, so whoever looks for a running worker takes the
 * path that its launch record states.
 *
 * @throws {ConflictError} when somebody else owns the private folder.
 */
export function controlSocketPath(
  home: string,
  aiId: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const usual = join(home, 'run', `${fileName(aiId)}.sock`);
  if (Buffer.byteLength(usual) <= socketPathLimit) return usual;
  const name = hashedName(home, aiId);
  const bases = [environment['XDG_RUNTIME_DIR'], tmpdir(), '/tmp'];
  for (const base of bases) {
    if (base === undefined || base === '') continue;
    const folder = join(resolve(base), `tekton-ai-${process.getuid?.() ?? 0}`);
    const path = join(folder, name);
    if (Buffer.byteLength(path) > socketPathLimit) continue;
    ensurePrivateFolder(folder);
    return path;
  }
  throw new TektonError(`cannot place the control socket of ${aiId}: ${home} is too long for a Unix socket`, {
    hint: 'Set TEKTON_AI_HOME or XDG_RUNTIME_DIR to a shorter path.',
  });
}

/** Where the worker of the launch `uid` may have its control socket: what to try when its record is lost. */
export function controlSocketPaths(
  home: string,
  aiId: string,
  uid: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): readonly string[] {
  return [ownSocketPath(home, aiId, uid, environment), controlSocketPath(home, aiId, environment)];
}

/** For a launch whose predecessor still has the usual path. @throws {ConflictError} as `controlSocketPath`. */
export function ownSocketPath(
  home: string,
  aiId: string,
  uid: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  return controlSocketPath(home, ownName(aiId, uid), environment);
}

/** Whether a control socket at `path` is this launch's alone: nobody else will ever bind it. */
export function isOwnSocket(home: string, aiId: string, uid: string, path: string): boolean {
  const own = ownName(aiId, uid);
  return [`${own}.sock`, hashedName(home, own)].includes(basename(path));
}

function ownName(aiId: string, uid: string): string {
  return `${aiId}.${uid.slice(0, 8)}`;
}

function hashedName(home: string, name: string): string {
  return `${createHash('sha256').update(`${home}\0${name}`).digest('hex').slice(0, 24)}.sock`;
}

/** The temporary folder is everybody's: a folder that another user made there, or a link, is not ours to use. */
function ensurePrivateFolder(folder: string): void {
  const stat = makePrivateFolder(folder);
  const mine = stat.isDirectory() && stat.uid === (process.getuid?.() ?? stat.uid) && (stat.mode & 0o077) === 0;
  if (!mine) {
    throw new ConflictError(`cannot use ${folder} for control sockets: it is not a private folder of this user`);
  }
}

function makePrivateFolder(folder: string): Stats {
  try {
    mkdirSync(folder, {mode: 0o700});
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw fileError(`cannot make the folder ${folder} for control sockets`, error);
  }
  try {
    return lstatSync(folder);
  } catch (error) {
    throw fileError(`cannot use the folder ${folder} for control sockets`, error);
  }
}

/** Names come from files and from a registry that anybody may write to. */
function fileName(name: string): string {
  const legal = name !== '' && !name.startsWith('.') && !/[/\\\0]/.test(name) && Buffer.byteLength(name) <= 240;
  if (!legal) throw new TektonError(`${JSON.stringify(name.slice(0, 80))} cannot be part of a file's name`);
  return name;
}
