/** What is said of a git source. Pure. */
import type {GitSourceReason, GitSourceRecord, GitSourceStatus} from '../api/git-source.js';
import {formatVersion} from '../api/types.js';
import type {Candidate, GitSourceError} from './git-flow.js';

interface Base {
  readonly record: GitSourceRecord;
  readonly previous: GitSourceStatus | undefined;
  /** ISO 8601. */
  readonly now: string;
}

/** A revision is in force. */
export function statusInForce({record, previous, now}: Base, {commit, fleets}: Candidate): GitSourceStatus {
  const reason: GitSourceReason = record.pinned ? 'Pinned' : 'UpToDate';
  return {
    ...head(record, previous, {ready: 'True', reason, now}),
    message: record.pinned ? 'held at this commit until `tekton-ai rollout resume`' : 'the newest revision is in force',
    ...{revision: commit.id, subject: commit.subject, author: commit.author, committedAt: commit.committedAt},
    ...{seen: commit.id, fetchedAt: now, fleets: fleets.map(({namespace, name}) => `${namespace}/${name}`)},
    ...(previous?.lastError && {lastError: previous.lastError}),
  };
}

/** What was found is not, or not wholly, in force: the last good revision stays. */
export function statusFailed(
  {record, previous, now}: Base,
  {reason, message, seen}: Pick<GitSourceError, 'reason' | 'message' | 'seen'>,
): GitSourceStatus {
  const isNew = previous?.reason !== reason || previous.message !== message;
  const lastError = isNew ? {at: now, reason, message} : previous.lastError;
  return {
    ...kept(previous),
    ...head(record, previous, {ready: 'False', reason, now}),
    message,
    ...(seen !== undefined && {seen, fetchedAt: now}),
    ...(lastError && {lastError}),
  };
}

export function statusSuspended({record, previous, now}: Base): GitSourceStatus {
  const ready = previous?.revision === undefined ? 'Unknown' : 'True';
  const isStopped = record.stoppedAt !== undefined && record.suspendedAt === undefined;
  const message = `not followed until ${isStopped ? 'it is applied again, or ' : ''}\`tekton-ai resume\``;
  return {...kept(previous), ...head(record, previous, {ready, reason: 'Suspended', now}), message};
}

/** Equal but for when the remote was last heard. */
export function isSameStatus(a: GitSourceStatus | undefined, b: GitSourceStatus): boolean {
  return a !== undefined && JSON.stringify({...a, fetchedAt: ''}) === JSON.stringify({...b, fetchedAt: ''});
}

function head(
  {name, namespace, requestedAt}: GitSourceRecord,
  previous: GitSourceStatus | undefined,
  {ready, reason, now}: Pick<GitSourceStatus, 'ready' | 'reason'> & {readonly now: string},
) {
  const isSame = previous?.ready === ready && previous.reason === reason;
  const since = isSame ? previous.since : now;
  const seen = requestedAt !== undefined && {requestSeen: requestedAt};
  return {formatVersion, name, namespace, ready, reason, since, ...seen};
}

function kept(previous: GitSourceStatus | undefined): Pick<GitSourceStatus, 'fleets'> & Partial<GitSourceStatus> {
  return previous ?? {fleets: []};
}
