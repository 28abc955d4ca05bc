import {exitCodes} from '../../api/errors.js';
import type {Command} from '../context.js';
import type {SessionsOptions} from '../options.js';
import {write, writeJson, writeLine, writeYaml} from '../output.js';
import {spanText} from '../print/amounts.js';
import {printable, tableText} from '../print/table.js';
import {openSessions, type SessionStore} from '../sessions.js';

/** The conversations that a specialist remembers, the one used last first. */
export const run: Command<SessionsOptions> = async (context, [name = ''], {output, ...scope}) => {
  const store = await openSessions(context, name, scope);
  store.close();
  const {stdout, stderr} = context;
  const {aiId, running, persistent, sessions} = store;
  switch (output) {
    case 'json':
      await writeJson(stdout, {aiId, running, persistent, sessions: sessions.map(document)});
      break;
    case 'yaml':
      await writeYaml(stdout, {aiId, running, persistent, sessions: sessions.map(document)});
      break;
    case 'name':
      await write(stdout, sessions.map(session => `${printable(session.name)}\n`).join(''));
      break;
    case 'table':
    case 'wide':
      if (sessions.length === 0) await writeLine(stderr, 'no sessions');
      else await write(stdout, table(store, output === 'wide'));
  }
  return exitCodes.ok;
};

function document({name, turns, tokens, idle}: SessionStore['sessions'][number]) {
  return {name, turns, tokens, idleSeconds: Math.round(idle)};
}

function table({aiId, running, persistent, sessions}: SessionStore, wide: boolean): string {
  const kept = persistent ? (running ? 'memory, disk' : 'disk') : 'memory';
  const rows = sessions.map(({name, turns, tokens, idle}) => [
    printable(name),
    String(turns),
    String(tokens),
    spanText(1000 * idle),
    ...(wide ? [aiId, kept] : []),
  ]);
  return tableText(['SESSION', 'TURNS', 'TOKENS', 'IDLE', ...(wide ? ['AI', 'KEPT IN'] : [])], rows);
}
