/**
 * The embedded default provider: no model, no network, always there. It answers from the specialist's own expertise
 * and says so. Every worker loads this file before it is ready, so it imports nothing heavy.
 */
import type {Expertise} from '../api/types.js';
import {offlineAnswer} from './offline-answer.js';
import {badRequest, type ChatEvent, type ChatRequest, type Provider, type StopReason} from './provider.js';

/** Deterministic: the same expertise and messages always give the same answer, whatever model name is asked for. */
export function createOfflineProvider(specialist: {
  readonly component: string;
  readonly expertise: Expertise;
}): Provider {
  return {
    async check(models, signal) {
      signal.throwIfAborted();
      return new Map(models.map(model => [model, {available: true}]));
    },

    async *chat(request, signal): AsyncGenerator<ChatEvent> {
      signal.throwIfAborted();
      refuseWhatNeedsAModel(request);
      const questions = request.messages.filter(({role}) => role === 'user').map(({content}) => content);
      const answer = limit(offlineAnswer(specialist, questions), request.parameters);
      for (const text of answer.pieces) {
        yield {type: 'text', text};
        await nextTurn(); // a cancel that has come in by now is heard
        signal.throwIfAborted();
      }
      yield {
        type: 'end',
        model: request.model,
        stopReason: answer.stopReason,
        inputTokens: inputTokens(request),
        outputTokens: answer.pieces.reduce((n, piece) => n + countTokens(piece), 0),
      };
    },

    async countTokens(request, signal) {
      signal.throwIfAborted();
      return inputTokens(request);
    },
  };
}

/** @throws {ProviderError} tools are offered or have answered, or the answer is to be JSON */
function refuseWhatNeedsAModel({tools = [], toolChoice, responseFormat, messages}: ChatRequest): void {
  const what =
    (tools.length > 0 && toolChoice !== 'none') || messages.at(-1)?.role === 'tool'
      ? 'no tools can be called'
      : responseFormat && 'no answer can be given in JSON';
  if (what) throw badRequest(`no model is connected (provider offline), so ${what}; start Ollama, or name a provider`);
}

function inputTokens({system, messages}: ChatRequest): number {
  return countTokens(system) + messages.reduce((n, m) => n + countTokens(m.content), 0);
}

interface LimitedAnswer {
  readonly pieces: readonly string[];
  readonly stopReason: StopReason;
}

/** Ends the answer where a model would have ended it: before the first stop sequence, or after `maxTokens`. */
function limit(pieces: readonly string[], {stop, maxTokens}: ChatRequest['parameters']): LimitedAnswer {
  const whole = pieces.join('');
  const stops = (stop ?? []).filter(text => text !== '').map(text => whole.indexOf(text));
  const stopAt = Math.min(whole.length, ...stops.filter(at => at >= 0));
  const lengthAt = endOfToken(whole, maxTokens ?? Infinity);
  if (lengthAt < stopAt) return {pieces: cut(pieces, lengthAt), stopReason: 'length'};
  return {pieces: cut(pieces, stopAt), stopReason: stopAt < whole.length ? 'stop' : 'end'};
}

function cut(pieces: readonly string[], length: number): readonly string[] {
  let left = length;
  return pieces
    .map(piece => {
      const kept = piece.slice(0, left);
      left -= kept.length;
      return kept;
    })
    .filter(piece => piece !== '');
}

/** There is no tokenizer without a model: one run of non-space is one token, for counting and for `maxTokens` alike. */
const token = /\S+/g;

function countTokens(text: string): number {
  let count = 0;
  for (const _ of text.matchAll(token)) count++;
  return count;
}

/** Where the `nth` token ends; the text's length if it has no more than that. */
function endOfToken(text: string, nth: number): number {
  let count = 0;
  let end = 0;
  for (const match of text.matchAll(token)) {
    if (++count > nth) return end;
    end = match.index + match[0].length;
  }
  return text.length;
}

function nextTurn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}
