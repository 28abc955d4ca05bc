/** The registry as programs use it: ours and anybody's. Safe from any number of processes at once. */
import {randomUUID} from 'node:crypto';
import type {Json, PortRange, ProcessIdentity} from '../api/types.js';
import {defaultPorts} from '../api/types.js';
import {TektonError} from '../api/errors.js';
import {entryIdentity, entryRoles, entryUid} from './entry-facts.js';
import {appendEvent} from './events.js';
import {ensureStateHome} from './home.js';
import {stateHome} from './paths.js';
import {PortAllocator} from './ports.js';
import type {PortRequest, PortResult} from './ports.js';
import {identify, isSame} from './processes.js';
import {rebuildEntries} from './rebuild.js';
import {RegistryFile} from './registry-file.js';
import type {RegistryChange, RegistryState} from './registry-file.js';
import type {RegistryEntry} from './registry-text.js';
import {PortRegisteredError, entryOf} from './registration.js';
import type {Listing, Registration} from './registration.js';
import {unexpected} from './registry-actions.js';
import {sleep} from './waiting.js';

export interface RegistryClientOptions {
  /** State folder. Default `$TEKTON_AI_HOME`, or `~/.tekton/ai_registry`. */
  readonly home?: string;
  /** Ports to allocate from, both ends included. Default 45000–50000. */
  readonly ports?: PortRange;
  /** How long a change waits for other writers, in ms. Default 10,000. */
  readonly lockTimeoutMs?: number;
  /** Told what a person should know, such as a mended file mode. Default: `process.emitWarning`. */
  readonly onWarning?: (warning: string) => void;
}

/** An entry of the registry, with what its metadata says about reaching it. */
export interface RegisteredSpecialist extends RegistryEntry {
  readonly aiId: string;
  /** Address that it listens on; 127.0.0.1 where the entry has none. */
  readonly host: string;
  readonly roles: readonly string[];
  /** Absent: a program other than tekton-ai wrote the entry. */
  readonly uid?: string;
}

/** A port that is kept for one launch, from now until its worker registers. */
export interface ReservedPort {
  readonly aiId: string;
  /** Names the launch: pass it to `register`. */
  readonly uid: string;
  readonly port: number;
}

export interface RegisterRequest extends Registration {
  /** The launch, as `allocatePort` named it. Default: `metadata.uid`, else a new one. */
  readonly uid?: string;
  /** The process that listens. Default: what `metadata.pid` says, else the calling process. */
  readonly identity?: ProcessIdentity;
}

export interface WaitOptions {
  /** Default 30,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Reads take no lock and never wait for a writer; they see the registry as of the last commit. Changes are
 * committed one after the other under `.registration.lock`; those that are made while a commit is under way go into
 * the next one together, so prefer concurrent calls, or `registerAll`, to awaiting one by one.
 *
 * Every method that changes something may throw {@link LockBusyError} (nothing was changed; try again) and
 * {@link TektonError} when the state folder can't be used.
 */
export class RegistryClient {
  /** The state folder, absolute. */
  readonly home: string;
  private readonly ports: PortRange;
  private readonly options: RegistryClientOptions;
  private readonly file: RegistryFile;
  private readonly allocator: PortAllocator;
  private preparing: Promise<void> | undefined;

  constructor(options: RegistryClientOptions = {}) {
    const {home, ports = defaultPorts, lockTimeoutMs} = options;
    this.home = stateHome(home === undefined ? process.env : {TEKTON_AI_HOME: home});
    this.ports = ports;
    this.options = options;
    this.file = new RegistryFile({
      home: this.home,
      ...(lockTimeoutMs === undefined ? {} : {lockTimeoutMs}),
      rebuild: () => rebuildEntries(this.home),
      onHealed: ({damage, movedTo}) => this.reportHealing(damage, movedTo),
    });
    this.allocator = new PortAllocator({
      home: this.home,
      ...(lockTimeoutMs === undefined ? {} : {timeoutMs: lockTimeoutMs}),
      registry: () => this.file.read(),
    });
  }

  /**
   * Reserves a port for a launch of `aiId`: `preferred` (by default the port that it had) if that is free, else the
   * lowest free one. It is nobody else's from this moment until the launch registers, or this process ends, or two
   * minutes pass without a worker. Asking again from this process for the same `aiId` gives the former one up.
   *
   * @throws {PortsExhaustedError} naming who holds the range
   * @throws {PortTakenError} `pinned` is not to be had
   */
  async allocatePort(request: Omit<PortRequest, 'uid'> & {readonly uid?: string}): Promise<ReservedPort> {
    const uid = request.uid ?? randomUUID();
    const [result] = await this.allocatePorts([{...request, uid}]);
    if (result === undefined) throw new TektonError('internal error: no answer to a request for a port');
    if (!result.ok) throw result.error;
    return {aiId: request.aiId, uid, port: result.port};
  }

  /** Many requests under one lock, answered in order; one that can't be served doesn't keep the others from it. */
  async allocatePorts(requests: readonly PortRequest[]): Promise<readonly PortResult[]> {
    await this.prepare();
    return this.allocator.allocate(requests, {range: this.ports});
  }

  /** Gives up reservations by the uid of their launch. One that doesn't exist is no error. */
  async releasePorts(uids: readonly string[]): Promise<void> {
    await this.prepare();
    await this.allocator.release(uids);
  }

  /**
   * Adds or replaces the entry of `aiId`. The port must be listening, for others will connect.
   *
   * @throws {PortRegisteredError} a living or foreign specialist has the port
   */
  async register(request: RegisterRequest): Promise<RegisteredSpecialist> {
    const [registered] = await this.registerAll([request]);
    if (registered === undefined) throw new TektonError('internal error: nothing was registered');
    return registered;
  }

  /** All in one commit, or none. @throws {PortRegisteredError} as `register` */
  async registerAll(requests: readonly RegisterRequest[]): Promise<readonly RegisteredSpecialist[]> {
    await this.prepare();
    const entries = await Promise.all(requests.map(prepareEntry));
    const dead: Record<string, string> = {};
    for (;;) {
      const outcome = await this.file.act({type: 'put', entries, dead});
      if (outcome.type === 'listed') return outcome.entries.map(({aiId, entry}) => describe(aiId, entry));
      if (outcome.type !== 'refused') throw unexpected(outcome);
      const {refusal} = outcome;
      const uid = await this.deadUid(refusal.holder);
      if (uid === undefined || dead[refusal.holder] === uid) throw new PortRegisteredError(refusal, refusal.holder);
      dead[refusal.holder] = uid;
    }
  }

  /** Removes the entry; with `uid` only if it is still that launch's. False: there was nothing to remove. */
  async deregister(aiId: string, {uid}: {readonly uid?: string} = {}): Promise<boolean> {
    await this.prepare();
    const outcome = await this.file.act({type: 'remove', aiId, ...(uid === undefined ? {} : {uid})});
    if (outcome.type !== 'removed') throw unexpected(outcome);
    return outcome.removed;
  }

  /**
   * Makes our entries of `fleets` (`<namespace>/<fleet>`, as in `metadata.fleet`) exactly `facts`, in one commit;
   * other entries stay, but for one that claims a port on which a specialist of `facts` listens. Writes nothing
   * when nothing differs.
   *
   * @returns the ai ids whose entries differed.
   */
  async sync(fleets: readonly string[], facts: readonly RegisterRequest[]): Promise<readonly string[]> {
    await this.prepare();
    const entries = await Promise.all(facts.map(prepareEntry));
    const outcome = await this.file.act({type: 'sync', fleets, entries});
    if (outcome.type !== 'synced') throw unexpected(outcome);
    return outcome.differed;
  }

  /** Every entry, foreign ones included, in the file's order. */
  async list(): Promise<readonly RegisteredSpecialist[]> {
    return [...(await this.file.read())].map(([aiId, entry]) => describe(aiId, entry));
  }

  async get(aiId: string): Promise<RegisteredSpecialist | undefined> {
    return specialist(aiId, (await this.file.read()).get(aiId));
  }

  /** `tekton-core` and `tekton_core` are the same component. */
  async findByComponent(component: string): Promise<readonly RegisteredSpecialist[]> {
    const wanted = component.replaceAll('-', '_');
    return (await this.list()).filter(found => found.component.replaceAll('-', '_') === wanted);
  }

  async findByRole(role: string): Promise<readonly RegisteredSpecialist[]> {
    return (await this.list()).filter(found => found.roles.includes(role));
  }

  /**
   * Waits until `aiId` is registered and its socket answers a ping under that very ai id: that something accepts
   * connections on the port proves nothing.
   *
   * @throws {TektonError} after `timeoutMs`, saying how far it came; the reason of `signal` when that aborts.
   */
  async waitFor(aiId: string, {timeoutMs = 30_000, signal}: WaitOptions = {}): Promise<RegisteredSpecialist> {
    const {ping} = await import('./ping.js');
    const deadline = performance.now() + timeoutMs;
    let obstacle = 'it is not registered';
    for (let delayMs = 10; ; delayMs = Math.min(delayMs * 1.5, 200)) {
      signal?.throwIfAborted();
      const found = await this.get(aiId);
      const leftMs = deadline - performance.now();
      if (found !== undefined) {
        // By ai id alone: programs of the predecessor, and others that register themselves, know of no uid.
        const {host, port} = found;
        const failure = await ping(
          {aiId, host, port},
          {timeoutMs: Math.max(1, Math.min(2_000, leftMs)), ...(signal && {signal})},
        );
        if (failure === undefined) return found;
        obstacle = failure;
      }
      if (performance.now() + delayMs > deadline) {
        throw new TektonError(`waited ${timeoutMs} ms for ${aiId}: ${obstacle}`);
      }
      await sleep(delayMs, signal);
    }
  }

  /**
   * Changes the registry under `.registration.lock`: reads, calls `change`, commits, unlocks. `change` must be pure
   * and quick, for the lock is held while it runs, and it runs again when a foreign writer came in between; returning
   * the state that it was given commits nothing. Also heals a damaged registry.
   */
  async update(change: RegistryChange): Promise<RegistryState> {
    await this.prepare();
    return this.file.update(change);
  }

  /** Once per client; a failure is tried again at the next call. */
  private async prepare(): Promise<void> {
    this.preparing ??= this.prepareHome();
    try {
      await this.preparing;
    } catch (error) {
      this.preparing = undefined;
      throw error;
    }
  }

  private async prepareHome(): Promise<void> {
    const {onWarning = (warning: string) => process.emitWarning(warning, 'TektonWarning')} = this.options;
    for (const warning of await ensureStateHome(this.home)) onWarning(warning);
  }

  /** The uid of the entry, where it is ours and its process is gone. */
  private async deadUid(aiId: string): Promise<string | undefined> {
    const entry = (await this.file.read()).get(aiId);
    const identity = entry === undefined || entryUid(entry) === undefined ? undefined : entryIdentity(entry);
    const isDead = identity !== undefined && !(await isSame(identity));
    return isDead ? entry && entryUid(entry) : undefined;
  }

  private async reportHealing(damage: string, movedTo: string): Promise<void> {
    await appendEvent(this.home, {
      at: new Date().toISOString(),
      type: 'Warning',
      reason: 'RegistryHealed',
      message: `the registry was damaged (${damage}); it was moved to ${movedTo} and rebuilt`,
    });
  }
}

async function prepareEntry(request: RegisterRequest): Promise<Listing> {
  const {aiId, port, component, metadata = {}} = request;
  if (aiId === '' || !Number.isInteger(port) || port < 1 || port > 65535) {
    throw new TektonError(`cannot register ${JSON.stringify(aiId)} on port ${port}: not an ai id and a port`);
  }
  const identity = request.identity ?? (metadata['pid'] === undefined ? await identify(process.pid) : undefined);
  const uid = request.uid ?? (typeof metadata['uid'] === 'string' ? metadata['uid'] : randomUUID());
  const registration: Registration = {aiId, port, component, metadata: withoutUid(metadata)};
  return {aiId, entry: entryOf(registration, uid, identity)};
}

function withoutUid({uid: _uid, ...rest}: Readonly<Record<string, Json>>): Readonly<Record<string, Json>> {
  return rest;
}

function specialist(aiId: string, entry: RegistryEntry | undefined): RegisteredSpecialist | undefined {
  return entry && describe(aiId, entry);
}

function describe(aiId: string, entry: RegistryEntry): RegisteredSpecialist {
  const {host} = entry.metadata;
  const uid = entryUid(entry);
  return {
    aiId,
    ...entry,
    host: typeof host === 'string' ? host : '127.0.0.1',
    roles: entryRoles(entry),
    ...(uid === undefined ? {} : {uid}),
  };
}
