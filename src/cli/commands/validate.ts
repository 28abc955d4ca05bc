import {exitCodes} from '../../api/errors.js';
import type {Command} from '../context.js';
import {loadSources} from '../load.js';
import type {ValidateOptions} from '../options.js';
import {writeLine} from '../output.js';
import {countText} from '../print/amounts.js';
import {qualifiedName} from '../view.js';

/** Reads everything, changes nothing. What is wrong is thrown, all of it at once (exit code 4). */
export const run: Command<ValidateOptions> = async (context, _args, options) => {
  for (const fleet of await loadSources(context, options)) {
    for (const notice of fleet.notices) await writeLine(context.stderr, notice);
    const specialists = countText(fleet.specialists.length, 'specialist');
    await writeLine(context.stdout, `fleet ${qualifiedName(fleet)} is valid: ${specialists}`);
  }
  return exitCodes.ok;
};
