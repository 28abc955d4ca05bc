/**
 * What must never be, looked at after every step and at every effect that could break it. Each rule has a name, which is
 * what a failing seed is reported and shrunk by.
 */
import {condition, conditionTypes, isTrue} from '../../src/api/conditions.js';
import {diffDeclared} from '../../src/api/hash.js';
import type {WorkerConfig} from '../../src/protocol/control.js';
import type {Desired, FleetRecord, FleetStatus, NamedStatus, SpecialistStatus} from '../../src/api/types.js';
import type {RegistryEntry} from '../../src/registry/registry-text.js';
import type {Blow} from './machine.js';
import type {SimulatedWorker} from './runtime.js';
import type {Life} from './scheduler.js';
import {idOf} from './state-folder.js';
import type {Commit} from './state-folder.js';
import type {WorkerProcess} from './worker-process.js';
import type {World} from './world.js';

export type Rule =
  | 'two serve at once'
  | 'a port twice in the registry'
  | 'a foreign entry is lost'
  | 'stopped without a reason'
  | 'replaced without a reason'
  | 'a change by hand is undone'
  | 'an acknowledged change is lost'
  | 'pruned by a half-written file'
  | 'a generation went back'
  | 'an observed generation went back'
  | 'observed what is not there'
  | 'a transition without a change'
  | 'Ready, and no chat would be answered'
  | 'restarts are counted wrong'
  | 'an error that nobody handles'
  | 'not as declared in time'
  | 'not at rest';

export class Violation extends Error {
  override readonly name = 'Violation';
  readonly rule: Rule;

  constructor(rule: Rule, text: string) {
    super(`${rule}: ${text}`);
    this.rule = rule;
  }
}

/** A fleet's record as an actor came to know it. */
interface Known {
  readonly at: number;
  readonly record: FleetRecord | undefined;
}

/** A file that lacked, from a moment to another, a part of what its operator means. */
export interface HalfWritten {
  readonly from: number;
  to: number;
  /** What nobody removed: ai ids. One that was removed right before may be pruned on any reading. */
  readonly meant: ReadonlySet<string>;
}

/** What an actor may act on is what it read within this time, and what it knew when that began, ms. */
const memoryMs = 120_000;
/** As confirmMs and smallFleet of reconciler/ownerless.ts. */
const ownerlessMs = 30_000;
const smallFleet = 4;
/** How long a status may say Ready of one that is not, by what there is to be noticed, ms. */
const lagMs = {process: 10_000, hung: 80_000, model: 90_000};
/** How long a status may lag behind what its own writer has declared, ms. */
const ownLagMs = 10_000;
const auditEveryMs = 500;
/** Until a fleet that nothing disturbs has come up, and nothing is on its way to any worker. */
const settledMs = 15_000;
/** As the probe's default threshold. */
const threshold = 3;

export class Audit {
  violation: Violation | undefined;
  /** Actors that lead now, and answer. */
  readonly #leaders = new Map<Life, number>();
  readonly #world: World;
  readonly #known = new Map<Life, Map<string, Known[]>>();
  readonly #loads = new Map<Life, Map<string, number>>();
  readonly #missed = new Map<SimulatedWorker, number>();
  readonly #looks = new Map<Life, Map<string, NamedStatus>>();
  readonly #specs = new Map<string, string>();
  readonly #badSince = new Map<
    string,
    {readonly kind: keyof typeof lagMs; readonly since: number; readonly uid: string}
  >();
  readonly #generations = new Map<string, number>();
  /** When the source was read that a command applied. */
  readonly #applied = new Map<Commit, number>();
  /** Names that were not declared, or unreadable, for a while: their counts begin anew. */
  readonly #forgot = new Set<string>();
  /** Files that are half written, or were a moment ago, by fleet. */
  readonly partial = new Map<string, HalfWritten>();
  /** Something has happened that may have a worker configured though its declaration is as before. */
  disturbed = false;
  /** Nothing is concluded about what could have been known before this time. */
  excusedUntil = 0;
  #auditedAt = 0;

  constructor(world: World) {
    this.#world = world;
    world.machine.onBlow = blow => this.#blow(blow);
    world.onReplace = (by, victim) => this.#replaced(by, victim);
    world.onConfigure = (by, worker, config) => this.#configured(by, worker, config);
    world.files.onRegistered = entries => this.#registered(entries);
    world.files.onCommit = commit => this.#committed(commit);
    world.onRead = (life, records, all) => this.#read(life, records, all);
    world.onLoad = (life, id) => this.#loadsOf(life).set(id, world.scheduler.now);
    world.onPing = (worker, answers) => this.#missed.set(worker, answers ? 0 : (this.#missed.get(worker) ?? 0) + 1);
  }

  fail(rule: Rule, text: string): void {
    if (this.violation) return;
    this.violation = new Violation(rule, text);
    this.#world.scheduler.note(`VIOLATION ${this.violation.message}`);
  }

  began(life: Life): void {
    this.#known.set(life, new Map());
    life.onEnd.push(() => {
      this.#leaders.delete(life);
      this.#known.delete(life);
      this.#loads.delete(life);
      this.#looks.delete(life);
    });
  }

  leads(life: Life): void {
    this.#leaders.set(life, this.#world.scheduler.now);
  }

  leaves(life: Life): void {
    this.#leaders.delete(life);
  }

  /** After every step. */
  step(): void {
    this.#servesOnce();
    const {now} = this.#world.scheduler;
    if (now - this.#auditedAt < auditEveryMs) return;
    this.#auditedAt = now;
    this.#honestAboutReady(now);
  }

  /** A controller looked at its fleet: what it says follows from what it said before. */
  look(life: Life, status: FleetStatus): void {
    const id = idOf(status);
    const looks = this.#looks.get(life) ?? new Map<string, NamedStatus>();
    this.#looks.set(life, looks);
    for (const named of status.specialists) {
      const key = `${id}/${named.aiId}`;
      const before = looks.get(key);
      looks.set(key, named);
      // Of another generation it may be another specialist: removed, and declared again.
      if (before && named.generation === before.generation) this.#follows(key, before.status, named.status);
    }
    for (const key of looks.keys()) {
      const isThere = status.specialists.some(({aiId}) => `${id}/${aiId}` === key);
      if (key.startsWith(`${id}/`) && !isThere) looks.delete(key);
    }
  }

  /** Right before a status is written: it is what the controller believes at this moment. */
  says(life: Life, status: FleetStatus): void {
    const id = idOf(status);
    if (this.#world.scheduler.lines) this.#world.scheduler.lines.push(`             ${id}: ${summary(status)}`);
    for (const named of status.specialists) this.#saysOf(life, id, named);
    this.look(life, status);
  }

  #saysOf(life: Life, id: string, {aiId, status, generation}: NamedStatus): void {
    const {observedGeneration, instance} = status;
    const written = this.#world.files.statuses.get(id)?.specialists.find(one => one.aiId === aiId);
    const isSame = written !== undefined && written.generation <= generation && this.#isDeclared(id, aiId);
    if (isSame && status.restarts < written.status.restarts && !this.#forgot.has(`${id}/${aiId}`)) {
      this.fail(
        'restarts are counted wrong',
        `${id}/${aiId}: ${status.restarts}, and ${written.status.restarts} before`,
      );
    }
    if (observedGeneration > generation) {
      this.fail(
        'observed what is not there',
        `${life.name} says ${aiId} observed ${observedGeneration} of ${generation}`,
      );
    }
    const hash = this.#specs.get(`${id}/${aiId}/${observedGeneration}`);
    const process = instance && this.#world.machine.byUid.get(instance.uid);
    if (!process?.alive || process.retired || hash === undefined || process.config.specHash === hash) return;
    // It may have taken over more than the controller has been told of so far.
    if (process.config.generation >= observedGeneration) return;
    if (!isTrue(status.conditions, 'Ready') || !isTrue(status.conditions, 'Live')) return;
    // It is said that a hand had it run something else, and that it is left so.
    if (process.byHand && condition(status.conditions, 'Progressing')?.reason === 'Drifted') return;
    const text = `${life.name} says ${aiId} (${process.uid}) runs generation ${observedGeneration} of ${id}, and it runs another`;
    this.fail('observed what is not there', text);
  }

  #isDeclared(id: string, aiId: string): boolean {
    return this.#world.files.fleets.get(id)?.specialists.some(one => one.aiId === aiId) ?? false;
  }

  #follows(key: string, before: SpecialistStatus, after: SpecialistStatus): void {
    const now = this.#world.scheduler.iso();
    for (const type of conditionTypes) {
      const a = condition(before.conditions, type);
      const b = condition(after.conditions, type);
      if (a && b && a.status === b.status && a.lastTransitionTime !== b.lastTransitionTime) {
        this.fail('a transition without a change', `${type} of ${key} stays ${b.status}, its time moved`);
      }
      if (
        a &&
        b &&
        a.status !== b.status &&
        a.lastTransitionTime === b.lastTransitionTime &&
        b.lastTransitionTime !== now
      ) {
        this.fail('a transition without a change', `${type} of ${key} is ${b.status} now, its time stayed`);
      }
    }
    if (after.observedGeneration < before.observedGeneration) {
      const text = `${key}: ${before.observedGeneration} to ${after.observedGeneration}`;
      this.fail('an observed generation went back', text);
    }
    if (after.restarts < before.restarts) this.fail('restarts are counted wrong', `${key}: fewer than before`);
  }

  #servesOnce(): void {
    const {workers, listeners} = this.#world.machine;
    if (listeners.size === 0) return;
    const serving = new Map<string, WorkerProcess>();
    for (const worker of workers) {
      if (!worker.listening) continue;
      const other = serving.get(worker.aiId);
      serving.set(worker.aiId, worker);
      if (!other || other.successor === worker || worker.successor === other) continue;
      this.fail('two serve at once', `${other.uid} and ${worker.uid} are both ${worker.aiId}`);
    }
  }

  #registered(entries: ReadonlyMap<string, RegistryEntry>): void {
    const before = this.#world.files.registry;
    // Two that a hand gave one port stay so until the controllers of both have said what is true.
    const byHand = (aiId: string, port: number): boolean => before !== 'damaged' && before.get(aiId)?.port === port;
    const ports = new Map<number, string>();
    for (const [aiId, {port}] of entries) {
      const other = ports.get(port);
      if (other !== undefined && !(byHand(aiId, port) && byHand(other, port))) {
        this.fail('a port twice in the registry', `${port} for ${other} and ${aiId}`);
      }
      ports.set(port, aiId);
    }
    if (before === 'damaged' || !before.has('legacy-ai')) return;
    const isTaken = [...entries].some(([, {port}]) => port === before.get('legacy-ai')?.port);
    if (!entries.has('legacy-ai') && !isTaken) this.fail('a foreign entry is lost', 'legacy-ai');
  }

  /** Nothing is stopped but for what was declared, for its own silence, or by a person. */
  #blow({by, victim, how}: Blow): void {
    if (this.#world.launching.has(victim.uid) || this.#world.superfluous.has(victim.uid) || victim.draining) return;
    if (this.#isSilent(by, victim) || this.#isUnknown(by, victim)) return;
    if (this.#mayGo(by, victim)) return;
    this.fail('stopped without a reason', `${how} to ${victim.uid} (${victim.aiId}) by ${by.name}`);
  }

  #replaced(by: Life, victim: WorkerProcess): void {
    const reason = this.#versionsOf(by, victim.fleet).some(record => {
      const desired = record?.specialists.find(({aiId}) => aiId === victim.aiId);
      return desired !== undefined && needsAnother(desired, victim);
    });
    if (!reason) this.fail('replaced without a reason', `${victim.uid} (${victim.aiId}) by ${by.name}`);
  }

  /** Where the policy leaves what a hand changed, it is left; as long as there is no other reason. */
  #configured(by: Life, {aiId, byHand}: WorkerProcess, {generation}: WorkerConfig): void {
    const {driftPolicy, machine} = this.#world;
    if (driftPolicy === 'heal' || !byHand || this.disturbed) return;
    // What was decided while the fleet came up may be on its way still; and an apply puts it right.
    const isApplied = [...machine.actors].some(({name}) => !name.startsWith('controller'));
    if (byHand.at < settledMs || isApplied || generation !== byHand.told.generation) return;
    this.fail('a change by hand is undone', `${aiId} is configured by ${by.name}, and nothing else is declared`);
  }

  #isSilent(by: Life, victim: WorkerProcess): boolean {
    const handles = this.#world.handles.get(victim.uid) ?? [];
    return handles.some(handle => {
      const missed = (this.#missed.get(handle) ?? 0) + (handle.silent ? 1 : 0);
      return handle.heldBy === by && missed >= threshold;
    });
  }

  /** Nobody can know whether it runs what is declared (its record is lost, and it doesn't say), or can have it do so. */
  #isUnknown(by: Life, victim: WorkerProcess): boolean {
    const handles = this.#world.handles.get(victim.uid) ?? [];
    const isLost = (one: SimulatedWorker): boolean => (one.silent && one.hello.specHash === '') || one.unreachable;
    return handles.some(handle => handle.heldBy === by && isLost(handle));
  }

  #mayGo(by: Life, victim: WorkerProcess): boolean {
    const versions = this.#versionsOf(by, victim.fleet);
    const fits = versions.some(record => {
      if (!record) return false;
      const desired = record.specialists.find(({aiId}) => aiId === victim.aiId);
      if (record.stopped || !record.enabled || !desired?.spec.enabled) return true;
      return needsAnother(desired, victim);
    });
    return fits || this.#isOwnerless(by, victim);
  }

  /** Its record was missing for long, now or so lately that what was decided then may be on its way. */
  #isOwnerless(by: Life, victim: WorkerProcess): boolean {
    const known = this.#known.get(by)?.get(victim.fleet) ?? [];
    const {now} = this.#world.scheduler;
    const few = [...this.#world.machine.workers].filter(({fleet}) => fleet === victim.fleet).length <= smallFleet + 2;
    let since: number | undefined;
    const isGone = known.some(({at, record}, i) => {
      since = record ? undefined : (since ?? at);
      const until = known[i + 1]?.at ?? now;
      return since !== undefined && at - since >= ownerlessMs && until >= now - memoryMs;
    });
    return isGone && few;
  }

  /** The versions that an actor may still be acting on. */
  #versionsOf(life: Life, id: string): readonly (FleetRecord | undefined)[] {
    const known = this.#known.get(life)?.get(id) ?? [];
    const from = this.#world.scheduler.now - memoryMs;
    const recent = known.filter(({at}) => at >= from);
    const before = known.findLast(({at}) => at < from);
    return [...(before ? [before] : []), ...recent].map(({record}) => record);
  }

  #read(life: Life, records: ReadonlyMap<string, FleetRecord | undefined>, all: boolean): void {
    const known = this.#known.get(life);
    if (!known) return;
    const at = this.#world.scheduler.now;
    const ids = all ? new Set([...records.keys(), ...known.keys()]) : records.keys();
    if (all) for (const {fleet} of this.#world.machine.workers) if (!known.has(fleet)) known.set(fleet, []);
    for (const id of all ? new Set([...ids, ...known.keys()]) : ids) {
      const list = known.get(id) ?? [];
      const record = records.get(id);
      if (list.length === 0 || list.at(-1)?.record !== record || record === undefined) list.push({at, record});
      known.set(id, list);
    }
  }

  #loadsOf(life: Life): Map<string, number> {
    const loads = this.#loads.get(life) ?? new Map<string, number>();
    this.#loads.set(life, loads);
    return loads;
  }

  #committed(commit: Commit): void {
    const {id, record, by, at} = commit;
    const previous = this.#world.files.commits.findLast(
      commit => commit.id === id && commit.at <= at && commit.record !== record,
    );
    for (const {aiId, generation, specHash} of record?.specialists ?? []) {
      const key = `${id}/${aiId}`;
      const before = this.#generations.get(key) ?? 0;
      if (generation < before) this.fail('a generation went back', `${key}: ${before} to ${generation} by ${by}`);
      this.#generations.set(key, generation);
      const spec = this.#specs.get(`${key}/${generation}`);
      if (spec !== undefined && spec !== specHash) {
        this.fail(
          'a generation went back',
          `${key}: generation ${generation} is another declaration than before, by ${by}`,
        );
      }
      this.#specs.set(`${key}/${generation}`, specHash);
    }
    for (const {aiId} of previous?.record?.specialists ?? []) {
      if (!record?.specialists.some(one => one.aiId === aiId)) this.#forgot.add(`${id}/${aiId}`);
    }
    const author = [...this.#world.machine.actors].find(({name}) => name === by);
    const loadedAt = author && this.#loads.get(author)?.get(id);
    if (author && loadedAt !== undefined && /^(apply|up)/.test(by)) this.#applied.set(commit, loadedAt);
    if (!record) {
      // A record that a hand removed begins anew.
      for (const known of [this.#generations, this.#specs]) {
        for (const key of known.keys()) if (key.startsWith(`${id}/`)) known.delete(key);
      }
      return;
    }
    if (!author || !by.startsWith('controller')) return;
    const readAt = this.#loads.get(author)?.get(id);
    const before = previous?.record;
    if (readAt === undefined || !before || declarationOf(before) === declarationOf(record)) return;
    const appliedFrom = this.#applied.get(previous);
    if (appliedFrom !== undefined && appliedFrom > readAt) {
      const text = `${by} read the source of ${id} before ${previous.by} did, and undid what that had applied`;
      this.fail('an acknowledged change is lost', text);
    }
    for (const [aiId, rollout] of Object.entries(before.rollouts ?? {})) {
      const isDeclared = record.specialists.some(one => one.aiId === aiId);
      if (!isDeclared || JSON.stringify(rollout) === JSON.stringify(record.rollouts?.[aiId])) continue;
      this.fail('an acknowledged change is lost', `${by} undid the rollout of ${aiId} in ${id} by ${previous.by}`);
    }
    const partial = this.partial.get(id);
    const isLost = ({aiId}: Desired): boolean =>
      partial?.meant.has(aiId) === true && !record.specialists.some(one => one.aiId === aiId);
    const removed = before.specialists.filter(isLost);
    if (partial && removed.length > 0 && readAt >= partial.from && readAt < partial.to) {
      this.fail('pruned by a half-written file', `${removed.map(({aiId}) => aiId).join(', ')} of ${id} by ${by}`);
    }
  }

  /** What a live leader's status calls Ready would answer a chat, but for what it couldn't know yet. */
  #honestAboutReady(now: number): void {
    const {files, scheduler} = this.#world;
    const [leader] = [...this.#leaders];
    if (files.full || files.unreadable || !leader || leader[0].frozen) this.excusedUntil = now;
    if (!leader) return;
    this.#mindsItsOwn(leader);
    for (const [id, status] of files.statuses) {
      // Nobody reads the status of a fleet without a record.
      if (!files.fleets.has(id)) continue;
      for (const named of status.specialists) {
        const key = `${id}/${named.aiId}`;
        const bad = isTrue(named.status.conditions, 'Ready') ? this.whyNoAnswer(named) : undefined;
        const before = this.#badSince.get(key);
        if (!bad) this.#badSince.delete(key);
        else if (before?.kind !== bad.kind || before.uid !== bad.uid) this.#badSince.set(key, {...bad, since: now});
        else {
          const since = Math.max(before.since, this.excusedUntil, leader[1]);
          if (now - since > lagMs[bad.kind]) {
            const text = `${key} (${bad.uid}) for ${Math.round(scheduler.now - since)} ms: ${bad.text}`;
            this.fail('Ready, and no chat would be answered', text);
          }
        }
      }
    }
  }

  /** Whatever it is told, and when: a leader goes by what it has written itself. */
  #mindsItsOwn([{name}, since]: readonly [Life, number]): void {
    const {files, scheduler} = this.#world;
    for (const [id, record] of files.fleets) {
      const commit = files.commits.findLast(known => known.id === id);
      if (commit?.by !== name || scheduler.now - Math.max(commit.at, this.excusedUntil, since) <= ownLagMs) continue;
      for (const {aiId, generation} of record.specialists) {
        const said = files.statuses.get(id)?.specialists.find(named => named.aiId === aiId)?.generation;
        if (said === undefined || said >= generation) continue;
        const text = `${name} wrote generation ${generation} of ${aiId} in ${id}, and minds ${said}`;
        this.fail('an acknowledged change is lost', text);
      }
    }
  }

  /** Why a client would get no answer now from the instance that a status names. */
  whyNoAnswer({
    aiId,
    status,
  }: NamedStatus): {readonly kind: keyof typeof lagMs; readonly uid: string; readonly text: string} | undefined {
    const {machine} = this.#world;
    const uid = status.instance?.uid ?? 'nobody';
    const process = machine.byUid.get(uid);
    const bad = (kind: keyof typeof lagMs, text: string) => ({kind, uid, text});
    if (!process?.alive) return bad('process', `${aiId} is gone`);
    const holder = status.port === undefined ? undefined : machine.holderOf(status.port);
    const isHandingOver = process.successor !== undefined && holder === process.successor;
    if (holder !== process && !isHandingOver) return bad('process', `it does not listen on ${status.port}`);
    if (process.draining) return bad('process', 'it is draining');
    if (!process.responsive) return bad('hung', 'it does not answer');
    const {provider} = process.config;
    // What a hand has left out of a configuration that is left so, nobody is told.
    if (provider.missingSecret !== undefined && !process.byHand) return bad('model', `${provider.name} lacks a secret`);
    const check = provider.type === 'offline' ? undefined : this.#world.modelCheck(provider.name);
    return check?.available === false ? bad('model', check.message) : undefined;
  }
}

/** Only another process can run what is declared, as needsRestart of reconciler/plan.ts and its table in the docs. */
export function needsAnother({declared, spec}: Desired, {config, port}: WorkerProcess): boolean {
  return diffDeclared(config.declared, declared, {}).some(({path, to}) => {
    const root = path.split('.', 1)[0];
    if (root === 'port') return to !== undefined && to !== port;
    if (root === 'host') return spec.host !== config.host;
    return root === 'component' || root === 'env' || root === 'auth' || root === 'restartedAt';
  });
}

/** A status in a line, for the trace. */
function summary({specialists, sourceError}: FleetStatus): string {
  const texts = specialists.map(({aiId, generation, status}) => {
    const {phase, observedGeneration, instance, restarts, conditions} = status;
    const why = condition(conditions, 'Progressing')?.reason;
    const runs = instance ? ` ${instance.uid}` : '';
    return `${aiId} ${phase} (${why}) ${observedGeneration}/${generation}${runs} restarts ${restarts}`;
  });
  return [...texts, ...(sourceError ? [sourceError.reason] : [])].join(', ');
}

/** What a record declares, without when and by whom. */
function declarationOf({specialists, stopped}: FleetRecord): string {
  return JSON.stringify([stopped, specialists.map(({aiId, specHash, spec}) => [aiId, specHash, spec.enabled])]);
}
