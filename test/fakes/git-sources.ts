/** Git sources in a test's hand: a remote whose commits are lists of fleets. */
import type {GitRef, GitSourceRecord, GitSourceSpec, GitSourceStatus} from '../../src/api/git-source.js';
import {formatVersion} from '../../src/api/types.js';
import type {LoadedFleet} from '../../src/api/types.js';
import {recordId} from '../../src/reconciler/desired.js';
import type {GitCommit, GitRepository, GitSources, GitTarget, SourceKey} from '../../src/reconciler/ports.js';

export const platform: SourceKey = {namespace: 'default', name: 'platform'};

interface RemoteCommit extends GitCommit {
  readonly parent: string | undefined;
  readonly content: readonly LoadedFleet[] | Error;
  readonly isSigned: boolean;
}

/** What is on the remote, and what was asked of it. */
export class FakeRemote {
  readonly commits = new Map<string, RemoteCommit>();
  head: string | undefined;
  /** Set: every look fails with it. */
  failure: Error | undefined;
  /** Set: every fetch waits for it. */
  gate: Promise<void> | undefined;
  looks = 0;
  fetches = 0;
  #count = 0;

  /** A push; `onto`: of another commit than the newest. */
  push(
    content: readonly LoadedFleet[] | Error,
    {
      subject = 'a change',
      onto = this.head,
      isSigned = true,
    }: {subject?: string; onto?: string | undefined; isSigned?: boolean} = {},
  ): string {
    const id = String(++this.#count).padStart(40, '0');
    this.commits.set(id, {id, subject, author: 'ada', committedAt: 'then', parent: onto, content, isSigned});
    this.head = id;
    return id;
  }

  isAncestor(old: string, id: string | undefined): boolean {
    if (id === undefined) return false;
    return id === old || this.isAncestor(old, this.commits.get(id)?.parent);
  }
}

/** As a git source of the state folder is kept, in memory. */
export class FakeGitSources implements GitSources {
  readonly remote = new FakeRemote();
  readonly records = new Map<string, GitSourceRecord>();
  readonly statuses = new Map<string, GitSourceStatus>();
  readonly written: GitSourceStatus[] = [];
  current: string | undefined;
  /** Commits that were switched to, in order. */
  readonly switches: string[] = [];
  /** Commits whose files lie here, the newest last. */
  checkouts: readonly string[] = [];
  #changed: (() => void) | undefined;

  /** A command writes the record; whoever watches is told. */
  declare(spec: Partial<GitSourceSpec> = {}, rest: Partial<GitSourceRecord> = {}): void {
    const record: GitSourceRecord = {
      formatVersion,
      version: '1',
      ...platform,
      spec: {
        url: 'https://git.example.com/platform.git',
        ref: {type: 'branch', name: 'main'},
        path: '.',
        intervalSeconds: 30,
        timeoutSeconds: 60,
        suspend: false,
        forcePush: 'accept',
        ...spec,
      },
      appliedAt: 'then',
      overrides: {},
      ...rest,
    };
    this.records.set(recordId(record), record);
    this.#changed?.();
  }

  async read(): Promise<readonly GitSourceRecord[]> {
    return [...this.records.values()];
  }

  watch(changed: () => void): () => void {
    this.#changed = changed;
    return () => (this.#changed = undefined);
  }

  async readStatus(key: SourceKey): Promise<GitSourceStatus | undefined> {
    return this.statuses.get(recordId(key));
  }

  async writeStatus(status: GitSourceStatus): Promise<void> {
    this.written.push(status);
    this.statuses.set(recordId(status), status);
  }

  async repository(): Promise<GitRepository> {
    const {remote} = this;
    const known = (id: string): RemoteCommit => {
      const commit = remote.commits.get(id);
      if (!commit) throw new Error(`no commit ${id}`);
      return commit;
    };
    return {
      look: async (ref: GitRef, signal): Promise<GitTarget> => {
        remote.looks += 1;
        signal.throwIfAborted();
        if (remote.failure) throw remote.failure;
        if (ref.type === 'commit') return {commit: ref.commit};
        if (remote.head === undefined) throw new Error('no such branch');
        return {commit: remote.head, name: 'main'};
      },
      fetch: async ({commit}, since) => {
        remote.fetches += 1;
        await remote.gate;
        if (remote.failure) throw remote.failure;
        const {id, subject, author, committedAt} = known(commit);
        return {id, subject, author, committedAt, forced: since !== undefined && !remote.isAncestor(since, commit)};
      },
      verify: async commit => {
        if (!known(commit).isSigned) throw new Error(`${commit.slice(-4)} is not signed`);
        return {signer: 'ada'};
      },
      checkout: async commit => {
        this.checkouts = [...this.checkouts.filter(one => one !== commit), commit];
        return `/git/revisions/${commit}`;
      },
      switchTo: async commit => {
        this.current = commit;
        this.switches.push(commit);
      },
      prune: async keep => {
        this.checkouts = this.checkouts.filter((one, i, all) => one === this.current || i >= all.length - keep);
      },
    };
  }

  async load(record: GitSourceRecord, commit: string): Promise<readonly LoadedFleet[]> {
    const {content} = this.remote.commits.get(commit) ?? {content: new Error('never pushed')};
    if (content instanceof Error) throw content;
    const {url, path} = record.spec;
    return content.map(fleet => ({
      ...fleet,
      revision: commit,
      source: {type: 'git', source: recordId(record), url, path},
    }));
  }
}
