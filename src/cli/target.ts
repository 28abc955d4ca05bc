/** What a specialist of no fleet runs with: its provider with secrets, its model, and how it came to them. */
import type {Desired, ModelChoice, ResolvedProvider} from '../api/types.js';
import type {CommandContext} from './context.js';
import {wire} from './wire.js';

export interface Target {
  readonly provider: ResolvedProvider;
  readonly model: string;
  readonly choice: ModelChoice;
}

/** Asks Ollama where the provider is `auto`, for about two seconds at most. @throws the signal's reason */
export async function chooseTarget(
  {home, environment, signal}: CommandContext,
  {provider, spec, declared}: Desired,
  envFile: string | undefined,
): Promise<Target> {
  const {models} = wire({home, environment, log: silent});
  if (provider.type === 'auto') {
    const chooser = await models.chooser(provider, envFile);
    return chooser.choose({wantedModel: spec.model, modelDeclared: declared['model'] !== undefined}, signal);
  }
  const choice = {provider: provider.name, type: provider.type, model: spec.model};
  return {provider: await models.resolve(provider, envFile), model: spec.model, choice};
}

const silent = {info: () => undefined, warn: () => undefined, debug: () => undefined};
