/** A provider for tests and CI: the same message always gets the same answer, at the same pace, or the same fault. */
import type {ResolvedProvider} from '../api/types.js';
import {ProviderError, type ChatEvent, type ChatRequest, type Provider} from './provider.js';
import {sleep} from './retry.js';
import {openScript, ScriptError, type Fault, type Rule} from './script.js';

/** Answers from the file that `resolved.script` names, which may be edited at any time; without one it echoes. */
export function createScriptedProvider(resolved: ResolvedProvider, component: string): Provider {
  const load = openScript(resolved.script);
  return {
    async check(models, signal) {
      signal.throwIfAborted();
      const result = await load()
        .then(script => script.check)
        .catch((error: unknown) => {
          if (!(error instanceof ScriptError)) throw error;
          return {available: false, reason: 'ProviderError', message: error.message} as const;
        });
      signal.throwIfAborted();
      return new Map(models.map(model => [model, result]));
    },

    async *chat(request, signal) {
      signal.throwIfAborted();
      const {rules} = await load().catch((error: unknown) => {
        if (!(error instanceof ScriptError)) throw error;
        throw new ProviderError(error.message, {code: 'provider_error', retryable: false});
      });
      const content = request.messages.at(-1)?.content ?? '';
      yield* play(rules.find(rule => rule.matches(content)) ?? echo, request, {content, component}, signal);
    },
  };
}

const echo: Rule = {
  matches: () => true,
  chunks: undefined,
  delayMs: 0,
  chunkDelayMs: 0,
  inputTokens: undefined,
  outputTokens: undefined,
  stopReason: 'end',
  error: undefined,
};

const echoChunks = ['{{component}} heard: ', '{{content}}'];

async function* play(
  rule: Rule,
  request: ChatRequest,
  facts: {readonly content: string; readonly component: string},
  signal: AbortSignal,
): AsyncGenerator<ChatEvent, void, void> {
  const values: Readonly<Record<string, string>> = {...facts, model: request.model};
  const fill = (text: string): string =>
    text.replace(/\{\{(content|component|model)\}\}/g, (_, name: string) => values[name] ?? '');
  const texts = (rule.chunks ?? echoChunks).map(fill);
  if (rule.delayMs > 0) await sleep(rule.delayMs, signal);
  for (const [index, text] of texts.entries()) {
    signal.throwIfAborted();
    if (rule.error !== undefined && index >= rule.error.afterChunks) throw failure(rule.error);
    if (index > 0 && rule.chunkDelayMs > 0) await sleep(rule.chunkDelayMs, signal);
    if (text !== '') yield {type: 'text', text};
  }
  signal.throwIfAborted();
  if (rule.error !== undefined) throw failure(rule.error);
  const asked = [request.system, ...request.messages.map(message => message.content)];
  yield {
    type: 'end',
    model: request.model,
    stopReason: rule.stopReason,
    inputTokens: rule.inputTokens ?? countTokens(asked),
    outputTokens: rule.outputTokens ?? countTokens(texts),
  };
}

function failure({code, message, retryable, status, retryAfterMs}: Fault): ProviderError {
  return new ProviderError(message, {
    code,
    retryable,
    ...(status === undefined ? {} : {status}),
    ...(retryAfterMs === undefined ? {} : {retryAfterMs}),
  });
}

/** Four characters a token: the usual rule of thumb, and always the same. */
function countTokens(texts: readonly string[]): number {
  return Math.ceil(texts.join('').length / 4);
}
