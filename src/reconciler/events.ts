/** Things that happened, in order, written in batches. */
import {describeError} from '../api/errors.js';
import type {EventReason} from '../api/events.js';
import type {FleetError, FleetEvent} from '../api/types.js';
import {fleetId} from './fleets.js';
import type {FleetKey, Ports, SourceKey} from './ports.js';

export interface NewEvent {
  readonly type: FleetEvent['type'];
  readonly reason: EventReason;
  readonly message: string;
  readonly key: FleetKey;
  readonly aiId?: string;
  readonly revision?: string | undefined;
}

export class EventLog {
  readonly #ports: Pick<Ports, 'clock' | 'store' | 'log' | 'notifications'>;
  /** By fleet: the last of its Warnings. */
  readonly #lastErrors = new Map<string, FleetError>();
  #pending: FleetEvent[] = [];
  #writing: Promise<void> = Promise.resolve();

  constructor(ports: Pick<Ports, 'clock' | 'store' | 'log' | 'notifications'>) {
    this.#ports = ports;
  }

  add({type, reason, message, key, aiId, revision}: NewEvent): void {
    const {namespace, fleet} = key;
    const at = this.#ports.clock.iso();
    if (type === 'Warning') this.#lastErrors.set(fleetId(key), {at, reason, ...(aiId && {aiId}), message});
    const about = {namespace, fleet, ...(aiId && {aiId}), ...(revision !== undefined && {revision})};
    this.#put({at, type, reason, ...about, message}, aiId ?? `${namespace}/${fleet}`);
  }

  #put(event: FleetEvent, about: string): void {
    const {type, reason, message} = event;
    this.#pending.push(event);
    this.#ports.log[type === 'Normal' ? 'info' : 'warn']({reason, aiId: about, message}, 'event');
    if (this.#pending.length === 1) this.#writing = this.#writing.then(() => this.#write());
  }

  /** About one specialist. */
  of(
    {key, aiId}: {readonly key: FleetKey; readonly aiId: string},
    type: FleetEvent['type'],
    reason: EventReason,
    message: string,
    revision?: string,
  ): void {
    this.add({type, reason, message, key, aiId, revision});
  }

  /** About a git source, and the commit of it that is meant, if one is. */
  ofSource(
    {namespace, name}: SourceKey,
    type: FleetEvent['type'],
    reason: EventReason,
    message: string,
    revision?: string,
  ): void {
    const gitSource = `${namespace}/${name}`;
    const about = {namespace, gitSource, ...(revision !== undefined && {revision})};
    this.#put({at: this.#ports.clock.iso(), type, reason, ...about, message}, `git source ${gitSource}`);
  }

  /** The last Warning about a fleet or one of its specialists. */
  lastError(key: FleetKey): FleetError | undefined {
    return this.#lastErrors.get(fleetId(key));
  }

  /** Resolves when everything said so far is written, or could not be. */
  settle(): Promise<void> {
    return this.#writing;
  }

  async #write(): Promise<void> {
    const events = this.#pending;
    this.#pending = [];
    try {
      await this.#ports.store.appendEvents(events);
    } catch (error) {
      // An audit line that can't be written must not stop the healing that it tells of.
      this.#ports.log.warn({error: describeError(error)}, 'cannot write events');
    }
    this.#ports.notifications?.notify(events);
  }
}
