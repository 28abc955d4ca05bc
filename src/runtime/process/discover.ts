/** Takes the living workers of a state folder in hand, one for each ai id. */
import {rmSync} from 'node:fs';
import {formatVersion} from '../../api/types.js';
import type {Hello} from '../../protocol/control.js';
import type {Told} from '../../protocol/running.js';
import {toldBy} from '../../registry/launch-records.js';
import type {LaunchRecord} from '../../registry/launch-records.js';
import {endOrphans} from '../../registry/offspring.js';
import {isOwnSocket, statePaths} from '../../registry/paths.js';
import {answersOrAsksForToken} from '../../registry/ping.js';
import type {Discovery, Remains} from '../runtime.js';
import {keepRecord} from './launch.js';
import type {Remember} from './launch.js';
import {look} from './sightings.js';
import type {Sighting} from './sightings.js';
import {ProcessWorker} from './worker.js';

const servingTimeoutMs = 1000;

/** As `Runtime.discover`. What workers that are gone have left running is ended on the way. */
export async function discoverWorkers(home: string, environment: NodeJS.ProcessEnv): Promise<Discovery> {
  const {living, gone, scan} = await look(home, environment);
  const uids = new Set([...living.map(({found}) => found.uid), ...scan.workers.map(({uid}) => uid)]);
  const ended = await endOrphans(scan, uids);
  const chosen: Sighting[] = [];
  const others: Sighting[] = [];
  for (const rivals of byAiId(living.filter(one => !isRetired(one))).values()) {
    const [first, ...rest] = await ranked(rivals);
    if (!first) continue;
    // One that can't be reached at all is of no use, though there be no other.
    if (first.record || helloOf(first)) chosen.push(first);
    else if (first.found.fleet !== undefined) others.push(first);
    others.push(...rest);
  }
  const workers = chosen.map(one => take(home, one));
  const running = new Set(workers.map(({aiId}) => aiId));
  const superfluous = others.map(one => setAside(home, one));
  for (const {aiId, uid, controlPath} of gone) {
    if (isOwnSocket(home, aiId, uid, controlPath)) rmSync(controlPath, {force: true});
  }
  return {
    workers,
    retiring: living.filter(isRetired).map(one => setAside(home, one)),
    remains: gone.filter(({aiId}) => !running.has(aiId)).map(remainsOf),
    ...(superfluous.length > 0 && {superfluous}),
    ...(ended.length > 0 && {ended}),
  };
}

/** It has a successor, serves the connections that it has, and ends by itself. */
function isRetired({answer}: Sighting): boolean {
  return answer.type === 'answers' && answer.hello.retired === true;
}

function byAiId(living: readonly Sighting[]): ReadonlyMap<string, readonly Sighting[]> {
  const groups = new Map<string, Sighting[]>();
  for (const one of living) groups.set(one.found.aiId, [...(groups.get(one.found.aiId) ?? []), one]);
  return groups;
}

/** Of several under one name: first the one that is recorded and answers, else one that serves, else one that answers. */
async function ranked(rivals: readonly Sighting[]): Promise<readonly Sighting[]> {
  if (rivals.length < 2) return rivals;
  const judged = await Promise.all(
    rivals.map(async rival => {
      const answers = rival.answer.type === 'answers';
      const [recorded, serves] = [rival.record !== undefined, await isServing(rival)];
      return {rival, worth: (recorded && answers ? 8 : 0) + (serves ? 4 : 0) + (answers ? 2 : 0) + (recorded ? 1 : 0)};
    }),
  );
  return judged.toSorted((a, b) => b.worth - a.worth || ageOf(a.rival) - ageOf(b.rival)).map(({rival}) => rival);
}

/** By its own socket: a process that is suspended listens, too, in the kernel's eyes. */
async function isServing(rival: Sighting): Promise<boolean> {
  const hello = helloOf(rival);
  if (!hello || rival.ports.length === 0) return false;
  const {aiId, host, port, uid} = hello;
  return answersOrAsksForToken({aiId, host, port, uid}, {timeoutMs: servingTimeoutMs});
}

function ageOf({found}: Sighting): number {
  return Number(found.identity.startTime);
}

function take(home: string, sighting: Sighting): ProcessWorker {
  const {found, record: known, controlPath} = sighting;
  const hello = helloOf(sighting) ?? helloOfRecord(known, sighting);
  const record: LaunchRecord = known
    ? {...known, identity: found.identity, state: 'running'}
    : recordOf(hello, sighting, new Date().toISOString());
  // A record of a worker that doesn't say itself what it runs, and where, would only repeat our guess.
  const guessed = !known && sighting.answer.type !== 'answers';
  return workerOf(home, sighting, {
    hello,
    startedAt: record.startedAt,
    told: toldBy(record, hello),
    logOffset: record.logOffset ?? 0,
    controlPath,
    remember: guessed ? async () => undefined : keepRecord(home, record, known?.state === 'running'),
  });
}

/** Of one that has no future nothing is written down: the name belongs to another. */
function setAside(home: string, sighting: Sighting): ProcessWorker {
  const hello = helloOf(sighting) ?? helloOfRecord(sighting.record, sighting);
  const {controlPath, record} = sighting;
  const startedAt = record?.startedAt ?? new Date().toISOString();
  const remember = async (): Promise<void> => undefined;
  return workerOf(home, sighting, {hello, told: hello, startedAt, logOffset: 0, controlPath, remember});
}

interface Parts {
  readonly hello: Hello;
  readonly startedAt: string;
  readonly logOffset: number;
  readonly controlPath: string;
  readonly told: Told;
  readonly remember: Remember;
}

function workerOf(home: string, {found, answer, otherPaths}: Sighting, parts: Parts): ProcessWorker {
  const {hello, told, startedAt, logOffset, controlPath, remember} = parts;
  return new ProcessWorker({
    home,
    instance: {uid: found.uid, identity: found.identity, startedAt},
    hello,
    told,
    host: hello.host,
    controlPath,
    otherPaths,
    log: {path: statePaths(home).log(found.aiId), offset: logOffset},
    control: answer.type === 'answers' ? answer.control : undefined,
    remember,
  });
}

/** What it says itself, else its record, else what its marks and its listening port say; undefined: none of these. */
function helloOf(sighting: Sighting): Hello | undefined {
  const {answer, record, found, ports} = sighting;
  // A successor that never got its listening socket is of no use.
  if (answer.type === 'answers' && (answer.hello.port > 0 || answer.hello.retired)) return answer.hello;
  if (record) return helloOfRecord(record, sighting);
  return found.fleet !== undefined && ports.length > 0 ? helloOfRecord(undefined, sighting) : undefined;
}

/** What a worker that does not answer would say, as far as is known. Nothing is known of it that it was declared with. */
function helloOfRecord(record: LaunchRecord | undefined, {found, ports}: Sighting): Hello {
  const {aiId, uid, identity, fleet: mark = ''} = found;
  const [namespace = 'default', fleet = ''] = mark.split('/');
  const name = aiId.slice(aiId.indexOf('.') + 1).replace(/-ai$/, '');
  return {
    uid,
    pid: identity.pid,
    aiId,
    name: record?.name ?? name,
    component: record?.component ?? name,
    host: record?.host ?? '127.0.0.1',
    port: record?.port ?? ports[0] ?? 0,
    fleet: record?.fleet ?? fleet,
    namespace: record?.namespace ?? namespace,
    generation: record?.generation ?? 0,
    specHash: record?.specHash ?? '',
    declared: record?.declared ?? {},
    choice: {provider: 'unknown', type: 'offline', model: 'unknown'},
    draining: false,
    usage: {requests: 0, inputTokens: 0, outputTokens: 0},
  };
}

function recordOf(hello: Hello, {found, controlPath}: Sighting, startedAt: string): LaunchRecord {
  const {aiId, name, component, fleet, namespace, host, port, generation, specHash, declared, running} = hello;
  const {uid, identity} = found;
  return {
    ...{formatVersion, aiId, uid, identity, name, component, fleet, namespace, host, port, controlPath},
    ...{generation, specHash, declared, ...(running && {running}), startedAt, state: 'running'},
  };
}

function remainsOf({aiId, name, namespace, fleet, component, port}: LaunchRecord): Remains {
  return {aiId, name, namespace, fleet, component, port, exit: undefined};
}
