/** The process table: who runs, whether it is still the same one, and signals to exactly that one. */
import {readFileSync, readdirSync, readlinkSync, realpathSync} from 'node:fs';
import {hostname} from 'node:os';
import {TektonError} from '../api/errors.js';
import type {ProcessIdentity} from '../api/types.js';
import {errorCode, fileError} from './files.js';

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
  /** `<namespace>/<fleet>` that it was launched for, where its environment says so. */
  readonly fleet?: string;
}

/** A process that a worker has started, or that one of these has: its environment says whose it is. */
export interface Offspring {
  readonly identity: ProcessIdentity;
  /** Instance uid of the worker, which may be gone by now. */
  readonly uid: string;
}

/** Every live process of one state folder. */
export interface ProcessScan {
  readonly workers: readonly FoundWorker[];
  readonly offspring: readonly Offspring[];
}

/** What a process's environment says of whose it is: what a worker starts inherits it. */
export const environmentMarks = {
  home: 'TEKTON_AI_HOME',
  instance: 'TEKTON_AI_INSTANCE',
  fleet: 'TEKTON_AI_FLEET',
} as const;

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
 * The process table can't be read at this moment (too many open files, say): nobody is known to live or to be gone.
 * Whoever asks must take it for neither.
 */
export class ProcessTableError extends TektonError {
  override readonly name: string = 'ProcessTableError';
}

/**
 * The identity of the process `pid`, or undefined when there is none. A zombie counts as none: it runs no more and
 * only waits for its parent.
 *
 * @throws {ProcessTableError}
 */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  const row = await processRow(pid);
  if (row === undefined || isDead(row)) return undefined;
  return {pid, startTime: row.startTime, bootId: await bootId()};
}

/** Whether exactly this process still runs. A stopped one (SIGSTOP) does, a zombie does not. @throws {ProcessTableError} */
export async function isSame(identity: ProcessIdentity): Promise<boolean> {
  if (identity.bootId !== (await bootId())) return false;
  return matches(await processRow(identity.pid), identity);
}

/**
 * Signals the process if it is still the one that `identity` names, verified in the same breath; `group` also
 * reaches what it started, where it leads a process group. False: it is gone, and nobody was signalled.
 *
 * @throws {ProcessTableError} nobody was signalled
 */
export async function signalVerified(
  identity: ProcessIdentity,
  signal: NodeJS.Signals,
  {group = false}: {readonly group?: boolean} = {},
): Promise<boolean> {
  const {pid} = identity;
  if (!Number.isSafeInteger(pid) || pid <= 1 || pid === process.pid || identity.bootId !== (await bootId())) {
    return false;
  }
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

/** A line that is cut off says nothing: neither who it is, nor that it is gone. */
function linuxRow(pid: number): ProcessRow | undefined {
  const stat = readProc(`${pid}/stat`);
  if (stat === undefined) return undefined;
  const row = stat.endsWith('\n') ? parseStat(stat) : undefined;
  if (row === undefined) throw new ProcessTableError(`cannot read /proc/${pid}/stat: it is not whole`);
  return row;
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

/** Every live worker of the state folder `home`, found without any record; see `scanProcesses`. */
export async function findWorkers(home: string): Promise<readonly FoundWorker[]> {
  return (await scanProcesses(home)).workers;
}

/**
 * Every live process of the state folder `home`, found without any record, in one walk: workers by `--ai-id X --uid Y`
 * in their arguments, what they have started by TEKTON_AI_INSTANCE in its environment, both by TEKTON_AI_HOME.
 * Processes of other users can't be read, and are not ours.
 *
 * @throws {ProcessTableError} somebody may have been overlooked
 */
export async function scanProcesses(home: string): Promise<ProcessScan> {
  const boot = await bootId();
  if (!linux) {
    const {psScan} = await import('./processes-ps.js');
    return psScan(home, boot);
  }
  const workers: FoundWorker[] = [];
  const offspring: Offspring[] = [];
  for (const pid of linuxPids()) {
    if (pid === process.pid) continue;
    const text = readProc(`${pid}/environ`) ?? '';
    if (!text.includes(environmentMarks.home)) continue;
    const environment = text.split('\0');
    if (!carriesHome(environment, home)) continue;
    // Read after the environment and compared again at any signal: it speaks of this very process.
    const row = linuxRow(pid);
    if (row === undefined || isDead(row)) continue;
    const identity = {pid, startTime: row.startTime, bootId: boot};
    const marks = parseWorkerArguments((readProc(`${pid}/cmdline`) ?? '').split('\0'));
    const uid = valueOf(environment, environmentMarks.instance);
    const fleet = valueOf(environment, environmentMarks.fleet);
    if (marks !== undefined) workers.push({...marks, identity, ...(fleet !== undefined && {fleet})});
    else if (uid !== undefined) offspring.push({identity, uid});
  }
  return {workers: withoutForks(workers), offspring};
}

/**
 * Between fork and exec a child looks exactly like the worker that forks it: of one uid only the process that began
 * first is the worker.
 */
export function withoutForks(workers: readonly FoundWorker[]): readonly FoundWorker[] {
  const first = new Map<string, FoundWorker>();
  for (const worker of workers) {
    const other = first.get(worker.uid);
    if (other === undefined || begins(worker) < begins(other)) first.set(worker.uid, worker);
  }
  return workers.filter(worker => first.get(worker.uid) === worker);
}

/** Clock ticks where the start time is a number; dates of `ps` are too coarse to tell a fork from its parent. */
function begins({identity}: FoundWorker): number {
  return Number.isFinite(Number(identity.startTime)) ? Number(identity.startTime) : identity.pid;
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
  const theirs = valueOf(environment, environmentMarks.home);
  return theirs !== undefined && (theirs === home || realPath(theirs) === realPath(home));
}

function valueOf(environment: readonly string[], name: string): string | undefined {
  return environment.find(entry => entry.startsWith(`${name}=`))?.slice(name.length + 1) || undefined;
}

/**
 * Whether the process `pid` is the worker of the launch `uid`, by its arguments; undefined where the system doesn't
 * tell. What a record says of a pid was true when it was written.
 */
export function runsAs(pid: number, uid: string): boolean | undefined {
  const cmdline = linux ? readProc(`${pid}/cmdline`) : undefined;
  // Empty: the process is ending, and has no memory left to have arguments in.
  return cmdline === undefined ? undefined : parseWorkerArguments(cmdline.split('\0'))?.uid === uid;
}

/** Whether it is suspended, by SIGSTOP or a debugger: it takes no signal but SIGKILL until somebody lets it go on. */
export async function isSuspended(identity: ProcessIdentity): Promise<boolean> {
  const row = await processRow(identity.pid);
  return matches(row, identity) && /^[Tt]/.test(row?.state ?? '');
}

/** Whether the process handles SIGHUP; false where the system doesn't tell: to one that doesn't it is the end. */
export function handlesHangup(pid: number): boolean {
  const caught = linux ? /^SigCgt:\s+([0-9a-f]+)$/m.exec(tryReadProc(`${pid}/status`) ?? '')?.[1] : undefined;
  // Bit n-1 of the mask is signal n; SIGHUP is 1 (proc(5)).
  return caught !== undefined && (parseInt(caught.slice(-1), 16) & 1) === 1;
}

/** Resident memory in bytes, or undefined when the process is gone. */
export async function residentBytes(pid: number): Promise<number | undefined> {
  if (!linux) {
    const {psResidentBytes} = await import('./processes-ps.js');
    return psResidentBytes(pid);
  }
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(tryReadProc(`${pid}/status`) ?? '')?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

/** The pids of Linux's process table, or none elsewhere. @throws {ProcessTableError} */
export function linuxPids(): readonly number[] {
  if (!linux) return [];
  try {
    return readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .map(Number);
  } catch (error) {
    throw unreadable('/proc', error);
  }
}

let knownBootId: Promise<string> | undefined;

/** A process does not outlive its boot, so one reading is enough: but one that came to something. */
function bootId(): Promise<string> {
  knownBootId ??= readBootId().catch((error: unknown) => {
    knownBootId = undefined;
    throw error;
  });
  return knownBootId;
}

async function readBootId(): Promise<string> {
  if (linux) return readFirst('/proc/sys/kernel/random/boot_id') ?? 'unknown';
  const {sysctl} = await import('./processes-ps.js');
  return sysctl('kern.bootsessionuuid');
}

/** The machine, boot and pid namespace that this process lives in. @throws {ProcessTableError} */
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
  } catch (error) {
    if (isAbsence(error)) return 'none';
    throw unreadable('/proc/self/ns/pid', error);
  }
}

/** Trimmed content, or undefined where the file is missing or empty. */
function readFirst(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim() || undefined;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw unreadable(path, error);
  }
}

/**
 * A process may vanish, or belong to somebody else, at any moment: undefined then.
 *
 * @throws {ProcessTableError} it can't be read for another reason, which says nothing about the process
 */
export function readProc(path: string): string | undefined {
  try {
    return readFileSync(`/proc/${path}`, 'utf8');
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw unreadable(`/proc/${path}`, error);
  }
}

/** For what is good to know, and decides nothing. */
export function tryReadProc(path: string): string | undefined {
  try {
    return readProc(path);
  } catch {
    return undefined;
  }
}

/** Gone, or another user's: on a /proc that is mounted with `hidepid`, too, our own processes can always be read. */
function isAbsence(error: unknown): boolean {
  return ['ENOENT', 'ESRCH', 'ENOTDIR', 'EACCES', 'EPERM'].includes(errorCode(error) ?? '');
}

function unreadable(path: string, error: unknown): ProcessTableError {
  return new ProcessTableError(fileError(`cannot read ${path}`, error).message, {cause: error});
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
