/**
 * One answer, whatever protocol its client speaks: a place in the queue, the conversation so far, the model's words,
 * and what it cost. How it is told to the client is the caller's (chat.ts, http/).
 */
import type {ChatParameters} from '../api/types.js';
import {systemPrompt} from '../expertise/prompt.js';
import type {
  ChatEvent,
  ChatMessage,
  ChatRequest,
  ResponseFormat,
  StopReason,
  Tool,
  ToolCall,
  ToolChoice,
} from '../providers/provider.js';
import {ChatAccount} from './chat-account.js';
import {fit} from './context.js';
import type {Fitted} from './context.js';
import {ask} from './route.js';
import {goOn} from './session-turns.js';
import type {Conversation} from './sessions.js';
import {ChatStopped} from './specialist.js';
import type {Engine, EngineTarget, Specialist} from './specialist.js';

/** What a client asks. */
export interface Question {
  /** What was said before; absent: what the session holds. */
  readonly history?: readonly ChatMessage[];
  /** What is said now; the last is the user's, or a tool's. */
  readonly messages: readonly ChatMessage[];
  /** Under this name the worker remembers the conversation. */
  readonly session?: string;
  /** In place of the specialist's own prompt. */
  readonly system?: string;
  /** After that prompt. */
  readonly instructions?: string;
  /** Over the specialist's own. */
  readonly parameters?: ChatParameters;
  readonly tools?: readonly Tool[];
  readonly toolChoice?: ToolChoice;
  readonly responseFormat?: ResponseFormat;
  /** Whose request it is, a connection: clients that wait take turns. Absent: a client of its own. */
  readonly client?: object;
}

export type AnswerEvent =
  | Exclude<ChatEvent, {type: 'end'}>
  /** Who is asked now. Again where that one fails before its first word and a fallback is asked. */
  | {readonly type: 'begin'; readonly provider: string; readonly model: string}
  | AnswerEnd;

export interface AnswerEnd {
  readonly type: 'end';
  /** Name of the provider that answered. */
  readonly provider: string;
  /** As the provider named it. */
  readonly model: string;
  readonly stopReason: StopReason;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cachedInputTokens: number;
  /** From the request to the end, and to the first piece of the answer; ms. */
  readonly latencyMs: number;
  readonly firstTokenMs: number | undefined;
  /** Who should have answered and why it didn't, where a fallback did. */
  readonly fallback?: {readonly from: string; readonly reason: string};
  /** Messages that were left out, oldest first, so that the rest fits. */
  readonly trimmed?: number;
}

/**
 * The last event is `end`. Aborting `stop` with a {@link ChatStopped} ends the provider's call and the iteration.
 *
 * @throws {ChatStopped} also when the specialist takes no new chats
 * @throws {QueueFullError}
 * @throws {BudgetExceededError}
 * @throws {ContextLengthError}
 * @throws {ProviderError}
 */
export async function* answer(
  specialist: Specialist,
  question: Question,
  stop: AbortController,
): AsyncGenerator<AnswerEvent, void, void> {
  if (specialist.draining) throw new ChatStopped('draining');
  const begin = specialist.now();
  const {signal} = stop;
  const leave = specialist.beginChat(stop);
  let account: ChatAccount | undefined;
  let conversation: Conversation | undefined;
  try {
    const ledger = specialist.ledger ?? (await specialist.openLedger());
    account = new ChatAccount(ledger);
    ledger.assertBudget();
    const {deadline} = specialist.limiter;
    const waiting = {client: question.client, deadline};
    // Before it takes a place: chats that wait for another of their session hold up nobody else.
    if (question.session !== undefined) {
      conversation = await specialist.sessions.open(question.session, signal, waiting);
    }
    const release = await specialist.limiter.acquire(signal, waiting);
    try {
      // Those before it may have spent the rest while it waited.
      ledger.assertBudget();
      yield* converse(specialist, question, {signal, begin, deadline, account, conversation});
    } finally {
      release();
    }
  } catch (error) {
    // Whatever a provider throws when it is aborted, the reason is the signal's.
    const reason: unknown = signal.aborted ? signal.reason : error;
    account?.failed(reason);
    throw reason;
  } finally {
    account?.left();
    conversation?.close();
    leave();
  }
}

interface Course {
  readonly signal: AbortSignal;
  readonly begin: number;
  /** As {@link Limiter.deadline}. */
  readonly deadline: number;
  readonly account: ChatAccount;
  readonly conversation: Conversation | undefined;
}

async function* converse(
  specialist: Specialist,
  question: Question,
  {signal, begin, deadline, account, conversation}: Course,
): AsyncGenerator<AnswerEvent, void, void> {
  const {engine} = specialist;
  const {history = conversation?.turns ?? []} = question;
  const messages = goOn(history, question.messages);
  const toolCalls: ToolCall[] = [];
  let text = '';
  let firstTokenMs: number | undefined;
  const prepare = async (target: EngineTarget): Promise<Fitted> => {
    const check = target === engine.targets[0] ? specialist.model.known : undefined;
    const options = {target, overflow: engine.config.overflow, check, signal};
    const fitted = await fit(requestOf(engine, question, messages, target.model), options);
    account.asks(target, fitted.request);
    return fitted;
  };
  for await (const event of ask({specialist, engine, signal, deadline, prepare})) {
    if (event.type === 'begin') {
      yield event;
      continue;
    }
    if (event.type !== 'end') {
      firstTokenMs ??= specialist.now() - begin;
      account.piece(event.type === 'tool-call' ? event.call.arguments : event.text);
      if (event.type === 'text') text += event.text;
      else if (event.type === 'tool-call') toolCalls.push(event.call);
      yield event;
      continue;
    }
    // An empty answer is none: providers refuse conversations with one.
    if (text !== '' || toolCalls.length > 0) {
      const said: ChatMessage = {role: 'assistant', content: text, ...(toolCalls.length > 0 && {toolCalls})};
      conversation?.remember([...question.messages, said], question.history);
    }
    const end = {...event, latencyMs: specialist.now() - begin, firstTokenMs};
    await account.answered(end);
    yield end;
  }
}

function requestOf(
  {config}: Engine,
  {system, instructions, parameters, tools, toolChoice, responseFormat}: Question,
  messages: readonly ChatMessage[],
  model: string,
): ChatRequest {
  const prompt = system ?? systemPrompt(config);
  return {
    model,
    system: instructions === undefined ? prompt : `${prompt}\n\n${instructions}`,
    messages,
    parameters: {...config.parameters, ...parameters},
    ...(tools && {tools}),
    ...(toolChoice !== undefined && {toolChoice}),
    ...(responseFormat && {responseFormat}),
  };
}
