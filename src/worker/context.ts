/**
 * Whether a conversation fits into the model's context window, found out before it is sent, and what becomes of one that
 * doesn't: an error that says by how much, or, where the specialist is declared so, the conversation without its oldest part.
 * Never silence: a server that is sent too much may cut it without a word.
 */
import type {ChatParameters, ModelCheck, OverflowPolicy} from '../api/types.js';
import {estimateTokens} from '../providers/estimate.js';
import type {ChatRequest, Provider} from '../providers/provider.js';
import type {EngineTarget} from './specialist.js';
import {trimOldest} from './trim.js';

/** Of whom it is asked. */
type Target = Pick<EngineTarget, 'model' | 'providerName' | 'provider'>;

export interface FitOptions {
  readonly target: Target;
  /** Absent: error. */
  readonly overflow: OverflowPolicy | undefined;
  /** What is known of the target's model. */
  readonly check: ModelCheck | undefined;
  readonly signal: AbortSignal;
}

export interface Fitted {
  readonly request: ChatRequest;
  /** Messages that were left out, oldest first. */
  readonly trimmed: number;
}

/** Tokens of a prompt, and what it must fit into. */
export interface ContextExcess {
  readonly promptTokens: number;
  /** `promptTokens` is our estimate, and no count of the provider. */
  readonly estimated: boolean;
  readonly windowTokens: number;
  /** Of the window, kept free for the answer. */
  readonly answerTokens: number;
}

/** Carries a code of the protocol's error table. */
export class ContextLengthError extends Error {
  override readonly name = 'ContextLengthError';
  readonly code = 'context_length_exceeded';
  readonly retryable = false;
  readonly excess: ContextExcess;
  /** How many tokens too many there are. */
  readonly excessTokens: number;

  constructor({providerName, model}: Target, excess: ContextExcess, overflow: OverflowPolicy | undefined) {
    const {promptTokens, estimated, windowTokens, answerTokens} = excess;
    const tooMany = promptTokens + answerTokens - windowTokens;
    const counted = estimated ? `about ${promptTokens} tokens (an estimate)` : `${promptTokens} tokens`;
    const trims = overflow === 'trimOldest';
    const hint = trims ? 'shorten the message' : 'shorten the conversation, set overflow: trimOldest';
    super(
      `the prompt is too long for ${providerName}:${model}${trims ? ', even without its oldest messages' : ''}: ` +
        `it has ${counted}, ${tooMany} more than the context window of ${windowTokens} takes ` +
        `with ${answerTokens} kept free for the answer; ${hint}, or use a larger window (parameters.contextTokens) or model`,
    );
    this.excess = excess;
    this.excessTokens = tooMany;
  }
}

/** No model in use has a window that a prompt of so few tokens, by estimate, could fill. */
const alwaysFits = 1_000;
/** How long a look at the model and a count may take, before it goes without. */
const patienceMs = 2_000;
/** A count by the provider lets us know how far off the estimate is, not how it is spread over the messages. */
const countMargin = 1.05;

/**
 * The request as it may be sent to `target`. What is clearly far below the window costs no request to the provider; where
 * no window is known it is sent as it is, and the provider says. A count that fails is replaced by the estimate.
 *
 * @throws {ContextLengthError} it doesn't fit; with `trimOldest`: what may not be left out doesn't
 * @throws the signal's reason
 */
export async function fit(request: ChatRequest, options: FitOptions): Promise<Fitted> {
  const {target, overflow, signal} = options;
  const estimate = estimateTokens(request);
  const windowTokens = await windowOf(request, estimate, options);
  if (windowTokens === undefined) return {request, trimmed: 0};
  const answerTokens = roomForAnswer(request.parameters, windowTokens);
  const room = windowTokens - answerTokens;
  if (estimate <= room / 2) return {request, trimmed: 0};

  const provider = await target.provider();
  let kept = request;
  for (;;) {
    const {tokens, estimated} = await count(provider, kept, signal);
    if (tokens <= room) return {request: kept, trimmed: request.messages.length - kept.messages.length};
    const excess = {promptTokens: tokens, estimated, windowTokens, answerTokens};
    const share = estimated ? 1 : (countMargin * estimateTokens(kept)) / tokens;
    const messages = overflow === 'trimOldest' ? trimOldest(kept.messages, (tokens - room) * share) : undefined;
    if (messages === undefined) throw new ContextLengthError(target, excess, overflow);
    kept = {...kept, messages};
  }
}

/** What is declared, what the provider will ask for, or what the model has; undefined: not known, or not worth asking. */
async function windowOf(
  {parameters}: ChatRequest,
  estimate: number,
  {target, check, signal}: FitOptions,
): Promise<number | undefined> {
  if (parameters.contextTokens !== undefined) return parameters.contextTokens;
  if (estimate < alwaysFits) return undefined;
  const provider = await target.provider();
  const asked = await provider.contextTokens?.(target.model, signal);
  return asked ?? contextOf(check) ?? (await look(provider, target, signal));
}

/** Windows that were looked up here, for as long as the target stands in a configuration. */
const known = new WeakMap<Target, number | 'unsaid'>();

async function look(provider: Provider, target: Target, signal: AbortSignal): Promise<number | undefined> {
  const before = known.get(target);
  if (before !== undefined) return before === 'unsaid' ? undefined : before;
  const check = await briefly(signal, brief => provider.check([target.model], brief));
  const found = check?.get(target.model);
  // Of a model that isn't there now nothing is known, and the chat itself will tell.
  if (found?.available === true) known.set(target, found.contextTokens ?? 'unsaid');
  return contextOf(found);
}

function contextOf(check: ModelCheck | undefined): number | undefined {
  return check?.available === true ? check.contextTokens : undefined;
}

/**
 * What a declared answer may take, but no more than half: `maxTokens` is a limit, and no need. Undeclared, enough for an
 * answer that isn't cut off in its first sentences.
 */
function roomForAnswer({maxTokens}: ChatParameters, windowTokens: number): number {
  return maxTokens === undefined
    ? Math.min(1024, Math.floor(windowTokens / 8))
    : Math.min(maxTokens, Math.floor(windowTokens / 2));
}

async function count(
  provider: Provider,
  request: ChatRequest,
  signal: AbortSignal,
): Promise<{readonly tokens: number; readonly estimated: boolean}> {
  const tokens = await briefly(signal, brief => provider.countTokens?.(request, brief));
  return tokens === undefined ? {tokens: estimateTokens(request), estimated: true} : {tokens, estimated: false};
}

/** What `ask` gives; undefined where it fails or takes too long. @throws the signal's reason */
async function briefly<T>(
  signal: AbortSignal,
  ask: (brief: AbortSignal) => Promise<T> | undefined,
): Promise<T | undefined> {
  try {
    return await ask(AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]));
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}
