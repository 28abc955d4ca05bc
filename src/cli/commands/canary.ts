import {exitCodes, TektonError} from '../../api/errors.js';
import {apiVersion} from '../../api/types.js';
import {hasCanary, reportText} from '../../reconciler/canary.js';
import type {CanaryReport} from '../../reconciler/canary.js';
import {runCanary} from '../../reconciler/canary-run.js';
import type {Asked, CanaryTools} from '../../reconciler/canary-run.js';
import {answerChecks, chats} from '../canary-ports.js';
import type {Command, CommandContext} from '../context.js';
import {knownSpecialists} from '../names.js';
import {observe} from '../observe.js';
import type {CanaryOptions} from '../options.js';
import {write, writeJson, writeLine} from '../output.js';
import {canaryTable} from '../print/canary.js';
import {selectOne} from '../select.js';
import {tokenFor} from '../talk.js';
import {qualifiedName, readyText, whyNotReady, type SpecialistView} from '../view.js';
import {realClock} from '../wire.js';

/** Asks the prompts that are declared, prints how each did, and decides nothing: 0 they passed, 1 they did not. */
export const run: Command<CanaryOptions> = async (context, [name = ''], options) => {
  const {aiId} = await selectOne(knownSpecialists(context.home, options), name);
  const view = await look(context, options, aiId);
  const canary = view.spec?.canary;
  if (!hasCanary(canary)) {
    throw new TektonError(`cannot ask ${qualifiedName(view)}: it has no canary`, {
      hint: 'declare `canary: {prompts: […]}` for it, and apply',
    });
  }
  if (readyText(view) === 'False') {
    const why = whyNotReady(view);
    throw new TektonError(`cannot ask ${qualifiedName(view)}: ${why?.reason ?? 'NotReady'}: ${why?.message ?? ''}`, {
      hint: `tekton-ai describe ${qualifiedName(view)}`,
    });
  }
  const report = await runCanary(canary, toolsOf(context, view), context.signal);
  await print(context, view, report, options);
  return report.passed ? exitCodes.ok : exitCodes.failed;
};

async function look(context: CommandContext, scope: CanaryOptions, aiId: string): Promise<SpecialistView> {
  const {specialists} = await observe(context, {...scope, aiIds: new Set([aiId])});
  return selectOne(specialists, aiId);
}

function toolsOf(context: CommandContext, view: SpecialistView): CanaryTools {
  const ask = async (
    aiIdOrName: string,
    chat: Parameters<CanaryTools['ask']>[0],
    signal: AbortSignal,
  ): Promise<Asked> => {
    const {namespace, fleet} = view;
    const scope = {namespace, ...(fleet !== undefined && {fleet})};
    const {specialists, fleets} = await observe(context, scope);
    const target = specialists.find(one => one.aiId === aiIdOrName || one.name === aiIdOrName);
    const {host = '127.0.0.1', port} = target?.status ?? {};
    if (target === undefined || port === undefined || readyText(target) === 'False') {
      return {ok: false, message: `${aiIdOrName} is not Ready`, retryable: true};
    }
    const token = await tokenFor(target, fleets, context);
    return chats.ask({host, port, ...(token !== undefined && {token})}, chat, signal);
  };
  return {
    clock: realClock,
    checks: answerChecks,
    ask: (chat, signal) => ask(view.aiId, chat, signal),
    askJudge: ask,
  };
}

async function print(
  {stdout, stderr}: CommandContext,
  view: SpecialistView,
  report: CanaryReport,
  {output}: CanaryOptions,
): Promise<void> {
  if (output === 'json') {
    const {aiId, name, namespace} = view;
    return writeJson(stdout, {apiVersion, kind: 'CanaryReport', aiId, name, namespace, ...report});
  }
  await write(stdout, canaryTable(report));
  await writeLine(stderr, `${qualifiedName(view)}: ${reportText(report)}`);
}
