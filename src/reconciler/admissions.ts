/** Asks of each changed declaration whether it is taken over now: looks at clock and windows, and decides by `admission.ts`. */
import {msOf} from '../api/time.js';
import type {FleetRecord} from '../api/types.js';
import type {NextRun} from '../spec/schedule.js';
import {admissionOf} from './admission.js';
import type {Admission} from './admission.js';
import {declaresSame} from './desired.js';
import type {WaitsFor} from './fleet-dependencies.js';
import type {Ports} from './ports.js';
import {alwaysOpen, stateOf} from './windows.js';
import type {WindowState} from './windows.js';

export class Admissions {
  readonly #ports: Pick<Ports, 'clock' | 'schedules'>;
  #nextRun: Promise<NextRun> | undefined;

  constructor(ports: Pick<Ports, 'clock' | 'schedules'>) {
    this.#ports = ports;
  }

  /**
   * @param record the declaration in force
   * @param next what it would become
   * @param dependency asked for only where `next` is another declaration
   */
  async of(
    record: FleetRecord,
    next: FleetRecord,
    dependency: () => Promise<WaitsFor | undefined>,
  ): Promise<Admission> {
    if (declaresSame(record, next)) return {admit: true};
    const waitsFor = await dependency();
    const nowMs = msOf(this.#ports.clock.iso());
    return admissionOf({record, next, window: await this.#window(record, nowMs), dependency: waitsFor, nowMs});
  }

  async #window({syncWindows = []}: FleetRecord, nowMs: number): Promise<WindowState> {
    if (syncWindows.length === 0) return alwaysOpen;
    this.#nextRun ??= this.#ports.schedules.load();
    return stateOf(syncWindows, nowMs, await this.#nextRun);
  }
}
