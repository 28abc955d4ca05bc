import path from 'node:path';
import {ConflictError, exitCodes, TektonError} from '../../api/errors.js';
import type {LoadedFleet} from '../../api/types.js';
import {nextRecord} from '../../reconciler/desired.js';
import type {Plan} from '../../reconciler/types.js';
import {readFleetRecord} from '../../registry/fleet-records.js';
import type {Command, CommandContext} from '../context.js';
import {loadDeclarations} from '../declarations.js';
import {exitCodeOfDiff, planVerb} from '../diff-exit.js';
import {heldLines} from '../notices.js';
import type {DiffOptions} from '../options.js';
import {write, writeLine} from '../output.js';
import {planLoaded} from '../plan.js';
import {predict, predictionText} from '../prediction.js';
import {planText} from '../print/plan.js';
import {styleFor} from '../print/style.js';
import {windowLines} from '../sync-windows.js';

/** `diff` and `plan`: the same print, other exit codes. */
export const run: Command<DiffOptions> = (context, args, options) => planVerb(compare)(context, args, options);

const compare: Command<DiffOptions> = async (context, _args, options) => {
  const {stdout, stderr, color, cwd} = context;
  const {fleets, sources} = await loadDeclarations(context, options);
  if (options.out !== undefined && sources.length > 0) throw cannotSave();
  const plans = await planLoaded(context.home, fleets, {prune: true});
  const remarks = [
    ...fleets.flatMap(fleet => fleet.notices),
    ...sourceConflicts(context, fleets),
    ...fleets.flatMap(fleet => heldLines(readFleetRecord(context.home, fleet) ?? {specialists: []})),
  ];
  for (const line of remarks) await writeLine(stderr, line);
  for (const line of await windowLines(context.home, fleets)) await writeLine(stderr, line);
  const prediction = predictionText(await predict(plans));
  if (options.output === 'text') await write(stdout, planText(plans, {style: styleFor(color), cwd}));
  else {
    const {writeReview} = await import('../review/write.js');
    await writeReview(context, options, {plans, fleets, remarks});
  }
  if (prediction !== undefined) await writeLine(stderr, prediction);
  if (options.out !== undefined) await save(context, options.out, fleets, plans);
  return exitCodeOfDiff(plans, options);
};

/** It would be carried out without the files that it was made of, and nobody would follow the source. */
function cannotSave(): TektonError {
  return new TektonError('cannot save the plan of a git source', {
    exitCode: exitCodes.invalidInput,
    hint: 'a commit is what stays the same: have the source follow one (spec.commit), or pin it with rollout undo --source',
  });
}

async function save(
  {home, cwd, stderr}: CommandContext,
  file: string,
  fleets: readonly LoadedFleet[],
  plans: readonly Plan[],
): Promise<void> {
  const {savePlan} = await import('../saved-plan.js');
  await savePlan(path.resolve(cwd, file), home, fleets, plans);
  await writeLine(stderr, `saved; carry it out with: tekton-ai apply ${file}`);
}

/** An apply of the same files would be refused: a person should hear that before. */
function sourceConflicts({home}: CommandContext, fleets: readonly LoadedFleet[]): readonly string[] {
  return fleets.flatMap(fleet => {
    const record = readFleetRecord(home, fleet);
    const options = {confirmed: true, takeOver: false, prune: true, appliedAt: '', version: ''};
    try {
      nextRecord(record, fleet, options);
      return [];
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      return [`an apply would be refused: ${error.message}`];
    }
  });
}
