/** Runs seeds on a worker thread and reports what came of them. */
import {parentPort, workerData} from 'node:worker_threads';
import {simulate} from './simulate.js';
import type {Outcome} from './simulate.js';

interface Order {
  readonly from: number;
  readonly every: number;
  readonly count: number;
  /** Ends at the first failure. */
  readonly untilFailure: boolean;
  readonly deadlineMs: number | undefined;
}

/** What a thread says, now and then and at its end. */
export interface Progress {
  readonly type: 'progress' | 'end';
  readonly runs: number;
  readonly steps: number;
  readonly simulatedMs: number;
  readonly cpuMs: number;
  readonly happened: Readonly<Record<string, number>>;
  readonly failures: readonly {readonly seed: number; readonly rule: string; readonly text: string}[];
}

const reportEveryMs = 1_000;

void main(workerData as Order);

async function main({from, every, count, untilFailure, deadlineMs}: Order): Promise<void> {
  const happened: Record<string, number> = {};
  let [runs, steps, simulatedMs] = [0, 0, 0];
  let failures: Progress['failures'][number][] = [];
  const cpuBefore = process.cpuUsage();
  const began = performance.now();
  let reportedAt = began;
  const report = (type: Progress['type']): void => {
    const {user, system} = process.cpuUsage(cpuBefore);
    const cpuMs = (user + system) / 1000;
    parentPort?.postMessage({type, runs, steps, simulatedMs, cpuMs, happened, failures} satisfies Progress);
    failures = [];
    reportedAt = performance.now();
  };
  for (let i = 0; i < count; i++) {
    const outcome: Outcome = await simulate({seed: from + i * every});
    runs += 1;
    steps += outcome.steps;
    simulatedMs += outcome.ms;
    for (const [kind, times] of outcome.happened) happened[kind] = (happened[kind] ?? 0) + times;
    if (outcome.violation) failures.push({seed: outcome.seed, ...outcome.violation});
    if (outcome.violation && untilFailure) break;
    if (deadlineMs !== undefined && performance.now() - began > deadlineMs) break;
    if (performance.now() - reportedAt > reportEveryMs) report('progress');
  }
  report('end');
}
