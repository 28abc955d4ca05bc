/** What an apply makes of the fleet record: generations, ownership, the mass-prune guard. Pure. */
import {ConflictError} from '../api/errors.js';
import {formatVersion} from '../api/types.js';
import type {FleetRecord, LoadedFleet, Source} from '../api/types.js';
import {nextCanaries, withoutStaleHolds} from './canary-record.js';
import {withGenerations} from './generations.js';
import {withGate} from './health-gate.js';
import type {NotReady} from './health-gate.js';
import {isMassPrune} from './plan.js';
import {laidOver, stillDeclared} from './rollouts.js';

export interface ApplyOptions {
  /** A person or `--yes` agreed to prune more than half. */
  readonly confirmed: boolean;
  readonly takeOver: boolean;
  /** false: what is no longer declared stays, and stays in the record. */
  readonly prune: boolean;
  /** ISO 8601. */
  readonly appliedAt: string;
  readonly version: string;
  /** When it is to be stopped (ISO 8601); null: never. Absent: as before; one that was stopped meanwhile begins anew. */
  readonly expiresAt?: string | null;
  /** A person says so, and not a source that is followed: what was refused of it is judged anew. */
  readonly byPerson?: boolean;
  /** Who is not Ready just now: such faults are not the fault of what is applied. */
  readonly notReady?: NotReady;
}

/**
 * The record after applying `loaded` on `previous`. A specialist's generation goes up by one exactly when what is
 * declared of it changed; a name that returns counts on from where it was.
 *
 * @throws {ConflictError} another source owns the fleet, or a mass prune that nobody confirmed.
 */
export function nextRecord(previous: FleetRecord | undefined, loaded: LoadedFleet, options: ApplyOptions): FleetRecord {
  if (previous && !sameSource(previous.source, loaded.source) && !options.takeOver) {
    throw new ConflictError(
      `cannot apply fleet ${loaded.namespace}/${loaded.name} from ${describeSource(loaded.source)}: ` +
        `it is declared by ${describeSource(previous.source)}`,
      {hint: 'apply from there, or make this the new source with --take-over'},
    );
  }
  const before = previous?.specialists ?? [];
  const declared = new Set(loaded.specialists.map(d => d.aiId));
  const removed = before.filter(d => !declared.has(d.aiId));
  if (options.prune && !options.confirmed && !loaded.allowMassPrune && isMassPrune(before.length, removed.length)) {
    throw new MassPruneError(
      removed.map(d => d.name),
      before.length,
    );
  }
  const declaredNow = [...loaded.specialists, ...(options.prune ? [] : removed)];
  const {byPerson = false, notReady = {}, appliedAt: at} = options;
  const rollouts = withoutStaleHolds(stillDeclared(previous?.rollouts, declaredNow), declaredNow, byPerson);
  const specialists = withGenerations(laidOver(declaredNow, rollouts), previous);
  const generations = {...previous?.generations};
  for (const d of specialists) generations[d.aiId] = d.generation;
  const kept = previous?.stopped ? undefined : previous?.expiresAt;
  const expiresAt = options.expiresAt === undefined ? kept : options.expiresAt;
  const canaries = nextCanaries(previous, specialists, rollouts, byPerson);
  const next: FleetRecord = {
    ...loaded,
    ...(expiresAt && {expiresAt}),
    specialists,
    generations,
    formatVersion,
    appliedAt: options.appliedAt,
    version: options.version,
    stopped: false,
    ...(Object.keys(rollouts).length > 0 && {rollouts}),
    ...(Object.keys(canaries).length > 0 && {canaries}),
  };
  return withGate(previous, next, {loaded, notReady, at});
}

/**
 * Whether an apply that makes `b` of `a` changes what is declared. When it was applied, by which version, and at which
 * commit is no part of that, nor is that the fleet was stopped.
 */
export function declaresSame(a: FleetRecord, b: FleetRecord): boolean {
  // What gates have made of it, and when it is to end, is no declaration either.
  const own = {appliedAt: '', version: '', stopped: false};
  const not = {revision: undefined, gate: undefined, canaries: undefined, expiresAt: undefined};
  const content = (record: FleetRecord): string => JSON.stringify({...record, ...own, ...not});
  return content(a) === content(b);
}

/** Nothing was changed; `--yes` or a person's word lets it through. */
export class MassPruneError extends ConflictError {
  override readonly name = 'MassPruneError';

  constructor(removed: readonly string[], before: number) {
    super(`would prune ${removed.length} of ${before} specialists (${removed.join(', ')}); nothing was changed`, {
      hint: 'if that is meant, confirm with `tekton-ai apply --yes`, or set spec.allowMassPrune: true',
    });
  }
}

/** `<namespace>/<name>` of a fleet as it is declared or recorded. */
export function recordId({namespace, name}: {readonly namespace: string; readonly name: string}): string {
  return `${namespace}/${name}`;
}

export function describeSource(source: Source): string {
  switch (source.type) {
    case 'stdin':
      return 'standard input';
    case 'files':
      return source.paths.join(', ');
    case 'git':
      return `git source ${source.source} (${source.path} of ${source.url})`;
  }
}

function sameSource(a: Source, b: Source): boolean {
  if (a.type === 'git' && b.type === 'git') return a.source === b.source;
  if (a.type !== 'files' || b.type !== 'files') return a.type === b.type;
  return a.paths.length === b.paths.length && [...a.paths].sort().every((path, i) => path === [...b.paths].sort()[i]);
}
