/** The process table where there is no /proc (macOS): through `ps` and `sysctl`. Loaded only there. */
import {execa} from 'execa';
import {hostname} from 'node:os';
import {carriesHome, parseWorkerArguments} from './processes.js';
import type {FoundWorker, ProcessRow} from './processes.js';

/** `lstart` is a date of five words: "Sat Jul  4 10:00:00 2026". */
const rowPattern = /^\s*(\S+)\s+(\d+)\s+(\S+\s+\S+\s+\d+\s+[\d:]+\s+\d+)\s*$/;

export async function psRow(pid: number): Promise<ProcessRow | undefined> {
  const text = await ps(['-o', 'state=,pgid=,lstart=', '-p', String(pid)]);
  const [, state, group, startTime] = rowPattern.exec(text) ?? [];
  if (state === undefined || group === undefined || startTime === undefined) return undefined;
  return {state, group: Number(group), startTime: normalise(startTime)};
}

/** `-E` appends the environment of our own processes to the command line. */
export async function psWorkers(home: string, bootId: string): Promise<readonly FoundWorker[]> {
  const text = await ps(['-axwwE', '-o', 'pid=,state=,lstart=,command=']);
  const found: FoundWorker[] = [];
  for (const line of text.split('\n')) {
    const [, pid, state, startTime, command] =
      /^\s*(\d+)\s+(\S+)\s+(\S+\s+\S+\s+\d+\s+[\d:]+\s+\d+)\s+(.*)$/.exec(line) ?? [];
    if (pid === undefined || state === undefined || startTime === undefined || command === undefined) continue;
    const words = command.split(' ');
    const marks = parseWorkerArguments(words);
    if (marks === undefined || state.startsWith('Z') || !carriesHome(words, home)) continue;
    found.push({...marks, identity: {pid: Number(pid), startTime: normalise(startTime), bootId}});
  }
  return found;
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
