/** What holds where nobody says anything. Changing a value here changes nothing that already runs. */
import {canonicalComponent} from './names.js';
import type {Canary, Expertise, NamedProvider, ProviderType, RollbackPolicy, SpecialistSpec} from './types.js';

export const defaultProvider = 'ollama';

export const defaultOllamaUrl = 'http://127.0.0.1:11434';

export const anthropicKey = {env: 'ANTHROPIC_API_KEY'} as const;

/** The model of a specialist that names a provider and no model; undefined: one must be declared. */
export const defaultModels: Readonly<Record<ProviderType, string | undefined>> = {
  auto: 'llama3.3:70b',
  ollama: 'llama3.3:70b',
  anthropic: 'claude-sonnet-5-5',
  openai: undefined,
  offline: 'expertise',
  scripted: 'scripted',
};

type Optional = 'component' | 'provider' | 'model' | 'expertise' | 'auth' | 'port' | 'budget' | 'canary';

export const specialistDefaults: Omit<SpecialistSpec, Optional> = {
  enabled: true,
  parameters: {},
  concurrency: {max: 4, queue: 64, queueSeconds: 300},
  sessions: {maxTurns: 50, idleMinutes: 60, persist: false},
  fallback: [],
  pull: 'Never',
  overflow: 'error',
  host: '127.0.0.1',
  env: {},
  dependsOn: [],
  restartPolicy: 'Always',
  probes: {periodSeconds: 10, timeoutSeconds: 2, failureThreshold: 3, startupSeconds: 30},
  terminationGracePeriodSeconds: 30,
};

export const canaryDefaults: Omit<Canary, 'prompts'> = {
  passRate: 1,
  attempts: 1,
  timeoutSeconds: 60,
  onFailure: 'rollback',
};

export const rollbackDefaults: RollbackPolicy = {enabled: true, deadlineSeconds: 120};

/** Providers that exist undeclared. `scripted` is of use only where a `script` is declared with it. */
export function builtInProviders(): readonly NamedProvider[] {
  return [
    {name: 'auto', type: 'auto', baseUrl: defaultOllamaUrl, apiKey: anthropicKey},
    {name: 'ollama', type: 'ollama', baseUrl: defaultOllamaUrl},
    {name: 'anthropic', type: 'anthropic', apiKey: anthropicKey},
    {name: 'offline', type: 'offline'},
    {name: 'scripted', type: 'scripted'},
  ];
}

/**
 * Address of the Ollama server that `OLLAMA_HOST` means, by Ollama's own rules: scheme http, port 11434 and host
 * 127.0.0.1 where they are absent. A server that listens on all addresses is reached over loopback.
 *
 * @returns undefined where the text means no address
 */
export function ollamaUrl(ollamaHost: string): string | undefined {
  const text = ollamaHost.trim().replace(/\/+$/, '');
  const [, scheme, rest = ''] = /^(?:(https?):\/\/)?(.*)$/.exec(text) ?? [];
  const address = rest.startsWith(':') ? `127.0.0.1${rest}` : rest;
  const whole = `${scheme ?? 'http'}://${address}`;
  if (address === '' || !URL.canParse(whole)) return undefined;
  const url = new URL(whole);
  if (url.hostname === '0.0.0.0' || url.hostname === '[::]') url.hostname = '127.0.0.1';
  const hasPort = /:\d+(?:\/|$)/.test(address.replace(/^\[.*?\]/, ''));
  if (!hasPort && scheme === undefined) url.port = '11434';
  return url.href.replace(/\/$/, '');
}

/** Who a component's specialist is where neither the catalogue nor the fleet knows the component. */
export function genericExpertise(component: string): Expertise {
  const title = titleOf(component);
  return {
    title: `The ${title} Specialist`,
    expertise: `the ${title} component of the platform: its purpose, its interfaces, its configuration and its operation`,
    focus: `questions about ${title}, and clear next steps for whoever works with it`,
    roles: [canonicalComponent(component)],
    capabilities: [`explains what ${title} does`, `helps to operate and troubleshoot ${title}`],
    personality: 'helpful, precise and plain; says when it does not know',
    refersTo: {},
  };
}

/** `tekton_core` → `Tekton Core`. */
function titleOf(component: string): string {
  return component
    .split(/[-_]+/)
    .map(word => word.charAt(0).toUpperCase() + word.slice(1))
    .join(' ');
}
