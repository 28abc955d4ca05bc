import type {CommandDestination} from '../api/notifications.js';
import {render, viewOf} from '../api/template.js';
import type {MessageView} from '../api/template.js';
import {DeliveryError} from './error.js';
import type {Message, NotifyDeps} from './deps.js';
import type {DeliverySecrets} from './secrets.js';

/** What a program needs to find its way. Everything else of the controller's environment, keys above all, stays here. */
const inherited = ['PATH', 'HOME', 'USER', 'LOGNAME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];
/** As much of its output as is kept for the log. */
const shownBytes = 2000;
/** From being told to end until it is killed, ms. */
const graceMs = 1000;

/** Runs it with the event on its standard input. @throws {DeliveryError} it failed, or took too long */
export async function runCommand(
  {argv, env, timeoutSeconds}: CommandDestination,
  message: Message,
  {deps, secrets, signal}: {readonly deps: NotifyDeps; readonly secrets: DeliverySecrets; readonly signal: AbortSignal},
): Promise<void> {
  const view = viewOf(message.event, message.leftOut, message.revision);
  const [program = '', ...templates] = argv;
  const args = await Promise.all(templates.map(async text => (await render(text, view, 'text')).replaceAll('\0', '')));
  const own = await secrets.all(env);
  const base = Object.fromEntries(
    inherited.flatMap(name => (deps.environment[name] === undefined ? [] : [[name, deps.environment[name]]])),
  );
  const {execa} = await import('execa');
  signal.throwIfAborted();
  const subprocess = execa(program, args, {
    cwd: '/',
    env: {...base, ...own, ...variablesOf(view)},
    extendEnv: false,
    input: view.event,
    reject: false,
    buffer: false,
    // A group of its own, so that what it started ends with it.
    detached: true,
    cleanup: false,
  });
  const output = collect(subprocess.stdout, subprocess.stderr);
  let isLate = false;
  const {pid} = subprocess;
  let killLater: NodeJS.Timeout | undefined;
  const end = (): void => {
    if (pid === undefined || killLater !== undefined) return;
    killGroup(pid, 'SIGTERM');
    killLater = setTimeout(() => killGroup(pid, 'SIGKILL'), graceMs);
  };
  const timer = setTimeout(() => {
    isLate = true;
    end();
  }, timeoutSeconds * 1000);
  signal.addEventListener('abort', end, {once: true});
  try {
    const {exitCode, signal: killedBy, originalMessage} = await subprocess;
    // Its leader may have gone at once, and left children who don't listen.
    if (isLate && pid !== undefined) killGroup(pid, 'SIGKILL');
    signal.throwIfAborted();
    const said = secrets.redact(output());
    deps.log.debug({program, exitCode, output: said}, 'notification command ended');
    if (isLate) throw new DeliveryError(`it took longer than ${timeoutSeconds} s and was killed`, {retry: false});
    if (exitCode === 0) return;
    const how = exitCode === undefined ? (killedBy ?? originalMessage ?? 'it did not start') : `exit code ${exitCode}`;
    throw new DeliveryError(said === '' ? how : `${how}: ${said}`, {retry: false});
  } finally {
    clearTimeout(timer);
    clearTimeout(killLater);
    signal.removeEventListener('abort', end);
  }
}

function variablesOf(view: MessageView): Readonly<Record<string, string>> {
  const {reason, type, at, message, namespace, fleet, specialist, gitSource, revision, leftOut} = view;
  return {
    TEKTON_REASON: reason,
    TEKTON_TYPE: type,
    TEKTON_AT: at,
    TEKTON_MESSAGE: message.replaceAll('\0', ''),
    TEKTON_NAMESPACE: namespace,
    TEKTON_FLEET: fleet,
    TEKTON_SPECIALIST: specialist,
    TEKTON_GIT_SOURCE: gitSource,
    TEKTON_REVISION: revision,
    TEKTON_LEFT_OUT: String(leftOut === '' ? 0 : leftOut),
  };
}

/** Reads all that comes, so that nothing ever blocks on us, and keeps the beginning. */
function collect(...streams: readonly (NodeJS.ReadableStream | null)[]): () => string {
  let text = '';
  for (const stream of streams) {
    stream?.on('error', () => undefined);
    stream?.on('data', (chunk: Buffer) => {
      if (text.length < shownBytes) text = (text + chunk.toString()).slice(0, shownBytes);
    });
  }
  return () => text.replaceAll(/\s+/g, ' ').trim();
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // There is nobody left in it.
  }
}
