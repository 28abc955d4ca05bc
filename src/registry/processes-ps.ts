/** The process table where there is no /proc (macOS): through `ps` and `sysctl`. Loaded only there. */
import {execa} from 'execa';
import {realpathSync} from 'node:fs';
import {hostname} from 'node:os';
import {environmentMarks, withoutForks} from './processes.js';
import type {FoundWorker, Offspring, ProcessRow, ProcessScan} from './processes.js';

/** `lstart` is a date of five words, "Sat Jul  4 10:00:00 2026"; a state may be "Ss+". */
const rowPattern = /^\s*(\S+)\s+(\d+)\s+(\S+\s+\S+\s+\d+\s+[\d:]+\s+\d+)\s*$/;
const linePattern = /^\s*(\d+)\s+(\S+)\s+(\S+\s+\S+\s+\d+\s+[\d:]+\s+\d+)\s+(.*)$/;

export async function psRow(pid: number): Promise<ProcessRow | undefined> {
  return parsePsRow(await ps(['-o', 'state=,pgid=,lstart=', '-p', String(pid)]));
}

/** One line of `ps -o state=,pgid=,lstart=`. */
export function parsePsRow(text: string): ProcessRow | undefined {
  const [, state, group, startTime] = rowPattern.exec(text) ?? [];
  if (state === undefined || group === undefined || startTime === undefined) return undefined;
  return {state, group: Number(group), startTime: normalise(startTime)};
}

/** `-E` appends the environment of our own processes to the command line. */
export async function psScan(home: string, bootId: string): Promise<ProcessScan> {
  const text = await ps(['-axwwE', '-o', 'pid=,state=,lstart=,command=']);
  return parsePsScan(text, [...new Set([home, realPath(home)])], bootId);
}

/**
 * Lines of `ps -axwwE -o pid=,state=,lstart=,command=`: arguments and environment stand one after the other, divided by
 * single spaces, which they may contain themselves. So nothing is split: a mark's value ends where the next variable
 * begins. Ai ids and uids have no spaces.
 *
 * @param homes ways to spell the state folder's path
 */
export function parsePsScan(text: string, homes: readonly string[], bootId: string): ProcessScan {
  const workers: FoundWorker[] = [];
  const offspring: Offspring[] = [];
  for (const line of text.split('\n')) {
    const [, pid, state, startTime, command] = linePattern.exec(line) ?? [];
    if (pid === undefined || state === undefined || startTime === undefined || command === undefined) continue;
    const home = variable(command, environmentMarks.home);
    if (state.startsWith('Z') || Number(pid) === process.pid || home === undefined || !homes.includes(home)) continue;
    const identity = {pid: Number(pid), startTime: normalise(startTime), bootId};
    const aiId = / --ai-id (\S+)/.exec(command)?.[1];
    const argued = / --uid (\S+)/.exec(command)?.[1];
    const uid = variable(command, environmentMarks.instance);
    const fleet = variable(command, environmentMarks.fleet);
    if (aiId !== undefined && argued !== undefined) {
      workers.push({aiId, uid: argued, identity, ...(fleet !== undefined && {fleet})});
    } else if (uid !== undefined) offspring.push({identity, uid});
  }
  return {workers: withoutForks(workers), offspring};
}

function variable(command: string, name: string): string | undefined {
  return new RegExp(` ${name}=(.*?)(?= [A-Za-z_][A-Za-z0-9_]*=|$)`).exec(command)?.[1];
}

export async function psResidentBytes(pid: number): Promise<number | undefined> {
  const kilobytes = (await ps(['-o', 'rss=', '-p', String(pid)])).trim();
  return /^\d+$/.test(kilobytes) ? Number(kilobytes) * 1024 : undefined;
}

/** One of the kernel's own values; the host's name stands in for one that it doesn't have. */
export async function sysctl(name: string): Promise<string> {
  const {stdout, failed} = await execa('sysctl', ['-n', name], {reject: false, timeout: 5_000});
  return failed || stdout.trim() === '' ? hostname() : stdout.trim();
}

/** `ps` fails when no process matches: an empty answer. The C locale keeps the dates comparable. */
async function ps(options: readonly string[]): Promise<string> {
  const {stdout} = await execa('ps', options, {reject: false, timeout: 5_000, env: {LC_ALL: 'C', TZ: 'UTC'}});
  return stdout ?? '';
}

function normalise(startTime: string): string {
  return startTime.replace(/\s+/g, ' ').trim();
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
