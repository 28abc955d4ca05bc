/** Git sources as the reconciler knows them: their records, and repositories through the `git` program. */
import {join} from 'node:path';
import {TektonError} from '../api/errors.js';
import type {GitSourceRecord} from '../api/git-source.js';
import type {LoadedFleet} from '../api/types.js';
import {shippedExpertise} from '../expertise/catalogue.js';
import type {GitRepository, GitSources, SourceKey} from '../reconciler/ports.js';
import {
  readGitSourceRecord,
  readGitSourceRecords,
  readGitSourceStatus,
  writeGitSourceStatus,
} from '../registry/git-source-records.js';
import {withLock} from '../registry/locks.js';
import {statePaths} from '../registry/paths.js';
import {watchFolder} from '../registry/watch-folder.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** A fetch that somebody else is at may be a long one; then it is looked at again. */
const lockTimeoutFactor = 3;

export function gitSourcesOf(home: string, environment: Environment): GitSources {
  return {
    read: async () => readGitSourceRecords(home),
    watch: changed => watchFolder(statePaths(home).sources, changed),
    readStatus: async key => readGitSourceStatus(home, key),
    writeStatus: status => writeGitSourceStatus(home, status),
    repository: record => openRepository(home, environment, record, {recorded: true}),
    load: (record, commit, folder) =>
      loadRevision({home, environment, overrides: record.overrides}, {record, commit, folder}),
  };
}

type Source = SourceKey & Pick<GitSourceRecord, 'spec'>;

/** Runs `run` while nobody else works on the repository of the source. @throws {LockBusyError} `run` was not called. */
export function withRepositoryLock<T>(
  home: string,
  {name, namespace, spec}: Source,
  run: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const timeoutMs = spec.timeoutSeconds * 1000 * lockTimeoutFactor;
  return withLock(home, `git.${namespace}.${name}`, run, {timeoutMs, ...(signal && {signal})});
}

/** `recorded`: nothing is done, and no folder made, once the source is deleted. */
export async function openRepository(
  home: string,
  environment: Environment,
  source: Source,
  {recorded = false}: {readonly recorded?: boolean} = {},
): Promise<GitRepository> {
  const {name, namespace, spec} = source;
  const {Repository} = await import('../git/repository.js');
  return new Repository({
    folder: statePaths(home).gitFolder({name, namespace}),
    url: spec.url,
    environment,
    timeoutMs: spec.timeoutSeconds * 1000,
    lock: (run, signal) => {
      const runIfThere = async (): ReturnType<typeof run> => {
        if (recorded && !readGitSourceRecord(home, source)) {
          throw new TektonError(`cannot work on git source ${namespace}/${name}: it was deleted`);
        }
        return run();
      };
      return withRepositoryLock(home, source, runIfThere, signal);
    },
  });
}

export interface RevisionToLoad {
  readonly record: SourceKey & Pick<GitSourceRecord, 'spec'>;
  readonly commit: string;
  /** Where it was checked out. */
  readonly folder: string;
}

export interface LoadPlace {
  readonly home: string;
  /** Says where the policy is. */
  readonly environment: Environment;
  /** What fleets may be overridden by. */
  readonly overrides: Environment;
}

/**
 * What a checkout declares, as far as the policy of this moment allows it. Paths are recorded below the link that leads
 * from one revision to the next.
 */
export async function loadRevision(
  {home, environment, overrides}: LoadPlace,
  {record, commit, folder}: RevisionToLoad,
): Promise<readonly LoadedFleet[]> {
  const {loadCheckout} = await import('../spec/load.js');
  const {findPolicy} = await import('../spec/policy.js');
  const {shownGitUrl} = await import('../api/git-address.js');
  const {trustOf} = await import('../api/trust.js');
  const {name, namespace, spec} = record;
  const {file: policyFile, policy} = await findPolicy(environment, home);
  const trust = trustOf(policy, {
    name: `${namespace}/${name}`,
    url: shownGitUrl(spec.url),
    checkout: join(statePaths(home).gitFolder({name, namespace}), 'checkout'),
  });
  return loadCheckout({
    ...{root: folder, trust, policyFile, path: spec.path, revision: commit},
    ...{environment: overrides, shippedExpertise},
  });
}
