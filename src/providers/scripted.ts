/** A provider for tests and CI: the same message always gets the same answer, at the same pace, or the same fault. */
import type {ResolvedProvider} from '../api/types.js';
import {badRequest, ProviderError, type ChatEvent, type ChatRequest, type Provider, type ToolCall} from './provider.js';
import {sleep} from './retry.js';
import {openScript, type Fault, type Rule, type Script} from './script.js';
import {ScriptError} from './script-place.js';
import {limitsOf, timedOut, watch, type CallLimits, type Watch} from './timeouts.js';

/** Answers from the file that `resolved.script` names, which may be edited at any time; without one it echoes. */
export function createScriptedProvider(resolved: ResolvedProvider, component: string): Provider {
  const open = openScript(resolved.script);
  const load = (): Promise<Script> =>
    open().catch((error: unknown) => {
      if (!(error instanceof ScriptError)) throw error;
      throw new ProviderError(error.message, {code: 'provider_error', retryable: false});
    });
  const played = {label: `the script of provider "${resolved.name}"`, limits: limitsOf(resolved), component};
  return {
    async check(models, signal) {
      signal.throwIfAborted();
      const result = await load()
        .then(script => script.check)
        .catch((error: unknown) => {
          if (!(error instanceof ProviderError)) throw error;
          return {available: false, reason: 'ProviderError', message: error.message} as const;
        });
      signal.throwIfAborted();
      return new Map(models.map(model => [model, result]));
    },

    async *chat(request, signal) {
      signal.throwIfAborted();
      const rule = choose(await load(), request);
      const watched = watch(played.label, played.limits, signal);
      try {
        yield* play(rule, request, played, watched);
      } finally {
        watched.close();
      }
    },

    async countTokens(request, signal) {
      signal.throwIfAborted();
      return choose(await load(), request).inputTokens ?? countTokens(textsOf(request));
    },
  };
}

const echo: Rule = {
  matches: () => true,
  chunks: undefined,
  thinking: [],
  toolCalls: [],
  delayMs: 0,
  chunkDelayMs: 0,
  inputTokens: undefined,
  outputTokens: undefined,
  cachedInputTokens: undefined,
  stopReason: 'end',
  error: undefined,
};

const echoChunks = ['{{component}} heard: ', '{{content}}'];

/** A rule that calls tools answers only who offers them; who demands a call gets it or an error. */
function choose({rules}: Script, request: ChatRequest): Rule {
  const {tools = [], toolChoice = 'auto'} = request;
  const offered = new Set(toolChoice === 'none' ? [] : tools.map(({name}) => name));
  if (offered.size > 0 && !rules.some(rule => rule.toolCalls.length > 0)) {
    throw badRequest('the script of this provider calls no tools; leave them out, or give a rule `toolCalls`');
  }
  const content = contentOf(request);
  const demanded = (rule: Rule): boolean =>
    typeof toolChoice === 'string'
      ? toolChoice !== 'required' || rule.toolCalls.length > 0
      : rule.toolCalls.some(({name}) => name === toolChoice.name);
  const found = rules.find(
    rule => rule.toolCalls.every(({name}) => offered.has(name)) && demanded(rule) && rule.matches(content),
  );
  if (found === undefined && !demanded(echo)) {
    throw badRequest('a tool call is demanded, and no rule of the script makes it for this message');
  }
  return found ?? echo;
}

interface Played {
  /** As messages name the script. */
  readonly label: string;
  readonly limits: CallLimits;
  readonly component: string;
}

async function* play(
  rule: Rule,
  request: ChatRequest,
  {label, limits, component}: Played,
  watched: Watch,
): AsyncGenerator<ChatEvent, void, void> {
  const {signal} = watched;
  const values = {content: contentOf(request), component, model: request.model};
  const fill = (text: string): string => fillIn(text, values);
  const texts = (rule.chunks ?? echoChunks).map(fill);
  const thoughts = rule.thinking.map(fill);
  if (request.responseFormat && !rule.error && rule.toolCalls.length === 0) refuseUnlessJson(texts.join(''));
  if (rule.delayMs > 0) await sleep(rule.delayMs, signal);
  const pieces = [
    ...thoughts.map(text => ({type: 'thinking' as const, text})),
    ...texts.map(text => ({type: 'text' as const, text})),
  ];
  for (const [index, piece] of pieces.entries()) {
    signal.throwIfAborted();
    if (rule.error !== undefined && index - thoughts.length >= rule.error.afterChunks) throw failure(rule.error);
    if (index > 0 && rule.chunkDelayMs > 0) {
      await sleep(Math.min(rule.chunkDelayMs, limits.idleMs), signal);
      if (rule.chunkDelayMs > limits.idleMs) throw timedOut(label, limits, 'idle');
    }
    if (piece.text === '') continue;
    watched.begin();
    yield piece;
  }
  signal.throwIfAborted();
  if (rule.error !== undefined) throw failure(rule.error);
  const calls = callsOf(rule, request, values);
  for (const call of calls) yield {type: 'tool-call', call};
  yield {
    type: 'end',
    model: request.model,
    stopReason: rule.stopReason,
    inputTokens: rule.inputTokens ?? countTokens(textsOf(request)),
    outputTokens: rule.outputTokens ?? countTokens([...texts, ...calls.map(call => call.arguments)]),
    ...(rule.cachedInputTokens !== undefined && {cachedInputTokens: rule.cachedInputTokens}),
  };
}

/** Ids count on over the whole conversation, so that a result names one call. */
function callsOf(rule: Rule, {messages}: ChatRequest, values: Values): readonly ToolCall[] {
  const before = messages.reduce((n, m) => n + (m.role === 'assistant' ? (m.toolCalls?.length ?? 0) : 0), 0);
  return rule.toolCalls.map(({id, name, arguments: text}, index) => ({
    id: id ?? `call_${before + index + 1}`,
    name,
    arguments: fillIn(text, inJson(values)),
  }));
}

type Values = Readonly<Record<'content' | 'component' | 'model', string>>;

function fillIn(text: string, values: Values): string {
  return text.replace(/\{\{(content|component|model)\}\}/g, (_, name: keyof Values) => values[name]);
}

function inJson({content, component, model}: Values): Values {
  const escape = (text: string): string => JSON.stringify(text).slice(1, -1);
  return {content: escape(content), component: escape(component), model: escape(model)};
}

function refuseUnlessJson(text: string): void {
  try {
    JSON.parse(text);
  } catch {
    throw badRequest('an answer in JSON is asked for, and what the script says is none');
  }
}

function failure({code, message, retryable, status, retryAfterMs}: Fault): ProviderError {
  return new ProviderError(message, {
    code,
    retryable,
    ...(status === undefined ? {} : {status}),
    ...(retryAfterMs === undefined ? {} : {retryAfterMs}),
  });
}

function contentOf({messages}: ChatRequest): string {
  return messages.at(-1)?.content ?? '';
}

function textsOf({system, messages}: ChatRequest): readonly string[] {
  return [system, ...messages.map(({content}) => content)];
}

/** Four characters a token: the usual rule of thumb, and always the same. */
function countTokens(texts: readonly string[]): number {
  return Math.ceil(texts.join('').length / 4);
}
