import path from 'node:path';
import {exitCodes, TektonError} from '../../api/errors.js';
import {recordId} from '../../reconciler/desired.js';
import {readFleetRecords} from '../../registry/fleet-records.js';
import {mendRecords} from '../apply-records.js';
import type {ApplyFlags} from '../apply-records.js';
import type {Command, CommandContext} from '../context.js';
import {applyDeclarations, loadDeclarations} from '../declarations.js';
import type {Declarations} from '../declarations.js';
import type {ApplyOptions} from '../options.js';
import {write, writeLine} from '../output.js';
import {planLoaded} from '../plan.js';
import {predict, predictionText} from '../prediction.js';
import {differs, planText} from '../print/plan.js';
import {styleFor} from '../print/style.js';
import {windowLines} from '../sync-windows.js';

/**
 * Prints the plan, records what is declared, and makes it so: handed to the controller where one runs, else done here.
 * Without `--wait` it ends when every process answers; with it, when every chat would be answered.
 */
export const run: Command<ApplyOptions> = async (context, [planFile], options) => {
  const {check, ...declared} = await declarations(context, planFile, options);
  const loaded = declared.fleets;
  for (const fleet of loaded) for (const notice of fleet.notices) await writeLine(context.stderr, notice);
  if (!options.dryRun) await mendRecords(context, loaded);
  const plans = await planLoaded(context.home, loaded, options);
  const changes = plans.some(differs);
  await write(context.stdout, planText(plans, {style: styleFor(context.color), cwd: context.cwd}));
  if (!options.ignoreWindows) {
    for (const line of await windowLines(context.home, loaded)) await writeLine(context.stderr, line);
  }
  const prediction = predictionText(await predict(plans));
  if (prediction !== undefined) await writeLine(context.stderr, prediction);
  const changed = changes && options.detailedExitcode ? exitCodes.changes : exitCodes.ok;
  if (options.dryRun) return changed;

  const records = await applyDeclarations(context, declared, {...options, ...(check && {check})});
  const {converge} = await import('../converge.js');
  const {interrupted, progressLines, reportConvergence} = await import('../report.js');
  const goal = options.wait ? 'ready' : 'live';
  const progress = progressLines(context);
  const convergence = await converge(context, records, {...options, goal, steady: options, heal: true, progress});
  if (context.signal.aborted) return interrupted(context, convergence);
  const exitCode = await reportConvergence(context, convergence, {...options, goal});
  if (changes && convergence.through === 'here') {
    await writeLine(context.stderr, 'no controller is running: nothing heals them; keep them so with: tekton-ai up');
  }
  return exitCode === exitCodes.ok ? changed : exitCode;
};

/** From the files, or from a plan that was made of them earlier, with the check that it isn't stale. */
async function declarations(
  context: CommandContext,
  planFile: string | undefined,
  options: ApplyOptions,
): Promise<Declarations & {readonly check?: ApplyFlags['check']}> {
  if (planFile === undefined) return loadDeclarations(context, options);
  if (options.files.length > 0 || options.git) {
    throw new TektonError('cannot apply a plan and files at once', {exitCode: exitCodes.invalidInput});
  }
  const {assertBase, readPlan} = await import('../saved-plan.js');
  const file = path.resolve(context.cwd, planFile);
  const saved = readPlan(file, context.home);
  const loaded = saved.fleets.map(({declared}) => declared);
  // Before anything is printed, and again under the lock where it counts.
  const records = readFleetRecords(context.home);
  for (const fleet of loaded) {
    const record = records.find(one => recordId(one) === recordId(fleet));
    assertBase(planFile, saved, fleet, record);
  }
  return {fleets: loaded, sources: [], check: (fleet, record) => assertBase(planFile, saved, fleet, record)};
}
