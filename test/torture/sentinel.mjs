/** A stranger's process that notes down whatever signal reaches it; only its own parent may end it, by closing its input. */
import {openLog} from './oplog.mjs';

const order = JSON.parse(process.argv[2]);
const log = openLog(order.log);
for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGCONT', 'SIGWINCH', 'SIGPIPE']) {
  process.on(name, () => log({violation: 'a stranger was signalled', signal: name}));
}
process.stdin.resume().once('end', () => process.exit(0));
log({started: process.pid});
