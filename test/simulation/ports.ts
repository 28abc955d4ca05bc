/** The ports of one actor: what src/cli/wire.ts builds from the real machine, built from the simulated world. */
import {InvalidInputError, SourceUnavailableError, TektonError} from '../../src/api/errors.js';
import type {FleetRecord, LoadedFleet, NamedProvider, ResolvedProvider} from '../../src/api/types.js';
import type {AutoChoice} from '../../src/providers/auto.js';
import type {Provider} from '../../src/providers/provider.js';
import type {
  Clock,
  FleetKey,
  Models,
  PortAnswer,
  PortRequest,
  Ports,
  Registry,
  RegistryFact,
  Secrets,
  Sources,
  Store,
} from '../../src/reconciler/ports.js';
import {fleetId} from '../../src/reconciler/fleets.js';
import {choosePorts} from '../../src/registry/choose-ports.js';
import type {Holdings} from '../../src/registry/choose-ports.js';
import {entryIdentity, entryUid} from '../../src/registry/entry-facts.js';
import {Draft} from '../../src/registry/registration.js';
import {perform} from '../../src/registry/registry-actions.js';
import type {RegistryEntry} from '../../src/registry/registry-text.js';
import type {Reservation} from '../../src/registry/reservations.js';
import {loadSchedules} from '../../src/spec/schedule.js';
import {loaded} from './declarations.js';
import {SimulatedRuntime} from './runtime.js';
import type {Life} from './scheduler.js';
import {idOf} from './state-folder.js';
import type {World} from './world.js';

/** As the defaults of registry/locks.ts and registry/ports.ts. */
const lockTimeoutMs = 10_000;
const holdMs = 120_000;
/** Of a provider that is slow: beyond what a check waits for. */
const slowMs = 12_000;

export function portsOf(world: World, life: Life, warn: (message: string, fields: unknown) => void): Ports {
  const secrets = secretsOf(world, life);
  return {
    clock: clockOf(world, life),
    random: () => life.random.next(),
    newUid: uidsOf(life),
    runtime: new SimulatedRuntime(world, life),
    registry: registryOf(world, life),
    models: modelsOf(world, life, secrets),
    chats: {ask: async () => ({ok: true, answer: {content: 'fine', seconds: 0, outputTokens: 1}})},
    checks: {matches: async () => true, fits: async () => undefined},
    secrets,
    store: storeOf(world, life),
    sources: sourcesOf(world, life),
    schedules: {load: loadSchedules},
    log: {
      info: () => undefined,
      debug: () => undefined,
      warn: (fields, message) => warn(message, fields),
    },
  };
}

function clockOf({scheduler}: World, life: Life): Clock {
  return {
    iso: () => scheduler.iso(),
    monotonic: () => scheduler.now,
    // A timer is late rather than early.
    after: (ms, run) => scheduler.after(Math.max(1, ms) + life.random.between(0, 1), life, 'timer', run),
  };
}

function uidsOf(life: Life): () => string {
  let next = 0;
  return () => `${life.name}.${++next}`;
}

/** Runs `act` under a lock; one that dies meanwhile lets go of it. @throws {LockBusyError} */
export async function withLock<T>(world: World, life: Life, name: string, act: () => Promise<T>): Promise<T> {
  const lock = world.lock(name);
  await lock.hold(life, lockTimeoutMs);
  try {
    return await act();
  } finally {
    lock.release(life);
  }
}

/** As updateFleet of registry/fleet-records.ts: read, changed and written under the lock of the fleets. */
export function updateFleet<T extends FleetRecord | undefined>(
  world: World,
  life: Life,
  key: FleetKey,
  change: (record: FleetRecord | undefined) => T,
): Promise<T> {
  const {scheduler, files} = world;
  const id = fleetId(key);
  return withLock(world, life, 'fleets', async () => {
    const before = await scheduler.effect(life, `reads the record of ${id}`, () => {
      const record = files.readFleet(id);
      world.onRead(life, new Map([[id, record]]), false);
      return record;
    });
    const after = change(before);
    if (after === before) return after;
    await scheduler.effect(life, `writes the record of ${id}`, () => {
      files.commitFleet(id, after, life.name);
      world.onRead(life, new Map([[id, after]]), false);
    });
    return after;
  });
}

function storeOf(world: World, life: Life): Store {
  const {scheduler, files} = world;
  return {
    readFleets: () =>
      scheduler.effect(life, 'reads the fleets', () => {
        const records = files.readFleets();
        world.onRead(life, new Map(records.map(record => [idOf(record), record])), true);
        return records;
      }),
    watchFleets: changed => world.watch(life, 'fleets', changed),
    updateFleet: (key, change) => updateFleet(world, life, key, change),
    readStatus: key =>
      scheduler.effect(life, `reads the status of ${fleetId(key)}`, () => files.readStatus(fleetId(key))),
    writeStatus: status => {
      const id = idOf(status);
      return scheduler.effect(life, `writes the status of ${id}`, () => files.writeStatus(id, status));
    },
    appendEvents: events => scheduler.effect(life, 'appends events', () => files.appendEvents(events)),
  };
}

function registryOf(world: World, life: Life): Registry {
  const {scheduler, files, machine} = world;
  return {
    allocate: async requests => {
      try {
        return await withLock(world, life, 'port_allocation', () =>
          scheduler
            .effect(life, `allocates ports for ${requests.map(r => r.aiId).join(', ')}`, () =>
              allocate(world, life, requests),
            )
            .then(answers => answers),
        );
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        return requests.map(() => ({ok: false, reason: 'RegistryUnavailable', message}));
      }
    },
    strangerAt: async aiId => {
      const entry = await scheduler.effect(life, `looks ${aiId} up`, () => files.readRegistry().get(aiId));
      if (!entry || entryUid(entry) !== undefined) return undefined;
      const answers = await scheduler.effect(life, `pings ${aiId}`, () => machine.strangers.has(entry.port), 'socket');
      return answers ? `another program, which answers on port ${entry.port}` : undefined;
    },
    sync: (fleets, facts) =>
      withLock(world, life, 'registration', () =>
        scheduler.effect(life, 'syncs the registry', () => {
          const draft = new Draft(files.readRegistry());
          const entries = facts.map(fact => ({aiId: fact.aiId, entry: entryOf(fact, scheduler.wall())}));
          const outcome = perform(draft, {type: 'sync', fleets, entries});
          if (outcome.type !== 'synced') throw new TektonError(`a sync was answered with ${outcome.type}`);
          if (outcome.differed.length > 0 || files.registry === 'damaged') files.writeRegistry(draft.state);
        }),
      ),
    watch: async changed => {
      const end = world.watch(life, 'registry', changed);
      return async () => end();
    },
  };
}

function entryOf({port, component, metadata}: RegistryFact, wallMs: number): RegistryEntry {
  return {port, component, metadata, registered_at: wallMs / 1000};
}

/** As PortAllocator of registry/ports.ts, with its own choosePorts: read, choose and reserve in one go. */
async function allocate(
  {files, machine, scheduler}: World,
  life: Life,
  requests: readonly PortRequest[],
): Promise<readonly PortAnswer[]> {
  const owner = machine.identityOf(life);
  const registry = files.readRegistry();
  const wall = scheduler.wall();
  const isGiven = ({uid, aiId, owner: {pid}}: Reservation): boolean =>
    requests.some(r => r.uid === uid || (r.aiId === aiId && pid === owner.pid));
  const holds = ({uid, aiId, port, owner: by, expiresAt}: Reservation): boolean => {
    const entry = registry.get(aiId);
    if (entry && entry.port === port && entryUid(entry) === uid) return false;
    const lives = machine.byUid.get(uid)?.alive === true;
    return lives || (expiresAt > wall && machine.isSame(by));
  };
  const rest = files.reservations.filter(one => !isGiven(one) && holds(one));
  const holdings = (entries: ReadonlyMap<string, RegistryEntry>): Holdings => ({
    registered: new Map([...entries].map(([aiId, {port}]) => [port, aiId])),
    reserved: new Map(rest.map(one => [one.port, one])),
    kept: () => new Map([...files.launches.values()].map(({port, aiId}) => [port, aiId])),
  });
  const [first] = requests;
  if (!first) return [];
  const wishes = requests.map(request => {
    const own = registry.get(request.aiId)?.port;
    const free = request.preferred === undefined && request.pinned === undefined && own !== undefined;
    return free ? {...request, preferred: own} : request;
  });
  const probe = async (port: number): Promise<'free' | 'taken'> =>
    machine.holderOf(port) === undefined ? 'free' : 'taken';
  let choices = await choosePorts(wishes, first.range, holdings(registry), probe);
  if (choices.some(choice => choice.type !== 'port')) {
    const living = new Map(
      [...registry].filter(([, entry]) => {
        const identity = entryUid(entry) === undefined ? undefined : entryIdentity(entry);
        return identity === undefined || machine.isSame(identity);
      }),
    );
    choices = await choosePorts(wishes, first.range, holdings(living), probe);
  }
  const made = choices.flatMap((choice, i): Reservation[] => {
    const request = requests[i];
    if (choice.type !== 'port' || !request) return [];
    return [{port: choice.port, aiId: request.aiId, uid: request.uid, owner, expiresAt: wall + holdMs}];
  });
  files.writeReservations([...rest, ...made]);
  return choices.map(choice => {
    if (choice.type === 'port') return {ok: true, port: choice.port};
    const reason = choice.type === 'exhausted' ? 'PortsExhausted' : 'PortTaken';
    return {ok: false, reason, message: `${reason} for what it asked`};
  });
}

function secretsOf({scheduler, secrets}: World, life: Life): Secrets {
  return {
    resolve: ref => {
      const name = 'env' in ref ? ref.env : ref.file;
      const look = (): {value: string} | {missing: string} => {
        const value = secrets.get(name);
        return value === undefined ? {missing: `${name} is not set`} : {value};
      };
      return scheduler.effect(life, `looks up ${name}`, look, 'quick');
    },
  };
}

function modelsOf(world: World, life: Life, secrets: Secrets): Models {
  const {scheduler} = world;
  return {
    resolve: async ({name, type, baseUrl, apiKey}: NamedProvider): Promise<ResolvedProvider> => {
      const secret = apiKey && (await secrets.resolve(apiKey, undefined));
      return {
        name,
        type: type === 'auto' ? 'offline' : type,
        ...(baseUrl !== undefined && {baseUrl}),
        ...(secret && ('value' in secret ? {apiKey: secret.value} : {missingSecret: secret.missing})),
      };
    },
    client: async provider => clientOf(world, life, provider),
    chooser: async () => {
      let asked: Promise<boolean> | undefined;
      const ask = (): boolean => world.modelCheck('ollama').available;
      return {
        choose: async ({wantedModel}, signal): Promise<AutoChoice> => {
          asked ??= scheduler.effect(life, 'asks what ollama has', ask, 'socket');
          const answers = await asked;
          signal.throwIfAborted();
          const type = answers ? 'ollama' : 'offline';
          const model = answers ? wantedModel : 'expertise';
          return {provider: {name: type, type}, model, choice: {provider: type, type, model, why: `${type} it is`}};
        },
      };
    },
  };
}

function clientOf(world: World, life: Life, provider: ResolvedProvider): Provider {
  const {scheduler} = world;
  return {
    check: (models, signal) =>
      new Promise((resolve, reject) => {
        const answer = (): void => {
          if (provider.missingSecret !== undefined) {
            const check = {available: false, reason: 'SecretMissing', message: provider.missingSecret} as const;
            return resolve(new Map(models.map(model => [model, check])));
          }
          const check = provider.type === 'offline' ? ({available: true} as const) : world.modelCheck(provider.name);
          resolve(new Map(models.map(model => [model, check])));
        };
        const slow = world.providers.get(provider.name) === 'slow' ? slowMs : 0;
        const ms = scheduler.latency(life.random, 'socket') + slow;
        const cancel = scheduler.after(ms, life, `asks ${provider.name} about its models`, answer);
        signal.addEventListener('abort', () => {
          cancel();
          reject(signal.reason as Error);
        });
      }),
    chat: () => {
      throw new Error('the reconciler never chats');
    },
  };
}

/** What the loader makes of a fleet's file now. @throws {InvalidInputError | SourceUnavailableError} */
export function load(world: World, key: FleetKey): LoadedFleet {
  const content = world.sources.get(fleetId(key));
  if (!content || content.type === 'missing') {
    throw new SourceUnavailableError(`cannot read ${fleetId(key)}: no such file`);
  }
  if (content.type === 'typo') {
    throw new InvalidInputError([{file: fleetId(key), line: 1, column: 1, message: 'a typo'}]);
  }
  return {...loaded(content.says, key), driftPolicy: world.driftPolicy};
}

function sourcesOf(world: World, life: Life): Sources {
  const {scheduler} = world;
  return {
    reload: record => {
      const key = {namespace: record.namespace, fleet: record.name};
      return scheduler.effect(life, `loads the source of ${fleetId(key)}`, () => {
        world.onLoad(life, fleetId(key));
        return load(world, key);
      });
    },
    watch: async (record, changed) => {
      const topic = `source ${idOf(record)}`;
      const end = await scheduler.effect(life, `begins to watch the ${topic}`, () => world.watch(life, topic, changed));
      return {update: () => undefined, close: async () => end()};
    },
  };
}
