/** What a worker has started dies with it, however it went. */
import {scanProcesses, signalVerified} from './processes.js';
import type {Offspring, ProcessScan} from './processes.js';

/** Workers that go down together are served by one walk of the process table: it begins this much after the first, ms. */
const gatherMs = 20;
/** What starts others while it is being ended is caught in a later round. */
const rounds = 5;

export interface GoneWorker {
  readonly home: string;
  readonly uid: string;
  /** Its process, which led a group of its own. */
  readonly pid: number;
}

/**
 * Kills what the worker `uid`, which is gone, has left running in its process group, and what left the group and is
 * found on the way. A process is only signalled that carries the worker's uid and the state folder in its environment:
 * by now the group's number may be a stranger's. Where no group of that number exists, as nearly always, this costs one
 * system call.
 *
 * @returns the pids that were killed
 */
export async function endOffspring({home, uid, pid}: GoneWorker, scan = scanProcesses): Promise<readonly number[]> {
  // One that is still going down may be met, and told, again.
  const ended = new Set<number>();
  for (let round = 0; round < rounds && groupExists(pid); round++) {
    // A walk that fails now leaves them to the next controller's.
    const offspring = await scanSoon(home, scan).then(
      found => found.offspring,
      () => [],
    );
    const now = await kill(offspring.filter(one => one.uid === uid));
    if (now.length === 0) break; // the dead, who wait for their parents, or strangers
    for (const one of now) ended.add(one);
  }
  return [...ended];
}

/** Kills what workers have started that are gone: of all whose uid is not in `living`. @returns the pids */
export async function endOrphans({offspring}: ProcessScan, living: ReadonlySet<string>): Promise<readonly number[]> {
  return kill(offspring.filter(({uid}) => !living.has(uid)));
}

async function kill(offspring: readonly Offspring[]): Promise<readonly number[]> {
  const ended: number[] = [];
  for (const {identity} of offspring) {
    // Each by its own pid, verified right before: nothing is left that proves a whole group ours.
    if (await signalVerified(identity, 'SIGKILL').catch(() => false)) ended.push(identity.pid);
  }
  return ended;
}

/** Whether any process, a dead one that waits for its parent included, is in the group. */
function groupExists(group: number): boolean {
  if (!Number.isSafeInteger(group) || group <= 1) return false; // -1 is everybody
  try {
    process.kill(-group, 0);
    return true;
  } catch {
    return false; // ESRCH; or EPERM: all of it is somebody else's
  }
}

const coming = new Map<string, Promise<ProcessScan>>();

/** A walk that begins after this call. */
function scanSoon(home: string, scan: typeof scanProcesses): Promise<ProcessScan> {
  const known = coming.get(home);
  if (known !== undefined) return known;
  const next = new Promise<void>(resolve => setTimeout(resolve, gatherMs)).then(() => {
    coming.delete(home);
    return scan(home);
  });
  coming.set(home, next);
  return next;
}
