/** Whom a specialist asks: the declared model, and its fallbacks when that one can't answer. */
import type {ChatEvent} from '../providers/provider.js';
import type {AnswerEnd} from './answer.js';
import type {Fitted} from './context.js';
import type {Engine, EngineTarget, Specialist} from './specialist.js';

export type RoutedEvent = Exclude<ChatEvent, {type: 'end'}> | Omit<AnswerEnd, 'latencyMs' | 'firstTokenMs'>;

/**
 * The answer of the first target that gives one. `prepare` makes the request for a target.
 *
 * @throws {ProviderError}
 */
export async function* ask(
  _specialist: Specialist,
  engine: Engine,
  signal: AbortSignal,
  prepare: (target: EngineTarget) => Promise<Fitted>,
): AsyncGenerator<RoutedEvent, void, void> {
  const [target] = engine.targets;
  const provider = await target.provider();
  signal.throwIfAborted();
  const {request, trimmed} = await prepare(target);
  let ended = false;
  for await (const event of provider.chat(request, signal)) {
    if (event.type !== 'end') {
      if (event.type === 'tool-call' || event.text !== '') yield event;
      continue;
    }
    ended = true;
    const {cachedInputTokens = 0, ...end} = event;
    yield {...end, cachedInputTokens, provider: target.providerName, ...(trimmed > 0 && {trimmed})};
  }
  if (!ended) throw new Error('the provider ended its answer without saying so');
}
