/** Living workers: taken in hand, listened to, probed; and what their end means. */
import {specialistDefaults} from '../api/defaults.js';
import {describeError} from '../api/errors.js';
import type {LastExit} from '../api/types.js';
import type {Interference} from '../protocol/control.js';
import type {Worker} from '../runtime/runtime.js';
import {afterFailure, isCrashLoop} from './backoff.js';
import type {EventLog} from './events.js';
import type {ModelMonitor} from './models.js';
import type {FleetKey, Ports} from './ports.js';
import type {Specialist} from './specialist.js';

export interface KeeperOptions {
  readonly ports: Pick<Ports, 'clock' | 'random'>;
  readonly models: ModelMonitor;
  readonly events: EventLog;
  readonly touch: (key: FleetKey) => void;
  /** A worker is gone, or back: the registry is to be told. */
  readonly gone: () => void;
  readonly passAfter: (specialist: Specialist, ms: number) => void;
}

/** Beyond its grace, until a predecessor that is still there counts as hung, ms. */
const retiredLateMs = 5000;

export class Keeper {
  readonly #options: KeeperOptions;
  /** Cancel the waiting for predecessors to end. */
  readonly #lateOnes = new Set<() => void>();
  #closed = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  hold(specialist: Specialist, worker: Worker): void {
    const {ports, models, touch} = this.#options;
    specialist.take(worker, ports.clock.monotonic());
    void worker.exited.then(exit => this.#exited(specialist, worker, exit));
    worker.onNotice(notice => {
      switch (notice.type) {
        case 'usage':
          if (specialist.worker === worker) specialist.usage = notice.usage;
          return touch(specialist.key);
        case 'budget':
          return touch(specialist.key);
        case 'model-suspect':
          // Even where the answer is the same as before, the worker has to hear it: it thinks otherwise.
          return void models.suspect(specialist.id).then(() => this.tellModel(specialist));
        case 'changed':
          if (specialist.worker === worker) this.#interfered(specialist, worker, notice.by);
          return;
        default:
          return notice satisfies never;
      }
    });
    this.tellModel(specialist);
    if (!worker.silent) return this.#probeLater(specialist, worker);
    specialist.missedProbes = 1;
    void this.#probe(specialist, worker);
  }

  /**
   * A predecessor that serves its last connections: its end is no failure, and it counts what it does. It ends by itself;
   * one that doesn't, for it hangs, is ended.
   */
  retire(specialist: Specialist, worker: Worker): void {
    const {touch, ports} = this.#options;
    specialist.retire(worker);
    worker.onNotice(notice => void (notice.type === 'usage' && touch(specialist.key)));
    const late = ports.clock.after(graceMsOf(worker) + retiredLateMs, () => {
      this.#lateOnes.delete(late);
      worker.stop(0).catch(() => undefined); // not permitted, say: nothing more can be done from here
    });
    this.#lateOnes.add(late);
    void worker.exited.then(() => {
      late();
      this.#lateOnes.delete(late);
      if (this.#closed) return;
      specialist.retired(worker);
      touch(specialist.key);
    });
  }

  /** Tells the worker what is known of its model; it says so to those who ask for its health. */
  tellModel(specialist: Specialist): void {
    const check = this.#options.models.check(specialist.id);
    // One that is just going needs not to know.
    if (check) specialist.worker?.tellModelStatus(check).catch(() => undefined);
  }

  /** Counts a failure; returns how long to wait before the next launch, ms. */
  failed(specialist: Specialist, exit: LastExit | undefined, message: string, uptimeMs: number): number {
    const {ports, events} = this.#options;
    const {next, delayMs} = afterFailure(specialist.backoff, uptimeMs, ports.random());
    const wasLoop = isCrashLoop(specialist.backoff);
    specialist.backoff = next;
    specialist.lastExit = exit ?? specialist.lastExit;
    specialist.holdUntil = ports.clock.monotonic() + delayMs;
    const tail = exit?.stderrTail.at(-1);
    const text = tail && !message.includes(tail) ? `${message}: ${tail}` : message;
    specialist.progress = {reason: 'BackingOff', message: text};
    if (isCrashLoop(next) && !wasLoop) events.of(specialist, 'Warning', 'CrashLoop', text);
    return delayMs;
  }

  /** Lets go of the workers: they live on. */
  release(specialists: readonly Specialist[]): void {
    this.#closed = true;
    for (const cancel of this.#lateOnes) cancel();
    for (const {worker, retiring, cancelProbe} of specialists) {
      cancelProbe?.();
      worker?.release();
      for (const predecessor of retiring) predecessor.release();
    }
  }

  /** Somebody else did something to it: what is to be done about that, the next pass finds out. */
  #interfered(specialist: Specialist, worker: Worker, by: Interference): void {
    const {events, touch, gone, passAfter} = this.#options;
    if (by === 'configure') specialist.toldByOther = true;
    gone(); // what the registry says of it may be another thing now
    touch(specialist.key);
    if (specialist.stopping) return;
    if (worker.hello.ending && !specialist.ending) {
      specialist.ending = true;
      const message = `${endedBy(by)}: it takes no new chats, and ends when those under way have`;
      specialist.progress = {reason: 'Draining', message};
      events.of(specialist, 'Warning', 'ToldToStop', message);
    }
    // One that nobody has declared yet, or no longer does, has a pass coming that knows which of the two it is.
    if (specialist.desired) passAfter(specialist, 0);
  }

  async #exited(specialist: Specialist, worker: Worker, exit: LastExit): Promise<void> {
    // What its end means depends on whether somebody has taken its place.
    if (specialist.handover) await specialist.handover;
    if (this.#closed || specialist.worker !== worker) return;
    const {ports, events, touch, gone, passAfter} = this.#options;
    const uptimeMs = ports.clock.monotonic() - specialist.listeningSince;
    const expected = specialist.stopping;
    specialist.lose(exit);
    gone();
    touch(specialist.key);
    if (expected) return;
    const how = `ended ${describeExit(exit)}`;
    events.of(specialist, 'Warning', 'Exited', `pid ${worker.instance.identity.pid} ${how}`);
    passAfter(specialist, this.failed(specialist, exit, `it ${how}`, uptimeMs));
  }

  #probeLater(specialist: Specialist, worker: Worker): void {
    const {clock, random} = this.#options.ports;
    const periodMs = (specialist.desired?.spec.probes.periodSeconds ?? 10) * 1000;
    // Spread, so that the probes of a fleet do not come all at once.
    specialist.cancelProbe = clock.after(periodMs * (0.9 + random() / 5), () => void this.#probe(specialist, worker));
  }

  async #probe(specialist: Specialist, worker: Worker): Promise<void> {
    const {timeoutSeconds = 2, failureThreshold = 3} = specialist.desired?.spec.probes ?? {};
    const alive = specialist.handover !== undefined || (await worker.ping(timeoutSeconds * 1000));
    if (this.#closed || specialist.worker !== worker) return;
    // Two share the port: either may have answered.
    if (specialist.handover) return this.#probeLater(specialist, worker);
    const missedBefore = specialist.missedProbes > 0;
    specialist.missedProbes = alive ? 0 : specialist.missedProbes + 1;
    if (missedBefore !== specialist.missedProbes > 0) this.#options.touch(specialist.key);
    // What one that was silent says of itself may be another thing than its record said.
    if (missedBefore && alive) this.#options.gone();
    // Without a declaration nobody would bring it up again: one whose fleet has no record is only watched.
    if (specialist.missedProbes < failureThreshold || !specialist.desired) {
      this.#probeLater(specialist, worker);
      return;
    }
    const message = `no answer to ${specialist.missedProbes} pings in a row; killing pid ${worker.instance.identity.pid}`;
    this.#options.events.of(specialist, 'Warning', 'ProbeFailed', message);
    try {
      await worker.kill();
    } catch (error) {
      // Not permitted, say: nothing more can be done from here, but it may come back to itself.
      this.#options.events.of(specialist, 'Warning', 'KillFailed', describeError(error));
      this.#probeLater(specialist, worker);
    }
  }
}

/** What it was declared with, whatever is declared now. */
function graceMsOf({hello}: Worker): number {
  const seconds = hello.declared['terminationGracePeriodSeconds'];
  return 1000 * (typeof seconds === 'number' ? seconds : specialistDefaults.terminationGracePeriodSeconds);
}

function endedBy(by: Interference): string {
  return by === 'SIGTERM' || by === 'SIGINT' ? `somebody sent it ${by}` : 'somebody told it to shut down';
}

function describeExit(exit: LastExit): string {
  if (exit.signal !== undefined) return `with signal ${exit.signal}`;
  return exit.code === undefined ? 'for a reason unknown' : `with exit code ${exit.code}`;
}
