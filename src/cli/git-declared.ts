/** A git source that a command was given: fetched and checked before anything is changed, then put in force. */
import {resolve} from 'node:path';
import {exitCodes, InvalidInputError, TektonError} from '../api/errors.js';
import {gitCredentialsHint, gitNameProblem, gitUrlProblem, shownGitUrl} from '../api/git-address.js';
import type {GitSourceRecord, GitSourceStatus} from '../api/git-source.js';
import {isDnsLabel} from '../api/names.js';
import {formatVersion} from '../api/types.js';
import type {FleetEvent, LoadedFleet} from '../api/types.js';
import {version} from '../api/version.js';
import {recordId} from '../reconciler/desired.js';
import {bringIn, GitSourceError, isSuspended, seek, short} from '../reconciler/git-flow.js';
import type {Candidate} from '../reconciler/git-flow.js';
import {statusInForce} from '../reconciler/git-status.js';
import type {GitRepository} from '../reconciler/ports.js';
import {appendEvents} from '../registry/events.js';
import {
  readGitSourceRecord,
  readGitSourceStatus,
  updateGitSource,
  writeGitSourceStatus,
} from '../registry/git-source-records.js';
import {ensureStateHome} from '../registry/home.js';
import {gitSourceDefaults, pathProblem} from '../spec/git-source.js';
import type {DeclaredGitSource} from '../spec/git-source.js';
import type {CommandContext} from './context.js';
import {loadRevision, openRepository} from './git-sources.js';
import type {GitFlags} from './options.js';
import {writeLine} from './output.js';

/** What `--git` and its companions declare. @throws {TektonError} (exit code 4) */
export function sourceOfFlags(flags: GitFlags, {cwd, namespace}: {cwd: string; namespace: string}): DeclaredGitSource {
  const url = /^\.{0,2}\//.test(flags.url) ? `file://${resolve(cwd, flags.url)}` : flags.url;
  const {branch, path = gitSourceDefaults.path, intervalSeconds = gitSourceDefaults.intervalSeconds} = flags;
  const refuse = (message: string, hint?: string): never => {
    throw new TektonError(message, {exitCode: exitCodes.invalidInput, ...(hint !== undefined && {hint})});
  };
  const urlProblem = gitUrlProblem(url);
  if (urlProblem !== undefined) refuse(`cannot follow --git: ${urlProblem}`, gitCredentialsHint);
  const branchProblem = branch === undefined ? undefined : gitNameProblem(branch);
  if (branchProblem !== undefined) refuse(`cannot follow --branch: ${branchProblem}`);
  if (pathProblem(path) !== undefined) refuse('cannot follow --path: it must lie in the repository, without `..`');
  const name = flags.name ?? nameOf(url);
  if (!isDnsLabel(name)) refuse(`"${name}" cannot be a name: it has to be a DNS label`, 'give one with --name');
  const {timeoutSeconds, suspend, forcePush} = gitSourceDefaults;
  return {
    name,
    namespace,
    spec: {
      ...{url, path, intervalSeconds, timeoutSeconds, suspend, forcePush},
      ref: branch === undefined ? {type: 'default'} : {type: 'branch', name: branch},
    },
  };
}

/** The last part of the address, as git itself names a clone. */
function nameOf(url: string): string {
  const last =
    url
      .replace(/\/+$/, '')
      .replace(/\.git$/, '')
      .split(/[/:]/)
      .at(-1) ?? '';
  return last
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 63);
}

/** Nothing of it is recorded yet. */
export interface PreparedSource {
  readonly declared: DeclaredGitSource;
  readonly repository: GitRepository;
  readonly previous: GitSourceStatus | undefined;
  /** Absent while it is suspended. */
  readonly candidate: Candidate | undefined;
}

/**
 * Fetches, verifies, checks out and loads what the source means now.
 *
 * @throws {GitSourceError} with the exit code of what is wrong
 * @throws {InvalidInputError} with every problem in the repository's documents
 */
export async function prepareSource(context: CommandContext, declared: DeclaredGitSource): Promise<PreparedSource> {
  const {home, environment, signal} = context;
  for (const warning of await ensureStateHome(home)) await writeLine(context.stderr, `warning: ${warning}`);
  const recorded = readGitSourceRecord(home, declared);
  const previous = readGitSourceStatus(home, declared);
  const repository = await openRepository(home, environment, declared);
  const record = recordOf(declared, recorded, {overrides: {}});
  if (isSuspended(record)) return {declared, repository, previous, candidate: undefined};
  const git = {
    load: (_: unknown, commit: string, folder: string) =>
      loadRevision({home, environment, overrides: environment}, {record: declared, commit, folder}),
  };
  const flow = {record, git, repository, since: previous?.revision, signal};
  try {
    return {declared, repository, previous, candidate: await bringIn(flow, await seek(flow))};
  } catch (error) {
    if (error instanceof GitSourceError && error.cause instanceof InvalidInputError) throw error.cause;
    throw error instanceof GitSourceError ? inWords(error, declared) : error;
  }
}

function inWords(error: GitSourceError, {name, namespace, spec}: DeclaredGitSource): TektonError {
  const {exitCode, hint} = error;
  return new TektonError(`cannot follow git source ${namespace}/${name} (${shownGitUrl(spec.url)}): ${error.message}`, {
    exitCode,
    ...(hint !== undefined && {hint}),
  });
}

/** The source is recorded, and paths lead to the new files. To be called before its fleets are recorded. */
export async function recordSource(
  {home}: CommandContext,
  prepared: PreparedSource,
  expiresAt?: string | null,
): Promise<void> {
  const {declared, candidate, repository} = prepared;
  // Of several fleets each records the values of its own variables.
  const all = candidate?.fleets.map(fleet => fleet.overrides) ?? [];
  const overrides = all.length === 0 ? undefined : (Object.assign({}, ...all) as Record<string, string>); // what these are
  await updateGitSource(home, declared, before =>
    recordOf(declared, before, {overrides: overrides ?? before?.overrides ?? {}, expiresAt}),
  );
  if (candidate) await repository.switchTo(candidate.commit.id);
}

/** To be called when its fleets are recorded. */
export async function tellSource(context: CommandContext, prepared: PreparedSource): Promise<void> {
  const {home} = context;
  const {declared, candidate, previous} = prepared;
  const id = recordId(declared);
  if (!candidate) return writeLine(context.stderr, `git source ${id} is suspended: nothing of it was applied`);
  const record = readGitSourceRecord(home, declared);
  if (!record) return;
  const {id: commit, subject} = candidate.commit;
  const now = new Date().toISOString();
  await writeLine(context.stderr, `git source ${id} is at ${short(commit)} ${subject}`);
  await writeGitSourceStatus(home, statusInForce({record, previous, now}, candidate));
  if (previous?.revision === commit) return;
  const about = {at: now, namespace: declared.namespace, gitSource: id};
  const warning: FleetEvent = {
    ...{...about, type: 'Warning', reason: 'ForcePushed'},
    message: `${short(commit)} does not descend from ${short(previous?.revision ?? '')}; it was accepted`,
  };
  const applied: FleetEvent = {
    ...{...about, type: 'Normal', reason: 'RevisionApplied'},
    message: `${short(commit)} ${subject}`,
  };
  await appendEvents(home, candidate.forced ? [warning, applied] : [applied]);
}

/** What a person said by other verbs stays; that it was stopped does not. `expiresAt` as in `nextRecord`. */
function recordOf(
  {name, namespace, spec}: DeclaredGitSource,
  before: GitSourceRecord | undefined,
  {
    overrides,
    expiresAt,
  }: {readonly overrides: GitSourceRecord['overrides']; readonly expiresAt?: string | null | undefined},
): GitSourceRecord {
  const {suspendedAt, pinned, requestedAt} = before ?? {};
  const until = expiresAt === undefined && before?.stoppedAt === undefined ? before?.expiresAt : expiresAt;
  const appliedAt = new Date().toISOString();
  return {
    ...{formatVersion, version, name, namespace, spec, appliedAt, overrides},
    ...(suspendedAt !== undefined && {suspendedAt}),
    ...(until && {expiresAt: until}),
    ...(pinned && {pinned}),
    ...(requestedAt !== undefined && {requestedAt}),
  };
}

/** Fleets of these, for what only looks. */
export function fleetsOf(prepared: readonly PreparedSource[]): readonly LoadedFleet[] {
  return prepared.flatMap(({candidate}) => candidate?.fleets ?? []);
}
