/** A git repository that is followed: what is at the remote, and what of it lies on our disk. */
import {randomBytes} from 'node:crypto';
import {readlinkSync} from 'node:fs';
import {lstat, mkdir, readdir, rename, rm, symlink, utimes} from 'node:fs/promises';
import {basename, join} from 'node:path';
import {gitCredentialsHint, gitNameProblem, gitUrlProblem, isCommitId, shownGitUrl} from '../api/git-address.js';
import type {GitRef, GitVerification} from '../api/git-source.js';
import {suggest} from '../api/suggest.js';
import type {Variables} from '../spec/environment.js';
import {isWholeTree, listTree, writeTree} from './checkout.js';
import {GitRepository, initCopy, isDamage, linkCopy, repackWhenMany, swapFolder} from './copy.js';
import {GitError, localError, remoteError} from './errors.js';
import type {GitFailure} from './errors.js';
import {descent} from './history.js';
import type {Descent} from './history.js';
import {GitProgram} from './program.js';
import {namesBelow, parseRemoteRefs, resolveRef} from './refs.js';
import type {RemoteRefs} from './refs.js';
import {verifySignature} from './verify.js';

export interface RepositoryOptions {
  /** `git/<key>/`, made when missing. */
  readonly folder: string;
  readonly url: string;
  /** Of the user whose credentials are used; what would redirect git is taken out. */
  readonly environment: Variables;
  /** One command of git's may take this long, ms. */
  readonly timeoutMs: number;
  /** Runs `run` while nobody else, in this process or another, works on `folder`. */
  readonly lock: <T>(run: () => Promise<T>, signal: AbortSignal | undefined) => Promise<T>;
}

export interface Commit {
  readonly id: string;
  /** First line of the message. */
  readonly subject: string;
  readonly author: string;
  /** ISO 8601. */
  readonly committedAt: string;
}

/** What a look found. */
export interface Seen {
  readonly commit: string;
  /** The tag or branch that the ref resolved to. */
  readonly name?: string;
  /** Of an annotated tag: the tag itself. */
  readonly object?: string;
}

export interface FetchTarget extends Seen {
  readonly ref: GitRef;
}

/** How far back a later fetch goes, one after the other, until it is clear whether the old revision is an ancestor. */
const depths = [20, 200, 2_000, 0x7fffffff] as const;

export class Repository {
  private readonly git: GitProgram;
  private readonly copy: GitRepository;
  private readonly checkedFolders = new Set<string>();
  private sshCommand: Promise<string | undefined> | undefined;

  /** @throws {GitError} an address that git must not get */
  constructor(private readonly options: RepositoryOptions) {
    const problem = gitUrlProblem(options.url);
    if (problem !== undefined) {
      throw new GitError('refused', `cannot follow the repository: ${problem}`, {hint: gitCredentialsHint});
    }
    this.git = new GitProgram(options);
    this.copy = new GitRepository(join(options.folder, 'repo.git'), this.git);
  }

  /**
   * The commit that `ref` means at the remote now: one `git ls-remote`, which transfers no object. A commit means itself,
   * and nobody is asked.
   *
   * @throws {GitError}
   */
  async look(ref: GitRef, signal: AbortSignal): Promise<Seen> {
    assertRef(ref);
    if (ref.type === 'commit') return {commit: ref.commit};
    const refs = await this.remoteRefs(ref.type, signal);
    const resolved = resolveRef(ref, refs);
    if (resolved === undefined) throw await this.noSuchRef(ref, refs, signal);
    const object = ref.type === 'tag' ? refs.ids.get(`refs/tags/${resolved.name ?? ''}`) : undefined;
    return {...resolved, ...(object !== undefined && object !== resolved.commit && {object})};
  }

  /**
   * Brings the commit here, at first alone, later with as much history as tells whether `since`, the revision in force, is
   * an ancestor of it (`forced`: it is none). What is here already is not fetched again.
   *
   * @throws {GitError} `moved`: the ref means another commit by now; look again
   */
  fetch(
    target: FetchTarget,
    since: string | undefined,
    signal: AbortSignal,
  ): Promise<Commit & {readonly forced: boolean}> {
    assertRef(target.ref);
    assertCommit(target.commit);
    if (since !== undefined) assertCommit(since);
    return this.exclusively(signal, async () => {
      if (this.isHere(target)) {
        const known = await this.descentHere(target.commit, since, signal).catch(passDamage);
        if (known !== undefined && known !== 'unknown') return this.describe(target.commit, known, signal);
      }
      return this.fetchAside(target, since, signal);
    });
  }

  /** @throws {VerificationError} it is not signed as wanted. */
  verify(
    commit: string,
    name: string | undefined,
    verification: GitVerification,
    signal: AbortSignal,
  ): Promise<{readonly signer: string}> {
    assertCommit(commit);
    return this.exclusively(signal, () => verifySignature(this.git, this.copy, {commit, name, verification}, signal));
  }

  /**
   * The folder with the plain files of a commit that was fetched: whole, or not at all. The first time in a process that
   * it is asked for, it is compared with the repository.
   *
   * @returns its absolute path, with no symbolic link of ours in it
   */
  checkout(commit: string, signal: AbortSignal): Promise<string> {
    assertCommit(commit);
    const folder = this.revisionFolder(commit);
    return this.exclusively(signal, async () => {
      if (this.checkedFolders.has(commit) && (await isFolder(folder))) return folder;
      await this.mended(commit, signal, async () => {
        const entries = await listTree(this.git, this.copy.gitDir, commit, signal);
        if ((await isFolder(folder)) && isWholeTree(folder, entries)) return;
        const aside = this.temporary('checkout');
        await writeTree(this.git, this.copy.gitDir, {commit, entries, folder: aside}, signal);
        await mkdir(join(this.options.folder, 'revisions'), {recursive: true, mode: 0o700});
        await swapFolder(aside, folder, this.temporary('old'));
      });
      this.checkedFolders.add(commit);
      return folder;
    });
  }

  /** The link `checkout` points to the folder of this commit from now on: by one rename. */
  switchTo(commit: string): Promise<void> {
    assertCommit(commit);
    return this.exclusively(undefined, async () => {
      const folder = this.revisionFolder(commit);
      if (!(await isFolder(folder))) {
        throw new GitError('failed', `cannot switch to ${commit.slice(0, 12)}: it is not checked out`);
      }
      // `prune` goes by it.
      await utimes(folder, new Date(), new Date());
      const link = this.temporary('link');
      await symlink(join('revisions', commit), link);
      await rename(link, this.link);
    });
  }

  /** The commit that `checkout` points to. */
  async inForce(): Promise<string | undefined> {
    try {
      const commit = basename(readlinkSync(this.link));
      return isCommitId(commit) ? commit : undefined;
    } catch {
      return undefined;
    }
  }

  /** Removes all revisions but the `keep` that were checked out or switched to last, and the one in force. */
  prune(keep: number): Promise<void> {
    return this.exclusively(undefined, async () => {
      const names = (await readdir(join(this.options.folder, 'revisions')).catch(() => [])).filter(isCommitId);
      const times = await Promise.all(
        names.map(async name => ({name, ms: (await lstat(this.revisionFolder(name))).mtimeMs})),
      );
      const newest = times.toSorted((a, b) => b.ms - a.ms).slice(0, keep);
      const kept = new Set([...newest.map(({name}) => name), await this.inForce()]);
      for (const name of names.filter(each => !kept.has(each))) {
        // Out of sight first: what is only half removed is never mistaken for a revision.
        const aside = this.temporary('old');
        await rename(this.revisionFolder(name), aside);
        await rm(aside, {recursive: true, force: true});
        this.checkedFolders.delete(name);
      }
      for (const name of await this.copy.revisions()) if (!kept.has(name)) await this.copy.forget(name);
    });
  }

  /** Files that differ between two commits that are here. */
  changedFiles(from: string, to: string, signal: AbortSignal): Promise<readonly string[]> {
    assertCommit(from);
    assertCommit(to);
    return this.exclusively(signal, async () => {
      const stdout = await this.copy.read(['diff-tree', '-r', '-z', '--name-only', '--no-renames', from, to], signal);
      return stdout.split('\0').filter(name => name !== '');
    });
  }

  private get link(): string {
    return join(this.options.folder, 'checkout');
  }

  private get shownUrl(): string {
    return shownGitUrl(this.options.url);
  }

  private revisionFolder(commit: string): string {
    return join(this.options.folder, 'revisions', commit);
  }

  /** A name that nobody has had: in a folder whose content means nothing once the lock is free. */
  private temporary(purpose: string): string {
    return join(this.options.folder, 'tmp', `${purpose}-${randomBytes(8).toString('hex')}`);
  }

  /** What somebody left who died in the middle is cleared away first, even while a git that he started still writes there. */
  private exclusively<T>(signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
    return this.options.lock(async () => {
      const folder = join(this.options.folder, 'tmp');
      await mkdir(folder, {recursive: true, mode: 0o700});
      try {
        for (const name of await readdir(folder)) await removeQuietly(join(folder, name));
        return await run();
      } finally {
        for (const name of await readdir(folder).catch(() => [])) await removeQuietly(join(folder, name));
      }
    }, signal);
  }

  private isHere({commit, name, object, ref}: FetchTarget): boolean {
    if (!this.copy.isWhole(commit)) return false;
    return ref.type !== 'tag' || (name !== undefined && this.copy.tag(name) === (object ?? commit));
  }

  private async fetchAside(
    target: FetchTarget,
    since: string | undefined,
    signal: AbortSignal,
  ): Promise<Commit & {readonly forced: boolean}> {
    if (this.copy.exists()) {
      const built = await this.fetchBeside(target, since, signal).catch(passOwnFault);
      if (built !== undefined) return built;
    }
    return this.fetchAnew(target, since, signal);
  }

  /** Into a folder that shares what we have. */
  private async fetchBeside(
    target: FetchTarget,
    since: string | undefined,
    signal: AbortSignal,
  ): Promise<Commit & {readonly forced: boolean}> {
    const beside = await linkCopy(this.copy.gitDir, this.temporary('fetch'), this.git).catch((error: unknown) => {
      throw localError(`cannot copy ${this.copy.gitDir}`, String(error));
    });
    // Another length of ids: the remote was made anew in the other format.
    if (since !== undefined && since.length !== target.commit.length) {
      throw localError('cannot fetch', 'another object format');
    }
    return this.fetchInto(beside, target, since, signal);
  }

  private async fetchAnew(
    target: FetchTarget,
    since: string | undefined,
    signal: AbortSignal,
  ): Promise<Commit & {readonly forced: boolean}> {
    const anew = await initCopy(this.temporary('fetch'), target.commit.length, this.git, signal);
    return this.fetchInto(anew, target, since, signal);
  }

  private async fetchInto(
    repository: GitRepository,
    target: FetchTarget,
    since: string | undefined,
    signal: AbortSignal,
  ): Promise<Commit & {readonly forced: boolean}> {
    let found: Descent = 'descends';
    for (const depth of since === undefined || since === target.commit ? [1] : depths) {
      await this.fetchObjects(repository, target, depth, signal);
      if (since === undefined) break;
      found = await descent(repository, since, target.commit, {byDate: depth >= 2_000, signal});
      if (found !== 'unknown') break;
    }
    await repackWhenMany(repository, signal);
    await swapFolder(repository.gitDir, this.copy.gitDir, this.temporary('old'));
    return this.describe(target.commit, found, signal);
  }

  private async fetchObjects(
    repository: GitRepository,
    {commit, name, ref}: FetchTarget,
    depth: number,
    signal: AbortSignal,
  ): Promise<void> {
    const tried = `cannot fetch ${commit.slice(0, 12)} from ${this.shownUrl}`;
    const isTag = ref.type === 'tag' && name !== undefined;
    const wanted = isTag ? `+refs/tags/${name}:refs/tags/${name}` : `+${commit}:refs/revisions/${commit}`;
    const args = [
      'fetch',
      '--quiet',
      '--no-tags',
      '--update-shallow',
      `--depth=${depth}`,
      '--',
      this.options.url,
      wanted,
    ];
    const result = await this.git.run(tried, args, signal, {
      gitDir: repository.gitDir,
      variables: await this.sshVariables(signal),
    });
    if (result.exitCode !== 0) throw fetchError(tried, result.stderr, ref);
    if (!isTag) return;
    // The ref of a commit says that all of it is here; git has just made sure of that.
    const peeled = (
      await repository.read(['rev-parse', '--verify', '--end-of-options', `refs/tags/${name}^{commit}`], signal)
    ).trim();
    if (peeled !== commit) {
      throw new GitError('moved', `${tried}: the tag ${name} means another commit by now`, {
        hint: 'It is looked at again.',
      });
    }
    await repository.read(['update-ref', `refs/revisions/${commit}`, commit], signal);
  }

  private async descentHere(commit: string, since: string | undefined, signal: AbortSignal): Promise<Descent> {
    return since === undefined ? 'descends' : descent(this.copy, since, commit, {byDate: false, signal});
  }

  private async describe(
    commit: string,
    found: Descent,
    signal: AbortSignal,
  ): Promise<Commit & {readonly forced: boolean}> {
    const stdout = await this.copy.read(['log', '-1', '--no-color', '--format=%s%x00%an%x00%cI', commit], signal);
    const [subject = '', author = '', committedAt = ''] = stdout.trimEnd().split('\0').map(printable);
    return {id: commit, subject, author, committedAt, forced: found !== 'descends'};
  }

  /** Runs `run`, and once more on a copy that was made anew if ours turns out to be damaged. */
  private async mended(commit: string, signal: AbortSignal, run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (error) {
      if (!isDamage(error)) throw error;
      await this.fetchAnew({commit, ref: {type: 'commit', commit}}, undefined, signal);
      await run();
    }
  }

  private async remoteRefs(type: 'default' | 'branch' | 'tag', signal: AbortSignal): Promise<RemoteRefs> {
    const tried = `cannot look at ${this.shownUrl}`;
    // The server is asked for no more than one kind of refs; the symbolic HEAD only comes with all of them.
    const kind = {default: ['--symref'], branch: ['--heads'], tag: ['--tags']}[type];
    const only = type === 'default' ? ['HEAD'] : [];
    const result = await this.git.run(tried, ['ls-remote', ...kind, '--', this.options.url, ...only], signal, {
      maxBytes: 256 * 1024 * 1024,
      variables: await this.sshVariables(signal),
    });
    if (result.exitCode !== 0) throw remoteError(tried, result.stderr);
    return parseRemoteRefs(result.stdout);
  }

  private async noSuchRef(
    ref: Exclude<GitRef, {type: 'commit'}>,
    seen: RemoteRefs,
    signal: AbortSignal,
  ): Promise<GitError> {
    const refs = ref.type === 'branch' && seen.ids.size > 0 ? seen : await this.remoteRefs('branch', signal);
    const branches = namesBelow('refs/heads/', refs.ids);
    const tried = `cannot look at ${this.shownUrl}`;
    if (branches.length === 0) {
      return new GitError('no-such-ref', `${tried}: the repository is empty`, {
        hint: 'What is in force stays; push a first commit.',
      });
    }
    if (ref.type === 'default') {
      return new GitError('no-such-ref', `${tried}: its default branch does not exist`, {
        hint: 'Name the branch: spec.branch, or --branch.',
      });
    }
    const names = ref.type === 'branch' ? branches : namesBelow('refs/tags/', seen.ids);
    const wanted = ref.type === 'branch' ? ref.name : ref.pattern;
    const hint = suggest(wanted, names) ?? (names.length === 0 ? 'It has none.' : `It has ${listed(names)}.`);
    return new GitError('no-such-ref', `${tried}: it has no ${ref.type} ${wanted}`, {hint});
  }

  /** ssh asks nobody anything. The user's own command keeps its options, the first of which win. */
  private async sshVariables(signal: AbortSignal): Promise<Variables> {
    if (/^(https?|git|file):/i.test(this.options.url)) return {};
    this.sshCommand ??= this.askSshCommand(signal);
    const command = await this.sshCommand;
    return command === undefined ? {} : {GIT_SSH_COMMAND: command};
  }

  private async askSshCommand(signal: AbortSignal): Promise<string | undefined> {
    const {GIT_SSH, GIT_SSH_COMMAND} = this.options.environment;
    if (GIT_SSH_COMMAND === undefined && GIT_SSH !== undefined) return undefined;
    const configured = await this.git.run(
      'cannot read the configuration of git',
      ['config', '--get', 'core.sshCommand'],
      signal,
    );
    const command = GIT_SSH_COMMAND ?? (configured.stdout.trim() || 'ssh');
    // A wrapper may know other options than ssh.
    if (!/^(?:\S*\/)?ssh(?:\s|$)/.test(command)) return command;
    return `${command} -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15`;
  }
}

function assertCommit(commit: string): void {
  if (!isCommitId(commit)) {
    throw new GitError('refused', `not a whole commit id: ${JSON.stringify(commit.slice(0, 80))}`);
  }
}

function assertRef(ref: GitRef): void {
  if (ref.type === 'commit') return assertCommit(ref.commit);
  if (ref.type === 'default') return;
  const name = ref.type === 'branch' ? ref.name : ref.pattern;
  const problem = gitNameProblem(name, {pattern: ref.type === 'tag'});
  if (problem !== undefined) {
    throw new GitError('refused', `not a name of a ${ref.type}: ${JSON.stringify(name.slice(0, 80))}: ${problem}`);
  }
}

function fetchError(tried: string, stderr: string, ref: GitRef): GitError {
  const error = remoteError(tried, stderr);
  if (error.kind === 'no-such-ref' && ref.type !== 'commit') {
    return new GitError('moved', `${tried}: it is at the remote no more`, {
      cause: error,
      hint: 'It is looked at again.',
    });
  }
  return error;
}

function passDamage(error: unknown): undefined {
  if (isDamage(error)) return undefined;
  throw error;
}

/** What can't be the fault of our own copy. Of anything else the attempt without it tells. */
const remoteFaults: ReadonlySet<GitFailure> = new Set([
  'no-git',
  'timeout',
  'disk-full',
  'authentication',
  'moved',
  'no-such-ref',
]);

function passOwnFault(error: unknown): undefined {
  if (error instanceof GitError && !remoteFaults.has(error.kind)) return undefined;
  throw error;
}

async function isFolder(path: string): Promise<boolean> {
  return lstat(path).then(
    stat => stat.isDirectory(),
    () => false,
  );
}

async function removeQuietly(path: string): Promise<void> {
  await rm(path, {recursive: true, force: true}).catch(() => undefined);
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ');
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}

/** Whoever commits chooses these texts, and they are shown in terminals. */
function printable(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, ' ').slice(0, 300);
}
