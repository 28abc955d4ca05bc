/** The controller in the background: found, replaced when it is another build, started. */
import {closeSync} from 'node:fs';
import {join} from 'node:path';
import type {Options} from 'execa';
import {exitCodes, TektonError} from '../api/errors.js';
import {findController} from '../registry/controller-record.js';
import type {RunningController} from '../registry/controller-record.js';
import {statePaths} from '../registry/paths.js';
import {isSame, signalVerified} from '../registry/processes.js';
import {readBuildHash} from '../runtime/process/program.js';
import {openLog, tailOf} from '../runtime/process/logs.js';
import type {CommandContext} from './context.js';
import {askController} from './controller-link.js';
import {writeLine} from './output.js';
import {mainProgram, programFolder} from './package.js';

/**
 * The controller of this state folder, started if there is none. One of another build is replaced: its workers live
 * on and are adopted.
 *
 * @throws {TektonError} with the last lines of its log when it doesn't come up
 */
export async function ensureController(context: CommandContext): Promise<RunningController> {
  const running = await findController(context.home);
  if (running && running.record.build === (await readBuildHash(programFolder()))) return running;
  if (running) {
    await writeLine(
      context.stderr,
      `replacing the controller of version ${running.record.version}; its workers live on`,
    );
    await stopController(context.home);
  }
  return start(context);
}

/** It finishes the launches that are under way before it ends, but says at once that it will. */
const stopTimeoutMs = 10_000;

/** Launches under way may take their startup time before it ends, ms. */
const endTimeoutMs = 60_000;

/**
 * Ends the controller; workers live on. Resolves when it is gone; there being none is fine.
 *
 * @throws {TektonError} (exit code 3) it does not answer, or does not end in time
 */
export async function stopController(home: string): Promise<void> {
  const running = await findController(home);
  if (!running) return;
  await askController(running.socketPath, {type: 'stop'}, AbortSignal.timeout(stopTimeoutMs));
  const {identity} = running.record;
  for (const deadline = performance.now() + endTimeoutMs; await isSame(identity);) {
    if (performance.now() > deadline) throw stillThere(identity.pid);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

/** Ends the controller, by SIGKILL where it doesn't answer; workers live on. @returns whether there was one */
export async function endController(home: string): Promise<boolean> {
  const running = await findController(home);
  if (!running) return false;
  try {
    await stopController(home);
  } catch {
    const {identity} = running.record;
    await signalVerified(identity, 'SIGKILL');
    while (await isSame(identity)) await new Promise(resolve => setTimeout(resolve, 20));
  }
  return true;
}

function stillThere(pid: number): TektonError {
  return new TektonError(`the controller (pid ${pid}) was told to end and has not within ${endTimeoutMs / 1000} s`, {
    exitCode: exitCodes.notReady,
    hint: `end it with kill -9 ${pid}: its workers live on`,
  });
}

async function start(context: CommandContext): Promise<RunningController> {
  const {home} = context;
  const path = join(statePaths(home).logs, 'controller.log');
  const log = openLog(path);
  const {execa} = await import('execa');
  try {
    const options: Options = {
      cwd: home,
      // Started from within a worker, it is none of what that worker leaves behind.
      env: definedOnly({...context.environment, TEKTON_AI_HOME: home, TEKTON_AI_INSTANCE: undefined}),
      extendEnv: false,
      // It outlives us and our terminal.
      detached: true,
      cleanup: false,
      reject: false,
      // Descriptors are documented; the types know literal ones only.
      stdio: ['ignore', log.fd, log.fd, 'pipe'] as Options['stdio'] & object,
      buffer: false,
    };
    const subprocess = execa(process.execPath, [mainProgram(), 'controller'], options);
    subprocess.unref();
    await reportOf(subprocess.stdio[3]);
  } finally {
    closeSync(log.fd);
  }
  const started = await findController(home);
  if (started) return started;
  const tail = tailOf(path, log.offset).join('\n');
  throw new TektonError(`cannot start the controller:\n${tail}`, {hint: `its log is ${path}`});
}

function definedOnly(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

/** Its word that it listens, or its end. */
async function reportOf(pipe: NodeJS.ReadableStream | null): Promise<void> {
  if (!pipe) return;
  await new Promise<void>(resolve => {
    pipe.once('data', () => resolve());
    pipe.once('close', () => resolve());
    pipe.once('error', () => resolve());
  });
}
