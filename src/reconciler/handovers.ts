/** Restarts without a gap: a new worker takes the place of one that serves, or the one that serves stays. */
import type {Desired, LastExit} from '../api/types.js';
import type {Worker} from '../runtime/runtime.js';
import {afterFailure, noFailures} from './backoff.js';
import type {EventLog} from './events.js';
import type {Fleet} from './fleets.js';
import type {Keeper} from './keeper.js';
import type {Launcher} from './launcher.js';
import type {FleetKey, Ports} from './ports.js';
import type {Specialist} from './specialist.js';
import type {Obstacle} from './launcher.js';

export interface HandoversOptions {
  readonly ports: Pick<Ports, 'clock' | 'random'>;
  readonly launcher: Launcher;
  readonly keeper: Keeper;
  readonly events: EventLog;
  readonly touch: (key: FleetKey) => void;
  /** Who listens, or as what, is another than before. */
  readonly listenersChanged: () => void;
}

export interface Handover {
  readonly worker: Worker;
  readonly desired: Desired;
  readonly fleet: Fleet;
  /** Why it is restarted. */
  readonly message: string;
}

/** What came of it. */
export interface HandoverResult {
  /** Delay in ms until the next look is due, if one is. */
  readonly delayMs?: number;
  /** A launch would be of no use now. */
  readonly blocked?: Obstacle;
}

/** How long after a failure the end of a worker that was the cause of it may be noticed. */
const noticedMs = 100;

export class Handovers {
  readonly #options: HandoversOptions;

  constructor(options: HandoversOptions) {
    this.#options = options;
  }

  async carryOut(specialist: Specialist, {worker, desired, fleet, message}: Handover): Promise<HandoverResult> {
    const {ports, launcher, keeper, events, touch, listenersChanged} = this.#options;
    const waitMs = (specialist.rollout?.retryAt ?? 0) - ports.clock.monotonic();
    if (waitMs > 0) return {delayMs: waitMs};
    specialist.blocked = undefined;
    // One that failed before stays failed until it works: waiting for it again would hide why.
    specialist.progress = specialist.rollout ? undefined : {reason: 'Restarting', message};
    touch(specialist.key);
    const handover = launcher.replace(worker, desired, fleet.record);
    specialist.handover = handover.catch(() => undefined);
    try {
      const outcome = await handover;
      specialist.progress = undefined;
      if (outcome.type === 'blocked') return {blocked: outcome};
      if (outcome.type === 'failed') return await this.#failed(specialist, worker, outcome);
      keeper.retire(specialist, worker);
      specialist.observedGeneration = desired.generation;
      keeper.hold(specialist, outcome.worker);
      const {pid} = outcome.worker.instance.identity;
      events.of(specialist, 'Normal', 'Restarted', `handed over to pid ${pid}: ${message}`);
      listenersChanged();
      return {delayMs: 0}; // the declaration may have changed meanwhile
    } finally {
      specialist.handover = undefined;
    }
  }

  /** The old one serves on; said once, and tried again as after a crash. */
  async #failed(
    specialist: Specialist,
    worker: Worker,
    {message: what, exit}: {readonly message: string; readonly exit: LastExit | undefined},
  ): Promise<HandoverResult> {
    const {ports, keeper, events} = this.#options;
    if (worker.hello.retired) {
      // Its successor took the port over and then failed: nobody listens any more.
      keeper.retire(specialist, worker);
      return {delayMs: keeper.failed(specialist, exit, what, 0)};
    }
    if (await this.#isGone(worker)) return {}; // of its own; that is dealt with as ever
    const tail = exit?.stderrTail.at(-1);
    const message = tail && !what.includes(tail) ? `${what}: ${tail}` : what;
    const {next, delayMs} = afterFailure(specialist.rollout?.backoff ?? noFailures, 0, ports.random());
    if (!specialist.rollout) events.of(specialist, 'Warning', 'RolloutFailed', `${message}; the old one serves on`);
    const why = {reason: 'RolloutFailed', message} as const;
    specialist.rollout = {why, backoff: next, retryAt: ports.clock.monotonic() + delayMs};
    return {delayMs};
  }

  async #isGone({exited}: Worker): Promise<boolean> {
    let cancel: () => void = () => undefined;
    const lives = new Promise<boolean>(resolve => {
      cancel = this.#options.ports.clock.after(noticedMs, () => resolve(false));
    });
    const gone = await Promise.race([exited.then(() => true), lives]);
    cancel();
    return gone;
  }
}

/** It answers, knows how, and its successor is to listen where it does. */
export function mayBeReplaced(specialist: Specialist, worker: Worker, desired: Desired, {record}: Fleet): boolean {
  const {hello, host, port, silent, unreachable} = worker;
  if (silent || unreachable || specialist.missedProbes > 0 || hello.draining || hello.retired !== false) return false;
  const {from, to} = record.ports;
  const staysOnPort = desired.spec.port === undefined ? port >= from && port <= to : desired.spec.port === port;
  return staysOnPort && desired.spec.host === host;
}
