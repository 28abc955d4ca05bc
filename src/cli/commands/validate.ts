import {exitCodes} from '../../api/errors.js';
import type {Command} from '../context.js';
import {loadAll, meant, nearestFile, noneIsMeant} from '../load.js';
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
  const paths = options.files.length > 0 ? options.files : [await nearestFile(context.cwd)];
  const {fleets: all, gitSources} = await loadAll(context, paths, options.variables);
  const fleets = meant(all, options);
  if (fleets.length === 0 && gitSources.length === 0) throw noneIsMeant(all);
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
  for (const source of gitSources) {
    await writeLine(context.stdout, `git source ${qualifiedName(source)} is valid; what it leads to was not read`);
  }
  return exitCodes.ok;
};
