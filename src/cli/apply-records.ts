/** Writes what was loaded into the fleet records: from then on it is the desired state. */
import {ConflictError} from '../api/errors.js';
import type {FleetRecord, LoadedFleet} from '../api/types.js';
import {version} from '../api/version.js';
import {MassPruneError, nextRecord, recordId} from '../reconciler/desired.js';
import {circleOf, circleText, fleetOrder} from '../reconciler/fleet-dependencies.js';
import {isRefused, notReadyOf} from '../reconciler/health-gate.js';
import {readFleetStatus} from '../registry/status-files.js';
import {readFleetRecord, readFleetRecords, setAsideIfDamaged, updateFleet} from '../registry/fleet-records.js';
import {ensureStateHome} from '../registry/home.js';
import type {CommandContext} from './context.js';
import {writeLine} from './output.js';
import {refuseClosed} from './sync-windows.js';

export interface ApplyFlags {
  readonly yes: boolean;
  readonly takeOver: boolean;
  readonly prune: boolean;
  /** Though a sync window keeps people out. */
  readonly ignoreWindows?: boolean;
  /** As in nextRecord. */
  readonly expiresAt?: string | null;
  /** false: a program that begins again says what it said before, and what was rolled back stays refused. Default: true. */
  readonly byPerson?: boolean;
  /** Called under the lock with what is recorded, before anything is written; it throws to refuse. */
  readonly check?: (loaded: LoadedFleet, previous: FleetRecord | undefined) => void;
}

/**
 * Makes sure that the state folder can be used. A damaged record keeps all others from being read; whoever has the
 * declaration at hand can do without it. To be called before anything is planned.
 *
 * @throws {TektonError} the state folder can't be made or written to
 */
export async function mendRecords(context: CommandContext, loaded: readonly LoadedFleet[]): Promise<void> {
  for (const warning of await ensureStateHome(context.home)) await writeLine(context.stderr, `warning: ${warning}`);
  for (const fleet of loaded) {
    const movedTo = await setAsideIfDamaged(context.home, fleet);
    if (movedTo === undefined) continue;
    const name = `${fleet.namespace}/${fleet.name}`;
    await writeLine(context.stderr, `warning: the record of fleet ${name} was damaged; it was moved to ${movedTo}`);
  }
}

/**
 * All or nothing per fleet, under its lock; two at once come one after the other. A mass prune is asked about on a
 * terminal. After `mendRecords`.
 *
 * @throws {ConflictError} another source owns a fleet, fleets would wait for each other, a sync window keeps people out, or a mass prune that nobody agreed
 * to; nothing was written.
 */
export async function applyRecords(
  context: CommandContext,
  loaded: readonly LoadedFleet[],
  flags: ApplyFlags,
): Promise<readonly FleetRecord[]> {
  await refuseBefore(context, loaded, flags);
  const records: FleetRecord[] = [];
  for (const fleet of fleetOrder(loaded)) {
    const write = (confirmed: boolean): Promise<FleetRecord> =>
      updateFleet(context.home, fleet, previous => {
        flags.check?.(fleet, previous);
        const {byPerson = true} = flags;
        if (previous && !byPerson && isRefused(previous, fleet)) return {...previous, stopped: false};
        const appliedAt = new Date().toISOString();
        const notReady = notReadyOf(readFleetStatus(context.home, fleet)?.specialists ?? []);
        return nextRecord(previous, fleet, {...flags, byPerson, notReady, confirmed, appliedAt, version});
      });
    try {
      records.push(await write(flags.yes));
    } catch (error) {
      if (!(error instanceof MassPruneError) || !(await agreed(context, error))) throw error;
      records.push(await write(true));
    }
  }
  return records;
}

/**
 * Refuses what `applyRecords` would, for those who write something else first. A mass prune that a person can be asked
 * about is let through here.
 *
 * @throws {ConflictError} as `applyRecords`
 */
export async function refuseBefore(
  context: CommandContext,
  loaded: readonly LoadedFleet[],
  flags: ApplyFlags,
): Promise<void> {
  const {home} = context;
  if (!flags.ignoreWindows) await refuseClosed(home, loaded);
  refuseCircles(home, loaded);
  const confirmed = flags.yes || canBeAsked(context);
  for (const fleet of loaded) {
    const previous = readFleetRecord(home, fleet);
    const isKept = previous !== undefined && flags.byPerson === false && isRefused(previous, fleet);
    if (!isKept) nextRecord(previous, fleet, {...flags, confirmed, appliedAt: '', version});
  }
}

function canBeAsked({isTerminal}: CommandContext): boolean {
  return isTerminal.stdin && isTerminal.stderr;
}

/** @throws {ConflictError} a fleet would wait for itself, over others that are recorded */
function refuseCircles(home: string, loaded: readonly LoadedFleet[]): void {
  if (!loaded.some(fleet => fleet.dependsOn)) return;
  const ids = new Set(loaded.map(recordId));
  const others = readFleetRecords(home).filter(record => !ids.has(recordId(record)));
  for (const fleet of loaded) {
    const circle = circleOf(fleet, [...others, ...loaded]);
    if (!circle) continue;
    throw new ConflictError(`cannot apply fleet ${recordId(fleet)}: ${circleText(circle)}; nothing was changed`, {
      hint: 'take one of them out of the `dependsOn` of another, and apply that first',
    });
  }
}

async function agreed(context: CommandContext, error: MassPruneError): Promise<boolean> {
  if (!canBeAsked(context)) return false;
  const {createInterface} = await import('node:readline/promises');
  const terminal = createInterface({input: context.openStdin(), output: context.stderr});
  try {
    const answer = await terminal.question(`This apply ${error.message}. Go on? [y/N] `, {signal: context.signal});
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}
