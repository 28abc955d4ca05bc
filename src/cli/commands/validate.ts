import {exitCodes} from '../../api/errors.js';
import type {Command} from '../context.js';
import {loadSources} from '../load.js';
import type {ValidateOptions} from '../options.js';
import {writeLine} from '../output.js';
import {countText} from '../print/amounts.js';
import {qualifiedName} from '../view.js';

/** Reads everything, changes nothing. What is wrong is thrown, all of it at once (exit code 4). */
export const run: Command<ValidateOptions> = async (context, args, options) => {
  if (options.output === 'text') return validate(context, args, options);
  const {withReview} = await import('../review/write.js');
  return withReview(() => 'validate', validate)(context, args, options);
};

const validate: Command<ValidateOptions> = async (context, _args, options) => {
  const fleets = await loadSources(context, options);
  const notices = fleets.flatMap(fleet => fleet.notices);
  for (const notice of notices) await writeLine(context.stderr, notice);
  if (options.output !== 'text') {
    const {writeReview} = await import('../review/write.js');
    await writeReview(context, {...options, verb: 'validate'}, {plans: [], fleets, remarks: notices});
    return exitCodes.ok;
  }
  for (const fleet of fleets) {
    const specialists = countText(fleet.specialists.length, 'specialist');
    await writeLine(context.stdout, `fleet ${qualifiedName(fleet)} is valid: ${specialists}`);
  }
  return exitCodes.ok;
};
