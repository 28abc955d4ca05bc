/** Child processes that are hurt on purpose, and what /proc tells of processes. */
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {readFileSync, readdirSync, readlinkSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {setTimeout as delay} from 'node:timers/promises';

/** Starts `<name>.mjs` of this folder with an order; it ends when `stop` closes its standard input. */
export function startActor(name, order) {
  const script = fileURLToPath(new URL(`${name}.mjs`, import.meta.url));
  const child = spawn(process.execPath, [script, JSON.stringify(order)], {stdio: ['pipe', 'inherit', 'pipe']});
  child.stdin.on('error', () => undefined); // it may be dead already
  let stderr = '';
  child.stderr.on('data', chunk => (stderr += chunk));
  const gone = once(child, 'exit').then(([code, signal]) => ({code, signal, stderr}));
  return {pid: child.pid, gone, stop: () => child.stdin.end(), kill: signal => child.kill(signal)};
}

/** Which of `pids` holds the kernel lock `name` of the state folder now: caught by stopping it, and left stopped. */
export async function freezeHolder(home, name, pids) {
  const file = `${home}/run/locks/${name}.kernel`;
  for (let round = 0; round < 40; round++) {
    for (const pid of pids()) {
      if (!holds(pid, file)) continue;
      signal(pid, 'SIGSTOP');
      // It may have gone on until the signal came.
      if (holds(pid, file)) return pid;
      signal(pid, 'SIGCONT');
    }
    await delay(1);
  }
  return undefined;
}

function holds(pid, file) {
  try {
    return readdirSync(`/proc/${pid}/fd`).some(
      fd =>
        readlinkSync(`/proc/${pid}/fd/${fd}`) === file &&
        readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').includes('lock:'),
    );
  } catch {
    return false; // ended, or closed the file meanwhile
  }
}

/** False: there is no such process. */
export function signal(pid, name) {
  try {
    return process.kill(pid, name);
  } catch (error) {
    if (error.code === 'ESRCH') return false;
    throw error;
  }
}

/** Whether a process runs; one that ended and was not collected yet does not. */
export function isAlive(pid) {
  return ![undefined, 'Z', 'X'].includes(stateOf(pid));
}

/** R, S, D, T, Z, … as `ps` shows it; undefined where there is no such process. */
export function stateOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2)[0];
  } catch {
    return undefined;
  }
}
