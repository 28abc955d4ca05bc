/** When the world is as declared: what is still missing, in words. */
import {condition, isTrue} from '../../src/api/conditions.js';
import type {Desired, FleetRecord, NamedStatus} from '../../src/api/types.js';
import {diffDeclared} from '../../src/api/hash.js';
import {MassPruneError, nextRecord} from '../../src/reconciler/desired.js';
import {entryUid} from '../../src/registry/entry-facts.js';
import type {Audit} from './audit.js';
import {load} from './ports.js';
import {idOf} from './state-folder.js';
import type {WorkerProcess} from './worker-process.js';
import type {World} from './world.js';

/** The first thing that is not as declared; undefined: everything is. */
export function whatIsMissing(world: World, audit: Audit): string | undefined {
  const {files, machine} = world;
  const records = [...files.fleets.values()];
  const wanted = new Map<string, WorkerProcess>();
  for (const record of records) {
    const problem = sourceProblem(world, record) ?? fleetProblem(world, audit, record, records, wanted);
    if (problem) return problem;
  }
  for (const worker of machine.workers) {
    if (wanted.get(worker.aiId) !== worker) return `${worker.uid} (${worker.aiId} of ${worker.fleet}) still runs`;
  }
  return registryProblem(world, wanted);
}

function sourceProblem(world: World, record: FleetRecord): string | undefined {
  if (record.stopped) return undefined;
  const key = {namespace: record.namespace, fleet: record.name};
  try {
    const options = {confirmed: false, takeOver: false, prune: true, appliedAt: record.appliedAt, version: '1'};
    const next = nextRecord(record, load(world, key), options);
    const say = ({specialists}: FleetRecord): string =>
      JSON.stringify(specialists.map(({aiId, specHash, spec}) => [aiId, specHash, spec.enabled]));
    return say(next) === say(record) ? undefined : `the record of ${idOf(record)} is not what its source says`;
  } catch (error) {
    if (error instanceof MassPruneError) return undefined;
    throw error;
  }
}

function fleetProblem(
  world: World,
  audit: Audit,
  record: FleetRecord,
  records: readonly FleetRecord[],
  wanted: Map<string, WorkerProcess>,
): string | undefined {
  const id = idOf(record);
  const status = world.files.statuses.get(id);
  if (!status) return record.specialists.length === 0 ? undefined : `${id} has no status`;
  const named = new Map(status.specialists.map(one => [one.aiId, one]));
  const extra = status.specialists.find(({aiId}) => !record.specialists.some(one => one.aiId === aiId));
  if (extra) return `the status of ${id} still shows ${extra.aiId}`;
  for (const desired of record.specialists) {
    const {aiId} = desired;
    const own = [...world.machine.workers].filter(worker => worker.aiId === aiId && worker.fleet === id);
    const one = named.get(aiId);
    if (!one) return `the status of ${id} lacks ${aiId}`;
    if (one.generation !== desired.generation) return `the status of ${aiId} is of generation ${one.generation}`;
    const expected = expectation(desired, record, records, leftDrained(world));
    if (own.length === 0 && expected !== 'runs') {
      const said = offProblem(desired, one, expected);
      if (said) return said;
      continue;
    }
    if (expected === 'is off') return `${aiId} of ${id} is not to run, and runs`;
    // Two fleets want one name or port, and both are told: a person decides; what runs goes on as it was.
    const isHeld = condition(one.status.conditions, 'Accepted')?.status === 'False' && expected === 'may run';
    const problem = isHeld && own.length === 1 ? undefined : runsProblem(world, audit, desired, one, own);
    if (problem) return `${id}: ${problem}`;
    const [worker] = own;
    if (worker) wanted.set(aiId, worker);
  }
  return undefined;
}

/** `may run`: another fleet's claim, a dependency that is off or a restart policy stand in its way. */
function expectation(
  desired: Desired,
  record: FleetRecord,
  records: readonly FleetRecord[],
  drained: ReadonlySet<string>,
): 'runs' | 'is off' | 'may run' {
  if (record.stopped || !record.enabled || !desired.spec.enabled) return 'is off';
  const others = records.filter(other => other !== record && !other.stopped);
  const isContested = others.some(other => other.specialists.some(({aiId}) => aiId === desired.aiId));
  if (isContested || desired.spec.restartPolicy !== 'Always') return 'may run';
  const dependencies = record.specialists.filter(({name}) => desired.spec.dependsOn.includes(name));
  // One that somebody had drain, and that is left so, is never Ready.
  if (dependencies.some(({aiId}) => drained.has(aiId))) return 'may run';
  return dependencies.every(one => expectation(one, record, records, drained) === 'runs') ? 'runs' : 'may run';
}

/** Ai ids of those that a hand had drain, and that are left so. */
function leftDrained({machine, driftPolicy}: World): ReadonlySet<string> {
  const drained = [...machine.workers].filter(worker => driftPolicy !== 'heal' && worker.drainedByHand);
  return new Set(drained.map(({aiId}) => aiId));
}

function offProblem(
  {aiId, generation}: Desired,
  {status}: NamedStatus,
  expected: 'is off' | 'may run',
): string | undefined {
  if (status.instance) return `the status of ${aiId} shows an instance`;
  if (isTrue(status.conditions, 'Ready')) return `the status of ${aiId} says Ready, and it does not run`;
  if (status.observedGeneration !== generation) {
    return `${aiId} observed generation ${status.observedGeneration} of ${generation}`;
  }
  if (expected === 'is off' && status.phase !== 'Disabled' && status.phase !== 'Stopped') {
    return `${aiId} is ${status.phase}`;
  }
  if (expected === 'may run' && isTrue(status.conditions, 'Progressing')) {
    return `${aiId} is said to be on its way: ${condition(status.conditions, 'Progressing')?.message}`;
  }
  return undefined;
}

function runsProblem(
  world: World,
  audit: Audit,
  desired: Desired,
  named: NamedStatus,
  own: readonly WorkerProcess[],
): string | undefined {
  const {aiId, generation} = desired;
  const [worker, other] = own;
  if (!worker) return `${aiId} does not run: ${said(named)}`;
  if (other) return `${aiId} runs twice`;
  const {port, uid, byHand} = worker;
  const {status} = named;
  const hand = handProblem(world, worker, named);
  if (hand) return hand;
  const config = byHand?.told ?? worker.config;
  const changes = diffDeclared(config.declared, desired.declared, {});
  if (changes.length > 0) return `${aiId} runs with another ${changes.map(({path}) => path).join(', ')}`;
  if (status.instance?.uid !== uid || status.port !== port) return `the status of ${aiId} names another instance`;
  if (worker.drainedByHand && worker.responsive) return undefined;
  if (!worker.listening || !worker.responsive || worker.draining) return `${aiId} does not serve`;
  if (!isTrue(status.conditions, 'Ready')) return `${aiId} is not said to be Ready: ${said(named)}`;
  if (isTrue(status.conditions, 'Progressing')) return `${aiId} is said to be on its way: ${said(named)}`;
  const silent = audit.whyNoAnswer(named);
  if (silent) return `${aiId} is said to be Ready: ${silent.text}`;
  if (status.observedGeneration !== generation) {
    return `${aiId} observed generation ${status.observedGeneration} of ${generation}`;
  }
  // Nothing is told to one that is left as a hand made it.
  if (byHand) return undefined;
  const target = desired.provider.type === 'auto' ? 'ollama' : desired.provider.type;
  if (config.provider.type !== target) return `${aiId} asks ${config.provider.type} instead of ${target}`;
  const key = desired.provider.type === 'anthropic' ? world.secrets.get('HOSTED_KEY') : undefined;
  if (config.provider.apiKey !== key) return `${aiId} has another key`;
  const launch = world.files.launches.get(aiId);
  // A launch record that could not be written is not tried again: the worker is found without it.
  if (launch && launch.uid !== uid && !world.files.failedWrites) {
    return `the launch record of ${aiId} is of ${launch.uid}`;
  }
  return undefined;
}

/** What a hand changed is put right, or left and said to be so, as the policy has it; nothing else is said to be so. */
function handProblem({driftPolicy, files}: World, worker: WorkerProcess, named: NamedStatus): string | undefined {
  const {aiId, byHand, drainedByHand, config} = worker;
  const isSaid = condition(named.status.conditions, 'Progressing')?.reason === 'Drifted';
  if (!byHand && !drainedByHand) {
    // Known gap: what could not be noted for want of room looks like a hand's doing, once it would be told otherwise now.
    return isSaid && !files.failedWrites ? `${aiId} is said to have drifted: ${said(named)}` : undefined;
  }
  if (driftPolicy === 'heal') return `${aiId} still is as a hand made it`;
  // Where its launch record was lost, nobody knows any more what it was told.
  const noted = files.launches.get(aiId)?.running?.['parameters'];
  const isKnown = drainedByHand || JSON.stringify(noted) !== JSON.stringify(config.parameters);
  return isSaid || !isKnown ? undefined : `${aiId} is not said to have drifted: ${said(named)}`;
}

function said({status}: NamedStatus): string {
  const texts = ['Ready', 'Progressing', 'Stalled'] as const;
  return texts
    .map(type => {
      const {reason, message} = condition(status.conditions, type) ?? {};
      return `${type}: ${reason} (${message})`;
    })
    .join('; ');
}

function registryProblem(world: World, wanted: ReadonlyMap<string, WorkerProcess>): string | undefined {
  const {registry} = world.files;
  if (registry === 'damaged') return 'the registry is damaged';
  for (const [aiId, worker] of wanted) {
    const entry = registry.get(aiId);
    if (!entry) return `${aiId} is not registered`;
    if (entry.port !== worker.port || entryUid(entry) !== worker.uid) return `${aiId} is registered as another`;
  }
  for (const [aiId, entry] of registry) {
    if (entryUid(entry) !== undefined && !wanted.has(aiId)) return `${aiId} is registered, and does not run`;
  }
  return undefined;
}
