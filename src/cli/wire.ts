/** The one place where the reconciler gets the real clock, files, processes, providers and registry. */
import {randomUUID} from 'node:crypto';
import {dirname, join} from 'node:path';
import {describeError, SourceUnavailableError} from '../api/errors.js';
import {defaultPorts} from '../api/types.js';
import type {FleetRecord, NamedProvider, PortRange, ResolvedProvider, SecretRef} from '../api/types.js';
import {defaultModels, genericExpertise} from '../api/defaults.js';
import {shippedExpertise} from '../expertise/catalogue.js';
import {createAutoChooser} from '../providers/auto.js';
import {createProvider} from '../providers/create.js';
import type {
  Clock,
  Logger,
  Models,
  PortAnswer,
  PortRequest,
  Ports,
  Registry,
  Sources,
  Store,
} from '../reconciler/ports.js';
import {appendEvents} from '../registry/events.js';
import {readFleetRecords, updateFleet} from '../registry/fleet-records.js';
import {statePaths} from '../registry/paths.js';
import {entryFleet, entryIdentity} from '../registry/entry-facts.js';
import {ping} from '../registry/ping.js';
import {isSame} from '../registry/processes.js';
import {RegistryClient} from '../registry/registry-client.js';
import {readFleetStatus, writeFleetStatus} from '../registry/status-files.js';
import {ProcessRuntime} from '../runtime/process/runtime.js';
import {loadFleets} from '../spec/load.js';
import {resolveSecret} from '../spec/secrets.js';
import {watchSources} from '../spec/watch.js';
import {programFolder} from './package.js';

type Environment = Readonly<Record<string, string | undefined>>;

export interface WireOptions {
  readonly home: string;
  readonly environment: Environment;
  readonly log: Logger;
}

export function wire({home, environment, log}: WireOptions): Ports {
  return {
    clock: realClock,
    random: Math.random,
    newUid: randomUUID,
    runtime: new ProcessRuntime({home, environment, programFolder: programFolder()}),
    registry: registryOf(home, log),
    models: modelsOf(environment),
    secrets: {resolve: (ref, envFile) => resolveSecret(ref, {environment, envFile})},
    store: storeOf(home),
    sources: sourcesOf(),
    log,
  };
}

const realClock: Clock = {
  iso: () => new Date().toISOString(),
  monotonic: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

function registryOf(home: string, log: Logger): Registry {
  const onWarning = (warning: string): void => log.warn({}, warning);
  const clients = new Map<string, RegistryClient>();
  const clientFor = (ports: PortRange): RegistryClient => {
    const key = `${ports.from}-${ports.to}`;
    const client = clients.get(key) ?? new RegistryClient({home, ports, onWarning});
    clients.set(key, client);
    return client;
  };
  const all = clientFor(defaultPorts);
  return {
    allocate: requests => allocate(clientFor, requests),
    strangerAt: aiId => strangerAt(all, aiId),
    sync: async (fleets, facts) => void (await all.sync(fleets, facts)),
    watch: async changed => {
      const watch = await watchSources([statePaths(home).registry], changed);
      return () => watch.close();
    },
  };
}

/** Entries of the dead count for nothing: the predecessor left many. */
async function strangerAt(client: RegistryClient, aiId: string): Promise<string | undefined> {
  const found = await client.get(aiId);
  if (!found || entryFleet(found) !== undefined) return undefined;
  const identity = entryIdentity(found);
  if (found.uid !== undefined && identity) {
    return (await isSame(identity)) ? `a worker that was started by hand (pid ${identity.pid})` : undefined;
  }
  const {host, port} = found;
  const silent = await ping({aiId, host, port}, {timeoutMs: 1000});
  return silent === undefined ? `another program, which answers on port ${port}` : undefined;
}

async function allocate(
  clientFor: (ports: PortRange) => RegistryClient,
  requests: readonly PortRequest[],
): Promise<readonly PortAnswer[]> {
  const [first] = requests;
  if (!first) return [];
  // Fleets may have ranges of their own: one pass where all have the same, as nearly always.
  const same = requests.every(({range}) => range.from === first.range.from && range.to === first.range.to);
  if (!same) return (await Promise.all(requests.map(request => allocate(clientFor, [request])))).flat();
  try {
    const results = await clientFor(first.range).allocatePorts(requests);
    return results.map(result => {
      if (result.ok) return {ok: true, port: result.port};
      return {ok: false, reason: result.error.code, message: describeError(result.error)};
    });
  } catch (error) {
    const message = describeError(error);
    return requests.map(() => ({ok: false, reason: 'RegistryUnavailable', message}));
  }
}

function modelsOf(environment: Environment): Models {
  const resolve = async (provider: NamedProvider, envFile: string | undefined): Promise<ResolvedProvider> => {
    const {name, type, baseUrl, apiKey, keepAlive, script} = provider;
    const secret = apiKey && (await resolveSecret(apiKey, {environment, envFile}));
    return {
      name,
      type: type === 'auto' ? 'offline' : type, // `auto` is only ever resolved through its chooser
      ...(baseUrl !== undefined && {baseUrl}),
      ...(keepAlive !== undefined && {keepAlive}),
      ...(script !== undefined && {script}),
      ...(apiKey && {apiKeyFrom: 'env' in apiKey ? apiKey.env : apiKey.file}),
      ...(secret && ('value' in secret ? {apiKey: secret.value} : {missingSecret: whatToSet(apiKey, envFile)})),
    };
  };
  return {
    resolve,
    // Checks ask about models; who answers makes no difference to them.
    client: provider => createProvider(provider, {component: 'tekton', expertise: genericExpertise('tekton')}),
    chooser: async ({baseUrl, apiKey, keepAlive}, envFile) => {
      const ollama: NamedProvider = {
        name: 'ollama',
        type: 'ollama',
        ...(baseUrl !== undefined && {baseUrl}),
        ...(keepAlive !== undefined && {keepAlive}),
      };
      const anthropic: NamedProvider = {name: 'anthropic', type: 'anthropic', ...(apiKey && {apiKey})};
      return createAutoChooser({
        ollama: await resolve(ollama, envFile),
        anthropic: await resolve(anthropic, envFile),
        anthropicModel: defaultModels.anthropic ?? '',
      });
    },
  };
}

/** Secrets resolve where workers are launched from: that is where a person has to set them. */
function whatToSet(ref: SecretRef, envFile: string | undefined): string {
  if ('file' in ref) return `a key in the file ${ref.file}`;
  return `${ref.env} in the environment of the controller, or in ${envFile ?? '.env.tekton beside the fleet file'}`;
}

function storeOf(home: string): Store {
  const key = ({namespace, fleet}: {namespace: string; fleet: string}) => ({namespace, name: fleet});
  return {
    readFleets: async () => readFleetRecords(home),
    updateFleet: (fleet, change) => updateFleet(home, key(fleet), change),
    readStatus: async fleet => readFleetStatus(home, key(fleet)),
    writeStatus: status => writeFleetStatus(home, status),
    appendEvents: events => appendEvents(home, events),
  };
}

function sourcesOf(): Sources {
  return {
    reload: async record => {
      const paths = record.source.type === 'files' ? record.source.paths : [];
      const fleets = await loadFleets({
        paths,
        cwd: dirname(paths[0] ?? '/'),
        // What the applying command was told, so that all who load the fleet agree.
        environment: record.overrides,
        readStdin: async function* () {},
        shippedExpertise,
      });
      const found = fleets.find(fleet => fleet.name === record.name && fleet.namespace === record.namespace);
      if (!found) throw undeclared(record, paths);
      return found;
    },
    watch: async (record, changed) => {
      const watch = await watchSources(pathsToWatch(record), changed);
      return {update: next => watch.update(pathsToWatch(next)), close: () => watch.close()};
    },
  };
}

/** A fleet that its source no longer names is an error of the source: nothing is stopped for it. */
function undeclared(record: FleetRecord, paths: readonly string[]): Error {
  return new SourceUnavailableError(
    `${paths.join(', ')} no longer declares the fleet ${record.namespace}/${record.name}`,
    {
      hint: `stop it with \`tekton-ai down --fleet ${record.name}\`, or put its declaration back`,
    },
  );
}

function pathsToWatch(record: FleetRecord): readonly string[] {
  const folders =
    record.source.type === 'files' ? record.source.paths.map(path => join(dirname(path), '.env.tekton')) : [];
  return [...new Set([...record.watch, ...record.files, ...folders])];
}
