/**
 * Tells destinations of events. It is told what happened after it was written down, and never holds anybody up: what it
 * is told is put into a queue per destination. How far each has come is kept on disk, so that a controller that is killed
 * is gone on from where it was.
 */
import {describeError} from '../api/errors.js';
import type {FleetEvent, FleetRecord} from '../api/types.js';
import type {NotificationSpec} from '../api/notifications.js';
import {aboutOf} from './about.js';
import type {FleetName, NotifyDeps, Position, Positions} from './deps.js';
import {matches} from './match.js';
import {Outbox} from './outbox.js';

export interface NotifierOptions {
  readonly deps: NotifyDeps;
  /** ISO 8601. What was written before it is looked up in the event log, what comes later is told. */
  readonly startedAt: string;
  /** Called with a Warning about a fleet: something could not be delivered. */
  readonly failed: (fleet: FleetName, message: string) => void;
}

/** Deliveries under way at once, over all destinations. */
const maxUnderWay = 8;
/** Older news than this are none any more, ms. */
const maxAgeMs = 3_600_000;
/** What is delivered within so short a time is noted in one write, ms. */
const noteAfterMs = 500;

interface ToldFleet {
  readonly name: FleetName;
  /** Of the git source that it follows. */
  gitSource: string | undefined;
  readonly outboxes: Map<string, Outbox>;
  cancelNote: (() => void) | undefined;
}

export class Notifier {
  readonly #options: NotifierOptions;
  readonly #fleets = new Map<string, ToldFleet>();
  readonly #queue: (() => void)[] = [];
  #underWay = 0;
  #noting: Promise<void> = Promise.resolve();

  constructor(options: NotifierOptions) {
    this.#options = options;
  }

  /** A fleet was taken over: from now on its destinations are these. The first time, what was missed is made up for. */
  declare(record: FleetRecord): void {
    const id = idOf(record);
    const specs = record.notifications ?? [];
    const known = this.#fleets.get(id);
    if (!known && specs.length === 0) return;
    const gitSource = record.source.type === 'git' ? record.source.source : undefined;
    const fleet: ToldFleet = known ?? {name: nameOf(record), gitSource, outboxes: new Map(), cancelNote: undefined};
    fleet.gitSource = gitSource;
    this.#fleets.set(id, fleet);
    const positions = known ? {} : (this.#options.deps.positions.read(fleet.name) ?? {});
    for (const spec of specs) {
      const target = {spec, envFile: record.envFile, about: aboutOf(record)};
      const outbox = fleet.outboxes.get(spec.name);
      if (outbox) outbox.target = target;
      else fleet.outboxes.set(spec.name, this.#open(fleet, target, positions[spec.name]));
    }
    for (const [name, outbox] of fleet.outboxes) {
      if (specs.some(spec => spec.name === name)) continue;
      outbox.close();
      fleet.outboxes.delete(name);
    }
    this.#noteSoon(fleet);
  }

  /** Something happened, and was written down. */
  notify(events: readonly FleetEvent[]): void {
    for (const event of events) {
      if (event.gitSource !== undefined) this.#notifyOfSource(event);
      const {namespace = '', fleet = ''} = event;
      for (const outbox of this.#fleets.get(`${namespace}/${fleet}`)?.outboxes.values() ?? []) outbox.offer(event);
    }
  }

  /** All fleets of a repository hear of it. Where several of them name one destination, it is told once. */
  #notifyOfSource(event: FleetEvent): void {
    const told = new Set<string>();
    for (const fleet of this.#fleets.values()) {
      if (!isAbout(event, fleet)) continue;
      for (const outbox of fleet.outboxes.values()) {
        const {spec, envFile} = outbox.target;
        // A status names its fleet: one fleet's is not another's.
        const own = spec.to.type === 'commitStatus' ? idOf(fleet.name) : '';
        const destination = JSON.stringify([spec.to, envFile, own]);
        if (!matches(spec.on, event)) continue;
        if (told.has(destination)) outbox.skip(event);
        else outbox.offer(event);
        told.add(destination);
      }
    }
  }

  /** Waits until everything is delivered or given up, for so long at most, and notes how far it came. */
  async settle(ms: number): Promise<void> {
    const outboxes = [...this.#fleets.values()].flatMap(({outboxes}) => [...outboxes.values()]);
    let cancel: () => void = () => undefined;
    const late = new Promise<void>(resolve => (cancel = this.#options.deps.clock.after(ms, resolve)));
    await Promise.race([Promise.all(outboxes.map(outbox => outbox.idle())), late]);
    cancel();
    for (const fleet of this.#fleets.values()) this.#note(fleet);
    await this.#noting;
  }

  /** Gives up what is under way; the next one takes it up again. */
  close(): void {
    for (const {outboxes, cancelNote} of this.#fleets.values()) {
      cancelNote?.();
      for (const outbox of outboxes.values()) outbox.close();
    }
  }

  #open(fleet: ToldFleet, target: Outbox['target'], position: Position | undefined): Outbox {
    const {deps, failed} = this.#options;
    const outbox = new Outbox(target, {
      deps,
      place: () => this.#place(),
      failed: message => failed(fleet.name, message),
      moved: () => this.#noteSoon(fleet),
      position: position ?? {at: deps.clock.iso(), count: 0},
    });
    if (position) for (const event of this.#missed(fleet, target.spec, position)) outbox.offer(event);
    return outbox;
  }

  /** Events of the fleet that an earlier controller wrote, and did not come to tell of. */
  #missed(fleet: ToldFleet, {name, on}: NotificationSpec, {at, count}: Position): readonly FleetEvent[] {
    const {deps, startedAt} = this.#options;
    const oldest = new Date(Date.parse(deps.clock.iso()) - maxAgeMs).toISOString();
    try {
      const found = deps
        .eventsSince(at > oldest ? at : oldest)
        .filter(event => event.at < startedAt && isAbout(event, fleet))
        .filter(event => matches(on, event));
      return [...found.filter(event => event.at === at).slice(count), ...found.filter(event => event.at > at)];
    } catch (error) {
      deps.log.warn({notification: name, error: describeError(error)}, 'cannot look up what was missed');
      return [];
    }
  }

  /** A place among the deliveries that are under way. */
  async #place(): Promise<() => void> {
    while (this.#underWay >= maxUnderWay) await new Promise<void>(resolve => this.#queue.push(resolve));
    this.#underWay += 1;
    return () => {
      this.#underWay -= 1;
      this.#queue.shift()?.();
    };
  }

  #noteSoon(fleet: ToldFleet): void {
    fleet.cancelNote ??= this.#options.deps.clock.after(noteAfterMs, () => this.#note(fleet));
  }

  #note(fleet: ToldFleet): void {
    const {deps} = this.#options;
    fleet.cancelNote?.();
    fleet.cancelNote = undefined;
    const positions: Positions = Object.fromEntries([...fleet.outboxes].map(([name, {position}]) => [name, position]));
    this.#noting = this.#noting
      .then(() => deps.positions.write(fleet.name, positions))
      .catch((error: unknown) => {
        deps.log.warn({error: describeError(error)}, 'cannot note which notifications were delivered');
      });
  }
}

function isAbout({namespace, fleet, gitSource}: FleetEvent, told: ToldFleet): boolean {
  if (gitSource !== undefined) return gitSource === told.gitSource;
  return namespace === told.name.namespace && fleet === told.name.name;
}

function nameOf({namespace, name}: FleetName): FleetName {
  return {namespace, name};
}

function idOf({namespace, name}: FleetName): string {
  return `${namespace}/${name}`;
}
