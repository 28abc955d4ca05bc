/** Ollama, through its own client: /api/tags, /api/show, /api/pull and a streamed /api/chat. */
import type {ResolvedProvider} from '../api/types.js';
import {stream} from './http-call.js';
import {checkInstalled, ownContextTokens} from './ollama-models.js';
import {pullModel} from './ollama-pull.js';
import {ollamaClient, ollamaServer} from './ollama-server.js';
import {fromWire, toWire} from './ollama-wire.js';
import type {ChatEvent, ChatRequest, Provider} from './provider.js';
import {withRetries} from './retry.js';
import {limitsOf} from './timeouts.js';

/** A model may be pinned (`llama3.3:70b@sha256:…`): it answers whatever its digest is, and `check` warns if it is another. */
export function createOllamaProvider(resolved: ResolvedProvider): Provider {
  const contextTokens = new Map<string, number>();
  return {
    check: (models, signal) => checkInstalled(resolved, models, signal),
    contextTokens: (model, signal) => ownContextTokens(resolved, model, contextTokens, signal),
    chat: (request, signal) => withRetries(() => answer(resolved, request, contextTokens, signal), signal),
    pull: (model, signal) => pullModel(resolved, model, signal),
  };
}

function answer(
  resolved: ResolvedProvider,
  request: ChatRequest,
  contextTokens: Map<string, number>,
  signal: AbortSignal,
): AsyncIterable<ChatEvent> {
  const {model, parameters} = request;
  const options = {...ollamaServer(resolved), limits: limitsOf(resolved), model, request};
  return stream(options, signal, async function* (call) {
    const numCtx = parameters.contextTokens ?? (await ownContextTokens(resolved, model, contextTokens, signal));
    const ollama = await ollamaClient(resolved, call);
    yield* fromWire(await ollama.chat(toWire(request, numCtx, resolved.keepAlive)), model);
  });
}
