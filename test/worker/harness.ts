/** What the worker's tests share: a provider in the test's hand, and clients that speak bytes. */
import {connect} from 'node:net';
import type {Socket} from 'node:net';
import type {ModelCheck} from '../../src/api/types.js';
import type {WorkerConfig} from '../../src/protocol/control.js';
import type {ChatEvent, ChatRequest, Provider} from '../../src/providers/provider.js';
import type {RunningWorker, WorkerOptions} from '../../src/worker/start.js';
import {startWorker} from '../../src/worker/start.js';

export function configOf(changes: Partial<WorkerConfig> = {}): WorkerConfig {
  return {
    formatVersion: 1,
    aiId: 'athena-ai',
    name: 'athena',
    component: 'athena',
    namespace: 'default',
    fleet: 'dev',
    generation: 1,
    specHash: 'hash',
    declared: {model: 'm1'},
    host: '127.0.0.1',
    provider: {name: 'hand', type: 'scripted'},
    model: 'm1',
    choice: {provider: 'hand', type: 'scripted', model: 'm1'},
    parameters: {temperature: 0.5},
    expertise: {
      title: 'The Knowledge Weaver',
      expertise: 'Graphs of knowledge.',
      focus: 'graphs',
      roles: ['knowledge'],
      capabilities: ['design ontologies'],
      personality: 'curious',
      refersTo: {},
      systemPrompt: `You are {{component}}. ${'Weave. '.repeat(40)}`,
    },
    concurrency: {max: 4, queue: 64},
    sessions: {maxTurns: 2, idleMinutes: 30, persist: false},
    graceMs: 1000,
    ...changes,
  };
}

/** One call that the provider got; the test answers it piece by piece. */
export class Call {
  readonly request: ChatRequest;
  readonly signal: AbortSignal;
  readonly #events: (ChatEvent | Error)[] = [];
  #wake: () => void = () => undefined;

  constructor(request: ChatRequest, signal: AbortSignal) {
    this.request = request;
    this.signal = signal;
  }

  /** Pieces that the worker hasn't taken yet. */
  get waiting(): number {
    return this.#events.length;
  }

  say(text: string): void {
    this.#push({type: 'text', text});
  }

  emit(event: ChatEvent): void {
    this.#push(event);
  }

  end(text = '', tokens = {inputTokens: 3, outputTokens: 5}): void {
    if (text !== '') this.say(text);
    this.#push({type: 'end', model: this.request.model, stopReason: 'end', ...tokens});
  }

  fail(error: Error): void {
    this.#push(error);
  }

  async *events(): AsyncGenerator<ChatEvent> {
    this.signal.addEventListener('abort', () => this.#wake());
    for (;;) {
      this.signal.throwIfAborted();
      const event = this.#events.shift();
      if (event === undefined) await new Promise<void>(resolve => (this.#wake = resolve));
      else if (event instanceof Error) throw event;
      else yield event;
      if (event !== undefined && 'type' in event && event.type === 'end') return;
    }
  }

  #push(event: ChatEvent | Error): void {
    this.#events.push(event);
    this.#wake();
  }
}

/** Does nothing by itself: hands each call to the test. */
export class HandProvider implements Provider {
  readonly calls: Call[] = [];
  checks = 0;
  answer: ModelCheck | Promise<ModelCheck> = {available: true, contextTokens: 8192};

  async check(models: readonly string[]): Promise<ReadonlyMap<string, ModelCheck>> {
    this.checks++;
    const answer = await this.answer;
    return new Map(models.map(model => [model, answer]));
  }

  chat(request: ChatRequest, signal: AbortSignal): AsyncIterable<ChatEvent> {
    const call = new Call(request, signal);
    this.calls.push(call);
    return call.events();
  }

  async call(n: number): Promise<Call> {
    await until(() => this.calls.length > n, `call ${n} of the provider`);
    return this.calls[n] as Call;
  }
}

/** Bytes out, lines in. */
export class Client {
  readonly socket: Socket;
  readonly lines: Record<string, unknown>[] = [];
  /** Chunks as they were read. */
  readonly chunks: Buffer[] = [];
  ended = false;
  closed = false;
  #text = '';
  #taken = 0;

  constructor(port: number) {
    this.socket = connect({port, host: '127.0.0.1', allowHalfOpen: true});
    this.socket.on('error', () => undefined);
    this.socket.on('end', () => (this.ended = true));
    this.socket.on('close', () => (this.closed = true));
    this.socket.on('data', chunk => {
      this.chunks.push(chunk);
      const lines = (this.#text + chunk.toString()).split('\n');
      this.#text = lines.pop() ?? '';
      for (const line of lines) {
        if (line.startsWith('{')) this.lines.push(JSON.parse(line) as Record<string, unknown>);
      }
    });
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  send(...messages: readonly object[]): this {
    this.socket.write(messages.map(message => `${JSON.stringify(message)}\n`).join(''));
    return this;
  }

  /** The next line that no call of this has given yet. */
  async line(): Promise<Record<string, unknown>> {
    const at = this.#taken++;
    await until(() => this.lines.length > at, `line ${at} from the worker`);
    return this.lines[at] as Record<string, unknown>;
  }

  async end(): Promise<void> {
    await until(() => this.ended || this.closed, 'the end of the connection');
  }

  close(): void {
    this.socket.destroy();
  }
}

/** A worker with a provider in the test's hand; `stop` leaves nothing behind. */
export interface Bench {
  readonly worker: RunningWorker;
  readonly provider: HandProvider;
  readonly client: () => Client;
  readonly stop: () => Promise<void>;
}

export async function bench(changes: Partial<WorkerConfig> = {}, options: Partial<WorkerOptions> = {}): Promise<Bench> {
  const provider = new HandProvider();
  const worker = await startWorker({
    config: configOf(changes),
    uid: 'uid-1',
    port: 0,
    createProvider: async () => provider,
    ...options,
  });
  const clients: Client[] = [];
  return {
    worker,
    provider,
    client: () => {
      const client = new Client(worker.port);
      clients.push(client);
      return client;
    },
    stop: async () => {
      for (const client of clients) client.close();
      await worker.close(0);
    },
  };
}

/** Waits for a condition; fails after 25 seconds, or `withinMs`, naming it. */
export async function until(condition: () => boolean, what: string, withinMs = 25_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise(resolve => setTimeout(resolve, 2));
  }
}
