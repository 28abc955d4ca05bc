/** A folder of ours beside a test repository, under the locks that the real one has. */
import {mkdtempSync, readFileSync, readdirSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {GitRef} from '../../src/api/git-source.js';
import {GitError} from '../../src/git/errors.js';
import {Repository, type Commit, type RepositoryOptions} from '../../src/git/repository.js';
import {withLock} from '../../src/registry/locks.js';
import {ensureStateHome} from '../../src/registry/home.js';
import {TestRepository} from '../fakes/git.js';

export const main: GitRef = {type: 'branch', name: 'main'};

export class World {
  readonly home = mkdtempSync(join(tmpdir(), 'th-'));
  readonly remote: TestRepository;
  readonly folder = join(this.home, 'git', 'key');
  readonly signal = new AbortController().signal;

  constructor(options: ConstructorParameters<typeof TestRepository>[0] = {}) {
    this.remote = new TestRepository(options);
  }

  async ours(options: Partial<RepositoryOptions> = {}): Promise<Repository> {
    await ensureStateHome(this.home);
    return new Repository({
      folder: this.folder,
      url: this.remote.url,
      environment: this.remote.environment,
      timeoutMs: 20_000,
      lock: (run, signal) => withLock(this.home, 'git-key', run, {...(signal && {signal})}),
      ...options,
    });
  }

  /** Look, fetch, check out, switch, as a follower does. */
  async follow(
    repository: Repository,
    ref: GitRef = main,
  ): Promise<Commit & {readonly forced: boolean; readonly folder: string}> {
    const seen = await repository.look(ref, this.signal);
    const commit = await repository.fetch({...seen, ref}, await repository.inForce(), this.signal);
    const folder = await repository.checkout(commit.id, this.signal);
    await repository.switchTo(commit.id);
    return {...commit, folder};
  }

  /** What is in force, by path below the checkout. */
  files(): Readonly<Record<string, string>> {
    const checkout = join(this.folder, 'checkout');
    const paths = readdirSync(checkout, {recursive: true, withFileTypes: true})
      .filter(entry => entry.isFile())
      .map(entry => join(entry.parentPath, entry.name).slice(checkout.length + 1));
    return Object.fromEntries(paths.sort().map(path => [path, readFileSync(join(checkout, path), 'utf8')]));
  }

  remove(): void {
    this.remote.remove();
    rmSync(this.home, {recursive: true, force: true, maxRetries: 5, retryDelay: 50});
  }
}

/** The kind of the GitError that a promise ends with; what it says, too. */
export async function failureOf(
  promise: Promise<unknown>,
): Promise<{readonly kind: string; readonly message: string; readonly hint: string}> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof GitError) return {kind: error.kind, message: error.message, hint: error.hint ?? ''};
    throw error;
  }
  throw new Error('it should have failed');
}
