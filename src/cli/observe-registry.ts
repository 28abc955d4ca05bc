/** Specialists that stand in the registry and in no fleet: workers by hand, and what other programs registered. */
import {isTrue} from '../api/conditions.js';
import type {Condition, ConditionType, Reason} from '../api/conditions.js';
import {fallbackText} from '../api/model-check.js';
import type {SpecialistStatus} from '../api/types.js';
import {entryFleet, entryIdentity, entryRoles, entryUid} from '../registry/entry-facts.js';
import type {LaunchRecord} from '../registry/launch-records.js';
import {statePaths} from '../registry/paths.js';
import {identify, isSame} from '../registry/processes.js';
import {readText} from '../registry/records.js';
import {parseRegistry, type RegistryEntry} from '../registry/registry-text.js';
import type {CommandContext} from './context.js';
import {modelCheck, noUsage, splitModel} from './observed-status.js';
import type {ObserveScope} from './observe.js';
import {verify, type Target, type Verification} from './verify.js';
import type {SpecialistView} from './view.js';

export interface FleetlessOptions {
  readonly context: CommandContext;
  readonly scope: ObserveScope;
  /** Ai ids that a fleet declares. */
  readonly known: ReadonlySet<string>;
  readonly launches: () => ReadonlyMap<string, LaunchRecord>;
  readonly signal: AbortSignal;
}

/** Always looked at here and now: no controller vouches for them. */
export async function fleetlessViews(options: FleetlessOptions): Promise<readonly SpecialistView[]> {
  const {context, scope, known} = options;
  const others = [...(await entriesOf(context.home))].filter(
    ([aiId]) => !known.has(aiId) && (scope.aiIds?.has(aiId) ?? true),
  );
  const views = await Promise.all(others.map(([aiId, entry]) => lookAt(aiId, entry, options)));
  return views.filter(view => (scope.namespace ?? view.namespace) === view.namespace);
}

/** As the file has it; where that is gone or damaged, with what runs all the same. */
async function entriesOf(home: string): Promise<ReadonlyMap<string, RegistryEntry>> {
  const text = readText(statePaths(home).registry);
  const {entries, damage} = parseRegistry(text ?? '{}');
  const whole = new Map([...entries].map(([aiId, {entry}]) => [aiId, entry]));
  if (text !== undefined && damage === undefined) return whole;
  const {rebuildEntries} = await import('../registry/rebuild.js');
  return new Map([...whole, ...(await rebuildEntries(home))]);
}

async function lookAt(aiId: string, entry: RegistryEntry, options: FleetlessOptions): Promise<SpecialistView> {
  const {metadata, component, port} = entry;
  const text = (name: string) => (typeof metadata[name] === 'string' ? metadata[name] : undefined);
  const launch = options.launches().get(aiId);
  const [uid, identity] = [entryUid(entry), entryIdentity(entry)];
  const target: Target = {
    aiId,
    host: text('host') ?? '127.0.0.1',
    port,
    ...(uid !== undefined && {uid}),
    ...(identity !== undefined && {identity}),
    ...(launch !== undefined && launch.uid === uid && {controlPath: launch.controlPath}),
  };
  const found = await verify(target, options.signal);
  const fleet = entryFleet(entry)?.split('/').at(-1);
  return {
    aiId,
    name: text('name') ?? aiId.replace(/-ai$/, ''),
    namespace: text('namespace') ?? 'default',
    ...(fleet !== undefined && {fleet}),
    component,
    roles: entryRoles(entry),
    labels: {},
    generation: 0,
    status: await statusOf(entry, target, found),
  };
}

async function statusOf(entry: RegistryEntry, target: Target, found: Verification): Promise<SpecialistStatus> {
  const health = found.type === 'answers' ? found.health : undefined;
  const conditions = conditionsOf(found, target);
  const ready = isTrue(conditions, 'Ready');
  const identity = found.type === 'gone' ? undefined : (target.identity ?? (await identifyPid(entry)));
  const startedAt = new Date(entry.registered_at * 1000).toISOString();
  return {
    phase: ready ? 'Ready' : found.type === 'gone' ? 'Stopped' : 'NotReady',
    observedGeneration: 0,
    specHash: '',
    ...(identity !== undefined && {instance: {uid: target.uid ?? '', identity, startedAt}}),
    host: target.host,
    port: target.port,
    ...(health !== undefined && {model: {...splitModel(health.model), type: 'auto' as const}}),
    restarts: 0,
    usage: ('hello' in found && found.hello?.usage) || noUsage,
    conditions,
  };
}

/** An entry of another program names a pid and nothing that proves it. */
async function identifyPid({metadata}: RegistryEntry) {
  const {pid} = metadata;
  const identity = typeof pid === 'number' ? await identify(pid) : undefined;
  return identity !== undefined && (await isSame(identity)) ? identity : undefined;
}

function conditionsOf(found: Verification, {host, port}: Target): readonly Condition[] {
  const stamp = (type: ConditionType, status: Condition['status'], reason: Reason, message: string): Condition => ({
    type,
    status,
    reason,
    message,
    lastTransitionTime: new Date().toISOString(),
    observedGeneration: 0,
  });
  if (found.type !== 'answers') {
    const [reason, message] =
      found.type === 'gone'
        ? (['Exited', 'it is registered, but it does not run'] as const)
        : (['ProbeFailed', `does not answer pings on ${host}:${port}`] as const);
    return [stamp('Live', 'False', reason, message), stamp('Ready', 'False', reason, message)];
  }
  const live = stamp('Live', 'True', 'Live', `answers on ${host}:${port}`);
  const check = modelCheck(found.health);
  if (found.health?.status === 'draining' || found.hello?.draining === true) {
    return [live, stamp('Ready', 'False', 'Draining', 'finishes the chats under way, takes no new ones')];
  }
  if (check === undefined) return [live, stamp('Ready', 'Unknown', 'NotChecked', 'its health could not be asked for')];
  const {budget} = found.hello ?? {};
  if (budget?.exceeded === true && budget.mode === 'hard') {
    return [live, stamp('Ready', 'False', 'BudgetExceeded', budget.message ?? 'the budget is spent')];
  }
  const broken = check.available ? check.fallback : check;
  if (broken === undefined) return [live, stamp('Ready', 'True', 'Ready', 'a chat would be answered now')];
  const {reason, message} = broken;
  const ready =
    'by' in broken
      ? stamp('Ready', 'True', 'Fallback', fallbackText(broken))
      : stamp('Ready', 'False', reason, message);
  return [live, stamp('ModelAvailable', 'False', reason, message), ready];
}
