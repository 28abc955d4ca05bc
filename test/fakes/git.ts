/** Repositories to follow, made with the real git in private folders, and servers of them on loopback. */
import {execFileSync, spawn, spawnSync, type ChildProcess} from 'node:child_process';
import {appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {createServer, type IncomingMessage, type ServerResponse} from 'node:http';
import {connect, createServer as createTcpServer, type AddressInfo, type Server} from 'node:net';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {describe, test} from '@jest/globals';

export const gitVersion = /git version (\d+)\.(\d+)/.exec(
  spawnSync('git', ['--version'], {encoding: 'utf8'}).stdout ?? '',
);
const hasGit = gitVersion !== null;
if (!hasGit) console.warn('skipped: there is no program "git" here');

/** As `describe` and `test`, skipped with a remark where there is no git. */
export const describeGit = hasGit ? describe : describe.skip;
export const gitTest = hasGit ? test : test.skip;

export function hasProgram(name: string): boolean {
  return spawnSync(name, ['--version']).error === undefined;
}

/** Text, or where a symbolic link points to; undefined removes the file. */
export type TestFile = string | {readonly link: string} | undefined;

export interface CommitOptions {
  readonly message?: string;
  /** A key of `sshKey` or `gpgKey`; none: unsigned. */
  readonly sign?: SigningKey;
  /** Replaces the last commit. */
  readonly amend?: boolean;
}

export interface SigningKey {
  readonly format: 'ssh' | 'openpgp';
  /** What git takes as user.signingKey. */
  readonly key: string;
  /** ssh: a line of an allowed-signers file; GPG: the fingerprint. */
  readonly public: string;
}

/** A bare repository and a clone to work in. Nothing of the user's configuration matters. */
export class TestRepository {
  readonly folder: string;
  readonly bare: string;
  readonly work: string;
  private readonly home: string;

  /** `parent`: where it is made; removed by `remove`, together with its keys. */
  constructor({parent = tmpdir(), name = 'repo', branch = 'main', objectFormat = 'sha1'} = {}) {
    this.folder = mkdtempSync(join(parent, 'tg-'));
    this.home = join(this.folder, 'home');
    this.bare = join(this.folder, `${name}.git`);
    this.work = join(this.folder, 'work');
    mkdirSync(this.home, {mode: 0o700});
    const format = `--object-format=${objectFormat}`;
    this.raw(['init', '--quiet', '--bare', format, `--initial-branch=${branch}`, this.bare], this.folder);
    this.raw(['init', '--quiet', format, `--initial-branch=${branch}`, this.work], this.folder);
    this.git('remote', 'add', 'origin', this.bare);
  }

  get url(): string {
    return `file://${this.bare}`;
  }

  /** A private environment: git knows an author and no other configuration. */
  get environment(): Record<string, string> {
    return {
      PATH: process.env['PATH'] ?? '',
      HOME: this.home,
      GNUPGHOME: join(this.home, 'gnupg'),
      GIT_CONFIG_NOSYSTEM: '1',
      // What tests commit need not survive a power cut.
      GIT_TEST_FSYNC: '0',
      GIT_AUTHOR_NAME: 'Ada',
      GIT_AUTHOR_EMAIL: 'ada@example.com',
      GIT_COMMITTER_NAME: 'Ada',
      GIT_COMMITTER_EMAIL: 'ada@example.com',
      LC_ALL: 'C',
    };
  }

  /** Runs git in the clone. */
  git(...args: readonly string[]): string {
    return this.raw(args, this.work);
  }

  /** Runs git in the bare repository. */
  gitBare(...args: readonly string[]): string {
    return this.raw(args, this.bare);
  }

  /** The id of the new commit; not pushed. */
  commit(
    files: Readonly<Record<string, TestFile>>,
    {message = 'Change', sign, amend = false}: CommitOptions = {},
  ): string {
    for (const [path, content] of Object.entries(files)) {
      const file = join(this.work, path);
      rmSync(file, {force: true});
      mkdirSync(dirname(file), {recursive: true});
      if (typeof content === 'string') writeFileSync(file, content);
      else if (content !== undefined) symlinkSync(content.link, file);
    }
    this.git('add', '--all', '--force');
    this.git(
      ...signing(sign),
      ...['commit', '--quiet', '--allow-empty', '--allow-empty-message', `--message=${message}`],
      ...(amend ? ['--amend'] : []),
      ...(sign ? ['--gpg-sign'] : ['--no-gpg-sign']),
    );
    return this.head();
  }

  /** Commits and pushes. */
  push(
    files: Readonly<Record<string, TestFile>> = {},
    options: CommitOptions & {readonly force?: boolean} = {},
  ): string {
    const commit = this.commit(files, options);
    this.git('push', '--quiet', ...(options.force ? ['--force'] : []), 'origin', 'HEAD');
    return commit;
  }

  /** `count` commits in one go, pushed: a history of some length in a moment. */
  pushMany(count: number, path = 'counter.txt'): string {
    const branch = this.git('symbolic-ref', 'HEAD').trim();
    const parent = spawnSync('git', ['rev-parse', '--verify', '-q', 'HEAD'], {
      cwd: this.work,
      encoding: 'utf8',
    }).stdout.trim();
    const now = Math.floor(Date.now() / 1_000);
    const stream = Array.from({length: count}, (_, at) => {
      const text = `${at} of ${count} on ${parent}\n`;
      const from = at === 0 && parent !== '' ? `from ${parent}\n` : '';
      const data = `M 100644 inline ${path}\ndata ${text.length}\n${text}\n`;
      return `commit ${branch}\ncommitter Ada <ada@example.com> ${now} +0000\ndata 4\nmany\n${from}${data}`;
    }).join('');
    this.raw(['fast-import', '--quiet', '--force'], this.work, stream);
    this.git('reset', '--quiet', '--hard');
    this.git('push', '--quiet', 'origin', 'HEAD');
    return this.head();
  }

  /** Makes a tag and pushes it over what was there. */
  tag(
    name: string,
    {
      annotated = false,
      sign,
      target = 'HEAD',
    }: {readonly annotated?: boolean; readonly sign?: SigningKey; readonly target?: string} = {},
  ): void {
    const kind = sign ? ['--sign', '--message=tag'] : annotated ? ['--annotate', '--message=tag'] : [];
    this.git(...signing(sign), 'tag', '--force', ...kind, name, target);
    this.git('push', '--quiet', '--force', 'origin', `refs/tags/${name}`);
  }

  head(): string {
    return this.git('rev-parse', 'HEAD').trim();
  }

  /** A new key, private to this repository; `principal` is who it belongs to. */
  sshKey(principal: string, name = principal.replaceAll(/\W/g, '-')): SigningKey {
    const key = join(this.home, name);
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', principal, '-f', key]);
    return {format: 'ssh', key, public: `${principal} ${readFileSync(`${key}.pub`, 'utf8').trim()}`};
  }

  /** An allowed-signers file of these keys. */
  allowedSigners(...keys: readonly SigningKey[]): string {
    const file = join(this.home, `allowed-${Math.random().toString(36).slice(2)}`);
    writeFileSync(file, keys.map(key => `${key.public}\n`).join(''));
    return file;
  }

  /** A new key in the keyring of this repository (`environment.GNUPGHOME`). `expire` as gpg takes it. */
  gpgKey(user: string, expire = 'never'): SigningKey {
    const home = join(this.home, 'gnupg');
    mkdirSync(home, {recursive: true, mode: 0o700});
    const batch = ['--batch', '--quiet', '--pinentry-mode=loopback', '--passphrase', ''];
    const made = this.gpg(['--status-fd=1', ...batch, '--quick-generate-key', user, 'ed25519', 'sign', expire]);
    const fingerprint = /KEY_CREATED \w ([0-9A-F]+)/.exec(made)?.[1] ?? '';
    return {format: 'openpgp', key: fingerprint, public: fingerprint};
  }

  gpg(args: readonly string[], input?: string): string {
    return execFileSync('gpg', args, {
      env: this.environment,
      encoding: 'utf8',
      input,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
  }

  /** A bare repository at the place of a server's root, by path. */
  remove(): void {
    // The agent that gpg started lives as long as its folder.
    spawnSync('gpgconf', ['--kill', 'all'], {env: this.environment});
    rmSync(this.folder, {recursive: true, force: true, maxRetries: 5, retryDelay: 50});
  }

  private raw(args: readonly string[], cwd: string, input?: string): string {
    return execFileSync('git', args, {
      cwd,
      env: this.environment,
      encoding: 'utf8',
      input,
      stdio: ['pipe', 'pipe', 'pipe'],
      maxBuffer: 1 << 28,
    });
  }
}

function signing(key: SigningKey | undefined): readonly string[] {
  return key ? ['-c', `gpg.format=${key.format}`, '-c', `user.signingKey=${key.key}`] : [];
}

export interface GitServer {
  /** Of the repository, without credentials. */
  readonly url: string;
  close(): Promise<void>;
}

/** `git daemon` on a free port of loopback. */
export async function startGitDaemon(repository: TestRepository): Promise<GitServer> {
  const port = await freePort();
  const args = [
    'daemon',
    '--reuseaddr',
    '--export-all',
    '--listen=127.0.0.1',
    `--port=${port}`,
    `--base-path=${repository.folder}`,
  ];
  const daemon = spawn('git', args, {env: repository.environment, stdio: 'ignore', detached: true});
  while (!(await answers(port))) {
    if (daemon.exitCode !== null) throw new Error(`git daemon ended with ${daemon.exitCode}`);
    await delay(10);
  }
  return {
    url: `git://127.0.0.1:${port}${repository.bare.slice(repository.folder.length)}`,
    close: () => endGroup(daemon),
  };
}

async function endGroup(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const end = new Promise(resolve => child.once('exit', resolve));
  process.kill(-child.pid, 'SIGKILL');
  await end;
}

async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const {port} = server.address() as AddressInfo;
  await new Promise(resolve => server.close(resolve));
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => (socket.destroy(), resolve(true)));
    socket.once('error', () => resolve(false));
  });
}

export interface HttpFaults {
  /** Answers everything with this status. */
  status?: number;
  /** Bytes of a pack that are sent before the answer stalls, or the connection is cut. */
  stallAfter?: number;
  cutAfter?: number;
}

export interface GitHttpServer extends GitServer {
  /** May be changed at any time. */
  readonly faults: HttpFaults;
  /** Method and path of each request. */
  readonly requests: string[];
  /** Answers that stall at the moment. */
  stalled(): number;
}

/** Smart HTTP around `git http-backend`; with `user` and `password` only whoever knows them gets in. */
export async function startGitHttp(
  repository: TestRepository,
  {user, password}: {readonly user?: string; readonly password?: string} = {},
): Promise<GitHttpServer> {
  const faults: HttpFaults = {};
  const requests: string[] = [];
  const stalls = new Set<ServerResponse>();
  const backends = new Set<ChildProcess>();
  const expected = user === undefined ? undefined : `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    if (faults.status !== undefined) return void response.writeHead(faults.status).end();
    if (expected !== undefined && request.headers.authorization !== expected) {
      return void response.writeHead(401, {'www-authenticate': 'Basic realm="test"'}).end();
    }
    const backend = startBackend(repository, request);
    backends.add(backend);
    backend.once('exit', () => backends.delete(backend));
    relay(backend, request, response, request.method === 'POST' ? faults : {}, stalls);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const {port} = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${repository.bare.slice(repository.folder.length)}`,
    faults,
    requests,
    stalled: () => stalls.size,
    close: async () => {
      for (const backend of backends) backend.kill('SIGKILL');
      server.closeAllConnections();
      await closed(server);
    },
  };
}

function closed(server: Server): Promise<void> {
  return new Promise(resolve => void server.close(() => resolve()));
}

/** CGI/1.1 (RFC 3875), as git-http-backend(1) wants it. */
function startBackend(repository: TestRepository, request: IncomingMessage): ChildProcess {
  const {pathname, search} = new URL(request.url ?? '/', 'http://localhost');
  const header = (name: string): string => String(request.headers[name] ?? '');
  return spawn('git', ['http-backend'], {
    env: {
      ...repository.environment,
      GIT_PROJECT_ROOT: repository.folder,
      GIT_HTTP_EXPORT_ALL: '1',
      REQUEST_METHOD: request.method ?? 'GET',
      PATH_INFO: pathname,
      QUERY_STRING: search.slice(1),
      CONTENT_TYPE: header('content-type'),
      HTTP_CONTENT_ENCODING: header('content-encoding'),
      HTTP_GIT_PROTOCOL: header('git-protocol'),
      GIT_PROTOCOL: header('git-protocol'),
      REMOTE_ADDR: '127.0.0.1',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
}

function relay(
  backend: ChildProcess,
  request: IncomingMessage,
  response: ServerResponse,
  {stallAfter, cutAfter}: HttpFaults,
  stalls: Set<ServerResponse>,
): void {
  const {stdin, stdout} = backend;
  if (stdin === null || stdout === null) return;
  stdin.on('error', () => undefined);
  request.pipe(stdin);
  response.once('close', () => (stalls.delete(response), backend.kill('SIGKILL')));
  let head: Buffer | undefined = Buffer.alloc(0);
  let sent = 0;
  const send = (chunk: Buffer): void => {
    const limit = stallAfter ?? cutAfter ?? Infinity;
    const part = chunk.subarray(0, Math.max(0, limit - sent));
    sent += part.length;
    if (part.length > 0) response.write(part);
    if (sent < limit) return;
    if (cutAfter !== undefined) return void response.destroy();
    stalls.add(response);
    stdout.pause();
  };
  stdout.on('data', (chunk: Buffer) => {
    if (head === undefined) return send(chunk);
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    const lines = head
      .toString('latin1', 0, end)
      .split('\r\n')
      .map(line => line.split(/:\s*/, 2) as [string, string]);
    const status = lines.find(([name]) => name.toLowerCase() === 'status')?.[1];
    response.writeHead(
      status === undefined ? 200 : Number.parseInt(status, 10),
      Object.fromEntries(lines.filter(([name]) => name.toLowerCase() !== 'status')),
    );
    const rest = head.subarray(end + 4);
    head = undefined;
    send(rest);
  });
  stdout.on('end', () => {
    if (!stalls.has(response)) response.end();
  });
}

/** A global git configuration whose credential helper knows the password: what a user would have. */
export function credentialConfig(
  folder: string,
  {user, password}: {readonly user: string; readonly password: string},
): string {
  const [file, helper] = [join(folder, 'gitconfig'), join(folder, 'helper.sh')];
  writeFileSync(helper, `#!/bin/sh\necho username=${user}\necho password=${password}\n`, {mode: 0o700});
  appendFileSync(file, `[credential]\n\thelper = ${helper}\n`);
  return file;
}
