/** The controller's log: one JSON object a line on standard error; constant message, variable keys. */
import {writeSync} from 'node:fs';
import type {Logger} from '../reconciler/ports.js';

/** Level from TEKTON_AI_LOG (`debug`, `info`, `warn`), default `info`. */
export async function pinoLogger(): Promise<Logger> {
  const {pino} = await import('pino');
  const level = process.env['TEKTON_AI_LOG'] ?? 'info';
  const known = ['debug', 'info', 'warn'].includes(level) ? level : 'info';
  const options = {level: known, base: {pid: process.pid}, timestamp: pino.stdTimeFunctions.isoTime};
  const log = pino(options, {write: lineWriter(2)});
  return {
    info: (fields, message) => log.info(fields, message),
    warn: (fields, message) => log.warn(fields, message),
    debug: (fields, message) => log.debug(fields, message),
  };
}

/**
 * Writes lines to a descriptor and never fails: the controller goes on when its log can't be written to (a full disk), and a
 * line that was cut off there is ended before the next one.
 */
export function lineWriter(fd: number): (line: string) => void {
  let torn = false;
  return line => {
    const data = Buffer.from(torn ? `\n${line}` : line);
    try {
      torn = writeSync(fd, data) < data.length;
    } catch {
      // What the log can't say, conditions and events do.
    }
  };
}

/** For what has other ways to speak. */
export const silentLogger: Logger = {info: () => undefined, warn: () => undefined, debug: () => undefined};
