#!/usr/bin/env node
/** The program `tekton-ai`: argv → exit code. Loads nothing before it is known that this machine can run it. */
import {setMaxListeners} from 'node:events';
import {isatty} from 'node:tty';
import {unsupported} from './cli/support.js';

const interrupted = 130;

const obstacle = unsupported(process.versions.node, process.platform);
if (obstacle === undefined) await main();
else {
  process.stderr.write(`error: ${obstacle}\n`);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const {runCli} = await import('./cli/run.js');
  endQuietlyWhenNobodyReads();
  process.exitCode = await runCli(process.argv.slice(2), {
    stdout: process.stdout,
    stderr: process.stderr,
    openStdin: () => process.stdin,
    environment: process.env,
    cwd: process.cwd(),
    isTerminal: {stdin: isatty(0), stdout: isatty(1), stderr: isatty(2)},
    signal: interruption(),
  });
}

/** The first SIGINT or SIGTERM asks the command to end; the second ends it. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // a fleet's worth of connections may listen to it
  const interrupt = () => {
    if (controller.signal.aborted) process.exit(interrupted);
    controller.abort();
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  return controller.signal;
}

/** `tekton-ai logs athena | head` is no error. */
function endQuietlyWhenNobodyReads(): void {
  const onError = (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  };
  process.stdout.on('error', onError);
  process.stderr.on('error', onError);
}
