/**
 * The worker's log: its standard error, which the launcher has pointed at a file. Written synchronously, so that the
 * last words of a dying worker are there; without streams, which would cost the start more than binding does.
 */
import {writeSync} from 'node:fs';

export type Level = 'info' | 'warn' | 'error';

/** Constant `message`, variable `fields`; one line per call. Never throws. */
export type Log = (level: Level, message: string, fields?: Readonly<Record<string, unknown>>) => void;

export function stderrLog(aiId: string): Log {
  return (level, message, fields) => {
    const details = fields === undefined ? '' : ` ${JSON.stringify(fields)}`;
    try {
      writeSync(2, `${new Date().toISOString()} ${level} ${aiId} ${message}${details}\n`);
    } catch {
      // Disk full, or a pipe whose reader died: serving goes on.
    }
  };
}

export const silentLog: Log = () => undefined;
