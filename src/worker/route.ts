/**
 * Whom a specialist asks: its own model, and its fallbacks in their order when that one can't answer. One that failed a
 * few times in a row is passed over for a while (breaker.ts). Once a piece of an answer has come, no other is asked: two
 * models' words in one answer would be nobody's.
 */
import {ProviderError} from '../providers/provider.js';
import type {ChatEvent, ProviderErrorCode} from '../providers/provider.js';
import type {AnswerEnd} from './answer.js';
import type {Fault} from './breaker.js';
import type {Fitted} from './context.js';
import type {Engine, EngineTarget, Specialist} from './specialist.js';

export type RoutedEvent =
  | Exclude<ChatEvent, {type: 'end'}>
  /** Before the wait for a model's first word; again with every one that is asked. */
  | {readonly type: 'begin'; readonly provider: string; readonly model: string}
  | Omit<AnswerEnd, 'latencyMs' | 'firstTokenMs'>;

export interface Ask {
  readonly specialist: Specialist;
  readonly engine: Engine;
  readonly signal: AbortSignal;
  /** Moment of the specialist's clock at which the chat has waited for too long to be begun. */
  readonly deadline: number;
  /** Makes the request for a target. */
  readonly prepare: (target: EngineTarget) => Promise<Fitted>;
}

/** Why a target gave no answer. */
interface Refusal {
  readonly target: EngineTarget;
  readonly fault: Fault;
  /** It was not asked: it may be in so many ms. */
  readonly openForMs?: number;
}

/**
 * The answer of the first target that gives one.
 *
 * @throws {ProviderError} of the first target, where none gives one; with `retryAfterMs` where all are passed over
 * @throws {QueueTimeoutError} no slot of a provider came free in time
 */
export async function* ask(asked: Ask): AsyncGenerator<RoutedEvent, void, void> {
  const {specialist, engine, signal} = asked;
  const refusals: Refusal[] = [];
  for (const target of engine.targets) {
    const entry = target.breaker.enter();
    if (entry.open) {
      refusals.push({target, fault: entry.fault, openForMs: entry.retryAfterMs});
      continue;
    }
    const {attempt} = entry;
    let begun = false;
    try {
      for await (const event of call(asked, target)) {
        if (event.type === 'end') {
          attempt.worked();
          tellModel(specialist, target, refusals);
          const [first] = refusals;
          yield first ? {...event, fallback: {from: nameOf(first.target), reason: first.fault.code}} : event;
          return;
        }
        if (!begun && event.type !== 'begin') {
          begun = true;
          attempt.begun();
        }
        yield event;
      }
    } catch (error) {
      if (signal.aborted) throw error;
      if (isOfTarget(error)) attempt.failed(error);
      if (isOfProvider(error)) specialist.ledger?.callFailed(target, error.code);
      // What is too long for one model may fit another's window.
      if (begun || !(isOfTarget(error) || isTooLong(error))) throw error;
      refusals.push({target, fault: error});
    } finally {
      attempt.dropped();
    }
  }
  throw unanswered(refusals);
}

/** One target's answer, from the wait for a slot of its provider to the end. */
async function* call(
  {specialist, signal, deadline, prepare}: Ask,
  target: EngineTarget,
): AsyncGenerator<RoutedEvent, void, void> {
  const provider = await target.provider();
  signal.throwIfAborted();
  const {request, trimmed} = await prepare(target);
  const release = await specialist.slots.acquire(target.resolved, {signal, deadline});
  try {
    yield {type: 'begin', provider: target.providerName, model: target.model};
    for await (const event of provider.chat(request, signal)) {
      if (event.type !== 'end') {
        if (event.type === 'tool-call' || event.text !== '') yield event;
        continue;
      }
      const {cachedInputTokens = 0, ...end} = event;
      yield {...end, cachedInputTokens, provider: target.providerName, ...(trimmed > 0 && {trimmed})};
      return;
    }
  } finally {
    release();
  }
  throw new Error('the provider ended its answer without saying so');
}

/** What this answer says of the specialist's readiness. */
function tellModel({model}: Specialist, target: EngineTarget, [first]: readonly Refusal[]): void {
  if (first === undefined) return model.chatWorked();
  const {code, message} = first.fault;
  model.fellBack({code, message, by: nameOf(target), asked: first.openForMs === undefined});
}

/** What a model failed with before, told to a chat for which nobody was asked. */
class PassedOverError extends ProviderError {
  readonly passedOver = true;
}

/** The first target's error; others only add that they didn't answer either. */
function unanswered(refusals: readonly Refusal[]): unknown {
  const [first, ...others] = refusals;
  if (first === undefined) return new Error('there is nobody to ask');
  const waits = refusals.flatMap(({openForMs}) => openForMs ?? []);
  const passedOver = waits.length === refusals.length;
  const retryAfterMs = passedOver ? Math.ceil(Math.min(...waits)) : first.fault.retryAfterMs;
  if (others.length === 0 && !passedOver) return first.fault;
  if (!isOfTarget(first.fault)) return first.fault;
  const names = others.map(({target, fault}) => `${nameOf(target)} (${fault.code})`);
  const {code, retryable, status} = first.fault;
  const Answer = passedOver ? PassedOverError : ProviderError;
  const notAsked = `${nameOf(first.target)} failed too often and is asked again in ${seconds(retryAfterMs)}; its last failure: `;
  const rest = names.length > 0 ? `; no fallback answers either: ${names.join(', ')}` : '';
  return new Answer((passedOver ? notAsked : '') + first.fault.message + rest, {
    code,
    retryable: retryable || others.some(other => other.fault.retryable),
    ...(status !== undefined && {status}),
    ...(retryAfterMs !== undefined && {retryAfterMs}),
    cause: first.fault,
  });
}

/** "1.5 s", "40 s" */
function seconds(ms = 0): string {
  return `${ms < 10_000 ? Math.ceil(ms / 100) / 10 : Math.ceil(ms / 1000)} s`;
}

type TargetFault = Fault & {readonly code: ProviderErrorCode; readonly status?: number};

/**
 * A fault of the target, which another may not have; `bad_request` is the client's own. Known by name, for a provider may
 * live in another chunk of the build, where its class is another one.
 */
function isOfTarget(error: unknown): error is TargetFault {
  if (!(error instanceof Error) || !('code' in error)) return false;
  return error.name === 'SecretMissingError' || (error.name === 'ProviderError' && error.code !== 'bad_request');
}

/** Also where the request is to blame. */
function isOfProvider(error: unknown): error is Fault {
  return isOfTarget(error) || (error instanceof Error && error.name === 'ProviderError');
}

function isTooLong(error: unknown): error is Fault {
  return error instanceof Error && error.name === 'ContextLengthError';
}

function nameOf({providerName, model}: EngineTarget): string {
  return `${providerName}:${model}`;
}
