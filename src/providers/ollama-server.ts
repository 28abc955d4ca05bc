/** How Ollama is reached: its own client over our connection. */
import type {Ollama} from 'ollama';
import type {ResolvedProvider} from '../api/types.js';
import {urlOf, type Call, type Server} from './http-call.js';
import {watchLines} from './ollama-lines.js';
import {displayUrl} from './url.js';

export const defaultOllamaUrl = 'http://127.0.0.1:11434';

/** As messages name it: no credentials that the address may carry. */
export function ollamaLabel(resolved: ResolvedProvider): string {
  return `Ollama at ${displayUrl(resolved.baseUrl ?? defaultOllamaUrl)}`;
}

export function ollamaServer(resolved: ResolvedProvider): Server {
  const {apiKey, name, apiKeyFrom} = resolved;
  return {
    auth: apiKey === undefined ? {} : {authorization: `Bearer ${apiKey}`},
    key: apiKey,
    peer: {
      label: ollamaLabel(resolved),
      keyName: apiKeyFrom ?? `the key of provider "${name}"`,
      startHint: 'start it with `ollama serve`',
      modelHint: model => `get it with \`ollama pull ${model}\``,
      requestHint: detail =>
        /context/i.test(detail) ? 'raise parameters.contextTokens, or shorten the conversation' : undefined,
    },
  };
}

/** Paths whose answer is a stream, and what its last line has. */
const streams: Readonly<Record<string, (line: Readonly<Record<string, unknown>>) => boolean>> = {
  '/api/chat': ({done}) => done === true,
  '/api/pull': ({status}) => status === 'success',
};

/** A client per call: its own `abort()` does nothing before the headers come, while each call's fetch can be ended. */
export async function ollamaClient(resolved: ResolvedProvider, call: Call): Promise<Ollama> {
  const {Ollama} = await import('ollama');
  const fetchLines: typeof fetch = async (input, init) => {
    const response = await call.fetch(input, init);
    const [, path = ''] = /(\/api\/\w+)$/.exec(urlOf(input).pathname) ?? [];
    const isLast = streams[path];
    if (isLast === undefined || response.body === null) return response;
    const watch = watchLines({
      isLast,
      onError: message => void call.refused({status: 500, kind: '', detail: message}),
      onBroken: () => call.brokenOff(),
    });
    return new Response(response.body.pipeThrough(watch), response);
  };
  return new Ollama({host: resolved.baseUrl ?? defaultOllamaUrl, fetch: fetchLines});
}
