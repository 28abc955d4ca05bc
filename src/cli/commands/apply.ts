import {exitCodes} from '../../api/errors.js';
import {applyRecords} from '../apply-records.js';
import type {Command} from '../context.js';
import {loadSources} from '../load.js';
import type {ApplyOptions} from '../options.js';
import {write, writeLine} from '../output.js';
import {planLoaded} from '../plan.js';
import {differs, planText} from '../print/plan.js';
import {styleFor} from '../print/style.js';

/**
 * Prints the plan, records what is declared, and makes it so: handed to the controller where one runs, else done here.
 * Without `--wait` it ends when every process answers; with it, when every chat would be answered.
 */
export const run: Command<ApplyOptions> = async (context, _args, options) => {
  const loaded = await loadSources(context, options);
  for (const fleet of loaded) for (const notice of fleet.notices) await writeLine(context.stderr, notice);
  const plans = await planLoaded(context.home, loaded, options);
  const changes = plans.some(differs);
  await write(context.stdout, planText(plans, {style: styleFor(context.color), cwd: context.cwd}));
  const changed = changes && options.detailedExitcode ? exitCodes.changes : exitCodes.ok;
  if (options.dryRun) return changed;

  const records = await applyRecords(context, loaded, options);
  const {converge} = await import('../converge.js');
  const {interrupted, progressLines, reportConvergence} = await import('../report.js');
  const goal = options.wait ? 'ready' : 'live';
  const convergence = await converge(context, records, {...options, goal, progress: progressLines(context)});
  if (context.signal.aborted) return interrupted(context, convergence);
  const exitCode = await reportConvergence(context, convergence, {...options, goal});
  if (changes && convergence.through === 'here') {
    await writeLine(context.stderr, 'no controller is running: nothing heals them; keep them so with: tekton-ai up');
  }
  return exitCode === exitCodes.ok ? changed : exitCode;
};
