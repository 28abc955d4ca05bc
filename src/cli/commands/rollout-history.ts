import {diffDeclared} from '../../api/hash.js';
import {exitCodes, TektonError} from '../../api/errors.js';
import type {Desired, FieldChange, Revision} from '../../api/types.js';
import {readFleetRecords} from '../../registry/fleet-records.js';
import {readRevisions} from '../../registry/revisions.js';
import type {Command} from '../context.js';
import {inScope} from '../observe.js';
import type {RolloutHistoryOptions} from '../options.js';
import {write, writeJson, writeLine} from '../output.js';
import {tableText} from '../print/table.js';
import {selectOne} from '../select.js';
import {qualifiedName} from '../view.js';

/** What was declared of a specialist over time, the newest last, and what each change was. */
export const run: Command<RolloutHistoryOptions> = async (context, [name = ''], options) => {
  const fleets = readFleetRecords(context.home).filter(record => inScope(record, options));
  const current = await selectOne(
    fleets.flatMap(fleet => fleet.specialists),
    name,
  );
  const fleet = fleets.find(one => one.name === current.fleet && one.namespace === current.namespace);
  if (!fleet) throw new TektonError(`internal error: ${current.aiId} has no fleet`);
  const own = readRevisions(context.home, fleet).filter(revision => revision.aiId === current.aiId);
  const revisions = own.map((revision, index) => ({...revision, changes: changesSince(own[index - 1], revision)}));
  if (options.output === 'json') {
    await writeJson(context.stdout, {aiId: current.aiId, generation: current.generation, revisions});
    return exitCodes.ok;
  }
  const isFromGit = revisions.some(({revision}) => revision !== undefined);
  const rows = revisions.map(({generation, at, revision, changes}) => [
    generation === current.generation ? `${generation} *` : String(generation),
    at.slice(0, 19).replace('T', ' '),
    ...(isFromGit ? [revision?.slice(0, 7) ?? '<none>'] : []),
    changes === undefined ? '<first known>' : changesText(changes),
  ]);
  await write(
    context.stdout,
    tableText(['GENERATION', 'DECLARED', ...(isFromGit ? ['REVISION'] : []), 'CHANGES'], rows),
  );
  const held = fleet.rollouts?.[current.aiId]?.held;
  if (held) {
    const since = held.at.slice(0, 19).replace('T', ' ');
    const resume = `tekton-ai rollout resume ${qualifiedName(current)}`;
    await writeLine(
      context.stderr,
      `held by ${held.by === 'canary' ? 'its canary, which failed,' : `\`rollout ${held.by}\``} since ${since}; its source counts again after: ${resume}`,
    );
  }
  return exitCodes.ok;
};

function changesSince(before: Revision | undefined, {desired}: Revision): readonly FieldChange[] | undefined {
  if (before === undefined) return undefined;
  const {declared, origins}: Desired = desired;
  return diffDeclared(before.desired.declared, declared, origins);
}

function changesText(changes: readonly FieldChange[]): string {
  return changes.length === 0 ? 'enabled' : changes.map(change => change.path).join(', ');
}
