/** Progress of a convergence on stderr, and what is to be said at its end. */
import {isTrue} from '../api/conditions.js';
import {exitCodes} from '../api/errors.js';
import type {ExitCode} from '../api/errors.js';
import type {FleetStatus} from '../api/types.js';
import type {CommandContext} from './context.js';
import type {Convergence, Goal} from './converge.js';
import type {Crashed} from './steady.js';
import {writeLine} from './output.js';
import {countText, exitText, pullText} from './print/amounts.js';
import {qualifiedName} from './view.js';

/** One line per specialist (of `meant`, by ai id; absent: all) and turn, as it comes; plain on a terminal and elsewhere. */
export function progressLines(context: CommandContext, meant?: ReadonlySet<string>): (status: FleetStatus) => void {
  const said = new Map<string, string>();
  const say = (who: string, line: string, aloud = true): void => {
    if (said.get(who) === line) return;
    said.set(who, line);
    if (aloud) void writeLine(context.stderr, `${who}: ${line}`);
  };
  return status => {
    const {namespace} = status;
    for (const {aiId, name, status: own} of status.specialists) {
      if (meant?.has(aiId) === false) continue;
      if (own.pull) say(own.pull.model, pullText(own.pull, pullStep));
      const model = own.model ? ` ${own.model.provider}:${own.model.model}` : '';
      const line = isTrue(own.conditions, 'Ready') ? `Ready on port ${own.port ?? '?'}${model}` : own.phase;
      say(qualifiedName({name, namespace}), line, !quiet.has(own.phase));
    }
  };
}

/** A model's download is told in such steps, in percent: specialists may wait for it together, and a log is not a bar. */
const pullStep = 10;

/** Turns that every start goes through, and that nobody waits for. */
const quiet = new Set(['Pending', 'Starting', 'NotReady']);

/** What goes on, or does not, after Ctrl-C. */
export async function interrupted(context: CommandContext, {through}: Convergence): Promise<ExitCode> {
  const rest =
    through === 'controller' ? 'the controller goes on with it; stop all with: tekton-ai down' : 'apply again goes on';
  await writeLine(context.stderr, `interrupted: what is recorded stays recorded; ${rest}`);
  return exitCodes.interrupted;
}

/** Says who is not where it should be, and why. */
export async function reportConvergence(
  context: CommandContext,
  {result, unmet, crashed, unsteady}: Convergence,
  {goal, timeoutMs, stableForMs = 0}: {readonly goal: Goal; readonly timeoutMs: number; readonly stableForMs?: number},
): Promise<ExitCode> {
  if (result === 'done') return exitCodes.ok;
  if (crashed) return reportCrash(context, crashed);
  if (unsteady) {
    const time = `${stableForMs / 1000} s in a row within ${timeoutMs / 1000} s`;
    await writeLine(context.stderr, `all were Ready, and not for ${time}`);
    return exitCodes.notReady;
  }
  const state = goal === 'ready' ? 'Ready' : 'running';
  const head =
    result === 'stuck'
      ? `not ${state}, and a person or a provider is needed:`
      : `not ${state} within ${timeoutMs / 1000} s:`;
  await writeLine(context.stderr, head);
  for (const {namespace, specialist, why} of unmet) {
    const name = qualifiedName({name: specialist.name, namespace});
    await writeLine(context.stderr, `  ${name}: ${why.reason}: ${why.message}`);
  }
  if (unmet.length === 0) await writeLine(context.stderr, '  the controller has not come to it yet');
  return exitCodes.notReady;
}

async function reportCrash(context: CommandContext, {namespace, name, crashes, lastExit}: Crashed): Promise<ExitCode> {
  const who = qualifiedName({name, namespace});
  const how = lastExit === undefined ? '' : `, with ${exitText(lastExit)}`;
  const tail = lastExit?.stderrTail ?? [];
  await writeLine(
    context.stderr,
    `${who} crashed ${countText(crashes, 'time')}${how}${tail.length > 0 ? '; its last words:' : ''}`,
  );
  for (const line of tail) await writeLine(context.stderr, `  ${line}`);
  await writeLine(context.stderr, `its log: tekton-ai logs ${who}`);
  return exitCodes.failed;
}
