import {exitCodes, TektonError} from '../../api/errors.js';
import type {Command} from '../context.js';
import type {SessionsDeleteOptions} from '../options.js';
import {writeLine} from '../output.js';
import {countText} from '../print/amounts.js';
import {printable} from '../print/table.js';
import {openSessions} from '../sessions.js';

/** Makes a specialist forget conversations: those that are named, or all. One that isn't there is an error in the end. */
export const run: Command<SessionsDeleteOptions> = async (context, [name = '', ...sessions], {all, ...scope}) => {
  if (all === sessions.length > 0) {
    throw new TektonError(all ? 'sessions are named, and --all is given' : 'no session is named', {
      exitCode: exitCodes.invalidInput,
      hint: 'tekton-ai sessions delete NAME SESSION…, or --all',
    });
  }
  const store = await openSessions(context, name, scope);
  try {
    if (all) {
      await writeLine(context.stdout, `${countText(await store.deleteAll(), 'session')} deleted`);
      return exitCodes.ok;
    }
    const missing: string[] = [];
    for (const session of new Set(sessions)) {
      if (await store.delete(session)) await writeLine(context.stdout, `session ${printable(session)} deleted`);
      else missing.push(printable(session));
    }
    if (missing.length === 0) return exitCodes.ok;
    throw new TektonError(`${name} remembers no session ${missing.map(one => `"${one}"`).join(', ')}`, {
      hint: `tekton-ai sessions ${name}`,
    });
  } finally {
    store.close();
  }
};
