/** Cron schedules in time zones, as the `croner` package reads them; loaded only where somebody declares one. */
import type {Cron} from 'croner';

/**
 * The first time after `afterMs` (both ms since 1970) that a schedule names; undefined: it never comes again.
 *
 * A time that the clocks leave out when they are put forward counts as the first one after it; one that comes twice when
 * they are put back counts once, but for schedules with `*` or a step among minutes or hours, which count both.
 */
export type NextRun = (schedule: string, timeZone: string, afterMs: number) => number | undefined;

/** @returns a function that throws for a schedule or time zone that means nothing */
export async function loadSchedules(): Promise<NextRun> {
  const {Cron: Parsed} = await import('croner');
  const known = new Map<string, Cron>();
  return (schedule, timezone, afterMs) => {
    const key = `${timezone} ${schedule}`;
    const cron =
      known.get(key) ?? new Parsed(schedule, {timezone, mode: '5-part', fixedTimeRule: 'no-wildcard', paused: true});
    known.set(key, cron);
    return cron.nextRun(new Date(afterMs))?.getTime();
  };
}
