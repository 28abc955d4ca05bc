import {countsOf} from '../../src/reconciler/rollup.js';
import {execFileSync} from 'node:child_process';
import {chmodSync, linkSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync} from 'node:fs';
import {beforeEach, describe, expect, test} from '@jest/globals';
import type {FleetEvent, FleetRecord, FleetStatus} from '../../src/api/types.js';
import {ConflictError} from '../../src/api/errors.js';
import {findController, removeControllerRecord, writeControllerRecord} from '../../src/registry/controller-record.js';
import {appendEvent, appendEvents, readEvents} from '../../src/registry/events.js';
import {readFleetRecord, readFleetRecords, removeFleetRecord, updateFleet} from '../../src/registry/fleet-records.js';
import {ensureStateHome} from '../../src/registry/home.js';
import {
  readLaunchRecord,
  readLaunchRecords,
  removeLaunchRecord,
  writeLaunchRecord,
} from '../../src/registry/launch-records.js';
import type {LaunchRecord} from '../../src/registry/launch-records.js';
import {statePaths} from '../../src/registry/paths.js';
import type {StatePaths} from '../../src/registry/paths.js';
import {identify} from '../../src/registry/processes.js';
import {readFleetStatus, readFleetStatuses, writeFleetStatus} from '../../src/registry/status-files.js';
import {tempHome} from './support.js';

let home = '';
let paths: StatePaths;

beforeEach(async () => {
  home = tempHome();
  paths = statePaths(home);
  await ensureStateHome(home);
});

const launch: LaunchRecord = {
  formatVersion: 1,
  aiId: 'athena-ai',
  name: 'athena',
  namespace: 'default',
  fleet: 'dev',
  component: 'athena',
  uid: 'u1',
  host: '127.0.0.1',
  port: 45000,
  controlPath: '/x.sock',
  generation: 1,
  specHash: 'h',
  declared: {model: 'm'},
  startedAt: '2026-01-01T00:00:00.000Z',
  state: 'intent',
};

const fleet: FleetRecord = {
  formatVersion: 1,
  name: 'dev',
  namespace: 'default',
  enabled: true,
  ports: {from: 45000, to: 50000},
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

describe('launch records', () => {
  test('are written, replaced, read alone and together, and removed', async () => {
    await writeLaunchRecord(home, launch);
    await writeLaunchRecord(home, {...launch, state: 'running'});
    await writeLaunchRecord(home, {...launch, aiId: 'apollo-ai'});
    expect(readLaunchRecord(home, 'athena-ai')).toEqual({...launch, state: 'running'});
    expect(
      readLaunchRecords(home)
        .records.map(record => record.aiId)
        .toSorted(),
    ).toEqual(['apollo-ai', 'athena-ai']);
    await removeLaunchRecord(home, 'athena-ai');
    await removeLaunchRecord(home, 'athena-ai');
    expect(readLaunchRecord(home, 'athena-ai')).toBeUndefined();
    expect(statSync(paths.launchRecord('apollo-ai')).mode & 0o777).toBe(0o600);
  });

  test('that are damaged are named, and the others are read', async () => {
    await writeLaunchRecord(home, launch);
    writeFileSync(paths.launchRecord('empty-ai'), '');
    writeFileSync(paths.launchRecord('half-ai'), '{"formatVersion":1,"aiId":"half-ai"}');
    const {records, damaged} = readLaunchRecords(home);
    expect(records).toEqual([launch]);
    expect(damaged.toSorted()).toEqual(['empty-ai', 'half-ai']);
  });

  test('of a newer version are refused and never rewritten', async () => {
    const text = JSON.stringify({...launch, formatVersion: 2});
    writeFileSync(paths.launchRecord('athena-ai'), text);
    expect(() => readLaunchRecords(home)).toThrow(ConflictError);
    await expect(writeLaunchRecord(home, launch)).rejects.toThrow('a newer tekton-ai wrote it (format 2');
    expect(readFileSync(paths.launchRecord('athena-ai'), 'utf8')).toBe(text);
  });

  test('a link in the place of one is not followed, but counts as damaged and is replaced', async () => {
    writeFileSync(`${home}/elsewhere`, JSON.stringify(launch));
    symlinkSync(`${home}/elsewhere`, paths.launchRecord('athena-ai'));
    expect(() => readLaunchRecord(home, 'athena-ai')).toThrow('a symbolic link stands in its place');
    expect(readLaunchRecords(home)).toEqual({records: [], damaged: ['athena-ai']});
    await writeLaunchRecord(home, {...launch, generation: 2});
    expect(readLaunchRecord(home, 'athena-ai')?.generation).toBe(2);
    expect(JSON.parse(readFileSync(`${home}/elsewhere`, 'utf8'))).toEqual(launch);
  });

  test('written over a hard link leave the other name as it was', async () => {
    writeFileSync(`${home}/elsewhere`, '{}');
    linkSync(`${home}/elsewhere`, paths.launchRecord('athena-ai'));
    await writeLaunchRecord(home, launch);
    expect(readFileSync(`${home}/elsewhere`, 'utf8')).toBe('{}');
  });
});

describe('fleet records', () => {
  const key = {namespace: 'default', name: 'dev'};

  test('are changed one after the other, none lost', async () => {
    await updateFleet(home, key, () => fleet);
    const count = (record: FleetRecord | undefined): FleetRecord => {
      const before = record ?? fleet;
      return {...before, generations: {a: (before.generations['a'] ?? 0) + 1}};
    };
    await Promise.all(Array.from({length: 10}, () => updateFleet(home, key, count)));
    expect(readFleetRecord(home, key)?.generations).toEqual({a: 10});
    expect(readFleetRecords(home).map(record => record.name)).toEqual(['dev']);
  });

  test('are not written when the change gives back what it was given, or throws', async () => {
    await updateFleet(home, key, () => fleet);
    const {ino} = statSync(paths.fleet(key));
    await updateFleet(home, key, record => record);
    const failing = updateFleet(home, key, () => {
      throw new Error('mass prune');
    });
    await expect(failing).rejects.toThrow('mass prune');
    expect(statSync(paths.fleet(key)).ino).toBe(ino);
  });

  test('are removed by a change to undefined', async () => {
    await updateFleet(home, key, () => fleet);
    await updateFleet(home, key, () => undefined);
    expect(readFleetRecords(home)).toEqual([]);
    await removeFleetRecord(home, key);
  });

  test('that are damaged are an error, never an empty fleet', () => {
    writeFileSync(paths.fleet(key), '{"formatVersion":1');
    expect(() => readFleetRecords(home)).toThrow('it is damaged');
  });
});

test('a fleet status comes back as written, and a damaged one is none', async () => {
  const status: FleetStatus = {
    formatVersion: 1,
    name: 'dev',
    namespace: 'a',
    syncedAt: '',
    counts: countsOf([]),
    specialists: [],
  };
  await writeFleetStatus(home, status);
  expect(readFleetStatuses(home)).toEqual([status]);
  writeFileSync(paths.fleetStatus({namespace: 'a', name: 'dev'}), '');
  expect(readFleetStatus(home, {namespace: 'a', name: 'dev'})).toBeUndefined();
});

describe('findController', () => {
  test('answers only for a process that still is the recorded one', async () => {
    const identity = await identify(process.pid);
    if (identity === undefined) throw new Error('not in the process table');
    const record = {formatVersion: 1, identity, version: '0.1.0', build: 'b', startedAt: '2026-01-01T00:00:00.000Z'};
    expect(await findController(home)).toBeUndefined();
    await writeControllerRecord(home, record);
    expect(await findController(home)).toEqual({record, socketPath: `${home}/run/controller.sock`});
    await writeControllerRecord(home, {...record, identity: {...identity, startTime: '1'}});
    expect(await findController(home)).toBeUndefined();
    await removeControllerRecord(home);
    expect(readLaunchRecords(home).records).toEqual([]);
  });
});

describe('events', () => {
  const event = (n: number, more: Partial<FleetEvent> = {}): FleetEvent => ({
    at: new Date(1_000 * n).toISOString(),
    type: 'Normal',
    reason: 'Launched',
    message: `event ${n}`,
    ...more,
  });

  test('are read in order, by time, by specialist, the last so many', async () => {
    await appendEvents(home, [event(1), event(2, {aiId: 'athena-ai'})]);
    await appendEvent(home, event(3, {aiId: 'athena-ai'}));
    const messages = (query: object): readonly string[] => readEvents(home, query).map(found => found.message);
    expect(messages({})).toEqual(['event 1', 'event 2', 'event 3']);
    expect(messages({since: new Date(2_000).toISOString()})).toEqual(['event 2', 'event 3']);
    expect(messages({aiId: 'athena-ai', limit: 1})).toEqual(['event 3']);
    expect(messages({limit: 0})).toEqual([]);
    expect(statSync(paths.events).mode & 0o777).toBe(0o600);
  });

  test('a line that was cut off harms neither its neighbours nor the next one', async () => {
    await appendEvent(home, event(1));
    writeFileSync(paths.events, `${readFileSync(paths.events, 'utf8')}{"at":"20`);
    expect(readEvents(home)).toEqual([event(1)]);
    await appendEvent(home, event(2));
    expect(readEvents(home)).toEqual([event(1), event(2)]);
  });

  test('rotate at five mebibytes, keeping one old file, and losing none', async () => {
    const big = event(1, {message: 'x'.repeat(2 * 1024 * 1024)});
    for (let n = 0; n < 4; n++) await appendEvent(home, big);
    expect(statSync(paths.previousEvents).size).toBeGreaterThan(5 * 1024 * 1024);
    expect(readEvents(home)).toHaveLength(4);
  });

  const tricks: readonly (readonly [string, (path: string, elsewhere: string) => unknown])[] = [
    ['a symbolic link', (path, elsewhere) => symlinkSync(elsewhere, path)],
    ['a hard link', (path, elsewhere) => linkSync(elsewhere, path)],
    ['a dangling link', (path, elsewhere) => symlinkSync(`${elsewhere}-nowhere`, path)],
    ['a folder', path => mkdirSync(path)],
    ['a pipe that nobody reads', path => execFileSync('mkfifo', [path])],
  ];

  test.each(tricks)('%s in their place is moved aside and leads nowhere', async (_what, put) => {
    const elsewhere = `${home}/elsewhere`;
    writeFileSync(elsewhere, 'precious');
    put(paths.events, elsewhere);
    expect(readEvents(home).filter(found => found.reason !== 'FileSetAside')).toEqual([]);
    await Promise.all([appendEvent(home, event(1)), appendEvent(home, event(2))]);
    expect(readEvents(home).map(found => found.reason)).toEqual(['FileSetAside', 'Launched', 'Launched']);
    expect(readdirSync(home).filter(name => name.startsWith('events.jsonl.aside-'))).toHaveLength(1);
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious');
    expect(readdirSync(home)).not.toContain('elsewhere-nowhere');
  });

  test('rotate over a folder that stands in the place of the old file', async () => {
    mkdirSync(paths.previousEvents);
    const big = event(1, {message: 'x'.repeat(6 * 1024 * 1024)});
    await appendEvent(home, big);
    await appendEvent(home, event(2));
    expect(readEvents(home)).toHaveLength(2);
    expect(statSync(paths.events).size).toBeLessThan(1_000);
  });

  test('mend a mode that is open to others', async () => {
    await appendEvent(home, event(1));
    chmodSync(paths.events, 0o644);
    await appendEvent(home, event(2));
    expect(statSync(paths.events).mode & 0o777).toBe(0o600);
  });
});
