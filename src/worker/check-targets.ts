/** Whether a chat would be answered, asked at the providers themselves: by the specialist's model, else by a fallback. */
import {withFallbacks} from '../api/model-check.js';
import type {ModelCheck} from '../api/types.js';
import type {Engine, EngineTarget} from './specialist.js';

/** All are asked at once; one that is silent must not use up the time in which others would answer. */
const silentAfterMs = 1_800;

/** @throws what the check of a specialist without fallbacks throws */
export async function checkTargets({targets}: Engine, signal: AbortSignal): Promise<ModelCheck> {
  const [first, ...rest] = targets;
  if (rest.length === 0) return check(first, signal);
  const brief = AbortSignal.any([signal, AbortSignal.timeout(silentAfterMs)]);
  const [own, ...others] = await Promise.all(targets.map(target => checkBriefly(target, brief)));
  const standIns = rest.map(({providerName, model}, i) => ({name: `${providerName}:${model}`, check: others[i]}));
  return withFallbacks(own, standIns) ?? unsaid;
}

const unsaid: ModelCheck = {available: false, reason: 'ProviderError', message: 'the provider did not say'};

async function check({model, provider}: EngineTarget, signal: AbortSignal): Promise<ModelCheck> {
  try {
    const checks = await (await provider()).check([model], signal);
    return checks.get(model) ?? unsaid;
  } catch (error) {
    if (!(error instanceof Error && error.name === 'SecretMissingError')) throw error;
    return {available: false, reason: 'SecretMissing', message: error.message};
  }
}

async function checkBriefly(target: EngineTarget, signal: AbortSignal): Promise<ModelCheck> {
  const silent = new Promise<ModelCheck>(resolve => {
    const message = `no answer within ${silentAfterMs} ms`;
    const tell = (): void => resolve({available: false, reason: 'ProviderUnreachable', message});
    signal.addEventListener('abort', tell, {once: true});
  });
  const failed = (error: unknown): ModelCheck => ({
    available: false,
    reason: 'ProviderError',
    message: error instanceof Error ? error.message : String(error),
  });
  return Promise.race([check(target, signal).catch(error => (signal.aborted ? silent : failed(error))), silent]);
}
