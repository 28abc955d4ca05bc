/** The registry as the launch records and the process table have it, for when its own file is gone or damaged. */
import type {Json} from '../api/types.js';
import {identityFacts} from './entry-facts.js';
import {readLaunchRecords} from './launch-records.js';
import type {LaunchRecord} from './launch-records.js';
import {listeningPorts} from './port-holders.js';
import {findWorkers, isSame} from './processes.js';
import type {FoundWorker} from './processes.js';
import type {RegistryState} from './registry-file.js';
import type {RegistryEntry} from './registry-text.js';

/** Entries of the workers that run now. What only the controller knows (model, roles) it adds at its next pass. */
export async function rebuildEntries(home: string): Promise<RegistryState> {
  const entries = new Map<string, RegistryEntry>();
  const {records} = readLaunchRecords(home);
  const found = await findWorkers(home);
  for (const record of records) {
    // The record of a launch that is just under way has no identity yet: the uid tells which process it became.
    const identity = record.identity ?? found.find(worker => worker.uid === record.uid)?.identity;
    if (identity && (await isSame(identity))) entries.set(record.aiId, fromRecord({...record, identity}));
  }
  const recorded = new Set(records.map(record => record.uid));
  for (const worker of found) {
    if (recorded.has(worker.uid) || entries.has(worker.aiId)) continue;
    const [port] = await listeningPorts(worker.identity.pid);
    if (port !== undefined) entries.set(worker.aiId, fromProcess(worker, port));
  }
  return entries;
}

function fromRecord(record: LaunchRecord): RegistryEntry {
  return {
    port: record.port,
    component: record.component,
    metadata: {
      ...common(record.component, record.uid),
      ...(record.identity && identityFacts(record.identity)),
      name: record.name,
      namespace: record.namespace,
      fleet: `${record.namespace}/${record.fleet}`,
      host: record.host,
      spec_hash: record.specHash,
    },
    registered_at: new Date(record.startedAt).getTime() / 1000 || 0,
  };
}

/** Without a record the ai id is all that is known: `<namespace>.<name>-ai`. */
function fromProcess({aiId, uid, identity}: FoundWorker, port: number): RegistryEntry {
  const component = aiId.slice(aiId.indexOf('.') + 1).replace(/-ai$/, '');
  const metadata = {...common(component, uid), ...identityFacts(identity)};
  return {port, component, metadata, registered_at: Date.now() / 1000};
}

function common(component: string, uid: string): Readonly<Record<string, Json>> {
  return {description: `AI specialist for ${component}`, uid};
}
