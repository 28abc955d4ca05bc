/** The owner's side of a worker's control socket. */
import type {Duplex} from 'node:stream';
import {encode, LineDecoder} from './codec.js';
import {ConnectionLostError, RequestTimeoutError} from './client.js';
import type {RequestOptions} from './client.js';
import type {ControlNotice, ControlReply, ControlRequest} from './control.js';

type WithoutId<T> = T extends ControlRequest ? Omit<T, 'id'> : never;
export type OutgoingControl = WithoutId<ControlRequest>;

interface Waiting {
  resolve(reply: ControlReply): void;
  reject(error: Error): void;
}

export class ControlConnection {
  /**
   * Resolves when the connection breaks, and never rejects. A worker closes it only by ending, so this is how the
   * end of a worker that is not our child is noticed; check the process before believing it.
   */
  readonly closed: Promise<void>;
  readonly #stream: Duplex;
  readonly #decoder = new LineDecoder();
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(notice: ControlNotice) => void>();
  #lost: ConnectionLostError | undefined;
  #nextId = 1;

  /** Takes the stream over: nobody else may read it. */
  constructor(stream: Duplex) {
    this.#stream = stream;
    this.closed = new Promise(resolve => {
      const lose = (cause?: unknown): void => {
        this.#lose(new ConnectionLostError('the control connection is closed', cause === undefined ? {} : {cause}));
        stream.destroy();
        resolve();
      };
      stream.on('end', () => lose());
      stream.on('error', lose);
      stream.on('close', () => lose());
    });
    stream.on('data', (chunk: Uint8Array) => this.#receive(chunk));
  }

  /**
   * A worker that refuses gives `{ok: false, error}`: that is a reply, not a throw.
   *
   * @throws {RequestTimeoutError | ConnectionLostError} or the signal's reason
   */
  request(message: OutgoingControl, {signal, timeoutMs}: RequestOptions = {}): Promise<ControlReply> {
    return new Promise((resolve, reject) => {
      if (this.#lost !== undefined) return reject(this.#lost);
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const id = this.#nextId++;
      const settle = (): void => {
        this.#waiting.delete(id);
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      const fail = (error: Error): void => {
        settle();
        reject(error);
      };
      const abort = (): void => fail(signal?.reason as Error);
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(
              () => fail(new RequestTimeoutError(`no reply to ${message.type} within ${timeoutMs} ms`)),
              timeoutMs,
            );
      signal?.addEventListener('abort', abort, {once: true});
      this.#waiting.set(id, {
        resolve: reply => {
          settle();
          resolve(reply);
        },
        reject: fail,
      });
      this.#stream.write(encode({...message, id}));
    });
  }

  /** Called for each notice after a `subscribe` request. @returns a function that unregisters `listener`. */
  onNotice(listener: (notice: ControlNotice) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Lets go of the worker; it lives on. */
  close(): void {
    this.#stream.destroy();
  }

  #receive(chunk: Uint8Array): void {
    for (const item of this.#decoder.push(chunk)) {
      const message = item.type === 'message' ? parseControlLine(item.value) : undefined;
      if (message === undefined) {
        this.#stream.destroy(new ConnectionLostError('what came back is not the control protocol'));
        return;
      }
      if ('ok' in message) this.#waiting.get(message.id)?.resolve(message);
      else if (message.type === 'unknown') continue;
      else for (const listener of this.#listeners) listener(message);
    }
  }

  #lose(error: ConnectionLostError): void {
    this.#lost ??= error;
    for (const waiting of [...this.#waiting.values()]) waiting.reject(error);
  }
}

/** The peer is a worker of ours behind a socket of mode 0600: the outline is checked, the rest is its word. */
function parseControlLine(value: unknown): ControlReply | ControlNotice | {readonly type: 'unknown'} | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if ('id' in value && 'ok' in value && typeof value.id === 'number') return value as ControlReply;
  if (!('type' in value)) return undefined;
  switch (value.type) {
    case 'model-suspect':
    case 'usage':
      return value as ControlNotice;
    case 'budget':
      return 'budget' in value && typeof value.budget === 'object' ? (value as ControlNotice) : undefined;
    case 'changed':
      return 'hello' in value && typeof value.hello === 'object' ? (value as ControlNotice) : undefined;
    default:
      return {type: 'unknown'}; // of a newer version: whoever doesn't know it can do without it
  }
}
