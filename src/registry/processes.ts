/** The process table: who runs, whether it is still the same one, and signals to exactly that one. */
import {readFileSync, readdirSync, readlinkSync, realpathSync} from 'node:fs';
import {hostname} from 'node:os';
import type {ProcessIdentity} from '../api/types.js';

/** Which process table a pid means something in. */
export interface HostIdentity {
  readonly machineId: string;
  readonly pidNamespace: string;
  readonly bootId: string;
}

export interface FoundWorker {
  readonly aiId: string;
  readonly uid: string;
  readonly identity: ProcessIdentity;
}

/** One line of the process table. */
export interface ProcessRow {
  readonly startTime: string;
  /** Process group. */
  readonly group: number;
  /** One letter as `ps` shows it: R, S, D, T, Z, X, … */
  readonly state: string;
}

const linux = process.platform === 'linux';

/**
 * The identity of the process `pid`, or undefined when there is none. A zombie counts as none: it runs no more and
 * only waits for its parent.
 */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  const row = await processRow(pid);
  if (row === undefined || isDead(row)) return undefined;
  return {pid, startTime: row.startTime, bootId: await bootId()};
}

/** Whether exactly this process still runs. A stopped one (SIGSTOP) does, a zombie does not. */
export async function isSame(identity: ProcessIdentity): Promise<boolean> {
  if (identity.bootId !== (await bootId())) return false;
  return matches(await processRow(identity.pid), identity);
}

/**
 * Signals the process if it is still the one that `identity` names, verified in the same breath; `group` also
 * reaches what it started, where it leads a process group. False: it is gone, and nobody was signalled.
 */
export async function signalVerified(
  identity: ProcessIdentity,
  signal: NodeJS.Signals,
  {group = false}: {readonly group?: boolean} = {},
): Promise<boolean> {
  if (identity.pid <= 1 || identity.pid === process.pid || identity.bootId !== (await bootId())) return false;
  const row = linux ? linuxRow(identity.pid) : await processRow(identity.pid);
  if (row === undefined || !matches(row, identity)) return false;
  try {
    process.kill(group && row.group === identity.pid ? -identity.pid : identity.pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

function matches(row: ProcessRow | undefined, identity: ProcessIdentity): boolean {
  return row !== undefined && !isDead(row) && row.startTime === identity.startTime;
}

function isDead(row: ProcessRow): boolean {
  return row.state.startsWith('Z') || row.state.startsWith('X');
}

/** The process's line of the process table, zombies included. */
export async function processRow(pid: number): Promise<ProcessRow | undefined> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  if (linux) return linuxRow(pid);
  const {psRow} = await import('./processes-ps.js');
  return psRow(pid);
}

function linuxRow(pid: number): ProcessRow | undefined {
  const stat = readProc(`${pid}/stat`);
  return stat === undefined ? undefined : parseStat(stat);
}

/**
 * `/proc/<pid>/stat`: the second field is the program's name in parentheses and may itself contain spaces and
 * parentheses, so fields are counted from the last one. Start time is field 22, in clock ticks since boot (proc(5)).
 */
export function parseStat(stat: string): ProcessRow | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, group, startTime] = [fields[0], fields[2], fields[19]];
  if (state === undefined || group === undefined || startTime === undefined) return undefined;
  return {state, group: Number(group), startTime};
}

/**
 * Every live worker of the state folder `home`, found without any record: by `--ai-id X --uid Y` in its arguments
 * and TEKTON_AI_HOME in its environment. Workers of other users can't be read, and are not ours.
 */
export async function findWorkers(home: string): Promise<readonly FoundWorker[]> {
  if (!linux) {
    const {psWorkers} = await import('./processes-ps.js');
    return psWorkers(home, await bootId());
  }
  const boot = await bootId();
  const found: FoundWorker[] = [];
  for (const pid of linuxPids()) {
    const marks = parseWorkerArguments((readProc(`${pid}/cmdline`) ?? '').split('\0'));
    if (marks === undefined || !carriesHome((readProc(`${pid}/environ`) ?? '').split('\0'), home)) continue;
    const row = linuxRow(pid);
    if (row === undefined || isDead(row)) continue;
    found.push({...marks, identity: {pid, startTime: row.startTime, bootId: boot}});
  }
  return found;
}

/** `--ai-id` and `--uid` of a command line, or undefined where it is no worker's. */
export function parseWorkerArguments(
  argv: readonly string[],
): {readonly aiId: string; readonly uid: string} | undefined {
  const aiId = argv[argv.indexOf('--ai-id') + 1];
  const uid = argv[argv.indexOf('--uid') + 1];
  const marked = argv.includes('--ai-id') && argv.includes('--uid');
  return marked && aiId && uid ? {aiId, uid} : undefined;
}

export function carriesHome(environment: readonly string[], home: string): boolean {
  const theirs = environment.find(entry => entry.startsWith('TEKTON_AI_HOME='))?.slice('TEKTON_AI_HOME='.length);
  return theirs !== undefined && (theirs === home || realPath(theirs) === realPath(home));
}

/** Resident memory in bytes, or undefined when the process is gone. */
export async function residentBytes(pid: number): Promise<number | undefined> {
  if (!linux) {
    const {psResidentBytes} = await import('./processes-ps.js');
    return psResidentBytes(pid);
  }
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readProc(`${pid}/status`) ?? '')?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

/** The pids of Linux's process table, or none elsewhere. */
export function linuxPids(): readonly number[] {
  try {
    return readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

let knownBootId: Promise<string> | undefined;

/** A process does not outlive its boot, so one reading is enough. */
function bootId(): Promise<string> {
  knownBootId ??= linux
    ? Promise.resolve(readFirst('/proc/sys/kernel/random/boot_id') ?? 'unknown')
    : import('./processes-ps.js').then(module => module.sysctl('kern.bootsessionuuid'));
  return knownBootId;
}

/** The machine, boot and pid namespace that this process lives in. */
export async function hostIdentity(): Promise<HostIdentity> {
  return {machineId: await machineId(), pidNamespace: pidNamespace(), bootId: await bootId()};
}

async function machineId(): Promise<string> {
  if (linux) return readFirst('/etc/machine-id') ?? readFirst('/var/lib/dbus/machine-id') ?? hostname();
  const {sysctl} = await import('./processes-ps.js');
  return sysctl('kern.uuid');
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return 'none';
  }
}

/** Trimmed content, or undefined where the file is missing or empty. */
function readFirst(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim() || undefined;
  } catch {
    return undefined;
  }
}

/** A process may vanish, or belong to somebody else, at any moment: undefined then. */
export function readProc(path: string): string | undefined {
  try {
    return readFileSync(`/proc/${path}`, 'utf8');
  } catch {
    return undefined;
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
