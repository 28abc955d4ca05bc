/** A private state folder with what a test wants to find in it. */
import {countsOf} from '../../src/reconciler/rollup.js';
import {mkdtempSync, rmSync} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {
  formatVersion,
  type Desired,
  type FleetRecord,
  type FleetStatus,
  type SpecialistStatus,
} from '../../src/api/types.js';
import type {WorkerConfig} from '../../src/protocol/control.js';
import {createProvider} from '../../src/providers/create.js';
import {controllerSocketPath, writeControllerRecord} from '../../src/registry/controller-record.js';
import {updateFleet} from '../../src/registry/fleet-records.js';
import {ensureStateHome} from '../../src/registry/home.js';
import {writeLaunchRecord} from '../../src/registry/launch-records.js';
import {controlSocketPath} from '../../src/registry/paths.js';
import {identify} from '../../src/registry/processes.js';
import {writeFleetStatus} from '../../src/registry/status-files.js';
import {startWorker, type RunningWorker} from '../../src/worker/start.js';

export interface State {
  readonly home: string;
  remove(): void;
}

export async function makeState(): Promise<State> {
  const home = mkdtempSync(path.join(tmpdir(), 'tekton-cli-'));
  await ensureStateHome(home);
  return {home, remove: () => rmSync(home, {recursive: true, force: true})};
}

export async function writeFleet(
  home: string,
  specialists: readonly Desired[],
  over: Partial<FleetRecord> = {},
): Promise<FleetRecord> {
  const record: FleetRecord = {
    formatVersion,
    name: 'dev',
    namespace: 'default',
    enabled: true,
    ports: {from: 45_000, to: 50_000},
    allowMassPrune: false,
    source: {type: 'stdin'},
    files: [],
    watch: [],
    specialists,
    overrides: {},
    notices: [],
    appliedAt: '2026-01-05T10:00:00.000Z',
    version: '0.0.0',
    generations: Object.fromEntries(specialists.map(({aiId, generation}) => [aiId, generation])),
    stopped: false,
    ...over,
  };
  return updateFleet(home, record, () => record);
}

export async function writeStatus(
  home: string,
  desired: Desired,
  status: SpecialistStatus,
  over: Partial<FleetStatus> = {},
): Promise<void> {
  const {aiId, name, labels, generation, spec} = desired;
  const {component, expertise} = spec;
  await writeFleetStatus(home, {
    formatVersion,
    name: desired.fleet,
    namespace: desired.namespace,
    syncedAt: new Date().toISOString(),
    counts: countsOf([status]),
    specialists: [{aiId, name, component, roles: expertise.roles, labels, generation, status}],
    ...over,
  });
}

/** This very process counts as the controller. */
export async function pretendController(home: string, startedAt: string, {mute = false} = {}): Promise<void> {
  const identity = await identify(process.pid);
  if (identity === undefined) throw new Error('the process table has no line for this process');
  await writeControllerRecord(home, {formatVersion, identity, version: '0.0.0', build: 'test', startedAt});
  const server = createServer(socket => {
    socket.unref();
    socket.on('error', () => undefined);
    socket.on('data', () => mute || socket.write('{"type":"ok"}\n'));
  });
  await new Promise<void>(resolve => server.listen(controllerSocketPath(home), resolve));
  server.unref();
}

/** A real worker in this process, with the launch record that a controller would have left. */
export async function launchHere(home: string, desired: Desired): Promise<RunningWorker> {
  const {aiId, name, namespace, fleet, generation, specHash, declared, spec} = desired;
  const controlPath = controlSocketPath(home, aiId);
  const config: WorkerConfig = {
    formatVersion,
    ...{aiId, name, component: spec.component, namespace, fleet, generation, specHash, declared, host: spec.host},
    provider: {name: 'offline', type: 'offline'},
    model: 'expertise',
    choice: {provider: 'offline', type: 'offline', model: 'expertise'},
    ...{parameters: {}, expertise: spec.expertise, concurrency: spec.concurrency, sessions: spec.sessions},
    graceMs: 0,
  };
  const uid = `uid-of-${name}`;
  const worker = await startWorker({config, uid, port: 0, controlPath, createProvider});
  const identity = await identify(process.pid);
  if (identity === undefined) throw new Error('the process table has no line for this process');
  const startedAt = new Date().toISOString();
  await writeLaunchRecord(home, {
    formatVersion,
    ...{aiId, name, namespace, fleet, component: spec.component, uid, identity, host: spec.host, port: worker.port},
    ...{controlPath, generation, specHash, declared, startedAt},
    state: 'running',
  });
  return worker;
}
