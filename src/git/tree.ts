/** What a commit of a repository on disk holds, read without touching its work tree, its index or its remote. */
import {mkdir, symlink, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {exitCodes, TektonError} from '../api/errors.js';

export interface GitOptions {
  /** Where the git program is found, and its user's configuration. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** One blob of a commit's tree. */
export interface TreeFile {
  /** From the top of the repository, with `/`. */
  readonly path: string;
  readonly type: 'file' | 'link';
  readonly id: string;
}

/** A repository that has a work tree. */
export class Repository {
  private constructor(
    /** Top of its work tree, links resolved. */
    readonly root: string,
    private readonly options: GitOptions,
  ) {}

  /**
   * The repository that `folder` lies in; undefined where it lies in none.
   *
   * @throws {TektonError} where git is missing, or refuses the repository (one of another user, say)
   */
  static async of(folder: string, options: GitOptions): Promise<Repository | undefined> {
    const {stdout, stderr, exitCode} = await git(folder, ['rev-parse', '--show-toplevel'], options);
    if (exitCode === 0) return new Repository(stdout.toString('utf8').replace(/\n$/, ''), options);
    const said = lastLine(stderr);
    if (/not a git repository|must be run in a work tree/.test(said)) return undefined;
    throw new TektonError(`cannot read the repository of ${folder}: ${said}`, {exitCode: exitCodes.invalidInput});
  }

  /** What `ref` means: a branch, a tag or a commit. undefined: there is no such here. */
  async commitOf(ref: string): Promise<string | undefined> {
    const {stdout, exitCode} = await this.#git(['rev-parse', '--verify', '--quiet', `${ref}^{commit}`]);
    return exitCode === 0 ? stdout.toString('utf8').trim() : undefined;
  }

  /** Whether history is cut off, as a CI's checkout has it by default. */
  async isShallow(): Promise<boolean> {
    const {stdout} = await this.#git(['rev-parse', '--is-shallow-repository']);
    return stdout.toString('utf8').trim() === 'true';
  }

  /** Every file and symbolic link of a commit; submodules are left out. */
  async filesOf(commit: string): Promise<readonly TreeFile[]> {
    const text = await this.#output(['ls-tree', '-r', '-z', '--full-tree', commit]);
    return records(text).flatMap(record => {
      const [, mode, type, id = '', path = ''] = /^(\d+) (\w+) ([0-9a-f]+)\t(.*)$/s.exec(record) ?? [];
      if (type !== 'blob' || !isPlain(path)) return [];
      return [{path, id, type: mode === '120000' ? 'link' : 'file'} as const];
    });
  }

  /** New path → old path of what the index has under another name than the commit. */
  async renamesSince(commit: string): Promise<ReadonlyMap<string, string>> {
    const args = ['diff', '--cached', '--name-status', '-z', '-M', '--diff-filter=R', '--no-ext-diff', '--no-textconv'];
    const parts = records(await this.#output([...args, '--ignore-submodules', commit]));
    const renames = new Map<string, string>();
    for (let i = 0; i + 2 < parts.length; i += 3) renames.set(parts[i + 2] ?? '', parts[i + 1] ?? '');
    return renames;
  }

  /** Whether the index has it. `path` from the top of the repository. */
  async isTracked(path: string): Promise<boolean> {
    const text = await this.#output(['ls-files', '-z', '--full-name', '--', `:(top,literal)${path}`]);
    return records(text).includes(path);
  }

  /** Contents by id. @throws {TektonError} where they are too much */
  async contentsOf(ids: readonly string[]): Promise<ReadonlyMap<string, Buffer>> {
    const wanted = [...new Set(ids)];
    if (wanted.length === 0) return new Map();
    const output = await this.#output(['cat-file', '--batch'], `${wanted.join('\n')}\n`);
    const contents = new Map<string, Buffer>();
    for (let at = 0; at < output.length;) {
      const end = output.indexOf('\n', at);
      const [id = '', , size = ''] = output.toString('utf8', at, end).split(' ');
      if (!/^\d+$/.test(size)) throw new TektonError(`cannot read ${id} of the repository ${this.root}: it is missing`);
      contents.set(id, output.subarray(end + 1, end + 1 + Number(size)));
      at = end + 1 + Number(size) + 1;
    }
    return contents;
  }

  /**
   * Writes these files below `folder`, which is empty and nobody else's. Links come last, so that nothing is written
   * through one.
   */
  async writeFiles(files: readonly TreeFile[], folder: string): Promise<void> {
    const contents = await this.contentsOf(files.map(({id}) => id));
    for (const type of ['file', 'link'] as const) {
      for (const {path, id} of files.filter(file => file.type === type)) {
        const to = join(folder, path);
        const content = contents.get(id) ?? Buffer.alloc(0);
        await mkdir(dirname(to), {recursive: true});
        await (type === 'file' ? writeFile(to, content, {flag: 'wx'}) : symlink(content.toString('utf8'), to));
      }
    }
  }

  #git(args: readonly string[], input?: string): Promise<Ran> {
    return git(this.root, args, this.options, input);
  }

  async #output(args: readonly string[], input?: string): Promise<Buffer> {
    const {stdout, stderr, exitCode} = await this.#git(args, input);
    if (exitCode === 0) return stdout;
    throw new TektonError(`cannot read the repository ${this.root}: git ${args[0]}: ${lastLine(stderr)}`);
  }
}

interface Ran {
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly exitCode: number;
}

/** Reading what lies on disk takes no longer on any machine that works. */
const timeoutMs = 60_000;
/** More than the YAML files of any repository come to. */
const maxBytes = 128 * 1024 * 1024;

/** What could have git run a program of the repository's choice, or wait for a person. */
const settings = ['-c', 'core.hooksPath=/dev/null', '-c', 'core.fsmonitor=false', '-c', 'protocol.ext.allow=never'];

async function git(
  folder: string,
  args: readonly string[],
  {environment, signal}: GitOptions,
  input?: string,
): Promise<Ran> {
  const {execa} = await import('execa');
  // GIT_DIR and its like speak of the repository that a hook runs for, which may be another one.
  const own = Object.entries(environment).filter(([name]) => !name.startsWith('GIT_') && name !== 'LANGUAGE');
  const result = await execa('git', ['--no-pager', ...settings, ...args], {
    cwd: folder,
    env: {...Object.fromEntries(own), LC_ALL: 'C', GIT_TERMINAL_PROMPT: '0', GIT_OPTIONAL_LOCKS: '0'},
    extendEnv: false,
    ...(input === undefined ? {stdin: 'ignore'} : {input}),
    encoding: 'buffer',
    stripFinalNewline: false,
    reject: false,
    timeout: timeoutMs,
    maxBuffer: maxBytes,
    cancelSignal: signal,
  });
  if (result.isCanceled) signal.throwIfAborted();
  if (result.exitCode === undefined || result.isMaxBuffer) throw cannotRun(args, result);
  const stderr = Buffer.from(result.stderr).toString('utf8');
  return {stdout: Buffer.from(result.stdout), stderr, exitCode: result.exitCode};
}

interface Failure {
  readonly code?: string | undefined;
  readonly timedOut: boolean;
  readonly isMaxBuffer: boolean;
  readonly shortMessage?: string | undefined;
}

function cannotRun([verb = '']: readonly string[], {code, timedOut, isMaxBuffer, shortMessage}: Failure): TektonError {
  if (code === 'ENOENT') {
    return new TektonError('cannot run git: there is no such program', {hint: 'install it, or put it on PATH'});
  }
  if (timedOut) return new TektonError(`git ${verb} took longer than ${timeoutMs / 1000} s`);
  if (isMaxBuffer) return new TektonError(`git ${verb} printed more than ${maxBytes / 1024 / 1024} MiB`);
  return new TektonError(`cannot run git ${verb}: ${shortMessage ?? 'it was ended'}`);
}

function records(output: Buffer): readonly string[] {
  return output
    .toString('utf8')
    .split('\0')
    .filter(record => record !== '');
}

function lastLine(stderr: string): string {
  const lines = stderr.trim().split('\n');
  return (lines.find(line => line.startsWith('fatal: ')) ?? lines.at(-1) ?? '').replace(/^(fatal|error): /, '');
}

/** A tree made by hand may hold names that lead elsewhere. */
function isPlain(path: string): boolean {
  return path.split('/').every(part => !['', '.', '..'].includes(part) && part.toLowerCase() !== '.git');
}
