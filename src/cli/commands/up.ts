import {mendRecords} from '../apply-records.js';
import {ensureController} from '../background.js';
import type {Command} from '../context.js';
import {converge} from '../converge.js';
import {applyDeclarations, loadDeclarations} from '../declarations.js';
import type {Declarations} from '../declarations.js';
import type {UpOptions} from '../options.js';
import {writeLine} from '../output.js';
import {interrupted, progressLines, reportConvergence} from '../report.js';
import {run as get} from './get.js';

/** Applies, has a controller keep it so in the background, waits until all is Ready, and shows the table. */
export const run: Command<UpOptions> = async (context, _args, options) => {
  const declared = await loadDeclarations(context, options);
  const loaded = declared.fleets;
  for (const fleet of loaded) for (const notice of fleet.notices) await writeLine(context.stderr, notice);
  await mendRecords(context, loaded);
  const expiry = expiryOf(options);
  const records = await applyDeclarations(context, declared, {...options, ...expiry, prune: true});
  const controller = await ensureController(context);
  const goal = 'ready';
  const progress = progressLines(context);
  const convergence = await converge(context, records, {...options, goal, steady: options, heal: true, progress});
  if (context.signal.aborted) return interrupted(context, convergence);
  await get(context, [], {output: 'table', watch: false});
  const exitCode = await reportConvergence(context, convergence, {...options, goal});
  const {pid} = controller.record.identity;
  await writeLine(
    context.stderr,
    `controller ${pid} keeps it so: ${whatChanges(declared)} and it converges; stop all with: tekton-ai down`,
  );
  return exitCode;
};

function expiryOf({ttlMs}: UpOptions): {readonly expiresAt?: string | null} {
  if (ttlMs === undefined) return {};
  return {expiresAt: ttlMs === 0 ? null : new Date(Date.now() + ttlMs).toISOString()};
}

function whatChanges({fleets, sources}: Declarations): string {
  const isOfFiles = fleets.some(({source}) => source.type !== 'git');
  return [...(isOfFiles ? ['edit the file'] : []), ...(sources.length > 0 ? ['push'] : [])].join(' or ');
}
