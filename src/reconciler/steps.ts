/** One pass over one specialist: look, take one step towards what is declared, say when to look again. */
import {condition} from '../api/conditions.js';
import type {EventReason} from '../api/events.js';
import type {Desired, DriftPolicy, FieldChange, LastExit} from '../api/types.js';
import {runningOf} from '../protocol/running.js';
import {noFailures} from './backoff.js';
import {defaultAction, driftOf, driftText, fieldsOff, isSameDrift, leftText} from './drift.js';
import type {EventLog} from './events.js';
import {fleetId} from './fleets.js';
import type {Fleet, Fleets} from './fleets.js';
import {withHand} from './hand.js';
import {Handovers, mayBeReplaced} from './handovers.js';
import type {Keeper} from './keeper.js';
import type {Launcher, Obstacle} from './launcher.js';
import type {ModelMonitor} from './models.js';
import {planSpecialist} from './plan.js';
import type {FleetKey, Ports} from './ports.js';
import {observe} from './specialist.js';
import type {Specialist} from './specialist.js';
import type {Specialists} from './specialists.js';
import type {Action, Observed} from './types.js';

export interface StepsOptions {
  readonly ports: Pick<Ports, 'clock' | 'random' | 'runtime' | 'registry'>;
  readonly specialists: Specialists;
  readonly fleets: Fleets;
  readonly models: ModelMonitor;
  readonly launcher: Launcher;
  readonly keeper: Keeper;
  readonly events: EventLog;
  /** The worker that another fleet runs under the same ai id. */
  readonly runsElsewhere: (specialist: Specialist) => Observed | undefined;
  readonly isReady: (specialist: Specialist) => boolean;
  readonly touch: (key: FleetKey) => void;
  /** Who listens, or as what, is another than before. */
  readonly listenersChanged: () => void;
  readonly pass: (specialist: Specialist) => void;
  /** What was changed by hand is put right, whatever the fleets' policies are. */
  readonly heal: boolean;
}

const retryBlockedMs = 10_000;
const retryRivalMs = 1000;
const retryFleetMs = 1000;
const untold = 'its control socket is gone, so it cannot be told of';

/** Delay in ms until the next look is due, if one is. */
type Next = number | undefined;

export class Steps {
  readonly #options: StepsOptions;
  readonly #handovers: Handovers;

  constructor(options: StepsOptions) {
    this.#options = options;
    this.#handovers = new Handovers(options);
  }

  async step(specialist: Specialist, fleet: Fleet): Promise<Next> {
    const {desired} = specialist;
    specialist.healing = specialist.healAsked;
    if (!desired) return this.prune(specialist);
    const claims = this.#options.fleets.claimsAgainst(fleet);
    const observed = specialist.worker ? undefined : this.#options.runsElsewhere(specialist);
    const action = planSpecialist({
      ...{desired, enabled: !specialist.off, observed: observed ?? specialist.observed(), claims},
      ...{driftPolicy: this.#driftPolicy(specialist, fleet), revision: fleet.record.revision},
    });
    switch (action?.type) {
      case undefined:
        await endPredecessors(specialist);
        return this.#rest(specialist, desired);
      case 'create':
        return this.#create(specialist, desired, fleet);
      case 'keep':
        return this.#keep(specialist, desired, fleet);
      case 'leave':
        return this.#leave(specialist, desired, fleet, action);
      case 'reconfigure': {
        const paths = action.changes.map(change => change.path).join(', ');
        if (specialist.worker?.unreachable) return this.#restart(specialist, desired, fleet, `${untold} ${paths}`);
        if (action.drift && (await this.#isOurs(specialist, desired, fleet))) {
          return this.#keep(specialist, desired, fleet);
        }
        const event: Said = action.drift
          ? ['DriftHealed', `put right what was ${driftText(action.changes, fleet.record.revision)}`]
          : reconfigured(`changed ${paths}`);
        return this.#configure(specialist, desired, fleet, {progress: `takes over ${paths}`, event, left: action.left});
      }
      case 'restart':
        if (specialist.ending) return undefined; // its end calls again
        return this.#restart(specialist, desired, fleet, action.reason);
      case 'stop':
        // Dependents go first; the last of them calls again.
        if (this.#options.specialists.dependentsOf(specialist).some(s => s.worker && s.off)) return undefined;
        await this.#stopAll(specialist, 'Stopped', specialist.off?.message ?? action.reason);
        return this.#rest(specialist, desired);
      case 'block':
        specialist.progress = undefined;
        specialist.blocked = {reason: action.reason, message: action.message};
        return retryBlockedMs; // nobody tells us when the other one goes
      case 'prune':
        return this.prune(specialist);
      default:
        return action satisfies never;
    }
  }

  /** A serving worker is replaced while it serves; one that can't be is stopped, to be started again at the next look. */
  async #restart(specialist: Specialist, desired: Desired, fleet: Fleet, message: string): Promise<Next> {
    const obstacle = await this.#options.launcher.obstacle(desired, fleet.record);
    if (obstacle) return this.#hold(specialist, obstacle);
    const {worker} = specialist;
    if (worker && mayBeReplaced(specialist, worker, desired, fleet)) {
      const {delayMs, blocked} = await this.#handovers.carryOut(specialist, {worker, desired, fleet, message});
      return blocked ? this.#hold(specialist, blocked) : delayMs;
    }
    specialist.progress = {reason: 'Restarting', message};
    await this.#stop(specialist, 'Restarted', message);
    return 0;
  }

  /** What serves is not stopped for what could not start. */
  #hold(specialist: Specialist, {reason, message}: Obstacle): Next {
    specialist.progress = undefined;
    if (specialist.blocked?.message !== message) this.#options.events.of(specialist, 'Warning', reason, message);
    specialist.blocked = {reason, message};
    return retryBlockedMs;
  }

  #driftPolicy({healAsked}: Specialist, {record}: Fleet): DriftPolicy {
    return healAsked || this.#options.heal ? 'heal' : (record.driftPolicy ?? 'heal');
  }

  /**
   * What looks like drift may be our own, where there was no room on the disk to note it. It is exactly what it would be
   * told now then.
   */
  async #isOurs({worker}: Specialist, desired: Desired, fleet: Fleet): Promise<boolean> {
    const running = worker?.hello.running;
    if (!running || worker.hello.specHash !== desired.specHash) return false;
    const {declared, specHash} = desired;
    const now = {...worker.told, running: runningOf(await this.#options.launcher.config(desired, fleet.record))};
    return fieldsOff(now, {specHash, declared, running}).length === 0;
  }

  /** Somebody else changed it, and may have: it is said once, and nothing more is told to it. */
  async #leave(specialist: Specialist, desired: Desired, fleet: Fleet, {changes, message}: Left): Promise<Next> {
    const {worker} = specialist;
    if (worker && !worker.hello.draining && (await this.#isOurs(specialist, desired, fleet))) {
      return this.#keep(specialist, desired, fleet);
    }
    // Though only such fields differ, its secrets may be others, and those are not left.
    const heals = defaultAction(this.#driftPolicy(specialist, fleet)) === 'heal';
    if (heals && specialist.toldByOther && worker && !worker.unreachable) {
      const progress = 'is told again what is declared';
      return this.#configure(specialist, desired, fleet, {progress, event: undefined, left: changes});
    }
    return this.#restLeft(specialist, desired, fleet, changes, message);
  }

  /** Nothing is to be done about it, but to say what is left as a hand made it. */
  #restLeft(
    specialist: Specialist,
    desired: Desired,
    {record}: Fleet,
    left: readonly FieldChange[],
    message: string,
  ): undefined {
    const {status, drift, warned} = specialist;
    const progressing = status && condition(status.conditions, 'Progressing');
    const said = drift?.message ?? (progressing?.reason === 'Drifted' ? progressing.message : undefined);
    const policy = record.driftPolicy ?? 'heal';
    const toWarn = left.filter(change => change.left === 'warn');
    const warning = toWarn.length === left.length ? message : leftText(toWarn, policy, record.revision);
    const isWarned = left.length === 0 ? defaultAction(policy) === 'warn' : toWarn.length > 0;
    // What is left and not to be told of may change meanwhile; of what an earlier controller said only the whole is known.
    const isNews = isWarned && !isSameDrift(said, message) && !(drift && isSameDrift(warned, warning));
    this.#rest(specialist, desired);
    specialist.drift = {reason: 'Drifted', message};
    specialist.warned = isWarned ? warning : undefined;
    if (isNews) this.#options.events.of(specialist, 'Warning', 'Drifted', warning);
    return undefined;
  }

  #rest(specialist: Specialist, desired: Desired): undefined {
    specialist.progress = undefined;
    specialist.blocked = undefined;
    specialist.rollout = undefined;
    specialist.drift = undefined;
    if (specialist.healAsked === specialist.healing) specialist.healAsked = undefined;
    specialist.observedGeneration = desired.generation;
    return undefined;
  }

  async #create(specialist: Specialist, desired: Desired, fleet: Fleet): Promise<Next> {
    const {ports, specialists, isReady} = this.#options;
    const waitMs = specialist.holdUntil - ports.clock.monotonic();
    if (waitMs > 0) return waitMs;
    if (!mayRestart(specialist, desired)) {
      specialist.progress = undefined;
      const message = `it ended and restartPolicy is ${desired.spec.restartPolicy}`;
      specialist.blocked = {reason: 'Exited', message};
      return undefined;
    }
    const waitsForFleet = this.#options.fleets.launchWaitsFor(fleet);
    if (waitsForFleet) {
      specialist.progress = undefined;
      specialist.blocked = waitsForFleet;
      return retryFleetMs; // it is woken when that one turns Ready; why it isn't may change
    }
    const waitsFor = specialists.dependenciesOf(specialist).filter(s => !isReady(s));
    if (waitsFor.length > 0) {
      specialist.progress = undefined;
      const names = waitsFor.map(s => s.desired?.name).join(', ');
      specialist.blocked = {reason: 'DependencyNotReady', message: `waits for ${names} to be Ready`};
      return undefined; // woken when one of them turns Ready
    }
    const stranger = await ports.registry.strangerAt(desired.aiId);
    if (stranger !== undefined) {
      specialist.progress = undefined;
      specialist.blocked = {reason: 'Conflict', message: `${desired.aiId} is registered by ${stranger}`};
      return retryBlockedMs;
    }
    // The other fleet's began before the two were in conflict: whoever comes up first has the name.
    const rival = specialists.namesakesOf(specialist).find(s => s.worker ?? s.progress?.reason === 'Launching');
    if (rival) {
      specialist.progress = undefined;
      const message = `${desired.aiId} ${rival.worker ? 'runs' : 'is being started'} for fleet ${fleetId(rival.key)}`;
      specialist.blocked = {reason: 'Conflict', message};
      return retryRivalMs;
    }
    return this.#launch(specialist, desired, fleet);
  }

  async #launch(specialist: Specialist, desired: Desired, fleet: Fleet): Promise<Next> {
    const {launcher, keeper, events, touch, listenersChanged} = this.#options;
    const again = specialist.lastExit !== undefined && specialist.backoff.failures > 0;
    const said = specialist.blocked?.message;
    const portBefore = specialist.lastPort;
    specialist.blocked = undefined;
    specialist.progress = {reason: 'Launching', message: again ? 'starting it again' : 'starting it'};
    touch(specialist.key);
    const outcome = await launcher.launch(desired, fleet.record, portBefore);
    switch (outcome.type) {
      case 'listening': {
        const {worker} = outcome;
        const {port} = worker;
        if (again) specialist.restarts += 1;
        specialist.observedGeneration = desired.generation;
        keeper.hold(specialist, worker);
        const message = `pid ${worker.instance.identity.pid} listens on port ${port}`;
        events.of(specialist, 'Normal', again ? 'Relaunched' : 'Launched', message);
        const {from, to} = fleet.record.ports;
        const kept =
          portBefore !== undefined && portBefore >= from && portBefore <= to && desired.spec.port === undefined;
        if (kept && portBefore !== port) {
          const holder = outcome.movedFrom?.port === portBefore ? outcome.movedFrom.holder : undefined;
          const why = holder === undefined ? 'was not to be had' : `is taken by ${holder}`;
          events.of(specialist, 'Warning', 'PortMoved', `port ${portBefore} ${why}; now on ${port}`);
        }
        listenersChanged();
        return 0; // the declaration may have changed meanwhile
      }
      case 'blocked':
        specialist.progress = undefined;
        specialist.blocked = {reason: outcome.reason, message: outcome.message};
        if (said !== outcome.message) events.of(specialist, 'Warning', outcome.reason, outcome.message);
        return outcome.retryAfterMs;
      case 'failed':
        return keeper.failed(specialist, outcome.exit, outcome.message, 0);
      default:
        return outcome satisfies never;
    }
  }

  /** Runs as declared; what `auto` comes to, and the secrets behind the references, may have changed all the same. */
  async #keep(specialist: Specialist, desired: Desired, fleet: Fleet): Promise<Next> {
    const {models, launcher} = this.#options;
    // It serves as declared; what it can't be told waits for its next restart.
    if (specialist.worker?.unreachable) {
      this.#rest(specialist, desired);
      return specialist.unsure ? retryBlockedMs : undefined;
    }
    if (specialist.unsure) {
      const progress = 'is told again what it gave no answer to';
      const {worker} = specialist;
      const drift = worker ? driftOf(desired, observe(worker), this.#driftPolicy(specialist, fleet)) : [];
      const left = drift.filter(change => change.left);
      return this.#configure(specialist, desired, fleet, {progress, event: undefined, left});
    }
    if (specialist.toldByOther && defaultAction(this.#driftPolicy(specialist, fleet)) === 'heal') {
      const event: Said = ['DriftHealed', 'told it again what is declared: somebody had configured it'];
      return this.#configure(specialist, desired, fleet, {progress: 'is told again what is declared', event});
    }
    const target = models.known(specialist.id);
    const fallbacks = models.knownFallbacks(specialist.id);
    const choice = specialist.worker?.hello.choice;
    if (target && choice && (target.choice.type !== choice.type || target.model !== choice.model)) {
      const why = target.choice.why ?? target.choice.provider;
      const now = `${target.choice.provider}:${target.model}`;
      await this.#configure(specialist, desired, fleet, {
        progress: `moves to ${now}`,
        event: reconfigured(`moved to ${now}: ${why}`),
      });
    } else if (target && fallbacks && launcher.secretsDiffer(desired, [target, ...fallbacks])) {
      const silent = launcher.secretsUnknown(desired.aiId);
      const event = silent ? undefined : reconfigured('changed the secret of its provider');
      await this.#configure(specialist, desired, fleet, {progress: 'takes over a changed secret', event});
    }
    return this.#rest(specialist, desired);
  }

  async #configure(
    specialist: Specialist,
    desired: Desired,
    fleet: Fleet,
    say: {
      readonly progress: string;
      readonly event: Said | undefined;
      /** What the worker keeps as somebody else made it. */
      readonly left?: readonly FieldChange[] | undefined;
    },
  ): Promise<undefined> {
    const {launcher, keeper, events, listenersChanged} = this.#options;
    specialist.progress = {reason: 'Reconfiguring', message: say.progress};
    const config = await launcher.config(desired, fleet.record);
    const {left = []} = say;
    const {worker} = specialist;
    specialist.unsure = true;
    specialist.toldByOther = false; // whatever comes from now on comes after it
    await worker?.configure(withHand(config, worker.hello.running, left), config);
    if (specialist.worker === worker) specialist.unsure = false;
    launcher.taken(config);
    keeper.tellModel(specialist);
    if (say.event) events.of(specialist, 'Normal', ...say.event);
    listenersChanged();
    if (left.length === 0) return this.#rest(specialist, desired);
    const {driftPolicy = 'heal', revision} = fleet.record;
    return this.#restLeft(specialist, desired, fleet, left, leftText(left, driftPolicy, revision));
  }

  /** Nothing of it is to run any more, predecessors included. */
  async #stopAll(specialist: Specialist, reason: EventReason, message: string): Promise<void> {
    await Promise.all([this.#stop(specialist, reason, message), endPredecessors(specialist)]);
  }

  /** Only who counts: a predecessor owes its last clients their answers, and is in nobody's way. */
  async #stop(specialist: Specialist, reason: EventReason, message: string): Promise<void> {
    const {specialists, events, touch, listenersChanged, pass} = this.#options;
    const {worker} = specialist;
    if (!worker) return;
    specialist.stopping = true;
    touch(specialist.key);
    let exit: LastExit;
    try {
      exit = await worker.stop(graceMsOf(specialist));
    } finally {
      // One that could not be stopped may end by itself later: that is a failure then.
      specialist.stopping = false;
    }
    if (specialist.worker === worker) specialist.lose(exit);
    specialist.backoff = noFailures; // what failed before is over: its next launch is no restart
    const suspended = exit.suspended ? '; it was suspended (SIGSTOP), so it was killed without grace' : '';
    events.of(specialist, 'Normal', reason, `${message}${suspended}`);
    listenersChanged();
    for (const other of specialists.dependenciesOf(specialist)) if (other.off) pass(other);
    for (const other of specialists.namesakesOf(specialist)) pass(other);
  }

  /** Stops and forgets what nobody declares. */
  async prune(specialist: Specialist, why = 'no longer declared'): Promise<undefined> {
    const {ports, specialists, listenersChanged, pass} = this.#options;
    await this.#stopAll(specialist, 'Pruned', why);
    await ports.runtime.forget(specialist.aiId);
    // It may have been declared again while it was being stopped.
    if (specialist.desired) pass(specialist);
    else specialists.delete(specialist);
    listenersChanged();
    return undefined;
  }
}

/** The fields that are left as somebody else made them, and what is said of it. */
type Left = Extract<Action, {readonly type: 'leave'}>;

/** Reason and message of an event. */
type Said = readonly [reason: EventReason, message: string];

function reconfigured(what: string): Said {
  return ['Reconfigured', `${what}, without a restart`];
}

function graceMsOf({desired}: Specialist): number {
  return (desired?.spec.terminationGracePeriodSeconds ?? 30) * 1000;
}

async function endPredecessors(specialist: Specialist): Promise<void> {
  const graceMs = graceMsOf(specialist);
  await Promise.all([...specialist.retiring].map(worker => worker.stop(graceMs)));
}

function mayRestart(specialist: Specialist, desired: Desired): boolean {
  const exit = specialist.lastExit;
  if (!exit || specialist.backoff.failures === 0) return true;
  switch (desired.spec.restartPolicy) {
    case 'Always':
      return true;
    case 'OnFailure':
      return exit.code !== 0;
    case 'Never':
      return false;
    default:
      return desired.spec.restartPolicy satisfies never;
  }
}
