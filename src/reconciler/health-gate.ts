/**
 * Whether a fleet whose declaration changed is well, whose fault it is where it isn't, and what its record becomes. Pure:
 * gates.ts looks at the clock and carries it out.
 */
import {condition} from '../api/conditions.js';
import {hashOf} from '../api/hash.js';
import type {
  Desired,
  FleetRecord,
  FleetStatus,
  GateRecord,
  HealthySnapshot,
  Json,
  LoadedFleet,
  NamedProvider,
  NamedStatus,
} from '../api/types.js';
import {canaryView} from './canary-record.js';
import {withGenerations} from './generations.js';
import {laidOver, stillDeclared} from './rollouts.js';
import {outlook} from './status.js';
import type {Why} from './status.js';

/** By ai id: who is not Ready, and the reason of that. */
export type NotReady = Readonly<Record<string, string>>;

/** Hash of what is declared, wherever it stands and whatever commit it is from: equal ones are the same declaration. */
export function contentOf(fleet: LoadedFleet | FleetRecord | HealthySnapshot): string {
  const known = hashes.get(fleet);
  if (known !== undefined) return known;
  const said = Object.entries(fleet).filter(([field]) => !notContent.has(field));
  const specialists = fleet.specialists
    .map(({aiId, specHash, labels}) => [aiId, specHash, labels] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  const hash = hashOf(JSON.parse(JSON.stringify({...Object.fromEntries(said), specialists})) as Json);
  hashes.set(fleet, hash);
  return hash;
}

/** Computed once for each: records of large fleets are looked at with every status. */
const hashes = new WeakMap<object, string>();

/** What a fleet is known by, where it was read from, and what only a record has. */
const notContent: ReadonlySet<string> = new Set<keyof FleetRecord>([
  ...(['source', 'files', 'watch', 'envFile', 'revision', 'overrides', 'notices', 'specialists'] as const),
  ...([
    'formatVersion',
    'appliedAt',
    'version',
    'generations',
    'stopped',
    'expiresAt',
    'rollouts',
    'canaries',
    'gate',
  ] as const),
]);

/** Whether the source declares what was rolled back, and says nothing new. */
export function isRefused({gate}: FleetRecord, loaded: LoadedFleet): boolean {
  return gate?.refused !== undefined && gate.refused.content === contentOf(loaded);
}

/**
 * The gate of a record that is about to take the place of `previous`: what changed is under judgement from then on.
 *
 * @param loaded as the source says it, before anything was laid over it
 */
export function withGate(
  previous: FleetRecord | undefined,
  next: FleetRecord,
  {loaded, notReady, at}: {readonly loaded: LoadedFleet; readonly notReady: NotReady; readonly at: string},
): FleetRecord {
  if (next.rollback?.enabled !== true) return next;
  const {healthy, judging: before} = previous?.gate ?? {};
  const judging = (): GateRecord['judging'] => {
    const content = contentOf(next);
    if (previous && contentOf(previous) === content) return before;
    if (healthy && contentOf(healthy) === content) return undefined; // that it is good has been seen
    const {revision} = next;
    return {
      ...{of: 'change', since: at, content: contentOf(loaded)},
      ...(revision !== undefined && {revision}),
      // What was wrong before an unjudged change may be the fault of that one.
      notReady: before?.of === 'change' ? before.notReady : notReady,
    };
  };
  return withGateOf(next, {...(healthy && {healthy}), judging: judging()});
}

/** The record of a fleet that is well: what it declares is what a rollback goes back to. */
export function passed(record: FleetRecord, at: string): FleetRecord {
  const {gate: {refused} = {}, generations: _, expiresAt: __, ...declared} = record;
  return withGateOf(record, {healthy: {...declared, healthyAt: at}, ...(refused && {refused})});
}

/** That nothing more happens by itself is on disk, so that it is told once. */
export function notPassed(record: FleetRecord, message: string, at: string): FleetRecord {
  const {gate} = record;
  return gate?.judging ? withGateOf(record, {...gate, judging: {...gate.judging, failed: {message, at}}}) : record;
}

/** A person says so: what was refused may be taken over again. */
export function refusalLifted(record: FleetRecord, at: string): FleetRecord {
  const {refused: _, ...gate} = record.gate ?? {};
  return {...withGateOf(record, gate), appliedAt: at};
}

/** The last healthy declaration in place of the one that is judged; undefined: there is none, or it is the same. */
export function rolledBack(record: FleetRecord, message: string, at: string): FleetRecord | undefined {
  const {healthy, judging} = record.gate ?? {};
  if (!healthy || judging?.of !== 'change' || contentOf(healthy) === contentOf(record)) return undefined;
  const {healthyAt: _, ...before} = healthy;
  const rollouts = stillDeclared({...before.rollouts, ...withoutCanaries(record.rollouts)}, before.specialists);
  const specialists = withGenerations(laidOver(before.specialists, rollouts), record);
  const generations = {...record.generations};
  for (const {aiId, generation} of specialists) generations[aiId] = generation;
  const {revision, expiresAt} = record;
  const next: FleetRecord = {
    ...before,
    ...(expiresAt !== undefined && {expiresAt}),
    // Whoever mends it may do so in a file that only the refused one has.
    files: [...new Set([...before.files, ...record.files])],
    watch: [...new Set([...before.watch, ...record.watch])],
    ...{source: record.source, version: record.version, stopped: record.stopped, appliedAt: at},
    ...{specialists, generations, rollouts},
  };
  return withGateOf(next, {
    healthy,
    judging: {of: 'rollback', since: at, content: contentOf(next), notReady: {}},
    refused: {content: judging.content, ...(revision !== undefined && {revision}), message, at},
  });
}

function withoutCanaries(rollouts: FleetRecord['rollouts'] = {}): NonNullable<FleetRecord['rollouts']> {
  return Object.fromEntries(Object.entries(rollouts).filter(([, {held}]) => held?.by !== 'canary'));
}

function withGateOf(
  record: FleetRecord,
  {healthy, judging, refused}: {[K in keyof GateRecord]: GateRecord[K] | undefined},
): FleetRecord {
  return {
    ...record,
    gate: {...(healthy && {healthy}), ...(judging && {judging}), ...(refused && {refused})},
  };
}

type SourceError = NonNullable<FleetStatus['sourceError']>;

/** Stands in the record, and not with the source that was read last. */
export type GateReason = Extract<SourceError['reason'], 'RolledBack' | 'RollbackFailed' | 'NotHealthy'>;

/** What the status of a fleet says of its gate. */
export function gateError({gate}: FleetRecord): (SourceError & {readonly reason: GateReason}) | undefined {
  const failed = gate?.judging?.failed;
  if (failed) return {reason: gate?.judging?.of === 'rollback' ? 'RollbackFailed' : 'NotHealthy', ...failed};
  const refused = gate?.refused;
  return refused && {reason: 'RolledBack', message: refused.message, at: refused.at};
}

/** One that keeps its fleet from being healthy. */
export interface Unmet {
  readonly aiId: string;
  readonly name: string;
  readonly why: Why;
  /** No waiting mends it. */
  readonly failed?: true;
}

export type Health =
  | {readonly type: 'healthy'}
  /** The status is of an earlier declaration. */
  | {readonly type: 'unknown'}
  | {readonly type: 'unhealthy'; readonly unmet: readonly Unmet[]};

/** Whether all that is to run is Ready as declared now, and has passed its canary. */
export function healthOf(record: FleetRecord, status: FleetStatus | undefined): Health {
  const byId = new Map(status?.specialists.map(named => [named.aiId, named]));
  const unmet: Unmet[] = [];
  for (const desired of record.specialists) {
    const named = byId.get(desired.aiId);
    if (!named || named.generation !== desired.generation) return {type: 'unknown'};
    const one = unmetOf(record, desired, named);
    if (one) unmet.push(one);
  }
  return unmet.length === 0 ? {type: 'healthy'} : {type: 'unhealthy', unmet};
}

/** Whether nothing of what is declared is still to come, be judged, or was found bad. */
export function isAsDeclared(record: FleetRecord, status: FleetStatus): boolean {
  if (record.stopped || gateError(record) || healthOf(record, status).type !== 'healthy') return false;
  const phases = new Map(status.specialists.map(({aiId, status: {phase}}) => [aiId, phase]));
  return record.specialists
    .filter(({aiId}) => phases.get(aiId) !== 'Disabled' && phases.get(aiId) !== 'Stopped')
    .every(desired => canaryView(record, desired) === undefined);
}

function unmetOf(record: FleetRecord, desired: Desired, named: NamedStatus): Unmet | undefined {
  const {aiId, name} = desired;
  const canary = canaryView(record, desired);
  if (canary?.state === 'failed' && canary.rollsBack) {
    return {aiId, name, why: {reason: 'CanaryFailed', message: canary.message}, failed: true};
  }
  const view = outlook(named);
  return view.type === 'done' ? undefined : {aiId, name, why: view.why};
}

/** Of a status, for a later judgement: faults that are there already are not a change's. */
export function notReadyOf(specialists: readonly Pick<NamedStatus, 'aiId' | 'status'>[]): NotReady {
  return Object.fromEntries(
    specialists.flatMap(({aiId, status}) => {
      const ready = condition(status.conditions, 'Ready');
      if (ready?.status === 'True' || status.phase === 'Disabled' || status.phase === 'Stopped') return [];
      return [[aiId, ready?.reason ?? 'NotChecked']];
    }),
  );
}

/**
 * Those whose fault is the changed declaration's. It is not where
 * - what a provider fails at is as it was in the last healthy declaration: its address for one that is unreachable, the
 *   key for one that refuses, the model for one that lacks it, the budget for one that is spent. Of a new specialist:
 *   where any specialist of the last healthy declaration has that provider;
 * - it is declared as it was in the last healthy declaration, and was not Ready for the same reason before the change;
 * - it waits for others, and none of their faults is.
 */
export function faultsOf(record: FleetRecord, unmet: readonly Unmet[]): readonly Unmet[] {
  const {healthy, judging} = record.gate ?? {};
  if (!healthy) return unmet;
  const before = new Map(healthy.specialists.map(desired => [desired.aiId, desired]));
  const now = new Map(record.specialists.map(desired => [desired.aiId, desired]));
  const excused = new Set(
    unmet.filter(one => {
      const desired = now.get(one.aiId);
      if (!desired || one.failed) return false;
      return (
        isOutside(desired, before.get(one.aiId), one.why.reason, healthy) ||
        wasSo(desired, before.get(one.aiId), one.why.reason, judging?.notReady[one.aiId])
      );
    }),
  );
  const byName = new Map(unmet.map(one => [one.name, one]));
  // A chain of any length: each round excuses the next of it.
  for (let size = -1; size < excused.size;) {
    size = excused.size;
    for (const one of unmet.filter(({why}) => why.reason === 'DependencyNotReady')) {
      const waitsFor = (now.get(one.aiId)?.spec.dependsOn ?? []).flatMap(name => byName.get(name) ?? []);
      if (waitsFor.length > 0 && waitsFor.every(other => excused.has(other))) excused.add(one);
    }
  }
  return unmet.filter(one => !excused.has(one));
}

/** A fault of what is outside of us, at something that the change left alone. */
function isOutside(desired: Desired, before: Desired | undefined, reason: string, healthy: HealthySnapshot): boolean {
  const same = (roots: readonly string[]): boolean =>
    before !== undefined && roots.every(root => declaredUnder(before, root) === declaredUnder(desired, root));
  const sameAddress = before !== undefined && addressOf(before.provider) === addressOf(desired.provider);
  switch (reason) {
    case 'ProviderUnreachable':
    case 'ProviderError':
    case 'QuotaExceeded':
      if (before) return sameAddress;
      return healthy.specialists.some(({provider}) => addressOf(provider) === addressOf(desired.provider));
    case 'Unauthorized':
    case 'SecretMissing':
      return sameAddress && same(['provider.apiKey', 'env', 'auth']);
    case 'ModelNotFound':
    case 'Pulling':
    case 'PullFailed':
      return sameAddress && before.spec.model === desired.spec.model;
    case 'BudgetExceeded':
      return same(['budget']);
    default:
      return false;
  }
}

function wasSo(desired: Desired, before: Desired | undefined, reason: string, then: string | undefined): boolean {
  return before?.specHash === desired.specHash && then !== undefined && kindOf(then) === kindOf(reason);
}

/** One that goes down again and again is seen with any of these. */
const down: ReadonlySet<string> = new Set([
  ...['Starting', 'Launching', 'LaunchFailed', 'Restarting', 'BackingOff'],
  ...['CrashLoop', 'Exited', 'ProbeFailed'],
]);

function kindOf(reason: string): string {
  return down.has(reason) ? 'down' : reason;
}

function addressOf({type, baseUrl, script, choices}: NamedProvider): string {
  return JSON.stringify([type, baseUrl, script, choices?.ollama?.baseUrl, choices?.anthropic?.baseUrl]);
}

function declaredUnder({declared}: Desired, root: string): string {
  const own = Object.entries(declared).filter(([path]) => path === root || path.startsWith(`${root}.`));
  return JSON.stringify(own.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

const mostNames = 3;

/** "hermes: ModelNotFound: model x is not there; and 2 more" */
export function unmetText(unmet: readonly Unmet[]): string {
  const shown = unmet.slice(0, mostNames).map(({name, why}) => `${name}: ${why.reason}: ${why.message}`);
  const more = unmet.length - shown.length;
  return `${shown.join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
}

/** "revision 1a2b3c4d5e6f", or in other words where no commit is known. */
export function revisionText(revision: string | undefined, otherwise: string): string {
  return revision === undefined ? otherwise : `revision ${revision.slice(0, 12)}`;
}
