/** A plan in a file: made and looked at now, carried out later if what it was made from still stands. */
import {readFileSync} from 'node:fs';
import path from 'node:path';
import {ConflictError, exitCodes, TektonError} from '../api/errors.js';
import {formatVersion} from '../api/types.js';
import type {FleetRecord, LoadedFleet} from '../api/types.js';
import {version} from '../api/version.js';
import {recordId} from '../reconciler/desired.js';
import type {Plan} from '../reconciler/types.js';
import {fileError, writeWhole} from '../registry/files.js';
import {readFleetRecords} from '../registry/fleet-records.js';
import {readLaunchRecords} from '../registry/launch-records.js';

/** Holds no secret: what is declared refers to them. */
export interface SavedPlan {
  readonly kind: 'Plan';
  readonly formatVersion: number;
  readonly version: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /** The state folder that it was made for. */
  readonly home: string;
  readonly fleets: readonly SavedFleet[];
}

interface SavedFleet {
  readonly declared: LoadedFleet;
  readonly base: Base;
  /** For people and tools that look at it; an apply plans anew, and comes to the same. */
  readonly plan: Plan;
}

/**
 * What a plan starts from, by ai id: hashes of declarations, not processes, so that a worker that crashed and came
 * back doesn't make it stale.
 */
interface Base {
  /** As last applied; one that is not to run stands as `off`. Absent: the fleet has no record. */
  readonly declared?: Readonly<Record<string, string>>;
  /** What the workers of the fleet run with. */
  readonly running: Readonly<Record<string, string>>;
}

/** Writes the plan to `file`, whole. @throws {TektonError} naming the file and the system's reason */
export async function savePlan(
  file: string,
  home: string,
  loaded: readonly LoadedFleet[],
  plans: readonly Plan[],
): Promise<void> {
  const records = readFleetRecords(home);
  const fleets = loaded.flatMap((declared, index): SavedFleet[] => {
    const plan = plans[index];
    const record = records.find(one => recordId(one) === recordId(declared));
    return plan ? [{declared, base: baseOf(home, declared, record), plan}] : [];
  });
  const saved: SavedPlan = {kind: 'Plan', formatVersion, version, createdAt: new Date().toISOString(), home, fleets};
  await writeWhole(file, `${JSON.stringify(saved, null, 2)}\n`);
}

/**
 * The plan in `file`.
 *
 * @throws {TektonError} (exit code 4) it is no plan
 * @throws {ConflictError} a newer version wrote it, or it is for another state folder
 */
export function readPlan(file: string, home: string): SavedPlan {
  const saved = parsePlan(file, readFile(file));
  if (saved.formatVersion > formatVersion) {
    throw new ConflictError(`cannot apply ${file}: a newer tekton-ai (${saved.version}) made it`, {
      hint: 'apply it with that version, or make a new plan',
    });
  }
  if (path.resolve(saved.home) !== path.resolve(home)) {
    throw new ConflictError(`cannot apply ${file}: it was made for the state folder ${saved.home}, not for ${home}`);
  }
  return saved;
}

/**
 * Refuses a fleet that has moved on since the plan was made. For use under the lock of the fleet's record.
 *
 * @throws {ConflictError} naming what has moved
 */
export function assertBase(
  file: string,
  saved: SavedPlan,
  declared: LoadedFleet,
  record: FleetRecord | undefined,
): void {
  const then = saved.fleets.find(one => recordId(one.declared) === recordId(declared))?.base;
  const now = baseOf(saved.home, declared, record);
  if (then === undefined) throw new TektonError(`internal error: ${file} has no fleet ${recordId(declared)}`);
  const declaredOtherwise = changed(then.declared ?? {}, now.declared ?? {});
  const runsOtherwise = changed(then.running, now.running).filter(aiId => !declaredOtherwise.includes(aiId));
  const moved = [
    ...declaredOtherwise.map(aiId => `${aiId} is declared otherwise`),
    ...runsOtherwise.map(aiId => `${aiId} runs with something else`),
  ];
  if (moved.length === 0) return;
  const what = moved.length > 5 ? `${moved.slice(0, 5).join(', ')} and more` : moved.join(', ');
  throw new ConflictError(`cannot apply ${file}: fleet ${recordId(declared)} has moved on since it was made: ${what}`, {
    hint: 'make a new plan with: tekton-ai plan --out',
  });
}

function baseOf(home: string, fleet: LoadedFleet, record: FleetRecord | undefined): Base {
  const {records} = readLaunchRecords(home);
  const own = records.filter(one => one.fleet === fleet.name && one.namespace === fleet.namespace);
  return {
    ...(record && {declared: declaredHashes(record)}),
    running: Object.fromEntries(own.map(({aiId, specHash}) => [aiId, specHash])),
  };
}

function declaredHashes({specialists, enabled, stopped}: FleetRecord): Readonly<Record<string, string>> {
  return Object.fromEntries(
    specialists.map(({aiId, specHash, spec}) => [aiId, enabled && spec.enabled && !stopped ? specHash : 'off']),
  );
}

function changed(then: Readonly<Record<string, string>>, now: Readonly<Record<string, string>>): readonly string[] {
  const aiIds = new Set([...Object.keys(then), ...Object.keys(now)]);
  return [...aiIds].filter(aiId => then[aiId] !== now[aiId]).toSorted();
}

function readFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw fileError(`cannot read ${file}`, error);
  }
}

function parsePlan(file: string, text: string): SavedPlan {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const isPlan =
    typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'Plan' && 'fleets' in value;
  if (isPlan) return value as SavedPlan; // we write them, whole
  throw new TektonError(`cannot apply ${file}: it is no plan`, {
    exitCode: exitCodes.invalidInput,
    hint: 'plans are made with `tekton-ai plan --out FILE`; fleet files are named with -f',
  });
}
