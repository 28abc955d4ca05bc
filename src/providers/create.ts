import type {Expertise, ResolvedProvider} from '../api/types.js';
import type {Provider} from './provider.js';

/** Makes a provider of its type. Loads that type's module and no other; SDKs are loaded by its first check or chat. */
export async function createProvider(
  resolved: ResolvedProvider,
  context: {readonly component: string; readonly expertise: Expertise},
): Promise<Provider> {
  switch (resolved.type) {
    case 'ollama':
      return (await import('./ollama.js')).createOllamaProvider(resolved);
    case 'anthropic':
      return (await import('./anthropic.js')).createAnthropicProvider(resolved);
    case 'openai':
      return (await import('./openai.js')).createOpenAiProvider(resolved);
    case 'scripted':
      return (await import('./scripted.js')).createScriptedProvider(resolved, context.component);
    case 'offline':
      return (await import('./offline.js')).createOfflineProvider(context);
  }
}
