/** The one place where the reconciler gets the real clock, files, processes, providers and registry. */
import {randomUUID} from 'node:crypto';
import {existsSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {SourceUnavailableError, TektonError} from '../api/errors.js';
import type {CallSettings, FleetRecord, NamedProvider, ResolvedProvider, SecretRef} from '../api/types.js';
import {defaultModels, genericExpertise} from '../api/defaults.js';
import {shippedExpertise} from '../expertise/catalogue.js';
import {createAutoChooser} from '../providers/auto.js';
import {createProvider} from '../providers/create.js';
import type {Clock, Logger, Models, Ports, Sources, Store} from '../reconciler/ports.js';
import {appendEvents} from '../registry/events.js';
import {readFleetRecords, updateFleet} from '../registry/fleet-records.js';
import {statePaths} from '../registry/paths.js';
import {readFleetStatus, writeFleetStatus} from '../registry/status-files.js';
import {watchFolder} from '../registry/watch-folder.js';
import {ProcessRuntime} from '../runtime/process/runtime.js';
import {loadFleets} from '../spec/load.js';
import {loadSchedules} from '../spec/schedule.js';
import {resolveSecret} from '../spec/secrets.js';
import {watchSources} from '../spec/watch.js';
import {answerChecks, chats} from './canary-ports.js';
import {notificationsOf} from './notifications.js';
import type {ClosableNotifications} from './notifications.js';
import {gitSourcesOf} from './git-sources.js';
import {programFolder} from './package.js';
import {registryOf} from './registry-port.js';
import {repositoriesOf} from './secrets.js';

type Environment = Readonly<Record<string, string | undefined>>;

export interface WireOptions {
  readonly home: string;
  readonly environment: Environment;
  readonly log: Logger;
}

/** Ports whose notifications are ended with whoever leads. */
export interface WiredPorts extends Ports {
  readonly notifications: ClosableNotifications;
}

export function wire({home, environment, log}: WireOptions): WiredPorts {
  return {
    clock: realClock,
    random: Math.random,
    newUid: randomUUID,
    runtime: new ProcessRuntime({home, environment, programFolder: programFolder()}),
    registry: registryOf(home, log),
    models: modelsOf(environment, repositoriesOf(home)),
    chats,
    checks: answerChecks,
    secrets: {
      resolve: (ref, envFile) => resolveSecret(ref, {environment, envFile, repositories: repositoriesOf(home)}),
    },
    store: storeOf(home),
    sources: sourcesOf(),
    notifications: notificationsOf({home, environment, log}),
    schedules: {load: loadSchedules},
    git: gitSourcesOf(home, environment),
    log,
  };
}

export const realClock: Clock = {
  iso: () => new Date().toISOString(),
  monotonic: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

function modelsOf(environment: Environment, repositories: string): Models {
  const resolve = async (provider: NamedProvider, envFile: string | undefined): Promise<ResolvedProvider> => {
    const {name, type, baseUrl, apiKey, keepAlive, script, maxConcurrency, timeouts, prices} = provider;
    const secret = apiKey && (await resolveSecret(apiKey, {environment, envFile, repositories}));
    return {
      name,
      type: type === 'auto' ? 'offline' : type, // `auto` is only ever resolved through its chooser
      ...(baseUrl !== undefined && {baseUrl}),
      ...(keepAlive !== undefined && {keepAlive}),
      ...(script !== undefined && {script}),
      ...(maxConcurrency !== undefined && {maxConcurrency}),
      ...(timeouts && {timeouts}),
      ...(prices && {prices}),
      ...(apiKey && {apiKeyFrom: 'env' in apiKey ? apiKey.env : apiKey.file}),
      ...(secret && ('value' in secret ? {apiKey: secret.value} : {missingSecret: whatToSet(apiKey, envFile)})),
    };
  };
  return {
    resolve,
    // Checks ask about models; who answers makes no difference to them.
    client: provider => createProvider(provider, {component: 'tekton', expertise: genericExpertise('tekton')}),
    chooser: async ({baseUrl, apiKey, keepAlive, maxConcurrency, timeouts, prices, choices}, envFile) => {
      const own: CallSettings = {
        ...(maxConcurrency !== undefined && {maxConcurrency}),
        ...(timeouts && {timeouts}),
        ...(prices && {prices}),
      };
      const ollama: NamedProvider = {
        name: 'ollama',
        type: 'ollama',
        ...(baseUrl !== undefined && {baseUrl}),
        ...(keepAlive !== undefined && {keepAlive}),
        ...own,
        ...choices?.ollama,
      };
      const anthropic: NamedProvider = {
        name: 'anthropic',
        type: 'anthropic',
        ...(apiKey && {apiKey}),
        ...own,
        ...choices?.anthropic,
      };
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
    readFleets: async () => {
      // No folder is no fleets only where nothing was ever applied: else it was taken away, and tells nothing.
      if (!existsSync(statePaths(home).fleets)) {
        throw new TektonError(`cannot read ${statePaths(home).fleets}: it is gone`);
      }
      return readFleetRecords(home);
    },
    watchFleets: changed => watchFolder(statePaths(home).fleets, changed),
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
