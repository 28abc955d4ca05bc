import {condition} from '../../api/conditions.js';
import {exitCodes} from '../../api/errors.js';
import type {Command} from '../context.js';
import {knownSpecialists} from '../names.js';
import type {RolloutStatusOptions} from '../options.js';
import {writeLine} from '../output.js';
import {selectMany} from '../select.js';
import {qualifiedName, whyNotAsDeclared, whyNotReady, type SpecialistView} from '../view.js';
import {waitForSpecialists} from '../wait.js';

/** Ends when what is declared last runs and is Ready, or when that failed. */
export const run: Command<RolloutStatusOptions> = async (context, names, options) => {
  const meant = await selectMany(knownSpecialists(context.home, options), names);
  const waited = await waitForSpecialists(context, meant, {
    scope: options,
    timeoutMs: options.timeoutMs,
    judge: view => {
      if (view === undefined) return 'open';
      if (isOff(view) || isRolledOut(view)) return 'met';
      return whyNotAsDeclared(view) ? 'hopeless' : 'open';
    },
    met: (one, view) => {
      const how = view && isOff(view) ? 'is not to run' : `is rolled out (generation ${view?.generation ?? '?'})`;
      return writeLine(context.stdout, `specialist/${qualifiedName(one)} ${how}`);
    },
  });
  if (waited.type === 'met') return exitCodes.ok;
  if (waited.type === 'interrupted') return exitCodes.interrupted;
  for (const {one, view} of waited.open) {
    await writeLine(context.stderr, `${qualifiedName(one)} is not rolled out: ${standing(view)}`);
  }
  return exitCodes.notReady;
};

function isOff({status}: SpecialistView): boolean {
  return status.phase === 'Disabled' || status.phase === 'Stopped';
}

function isRolledOut({status, generation}: SpecialistView): boolean {
  const ready = condition(status.conditions, 'Ready');
  const progressing = condition(status.conditions, 'Progressing');
  return status.observedGeneration >= generation && ready?.status === 'True' && progressing?.status !== 'True';
}

function standing(view: SpecialistView | undefined): string {
  if (view === undefined) return 'nothing is known about it';
  const progressing = condition(view.status.conditions, 'Progressing');
  const telling = whyNotAsDeclared(view) ?? (progressing?.status === 'True' ? progressing : whyNotReady(view));
  return telling === undefined ? 'the controller has not come to it yet' : `${telling.reason}: ${telling.message}`;
}
