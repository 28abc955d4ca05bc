/** The seed's variables, from the environment or from `.env.tekton` beside the fleet file. */
import {readFile, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {parseEnv} from 'node:util';
import {modelVariable} from '../api/names.js';
import type {Origin} from '../api/types.js';
import {maxBytes} from './source.js';

export type Variables = Readonly<Record<string, string | undefined>>;

export interface Override {
  readonly value: string;
  readonly origin: Extract<Origin, {type: 'env'}>;
}

/** What the environment says about one fleet. Of each variable the environment's value wins over the file's. */
export class Overrides {
  private readonly fromEnvironment: Record<string, string> = {};

  constructor(
    private readonly environment: Variables,
    private readonly file: {readonly path: string; readonly variables: Variables} | undefined,
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

  /** Variables of the environment that were looked at and set: recorded, so that the controller agrees. */
  get recorded(): Readonly<Record<string, string>> {
    return {...this.fromEnvironment};
  }

  private look(variable: string): Override | undefined {
    const value = this.environment[variable]?.trim();
    if (value) {
      this.fromEnvironment[variable] = value;
      return {value, origin: {type: 'env', variable}};
    }
    const inFile = this.file?.variables[variable]?.trim();
    return inFile && this.file ? {value: inFile, origin: {type: 'env', variable, file: this.file.path}} : undefined;
  }
}

/** Name of the file that is looked for beside a fleet file. */
export const envFileName = '.env.tekton';

/** Variables of `.env.tekton` in a folder; undefined where there is none. */
export async function readEnvFile(folder: string): Promise<{path: string; variables: Variables} | undefined> {
  const path = join(folder, envFileName);
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile() || found.size > maxBytes) return undefined;
  return {path, variables: parseEnv(await readFile(path, 'utf8'))};
}
