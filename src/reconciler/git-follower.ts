/**
 * Follows git sources: looks at each remote when it is due or somebody says so, and takes over what is new and good.
 * Level-based: a pass compares what the remote has with what is in force. What was begun and not finished, by this
 * controller or by one that was killed, is finished by the next pass.
 */
import {describeError, TektonError} from '../api/errors.js';
import type {GitSourceReason, GitSourceRecord, GitSourceStatus} from '../api/git-source.js';
import type {LoadedFleet} from '../api/types.js';
import type {EventLog} from './events.js';
import {MassPruneError, recordId} from './desired.js';
import {fleetOrder} from './fleet-dependencies.js';
import {fleetId} from './fleets.js';
import type {Fleet, Fleets, SourceProblem} from './fleets.js';
import {bringIn, GitSourceError, isSuspended, seek, short} from './git-flow.js';
import type {Candidate, FlowOptions} from './git-flow.js';
import {isSameStatus, statusFailed, statusInForce, statusSuspended} from './git-status.js';
import type {GitRepository, GitSources, Ports, SourceKey} from './ports.js';
import {KeyedQueue} from './queue.js';

export interface GitFollowerOptions {
  readonly ports: Ports;
  readonly git: GitSources;
  readonly fleets: Fleets;
  readonly events: EventLog;
  /** Called with all records whenever they were read. */
  readonly read?: (records: readonly GitSourceRecord[]) => void;
}

interface Followed {
  record: GitSourceRecord;
  status: GitSourceStatus | undefined;
  repository: GitRepository | undefined;
  /** Look at everything though the remote has nothing new: we have just come, or somebody asked. */
  isFull: boolean;
  failures: number;
  /** What is wrong with a commit. A person may mend it here: it is judged anew later, less and less often. */
  verdict: {readonly error: GitSourceError; readonly untilMs: number} | undefined;
  /** Monotonic ms at which its status was written. */
  writtenAt: number;
}

/** Repositories that are worked on at once. */
const parallel = 4;
/** A remote that fails is left alone for at most so long, ms, or for its interval where that is longer. */
const longestPauseMs = 300_000;
const retryMs = 2000;
/** Checkouts that are kept beside the one in force: to go back to them without a fetch. */
const keptRevisions = 3;
/** That the remote was heard, and nothing else, is written this often, ms. */
const heardMs = 60_000;

/** `appliedAt` of every fleet's record, by fleet, as they stood before the remote was asked. */
type Stood = ReadonlyMap<string, string>;

interface Taking {
  readonly commit: Candidate['commit'];
  readonly stood: Stood;
  /** Makes recorded paths lead to the commit's files. */
  readonly prepare: () => Promise<void>;
  readonly expiresAt: string | undefined;
}

export class GitFollower {
  readonly #options: GitFollowerOptions;
  readonly #sources = new Map<string, Followed>();
  readonly #queue: KeyedQueue;
  readonly #abort = new AbortController();
  #reading: Promise<void> = Promise.resolve();
  #unwatch: (() => void) | undefined;
  #cancelRead: (() => void) | undefined;

  constructor(options: GitFollowerOptions) {
    const {clock, log} = options.ports;
    this.#options = options;
    this.#queue = new KeyedQueue({
      clock,
      parallel,
      work: id => this.#pass(id),
      failed: (id, error) => {
        if (!this.#abort.signal.aborted) {
          log.warn({gitSource: id, error: describeError(error)}, 'cannot follow a git source');
        }
        return retryMs;
      },
    });
  }

  /** Begins; resolves when it knows what to follow, and waits for no remote. Never rejects. */
  async start(): Promise<void> {
    this.#unwatch = this.#options.git.watch(() => void this.read());
    await this.read();
  }

  /** Reads the records: one that is new or another than before is looked at now. Never rejects. */
  read(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#readOnce());
    return this.#reading;
  }

  /** What was held of `<namespace>/<name>` may go now. */
  again(id: string): void {
    const source = this.#sources.get(id);
    if (!source) return;
    source.isFull = true;
    this.#queue.add(id);
  }

  /** Somebody says that the remote of `<namespace>/<name>` has something new. */
  pushed(id: string): void {
    if (this.#sources.has(id)) this.#queue.add(id);
  }

  async close(): Promise<void> {
    this.#abort.abort();
    this.#cancelRead?.();
    this.#unwatch?.();
    await this.#queue.close();
    await this.#reading;
  }

  async #readOnce(): Promise<void> {
    const {git, ports} = this.#options;
    this.#cancelRead?.();
    if (this.#abort.signal.aborted) return;
    try {
      const records = await git.read();
      const ids = new Set(records.map(recordId));
      for (const id of this.#sources.keys()) if (!ids.has(id)) this.#sources.delete(id);
      for (const record of records) await this.#take(record);
      this.#options.read?.(records);
    } catch (error) {
      ports.log.warn({error: describeError(error)}, 'cannot read the git sources');
      this.#cancelRead = ports.clock.after(retryMs, () => void this.read());
    }
  }

  async #take(record: GitSourceRecord): Promise<void> {
    const id = recordId(record);
    const known = this.#sources.get(id);
    if (known && JSON.stringify(known.record) === JSON.stringify(record)) return;
    if (known) {
      Object.assign(known, {record, repository: undefined, isFull: true});
    } else {
      const status = await this.#options.git.readStatus(record);
      this.#sources.set(id, {
        ...{record, status, repository: undefined, isFull: true},
        ...{failures: 0, verdict: undefined, writtenAt: -Infinity},
      });
    }
    this.#queue.add(id);
  }

  /** @returns ms until the next look */
  async #pass(id: string): Promise<number | undefined> {
    const source = this.#sources.get(id);
    if (!source || this.#abort.signal.aborted) return undefined;
    const {record} = source;
    // A command may have put a revision in force since we last looked.
    source.status = (await this.#options.git.readStatus(record)) ?? source.status;
    if (isSuspended(record)) {
      await this.#say(source, statusSuspended(this.#base(source, record)));
      return undefined;
    }
    const {isFull} = source;
    source.isFull = false;
    try {
      const problem = await this.#sync(source, record, isFull);
      if (!(await this.#isKnown(record))) return undefined;
      this.#judge(source, problem);
      if (problem) await this.#failed(source, record, problem);
    } catch (error) {
      source.isFull = true;
      throw error;
    }
    return this.#pauseMs(source);
  }

  /**
   * `record` is the one that the pass began with: a command may put another in its place meanwhile, for the next pass.
   *
   * @returns what keeps the newest revision from being wholly in force
   */
  async #sync(source: Followed, record: GitSourceRecord, isFull: boolean): Promise<GitSourceError | undefined> {
    const {git, fleets} = this.#options;
    const {status} = source;
    const stood: Stood = new Map([...fleets.all].map(([id, fleet]) => [id, fleet.record.appliedAt]));
    try {
      const repository = source.repository ?? (await git.repository(record));
      if (source.record === record) source.repository = repository;
      const flow: FlowOptions = {record, git, repository, since: status?.revision, signal: this.#abort.signal};
      const target = await seek(flow);
      const reason = record.pinned ? 'Pinned' : 'UpToDate';
      if (!isFull && status?.reason === reason && status.revision === target.commit) {
        await this.#heard(source, status);
        return undefined;
      }
      const {verdict} = source;
      const isJudged = verdict?.error.seen === target.commit && this.#now() < verdict.untilMs;
      if (!isFull && isJudged) return verdict.error;
      try {
        const candidate = await bringIn(flow, target);
        return await this.#putInForce(source, {record, repository, stood}, candidate);
      } finally {
        await this.#prune(record, repository);
      }
    } catch (error) {
      if (error instanceof GitSourceError) return error;
      throw error;
    }
  }

  #judge(source: Followed, problem: GitSourceError | undefined): void {
    const {verdict, record} = source;
    if (problem && problem === verdict?.error) return;
    const isOfCommit = problem !== undefined && problem.reason !== 'Held' && problem.reason !== 'FetchFailed';
    const isNew = isOfCommit && problem.seen !== verdict?.error.seen;
    source.failures = !problem || problem.reason === 'Held' ? 0 : isNew ? 1 : source.failures + 1;
    const untilMs = this.#now() + backoffMs(record, source.failures);
    source.verdict = isOfCommit ? {error: problem, untilMs} : undefined;
  }

  /**
   * The files first, then the fleets, the status last: what reads its files anew finds those that its declaration was
   * made of, and as long as the status doesn't say so all of it is done again. While all of them are held, the files stay.
   */
  async #putInForce(
    source: Followed,
    {
      record,
      repository,
      stood,
    }: {
      readonly record: GitSourceRecord;
      readonly repository: GitRepository;
      readonly stood: Stood;
    },
    candidate: Candidate,
  ): Promise<GitSourceError | undefined> {
    const {events} = this.#options;
    const {commit} = candidate;
    const {expiresAt} = record;
    const before = source.status;
    if (!(await this.#isKnown(record))) return undefined;
    let isSwitched = false;
    const prepare = async (): Promise<void> => {
      if (!isSwitched) await repository.switchTo(commit.id);
      isSwitched = true;
    };
    const held: string[] = [];
    // In the order in which they wait for each other, as a command records them.
    for (const loaded of fleetOrder(candidate.fleets)) {
      const result = await this.#takeOver(record, loaded, {commit, stood, prepare, expiresAt});
      if (result === 'outdated') {
        // A command put another commit in force since we asked, a newer one perhaps: the remote is asked again.
        this.again(recordId(record));
        return undefined;
      }
      held.push(...result);
    }
    this.#noticeUndeclared(record, candidate);
    const isNothing = held.length === candidate.fleets.length;
    if (!isNothing) await prepare();
    else if (isSwitched && before?.revision !== undefined) await repository.switchTo(before.revision);
    if (!isNothing && before?.revision !== commit.id) this.#tellRevision(record, before, candidate);
    const inForce = statusInForce(this.#base(source, record), candidate);
    if (held.length > 0) {
      // Some of it is in force, and the verdict of before stands until what is wrong now is said.
      if (!isNothing) source.status = {...inForce, ...verdictOf(before)};
      return new GitSourceError('Held', commit.id, new TektonError(held.join('; ')));
    }
    if (before?.ready === 'False') events.ofSource(record, 'Normal', 'SourceRecovered', 'the git source is good again');
    await this.#say(source, inForce);
    return undefined;
  }

  /** Also of what failed: a branch that stays broken gets new commits all the same. */
  async #prune(record: GitSourceRecord, repository: GitRepository): Promise<void> {
    if (this.#abort.signal.aborted || !(await this.#isKnown(record))) return;
    await repository.prune(keptRevisions).catch((error: unknown) => {
      const fields = {gitSource: recordId(record), error: describeError(error)};
      this.#options.ports.log.debug(fields, 'cannot prune checkouts');
    });
  }

  #tellRevision(record: GitSourceRecord, before: GitSourceStatus | undefined, {commit, forced}: Candidate): void {
    const {events} = this.#options;
    if (forced) {
      const message = `${short(commit.id)} does not descend from ${short(before?.revision ?? '')}; it was accepted`;
      events.ofSource(record, 'Warning', 'ForcePushed', message);
    }
    events.ofSource(record, 'Normal', 'RevisionApplied', `${short(commit.id)} ${commit.subject}`, commit.id);
  }

  /** @returns why it is held, if it is; `outdated`: the candidate may be older than what is in force */
  async #takeOver(
    record: GitSourceRecord,
    loaded: LoadedFleet,
    candidate: Taking,
  ): Promise<readonly string[] | 'outdated'> {
    const {fleets} = this.#options;
    const key = {namespace: loaded.namespace, fleet: loaded.name};
    try {
      const held = await this.#takeOverOf(key, loaded, candidate);
      if (held === 'outdated') return held;
      return held === undefined ? [] : [`fleet ${fleetId(key)}: ${held}`];
    } catch (error) {
      const message = describeError(error);
      const reason = error instanceof MassPruneError ? 'MassPruneHeld' : 'SourceUnavailable';
      // A fleet of another source's is not ours to speak of.
      const fleet = this.#fleetsOf(record).find(one => fleetId(one.key) === fleetId(key));
      if (fleet) fleets.setProblem(fleet, {reason, message});
      return [`fleet ${fleetId(key)}: ${message}`];
    }
  }

  async #takeOverOf(
    key: Fleet['key'],
    loaded: LoadedFleet,
    {commit, stood, ...taking}: Taking,
  ): Promise<string | undefined> {
    const {fleets} = this.#options;
    const id = fleetId(key);
    const since = stood.get(id);
    const what = `took over ${short(commit.id)}: ${commit.subject}`;
    const result = await fleets.takeOver({key, loaded, since, what, ...taking});
    if (result === 'unwanted') return undefined;
    if (result === 'held') return fleets.all.get(id)?.sourceError?.message ?? 'it has to wait';
    if (result === 'refused') return refusedText(fleets.all.get(id));
    if (result === 'outdated') {
      await fleets.load();
      // A record that stands there unseen would be outdated for ever.
      return fleets.all.get(id)?.record.appliedAt === since ? 'its record cannot be followed' : 'outdated';
    }
    const fleet = fleets.all.get(id);
    if (fleet) fleets.setProblem(fleet, undefined, commit.id);
    return undefined;
  }

  /** A fleet that the repository has no longer stays: that may be a mistake, and somebody has to say that it is none. */
  #noticeUndeclared(record: GitSourceRecord, candidate: Candidate): void {
    const declared = new Set(candidate.fleets.map(recordId));
    for (const fleet of this.#fleetsOf(record)) {
      if (declared.has(fleetId(fleet.key)) || fleet.record.stopped) continue;
      const {namespace, fleet: name} = fleet.key;
      const scope = namespace === 'default' ? `--fleet ${name}` : `-n ${namespace} --fleet ${name}`;
      const message =
        `${record.spec.path} of git source ${recordId(record)} no longer declares the fleet; nothing was stopped. ` +
        `Stop it with tekton-ai down ${scope}, or put its declaration back`;
      const isNew = this.#options.fleets.setProblem(fleet, {reason: 'SourceUnavailable', message});
      if (isNew) this.#options.events.add({type: 'Warning', reason: 'SourceUnavailable', message, key: fleet.key});
    }
  }

  #fleetsOf(record: GitSourceRecord): readonly Fleet[] {
    const id = recordId(record);
    return [...this.#options.fleets.all.values()].filter(
      ({record: {source}}) => source.type === 'git' && source.source === id,
    );
  }

  /** Says it once, however often it happens. */
  async #failed(source: Followed, record: GitSourceRecord, error: GitSourceError): Promise<void> {
    const {fleets, events} = this.#options;
    const {status: before} = source;
    if (before?.reason !== error.reason || before.message !== error.message) {
      const hint = error.hint === undefined ? '' : `; ${error.hint}`;
      events.ofSource(record, 'Warning', error.reason, `${error.message}${hint}`, error.seen);
    }
    const {reason} = error;
    if (isFleetReason(reason)) {
      const message = `git source ${recordId(record)}: ${error.message}`;
      for (const fleet of this.#fleetsOf(record)) fleets.setProblem(fleet, {reason, message});
    }
    await this.#say(source, statusFailed(this.#base(source, record), error));
  }

  /** By the records as they are now: it may have been deleted since the pass began. */
  async #isKnown(record: SourceKey): Promise<boolean> {
    const id = recordId(record);
    return this.#options.git.read().then(
      records => records.some(one => recordId(one) === id),
      () => true, // what can't be read is not gone
    );
  }

  async #say(source: Followed, status: GitSourceStatus): Promise<void> {
    const {git, ports} = this.#options;
    if (isSameStatus(source.status, status) && source.writtenAt > -Infinity) return;
    if (!(await this.#isKnown(status))) return;
    source.status = status;
    source.writtenAt = ports.clock.monotonic();
    await git.writeStatus(status);
  }

  async #heard(source: Followed, status: GitSourceStatus): Promise<void> {
    const {git, ports} = this.#options;
    const now = ports.clock.monotonic();
    if (now - source.writtenAt < heardMs || !(await this.#isKnown(status))) return;
    source.writtenAt = now;
    source.status = {...status, fetchedAt: ports.clock.iso()};
    await git.writeStatus(source.status);
  }

  #base({status}: Followed, record: GitSourceRecord) {
    return {record, previous: status, now: this.#options.ports.clock.iso()};
  }

  #now(): number {
    return this.#options.ports.clock.monotonic();
  }

  /** A remote that answers is asked as ever: what is pushed next may mend it. Sources of one interval don't go in step. */
  #pauseMs({record, failures, verdict}: Followed): number {
    const pauseMs = verdict ? record.spec.intervalSeconds * 1000 : backoffMs(record, failures);
    return Math.round(pauseMs * (0.95 + this.#options.ports.random() / 10));
  }
}

/** Doubled by every failure in a row. */
function backoffMs({spec}: GitSourceRecord, failures: number): number {
  const intervalMs = spec.intervalSeconds * 1000;
  const longest = Math.max(intervalMs, longestPauseMs);
  return Math.min(longest, intervalMs * 2 ** Math.max(0, Math.min(failures - 1, 20)));
}

/** It was rolled back, and the revision says of it what was rolled back. */
function refusedText(fleet: Fleet | undefined): string {
  return fleet?.record.gate?.refused?.message ?? 'it was rolled back';
}

/** Of what no status was written yet, nothing was said. */
function verdictOf(
  before: GitSourceStatus | undefined,
): Pick<GitSourceStatus, 'ready' | 'reason' | 'since' | 'message'> {
  const {ready = 'Unknown', reason = 'UpToDate', since = '', message = ''} = before ?? {};
  return {ready, reason, since, message};
}

function isFleetReason(reason: GitSourceReason): reason is Extract<GitSourceReason, SourceProblem['reason']> {
  return ['FetchFailed', 'ForcePushed', 'VerificationFailed', 'SourceInvalid', 'PolicyViolation'].includes(reason);
}
