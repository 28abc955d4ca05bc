/** Text that takes the place of what was drawn before, on a terminal; elsewhere each drawing follows the last. */
import type {CommandContext} from './context.js';
import {write} from './output.js';

export function drawOver({stdout, isTerminal}: CommandContext): (text: string) => Promise<void> {
  let drawn = 0;
  return async text => {
    // Back to the line where the last drawing began, and all below it erased (ECMA-48: CPL, ED).
    const back = drawn === 0 ? '' : isTerminal.stdout ? `\u001b[${drawn}F\u001b[0J` : '\n';
    drawn = text.split('\n').length - 1;
    await write(stdout, back + text);
  };
}
