import {condition} from '../../api/conditions.js';
import {exitCodes, TektonError} from '../../api/errors.js';
import type {Command, CommandContext} from '../context.js';
import {knownSpecialists} from '../names.js';
import type {WaitFor, WaitOptions} from '../options.js';
import {writeLine} from '../output.js';
import {selectMany, type Named} from '../select.js';
import {qualifiedName, whyNotReady, type SpecialistView} from '../view.js';
import {waitForSpecialists} from '../wait.js';

/** Ends when all of the named specialists (or, without names, all there are) stand as wanted, each told once. */
export const run: Command<WaitOptions> = async (context, names, options) => {
  const {for: wanted, timeoutMs} = options;
  const meant = await specialistsMeant(context, names, options);
  const metText = wanted.type === 'delete' ? 'deleted' : 'condition met';
  const waited = await waitForSpecialists(context, meant, {
    scope: options,
    timeoutMs,
    judge: view => {
      // Asked for all, nobody means those that are not to run.
      if (names.length === 0 && view?.status.phase === 'Disabled') return 'left-out';
      return isMet(wanted, view) ? 'met' : 'open';
    },
    met: one => writeLine(context.stdout, `specialist/${qualifiedName(one)} ${metText}`),
  });
  if (waited.type === 'met') return exitCodes.ok;
  if (waited.type === 'interrupted') return exitCodes.interrupted;
  const what = wanted.type === 'delete' ? 'not deleted' : `not ${wanted.condition}=${wanted.status}`;
  await writeLine(context.stderr, `${what} within ${timeoutMs / 1000} s:`);
  for (const {one, view} of waited.open) {
    await writeLine(context.stderr, `  ${qualifiedName(one)}: ${standing(wanted, view)}`);
  }
  return exitCodes.notReady;
};

/** Who is gone already was waited for with success, so its name need not be known any more. */
async function specialistsMeant(
  {home, stderr}: CommandContext,
  names: readonly string[],
  options: WaitOptions,
): Promise<readonly Named[]> {
  const known = knownSpecialists(home, options);
  if (options.for.type !== 'delete') {
    if (known.length === 0) throw new TektonError('there is nothing to wait for: no specialist is declared or runs');
    return selectMany(known, names);
  }
  const isKnown = (name: string) =>
    known.some(one => [one.aiId, one.name, `${one.namespace}/${one.name}`].includes(name));
  const standing = names.filter(isKnown);
  for (const name of names.filter(one => !isKnown(one))) {
    await writeLine(stderr, `no specialist "${name}" is known: nothing to wait for`);
  }
  return names.length > 0 && standing.length === 0 ? [] : selectMany(known, standing);
}

function isMet(wanted: WaitFor, view: SpecialistView | undefined): boolean {
  if (wanted.type === 'delete') return view === undefined;
  if (view === undefined) return false;
  // A condition of an earlier generation says nothing about what is declared now.
  const found = condition(view.status.conditions, wanted.condition);
  return found?.status === wanted.status && found.observedGeneration >= view.generation;
}

function standing(wanted: WaitFor, view: SpecialistView | undefined): string {
  if (view === undefined) return 'nothing is known about it';
  const found = wanted.type === 'delete' ? undefined : condition(view.status.conditions, wanted.condition);
  const {reason, message} = found ?? whyNotReady(view) ?? {reason: 'Ready', message: 'it answers'};
  return `${reason}: ${message}`;
}
