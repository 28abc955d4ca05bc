/** The registry as the reconciler knows it. */
import {describeError} from '../api/errors.js';
import {defaultPorts} from '../api/types.js';
import type {PortRange} from '../api/types.js';
import type {Logger, PortAnswer, PortRequest, Registry} from '../reconciler/ports.js';
import {entryFleet, entryIdentity} from '../registry/entry-facts.js';
import {readFleetRecords} from '../registry/fleet-records.js';
import {statePaths} from '../registry/paths.js';
import {ping} from '../registry/ping.js';
import {PortTakenError} from '../registry/port-errors.js';
import {isListenedOn} from '../registry/port-holders.js';
import {isSame} from '../registry/processes.js';
import {RegistryClient} from '../registry/registry-client.js';
import type {RegisteredSpecialist} from '../registry/registry-client.js';
import {watchSources} from '../spec/watch.js';

export function registryOf(home: string, log: Logger): Registry {
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
    sync: async (fleets, facts) => {
      await all.sync(fleets, facts);
      await releaseDead(all, new Set(facts.map(({aiId}) => aiId)));
    },
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

/**
 * Removes entries of ours that nobody minds any more: their process is gone, and no fleet on record is theirs. What other
 * programs wrote stays.
 */
async function releaseDead(client: RegistryClient, living: ReadonlySet<string>): Promise<void> {
  const doubtful = (await client.list()).filter(entry => entry.uid !== undefined && !living.has(entry.aiId));
  if (doubtful.length === 0) return;
  const recorded = new Set(readFleetRecords(client.home).map(({namespace, name}) => `${namespace}/${name}`));
  for (const entry of doubtful) {
    const fleet = entryFleet(entry);
    if (fleet !== undefined && recorded.has(fleet)) continue; // its own controller knows better
    if (await isGone(entry)) await client.deregister(entry.aiId, entry.uid === undefined ? {} : {uid: entry.uid});
  }
}

/** A program may have registered another one that listens, and ended: without a fleet the port has to be free, too. */
async function isGone(entry: RegisteredSpecialist): Promise<boolean> {
  const identity = entryIdentity(entry);
  if (!identity || (await isSame(identity))) return false;
  return entryFleet(entry) !== undefined || isListenedOn(entry.port) === false;
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
      if (result.ok) return result;
      const {error} = result;
      const transient = error instanceof PortTakenError && error.transient;
      return {ok: false, reason: error.code, message: describeError(error), ...(transient && {transient})};
    });
  } catch (error) {
    const message = describeError(error);
    return requests.map(() => ({ok: false, reason: 'RegistryUnavailable', message}));
  }
}
