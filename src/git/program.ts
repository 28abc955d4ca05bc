/** The program `git`, run so that neither a repository nor the variables of whoever started us lead it astray. */
import type {ChildProcess} from 'node:child_process';
import {createHash} from 'node:crypto';
import {mkdirSync, realpathSync} from 'node:fs';
import {constants} from 'node:os';
import {dirname} from 'node:path';
import type {Options} from 'execa';
import {gitProtocols} from '../api/git-address.js';
import type {Variables} from '../spec/environment.js';
import {GitError} from './errors.js';

export interface GitProgramOptions {
  /** Where git runs; made when missing. It looks for no repository above. */
  readonly folder: string;
  readonly environment: Variables;
  /** One command is ended after this many ms. */
  readonly timeoutMs: number;
}

export interface GitRun {
  /** A bare repository; none: git finds none. */
  readonly gitDir?: string;
  readonly input?: string;
  /** More than this on stdout ends git, bytes. */
  readonly maxBytes?: number;
  readonly variables?: Variables;
  /** Each chunk of stdout as it comes, instead of `stdout`: throwing ends git. */
  readonly onData?: (chunk: Buffer) => void | Promise<void>;
}

export interface GitResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs git in one folder with one environment. */
export class GitProgram {
  private isReady = false;

  constructor(private readonly options: GitProgramOptions) {}

  /**
   * Git's end, whatever its exit code. When `signal` aborts, git and what it started are ended (SIGTERM, after two
   * seconds SIGKILL), and the reason is thrown once they are gone.
   *
   * @throws {GitError} there is no git, it is too old, or the time is over
   */
  async run(tried: string, args: readonly string[], signal: AbortSignal, run: GitRun = {}): Promise<GitResult> {
    signal.throwIfAborted();
    this.prepare();
    await checkVersion(this.options);
    const timeout = AbortSignal.timeout(this.options.timeoutMs);
    const result = await spawnGit(tried, this.options, [...hygiene, ...args], AbortSignal.any([signal, timeout]), run);
    signal.throwIfAborted();
    if (timeout.aborted) {
      throw new GitError(
        'timeout',
        `${tried}: git was not done after ${this.options.timeoutMs / 1_000} s and was ended`,
        {
          hint: 'Nothing was changed; it is tried again. A large repository may need a larger timeoutSeconds.',
        },
      );
    }
    return result;
  }

  /** As `1.2` in `git version 1.2.3`, as a number that compares: 1002. */
  version(): Promise<number> {
    return checkVersion(this.options);
  }

  private prepare(): void {
    if (this.isReady) return;
    mkdirSync(this.options.folder, {recursive: true, mode: 0o700});
    this.isReady = true;
  }
}

/** Given before the command: what is set here wins over the configuration of the user and of the machine. */
const hygiene: readonly string[] = Object.entries({
  'core.hooksPath': '/dev/null',
  'core.fsmonitor': 'false',
  'core.symlinks': 'true',
  'submodule.recurse': 'false',
  'fetch.recurseSubmodules': 'false',
  'transfer.fsckObjects': 'true',
  'fetch.fsckObjects': 'true',
  // Always a pack, never loose objects: packs are linked from copy to copy.
  'transfer.unpackLimit': '1',
  'fetch.unpackLimit': '1',
  'fetch.prune': 'false',
  'fetch.pruneTags': 'false',
  'fetch.writeCommitGraph': 'false',
  'transfer.bundleURI': 'false',
  'gc.auto': '0',
  'maintenance.auto': 'false',
  'protocol.version': '2',
  'filter.lfs.smudge': '',
  'filter.lfs.process': '',
  'filter.lfs.required': 'false',
  'log.showSignature': 'false',
}).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

type Child = Pick<ChildProcess, 'pid' | 'exitCode' | 'signalCode'>;

async function spawnGit(
  tried: string,
  options: GitProgramOptions,
  args: readonly string[],
  signal: AbortSignal,
  {gitDir, input, maxBytes = 16 * 1024 * 1024, variables = {}, onData}: GitRun,
): Promise<GitResult> {
  const {execa} = await import('execa');
  const execaOptions = {
    cwd: options.folder,
    env: {...gitEnvironment(options.environment, options.folder), ...defined(variables)},
    extendEnv: false,
    reject: false,
    // A session of its own: nothing asks on our terminal, and a signal reaches what git started, too.
    detached: true,
    cleanup: false,
    encoding: 'latin1',
    stripFinalNewline: false,
    maxBuffer: maxBytes,
    ...(input === undefined ? {stdin: 'ignore'} : {input}),
    ...(onData && {buffer: {stdout: false, stderr: true}}),
  } satisfies Options;
  const subprocess = execa('git', gitDir === undefined ? args : [`--git-dir=${gitDir}`, ...args], execaOptions);
  const stop = endGroupOn(signal, subprocess);
  subprocess.once('exit', (_, signalCode) => {
    if (signalCode !== null) endOrphans(subprocess.pid);
  });
  try {
    const chunks = onData && subprocess.iterable({binary: true, preserveNewlines: true});
    const failure = chunks && (await consume(subprocess, chunks, onData));
    const result = await subprocess;
    if (failure !== undefined && !signal.aborted) throw failure;
    if (result.isMaxBuffer) throw new GitError('too-large', `${tried}: git answered more than ${maxBytes} bytes`);
    if (result.exitCode === undefined && result.signal === undefined) throw noGit(tried, result.cause);
    // What we read as bytes is UTF-8 in fact: names of files, authors, messages.
    const text = (bytes: unknown): string => (typeof bytes === 'string' ? Buffer.from(bytes, 'latin1').toString() : '');
    const exitCode = result.exitCode ?? 128 + (constants.signals[result.signal as NodeJS.Signals] ?? 0);
    return {exitCode, stdout: text(result.stdout), stderr: text(result.stderr)};
  } finally {
    stop();
  }
}

/** What `onData` threw; then git was ended. execa's iterable also throws git's own failure, which the result says better. */
async function consume(
  child: Child,
  chunks: AsyncIterable<Uint8Array>,
  onData: (chunk: Buffer) => void | Promise<void>,
): Promise<Error | undefined> {
  try {
    for await (const chunk of chunks) await onData(Buffer.from(chunk));
    return undefined;
  } catch (error) {
    endGroup(child, 'SIGKILL');
    const cause = error instanceof Error ? error : new Error(String(error));
    return cause.name === 'ExecaError' ? undefined : cause;
  }
}

const killAfterMs = 2_000;

/** Ends git and what it started when `signal` aborts; the answer undoes that. */
function endGroupOn(signal: AbortSignal, child: Child): () => void {
  let timer: NodeJS.Timeout | undefined;
  const end = (): void => {
    endGroup(child, 'SIGTERM');
    timer = setTimeout(() => endGroup(child, 'SIGKILL'), killAfterMs);
  };
  if (signal.aborted) end();
  else signal.addEventListener('abort', end, {once: true});
  return () => {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
  };
}

/** Only while git itself has not been waited for: its number is nobody else's until then. */
function endGroup({pid, exitCode, signalCode}: Child, signal: NodeJS.Signals): void {
  if (pid === undefined || exitCode !== null || signalCode !== null) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It is gone.
  }
}

/**
 * Somebody killed git: what it had started would go on waiting for the remote, and hold the pipes that we read. Called the
 * moment git has ended, so its number is still that of its group.
 */
function endOrphans(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // There are none.
  }
}

/** Variables of git's that say who we are to a server or how it is reached; all others could lead git elsewhere. */
const kept: ReadonlySet<string> = new Set([
  'GIT_SSH',
  'GIT_SSH_COMMAND',
  'GIT_SSH_VARIANT',
  'GIT_ASKPASS',
  'GIT_PROXY_COMMAND',
  'GIT_HTTP_PROXY_AUTHMETHOD',
  'GIT_HTTP_USER_AGENT',
  'GIT_HTTP_LOW_SPEED_LIMIT',
  'GIT_HTTP_LOW_SPEED_TIME',
  'GIT_SSL_NO_VERIFY',
  'GIT_SSL_CERT',
  'GIT_SSL_KEY',
  'GIT_SSL_CERT_PASSWORD_PROTECTED',
  'GIT_SSL_CAINFO',
  'GIT_SSL_CAPATH',
  'GIT_SSL_VERSION',
  'GIT_SSL_CIPHER_LIST',
  'GIT_PROXY_SSL_CERT',
  'GIT_PROXY_SSL_KEY',
  'GIT_PROXY_SSL_CAINFO',
  'GIT_CONFIG_GLOBAL',
  'GIT_CONFIG_SYSTEM',
  'GIT_CONFIG_NOSYSTEM',
  'GIT_EXEC_PATH',
]);

/** Sections of the configuration that a caller may give in GIT_CONFIG_COUNT: CI systems hand out credentials that way. */
const keptConfiguration = /^(credential|http|https|url|ssh|safe)\.|^core\.(sshcommand|askpass|gitproxy)$|^gpg\./i;

/** The environment of git: the user's own, without what redirects git, and with our own rules. Pure but for a realpath. */
export function gitEnvironment(environment: Variables, folder: string): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    const isRedirect = name.startsWith('GIT_') && !kept.has(name);
    // A dialogue that pops up each minute would be worse than a plain failure.
    if (value !== undefined && !isRedirect && name !== 'SSH_ASKPASS') result[name] = value;
  }
  return {
    ...result,
    ...givenConfiguration(environment),
    GIT_TERMINAL_PROMPT: '0',
    GCM_INTERACTIVE: 'never',
    GIT_ALLOW_PROTOCOL: gitProtocols.join(':'),
    GIT_PROTOCOL_FROM_USER: '1',
    GIT_CEILING_DIRECTORIES: dirname(realFolder(folder)),
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_NO_LAZY_FETCH: '1',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_ADVICE: '0',
    GIT_DEFAULT_REF_FORMAT: 'files',
    GIT_LFS_SKIP_SMUDGE: '1',
    LC_ALL: 'C',
    LANGUAGE: '',
  };
}

function realFolder(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return folder;
  }
}

function givenConfiguration(environment: Variables): Record<string, string> {
  const count = Number(environment['GIT_CONFIG_COUNT'] ?? 0);
  if (!Number.isInteger(count) || count <= 0 || count > 1_000) return {};
  const pairs = Array.from({length: count}, (_, index) => ({
    key: environment[`GIT_CONFIG_KEY_${index}`],
    value: environment[`GIT_CONFIG_VALUE_${index}`],
  })).flatMap(({key, value}) =>
    key !== undefined && value !== undefined && keptConfiguration.test(key) ? [{key, value}] : [],
  );
  if (pairs.length === 0) return {};
  return {
    GIT_CONFIG_COUNT: String(pairs.length),
    ...Object.fromEntries(
      pairs.flatMap(({key, value}, index) => [
        [`GIT_CONFIG_KEY_${index}`, key],
        [`GIT_CONFIG_VALUE_${index}`, value],
      ]),
    ),
  };
}

function defined(variables: Variables): Record<string, string> {
  return Object.fromEntries(
    Object.entries(variables).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

/** 2.25 (January 2020) is what Ubuntu 20.04 has; what is older is not tried. */
const oldestVersion = 2_025;

const versions = new Map<string, Promise<number>>();

/** Asked once in this process for each PATH. @throws {GitError} there is none, or it is too old */
function checkVersion(options: GitProgramOptions): Promise<number> {
  const key = createHash('sha256')
    .update(options.environment['PATH'] ?? '')
    .digest('hex');
  const asked = versions.get(key) ?? askVersion(options);
  versions.set(key, asked);
  asked.catch(() => versions.delete(key)); // it may be installed by the next time
  return asked;
}

async function askVersion(options: GitProgramOptions): Promise<number> {
  const {stdout} = await spawnGit('cannot use git', options, ['--version'], AbortSignal.timeout(10_000), {});
  const [, major, minor] = /^git version (\d+)\.(\d+)/.exec(stdout) ?? [];
  if (major === undefined) {
    throw new GitError('no-git', 'cannot use git: "git --version" does not answer', {hint: noGitHint});
  }
  const version = Number(major) * 1_000 + Number(minor);
  if (version >= oldestVersion) return version;
  throw new GitError('no-git', `cannot use git ${major}.${minor}: it is too old`, {
    hint: 'Git sources need git 2.25 or newer, and 2.34 for ssh signatures.',
  });
}

const noGitHint = 'Git sources need the program "git", version 2.25 or newer, in the PATH.';

function noGit(tried: string, cause: unknown): GitError {
  return new GitError('no-git', `${tried}: the program "git" can't be started`, {cause, hint: noGitHint});
}
