/** One chat in newline JSON, from the request to the last line of its answer. */
import {errorReply} from '../protocol/messages.js';
import type {ChatMessageRequest, Reply} from '../protocol/messages.js';
import {answer} from './answer.js';
import type {AnswerEnd, Question} from './answer.js';
import {describeFailure} from './failure.js';
import {ChatStopped} from './specialist.js';
import type {Engine, Specialist} from './specialist.js';

/** Writes one reply. What it returns, if anything, resolves when the client has caught up with reading. */
export type Send = (reply: Reply) => Promise<void> | undefined;

export interface ChatIo {
  readonly send: Send;
  /** Aborted with a {@link ChatStopped} it stops the provider's call at once. */
  readonly stop: AbortController;
  /** Whose request it is: clients that wait take turns. */
  readonly client?: object;
}

/** Answers with a chat_response, a stream, or an error; never rejects. Sends nothing once the client is gone. */
export async function chat(
  specialist: Specialist,
  request: ChatMessageRequest,
  {send, stop, client}: ChatIo,
): Promise<void> {
  const reply = new Replies(specialist, request, send);
  try {
    for await (const event of answer(specialist, {...questionOf(request), ...(client && {client})}, stop)) {
      if (event.type === 'begin') reply.begin(event);
      else if (event.type === 'text') await reply.piece(event.text);
      else if (event.type === 'end') await reply.finish(event);
    }
  } catch (error) {
    await reply.fail(error);
  }
}

function questionOf({content, history, session, system, temperature, max_tokens}: ChatMessageRequest): Question {
  return {
    ...(history && {history}),
    messages: [{role: 'user', content}],
    ...(session !== undefined && {session}),
    ...(system !== undefined && {system}),
    parameters: {
      ...(temperature !== undefined && {temperature}),
      ...(max_tokens !== undefined && {maxTokens: max_tokens}),
    },
  };
}

/** What has been answered so far, and how it is told to the client. */
class Replies {
  #text = '';
  #chunks = 0;
  /** Who answers, or would. */
  #asked: {readonly provider: string; readonly model: string};
  readonly #engine: Engine;
  readonly #specialist: Specialist;
  readonly #request: ChatMessageRequest;
  readonly #send: Send;
  readonly #begin: number;

  constructor(specialist: Specialist, request: ChatMessageRequest, send: Send) {
    this.#specialist = specialist;
    this.#request = request;
    this.#send = send;
    this.#begin = specialist.now();
    this.#engine = specialist.engine;
    this.#asked = this.#engine.config.choice;
  }

  begin({provider, model}: {readonly provider: string; readonly model: string}): void {
    this.#asked = {provider, model};
  }

  async piece(text: string): Promise<void> {
    this.#text += text;
    if (this.#request.stream !== true) return;
    const {aiId} = this.#engine.config;
    const {provider, model} = this.#asked;
    await this.#send({
      type: 'stream_chunk',
      ...this.#id,
      content: text,
      chunk_index: this.#chunks++,
      metadata: {ai_id: aiId, model: `${provider}:${model}`},
    });
  }

  async finish(
    end: Pick<AnswerEnd, 'provider' | 'model' | 'stopReason' | 'inputTokens' | 'outputTokens' | 'trimmed' | 'fallback'>,
  ): Promise<void> {
    const {aiId} = this.#engine.config;
    const seconds = Math.round(this.#specialist.now() - this.#begin) / 1000;
    const model = `${end.provider}:${end.model}`;
    const usage = {input_tokens: end.inputTokens, output_tokens: end.outputTokens};
    const {fallback, trimmed} = end;
    const remarks = {...(trimmed !== undefined && {trimmed}), ...(fallback && {fallback})};
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
              ...remarks,
            },
          }
        : {
            type: 'chat_response',
            ...this.#id,
            ai_id: aiId,
            content: this.#text,
            model,
            usage,
            latency: seconds,
            stop_reason: end.stopReason,
            ...remarks,
          },
    );
  }

  async fail(error: unknown): Promise<void> {
    if (error instanceof ChatStopped) {
      if (error.why === 'disconnected') return;
      if (error.why === 'cancelled') return this.#cancelled();
    }
    const {message, code, retryable, retryAfterMs} = describeFailure(this.#specialist, error);
    const {request_id: requestId, stream = false} = this.#request;
    await this.#send(errorReply(message, {code, retryable, retryAfterMs, requestId, stream}));
  }

  /** How much the provider has charged for the piece is not known. */
  #cancelled(): Promise<void> {
    return this.finish({...this.#asked, stopReason: 'cancelled', inputTokens: 0, outputTokens: 0});
  }

  get #id(): {request_id?: string | number} {
    const {request_id: requestId} = this.#request;
    return requestId === undefined ? {} : {request_id: requestId};
  }
}
