/** What sync windows mean for those who apply by hand. */
import {ConflictError} from '../api/errors.js';
import type {FleetRecord, LoadedFleet} from '../api/types.js';
import {version} from '../api/version.js';
import {closedText} from '../reconciler/admission.js';
import {declaresSame, nextRecord, recordId} from '../reconciler/desired.js';
import {stateOf} from '../reconciler/windows.js';
import {readFleetRecord} from '../registry/fleet-records.js';
import {loadSchedules} from '../spec/schedule.js';

/** A fleet whose windows, those of the declaration in force, are closed for what was loaded of it. */
export interface Closed {
  readonly fleet: LoadedFleet;
  readonly record: FleetRecord;
  /** "the sync window opens at 2026-01-05T08:00:00Z" */
  readonly text: string;
  /** Whether an apply by hand is let through. */
  readonly manual: boolean;
}

/** Those of `loaded` for which an apply by the controller would wait now; none where nothing would change. */
export async function closedFor(home: string, loaded: readonly LoadedFleet[]): Promise<readonly Closed[]> {
  const changed = loaded.flatMap(fleet => {
    const record = readFleetRecord(home, fleet);
    const isBound = record?.syncWindows !== undefined && !declaresSame(record, appliedTo(record, fleet));
    return isBound ? [{fleet, record}] : [];
  });
  if (changed.length === 0) return [];
  const nextRun = await loadSchedules();
  return changed.flatMap(({fleet, record}) => {
    const state = stateOf(record.syncWindows ?? [], Date.now(), nextRun);
    return state.open ? [] : [{fleet, record, text: closedText(state), manual: state.manual}];
  });
}

function appliedTo(record: FleetRecord, fleet: LoadedFleet): FleetRecord {
  return nextRecord(record, fleet, {confirmed: true, takeOver: true, prune: true, appliedAt: '', version});
}

/** @throws {ConflictError} a window is closed that keeps people out, too */
export async function refuseClosed(home: string, loaded: readonly LoadedFleet[]): Promise<void> {
  const refused = (await closedFor(home, loaded)).find(({manual}) => !manual);
  if (refused === undefined) return;
  throw new ConflictError(`cannot apply fleet ${recordId(refused.fleet)} now: ${refused.text}; nothing was changed`, {
    hint: 'wait until then, or apply all the same with --ignore-windows',
  });
}

/** What a person should know before applying: one line for each fleet that the controller would have wait. */
export async function windowLines(home: string, loaded: readonly LoadedFleet[]): Promise<readonly string[]> {
  return (await closedFor(home, loaded)).map(({fleet, text, manual}) => {
    const byHand = manual ? 'an apply by hand does not wait' : 'an apply by hand needs --ignore-windows';
    return `fleet ${recordId(fleet)}: ${text}: the controller takes a change over then; ${byHand}`;
  });
}
