import {closeSync, writeSync} from 'node:fs';
import {exitCodes} from '../../api/errors.js';
import type {Command} from '../context.js';
import {lead} from '../lead.js';

/** The background process that `up` starts; not for people. Says on descriptor 3 that it listens. */
export const run: Command<unknown> = async context => {
  const {pinoLogger} = await import('../logger.js');
  await lead(context, {
    log: await pinoLogger(),
    listening: () => {
      try {
        writeSync(3, 'listening\n');
        closeSync(3);
      } catch {
        // Whoever started us has gone, or started us by hand.
      }
    },
  });
  return exitCodes.ok;
};
