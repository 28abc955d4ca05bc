/** `POST /v1/chat/completions`: the answer as one document, or as server-sent events. */
import type {StopReason, ToolCall} from '../../providers/provider.js';
import {answer} from '../answer.js';
import type {AnswerEnd} from '../answer.js';
import {describeFailure} from '../failure.js';
import {ChatStopped} from '../specialist.js';
import type {Specialist} from '../specialist.js';
import {readChatCall} from './chat-request.js';
import type {Exchange} from './exchange.js';
import {answersTo, noSuchModel} from './models.js';
import {Problem} from './problem.js';
import {EventStream} from './stream.js';

/**
 * @throws {Problem} before the answer has begun; later it is told in the stream
 * @throws {ChatStopped} the client is gone
 */
export async function completeChat(exchange: Exchange, specialist: Specialist): Promise<void> {
  const {model, question, stream, includeUsage} = readChatCall(await exchange.body());
  const {config} = specialist;
  if (model !== undefined && !answersTo(config, model)) throw noSuchModel(config, model);
  const stop = exchange.stopper();
  const {randomUUID} = process.getBuiltinModule('node:crypto');
  const head = {id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model: config.aiId};
  const reply = stream ? new StreamedReply(exchange, head, includeUsage) : new WholeReply(exchange, head);
  try {
    for await (const event of answer(specialist, {...question, client: exchange.request.socket}, stop)) {
      switch (event.type) {
        case 'text':
          await reply.text(event.text);
          break;
        case 'thinking':
          await reply.thinking(event.text);
          break;
        case 'tool-call':
          await reply.toolCall(event.call);
          break;
        case 'end':
          reply.end(event);
          break;
        case 'begin': // who answers is told with the end
      }
    }
  } catch (error) {
    if (error instanceof ChatStopped && error.why === 'disconnected') throw error;
    reply.fail(Problem.fromFailure(describeFailure(specialist, error)));
  } finally {
    reply.close();
  }
}

interface Head {
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
  readonly model: string;
}

/** What a promise is returned for is taken up by the client when it resolves. */
interface ChatReply {
  text(text: string): Promise<void> | undefined;
  thinking(text: string): Promise<void> | undefined;
  toolCall(call: ToolCall): Promise<void> | undefined;
  end(end: AnswerEnd): void;
  fail(problem: Problem): void;
  /** Whatever became of it. */
  close(): void;
}

class WholeReply implements ChatReply {
  readonly #exchange: Exchange;
  readonly #head: Head;
  #text = '';
  #thinking = '';
  readonly #calls: ToolCall[] = [];

  constructor(exchange: Exchange, head: Head) {
    this.#exchange = exchange;
    this.#head = head;
  }

  text(text: string): undefined {
    this.#text += text;
  }

  thinking(text: string): undefined {
    this.#thinking += text;
  }

  toolCall(call: ToolCall): undefined {
    this.#calls.push(call);
  }

  end(end: AnswerEnd): void {
    const {id, created, model} = this.#head;
    const message = {
      role: 'assistant',
      content: this.#text === '' && this.#calls.length > 0 ? null : this.#text,
      refusal: null,
      ...(this.#thinking !== '' && {reasoning_content: this.#thinking}),
      ...(this.#calls.length > 0 && {tool_calls: this.#calls.map(wireCall)}),
    };
    this.#exchange.json(200, {
      id,
      object: 'chat.completion',
      created,
      model,
      choices: [{index: 0, message, logprobs: null, finish_reason: finishReason(end.stopReason)}],
      usage: wireUsage(end),
      tekton_ai: provenance(end),
    });
  }

  fail(problem: Problem): void {
    this.#exchange.tell(problem);
  }

  close(): void {
    return undefined;
  }
}

class StreamedReply implements ChatReply {
  readonly #stream: EventStream;
  readonly #head: Head;
  readonly #includeUsage: boolean;
  /** What surrounds each delta: the same for the whole stream. */
  readonly #before: string;
  readonly #after: string;
  #begun = false;
  #calls = 0;

  constructor(exchange: Exchange, head: Head, includeUsage: boolean) {
    this.#stream = new EventStream(exchange);
    this.#head = head;
    this.#includeUsage = includeUsage;
    const {id, created, model} = head;
    const start = JSON.stringify({id, object: 'chat.completion.chunk', created, model}).slice(0, -1);
    this.#before = `${start},"choices":[{"index":0,"delta":`;
    this.#after = `,"finish_reason":null}]${includeUsage ? ',"usage":null' : ''}}`;
  }

  text(text: string): Promise<void> | undefined {
    return this.#delta(`{"content":${JSON.stringify(text)}}`);
  }

  thinking(text: string): Promise<void> | undefined {
    return this.#delta(`{"reasoning_content":${JSON.stringify(text)}}`);
  }

  toolCall(call: ToolCall): Promise<void> | undefined {
    return this.#delta(JSON.stringify({tool_calls: [{index: this.#calls++, ...wireCall(call)}]}));
  }

  end(end: AnswerEnd): void {
    this.#begin();
    const {id, created, model} = this.#head;
    const chunk = {id, object: 'chat.completion.chunk', created, model};
    const choices = [{index: 0, delta: {}, finish_reason: finishReason(end.stopReason)}];
    const unusual = this.#includeUsage ? {usage: null} : {};
    void this.#stream.event(JSON.stringify({...chunk, choices, ...unusual, tekton_ai: provenance(end)}));
    if (this.#includeUsage) {
      void this.#stream.event(JSON.stringify({...chunk, choices: [], usage: wireUsage(end)}));
    }
    void this.#stream.event('[DONE]');
    this.#stream.end();
  }

  fail(problem: Problem): void {
    this.#stream.fail(problem);
  }

  close(): void {
    this.#stream.close();
  }

  #delta(json: string): Promise<void> | undefined {
    this.#begin();
    return this.#stream.event(`${this.#before}${json}${this.#after}`);
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    void this.#stream.event(`${this.#before}{"role":"assistant","content":""}${this.#after}`);
  }
}

function wireCall({id, name, arguments: text}: ToolCall): object {
  return {id, type: 'function', function: {name, arguments: text}};
}

function wireUsage({inputTokens, outputTokens, cachedInputTokens}: AnswerEnd): object {
  return {
    prompt_tokens: inputTokens,
    completion_tokens: outputTokens,
    total_tokens: inputTokens + outputTokens,
    prompt_tokens_details: {cached_tokens: cachedInputTokens},
  };
}

/** Who answered, and what was done to the question. */
function provenance({provider, model, latencyMs, firstTokenMs, fallback, trimmed}: AnswerEnd): object {
  return {
    provider,
    model,
    latency: seconds(latencyMs),
    ...(firstTokenMs !== undefined && {first_token: seconds(firstTokenMs)}),
    ...(fallback && {fallback}),
    ...(trimmed !== undefined && {trimmed}),
  };
}

function seconds(ms: number): number {
  return Math.round(ms) / 1000;
}

function finishReason(reason: StopReason): string {
  switch (reason) {
    case 'end':
    case 'stop':
    case 'cancelled':
      return 'stop';
    case 'length':
    case 'tool_calls':
      return reason;
    case 'refusal':
      return 'content_filter';
  }
}
