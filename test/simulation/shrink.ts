/** Makes a failing run smaller: without this incident, without that specialist, as long as it still fails by the same rule. */
import {drawScenario} from './scenario.js';
import type {Keep} from './scenario.js';
import {simulate} from './simulate.js';
import type {Outcome} from './simulate.js';

export async function shrink(seed: number): Promise<{readonly keep: Keep; readonly outcome: Outcome} | undefined> {
  const first = await simulate({seed});
  const rule = first.violation?.rule;
  if (rule === undefined) return undefined;
  const scenario = drawScenario(seed);
  let incidents = scenario.incidents.map(({index}) => index);
  let specialists = [...new Set(scenario.fleets.flatMap(({says}) => says.map(({name}) => name)))];
  const fails = async (keep: Keep): Promise<boolean> => (await simulate({seed, keep})).violation?.rule === rule;
  for (let before = Infinity; incidents.length + specialists.length < before;) {
    before = incidents.length + specialists.length;
    incidents = await leaveOut(incidents, async left => fails({incidents: left, specialists}));
    specialists = await leaveOut(
      specialists,
      async left => left.length > 0 && (await fails({incidents, specialists: left})),
    );
  }
  const keep = {incidents, specialists};
  return {keep, outcome: await simulate({seed, keep, trace: true})};
}

/** Halves first, then one by one. */
async function leaveOut<T>(items: readonly T[], stillFails: (left: T[]) => Promise<boolean>): Promise<T[]> {
  let left = [...items];
  for (let size = Math.ceil(left.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < left.length;) {
      const tried = [...left.slice(0, at), ...left.slice(at + size)];
      if (await stillFails(tried)) left = tried;
      else at += size;
    }
  }
  return left;
}

/** `i:3,7;s:athena,eos`, for a command line. */
export function keepText({incidents = [], specialists = []}: Keep): string {
  return `i:${incidents.join(',')};s:${specialists.join(',')}`;
}

/** @throws where it is none of `keepText` */
export function parseKeep(text: string): Keep {
  const [, incidents, specialists] = /^i:([\d,]*);s:([a-z,]*)$/.exec(text) ?? [];
  if (incidents === undefined || specialists === undefined) throw new Error(`not a shrunk run: ${text}`);
  const list = (part: string): string[] => part.split(',').filter(item => item !== '');
  return {incidents: list(incidents).map(Number), specialists: list(specialists)};
}
