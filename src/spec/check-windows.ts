/** Sync windows whose schedule or time zone means nothing. */
import type {Problem} from '../api/errors.js';
import type {Fleet} from './fleet.js';
import {loadSchedules} from './schedule.js';

/** As `checkFleet`; apart from it because who declares no windows loads no cron. */
export async function checkWindows({group, fields}: Fleet): Promise<readonly Problem[]> {
  const {syncWindows} = fields;
  const document = group.fleet?.source;
  if (!document || !syncWindows || syncWindows.length === 0) return [];
  const nextRun = await loadSchedules();
  return syncWindows.flatMap((window, index): readonly Problem[] => {
    if (typeof window !== 'object') return []; // taken out: its problem is told already
    const path = ['spec', 'syncWindows', String(index)];
    const {schedule, timeZone} = window;
    const problems: Problem[] = [];
    if (timeZone !== undefined && !isTimeZone(timeZone)) {
      const hint = 'a name of the IANA database, such as Europe/Berlin';
      problems.push(document.problem([...path, 'timeZone'], 'value', `there is no time zone \`${timeZone}\``, hint));
    }
    if (schedule === undefined) return problems;
    const wrong = whatIsWrong(() => nextRun(schedule, 'UTC', Date.now()));
    if (wrong !== undefined) problems.push(document.problem([...path, 'schedule'], 'value', wrong));
    return problems;
  });
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', {timeZone: name});
    return true;
  } catch {
    return false;
  }
}

function whatIsWrong(next: () => number | undefined): string | undefined {
  try {
    return next() === undefined ? 'this `schedule` names a time that never comes' : undefined;
  } catch (error) {
    const cause = (error instanceof Error ? error.message : String(error)).replace(/^CronPattern: /, '');
    return `this is no schedule: ${cause}`;
  }
}
