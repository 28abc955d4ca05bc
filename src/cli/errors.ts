/** What a person reads when something went wrong, and the exit code that goes with it. */
import path from 'node:path';
import {describeError, exitCodes, InvalidInputError, TektonError, type ExitCode, type Problem} from '../api/errors.js';
import {version} from '../api/version.js';

export interface ErrorTextOptions {
  /** Paths below it are printed relative to it. */
  readonly cwd: string;
  /** Stack traces of internal errors. */
  readonly debug: boolean;
}

export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof TektonError ? error.exitCode : exitCodes.failed;
}

/** Lines for standard error, the last one ended too. */
export function errorText(error: unknown, options: ErrorTextOptions): string {
  if (error instanceof InvalidInputError) return invalidInputText(error, options.cwd);
  if (error instanceof TektonError) return lines(`error: ${describeError(error)}`, error.hint && `hint: ${error.hint}`);
  if (isSystemError(error)) return lines(`error: ${error.message}`);
  return internalErrorText(error, options.debug);
}

/** Every problem in the order of the files, then what it comes to. */
function invalidInputText(error: InvalidInputError, cwd: string): string {
  const sorted = error.problems.toSorted(
    (a, b) => compare(a.file, b.file) || a.line - b.line || a.column - b.column || compare(a.message, b.message),
  );
  const texts = sorted.map(problem => problemText(problem, cwd));
  return lines(...texts, `error: ${error.message}; nothing was changed`, error.hint && `hint: ${error.hint}`);
}

/**
 * ```
 * tekton-ai.yaml:12:7: unknown field "modle"
 *   12 |       modle: llama3
 *      |       ^
 *   hint: did you mean "model"?
 * ```
 */
export function problemText(problem: Problem, cwd: string): string {
  const {line, column, message, excerpt, hint} = problem;
  const place = `${shortPath(problem.file, cwd)}:${line}:${column}: ${message}`;
  const margin = ' '.repeat(String(line).length);
  const source = excerpt === undefined ? [] : [`  ${line} | ${excerpt}`, `  ${margin} | ${caret(excerpt, column)}`];
  return [place, ...source, ...(hint === undefined ? [] : [`  hint: ${hint}`])].join('\n');
}

/** Tabs stay tabs, so that the caret stands under its column however wide they are shown. */
function caret(excerpt: string, column: number): string {
  return (
    excerpt
      .slice(0, column - 1)
      .replaceAll(/[^\t]/g, ' ')
      .padEnd(Math.min(column - 1, excerpt.length)) + '^'
  );
}

/** Relative where that is shorter and stays below `cwd`. */
export function shortPath(file: string, cwd: string): string {
  if (!path.isAbsolute(file)) return file;
  const relative = path.relative(cwd, file);
  return relative === '' || relative.startsWith('..') ? file : relative;
}

function internalErrorText(error: unknown, debug: boolean): string {
  const stack = error instanceof Error && error.stack !== undefined ? error.stack : String(error);
  return lines(
    `internal error: ${debug ? stack : describeError(error)}`,
    debug ? undefined : 'hint: TEKTON_AI_DEBUG=1 shows where it happened',
    `This is a bug in tekton-ai ${version}: please report it on the issue tracker, with this text and the command.`,
  );
}

/** EACCES, ENOSPC and such: the world's fault, not ours, even where nobody has put it into better words. */
function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error;
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function lines(...texts: readonly (string | undefined)[]): string {
  return texts.flatMap(text => (text === undefined || text === '' ? [] : [`${text}\n`])).join('');
}
