/** Waits until specialists stand as a command wants them. */
import {statePaths} from '../registry/paths.js';
import type {CommandContext} from './context.js';
import {watchFolder} from './follow.js';
import {observe} from './observe.js';
import type {GlobalOptions} from './options.js';
import type {Named} from './select.js';
import type {SpecialistView} from './view.js';

export interface WaitForOptions {
  readonly scope: GlobalOptions;
  readonly timeoutMs: number;
  /** Called for each that is still waited for, again and again; `left-out`: it is not meant after all. */
  readonly judge: (view: SpecialistView | undefined) => 'met' | 'open' | 'hopeless' | 'left-out';
  /** Called once for each that stands as wanted. */
  readonly met: (one: Named, view: SpecialistView | undefined) => Promise<void>;
}

export interface Waited {
  readonly type: 'met' | 'late' | 'interrupted';
  /** Those that don't stand as wanted, as they were seen last. */
  readonly open: readonly {readonly one: Named; readonly view: SpecialistView | undefined}[];
}

/** Looked at again after this time, though no file of the controller changed: it may have died. */
const againMs = 1000;

/** Ends when none is open, or all that are have no hope, or the time is up. */
export async function waitForSpecialists(
  context: CommandContext,
  meant: readonly Named[],
  {scope, timeoutMs, judge, met}: WaitForOptions,
): Promise<Waited> {
  const deadline = AbortSignal.timeout(Math.max(1, timeoutMs));
  const signal = AbortSignal.any([context.signal, deadline]);
  const changes = watchFolder(statePaths(context.home).status);
  const open = new Map(meant.map(one => [one.aiId, one]));
  try {
    for (;;) {
      const {specialists} = await observe(context, {...scope, aiIds: new Set(open.keys())});
      const views = new Map(specialists.map(view => [view.aiId, view]));
      const left = () => [...open.values()].map(one => ({one, view: views.get(one.aiId)}));
      // What was seen while it was being cut short is no answer.
      if (context.signal.aborted) return {type: 'interrupted', open: left()};
      let hopeless = 0;
      for (const [aiId, one] of open) {
        const verdict = judge(views.get(aiId));
        if (verdict === 'hopeless') hopeless++;
        if (verdict === 'met' || verdict === 'left-out') open.delete(aiId);
        if (verdict === 'met') await met(one, views.get(aiId));
      }
      if (open.size === 0) return {type: 'met', open: []};
      if (deadline.aborted || hopeless === open.size) return {type: 'late', open: left()};
      await changes.next(againMs, signal);
    }
  } finally {
    changes.close();
  }
}
