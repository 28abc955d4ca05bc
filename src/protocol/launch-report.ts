/** The one line that a worker writes to descriptor 3 as it comes up, read by whoever started it: a controller or its predecessor. */
import type {Readable} from 'node:stream';
import type {LaunchReport} from './control.js';

/**
 * Resolves as soon as the line is there: what a worker has started may hold the pipe open for long. undefined: the pipe
 * closed without a report, or there is none. Never rejects.
 */
export function readLaunchReport(pipe: Readable | null | undefined): Promise<LaunchReport | undefined> {
  return new Promise(resolve => {
    if (!pipe) return resolve(undefined);
    let text = '';
    pipe.setEncoding('utf8');
    pipe.on('data', (part: string) => {
      text += part;
      const end = text.indexOf('\n');
      if (end >= 0) resolve(parse(text.slice(0, end)));
    });
    pipe.on('error', () => resolve(undefined));
    pipe.on('close', () => resolve(undefined));
  });
}

function parse(line: string): LaunchReport | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('type' in value)) return undefined;
  // Written by our own program on a pipe that nobody else holds.
  return value.type === 'listening' || value.type === 'failed' ? (value as LaunchReport) : undefined;
}
