/** Brings fleets to what their records say: through the controller where one runs, else by converging here and leaving. */
import {availableParallelism} from 'node:os';
import {LockBusyError} from '../api/errors.js';
import {condition} from '../api/conditions.js';
import type {FleetRecord, FleetStatus, NamedStatus} from '../api/types.js';
import {version} from '../api/version.js';
import {recordId} from '../reconciler/desired.js';
import {Controller} from '../reconciler/controller.js';
import type {FleetKey, Ports} from '../reconciler/ports.js';
import {outlook} from '../reconciler/status.js';
import type {Why} from '../reconciler/status.js';
import {findController} from '../registry/controller-record.js';
import {tryHold} from '../registry/locks.js';
import type {HeldLock} from '../registry/locks.js';
import type {CommandContext} from './context.js';
import {askController, watchController} from './controller-link.js';
import {silentLogger} from './logger.js';
import {wire} from './wire.js';

/** How far to go: until every process answers, or until every chat would be answered. */
export type Goal = 'live' | 'ready';

export interface ConvergeOptions {
  readonly goal: Goal;
  readonly timeoutMs: number;
  /** A person applied them: what was changed by hand is put right, whatever their drift policy is. */
  readonly heal?: boolean;
  /** By ai id: only these are waited for, whether they are to run or to go. Absent: all of `records`. */
  readonly only?: ReadonlySet<string>;
  /** Told of every status on the way. */
  readonly progress?: (status: FleetStatus) => void;
}

export interface Convergence {
  /** `stuck`: only a person or a provider can help; `late`: the time was up. */
  readonly result: 'done' | 'stuck' | 'late';
  readonly through: 'controller' | 'here';
  readonly statuses: readonly FleetStatus[];
  /** Who is not where the goal wants it, and why. */
  readonly unmet: readonly Unmet[];
}

interface Unmet {
  readonly namespace: string;
  readonly specialist: NamedStatus;
  readonly why: Why;
  readonly stuck: boolean;
}

/** Launches and stops under way at once: more only share the same cores. */
export const parallel = Math.max(4, availableParallelism() * 4);

/**
 * Waits until all of `records` stands where the goal wants it, or can't by waiting, or time is up.
 *
 * @throws {LockBusyError} another process converges this state folder all the time
 */
export async function converge(
  context: CommandContext,
  records: readonly FleetRecord[],
  options: ConvergeOptions,
): Promise<Convergence> {
  const timeout = AbortSignal.timeout(Math.max(1, options.timeoutMs));
  const signal = AbortSignal.any([context.signal, timeout]);
  for (;;) {
    const running = await findController(context.home);
    if (running) {
      try {
        const applied = options.heal ? records.map(recordId) : [];
        await askController(running.socketPath, {type: 'load', applied}, signal);
        return await follow(watchController(running.socketPath, signal), records, options, 'controller', signal);
      } catch (error) {
        // It may just have ended: then somebody else, or we, take over.
        if (await findController(context.home)) throw error;
        continue;
      }
    }
    const lead = await tryHold(context.home, 'leader');
    if (lead) return await convergeHere(context, lead, records, options, signal);
    context.signal.throwIfAborted();
    if (timeout.aborted) {
      throw new LockBusyError(`cannot converge ${context.home}: another process has been at it all the time`, {
        hint: 'try again when it is done, or give it more time with --timeout',
      });
    }
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

async function convergeHere(
  context: CommandContext,
  lead: HeldLock,
  records: readonly FleetRecord[],
  options: ConvergeOptions,
  signal: AbortSignal,
): Promise<Convergence> {
  const ports = wire({home: context.home, environment: context.environment, log: silentLogger});
  const statuses: FleetStatus[] = [];
  const unmet: Unmet[] = [];
  let result: Convergence['result'] = 'done';
  try {
    for (const record of records) {
      const one = await convergeFleet(ports, record, options, signal);
      statuses.push(...one.statuses);
      unmet.push(...one.unmet);
      if (one.result !== 'done') result = result === 'late' ? 'late' : one.result;
    }
    return {result, through: 'here', statuses, unmet};
  } finally {
    await lead.release();
  }
}

async function convergeFleet(
  ports: Ports,
  record: FleetRecord,
  options: ConvergeOptions,
  signal: AbortSignal,
): Promise<Convergence> {
  const only: FleetKey = {namespace: record.namespace, fleet: record.name};
  const heal = options.heal ?? false;
  const controller = new Controller({ports, version, follow: false, only, parallel, heal});
  try {
    await controller.start();
    return await follow(statusesOf(controller, signal), [record], options, 'here', signal);
  } finally {
    await controller.close();
  }
}

async function* statusesOf(controller: Controller, signal: AbortSignal): AsyncGenerator<FleetStatus> {
  const pending: FleetStatus[] = [];
  let wake: () => void = () => undefined;
  const unsubscribe = controller.subscribe(status => {
    pending.push(status);
    wake();
  });
  const aborted = (): void => wake();
  signal.addEventListener('abort', aborted, {once: true});
  try {
    while (!signal.aborted) {
      const next = pending.shift();
      if (next) yield next;
      else await new Promise<void>(resolve => (wake = resolve));
    }
  } finally {
    signal.removeEventListener('abort', aborted);
    unsubscribe();
  }
}

/** Looks at every status that comes until the goal is reached, or nothing but others' doing could reach it. */
async function follow(
  stream: AsyncIterable<FleetStatus>,
  records: readonly FleetRecord[],
  options: ConvergeOptions,
  through: Convergence['through'],
  signal: AbortSignal,
): Promise<Convergence> {
  const last = new Map<string, FleetStatus>();
  const summarize = (late: boolean): Convergence => {
    const views = records.map(record => judge(record, last.get(recordId(record)), options));
    const unmet = views.flatMap(view => view.unmet);
    const waiting = views.some(view => view.unknown) || unmet.some(u => !u.stuck);
    const result = waiting ? 'late' : unmet.length > 0 ? 'stuck' : 'done';
    return {result: late || result !== 'late' ? result : 'late', through, statuses: [...last.values()], unmet};
  };
  for await (const status of stream) {
    if (!records.some(record => recordId(record) === recordId(status))) continue;
    last.set(recordId(status), status);
    options.progress?.(status);
    const now = summarize(false);
    if (now.result !== 'late') return now;
  }
  if (!signal.aborted) throw new Error('the controller ended while we waited for it');
  return summarize(true);
}

function judge(
  record: FleetRecord,
  status: FleetStatus | undefined,
  {goal, only}: ConvergeOptions,
): {readonly unknown: boolean; readonly unmet: readonly Unmet[]} {
  if (!status) return {unknown: true, unmet: []};
  const isMeant = ({aiId}: {readonly aiId: string}) => only?.has(aiId) ?? true;
  const byId = new Map(status.specialists.map(named => [named.aiId, named]));
  const unmet: Unmet[] = [];
  /** Won't become Ready by waiting, be that wanted of them or not. */
  const still = new Set<string>();
  let unknown = false;
  for (const desired of record.specialists) {
    const specialist = byId.get(desired.aiId);
    if (!specialist || specialist.generation < desired.generation) {
      unknown ||= isMeant(desired);
      continue;
    }
    const view = outlook(specialist);
    if (view.type === 'stuck' || isOff(specialist)) still.add(specialist.name);
    if (view.type === 'done' || (goal === 'live' && isLive(specialist))) continue;
    unmet.push({namespace: record.namespace, specialist, why: view.why, stuck: view.type === 'stuck'});
  }
  // What is no longer declared has to be gone, too: a status that still shows it is not the end.
  const declared = new Set(record.specialists.map(d => d.aiId));
  return {
    unknown: unknown || status.specialists.some(named => isMeant(named) && !declared.has(named.aiId)),
    unmet: withStuckDependents(record, unmet, still).filter(({specialist}) => isMeant(specialist)),
  };
}

/** Who waits for one that won't become Ready is stuck, however long the chain is. */
function withStuckDependents(
  record: FleetRecord,
  unmet: readonly Unmet[],
  still: ReadonlySet<string>,
): readonly Unmet[] {
  const dependencies = new Map(record.specialists.map(({name, spec}) => [name, spec.dependsOn]));
  const stuck = new Set(still);
  const dependents = unmet.filter(({why}) => why.reason === 'DependencyNotReady');
  for (let before = -1; before < stuck.size;) {
    before = stuck.size;
    for (const {specialist} of dependents) {
      if (dependencies.get(specialist.name)?.some(name => stuck.has(name))) stuck.add(specialist.name);
    }
  }
  return unmet.map(one => ({...one, stuck: one.stuck || (dependents.includes(one) && stuck.has(one.specialist.name))}));
}

function isOff({status}: NamedStatus): boolean {
  return status.phase === 'Disabled' || status.phase === 'Stopped';
}

function isLive({status, generation}: NamedStatus): boolean {
  const live = condition(status.conditions, 'Live');
  return (
    live?.status === 'True' &&
    status.observedGeneration >= generation &&
    condition(status.conditions, 'Progressing')?.status === 'False'
  );
}
