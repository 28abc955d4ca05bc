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
import {Steadiness} from './steady.js';
import type {Crashed, SteadyOptions} from './steady.js';
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
  /** What is wanted of it once it is reached, if more than a moment. */
  readonly steady?: SteadyOptions;
  /** Told of every status on the way. */
  readonly progress?: (status: FleetStatus) => void;
}

export interface Convergence {
  /** `stuck`: only a person or a provider can help; `late`: the time was up; `crashed`: one did, as often as was to be borne. */
  readonly result: 'done' | 'stuck' | 'late' | 'crashed';
  readonly through: 'controller' | 'here';
  readonly statuses: readonly FleetStatus[];
  /** Who is not where the goal wants it, and why. */
  readonly unmet: readonly Unmet[];
  /** Who did, where that is the result. */
  readonly crashed?: Crashed;
  /** Where the time was up: all was as wanted, and not for long enough. */
  readonly unsteady?: true;
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
        const open = (until: AbortSignal) => watchController(running.socketPath, until);
        return await follow(open, records, options, 'controller', signal);
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
  try {
    const {steady, ...first} = options;
    const crashes = steady?.failAfterCrashes === undefined ? {} : {failAfterCrashes: steady.failAfterCrashes};
    const one = (record: FleetRecord, more: ConvergeOptions) => convergeFleet(ports, record, more, signal);
    const each: Convergence[] = [];
    for (const record of records) each.push(await one(record, {...first, steady: {stableForMs: 0, ...crashes}}));
    const all = together(each);
    if (all.result !== 'done' || steady === undefined || steady.stableForMs === 0) return all;
    // Now that all are there, all have to stay.
    return together(await Promise.all(records.map(record => one(record, options))));
  } finally {
    ports.notifications.close();
    await lead.release();
  }
}

/** What becomes of several fleets is the worst of what becomes of each. */
function together(each: readonly Convergence[]): Convergence {
  const worst = (['crashed', 'late', 'stuck'] as const).find(result => each.some(one => one.result === result));
  const crashed = each.find(one => one.crashed)?.crashed;
  return {
    result: worst ?? 'done',
    through: 'here',
    statuses: each.flatMap(one => one.statuses),
    unmet: each.flatMap(one => one.unmet),
    ...(crashed && {crashed}),
    ...(each.some(one => one.unsteady) && {unsteady: true}),
  };
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
    return await follow(until => statusesOf(controller, until), [record], options, 'here', signal);
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

/** Looks at every status that comes until the goal is reached and kept, or nothing but others' doing could reach it. */
async function follow(
  open: (until: AbortSignal) => AsyncGenerator<FleetStatus>,
  records: readonly FleetRecord[],
  options: ConvergeOptions,
  through: Convergence['through'],
  signal: AbortSignal,
): Promise<Convergence> {
  const last = new Map<string, FleetStatus>();
  const steady = new Steadiness(options.steady ?? {stableForMs: 0});
  const summarize = (): Convergence => {
    const views = records.map(record => judge(record, last.get(recordId(record)), options));
    const unmet = views.flatMap(view => view.unmet);
    const waiting = views.some(view => view.unknown) || unmet.some(u => !u.stuck);
    const result = waiting ? 'late' : unmet.length > 0 ? 'stuck' : 'done';
    return {result, through, statuses: [...last.values()], unmet};
  };
  const enough = new AbortController();
  const stream = open(AbortSignal.any([signal, enough.signal]));
  let now = summarize();
  let next = stream.next();
  try {
    for (;;) {
      const leftMs = steady.leftMs(now.result === 'done', performance.now());
      if (leftMs === 0) return now;
      if (now.result === 'stuck') return options.steady?.failAfterCrashes === undefined ? now : asCrash(now);
      const item = await within(leftMs, next);
      if (item === undefined) continue; // it has stayed as it was for long enough
      if (item.done) break;
      next = stream.next();
      const status = item.value;
      if (!records.some(record => recordId(record) === recordId(status))) continue;
      last.set(recordId(status), status);
      options.progress?.(status);
      steady.see(status);
      now = summarize();
      if (steady.crashed) return {...now, result: 'crashed', crashed: steady.crashed};
    }
  } finally {
    enough.abort();
    await next.catch(() => undefined); // what it was waiting for counts no more
  }
  if (!signal.aborted) throw new Error('the controller ended while we waited for it');
  return now.result === 'done' ? {...now, result: 'late', unsteady: true} : now;
}

/** Whoever counts crashes takes a crash loop for enough of them, however many they were. */
function asCrash(now: Convergence): Convergence {
  const looping = now.unmet.find(({why}) => why.reason === 'CrashLoop');
  if (!looping) return now;
  const {name, status} = looping.specialist;
  const {restarts: crashes, lastExit} = status;
  return {
    ...now,
    result: 'crashed',
    crashed: {namespace: looping.namespace, name, crashes, ...(lastExit && {lastExit})},
  };
}

/** undefined: `ms` were over first. */
async function within<T>(ms: number | undefined, work: Promise<T>): Promise<T | undefined> {
  if (ms === undefined) return work;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>(resolve => (timer = setTimeout(resolve, ms, undefined)));
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
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
  const progressing = condition(status.conditions, 'Progressing');
  return (
    live?.status === 'True' &&
    status.observedGeneration >= generation &&
    (progressing?.status === 'False' || progressing?.reason === 'CanaryRunning')
  );
}
