/** Runs one operation once for each of its steps and each fault that the step can meet, and checks what is left. */
import {chmodSync, cpSync, existsSync, readdirSync, rmSync, utimesSync} from 'node:fs';
import {basename, join} from 'node:path';
import {isDeepStrictEqual} from 'node:util';
import type {Code} from './code.js';
import {World} from './faulty-fs.js';
import type {Fault, Step} from './faulty-fs.js';

export interface Scenario {
  readonly name: string;
  /** Makes the state that it begins with. */
  readonly prepare?: (code: Code, home: string) => unknown;
  /** A process that is about to act; `other` is the code of a healthy one beside it. */
  readonly open: (code: Code, home: string, other: Code) => Session;
  /** The operation may succeed without its effect: one that only tidies up, and harms nobody when it is put off. */
  readonly optional?: boolean;
  /** What a fresh process sees, as plain data. */
  readonly look: (code: Code, home: string) => unknown;
}

export interface Session {
  /** Resolves when the operation is acknowledged. */
  readonly act: () => unknown;
  /** What this same process holds for true afterwards, to be compared with what a fresh one sees. */
  readonly read?: () => unknown;
}

export interface Explored {
  readonly crashes: number;
  readonly errors: number;
  /** Invariants that didn't hold, each with the fault that showed it. */
  readonly violations: readonly string[];
}

/** The states that are allowed, before the operation and after it, and the files. */
interface Expected {
  readonly old: unknown;
  readonly new: unknown;
  readonly files: readonly string[];
}

export interface Explorer extends Workshop {
  /** Every error at each step; otherwise one, in turn. */
  readonly everyError: boolean;
}

interface Workshop {
  readonly faulty: Code;
  readonly healthy: Code;
  /** A folder of its own, empty. */
  readonly folder: string;
}

export async function explore(scenario: Scenario, explorer: Explorer): Promise<Explored> {
  const {healthy, faulty, folder, everyError} = explorer;
  const template = join(folder, 'template');
  if (scenario.prepare) {
    await scenario.prepare(healthy, template);
    await settled(() => heldLocks(template).length === 0);
  }
  const {steps, expected} = await reference(scenario, explorer, template);
  const violations: string[] = [];
  const count = {crash: 0, error: 0};
  const points = steps.flatMap((step, at) =>
    faultsOf(step, everyError ? undefined : at).map(fault => ({step, at, fault})),
  );
  await inParallel(points.entries(), async ([number, {step, at, fault}]) => {
    const home = join(folder, String(number));
    copyState(template, home);
    const world = new World(home, {at, fault});
    const found = await attack({scenario, home, world, healthy, faulty, expected});
    violations.push(...found.map(text => `${describe(fault, at, world.hit ?? step, home)}: ${text}`));
    // Things may come in another order than they did when they were counted: then it met no step that can fail so.
    if (world.hit !== undefined) count[fault.type === 'crash' ? 'crash' : 'error']++;
    rmSync(home, {recursive: true, force: true});
  });
  return {crashes: count.crash, errors: count.error, violations};
}

/** Much of an attack is waiting: for a lock to be given back, for a torn file to become whole. */
async function inParallel<T>(items: Iterable<T>, run: (item: T) => Promise<void>): Promise<void> {
  const iterator = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let next = iterator.next(); next.done !== true; next = iterator.next()) await run(next.value);
  };
  await Promise.all(Array.from({length: 32}, worker));
}

/** Without its modes: these are private where it matters. */
function copyState(template: string, home: string): void {
  if (!existsSync(template)) return;
  cpSync(template, home, {recursive: true});
  chmodSync(home, 0o700);
}

/** Made when they are needed for the first time, and kept. */
const folders = ['run', 'run/changes'];

async function reference(
  scenario: Scenario,
  {healthy, faulty, folder}: Workshop,
  template: string,
): Promise<{readonly steps: readonly Step[]; readonly expected: Expected}> {
  await warmUp(scenario, {faulty, healthy, folder}, template);
  const home = join(folder, 'reference');
  copyState(template, home);
  const before = await scenario.look(healthy, home);
  const world = new World(home);
  await world.run(async () => scenario.open(faulty, home, healthy).act());
  await settled(() => world.descriptors.size === 0);
  const after = await scenario.look(healthy, home);
  if (world.steps.length === 0 || isDeepStrictEqual(before, after)) throw new Error(`${scenario.name} does nothing`);
  if (world.descriptors.size > 0) {
    throw new Error(`${scenario.name} leaves descriptors: ${[...world.descriptors.values()].join(', ')}`);
  }
  await settled(() => heldLocks(home).length === 0);
  await perform(scenario.open(healthy, home, healthy), home);
  const files = [...filesBelow(template), ...filesBelow(home), ...folders];
  return {steps: world.steps, expected: {old: before, new: after, files}};
}

/** What is done once in the life of a process (modules loaded, the precision of times found out) is no step. */
async function warmUp(scenario: Scenario, {faulty, healthy, folder}: Workshop, template: string): Promise<void> {
  const home = join(folder, 'warm-up');
  copyState(template, home);
  const world = new World(home);
  await world.run(async () => scenario.open(faulty, home, healthy).act());
  await settled(() => world.descriptors.size === 0);
}

/**
 * A crash after a step that only reads is the crash before the next one.
 *
 * @param only which one of its errors; undefined: all of them
 */
function faultsOf({kind, errors: all}: Step, only: number | undefined): readonly Fault[] {
  const errors = only === undefined ? all : all.slice(only % all.length, (only % all.length) + 1);
  return [
    {type: 'crash', when: 'before'},
    ...(kind === 'read' ? [] : [{type: 'crash', when: 'after'} as const]),
    ...errors.map(code => ({type: 'error', code}) as const),
    ...(kind === 'data' ? [{type: 'short'} as const] : []),
  ];
}

interface Attack {
  readonly scenario: Scenario;
  readonly home: string;
  readonly world: World;
  readonly healthy: Code;
  readonly faulty: Code;
  readonly expected: Expected;
}

type Outcome =
  | {readonly type: 'done'}
  | {readonly type: 'failed'; readonly error: unknown}
  /** The process died before it said anything. */
  | {readonly type: 'died'};

async function attack(parts: Attack): Promise<string[]> {
  const {scenario, world, faulty, healthy, home} = parts;
  const session = scenario.open(faulty, home, healthy);
  const acted = world.run(async () => {
    await session.act();
  });
  const outcome: Outcome = await Promise.race([
    acted.then(
      () => ({type: 'done'}) as const,
      (error: unknown) => ({type: 'failed', error}) as const,
    ),
    world.died.then(() => ({type: 'died'}) as const),
  ]);
  try {
    await settled(() => world.descriptors.size === 0);
    world.heal();
    return world.dead ? await afterCrash(parts, outcome) : await afterAnswer(parts, session, outcome);
  } catch (error) {
    return [`nobody gets on: ${String(error)}`];
  }
}

/** A crash: old or new, never less; the next process finds nothing in its way and clears the leftovers away. */
async function afterCrash({scenario, home, healthy, expected}: Attack, outcome: Outcome): Promise<string[]> {
  const allowed = outcome.type === 'done' ? [expected.new] : [expected.old, expected.new];
  const violations = isOneOf(await scenario.look(healthy, home), ...allowed);
  ageLeftovers(home);
  await perform(scenario.open(healthy, home, healthy), home);
  violations.push(...isOneOf(await scenario.look(healthy, home), expected.new));
  violations.push(...(await unexpectedFiles(home, expected)));
  return violations;
}

/** An answer: a yes means the new state, a no is a clear error; either way nothing stays behind or locked. */
async function afterAnswer(
  {scenario, world, home, healthy, faulty, expected}: Attack,
  session: Session,
  outcome: Outcome,
): Promise<string[]> {
  const seen = await scenario.look(healthy, home);
  const mayBeOld = outcome.type === 'failed' || scenario.optional === true;
  const violations = isOneOf(seen, expected.new, ...(mayBeOld ? [expected.old] : []));
  if (outcome.type === 'failed') violations.push(...isClear(outcome.error, faulty, home));
  // A lock's folder that couldn't be removed is for the next holder to clear away.
  violations.push(...(await unexpectedFiles(home, expected, basename(world.hit?.path ?? ''))));
  if (world.descriptors.size > 0) violations.push(`open descriptors: ${[...world.descriptors.values()].join(', ')}`);
  if (session.read !== undefined) {
    const believed: unknown = await world.run(session.read);
    if (!isDeepStrictEqual(believed, seen)) {
      violations.push(`it believes ${show(believed)}, the disk has ${show(seen)}`);
    }
  }
  await perform(scenario.open(healthy, home, healthy), home);
  await world.run(() => perform(session, home));
  violations.push(...isOneOf(await scenario.look(healthy, home), expected.new));
  violations.push(...(await unexpectedFiles(home, expected)));
  return violations;
}

async function perform(session: Session, home: string): Promise<void> {
  await session.act();
  await settled(() => heldLocks(home).length === 0);
}

/** Longer than it takes on a busy machine: what is not so by then never will be. */
const settleMs = 3_000;

/** A change is acknowledged once it is committed; its lock is given back in the same breath, but after that. */
async function settled(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + settleMs;
  while (!condition() && performance.now() < deadline) await new Promise(resolve => setTimeout(resolve, 1));
}

function heldLocks(home: string): readonly string[] {
  return existsSync(home) ? readdirSync(home).filter(name => name.endsWith('.lock')) : [];
}

function isOneOf(seen: unknown, ...allowed: readonly unknown[]): string[] {
  if (allowed.some(state => isDeepStrictEqual(seen, state))) return [];
  return [`a fresh process sees ${show(seen)} instead of ${allowed.map(show).join(' or ')}`];
}

const reasons =
  /no space left|quota is used up|permission denied|read-only|too many open files|no locks available|the disk reported an error \(EIO\)|others held it/;

function isClear(error: unknown, {TektonError, describeError}: Code, home: string): string[] {
  if (!(error instanceof TektonError)) return [`an error of another kind: ${String(error)}`];
  const text = describeError(error);
  const clear = text.includes(home) && reasons.test(text) && text.startsWith('cannot ');
  return clear ? [] : [`an error that doesn't say it: ${text}`];
}

/** Temporary files are cleared away once they are old; the kernel's lock files stay for good. */
async function unexpectedFiles(home: string, {files}: Expected, excused?: string): Promise<string[]> {
  await settled(() => heldLocks(home).every(name => name === excused));
  return (
    filesBelow(home)
      // A request whose process lives stays until that has read the answer, and this process plays the dead one's part.
      .filter(file => file !== excused && !files.includes(file) && !file.startsWith('run/changes/'))
      .map(file => `${file} stays`)
  );
}

function filesBelow(folder: string): readonly string[] {
  return everything(folder).map(anonymous).toSorted();
}

/** Again when a folder goes while it is read: a lock's, that is. */
function everything(folder: string): readonly string[] {
  while (existsSync(folder)) {
    try {
      return readdirSync(folder, {recursive: true}) as string[];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return [];
}

function anonymous(file: string): string {
  return file.replace(/\.corrupt-.*$/, '.corrupt');
}

/** As if they had lain there for long. */
function ageLeftovers(home: string): void {
  for (const file of everything(home)) {
    if (file.endsWith('.tmp')) utimesSync(join(home, file), new Date(0), new Date(0));
  }
}

function describe(fault: Fault, at: number, {call, path}: Step, home: string): string {
  const what =
    fault.type === 'crash' ? `crash ${fault.when}` : fault.type === 'error' ? fault.code : 'disk full in the middle of';
  return `${what} step ${at} (${call} ${path.replace(home, '')})`;
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
