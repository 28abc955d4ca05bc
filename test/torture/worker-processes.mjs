/** The processes of a state folder as the kernel has them, asked without the product's own code. */
import {readFileSync, readdirSync, readlinkSync} from 'node:fs';
import {isAlive} from './processes.mjs';

/** Every living process that carries the state folder in its environment: {pid, aiId, uid, command}. */
export function processesOf(home) {
  return readdirSync('/proc').flatMap(name => {
    if (!/^\d+$/.test(name)) return [];
    const pid = Number(name);
    if (!read(pid, 'environ').split('\0').includes(`TEKTON_AI_HOME=${home}`) || !isAlive(pid)) return [];
    const argv = read(pid, 'cmdline').split('\0');
    const after = flag => (argv.includes(flag) ? argv[argv.indexOf(flag) + 1] : undefined);
    return [{pid, aiId: after('--ai-id'), uid: after('--uid'), command: argv.slice(1).join(' ').trim()}];
  });
}

/** The workers among them. A process that is between fork and exec still looks like its parent, not like a worker. */
export function workersOf(home) {
  return processesOf(home).filter(({aiId, uid}) => aiId !== undefined && uid !== undefined);
}

/** TCP ports that the process listens on. */
export function listeningPorts(pid) {
  const sockets = new Set(descriptorsOf(pid).flatMap(link => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []));
  return read(pid, 'net/tcp')
    .split('\n')
    .map(line => line.trim().split(/\s+/))
    .filter(fields => fields[3] === '0A' && sockets.has(fields[9]))
    .map(fields => Number.parseInt(fields[1].split(':')[1], 16));
}

/** A variable that the process was started with. */
export function variableOf(pid, name) {
  const found = read(pid, 'environ')
    .split('\0')
    .find(text => text.startsWith(`${name}=`));
  return found?.slice(name.length + 1);
}

/** Start time in clock ticks since boot, as text (proc(5), field 22). */
export function startTimeOf(pid) {
  const stat = read(pid, 'stat');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

/** Pids of ended children that nobody has collected. */
export function zombiesOf(parent) {
  return readdirSync('/proc').filter(pid => {
    const stat = /^\d+$/.test(pid) ? read(pid, 'stat') : '';
    const [state, ppid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' && Number(ppid) === parent;
  });
}

/** What each open descriptor leads to. */
export function descriptorsOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/fd`).map(fd => link(`/proc/${pid}/fd/${fd}`));
  } catch {
    return [];
  }
}

function link(path) {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function read(pid, file) {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
