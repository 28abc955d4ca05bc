/** What a command is given: everything of the outside world that it may touch, so that tests can run it in-process. */
import type {Readable, Writable} from 'node:stream';
import type {ExitCode} from '../api/errors.js';

export interface CommandContext {
  /** Data and nothing else. */
  readonly stdout: Writable;
  /** Everything that is for people beside the data: progress, remarks, errors. */
  readonly stderr: Writable;
  /** Opened only by a command that reads it: opening costs start-up time. */
  openStdin(): Readable;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** State folder, absolute: `--home`, then TEKTON_AI_HOME, then ~/.tekton/ai_registry. */
  readonly home: string;
  readonly isTerminal: {readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean};
  /** Aborted at SIGINT and SIGTERM; a command that was cut short by it ends with exit code 130. */
  readonly signal: AbortSignal;
  readonly color: boolean;
  /** Standard input to its end, as UTF-8; read once, however often it is asked for. */
  readStdin(): Promise<string>;
}

/** What the caller of `runCli` provides; `home` and `color` follow from it and the flags. */
export type Host = Omit<CommandContext, 'home' | 'color' | 'readStdin'>;

/** Every module in `commands/` exports one of these as `run`. */
export type Command<Options> = (
  context: CommandContext,
  args: readonly string[],
  options: Options,
) => Promise<ExitCode>;
