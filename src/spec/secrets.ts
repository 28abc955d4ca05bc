/** Looks secrets up, where and when a worker is launched. The values are never recorded or printed. */
import {open, readFile} from 'node:fs/promises';
import {join, relative, sep} from 'node:path';
import {parseEnv} from 'node:util';
import type {SecretRef} from '../api/types.js';
import type {Variables} from './environment.js';
import {filesWithin, isIn, OutsideError} from './within.js';

export interface SecretSources {
  readonly environment: Variables;
  /** `.env.tekton`, looked at after the environment. */
  readonly envFile?: string | undefined;
  /**
   * Folder of repositories, `<key>/checkout` in each: what lies in a checkout is read only if no link leads out of that.
   * A load has refused such links, but the checkout may have been switched since then.
   */
  readonly repositories?: string;
}

/** `missing` says what a person must set; it never holds a value. */
export type Secret = {readonly value: string} | {readonly missing: string};

/** More than any token or key; a file that is larger is the wrong one. */
const maxSecretBytes = 64 * 1024;

/** The secret that `ref` refers to, without spaces at its ends. Never throws: what is wrong is the answer. */
export async function resolveSecret(ref: SecretRef, sources: SecretSources): Promise<Secret> {
  return 'env' in ref ? fromEnvironment(ref.env, sources) : fromFile(ref.file, sources);
}

async function fromEnvironment(variable: string, {environment, envFile, repositories}: SecretSources): Promise<Secret> {
  const set = environment[variable]?.trim() ?? '';
  if (set !== '') return {value: set};
  if (envFile === undefined) return {missing: notSet(variable, environment[variable])};
  try {
    const variables: Variables = parseEnv(await readFile(await located(envFile, repositories), 'utf8'));
    const value = variables[variable]?.trim() ?? '';
    return value === '' ? {missing: notSet(variable, variables[variable] ?? environment[variable])} : {value};
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return {missing: notSet(variable, environment[variable])};
    return {missing: `${notSet(variable, environment[variable])}, and ${envFile} cannot be read: ${codeOf(error)}`};
  }
}

function notSet(variable: string, value: string | undefined): string {
  return `environment variable ${variable} is ${value === undefined ? 'not set' : 'empty'}`;
}

async function fromFile(file: string, {repositories}: SecretSources): Promise<Secret> {
  try {
    const handle = await open(await located(file, repositories), 'r');
    try {
      const {buffer, bytesRead} = await handle.read(Buffer.alloc(maxSecretBytes + 1), 0, maxSecretBytes + 1, null);
      if (bytesRead > maxSecretBytes) return {missing: `file ${file} is too large for a secret: more than 64 KiB`};
      const value = buffer.toString('utf8', 0, bytesRead).trim();
      return value === '' ? {missing: `file ${file} is empty`} : {value};
    } finally {
      await handle.close();
    }
  } catch (error) {
    return {missing: `file ${file} cannot be read: ${codeOf(error)}`};
  }
}

/** Where a file is to be opened. @throws {OutsideError} */
async function located(file: string, repositories: string | undefined): Promise<string> {
  if (repositories === undefined || !isIn(file, repositories)) return file;
  const [key = ''] = relative(repositories, file).split(sep);
  const checkout = join(repositories, key, 'checkout');
  const disk = await filesWithin({root: checkout, as: checkout});
  return disk.locate(file);
}

function codeOf(error: unknown): string {
  if (error instanceof OutsideError) return error.message;
  return (error as NodeJS.ErrnoException).code ?? 'unknown error'; // every error of node:fs has a code
}
