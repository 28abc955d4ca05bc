/** A table that is drawn over itself, for terminals. */
import type {FleetStatus} from '../api/types.js';
import type {CommandContext} from './context.js';
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
    const {specialists} = await observe(context);
    const options = {wide: false, style: styleFor(context.color), now: Date.now()};
    const text = tableText(
      specialistColumns(false),
      specialists.map(view => specialistRow(view, options)),
    );
    context.stdout.write(backUp(drawn) + text);
    drawn = text.split('\n').length - 1;
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
