/** From what a git source follows to declarations that may be taken over. The same for commands and the controller. */
import {describeError, exitCodes, InvalidInputError, PolicyViolationError, TektonError} from '../api/errors.js';
import type {ExitCode, Problem} from '../api/errors.js';
import type {GitRef, GitSourceReason, GitSourceRecord} from '../api/git-source.js';
import type {LoadedFleet} from '../api/types.js';
import type {GitCommit, GitRepository, GitSources, GitTarget} from './ports.js';

/** A revision that is fetched, verified, checked out and valid. Nothing of it is in force yet. */
export interface Candidate {
  readonly commit: GitCommit;
  /** The revision before it is none of its ancestors. */
  readonly forced: boolean;
  readonly fleets: readonly LoadedFleet[];
}

export type GitFailureReason = Exclude<GitSourceReason, 'UpToDate' | 'Suspended' | 'Pinned'>;

/** Why a revision is not taken over; the last good one stays. */
export class GitSourceError extends TektonError {
  override readonly name: string = 'GitSourceError';
  readonly reason: GitFailureReason;
  /** The commit that it is about, where one was found. */
  readonly seen: string | undefined;
  /** Of its documents. */
  readonly problems: readonly Problem[];

  constructor(reason: GitFailureReason, seen: string | undefined, cause: unknown) {
    const hint = cause instanceof TektonError ? cause.hint : undefined;
    super(messageOf(cause), {cause, saysCause: true, exitCode: exitCodeOf(reason), ...(hint !== undefined && {hint})});
    this.reason = reason;
    this.seen = seen;
    this.problems = cause instanceof InvalidInputError ? cause.problems : [];
  }
}

export interface FlowOptions {
  readonly record: GitSourceRecord;
  readonly git: Pick<GitSources, 'load'>;
  readonly repository: GitRepository;
  /** The revision in force. */
  readonly since: string | undefined;
  readonly signal: AbortSignal;
}

/** The ref may move between a look and its fetch so often in a row. */
const attempts = 5;

/** What is to be in force: the pinned commit, or what the ref means at the remote now. @throws {GitSourceError} */
export async function seek({record, repository, signal}: FlowOptions): Promise<GitTarget> {
  if (record.pinned) return {commit: record.pinned.commit};
  return repository
    .look(record.spec.ref, signal)
    .catch((error: unknown) => fail('FetchFailed', undefined, error, signal));
}

/**
 * Fetches, verifies, checks out and loads. Whatever fails changes nothing of what is in force.
 *
 * @throws {GitSourceError} what is wrong with it
 * @throws whatever `signal` was aborted with
 */
export async function bringIn(options: FlowOptions, target: GitTarget): Promise<Candidate> {
  const {record, git, repository, since, signal} = options;
  const {spec, pinned} = record;
  const {fetched, commit, name} = await fetchTarget(options, target);
  // A person who pins a commit has chosen it, whatever came before.
  const forced = fetched.forced && !pinned && since !== undefined;
  if (forced && spec.forcePush === 'refuse') {
    const message = `${short(commit)} does not descend from ${short(since)}, which is in force: the history was rewritten`;
    const hint =
      'if that is meant, set spec.forcePush: accept, or pin a commit with tekton-ai rollout undo --to-revision';
    throw new GitSourceError('ForcePushed', commit, new TektonError(message, {hint}));
  }
  if (spec.verify) {
    await repository
      .verify(commit, name, spec.verify, signal)
      .catch((error: unknown) => fail('VerificationFailed', commit, error, signal));
  }
  const folder = await repository
    .checkout(commit, signal)
    .catch((error: unknown) => fail('FetchFailed', commit, error, signal));
  const fleets = await git.load(record, commit, folder).catch((error: unknown) => {
    const reason = error instanceof PolicyViolationError ? 'PolicyViolation' : 'SourceInvalid';
    return fail(reason, commit, error, signal);
  });
  if (fleets.length === 0) {
    const message = `${spec.path} declares no fleet at ${short(commit)}`;
    throw new GitSourceError('SourceInvalid', commit, new TektonError(message, {hint: 'nothing was stopped for it'}));
  }
  const {forced: _, ...described} = fetched;
  return {commit: described, forced, fleets};
}

async function fetchTarget({record, repository, since, signal}: FlowOptions, first: GitTarget) {
  const ref: GitRef = record.pinned ? {type: 'commit', commit: record.pinned.commit} : record.spec.ref;
  let target = first;
  for (let attempt = 1; ; attempt++) {
    try {
      const fetched = await repository.fetch({...target, ref}, since, signal);
      return {fetched, commit: target.commit, name: target.name};
    } catch (error) {
      if (!hasMoved(error) || attempt === attempts) return fail('FetchFailed', target.commit, error, signal);
      target = await repository
        .look(ref, signal)
        .catch((again: unknown) => fail('FetchFailed', undefined, again, signal));
    }
  }
}

function hasMoved(error: unknown): boolean {
  return error instanceof TektonError && (error as {readonly kind?: unknown}).kind === 'moved';
}

/** An abort passes through as it is: nothing is wrong with the source. */
function fail(reason: GitFailureReason, seen: string | undefined, error: unknown, signal: AbortSignal): never {
  signal.throwIfAborted();
  throw new GitSourceError(reason, seen, error);
}

function messageOf(cause: unknown): string {
  if (!(cause instanceof InvalidInputError)) return describeError(cause);
  return cause.problems.map(p => `${p.file}:${p.line}:${p.column}: ${p.message}`).join('; ');
}

function exitCodeOf(reason: GitFailureReason): ExitCode {
  switch (reason) {
    case 'SourceInvalid':
    case 'PolicyViolation':
      return exitCodes.invalidInput;
    case 'ForcePushed':
    case 'Held':
      return exitCodes.conflict;
    case 'FetchFailed':
    case 'VerificationFailed':
      return exitCodes.failed;
  }
}

/** As people name a commit. */
export function short(commit: string): string {
  return commit.slice(0, 12);
}

export function isSuspended({spec, suspendedAt, stoppedAt}: GitSourceRecord): boolean {
  return spec.suspend || suspendedAt !== undefined || stoppedAt !== undefined;
}
