/** One chat, from the request to the last line of its answer. */
import {systemPrompt} from '../expertise/prompt.js';
import {errorReply} from '../protocol/messages.js';
import type {ChatMessageRequest, Reply, Turn} from '../protocol/messages.js';
import type {ChatEvent, ChatRequest, StopReason} from '../providers/provider.js';
import {QueueFullError} from './limiter.js';
import {ChatStopped} from './specialist.js';
import type {Engine, Specialist} from './specialist.js';

/** Writes one reply. What it returns, if anything, resolves when the client has caught up with reading. */
export type Send = (reply: Reply) => Promise<void> | undefined;

export interface ChatIo {
  readonly send: Send;
  /** Aborted with a {@link ChatStopped} it stops the provider's call at once. */
  readonly stop: AbortController;
}

type End = Extract<ChatEvent, {type: 'end'}>;

/** Answers with a chat_response, a stream, or an error; never rejects. Sends nothing once the client is gone. */
export async function chat(specialist: Specialist, request: ChatMessageRequest, {send, stop}: ChatIo): Promise<void> {
  const answer = new Answer(specialist, request, send);
  if (specialist.draining) return answer.fail(new ChatStopped('draining'));
  const leave = specialist.beginChat(stop);
  try {
    const release = await specialist.limiter.acquire(stop.signal);
    try {
      await converse(specialist, request, answer, stop.signal);
    } finally {
      release();
    }
  } catch (error) {
    // Whatever a provider throws when it is aborted, the reason is the signal's.
    await answer.fail(stop.signal.aborted ? stop.signal.reason : error);
  } finally {
    leave();
  }
}

async function converse(
  specialist: Specialist,
  request: ChatMessageRequest,
  answer: Answer,
  signal: AbortSignal,
): Promise<void> {
  const engine = specialist.engine;
  answer.engine = engine;
  const before = request.history ?? (request.session === undefined ? [] : specialist.sessions.turns(request.session));
  const provider = await engine.provider();
  signal.throwIfAborted();
  let end: End | undefined;
  for await (const event of provider.chat(providerRequest(engine, request, before), signal)) {
    if (event.type === 'end') end = event;
    else if (event.text !== '') await answer.piece(event.text);
  }
  if (end === undefined) throw new Error('the provider ended its answer without saying so');
  specialist.model.chatWorked();
  if (request.session !== undefined) {
    specialist.sessions.remember(request.session, before, request.content, answer.text);
  }
  await answer.finish(end);
}

function providerRequest({config}: Engine, request: ChatMessageRequest, before: readonly Turn[]): ChatRequest {
  const {temperature, max_tokens: maxTokens} = request;
  return {
    model: config.model,
    system: request.system ?? systemPrompt(config),
    messages: [...before, {role: 'user', content: request.content}],
    parameters: {
      ...config.parameters,
      ...(temperature === undefined ? {} : {temperature}),
      ...(maxTokens === undefined ? {} : {maxTokens}),
    },
  };
}

/** What has been answered so far, and how it is told to the client. */
class Answer {
  text = '';
  engine: Engine;
  #chunks = 0;
  readonly #specialist: Specialist;
  readonly #request: ChatMessageRequest;
  readonly #send: Send;
  readonly #begin: number;

  constructor(specialist: Specialist, request: ChatMessageRequest, send: Send) {
    this.#specialist = specialist;
    this.#request = request;
    this.#send = send;
    this.#begin = specialist.now();
    this.engine = specialist.engine;
  }

  async piece(text: string): Promise<void> {
    this.text += text;
    if (this.#request.stream !== true) return;
    const {aiId, choice} = this.engine.config;
    await this.#send({
      type: 'stream_chunk',
      ...this.#id,
      content: text,
      chunk_index: this.#chunks++,
      metadata: {ai_id: aiId, model: `${choice.provider}:${choice.model}`},
    });
  }

  async finish(end: End): Promise<void> {
    const {aiId, choice} = this.engine.config;
    this.#specialist.count(end.inputTokens, end.outputTokens);
    const seconds = Math.round(this.#specialist.now() - this.#begin) / 1000;
    const model = `${choice.provider}:${end.model}`;
    const usage = {input_tokens: end.inputTokens, output_tokens: end.outputTokens};
    const {text} = this;
    await this.#send(
      this.#request.stream === true
        ? {
            type: 'stream_end',
            ...this.#id,
            metadata: {
              total_chunks: this.#chunks,
              total_tokens: end.outputTokens,
              total_time: seconds,
              ai_id: aiId,
              model,
              usage,
              stop_reason: end.stopReason,
            },
          }
        : {
            type: 'chat_response',
            ...this.#id,
            ai_id: aiId,
            content: text,
            model,
            usage,
            latency: seconds,
            stop_reason: end.stopReason,
          },
    );
  }

  async fail(error: unknown): Promise<void> {
    if (error instanceof ChatStopped) {
      if (error.why === 'disconnected') return;
      if (error.why === 'cancelled') return this.#cancelled();
    }
    const {message, code, retryable} = this.#describe(error);
    const {request_id: requestId, stream = false} = this.#request;
    await this.#send(errorReply(message, {code, retryable, requestId, stream}));
  }

  /** How much the provider has charged for the piece is not known. */
  #cancelled(): Promise<void> {
    const stopReason: StopReason = 'cancelled';
    return this.finish({
      type: 'end',
      model: this.engine.config.choice.model,
      stopReason,
      inputTokens: 0,
      outputTokens: 0,
    });
  }

  #describe(error: unknown): {message: string; code: string; retryable: boolean} {
    const {aiId} = this.engine.config;
    if (error instanceof ChatStopped) return {message: `${aiId} is draining`, code: 'draining', retryable: true};
    if (error instanceof QueueFullError) return {message: error.message, code: 'queue_full', retryable: true};
    if (isCoded(error)) {
      this.#specialist.model.chatFailed(error.code, error.message);
      return error;
    }
    const message = `internal error: ${error instanceof Error ? error.message : String(error)}`;
    this.#specialist.log('error', message, {stack: error instanceof Error ? error.stack : undefined});
    return {message, code: 'internal', retryable: false};
  }

  get #id(): {request_id?: string | number} {
    const {request_id: requestId} = this.#request;
    return requestId === undefined ? {} : {request_id: requestId};
  }
}

/**
 * A ProviderError, or a missing secret. Known by name: a provider may live in another chunk of the build, where
 * its class is another one.
 */
function isCoded(error: unknown): error is Error & {readonly code: string; readonly retryable: boolean} {
  return (
    error instanceof Error &&
    (error.name === 'ProviderError' || error.name === 'SecretMissingError') &&
    'code' in error &&
    typeof error.code === 'string' &&
    'retryable' in error &&
    typeof error.retryable === 'boolean'
  );
}
