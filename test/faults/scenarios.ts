/** Everything that writes to the state folder, as operations to attack. */
import {existsSync, mkdirSync, readFileSync, readdirSync, truncateSync, writeFileSync} from 'node:fs';
import {join, resolve} from 'node:path';
import type {FleetEvent, FleetRecord, FleetStatus, ProcessIdentity} from '../../src/api/types.js';
import type {LaunchRecord} from '../../src/registry/launch-records.js';
import {kernelLocks, openKernelLock} from '../../src/registry/kernel-lock.js';
import {countsOf} from '../../src/reconciler/rollup.js';
import type {Code} from './code.js';
import type {Scenario, Session} from './explore.js';
import {outside} from './faulty-fs.js';

const ports = {from: 47_000, to: 47_099};
/** Far less than what makes a forgotten lock stale: whoever has to wait for one gives up, and is found out. */
const lockTimeoutMs = 5_000;

type Client = InstanceType<Code['RegistryClient']>;

function client({RegistryClient}: Code, home: string): Client {
  return new RegistryClient({home, ports, lockTimeoutMs, onWarning: () => undefined});
}

function withClient(act: (client: Client) => unknown): Scenario['open'] {
  return (code, home) => {
    const mine = client(code, home);
    return {act: () => act(mine), read: () => list(mine)};
  };
}

async function list(mine: Client): Promise<unknown> {
  const entries = await mine.list();
  return entries.map(({aiId, port, uid, metadata}) => [aiId, port, uid, metadata['model']]).toSorted();
}

const entries: Scenario['look'] = (code, home) => list(client(code, home));

/** Which ports they are depends on what else runs on this machine. */
const reserved: Scenario['look'] = (code, home) => {
  const reservations = code.readReservations(home);
  const ids = reservations.map(({aiId, uid}) => `${aiId} ${uid}`).toSorted();
  return {ids, ports: new Set(reservations.map(({port}) => port)).size};
};

const athena = {aiId: 'athena-ai', port: 45_000, component: 'athena', uid: 'u1', metadata: {fleet: 'default/dev'}};
const apollo = {aiId: 'apollo-ai', port: 45_001, component: 'apollo', uid: 'u2', metadata: {fleet: 'default/dev'}};
const rhetor = {aiId: 'rhetor-ai', port: 45_002, component: 'rhetor', uid: 'u3', metadata: {fleet: 'default/dev'}};

const registryScenarios: readonly Scenario[] = [
  {
    name: 'the first registration of a new state folder',
    open: withClient(mine => mine.register(athena)),
    look: entries,
  },
  {
    name: 'a registration among others',
    prepare: (code, home) => client(code, home).registerAll([athena, apollo]),
    open: withClient(mine => mine.register(rhetor)),
    look: entries,
  },
  {
    name: 'a deregistration',
    prepare: (code, home) => client(code, home).registerAll([athena, apollo]),
    open: withClient(mine => mine.deregister('athena-ai')),
    look: entries,
  },
  {
    name: "a fleet's sync",
    prepare: (code, home) => client(code, home).registerAll([athena, apollo]),
    open: withClient(mine =>
      mine.sync(['default/dev'], [{...athena, metadata: {fleet: 'default/dev', model: 'm2'}}, rhetor]),
    ),
    look: entries,
  },
  {
    name: 'a change while a damaged registry is healed',
    prepare: async (code, home) => {
      await client(code, home).registerAll([athena, apollo]);
      await recordOwnProcess(code, home);
      const path = code.statePaths(home).registry;
      writeFileSync(path, readFileSync(path, 'utf8').slice(0, -20));
    },
    open: withClient(mine => mine.register(rhetor)),
    look: entries,
  },
  {
    name: 'a change while a folder stands in place of the registry',
    prepare: async (code, home) => {
      await code.ensureStateHome(home);
      await recordOwnProcess(code, home);
      mkdirSync(code.statePaths(home).registry);
    },
    open: withClient(mine => mine.register(rhetor)),
    look: entries,
  },
  {
    name: 'ports handed out',
    prepare: (code, home) => client(code, home).registerAll([athena]),
    open: allocating,
    look: reserved,
  },
  {
    name: 'ports given back',
    prepare: async (code, home) => {
      await client(code, home).allocatePorts(['a', 'b'].map(aiId => ({aiId, uid: aiId})));
    },
    open: (code, home) => ({
      act: () => client(code, home).releasePorts(['a']),
      read: () => reserved(code, home),
    }),
    look: reserved,
  },
];

function allocating(code: Code, home: string): Session {
  return {
    act: async () => {
      const results = await client(code, home).allocatePorts(['a', 'b'].map(aiId => ({aiId, uid: aiId})));
      const refused = results.find(result => !result.ok);
      if (refused !== undefined) throw refused.error;
    },
    read: () => reserved(code, home),
  };
}

/** A launch that runs, as far as its record and the process table tell: a rebuilt registry has it. */
async function recordOwnProcess(code: Code, home: string): Promise<void> {
  await code.writeLaunchRecord(home, {...launch, aiId: 'hermes-ai', uid: 'u9', identity: await self(code)});
}

async function self(code: Code): Promise<ProcessIdentity> {
  const identity = await code.identify(process.pid);
  if (identity === undefined) throw new Error('this process is not in the process table');
  return identity;
}

const launch: LaunchRecord = {
  formatVersion: 1,
  aiId: 'athena-ai',
  name: 'athena',
  namespace: 'default',
  fleet: 'dev',
  component: 'athena',
  uid: 'u1',
  host: '127.0.0.1',
  port: 45_009,
  controlPath: '/x.sock',
  generation: 1,
  specHash: 'h',
  declared: {},
  startedAt: '2026-01-01T00:00:00.000Z',
  state: 'running',
};

const fleet: FleetRecord = {
  formatVersion: 1,
  name: 'dev',
  namespace: 'default',
  enabled: true,
  ports,
  allowMassPrune: false,
  source: {type: 'stdin'},
  files: [],
  watch: [],
  specialists: [],
  overrides: {},
  notices: [],
  appliedAt: '2026-01-01T00:00:00.000Z',
  version: '0.1.0',
  generations: {},
  stopped: false,
};

const status: FleetStatus = {
  formatVersion: 1,
  name: 'dev',
  namespace: 'default',
  syncedAt: '1',
  counts: countsOf([]),
  specialists: [],
};
const key = {namespace: 'default', name: 'dev'};

const launches: Scenario['look'] = (code, home) => code.readLaunchRecords(home);
const fleets: Scenario['look'] = (code, home) => code.readFleetRecords(home);
const statuses: Scenario['look'] = (code, home) => code.readFleetStatuses(home);
const home: Scenario['prepare'] = (code, home) => code.ensureStateHome(home);

function doing(act: (code: Code, home: string) => unknown): Scenario['open'] {
  return (code, home) => ({act: () => act(code, home)});
}

/**
 * Group commit: the lock is busy, a healthy process waits with a change that it has handed over, and the one under attack
 * comes to wait, too. Whichever gets the lock commits for both.
 */
const inACrowd: Scenario = {
  name: 'a registration while others wait for the lock',
  prepare: (code, home) => client(code, home).registerAll([athena]),
  open: (code, home, other) => {
    const mine = client(code, home);
    return {
      act: async () => {
        outside(() => void crowd.set(home, waitInLine(other, home)));
        await outside(() => until(() => waitingIn(home) > 0));
        await mine.register(rhetor);
        await outside(() => crowd.get(home));
      },
      read: async () => ({entries: await withoutApollo(mine), theirs: 'kept'}),
    };
  },
  look: async (code, home) => {
    const mine = client(code, home);
    const theirs = await (crowd.get(home) ?? 'kept');
    const isThere = !crowd.has(home) || (await mine.get('apollo-ai')) !== undefined;
    return {entries: await withoutApollo(mine), theirs: isThere ? theirs : 'lost'};
  },
};

const crowd = new Map<string, Promise<string>>();

/** Registers while somebody holds the lock, who lets it go once it has been handed all that comes. */
async function waitInLine(code: Code, home: string): Promise<string> {
  const native = await kernelLocks();
  const held = native && openKernelLock(native, join(code.statePaths(home).locks, 'registration.kernel'));
  const registered = client(code, home)
    .register(apollo)
    .then(
      () => 'kept',
      (error: unknown) => String(error),
    );
  await until(() => waitingIn(home) > 1);
  await held?.release();
  return registered;
}

function waitingIn(home: string): number {
  const folder = join(home, 'run', 'changes');
  return existsSync(folder) ? readdirSync(folder).length : 0;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 40;
  while (!condition() && performance.now() < deadline) await new Promise(resolve => setTimeout(resolve, 1));
}

async function withoutApollo(mine: Client): Promise<unknown> {
  const entries = await mine.list();
  return entries.map(({aiId, port, uid}) => [aiId, port, uid]).filter(([aiId]) => aiId !== 'apollo-ai');
}

const recordScenarios: readonly Scenario[] = [
  {
    name: 'a launch record written',
    prepare: home,
    open: doing((code, home) => code.writeLaunchRecord(home, launch)),
    look: launches,
  },
  {
    name: 'a launch record changed',
    prepare: async (code, home) => {
      await code.ensureStateHome(home);
      await code.writeLaunchRecord(home, {...launch, state: 'intent'});
    },
    open: doing((code, home) => code.writeLaunchRecord(home, launch)),
    look: launches,
  },
  {
    name: 'a launch record removed',
    prepare: async (code, home) => {
      await code.ensureStateHome(home);
      await code.writeLaunchRecord(home, launch);
    },
    open: doing((code, home) => code.removeLaunchRecord(home, 'athena-ai')),
    look: launches,
  },
  {
    name: 'a fleet applied for the first time',
    prepare: home,
    open: doing((code, home) => code.updateFleet(home, key, () => fleet, {timeoutMs: lockTimeoutMs})),
    look: fleets,
  },
  {
    name: 'a fleet changed',
    prepare: async (code, home) => {
      await code.ensureStateHome(home);
      await code.updateFleet(home, key, () => fleet);
    },
    open: doing((code, home) =>
      code.updateFleet(home, key, record => ({...fleet, ...record, stopped: true}), {timeoutMs: lockTimeoutMs}),
    ),
    look: fleets,
  },
  {
    name: 'a fleet forgotten',
    prepare: async (code, home) => {
      await code.ensureStateHome(home);
      await code.updateFleet(home, key, () => fleet);
    },
    open: doing((code, home) => code.removeFleetRecord(home, key)),
    look: fleets,
  },
  {
    name: 'a status written',
    prepare: async (code, home) => {
      await code.ensureStateHome(home);
      await code.writeFleetStatus(home, {...status, syncedAt: '0'});
    },
    open: doing((code, home) => code.writeFleetStatus(home, status)),
    look: statuses,
  },
  {
    name: "the controller's record written",
    prepare: home,
    open: doing(async (code, home) => code.writeControllerRecord(home, await controllerRecord(code))),
    look: async (code, home) => (await code.findController(home))?.record.version,
  },
  {
    name: "the controller's record removed",
    prepare: async (code, home) => {
      await code.ensureStateHome(home);
      await code.writeControllerRecord(home, await controllerRecord(code));
    },
    open: doing((code, home) => code.removeControllerRecord(home)),
    look: async (code, home) => (await code.findController(home))?.record.version,
  },
];

async function controllerRecord(code: Code) {
  return {
    formatVersion: 1,
    identity: await self(code),
    version: '1',
    build: 'b',
    startedAt: '2026-01-01T00:00:00.000Z',
  };
}

const event: FleetEvent = {at: '2026-01-01T00:00:00.000Z', type: 'Normal', reason: 'Launched', message: 'new'};

/** Each once: one that failed after it was written is written again. */
const messages: Scenario['look'] = (code, home) => [...new Set(code.readEvents(home).map(found => found.message))];

const fileScenarios: readonly Scenario[] = [
  {
    name: 'an event appended',
    prepare: async (code, home) => {
      await code.ensureStateHome(home);
      await code.appendEvent(home, {...event, message: 'old'});
    },
    open: doing((code, home) => code.appendEvent(home, event)),
    look: messages,
  },
  {
    name: 'an event appended to a full log',
    prepare: async (code, home) => {
      await code.ensureStateHome(home);
      await code.appendEvent(home, {...event, message: 'old'});
      truncateSync(code.statePaths(home).events, 5 * 1024 * 1024);
    },
    open: doing((code, home) => code.appendEvent(home, event)),
    look: messages,
  },
  {
    name: 'the first use of a state folder',
    open: doing((code, home) => code.ensureStateHome(home)),
    look: (code, home) => existsSync(code.statePaths(home).host) && readFileSync(code.statePaths(home).host, 'utf8'),
  },
  {
    name: "the copy of the worker's program",
    prepare: home,
    open: doing((code, home) => code.ensureProgram(home, program())),
    look: (_code, home) => stateOfCopy(join(home, 'bin', 'worker-0123456789abcdef')),
  },
  {
    name: 'a log opened for the first time',
    prepare: home,
    open: doing(openOnce),
    look: (code, home) => existsSync(code.statePaths(home).log('athena-ai')),
  },
  {
    name: 'a full log opened',
    optional: true, // the worker starts all the same, and its log is put aside at the next launch
    prepare: async (code, home) => {
      await code.ensureStateHome(home);
      const path = code.statePaths(home).log('athena-ai');
      writeFileSync(path, 'said');
      truncateSync(path, 5 * 1024 * 1024 + 1);
    },
    open: doing(openOnce),
    look: (code, home) => {
      const aside = `${code.statePaths(home).log('athena-ai')}.1`;
      return existsSync(aside) && readFileSync(aside).toString('utf8', 0, 4);
    },
  },
];

/** As a launch does: the descriptor goes to the worker and is closed. */
function openOnce(code: Code, home: string): void {
  const {fd} = code.openLog(code.statePaths(home).log('athena-ai'));
  code.closeSync(fd);
}

/** A part of the copy is none: the next caller completes it before anything runs. */
function stateOfCopy(copy: string): 'whole' | 'none' | 'torn' {
  const names = readdirSync(program());
  const copied = names.filter(name => existsSync(join(copy, name)));
  const sound = copied.every(name => readFileSync(join(copy, name)).equals(readFileSync(join(program(), name))));
  if (!sound) return 'torn';
  return copied.length === names.length ? 'whole' : 'none';
}

/** A small program in place of the built one. */
function program(): string {
  return resolve('test/faults/program');
}

export const scenarios: readonly Scenario[] = [...registryScenarios, inACrowd, ...recordScenarios, ...fileScenarios];
