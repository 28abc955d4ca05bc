/**
 * Entry of a launched worker: reads one LaunchMessage from standard input, binds, reports on file descriptor 3, and
 * serves until told to stop. It outlives whoever launched it.
 *
 * What happens before it listens is what every start of a specialist costs: only node:net and node:fs are loaded,
 * and every step is synchronous but the binding itself.
 */
import {closeSync, fstatSync, openSync, readFileSync, writeSync} from 'node:fs';
import type {Server} from 'node:net';
import {describeError} from '../api/errors.js';
import {formatVersion} from '../api/types.js';
import type {HandoverMessage, LaunchMessage, LaunchReport} from '../protocol/control.js';
import {isLaunch} from './control-socket.js';
import {stderrLog} from './log.js';
import type {Log} from './log.js';
import {ListenError} from './server.js';
import type {Inherit} from './server.js';
import {startWorker} from './start.js';
import type {RunningWorker} from './start.js';
import type {CreateProvider} from './specialist.js';

/** Exit code of a worker whose port was taken: the launcher chooses another. */
const portTakenCode = 98;
const reportFd = 3;

const createProvider: CreateProvider = async (resolved, context) => {
  const {createProvider: create} = await import('../providers/create.js');
  return create(resolved, context);
};

void main();

async function main(): Promise<void> {
  const log = stderrLog(argument('--ai-id') ?? 'worker');
  dieLoudly(log);
  try {
    const message = readLaunch();
    const {uid, port, controlPath, home, config, inherits} = message;
    const options = {config, uid, port, controlPath, home, createProvider, log, ...(inherits && {inherit})};
    const worker = await startWorker(options);
    obeySignals(worker, log);
    report({type: 'listening', pid: process.pid, port: worker.port});
    log('info', 'listening', {host: config.host, port: worker.port, model: config.choice.model});
    process.exit(await worker.done);
  } catch (error) {
    const reason = error instanceof ListenError ? error.reason : 'LaunchFailed';
    const text = describeError(error);
    report({type: 'failed', reason, message: text});
    log('error', text);
    process.exit(reason === 'PortTaken' ? portTakenCode : 1);
  }
}

/** Its end is the launcher's to close; afterwards standard input is /dev/null, as a daemon's. */
function readLaunch(): LaunchMessage {
  const text = readFileSync(0, 'utf8');
  closeSync(0);
  openSync('/dev/null', 'r');
  const message = parseLaunch(text);
  const [aiId, uid] = [argument('--ai-id'), argument('--uid')];
  if (aiId !== message.config.aiId || uid !== message.uid) {
    throw new Error(
      `launched as ${aiId ?? 'nobody'} (${uid ?? 'no uid'}), told to be ${message.config.aiId} (${message.uid})`,
    );
  }
  return message;
}

/** The text holds secrets: no error quotes any of it. */
function parseLaunch(text: string): LaunchMessage {
  if (text === '') throw new Error('its launcher ended before it said what to be');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('standard input is not one JSON document');
  }
  if (!isLaunch(value)) throw new Error('standard input is not a launch message');
  if (value.config.formatVersion > formatVersion) {
    throw new Error(
      `launch message has format version ${value.config.formatVersion}; this worker knows ${formatVersion}`,
    );
  }
  return value;
}

/**
 * Asks the predecessor for its listening server. Asked for only now, so that it comes when there is somebody to take it:
 * a server that nobody takes over would accept connections and lose them.
 */
function inherit(...[take, failed]: Parameters<Inherit>): void {
  const orphaned = (): void => failed(new Error('its predecessor ended before it handed the socket over'));
  process.once('disconnect', orphaned);
  process.once('message', (_message, listener) => {
    process.off('disconnect', orphaned);
    take(listener as Server); // what our own program sends with its only message
    process.disconnect();
  });
  const ready: HandoverMessage = {type: 'ready'};
  if (process.send === undefined || !process.connected) orphaned();
  else process.send(ready);
}

/** By hand the descriptor may be absent, or one of Node's own, which is no pipe or file. Nobody may be reading. */
function report(message: LaunchReport): void {
  try {
    const kind = fstatSync(reportFd);
    if (!kind.isSocket() && !kind.isFIFO() && !kind.isFile() && !kind.isCharacterDevice()) return;
    writeSync(reportFd, `${JSON.stringify(message)}\n`);
    closeSync(reportFd);
  } catch {
    // EPIPE: the launcher died. Serving doesn't depend on it.
  }
}

function obeySignals(worker: RunningWorker, log: Log): void {
  let asked = false;
  const stop = (signal: 'SIGTERM' | 'SIGINT'): void => {
    log('info', 'shutting down', {by: signal});
    // Asked a second time, it gives no more grace.
    void worker.close(asked ? 0 : undefined, signal);
    asked = true;
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
  // A terminal or session that is gone is no reason to end. Whoever finds the control socket gone asks for it like this.
  process.on('SIGHUP', () => {
    worker.reopen().catch((error: unknown) => log('error', describeError(error)));
  });
}

function dieLoudly(log: Log): void {
  process.on('uncaughtException', error => {
    log('error', `internal error: ${describeError(error)}`, {stack: error.stack});
    process.exit(1);
  });
}

function argument(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at === -1 ? undefined : process.argv[at + 1];
}
