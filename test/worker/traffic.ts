/** Clients that chat in loops and count: what they got, and whatever went wrong in whichever way. */
import {connect} from 'node:net';
import type {Socket} from 'node:net';

export interface TrafficOptions {
  /** 127.0.0.1 unless given. */
  readonly host?: string;
  readonly port: number;
  readonly aiId: string;
  /** Chats with this text take their time. */
  readonly slow?: string;
}

/** What a client does with one connection. */
type Visit = (socket: Lines) => Promise<void>;

export class Traffic {
  exchanges = 0;
  /** What went wrong, each with its kind of client. */
  readonly failures: string[] = [];
  /** Exchanges by kind of client. */
  readonly counts: Record<string, number> = {};
  readonly #options: TrafficOptions;
  #stopped = false;
  readonly #loops: Promise<void>[];

  constructor(options: TrafficOptions) {
    this.#options = options;
    const visits: Record<string, Visit> = {
      'reconnecting 1': lines => this.#chats(lines, 1),
      'reconnecting 2': lines => this.#chats(lines, 1),
      'kept open 1': lines => this.#chats(lines, 40),
      'kept open 2': lines => this.#chats(lines, 150),
      streaming: lines => this.#streams(lines),
      long: lines => this.#longChat(lines),
      'half-closed': lines => this.#halfClosed(lines),
      http: lines => this.#http(lines),
      'http kept open': lines => this.#httpChats(lines, 40),
      silent: lines => this.#silent(lines),
    };
    this.#loops = Object.entries(visits).map(([kind, visit]) => this.#loop(kind, visit));
  }

  /** Resolves when each client has finished what it was at. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }

  async #loop(kind: string, visit: Visit): Promise<void> {
    while (!this.#stopped) {
      const lines = new Lines(this.#options);
      const before = this.exchanges;
      try {
        await visit(lines);
      } catch (error) {
        this.failures.push(`${kind}: ${error instanceof Error ? error.message : String(error)}`);
        if (this.failures.length > 20) return;
      } finally {
        lines.close();
        this.counts[kind] = (this.counts[kind] ?? 0) + this.exchanges - before;
      }
    }
  }

  async #chats(lines: Lines, count: number): Promise<void> {
    for (let n = 0; n < count && !this.#stopped; n++) {
      lines.send({type: 'chat', content: `hello ${n}`});
      this.#took(await lines.next(), 'chat_response');
    }
  }

  async #streams(lines: Lines): Promise<void> {
    lines.send({type: 'chat', content: 'hello', stream: true, request_id: 7});
    for (;;) {
      const line = await lines.next();
      if (line['type'] === 'stream_chunk') continue;
      const {type, metadata} = line as {type?: string; metadata?: {ai_id?: string}};
      if (type !== 'stream_end' || metadata?.ai_id !== this.#options.aiId) throw new Error(JSON.stringify(line));
      this.exchanges++;
      return;
    }
  }

  async #longChat(lines: Lines): Promise<void> {
    lines.send({type: 'chat', content: this.#options.slow ?? 'hello'});
    this.#took(await lines.next(), 'chat_response');
  }

  async #halfClosed(lines: Lines): Promise<void> {
    lines.send({type: 'chat', content: 'hello'});
    lines.socket.end();
    this.#took(await lines.next(), 'chat_response');
    await lines.end();
  }

  async #http(lines: Lines): Promise<void> {
    lines.socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    await lines.end();
    if (!lines.text.startsWith('HTTP/1.1 200 OK')) throw new Error(`HTTP: ${JSON.stringify(lines.text)}`);
    this.exchanges++;
  }

  /** Until the specialist says that the connection ends. */
  async #httpChats(lines: Lines, count: number): Promise<void> {
    const body = JSON.stringify({messages: [{role: 'user', content: 'hello'}]});
    const head = `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`;
    for (let n = 0; n < count && !this.#stopped; n++) {
      lines.socket.write(head + body);
      const answer = await lines.httpAnswer();
      if (!answer.startsWith('HTTP/1.1 200 OK')) throw new Error(`HTTP: ${JSON.stringify(answer)}`);
      if (!answer.includes(`"model":"${this.#options.aiId}"`)) throw new Error(`not ours: ${answer}`);
      this.exchanges++;
      if (answer.includes('\r\nConnection: close\r\n')) return lines.end();
    }
  }

  /** Says nothing; being let go with a FIN is fine. */
  async #silent(lines: Lines): Promise<void> {
    await Promise.race([lines.end(), lines.quiet(100)]);
    this.exchanges++;
  }

  #took(line: Record<string, unknown>, type: string): void {
    if (line['type'] !== type || line['ai_id'] !== this.#options.aiId) throw new Error(JSON.stringify(line));
    this.exchanges++;
  }
}

/** Thousands of closed connections keep their ports for a minute: on an address of their own they are in nobody's way. */
const from = process.platform === 'linux' ? {localAddress: '127.0.0.2'} : {};

/** One connection, read line by line. A reset, a refusal, and an end before the answer are errors. */
class Lines {
  readonly socket: Socket;
  text = '';
  #taken = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: () => void = () => undefined;

  constructor({port, host = '127.0.0.1'}: Pick<TrafficOptions, 'host' | 'port'>) {
    this.socket = connect({port, host, allowHalfOpen: true, ...from});
    this.socket.on('data', chunk => this.#changed(() => (this.text += chunk.toString())));
    this.socket.on('end', () => this.#changed(() => (this.#ended = true)));
    this.socket.on('error', error => this.#changed(() => (this.#error = error)));
  }

  send(message: object): void {
    this.socket.write(`${JSON.stringify(message)}\n`);
  }

  async next(): Promise<Record<string, unknown>> {
    for (;;) {
      const end = this.text.indexOf('\n', this.#taken);
      if (end >= 0) {
        const line = this.text.slice(this.#taken, end);
        this.#taken = end + 1;
        return JSON.parse(line) as Record<string, unknown>;
      }
      if (this.#error) throw this.#error;
      if (this.#ended) throw new Error('cut: the connection ended before the answer');
      await this.#change();
    }
  }

  /** One whole answer of those that announce their length. */
  async httpAnswer(): Promise<string> {
    for (;;) {
      const text = this.text.slice(this.#taken);
      const head = /^HTTP[^]*?\r\nContent-Length: (\d+)\r\n[^]*?\r\n\r\n/.exec(text);
      const length = head === null ? Infinity : head[0].length + Number(head[1]);
      if (text.length >= length) {
        this.#taken += length;
        return text.slice(0, length);
      }
      if (this.#error) throw this.#error;
      if (this.#ended) throw new Error(`cut: the connection ended before the answer, after ${JSON.stringify(text)}`);
      await this.#change();
    }
  }

  async end(): Promise<void> {
    while (!this.#ended) {
      if (this.#error) throw this.#error;
      await this.#change();
    }
  }

  /** Resolves after `ms` without an error. */
  async quiet(ms: number): Promise<void> {
    await new Promise(resolve => setTimeout(resolve, ms));
    if (this.#error) throw this.#error;
  }

  close(): void {
    this.socket.destroy();
  }

  #change(): Promise<void> {
    return new Promise(resolve => (this.#wake = resolve));
  }

  #changed(how: () => void): void {
    how();
    this.#wake();
  }
}
