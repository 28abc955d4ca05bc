/** The registry as the launch records, the control sockets and the process table have it, for when its own file is gone or damaged. */
import type {Json} from '../api/types.js';
import type {Hello} from '../protocol/control.js';
import {askHello} from './ask-hello.js';
import {identityFacts} from './entry-facts.js';
import {readLaunchRecords} from './launch-records.js';
import type {LaunchRecord} from './launch-records.js';
import {controlSocketPaths} from './paths.js';
import {listeningAddresses} from './port-holders.js';
import {findWorkers, isSame, runsAs} from './processes.js';
import type {FoundWorker} from './processes.js';
import type {RegistryState} from './registry-file.js';
import type {RegistryEntry} from './registry-text.js';

/** Whoever hangs holds nobody up: all are asked at once, ms. */
const helloTimeoutMs = 500;

/** Entries of the workers that run now. What only the controller knows (roles) it adds at its next pass. */
export async function rebuildEntries(home: string): Promise<RegistryState> {
  const entries = new Map<string, RegistryEntry>();
  const {records} = readLaunchRecords(home);
  const found = await findWorkers(home);
  for (const record of records) {
    // The record of a launch that is just under way has no identity yet: the uid tells which process it became.
    const identity = record.identity ?? found.find(worker => worker.uid === record.uid)?.identity;
    if (!identity || !(await isSame(identity)) || runsAs(identity.pid, record.uid) === false) continue;
    entries.set(record.aiId, fromRecord({...record, identity}));
  }
  const recorded = new Set(records.map(record => record.uid));
  const strays = found.filter(worker => !recorded.has(worker.uid) && !entries.has(worker.aiId));
  const made = await Promise.all(strays.map(async worker => [worker.aiId, await fromStray(home, worker)] as const));
  for (const [aiId, entry] of made) if (entry) entries.set(aiId, entry);
  return entries;
}

function fromRecord(record: LaunchRecord): RegistryEntry {
  return {
    port: record.port,
    component: record.component,
    metadata: {
      ...common(record.component, record.uid),
      ...(record.identity && identityFacts(record.identity)),
      ...known(record),
    },
    registered_at: new Date(record.startedAt).getTime() / 1000 || 0,
  };
}

/** Without a record the worker itself says who it is; one that gives no answer is known by its marks and its port. */
async function fromStray(home: string, worker: FoundWorker): Promise<RegistryEntry | undefined> {
  const hello = await askWorker(home, worker);
  if (hello?.retired) return undefined; // its successor has the name and the port
  return hello && hello.port > 0 ? fromHello(hello, worker) : fromProcess(worker);
}

async function askWorker(home: string, {aiId, uid}: FoundWorker): Promise<Hello | undefined> {
  for (const path of pathsOf(home, aiId, uid)) {
    const answer = await askHello(path, uid, helloTimeoutMs);
    if (answer.type !== 'answers') continue;
    answer.control.close();
    return answer.hello;
  }
  return undefined;
}

function pathsOf(home: string, aiId: string, uid: string): readonly string[] {
  try {
    return controlSocketPaths(home, aiId, uid);
  } catch {
    return []; // no place for a control socket, or an ai id that is no file's name: nobody listens there
  }
}

function fromHello(hello: Hello, {uid, identity}: FoundWorker): RegistryEntry {
  const {port, component, choice} = hello;
  const {provider, model} = choice;
  return {
    port,
    component,
    metadata: {...common(component, uid), ...identityFacts(identity), ...known(hello), provider, model},
    registered_at: Date.now() / 1000,
  };
}

async function fromProcess({aiId, uid, identity, fleet}: FoundWorker): Promise<RegistryEntry | undefined> {
  const [listens] = await listeningAddresses(identity.pid);
  if (listens === undefined) return undefined;
  const {host, port} = listens;
  // `<namespace>.<name>-ai`
  const component = aiId.slice(aiId.indexOf('.') + 1).replace(/-ai$/, '');
  const metadata = {...common(component, uid), ...identityFacts(identity), ...(fleet !== undefined && {fleet}), host};
  return {port, component, metadata, registered_at: Date.now() / 1000};
}

/** What a launch record and a worker's own word have in common. */
function known({name, namespace, fleet, host, specHash}: LaunchRecord | Hello): Readonly<Record<string, Json>> {
  return {name, namespace, fleet: `${namespace}/${fleet}`, host, spec_hash: specHash};
}

function common(component: string, uid: string): Readonly<Record<string, Json>> {
  return {description: `AI specialist for ${component}`, uid};
}
