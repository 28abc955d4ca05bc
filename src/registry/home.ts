/** The state folder itself: made, kept private, and owned by one machine. */
import {chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, statSync} from 'node:fs';
import type {Stats} from 'node:fs';
import {connect} from 'node:net';
import {dirname, join} from 'node:path';
import {formatVersion} from '../api/types.js';
import {ConflictError, TektonError} from '../api/errors.js';
import {errorCode, fileError, writeWhole} from './files.js';
import {tryHold} from './locks.js';
import {readText} from './own-files.js';
import {statePaths} from './paths.js';
import type {StatePaths} from './paths.js';
import {hostIdentity} from './processes.js';
import type {HostIdentity} from './processes.js';

/**
 * Makes the state folder and its subfolders where they are missing (0700), and mends looser modes. Costs a few
 * system calls when all is well, so every command may call it: files are looked at one by one only where a folder was open
 * to others, for nobody else gets to them otherwise.
 *
 * @returns warnings for a person, one sentence each.
 * @throws {ConflictError} another user, machine or container owns the folder.
 * @throws {TektonError} it can't be made or written to.
 */
export async function ensureStateHome(home: string): Promise<readonly string[]> {
  const paths = statePaths(home);
  const warnings: string[] = [];
  try {
    makeFoldersTo(home);
    mendMode(home, statSync(home), 0o700, warnings);
    for (const folder of [
      paths.run,
      paths.locks,
      paths.fleets,
      paths.sources,
      paths.status,
      paths.logs,
      paths.programs,
    ]) {
      makeFolder(folder, warnings);
    }
    if (warnings.length > 0) mendFilesBelow(home, warnings);
    else for (const file of [paths.registry, paths.ports, paths.host, paths.events]) mendFile(file, warnings);
    checkParent(home, warnings);
    await claim(paths, warnings);
  } catch (error) {
    throw fileError(`cannot use the state folder ${home}`, error);
  }
  return warnings;
}

/** One by one: of a read-only place Node's own recursive call says that it does not exist. */
function makeFoldersTo(folder: string): void {
  if (existsSync(folder)) return;
  makeFoldersTo(dirname(folder));
  try {
    mkdirSync(folder, {mode: 0o700});
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
  }
}

function makeFolder(folder: string, warnings: string[]): void {
  try {
    mkdirSync(folder, {mode: 0o700});
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
  }
  const stat = lstatSync(folder);
  if (!stat.isDirectory()) throw new TektonError(`cannot use ${folder}: it is not a folder (links are not followed)`);
  mendMode(folder, stat, 0o700, warnings);
}

/** A link, and a file that is somebody's under another name as well, is left alone. */
function mendFile(file: string, warnings: string[]): void {
  const stat = lstatSync(file, {throwIfNoEntry: false});
  if (stat?.isFile() && stat.nlink === 1) mendMode(file, stat, 0o600, warnings);
}

/** While a folder was open to others, so was what lies in it. One sentence for all of it. */
function mendFilesBelow(home: string, warnings: string[]): void {
  const mended: string[] = [];
  for (const entry of readdirSync(home, {recursive: true, withFileTypes: true})) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) mendFile(path, mended);
    else if (entry.isDirectory()) mendMode(path, lstatSync(path), 0o700, mended);
  }
  if (mended.length <= 1) return void warnings.push(...mended);
  warnings.push(`${mended.length} files and folders in ${home} were open to others; they are private now.`);
}

function mendMode(path: string, stat: Stats, mode: number, warnings: string[]): void {
  const me = process.geteuid?.() ?? stat.uid;
  if (stat.uid !== me) {
    throw new ConflictError(`cannot use ${path}: it belongs to another user (uid ${stat.uid})`, {
      hint: 'Run as that user, or set TEKTON_AI_HOME to a folder of your own.',
    });
  }
  if ((stat.mode & 0o777 & ~mode) === 0) return;
  chmodSync(path, mode);
  warnings.push(`${path} was open to others (mode ${(stat.mode & 0o777).toString(8)}); it is ${mode.toString(8)} now.`);
}

/**
 * Whoever may write to the folder above could put another one in our folder's place. That is said, not refused: volumes of
 * containers look like that. A group may: it is the user's own on most systems. /tmp is fine: it is sticky.
 */
function checkParent(home: string, warnings: string[]): void {
  const parent = dirname(home);
  const {mode} = statSync(parent);
  if ((mode & 0o1002) !== 0o002) return;
  warnings.push(`${parent} can be written to by everybody, who could put another folder in the place of ${home}.`);
}

interface HostRecord extends HostIdentity {
  readonly formatVersion: number;
}

/**
 * A pid means something only in one pid namespace of one boot of one machine. On the same boot (the same kernel)
 * kernel locks and sockets tell whether another container's owner lives; of another machine nothing can be told.
 */
async function claim(paths: StatePaths, warnings: string[]): Promise<void> {
  const mine = await hostIdentity();
  const owner = readHost(paths.host);
  if (owner !== undefined) {
    if (owner.bootId === mine.bootId && owner.pidNamespace === mine.pidNamespace) return;
    const sameKernel = owner.bootId === mine.bootId;
    const rebooted = !sameKernel && owner.machineId === mine.machineId;
    if (sameKernel && (await isInUse(paths))) refuse(paths, 'another container on this machine');
    if (!sameKernel && !rebooted && (await hasRecords(paths))) refuse(paths, `another machine (${owner.machineId})`);
    if (!rebooted) warnings.push(`${paths.home} was used by another host, which left nothing running; it is ours now.`);
  }
  const record: HostRecord = {formatVersion, ...mine};
  await writeWhole(paths.host, `${JSON.stringify(record)}\n`);
}

function refuse(paths: StatePaths, owner: string): never {
  throw new ConflictError(`cannot use the state folder ${paths.home}: ${owner} owns it and may run its specialists`, {
    hint: `Set TEKTON_AI_HOME to a folder of this host. If that host is gone for good, remove ${paths.host}.`,
  });
}

/** undefined: not there, or damaged (a power cut): as good as not there. A link or a pipe in its place is an error. */
function readHost(path: string): HostIdentity | undefined {
  const text = readText(path);
  return text === undefined ? undefined : parseHost(text);
}

function parseHost(text: string): HostIdentity | undefined {
  try {
    const record = JSON.parse(text) as Partial<Record<keyof HostIdentity, unknown>> | null;
    const {machineId, pidNamespace, bootId} = record ?? {};
    const whole = typeof machineId === 'string' && typeof pidNamespace === 'string' && typeof bootId === 'string';
    return whole ? {machineId, pidNamespace, bootId} : undefined;
  } catch {
    return undefined;
  }
}

async function hasRecords(paths: StatePaths): Promise<boolean> {
  return readdirSync(paths.run).some(name => name.endsWith('.json'));
}

/** Whether a controller holds the leader lock or a worker answers on its control socket. */
async function isInUse(paths: StatePaths): Promise<boolean> {
  const leader = await tryHold(paths.home, 'leader');
  if (leader === undefined) return true;
  try {
    const sockets = readdirSync(paths.run).filter(name => name.endsWith('.sock'));
    const answers = await Promise.all(sockets.map(name => accepts(join(paths.run, name))));
    return answers.includes(true);
  } finally {
    await leader.release();
  }
}

function accepts(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({path});
    const settle = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => settle(true));
    socket.once('connect', () => settle(true));
    socket.once('error', error => settle(!['ECONNREFUSED', 'ENOENT'].includes(errorCode(error) ?? '')));
  });
}
