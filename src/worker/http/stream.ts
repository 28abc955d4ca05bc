/** Server-sent events as an answer. */
import type {Exchange} from './exchange.js';
import type {Problem} from './problem.js';

/**
 * How long a stream may be silent; ms. Clients and proxies on the way give up after a minute or more without a byte, and a
 * model that is being loaded takes longer.
 */
const silenceMs = 30_000;

/** The head goes out with the first event, so that what fails before it has a status of its own. */
export class EventStream {
  readonly #exchange: Exchange;
  readonly #timer: NodeJS.Timeout;
  #drained: Promise<void> | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#timer = setTimeout(() => this.#break(), silenceMs).unref();
  }

  /** @returns when to go on, where the client doesn't read as fast as we answer */
  event(data: string): Promise<void> | undefined {
    return this.#write(`data: ${data}\n\n`);
  }

  end(): void {
    this.close();
    this.#exchange.response.end();
  }

  /** The last word: a status where nothing was sent yet, else an event. */
  fail(problem: Problem): void {
    const {response} = this.#exchange;
    if (!response.headersSent) return this.#exchange.tell(problem);
    void this.event(JSON.stringify(problem.body));
    this.end();
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  /** Only for long waits: a comment, which no client takes for an event. */
  #break(): void {
    void this.#write(': still at it\n\n');
  }

  #write(text: string): Promise<void> | undefined {
    const {response} = this.#exchange;
    if (response.destroyed || response.writableEnded) return undefined;
    if (!response.headersSent) {
      this.#exchange.begin(200, {'Content-Type': 'text/event-stream; charset=utf-8', 'X-Accel-Buffering': 'no'});
    }
    this.#timer.refresh();
    if (response.write(text)) return undefined;
    this.#drained ??= new Promise(resolve => {
      const done = (): void => {
        response.off('drain', done).off('close', done);
        this.#drained = undefined;
        resolve();
      };
      response.on('drain', done).on('close', done);
    });
    return this.#drained;
  }
}
