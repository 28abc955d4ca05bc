/**
 * What a process was about to do and what was acknowledged to it, in a file of its own: a line before the call, a line
 * after it. Written without a buffer, so that SIGKILL loses at most the line that was being written.
 */
import {openSync, readFileSync, readdirSync, writeSync} from 'node:fs';
import {join} from 'node:path';

/** Milliseconds of a clock that all processes of the machine share and that never jumps. */
export function now() {
  return Number(process.hrtime.bigint()) / 1e6;
}

export function openLog(file) {
  const fd = openSync(file, 'a');
  return line => void writeSync(fd, `${JSON.stringify(line)}\n`);
}

/** Every whole line of every log below `folder`, each with the `source` that wrote it. */
export function readLogs(folder) {
  return readdirSync(folder)
    .filter(name => name.endsWith('.log'))
    .toSorted()
    .flatMap(name => readLog(join(folder, name)).map(line => ({...line, source: name.slice(0, -4)})));
}

function readLog(file) {
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap(line => {
      try {
        return line === '' ? [] : [JSON.parse(line)];
      } catch {
        return []; // cut off by SIGKILL: it was not acknowledged to anybody
      }
    });
}
