/** Errors that people meet. Each knows the exit code that it ends a command with; facts are fields. */

/** Exit codes of the CLI: they are API. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  changes: 2,
  notReady: 3,
  invalidInput: 4,
  conflict: 5,
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export interface TektonErrorOptions {
  readonly cause?: unknown;
  readonly exitCode?: ExitCode;
  /** What to do about it, a sentence of its own. */
  readonly hint?: string;
  /** The message says in better words what the cause says. */
  readonly saysCause?: boolean;
}

/**
 * "what we tried: the cause", with a hint at what to do. Anything that is thrown and is not a
 * TektonError is a bug of ours and is printed as "internal error".
 */
export class TektonError extends Error {
  override readonly name: string = 'TektonError';
  readonly exitCode: ExitCode;
  readonly hint: string | undefined;
  readonly saysCause: boolean;

  constructor(message: string, options: TektonErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : {cause: options.cause});
    this.exitCode = options.exitCode ?? exitCodes.failed;
    this.hint = options.hint;
    this.saysCause = options.saysCause ?? false;
  }
}

/** One thing that is wrong in a file. Lines and columns count from 1. */
export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
  /** "did you mean …" and such. */
  readonly hint?: string;
  /** Source line, key-like text masked. */
  readonly excerpt?: string;
}

/** Bad input: all problems at once; nothing was changed. */
export class InvalidInputError extends TektonError {
  override readonly name: string = 'InvalidInputError';
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(`invalid input: ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`, {
      exitCode: exitCodes.invalidInput,
    });
    this.problems = problems;
  }
}

/** The local policy forbids what a repository declares. */
export class PolicyViolationError extends InvalidInputError {
  override readonly name = 'PolicyViolationError';
}

/** A source that can't be read is an error, never an empty desired list. */
export class SourceUnavailableError extends TektonError {
  override readonly name: string = 'SourceUnavailableError';
}

/** Somebody else has it: another source owns the fleet, another host owns the state folder, a mass prune needs a yes. */
export class ConflictError extends TektonError {
  override readonly name: string = 'ConflictError';

  constructor(message: string, options: Omit<TektonErrorOptions, 'exitCode'> = {}) {
    super(message, {...options, exitCode: exitCodes.conflict});
  }
}

/** A lock was not to be had in time; nothing was written, so the caller may retry. */
export class LockBusyError extends ConflictError {
  override readonly name: string = 'LockBusyError';
}

/** Text of an error and its causes in one line: "cannot x: y: z". */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isSaid = error.cause === undefined || (error instanceof TektonError && error.saysCause);
  const cause = isSaid ? '' : describeError(error.cause);
  if (cause === '' || error.message.includes(cause)) return error.message;
  return `${error.message}: ${cause}`;
}
