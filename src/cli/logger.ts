/** The controller's log: one JSON object a line on standard error; constant message, variable keys. */
import type {Logger} from '../reconciler/ports.js';

/** Level from TEKTON_AI_LOG (`debug`, `info`, `warn`), default `info`. */
export async function pinoLogger(): Promise<Logger> {
  const {pino} = await import('pino');
  const level = process.env['TEKTON_AI_LOG'] ?? 'info';
  const known = ['debug', 'info', 'warn'].includes(level) ? level : 'info';
  const options = {level: known, base: {pid: process.pid}, timestamp: pino.stdTimeFunctions.isoTime};
  const log = pino(options, pino.destination({fd: 2, sync: true}));
  return {
    info: (fields, message) => log.info(fields, message),
    warn: (fields, message) => log.warn(fields, message),
    debug: (fields, message) => log.debug(fields, message),
  };
}

/** For what has other ways to speak. */
export const silentLogger: Logger = {info: () => undefined, warn: () => undefined, debug: () => undefined};
