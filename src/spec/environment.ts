/** The seed's variables, from the environment or from `.env.tekton` beside the fleet file. */
import {readFile, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {parseEnv} from 'node:util';
import {modelVariable} from '../api/names.js';
import type {Origin} from '../api/types.js';
import {maxBytes} from './source.js';
import {OutsideError} from './within.js';
import type {Files} from './within.js';

export type Variables = Readonly<Record<string, string | undefined>>;

export interface Override {
  readonly value: string;
  readonly origin: Extract<Origin, {type: 'env'}>;
}

/** `.env.tekton` as read. */
export interface EnvFile {
  readonly path: string;
  readonly variables: Variables;
  readonly text: string;
}

/** What the environment says about one fleet. Of each variable the environment's value wins over the file's. */
export class Overrides {
  constructor(
    private readonly environment: Variables,
    private readonly file: EnvFile | undefined,
  ) {}

  get provider(): Override | undefined {
    return this.look('TEKTON_AI_PROVIDER');
  }

  get ollamaHost(): Override | undefined {
    return this.look('OLLAMA_HOST');
  }

  /** Set where `TEKTON_REGISTER_AI` turns specialists off. */
  get off(): Override | undefined {
    const found = this.look('TEKTON_REGISTER_AI');
    return found && /^(false|0|no|off)$/i.test(found.value) ? found : undefined;
  }

  modelOf(component: string): Override | undefined {
    return this.look(modelVariable(component));
  }

  /**
   * What the environment says, of components too that the fleet doesn't have yet: recorded with the fleet, so that
   * the controller, whose own environment is another, loads it the same way after the next edit.
   */
  get recorded(): Readonly<Record<string, string>> {
    const known = Object.entries(this.environment).flatMap(([variable, value = '']) =>
      isOverride(variable) && value.trim() !== '' ? [[variable, value.trim()] as const] : [],
    );
    return Object.fromEntries(known.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Where a person finds an override that is wrong. */
  placeOf({origin}: Override): {file: string; line: number; column: number} {
    if (origin.file === undefined) return {file: `environment variable ${origin.variable}`, line: 1, column: 1};
    const lines = this.file?.text.split('\n') ?? [];
    const line = lines.findLastIndex(text => new RegExp(`^\\s*(export\\s+)?${origin.variable}\\s*=`).test(text));
    return {file: origin.file, line: line + 1 || 1, column: 1};
  }

  private look(variable: string): Override | undefined {
    const value = this.environment[variable]?.trim();
    if (value) return {value, origin: {type: 'env', variable}};
    const inFile = this.file?.variables[variable]?.trim();
    return inFile && this.file ? {value: inFile, origin: {type: 'env', variable, file: this.file.path}} : undefined;
  }
}

/** What `${REGION}` is worth: `TEKTON_VAR_REGION`. */
export const variablePrefix = 'TEKTON_VAR_';

/** Whether a variable changes what is declared; all others are none of a load's business. */
export function isOverride(variable: string): boolean {
  return (
    ['TEKTON_AI_PROVIDER', 'TEKTON_REGISTER_AI', 'OLLAMA_HOST'].includes(variable) ||
    /^[A-Z0-9_]+_AI_MODEL$/.test(variable)
  );
}

/** Name of the file that is looked for beside a fleet file. */
export const envFileName = '.env.tekton';

/**
 * Variables of `.env.tekton` in a folder; undefined where there is none.
 *
 * @throws {OutsideError} where it is a link to where `disk` may not look
 */
export async function readEnvFile(folder: string, disk: Files): Promise<EnvFile | undefined> {
  const path = join(folder, envFileName);
  const real = await disk.locate(path).catch((error: unknown) => {
    if (error instanceof OutsideError) throw error;
    return undefined;
  });
  const found = real === undefined ? undefined : await stat(real).catch(() => undefined);
  if (real === undefined || !found?.isFile() || found.size > maxBytes) return undefined;
  const text = await readFile(real, 'utf8');
  return {path, variables: parseEnv(text), text};
}
