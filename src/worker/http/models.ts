/** A specialist as OpenAI's clients see it: one model. */
import type {WorkerConfig} from '../../protocol/control.js';
import type {Specialist} from '../specialist.js';
import {Problem} from './problem.js';

/**
 * Whether a client that asks for the model `name` means this specialist: by its ai id, which is what it lists; by its
 * name, with or without the namespace; by its component; or by the model that it runs on.
 */
export function answersTo({aiId, name, namespace, component, model, choice}: WorkerConfig, asked: string): boolean {
  const names = [aiId, name, `${namespace}/${name}`, component, model, choice.model, modelOf({choice})];
  return names.includes(asked);
}

export function noSuchModel({aiId}: WorkerConfig, asked: string | undefined): Problem {
  const shown = asked === undefined ? '' : ` ${JSON.stringify(asked.length > 80 ? `${asked.slice(0, 80)}…` : asked)}`;
  return new Problem(404, `the model${shown} does not exist here: this is ${aiId}, and answers to that name`, {
    param: 'model',
    code: 'model_not_found',
  });
}

/** `root` and `max_model_len` are vLLM's words for the model behind the name and its context window. */
export function modelObject({config, model, now, startedAt}: Specialist): object {
  const {known} = model;
  const contextTokens =
    config.parameters.contextTokens ?? (known?.available === true ? known.contextTokens : undefined);
  return {
    id: config.aiId,
    object: 'model',
    created: Math.round((Date.now() - (now() - startedAt)) / 1000),
    owned_by: 'tekton-ai',
    root: modelOf(config),
    ...(contextTokens !== undefined && {max_model_len: contextTokens}),
  };
}

function modelOf({choice}: Pick<WorkerConfig, 'choice'>): string {
  return `${choice.provider}:${choice.model}`;
}
