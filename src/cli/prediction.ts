/** What carrying a plan out will cost the machine. */
import {readFile} from 'node:fs/promises';
import type {Plan} from '../reconciler/types.js';
import {bytesText} from './print/amounts.js';

export interface Prediction {
  /** More, or with a minus fewer, processes than now. */
  readonly processes: number;
  /** Of memory that they share with nobody. */
  readonly bytes: number;
}

/** What an idle worker keeps for itself, before it has loaded a provider: measured by `npm run bench`. */
const idleWorkerBytes = 7e6;

/** As many workers are asked for their memory as give a fair mean. */
const sampled = 16;

/** Counts by what runs now; where nothing does, by what an idle worker was measured to take. */
export async function predict(plans: readonly Plan[]): Promise<Prediction> {
  const actions = plans.flatMap(plan => plan.actions);
  const running = actions.flatMap(action => ('observed' in action ? (action.observed.instance ?? []) : []));
  const known = await Promise.all(running.slice(0, sampled).map(({identity}) => privateBytes(identity.pid)));
  const sizes = known.filter(bytes => bytes !== undefined);
  const eachBytes = sizes.length === 0 ? idleWorkerBytes : sizes.reduce((sum, bytes) => sum + bytes, 0) / sizes.length;
  const added = actions.filter(action => action.type === 'create').length;
  const freed = actions.filter(a => (a.type === 'stop' || a.type === 'prune') && a.observed.state === 'running').length;
  return {processes: added - freed, bytes: (added - freed) * eachBytes};
}

/** "that is 2 more processes, with about 14 MB of memory of their own"; undefined when it makes no difference. */
export function predictionText({processes, bytes}: Prediction): string | undefined {
  if (processes === 0) return undefined;
  const [way, count] = [processes > 0 ? 'more' : 'fewer', Math.abs(processes)];
  const [noun, their] = count === 1 ? ['process', 'its'] : ['processes', 'their'];
  return `that is ${count} ${way} ${noun}, with about ${bytesText(Math.abs(bytes))} of memory of ${their} own`;
}

/** proc(5): `Private_*` lines, in kB. undefined: gone, or a system without /proc. */
async function privateBytes(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => undefined);
  const lines = [...(text ?? '').matchAll(/^Private_\w+:\s+(\d+) kB$/gm)];
  return lines.length === 0 ? undefined : lines.reduce((sum, [, kilobytes]) => sum + Number(kilobytes) * 1024, 0);
}
