/** Who of this state folder lives, by launch records, process table and control sockets together. */
import {setTimeout as sleep} from 'node:timers/promises';
import {askHello} from '../../registry/ask-hello.js';
import type {HelloAnswer} from '../../registry/ask-hello.js';
import {readLaunchRecords} from '../../registry/launch-records.js';
import type {LaunchRecord} from '../../registry/launch-records.js';
import {controlSocketPaths} from '../../registry/paths.js';
import {listeningPorts} from '../../registry/port-holders.js';
import {handlesHangup, isSame, runsAs, scanProcesses, signalVerified} from '../../registry/processes.js';
import type {FoundWorker, ProcessScan} from '../../registry/processes.js';

/** One live worker process, and what is known of it. */
export interface Sighting {
  readonly found: FoundWorker;
  /** Of this very launch. */
  readonly record: LaunchRecord | undefined;
  readonly controlPath: string;
  /** Where else its control socket may be, as long as nobody has answered. */
  readonly otherPaths: readonly string[];
  readonly answer: HelloAnswer;
  /** TCP ports that it listens on; none where the system doesn't tell. */
  readonly ports: readonly number[];
}

export interface Sightings {
  readonly living: readonly Sighting[];
  /** Records of launches that run no more. */
  readonly gone: readonly LaunchRecord[];
  readonly scan: ProcessScan;
}

const helloTimeoutMs = 1000;
/** One whose record is lost can be known by its own word alone: it is waited for longer. */
const strayTimeoutMs = 3000;
/** Until a worker that was told to has opened its control socket again. */
const reopenMs = 1000;
/** A handover whose controller is gone is called off, or comes to its end, within this time. */
const handoverMs = 10_000;

/**
 * Looks at everybody. Where a handover is under way, waits until it is known which of the two listens.
 *
 * @throws {TektonError} when records can't be read
 */
export async function look(home: string, environment: NodeJS.ProcessEnv): Promise<Sightings> {
  const deadline = performance.now() + handoverMs;
  for (;;) {
    const sightings = await lookOnce(home, environment);
    const underWay = sightings.living.some(
      ({answer}) => answer.type === 'answers' && (answer.hello.replacing === true || answer.hello.port === 0),
    );
    if (!underWay || performance.now() > deadline) return sightings;
    for (const {answer} of sightings.living) if (answer.type === 'answers') answer.control.close();
    await sleep(100);
  }
}

async function lookOnce(home: string, environment: NodeJS.ProcessEnv): Promise<Sightings> {
  const {records} = readLaunchRecords(home);
  const scan = await scanProcesses(home);
  const byUid = new Map(scan.workers.map(worker => [worker.uid, worker]));
  const gone: LaunchRecord[] = [];
  const recorded = records.map(async record => {
    const found = await provenOf(record, byUid.get(record.uid));
    if (!found) gone.push(record);
    return found && sight(found, record, [record.controlPath]);
  });
  const known = new Set(records.map(({uid}) => uid));
  const strays = scan.workers
    .filter(({uid}) => !known.has(uid))
    .map(found => sightStray(found, controlSocketPaths(home, found.aiId, found.uid, environment)));
  const living = (await Promise.all([...recorded, ...strays])).filter(one => one !== undefined);
  return {living, gone, scan};
}

/** The process of a record, if it lives and is the one: what a record says of a pid was true when it was written. */
async function provenOf(record: LaunchRecord, found: FoundWorker | undefined): Promise<FoundWorker | undefined> {
  const {aiId, uid, namespace, fleet} = record;
  // An intent has no pid yet, and a record may name the wrong one; the uid in the process's arguments tells who it is.
  for (const identity of [record.identity, found?.identity]) {
    if (!identity || !(await isSame(identity)) || runsAs(identity.pid, uid) === false) continue;
    return {aiId, uid, identity, fleet: `${namespace}/${fleet}`};
  }
  return undefined;
}

/** Undefined where it is gone by now: a successor that was called off while we asked around, say. */
async function sightStray(found: FoundWorker, controlPaths: readonly string[]): Promise<Sighting | undefined> {
  const one = await sight(found, undefined, controlPaths);
  return one.answer.type === 'answers' || (await isSame(found.identity)) ? one : undefined;
}

async function sight(
  found: FoundWorker,
  record: LaunchRecord | undefined,
  controlPaths: readonly string[],
): Promise<Sighting> {
  const timeoutMs = record ? helloTimeoutMs : strayTimeoutMs;
  const [usual = '', ...others] = controlPaths;
  const seen = async (controlPath: string, answer: HelloAnswer): Promise<Sighting> => {
    const listens = answer.type === 'answers' && !answer.hello.retired && answer.hello.port > 0;
    const said = listens ? [answer.hello.port] : undefined;
    const ports = said ?? (await listeningPorts(found.identity.pid));
    return {found, record, controlPath, otherPaths: answer.type === 'answers' ? [] : others, answer, ports};
  };
  const answers: HelloAnswer[] = [];
  for (const path of controlPaths) {
    const answer = await askHello(path, found.uid, timeoutMs);
    if (answer.type === 'answers') return seen(path, answer);
    answers.push(answer);
  }
  if (answers.every(({type}) => type === 'unreachable') && (await askToReopen(found))) {
    const answer = await untilReopened(controlPaths, found.uid);
    if (answer) return seen(answer.path, answer.answer);
  }
  return seen(usual, answers.find(({type}) => type !== 'unreachable') ?? {type: 'unreachable'});
}

/**
 * SIGHUP has a worker open its control socket where somebody has removed it. Only one that handles the signal gets it,
 * as every worker does from when it listens: for any other it would be the end.
 */
export async function askToReopen({identity}: Pick<FoundWorker, 'identity'>): Promise<boolean> {
  return handlesHangup(identity.pid) && (await signalVerified(identity, 'SIGHUP'));
}

async function untilReopened(
  paths: readonly string[],
  uid: string,
): Promise<{path: string; answer: HelloAnswer} | undefined> {
  const deadline = performance.now() + reopenMs;
  while (performance.now() < deadline) {
    await sleep(20);
    for (const path of paths) {
      const answer = await askHello(path, uid, helloTimeoutMs);
      if (answer.type === 'answers') return {path, answer};
    }
  }
  return undefined;
}
