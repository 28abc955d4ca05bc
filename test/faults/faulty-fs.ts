/**
 * A file system that crashes or fails at one chosen step. It wraps every function of node:fs: the real calls are
 * carried out, counted, and at step `at` the world either ends (its descriptors are closed, nothing that it still
 * tries ever happens) or one call fails with a system error.
 *
 * A world is bound to the asynchronous context that runs in it (`world.run`), so that what a dead world's code still
 * has under way can't reach the disk, while healthy code of the same process goes on.
 */
import {AsyncLocalStorage} from 'node:async_hooks';
import * as realFs from 'node:fs';
import * as realPromises from 'node:fs/promises';
import {constants} from 'node:os';

export type Fault =
  /** The process dies right before the step, or right after it. */
  | {readonly type: 'crash'; readonly when: 'before' | 'after'}
  /** The step fails once, as the kernel fails it: `close` closes all the same. */
  | {readonly type: 'error'; readonly code: string}
  /** Half of the data is written; the rest finds no space left. */
  | {readonly type: 'short'};

export interface Step {
  readonly call: string;
  /** Path, or what the descriptor was opened as. */
  readonly path: string;
  /** data: writes content. read: changes nothing. */
  readonly kind: 'read' | 'change' | 'data';
  /** What the kernel may answer. */
  readonly errors: readonly string[];
}

/** Thrown by what a dead world tries synchronously. Asynchronous calls of it never come back. */
export class CrashError extends Error {
  override readonly name = 'CrashError';
}

const worlds = new AsyncLocalStorage<World>();

export class World {
  readonly steps: Step[] = [];
  readonly descriptors = new Map<number, string>();
  /** Resolves when the world ends. */
  readonly died: Promise<void>;
  dead = false;
  /** The step that the fault hit. */
  hit: Step | undefined;
  #announce: () => void = () => undefined;
  readonly #written = new Set<unknown>();
  readonly #fullDisk = new Set<unknown>();
  #healed = false;

  constructor(
    /** Steps are what is done to files below this folder. */
    private readonly folder: string,
    private readonly fault?: {readonly at: number; readonly fault: Fault},
  ) {
    this.died = new Promise(resolve => (this.#announce = resolve));
  }

  run<T>(code: () => T): T {
    return worlds.run(this, code);
  }

  /** Nothing goes wrong from here on. */
  heal(): void {
    this.#healed = true;
  }

  /** What the kernel does when a process dies: its descriptors are closed, and with them its locks go. */
  die(): void {
    this.dead = true;
    for (const fd of this.descriptors.keys()) realFs.closeSync(fd);
    this.descriptors.clear();
    this.#announce();
  }

  pathOf(subject: unknown): string | undefined {
    if (typeof subject === 'number') return this.descriptors.get(subject);
    const path = String(subject);
    return path === this.folder || path.startsWith(`${this.folder}/`) ? path : undefined;
  }

  /** Whether something was written through this descriptor. */
  isWritten(fd: unknown): boolean {
    return this.#written.has(fd);
  }

  opened(fd: number, path: string): void {
    this.#written.delete(fd);
    this.#fullDisk.delete(fd);
    this.descriptors.set(fd, path);
  }

  /** Counts the step and says what becomes of it. */
  verdict(step: Step, subject: unknown): Verdict {
    this.steps.push(step);
    if (step.kind === 'data') this.#written.add(subject);
    if (step.kind === 'data' && this.#fullDisk.delete(subject)) {
      return {type: 'fail', error: systemError('ENOSPC', step)};
    }
    if (this.fault === undefined || this.#healed || this.steps.length - 1 !== this.fault.at) return {type: 'go'};
    const {fault} = this.fault;
    // Things may come in another order than they did when the steps were counted.
    const fits =
      fault.type === 'crash' || (fault.type === 'short' ? step.kind === 'data' : step.errors.includes(fault.code));
    if (!fits) return {type: 'go'};
    this.hit = step;
    switch (fault.type) {
      case 'crash':
        return {type: fault.when === 'before' ? 'die' : 'dieAfter'};
      case 'error':
        return {type: step.call === 'close' ? 'failAfter' : 'fail', error: systemError(fault.code, step)};
      case 'short':
        this.#fullDisk.add(subject);
        return {type: 'short', error: systemError('ENOSPC', step)};
    }
  }
}

type Verdict =
  {readonly type: 'go' | 'die' | 'dieAfter'} | {readonly type: 'fail' | 'failAfter' | 'short'; readonly error: Error};

function systemError(code: string, {call, path}: Step): Error {
  const errno = -(constants.errno[code as keyof typeof constants.errno] ?? 0); // a name of errno(3)
  return Object.assign(new Error(`${code}: simulated, ${call} '${path}'`), {code, errno, syscall: call, path});
}

const full = ['ENOSPC', 'EDQUOT'];
const naming = ['EACCES', 'EROFS', 'EIO'];

/** Errors that the kernel gives for each call (the ERRORS sections of section 2 of the manual), of those we try. */
const errors: Readonly<Record<string, readonly string[]>> = {
  access: ['EACCES', 'EIO'],
  stat: ['EACCES', 'EIO'],
  lstat: ['EACCES', 'EIO'],
  fstat: ['EIO'],
  statfs: ['EACCES', 'EIO'],
  read: ['EIO'],
  readv: ['EIO'],
  readFile: ['EACCES', 'EMFILE', 'EIO'],
  readdir: ['EACCES', 'EMFILE', 'EIO'],
  opendir: ['EACCES', 'EMFILE', 'EIO'],
  readlink: ['EACCES', 'EIO'],
  realpath: ['EACCES', 'EIO'],
  write: [...full, 'EIO'],
  writev: [...full, 'EIO'],
  writeFile: [...full, ...naming, 'EMFILE'],
  appendFile: [...full, ...naming, 'EMFILE'],
  copyFile: [...full, ...naming, 'EMFILE'],
  cp: [...full, ...naming, 'EMFILE'],
  ftruncate: ['EIO'],
  fsync: [...full, 'EIO'],
  fdatasync: [...full, 'EIO'],
  close: [...full, 'EIO'],
  unlink: naming,
  rmdir: naming,
  rename: [...full, ...naming],
  link: [...full, ...naming],
  mkdir: [...full, ...naming],
  rm: naming,
  chmod: naming,
  fchmod: ['EROFS', 'EIO'],
  utimes: naming,
  futimes: ['EROFS', 'EIO'],
  tryLock: ['ENOLCK', 'EIO'],
  unlock: [],
};

/** What else there is makes a name: open, mkdir, rename, link, … */
const anyError = [...full, ...naming, 'EMFILE'];

const data = new Set(['write', 'writev', 'writeFile', 'appendFile']);
const reading = new Set(
  'access stat lstat fstat statfs read readv readFile readdir opendir readlink realpath'.split(' '),
);

type Call = (...args: unknown[]) => unknown;
/** Functions of node:fs that don't fit the scheme; the code under test doesn't use them. */
const untouched =
  /^(_|[A-Z]|existsSync|createReadStream|createWriteStream|watch|unwatch|watchFile|unwatchFile|openAsBlob|promises)/;

/** Stands in for `node:fs`. */
export function faultyFs(): Record<string, unknown> {
  const wrapped: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(realFs)) {
    if (typeof value !== 'function' || untouched.test(name)) wrapped[name] = value;
    else wrapped[name] = name.endsWith('Sync') ? wrapSync(name, value as Call) : wrapCallback(name, value as Call);
  }
  wrapped['promises'] = faultyPromises();
  return {...wrapped, default: wrapped};
}

/** Stands in for `node:fs/promises`. */
export function faultyPromises(): Record<string, unknown> {
  const wrapped: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(realPromises)) {
    wrapped[name] = typeof value === 'function' ? wrapPromise(name, value as Call) : value;
  }
  return {...wrapped, default: wrapped};
}

/** A call that is no part of node:fs but works on a descriptor of the world. */
export function asStep<A extends unknown[], R>(name: string, call: (...args: A) => R): (...args: A) => R {
  return wrapSync(`${name}Sync`, call as unknown as Call) as unknown as (...args: A) => R;
}

/** Whether the caller runs in a world, living or dead. */
export function isInWorld(): boolean {
  return worlds.getStore() !== undefined;
}

/** Runs what another process does. */
export function outside<T>(code: () => T): T {
  return worlds.exit(code);
}

interface Meeting {
  readonly world: World;
  readonly step: Step;
}

/** undefined: nobody's business, the real call is made. */
function meet(name: string, args: readonly unknown[]): Meeting | undefined {
  const world = worlds.getStore();
  const path = world?.pathOf(args[0]) ?? (world?.dead === true ? 'a closed descriptor' : undefined);
  if (world === undefined || path === undefined) return undefined;
  return {world, step: {call: name, path, ...nature(name, args, world)}};
}

/** Reading is also what happens to a descriptor that was opened for nothing else: closing that can't fail. */
function nature(name: string, args: readonly unknown[], world: World): Pick<Step, 'kind' | 'errors'> {
  const {O_CREAT, O_TRUNC} = realFs.constants;
  const [subject, flags] = args;
  if (name === 'open') {
    const makes =
      typeof flags === 'number' ? (flags & (O_CREAT | O_TRUNC)) !== 0 : flags !== undefined && flags !== 'r';
    return makes ? {kind: 'change', errors: anyError} : {kind: 'read', errors: ['EACCES', 'EMFILE', 'EIO']};
  }
  if (name === 'close' && !world.isWritten(subject)) return {kind: 'read', errors: []};
  if (name === 'readFile' && typeof subject === 'number') return {kind: 'read', errors: ['EIO']};
  const kind = data.has(name) ? 'data' : reading.has(name) ? 'read' : 'change';
  return {kind, errors: errors[name] ?? anyError};
}

function wrapSync(fullName: string, real: Call): Call {
  const name = fullName.replace(/Sync$/, '');
  return (...args) => {
    const meeting = meet(name, args);
    if (meeting === undefined) return real(...args);
    const {world, step} = meeting;
    if (world.dead) throw new CrashError('the process has died');
    const verdict = world.verdict(step, args[0]);
    switch (verdict.type) {
      case 'fail':
        throw verdict.error;
      case 'short':
        return shortSync(name, real, args, verdict.error);
      case 'die':
        world.die();
        throw new CrashError('the process died');
      default: {
        const value = step.call === 'fsync' ? undefined : note(world, step, args, real(...args));
        if (verdict.type === 'failAfter') throw verdict.error;
        if (verdict.type === 'go') return value;
        world.die();
        throw new CrashError('the process died');
      }
    }
  };
}

function wrapPromise(name: string, real: Call): Call {
  return async (...args) => {
    const meeting = meet(name, args);
    if (meeting === undefined) return real(...args);
    const {world, step} = meeting;
    if (world.dead) return never();
    if (name === 'open') throw new Error('file handles are not known to this file system');
    const verdict = world.verdict(step, args[0]);
    switch (verdict.type) {
      case 'fail':
        throw verdict.error;
      case 'short':
        await real(args[0], half(args[1]), ...args.slice(2));
        throw verdict.error;
      case 'die':
        world.die();
        return never();
      default: {
        const value = await real(...args);
        if (verdict.type === 'failAfter') throw verdict.error;
        if (verdict.type === 'dieAfter') world.die();
        return world.dead ? never() : value;
      }
    }
  };
}

function wrapCallback(name: string, real: Call): Call {
  return (...args) => {
    const meeting = meet(name, args);
    if (meeting === undefined || typeof args.at(-1) !== 'function') return real(...args);
    const done = args.at(-1) as Call; // node:fs takes the callback last
    const {world, step} = meeting;
    if (world.dead) return undefined;
    const verdict = world.verdict(step, args[0]);
    if (verdict.type === 'fail') return setImmediate(done, verdict.error);
    if (verdict.type === 'short') throw new Error(`a short ${name} is not known to this file system`);
    if (verdict.type === 'die') return world.die();
    const settle = (error: unknown, ...values: unknown[]): void => {
      if (verdict.type === 'dieAfter') world.die();
      if (world.dead) return;
      if (error === null || error === undefined) note(world, step, args, values[0]);
      done(verdict.type === 'failAfter' ? verdict.error : error, ...values);
    };
    return step.call === 'fsync' ? setImmediate(settle, null) : real(...args.slice(0, -1), settle);
  };
}

/** What the kernel has survives a crash of the process, so nothing is really synced: that would test the disk's patience. */
function note(world: World, {call, path}: Step, args: readonly unknown[], value: unknown): unknown {
  if (call === 'open' && typeof value === 'number') world.opened(value, path);
  if (call === 'close' && typeof args[0] === 'number') world.descriptors.delete(args[0]);
  return value;
}

/** A short `write` is no error: it says how much it wrote. Whoever writes whole files learns of the full disk. */
function shortSync(name: string, real: Call, args: readonly unknown[], error: Error): unknown {
  const [target, data, offset] = args;
  if (name !== 'write') {
    real(target, half(data));
    throw error;
  }
  if (typeof data === 'string') return real(target, half(data));
  const from = typeof offset === 'number' ? offset : 0;
  const length = (data as Uint8Array).length - from; // as writeSync takes it
  return real(target, data, from, Math.floor(length / 2));
}

function half(data: unknown): unknown {
  if (typeof data === 'string') return data.slice(0, Math.floor(data.length / 2));
  return data instanceof Uint8Array ? data.subarray(0, Math.floor(data.length / 2)) : data;
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}
