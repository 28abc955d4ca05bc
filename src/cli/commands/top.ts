import {setTimeout as sleep} from 'node:timers/promises';
import {exitCodes} from '../../api/errors.js';
import {apiVersion} from '../../api/types.js';
import type {HealthReply} from '../../protocol/messages.js';
import {residentBytes} from '../../registry/processes.js';
import {askHealth} from '../ask-health.js';
import type {Command, CommandContext} from '../context.js';
import {drawOver} from '../draw-over.js';
import {knownSpecialists} from '../names.js';
import {observe} from '../observe.js';
import type {TopOptions} from '../options.js';
import {write, writeJson, writeLine, writeYaml} from '../output.js';
import {tableText} from '../print/table.js';
import {topColumns, topRow, type Load} from '../print/top.js';
import {selectMany} from '../select.js';
import {refuseUnknownFleet} from '../unknown-fleet.js';
import {qualifiedName} from '../view.js';

const everyMs = 2_000;
/** Between two looks at the processor time that a process has taken: less says little. */
const cpuSpanMs = 300;

/** Of each that runs: how busy it is, by its own word. */
export const run: Command<TopOptions> = async (context, names, options) => {
  if (!options.watch) {
    const loads = await look(context, names, options);
    await print(context, loads, options, text => write(context.stdout, text));
    const mute = loads.filter(({active}) => active === undefined).map(qualifiedName);
    if (mute.length > 0) await writeLine(context.stderr, `no answer to how busy they are from: ${mute.join(', ')}`);
    return exitCodes.ok;
  }
  const draw = drawOver(context);
  while (!context.signal.aborted) {
    const loads = await look(context, names, options);
    if (context.signal.aborted) break;
    await print(context, loads, options, draw);
    await sleep(everyMs, undefined, {signal: context.signal}).catch(() => undefined);
  }
  return exitCodes.interrupted;
};

async function look(context: CommandContext, names: readonly string[], scope: TopOptions): Promise<readonly Load[]> {
  const named = names.length === 0 ? [] : await selectMany(knownSpecialists(context.home, scope), names);
  const meant = names.length === 0 ? {} : {aiIds: new Set(named.map(({aiId}) => aiId))};
  const {specialists, fleets} = await observe(context, {...scope, ...meant});
  if (specialists.length === 0) refuseUnknownFleet(context.home, scope);
  const running = specialists.filter(({status}) => status.instance !== undefined);
  const ask = (): Promise<readonly (HealthReply | undefined)[]> =>
    Promise.all(running.map(view => askHealth(view, fleets, context)));
  const before = await ask();
  await sleep(cpuSpanMs, undefined, {signal: context.signal}).catch(() => undefined);
  const after = await ask();
  return Promise.all(
    running.map(async (view, at): Promise<Load> => {
      const {aiId, name, namespace, status} = view;
      const health = after[at];
      const memoryBytes = status.instance && (await residentBytes(status.instance.identity.pid));
      const cpu = cpuShare(before[at], health);
      return {
        ...{aiId, name, namespace, phase: status.phase},
        ...loadOf(health),
        ...(cpu !== undefined && {cpu}),
        ...(memoryBytes !== undefined && {memoryBytes}),
      };
    }),
  );
}

function loadOf(health: HealthReply | undefined): Partial<Load> {
  if (health === undefined) return {};
  const {active = 0, queued = 0, clients, recent} = health;
  const {seconds = 1, requests = 0, output_tokens: tokens = 0} = recent ?? {};
  return {
    ...{active, queued, clients},
    requestsPerMinute: (60 * requests) / seconds,
    tokensPerSecond: tokens / seconds,
    ...(recent?.latency_p50 !== undefined && {latencyP50: recent.latency_p50}),
    ...(recent?.latency_p95 !== undefined && {latencyP95: recent.latency_p95}),
    ...(recent?.first_token_p50 !== undefined && {firstTokenP50: recent.first_token_p50}),
    ...(recent?.first_token_p95 !== undefined && {firstTokenP95: recent.first_token_p95}),
  };
}

/** Of one processor; undefined where two looks are not of the same process. */
function cpuShare(before: HealthReply | undefined, after: HealthReply | undefined): number | undefined {
  const seconds = (after?.uptime ?? 0) - (before?.uptime ?? 0);
  if (before?.cpu === undefined || after?.cpu === undefined || seconds <= 0 || after.cpu < before.cpu) return undefined;
  return (after.cpu - before.cpu) / seconds;
}

async function print(
  {stdout, stderr}: CommandContext,
  loads: readonly Load[],
  {output}: TopOptions,
  draw: (text: string) => Promise<void>,
): Promise<void> {
  const document = {apiVersion, kind: 'LoadReport', items: loads};
  switch (output) {
    case 'json':
      return writeJson(stdout, document);
    case 'yaml':
      return writeYaml(stdout, document);
    case 'name':
      return write(stdout, loads.map(load => `specialist/${qualifiedName(load)}\n`).join(''));
    case 'table':
    case 'wide': {
      if (loads.length === 0) return writeLine(stderr, 'nothing is running');
      const wide = output === 'wide';
      return draw(
        tableText(
          topColumns(wide),
          loads.map(load => topRow(load, wide)),
        ),
      );
    }
  }
}
