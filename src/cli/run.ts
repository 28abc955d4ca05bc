/** From an argument list to an exit code, in-process. */
import path from 'node:path';
import {exitCodes, type ExitCode} from '../api/errors.js';
import type {CommandContext, Host} from './context.js';
import {errorText, exitCodeOf} from './errors.js';
import {readAll, write} from './output.js';
import {parseCommandLine} from './program.js';
import {stateHome} from '../registry/paths.js';

/**
 * Carries out `argv` (without node and script) and resolves with the exit code. Never rejects and never exits the
 * process: errors are printed to `host.stderr`.
 */
export async function runCli(argv: readonly string[], host: Host): Promise<ExitCode> {
  try {
    const writes: Promise<void>[] = [];
    const parsed = parseCommandLine(argv, {
      out: text => void writes.push(write(host.stdout, text)),
      err: text => void writes.push(write(host.stderr, text)),
    });
    await Promise.all(writes);
    if (typeof parsed === 'number') return parsed;
    const run = await parsed.load();
    return await run(contextOf(host, parsed));
  } catch (error) {
    if (host.signal.aborted) return exitCodes.interrupted;
    await write(host.stderr, errorText(error, {cwd: host.cwd, debug: host.environment['TEKTON_AI_DEBUG'] === '1'}));
    return exitCodeOf(error);
  }
}

function contextOf(host: Host, flags: {readonly home: string | undefined; readonly color: boolean}): CommandContext {
  let text: Promise<string> | undefined;
  return {
    ...host,
    home: flags.home === undefined ? stateHome(host.environment) : path.resolve(host.cwd, flags.home),
    color: flags.color && wantsColor(host),
    readStdin: () => (text ??= readAll(host.openStdin())),
  };
}

/** https://no-color.org: any value but an empty one. */
function wantsColor({environment, isTerminal}: Host): boolean {
  if (environment['NO_COLOR'] !== undefined && environment['NO_COLOR'] !== '') return false;
  return isTerminal.stdout && environment['TERM'] !== 'dumb';
}
