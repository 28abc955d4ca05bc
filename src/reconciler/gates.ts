/**
 * Carries out what canary-record.ts and health-gate.ts decide: asks specialists their canary prompts once they are Ready
 * with what is new, and takes a fleet back that doesn't become healthy in time. All that has to outlive the controller is
 * in the fleet's record; a deadline is not, so it begins anew with the next controller.
 */
import {condition} from '../api/conditions.js';
import type {EventReason} from '../api/events.js';
import {describeError} from '../api/errors.js';
import {defaultName} from '../api/names.js';
import type {FleetRecord, FleetStatus, NamedStatus} from '../api/types.js';
import {canaryAsked, canaryView} from './canary-record.js';
import {hasCanary, reportText} from './canary.js';
import {runCanary} from './canary-run.js';
import type {Asked, CanaryChat} from './canary-run.js';
import type {EventLog} from './events.js';
import {fleetId} from './fleets.js';
import type {Fleet, Fleets} from './fleets.js';
import {contentOf, faultsOf, healthOf, notPassed, passed, revisionText, rolledBack, unmetText} from './health-gate.js';
import type {Unmet} from './health-gate.js';
import type {FleetKey, Ports} from './ports.js';
import type {Specialist} from './specialist.js';
import type {Specialists} from './specialists.js';

export interface GatesOptions {
  readonly ports: Pick<Ports, 'clock' | 'chats' | 'checks' | 'secrets' | 'log'>;
  readonly specialists: Specialists;
  readonly fleets: Fleets;
  readonly events: EventLog;
  /** Fleets are judged. false: an apply that leaves doesn't wait for deadlines; the next controller does. */
  readonly judges: boolean;
}

/** A fleet counts as healthy when it has been for so long without a break, ms: one that crashes soon has not. */
const settleMs = 2000;
/** Of records that could not be written, ms. */
const retryMs = 2000;
/** A specialist that goes down so often while it is asked has failed. */
const mostBreaks = 3;

interface Judging {
  /** Which judgement it is. */
  readonly key: string;
  cancelDeadline: (() => void) | undefined;
  cancelSettle: (() => void) | undefined;
  /** As said last, so that it is said once. */
  undecided: string | undefined;
  /** Those that were healthy when it was looked at last. */
  processes: string;
  /** What follows from it is being written. */
  busy: boolean;
}

interface Run {
  readonly specHash: string;
  readonly stop: AbortController;
}

export class Gates {
  readonly #options: GatesOptions;
  readonly #statuses = new Map<string, FleetStatus>();
  readonly #judgings = new Map<string, Judging>();
  /** By the specialist's id. */
  readonly #runs = new Map<string, Run>();
  /** How often what answers by this hash went down while it was asked. */
  readonly #breaks = new Map<string, number>();
  readonly #working = new Set<Promise<unknown>>();
  readonly #cancels = new Set<() => void>();
  #unsubscribe: (() => void) | undefined;
  #closed = false;

  constructor(options: GatesOptions) {
    this.#options = options;
  }

  begin(subscribe: (listener: (status: FleetStatus) => void) => () => void): void {
    this.#unsubscribe = subscribe(status => {
      const key = {namespace: status.namespace, fleet: status.name};
      this.#statuses.set(fleetId(key), status);
      this.look(key);
    });
  }

  /** Another record or status of the fleet is there. */
  look(key: FleetKey): void {
    if (this.#closed || !this.#unsubscribe) return;
    const id = fleetId(key);
    const fleet = this.#options.fleets.all.get(id);
    const status = this.#statuses.get(id);
    for (const specialist of this.#options.specialists.inFleet(key)) this.#lookAt(specialist, fleet, status);
    if (fleet && !fleet.record.stopped && fleet.record.rollback?.enabled === true && this.#options.judges) {
      this.#judge(fleet, status);
    } else this.#forget(id);
  }

  /** Ends what is under way: the next controller begins it anew. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe?.();
    for (const {stop} of this.#runs.values()) stop.abort(new Error('the controller stops'));
    for (const id of [...this.#judgings.keys()]) this.#forget(id);
    for (const cancel of this.#cancels) cancel();
    await Promise.all(this.#working);
  }

  // ── canaries ──────────────────────────────────────────────────────────────────────────────────

  #lookAt(specialist: Specialist, fleet: Fleet | undefined, status: FleetStatus | undefined): void {
    const {desired, id, aiId} = specialist;
    const view = fleet && desired && !specialist.off ? canaryView(fleet.record, desired) : undefined;
    const run = this.#runs.get(id);
    const named = status?.specialists.find(one => one.aiId === aiId);
    const isDue = view?.state === 'due' && isReadyWith(named, desired?.generation);
    if (run && (!isDue || run.specHash !== desired?.specHash)) {
      if (view?.state === 'due' && run.specHash === desired?.specHash) {
        const breaks = `${id} ${view.answers}`;
        this.#breaks.set(breaks, (this.#breaks.get(breaks) ?? 0) + 1);
      }
      run.stop.abort(new Error('it is no longer as it was'));
      this.#runs.delete(id);
    }
    if (!isDue || !fleet || this.#runs.has(id)) return;
    const stop = new AbortController();
    this.#runs.set(id, {specHash: desired?.specHash ?? '', stop});
    this.#work(this.#ask(specialist, fleet, view.answers, stop.signal), isDone => {
      if (this.#runs.get(id)?.stop !== stop) return;
      this.#runs.delete(id);
      if (!isDone) this.#later(retryMs, () => this.look(specialist.key));
    });
  }

  async #ask(specialist: Specialist, fleet: Fleet, answers: string, signal: AbortSignal): Promise<void> {
    const {ports, events, fleets} = this.#options;
    const {clock, checks} = ports;
    const {aiId, key, id} = specialist;
    const canary = specialist.desired?.spec.canary;
    if (!hasCanary(canary)) return;
    const wentDown = (this.#breaks.get(`${id} ${answers}`) ?? 0) >= mostBreaks;
    const report = wentDown
      ? undefined
      : await runCanary(
          canary,
          {
            clock,
            checks,
            ask: (chat, until) => this.#chat(specialist, fleet.record, chat, until),
            askJudge: (name, chat, until) => this.#chatWithJudge(key, fleet.record, name, chat, until),
          },
          signal,
        );
    const message = report ? reportText(report) : `it went down ${mostBreaks} times while it was asked`;
    const outcome = {answers, passed: report?.passed ?? false, message};
    const at = clock.iso();
    let back: string | undefined;
    await fleets.change(key, record => {
      back = undefined;
      const next = signal.aborted ? record : canaryAsked(record, aiId, outcome, at);
      if (next === record) return record;
      const generation = next.specialists.find(one => one.aiId === aiId)?.generation ?? 0;
      const isBack = next.rollouts?.[aiId]?.held?.by === 'canary';
      back = isBack ? `; back to what it was before (as generation ${generation})` : '';
      return next;
    });
    if (back === undefined) return; // something else is declared by now
    if (outcome.passed) events.of(specialist, 'Normal', 'CanaryPassed', message);
    else events.of(specialist, 'Warning', 'CanaryFailed', `${message}${back}`, fleet.record.revision);
  }

  async #chat(specialist: Specialist, record: FleetRecord, chat: CanaryChat, signal: AbortSignal): Promise<Asked> {
    const {ports} = this.#options;
    const {worker, desired} = specialist;
    if (!worker || !desired) return {ok: false, message: `${specialist.aiId} is not running`, retryable: true};
    const {auth} = desired.spec;
    const secret = auth && (await ports.secrets.resolve(auth.token, record.envFile));
    if (secret && 'missing' in secret) return {ok: false, message: secret.missing, retryable: false};
    const {host, port} = worker;
    return ports.chats.ask({host, port, ...(secret && {token: secret.value})}, chat, signal);
  }

  async #chatWithJudge(
    key: FleetKey,
    record: FleetRecord,
    name: string,
    chat: CanaryChat,
    signal: AbortSignal,
  ): Promise<Asked> {
    const judge = this.#options.specialists.inFleet(key).find(one => one.desired?.name === defaultName(name));
    const ready = judge?.status && condition(judge.status.conditions, 'Ready');
    if (!judge || ready?.status !== 'True') {
      return {
        ok: false,
        message: `${name} is not Ready: ${ready?.message ?? 'nothing is known about it'}`,
        retryable: true,
      };
    }
    return this.#chat(judge, record, chat, signal);
  }

  // ── rollback ──────────────────────────────────────────────────────────────────────────────────

  #judge(fleet: Fleet, status: FleetStatus | undefined): void {
    const {record} = fleet;
    const id = fleetId(fleet.key);
    const {judging, healthy} = record.gate ?? {};
    const isNews = !healthy || contentOf(healthy) !== contentOf(record);
    if (!judging && !isNews) return this.#forget(id);
    const one = this.#judgingOf(id, judging ? `${judging.of} ${judging.since}` : `unjudged ${record.appliedAt}`);
    if (one.busy) return;
    const deadlineMs = (record.rollback?.deadlineSeconds ?? 0) * 1000;
    const health = healthOf(record, status);
    if (health.type === 'healthy') {
      // One that went down and is back is another process.
      const processes = (status?.specialists ?? []).map(({status: {instance}}) => instance?.uid).join();
      if (one.processes !== processes) {
        one.cancelSettle?.();
        one.cancelSettle = undefined;
      }
      one.processes = processes;
      one.cancelSettle ??= this.#later(Math.min(settleMs, deadlineMs / 2), () => {
        one.cancelSettle = undefined;
        this.#write(fleet, one, () => this.#pass(fleet));
      });
      return;
    }
    one.cancelSettle?.();
    one.cancelSettle = undefined;
    // What nobody judges, a person's word on single specialists, has all the time that it needs.
    if (!judging || judging.failed) return;
    one.cancelDeadline ??= this.#later(deadlineMs, () => this.#expire(fleet, one));
    const failed = health.type === 'unhealthy' ? health.unmet.filter(unmet => unmet.failed) : [];
    if (failed.length > 0 && healthy && judging.of === 'change') {
      this.#write(fleet, one, () => this.#goBack(fleet, failed, 'failed its canary'));
    }
  }

  #judgingOf(id: string, key: string): Judging {
    const known = this.#judgings.get(id);
    if (known?.key === key) return known;
    this.#forget(id);
    const one: Judging = {
      key,
      cancelDeadline: undefined,
      cancelSettle: undefined,
      undecided: undefined,
      processes: '',
      busy: false,
    };
    this.#judgings.set(id, one);
    return one;
  }

  #forget(id: string): void {
    const one = this.#judgings.get(id);
    one?.cancelDeadline?.();
    one?.cancelSettle?.();
    this.#judgings.delete(id);
  }

  #expire(fleet: Fleet, one: Judging): void {
    one.cancelDeadline = undefined;
    const {record, key} = fleet;
    const health = healthOf(record, this.#statuses.get(fleetId(key)));
    const late = `was not healthy within ${record.rollback?.deadlineSeconds ?? 0} s`;
    if (health.type === 'unhealthy') {
      const faults = faultsOf(record, health.unmet);
      if (faults.length > 0) return this.#write(fleet, one, () => this.#goBack(fleet, faults, late));
      const message = `it ${late}, through no fault of what changed: ${unmetText(health.unmet)}`;
      if (one.undecided !== message) this.#say(key, 'Warning', 'HealthUndecided', message);
      one.undecided = message;
    }
    this.look(key); // a new deadline begins
  }

  async #pass(fleet: Fleet): Promise<void> {
    const {fleets, ports} = this.#options;
    const seen = fleet.record;
    let isJudged = false;
    await fleets.change(fleet.key, record => {
      if (!isSame(record, seen)) return record;
      isJudged = record.gate?.judging !== undefined;
      return passed(record, ports.clock.iso());
    });
    if (!isJudged) return;
    const what = revisionText(seen.revision, 'what is declared');
    this.#say(fleet.key, 'Normal', 'FleetHealthy', `${what} is healthy: a rollback goes back to it from now on`);
  }

  /** To the last healthy declaration; where that is not possible, it is said that it isn't. */
  async #goBack(fleet: Fleet, faults: readonly Unmet[], how: string): Promise<void> {
    const {fleets, ports} = this.#options;
    const seen = fleet.record;
    let event: readonly [reason: EventReason, message: string, revision: string | undefined] | undefined;
    await fleets.change(fleet.key, record => {
      if (!isSame(record, seen)) return record;
      const at = ports.clock.iso();
      const {judging, healthy} = record.gate ?? {};
      const from = revisionText(record.revision, 'what was declared');
      if (judging?.of === 'change' && healthy) {
        const to = revisionText(healthy.revision, 'the last healthy declaration');
        const message = `${from} ${how} (${unmetText(faults)}): rolled back to ${to}`;
        const next = rolledBack(record, message, at);
        if (next) {
          event = ['RolledBack', message, record.revision];
          return next;
        }
      }
      const isBack = judging?.of === 'rollback';
      const message = isBack
        ? `${from} ${how} after the rollback either (${unmetText(faults)}): nothing more is tried`
        : `${from} ${how} (${unmetText(faults)}), and there is no earlier healthy declaration to go back to`;
      event = [isBack ? 'RollbackFailed' : 'NotHealthy', message, record.revision];
      return notPassed(record, message, at);
    });
    if (event) this.#say(fleet.key, 'Warning', ...event);
  }

  #say(key: FleetKey, type: 'Normal' | 'Warning', reason: EventReason, message: string, revision?: string): void {
    this.#options.events.add({type, reason, message, key, revision});
  }

  /** One at a time; a record that can't be written now is tried again. */
  #write(fleet: Fleet, one: Judging, write: () => Promise<void>): void {
    const id = fleetId(fleet.key);
    if (this.#judgings.get(id) !== one) return;
    one.cancelDeadline?.();
    one.cancelSettle?.();
    Object.assign(one, {busy: true, cancelDeadline: undefined, cancelSettle: undefined});
    this.#work(write(), isDone => {
      if (!isDone) return void this.#later(retryMs, () => this.#write(fleet, one, write));
      if (this.#judgings.get(id) === one) this.#judgings.delete(id);
      this.look(fleet.key);
    });
  }

  /** @param then told whether it could be done */
  #work(work: Promise<void>, then: (isDone: boolean) => void): void {
    const all: Promise<void> = work
      .then(
        () => true,
        (error: unknown) => {
          if (!this.#closed) this.#options.ports.log.warn({error: describeError(error)}, 'a gate could not decide');
          return false;
        },
      )
      .then(isDone => {
        this.#working.delete(all);
        if (!this.#closed) then(isDone);
      });
    this.#working.add(all);
  }

  #later(ms: number, run: () => void): () => void {
    const cancel = this.#options.ports.clock.after(ms, () => {
      this.#cancels.delete(cancel);
      if (!this.#closed) run();
    });
    this.#cancels.add(cancel);
    return () => {
      this.#cancels.delete(cancel);
      cancel();
    };
  }
}

/** Whether nobody has declared anything else since. */
function isSame(record: FleetRecord, seen: FleetRecord): boolean {
  return record.appliedAt === seen.appliedAt && !record.stopped && contentOf(record) === contentOf(seen);
}

/** By its own model: what a fallback says is not what is to be judged. */
function isReadyWith(named: NamedStatus | undefined, generation: number | undefined): boolean {
  if (!named || named.generation !== generation || named.status.observedGeneration < named.generation) return false;
  const ready = condition(named.status.conditions, 'Ready');
  const progressing = condition(named.status.conditions, 'Progressing');
  return ready?.status === 'True' && ready.reason === 'Ready' && progressing?.reason === 'CanaryRunning';
}
