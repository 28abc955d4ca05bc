import type {Expertise, ResolvedProvider} from '../../src/api/types.js';
import {createProvider} from '../../src/providers/create.js';
import type {Provider} from '../../src/providers/provider.js';
import {key, keyVariable} from '../contract/provider.js';

export const expertise: Expertise = {
  title: 'The Knowledge Weaver',
  expertise: 'knowledge graphs',
  focus: 'facts and where they come from',
  roles: ['knowledge'],
  capabilities: ['find contradictions'],
  personality: 'calm',
  refersTo: {},
};

export const context = {component: 'athena', expertise};

/** A provider of this type; with the key unless `more` takes it away. */
export function provide(
  type: ResolvedProvider['type'],
  baseUrl: string,
  more: Partial<ResolvedProvider> = {},
): Promise<Provider> {
  const resolved = {name: 'lab', type, baseUrl, apiKey: key, apiKeyFrom: keyVariable, ...more};
  return createProvider(resolved, context);
}
