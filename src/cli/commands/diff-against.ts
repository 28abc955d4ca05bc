import {planDeclared, removedFleets} from '../../reconciler/plan-declared.js';
import type {Plan} from '../../reconciler/types.js';
import {loadSides} from '../against.js';
import type {Command} from '../context.js';
import {exitCodeOfDiff, planVerb} from '../diff-exit.js';
import type {AgainstOptions} from '../options.js';
import {write, writeLine} from '../output.js';
import {planText} from '../print/plan.js';
import {styleFor} from '../print/style.js';
import {qualifiedName} from '../view.js';

/** `diff --against` and `plan --against`: declared with declared. No state folder is looked at, and nothing that runs. */
export const run: Command<AgainstOptions> = (context, args, options) => planVerb(compare)(context, args, options);

const compare: Command<AgainstOptions> = async (context, _args, options) => {
  const {stdout, stderr, color, cwd} = context;
  const {now, before, against, commit, name, remarks} = await loadSides(context, options, options.against);
  const plans = planDeclared(now, before);
  const removed = removedFleets(now, before).map(
    ({name, namespace}) =>
      `fleet ${qualifiedName({name, namespace})} is no longer declared: ` +
      `no apply stops it, that is done with: tekton-ai down -n ${namespace} --fleet ${name}`,
  );
  const all = [...now.flatMap(fleet => fleet.notices), ...remarks, ...removed, ...unknownPorts(plans)];
  await writeLine(stderr, `compared with ${against}: what is declared, not what runs`);
  for (const line of all) await writeLine(stderr, line);
  if (options.output === 'text') await write(stdout, planText(plans, {style: styleFor(color), cwd}));
  else {
    const {writeReview} = await import('../review/write.js');
    const other = {name, ...(commit !== undefined && {commit})};
    await writeReview(context, options, {plans, fleets: now, remarks: all, against: other});
  }
  return exitCodeOfDiff(plans, options);
};

/** A restart that a live diff might not show: a specialist may have the port already that it now pins. */
function unknownPorts(plans: readonly Plan[]): readonly string[] {
  return plans
    .flatMap(plan => plan.actions)
    .flatMap(action => {
      if (action.type !== 'restart') return [];
      const pinned = action.changes.find(({path, from}) => path === 'port' && from === undefined);
      if (pinned === undefined || pinned.to === undefined) return [];
      const name = qualifiedName(action.desired);
      return [
        `which port ${name} was given is not known here: where it is ${JSON.stringify(pinned.to)}, that needs no restart`,
      ];
    });
}
