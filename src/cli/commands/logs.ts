import {createReadStream, existsSync} from 'node:fs';
import {exitCodes, TektonError} from '../../api/errors.js';
import {statePaths} from '../../registry/paths.js';
import type {Command} from '../context.js';
import {follow, tailOffset} from '../follow.js';
import {knownSpecialists} from '../names.js';
import type {LogsOptions} from '../options.js';
import {write} from '../output.js';
import {selectOne} from '../select.js';

/** A worker's own output. With --follow it goes on across restarts and rotation until it is interrupted. */
export const run: Command<LogsOptions> = async ({home, stdout, signal}, [name = ''], options) => {
  const {aiId} = await selectOne(knownSpecialists(home, options), name);
  const file = statePaths(home).log(aiId);
  if (!options.follow && !existsSync(file)) {
    throw new TektonError(`there is no log of ${aiId} yet: it was never launched here`, {hint: `look for ${file}`});
  }
  const from = options.tail === undefined ? 0 : await tailOffset(file, options.tail);
  if (options.follow) {
    for await (const text of follow(file, from, signal)) await write(stdout, text);
    return exitCodes.interrupted;
  }
  for await (const chunk of createReadStream(file, {start: from, encoding: 'utf8', signal})) {
    await write(stdout, chunk as string); // a stream with an encoding gives strings
  }
  return exitCodes.ok;
};
