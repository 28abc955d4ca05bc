/** How `diff` and `plan` end. */
import {exitCodes} from '../api/errors.js';
import type {ExitCode} from '../api/errors.js';
import type {Plan} from '../reconciler/types.js';
import type {Command} from './context.js';
import {errorText, exitCodeOf} from './errors.js';
import type {PlanVerbOptions} from './options.js';
import {write} from './output.js';
import {differs} from './print/plan.js';

/** `diff` ends as kubectl's does, `plan` with 0 or, where asked for, 2. */
export function exitCodeOfDiff(plans: readonly Plan[], {verb, detailedExitcode}: PlanVerbOptions): ExitCode {
  if (!plans.some(differs)) return exitCodes.ok;
  if (verb === 'diff') return exitCodes.failed;
  return detailedExitcode ? exitCodes.changes : exitCodes.ok;
}

/** Of `diff`, 1 means "differs": a failure is told, and ends with a code above. */
export function planVerb<Options extends PlanVerbOptions>(run: Command<Options>): Command<Options> {
  return async (context, args, options) => {
    try {
      if (options.output === 'text') return await run(context, args, options);
      const {withReview} = await import('./review/write.js');
      return await withReview<Options>(({verb}) => verb, run)(context, args, options);
    } catch (error) {
      if (options.verb === 'plan' || context.signal.aborted || exitCodeOf(error) > exitCodes.failed) throw error;
      const debug = context.environment['TEKTON_AI_DEBUG'] === '1';
      await write(context.stderr, errorText(error, {cwd: context.cwd, debug}));
      return exitCodes.changes;
    }
  };
}
