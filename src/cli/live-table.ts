/** A table that is drawn over itself, for terminals. */
import {WriteStream} from 'node:tty';
import type {FleetStatus} from '../api/types.js';
import type {CommandContext} from './context.js';
import {noticeLines} from './notices.js';
import {observe} from './observe.js';
import {specialistColumns, specialistRow} from './print/specialists.js';
import {styleFor} from './print/style.js';
import {tableText} from './print/table.js';

/** Back to the line where the last drawing began, and all below it erased (ECMA-48: CPL, ED). */
const backUp = (lines: number): string => (lines === 0 ? '' : `\u001b[${lines}F\u001b[0J`);

/** Draws at most ten times a second; a change that comes in between is in the next drawing. */
export function liveTable(context: CommandContext): {readonly show: (status: FleetStatus) => void} {
  let drawn = 0;
  let due: NodeJS.Timeout | undefined;
  const draw = async (): Promise<void> => {
    const observation = await observe(context);
    const {specialists} = observation;
    const options = {wide: false, style: styleFor(context.color), now: Date.now()};
    const text = tableText(
      specialistColumns(false),
      specialists.map(view => specialistRow(view, options)),
    );
    // Lines that the terminal would break would upset the counting.
    const columns = context.stdout instanceof WriteStream ? context.stdout.columns : 80;
    const notices = noticeLines({...observation, fleets: []}).map(line => `${line.slice(0, columns - 1)}\n`);
    const whole = text + notices.join('');
    context.stdout.write(backUp(drawn) + whole);
    drawn = whole.split('\n').length - 1;
  };
  return {
    show: () => {
      due ??= setTimeout(() => {
        due = undefined;
        void draw();
      }, 100);
    },
  };
}
