/** Where pushes are told to the controller: `POST /hooks/<namespace>/<name>` of each git source that declares a webhook. */
import {createServer} from 'node:http';
import type {IncomingMessage, Server, ServerResponse} from 'node:http';
import {describeError} from '../api/errors.js';
import type {GitRef, GitSourceRecord} from '../api/git-source.js';
import type {SecretRef} from '../api/types.js';
import {highestTag} from '../git/refs.js';
import {parseWebhook, webhookBodyBytes} from '../git/webhook.js';
import type {WebhookMessage} from '../git/webhook.js';
import {recordId} from '../reconciler/desired.js';
import type {Logger} from '../reconciler/ports.js';
import type {Secret} from '../spec/secrets.js';

export interface WebhooksOptions {
  readonly log: Logger;
  /** Never recorded or printed: what the listener knows of a secret, it knows for one request. */
  readonly resolve: (secret: SecretRef) => Promise<Secret>;
  /** The remote of `<namespace>/<name>` has something new. */
  readonly pushed: (id: string) => void;
  /** Nobody can tell this source of pushes for now; said once for each cause. */
  readonly unavailable: (source: GitSourceRecord, message: string) => void;
  readonly times?: Partial<WebhookTimes>;
}

export interface WebhookTimes {
  /** All that is told of a source in this time is one look, ms. */
  readonly gatherMs: number;
  /** What could not be opened is tried again after it, ms. */
  readonly retryMs: number;
  /** A sender has this long for its headers, and as long for all of its request, ms. */
  readonly requestMs: number;
}

const defaultTimes: WebhookTimes = {gatherMs: 50, retryMs: 30_000, requestMs: 10_000};
const maxConnections = 64;
/** What strangers may make us hold in memory at once. */
const maxHeldBytes = 4 * webhookBodyBytes;

interface Address {
  readonly host: string;
  readonly port: number;
}

interface Listener {
  readonly server: Server;
  /** By id: those that may be told of here. */
  sources: ReadonlyMap<string, GitSourceRecord>;
}

export class Webhooks {
  readonly #options: WebhooksOptions;
  readonly #times: WebhookTimes;
  readonly #listeners = new Map<string, Listener>();
  readonly #gathering = new Map<string, NodeJS.Timeout>();
  /** By id: why nobody can tell of it. */
  readonly #told = new Map<string, string>();
  /** Those whose last sender was not believed. */
  readonly #doubted = new Set<string>();
  #records: readonly GitSourceRecord[] = [];
  #heldBytes = 0;
  #retry: NodeJS.Timeout | undefined;
  #opening: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: WebhooksOptions) {
    this.#options = options;
    this.#times = {...defaultTimes, ...options.times};
  }

  /** These are all the sources there are now. Resolves when it listens for them, or has said why not. Never rejects. */
  follow(records: readonly GitSourceRecord[]): Promise<void> {
    this.#records = records;
    return this.#open();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#gathering.values()) clearTimeout(timer);
    await this.#opening;
    clearTimeout(this.#retry);
    await Promise.all([...this.#listeners.keys()].map(at => this.#end(at)));
  }

  #open(): Promise<void> {
    this.#opening = this.#opening
      .then(() => this.#openAll())
      .catch((error: unknown) => this.#options.log.warn({error: describeError(error)}, 'cannot open the webhooks'));
    return this.#opening;
  }

  async #openAll(): Promise<void> {
    clearTimeout(this.#retry);
    if (this.#closed) return;
    const wanted = new Map<string, {readonly address: Address; readonly sources: Map<string, GitSourceRecord>}>();
    const failed = new Map<string, string>();
    for (const record of this.#records) {
      const {webhook} = record.spec;
      if (!webhook) continue;
      const secret = await this.#options.resolve(webhook.secret);
      if ('missing' in secret) {
        failed.set(recordId(record), missingText(secret.missing));
        continue;
      }
      const {host, port} = webhook;
      const at = `${host} ${port}`;
      const place = wanted.get(at) ?? {address: {host, port}, sources: new Map<string, GitSourceRecord>()};
      wanted.set(at, place);
      place.sources.set(recordId(record), record);
    }
    for (const at of this.#listeners.keys()) if (!wanted.has(at)) await this.#end(at);
    for (const [at, {address, sources}] of wanted) {
      const why = await this.#listen(at, address, sources);
      if (why !== undefined) for (const id of sources.keys()) failed.set(id, why);
    }
    this.#tell(failed);
    if (failed.size > 0) this.#retry = setTimeout(() => void this.#open(), this.#times.retryMs).unref();
  }

  /** @returns why it could not be */
  async #listen(
    at: string,
    address: Address,
    sources: ReadonlyMap<string, GitSourceRecord>,
  ): Promise<string | undefined> {
    const open = this.#listeners.get(at);
    if (open) {
      open.sources = sources;
      return undefined;
    }
    const {requestMs} = this.#times;
    const server = createServer({
      headersTimeout: requestMs,
      requestTimeout: requestMs,
      connectionsCheckingInterval: Math.min(1000, requestMs),
      keepAliveTimeout: 1000,
    });
    const listener: Listener = {server, sources};
    server.maxConnections = maxConnections;
    server.on('request', (request, response) => void this.#serve(listener, request, response));
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(address, resolve);
      });
    } catch (error) {
      return `cannot listen on ${address.host}:${address.port}: ${describeError(error)}; ${pollingText}`;
    }
    server.on('error', error => this.#options.log.warn({error: describeError(error)}, 'trouble with a webhook'));
    this.#listeners.set(at, listener);
    this.#options.log.info({...address, gitSources: [...sources.keys()]}, 'listens for pushes');
    return undefined;
  }

  async #end(at: string): Promise<void> {
    const listener = this.#listeners.get(at);
    if (!listener) return;
    this.#listeners.delete(at);
    const ended = new Promise<void>(resolve => listener.server.close(() => resolve()));
    listener.server.closeAllConnections();
    await ended;
  }

  #tell(failed: ReadonlyMap<string, string>): void {
    for (const id of this.#told.keys()) if (!failed.has(id)) this.#told.delete(id);
    for (const record of this.#records) {
      const id = recordId(record);
      const why = failed.get(id);
      if (why === undefined || this.#told.get(id) === why) continue;
      this.#told.set(id, why);
      this.#options.unavailable(record, why);
    }
  }

  async #serve(listener: Listener, request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer;
    try {
      answer = await this.#answer(listener, request);
    } catch (error) {
      // A sender that went away, or our own mistake: either costs this request alone.
      this.#options.log.debug({error: describeError(error)}, 'cannot answer a webhook');
      response.destroy();
      return;
    }
    const [status, text] = answer;
    // Whoever was refused may not go on with what it has not sent yet.
    if (status >= 400) response.setHeader('connection', 'close');
    if (status === 405) response.setHeader('allow', 'POST');
    response.writeHead(status, {'content-type': 'text/plain; charset=utf-8'}).end(`${text}\n`);
  }

  async #answer({sources}: Listener, request: IncomingMessage): Promise<Answer> {
    const id = idOf(request.url ?? '');
    const source = id === undefined ? undefined : sources.get(id);
    if (id === undefined || !source?.spec.webhook) return [404, 'there is no such webhook'];
    if (request.method !== 'POST') return [405, 'a webhook is told by POST'];
    if (Number(request.headers['content-length'] ?? 0) > webhookBodyBytes) return tooLarge;
    const body = await this.#read(request);
    if (!Buffer.isBuffer(body)) return body;
    const secret = await this.#options.resolve(source.spec.webhook.secret);
    if ('missing' in secret) {
      void this.#open(); // says it
      return refused;
    }
    const message = parseWebhook({headers: request.headers, body, secret: secret.value});
    if (!message.ok) return this.#refuse(id, message);
    this.#doubted.delete(id);
    if (!isOf(source.spec.ref, message)) return [200, 'nothing to do for it'];
    this.#gather(id);
    return [202, 'the repository will be looked at'];
  }

  #refuse(id: string, {status, why}: Extract<WebhookMessage, {ok: false}>): Answer {
    const {log} = this.#options;
    // Whoever guesses must not fill the log.
    log[this.#doubted.has(id) ? 'debug' : 'warn']({gitSource: id, why}, 'refused a webhook');
    this.#doubted.add(id);
    if (status === 401) return refused;
    return status === 413 ? tooLarge : [400, 'the message is not understood'];
  }

  /** All of the body, or why not. @throws the sender went away */
  async #read(request: IncomingMessage): Promise<Buffer | Answer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      // Left open, for the answer has to go out though not all was read.
      for await (const chunk of request.iterator({destroyOnReturn: false})) {
        const part = chunk as Buffer;
        bytes += part.length;
        this.#heldBytes += part.length;
        if (bytes > webhookBodyBytes) return tooLarge;
        if (this.#heldBytes > maxHeldBytes) return [503, 'too much at once'];
        chunks.push(part);
      }
      return Buffer.concat(chunks);
    } finally {
      this.#heldBytes -= bytes;
    }
  }

  #gather(id: string): void {
    if (this.#closed || this.#gathering.has(id)) return;
    const tell = (): void => {
      this.#gathering.delete(id);
      this.#options.pushed(id);
    };
    this.#gathering.set(id, setTimeout(tell, this.#times.gatherMs));
  }
}

type Answer = readonly [status: number, text: string];

const refused: Answer = [401, 'not accepted'];
const tooLarge: Answer = [413, 'the message is too large'];
const pollingText = 'the repository is looked at from time to time all the same';

function missingText(missing: string): string {
  return `cannot take pushes: the secret of the webhook is missing: ${missing}; ${pollingText}`;
}

function idOf(url: string): string | undefined {
  const [, namespace, name] = /^\/hooks\/([a-z0-9-]+)\/([a-z0-9-]+)(?:\?|$)/.exec(url) ?? [];
  return namespace === undefined || name === undefined ? undefined : `${namespace}/${name}`;
}

/** Whether what is followed may have moved by it. */
function isOf(followed: GitRef, {event, ref}: Extract<WebhookMessage, {ok: true}>): boolean {
  if (event !== 'push' && event !== 'tag') return false;
  if (ref === undefined) return followed.type !== 'commit';
  switch (followed.type) {
    case 'default':
      return ref.startsWith('refs/heads/'); // which one it is, the remote knows
    case 'branch':
      return ref === `refs/heads/${followed.name}`;
    case 'tag':
      return (
        ref.startsWith('refs/tags/') && highestTag(followed.pattern, [ref.slice('refs/tags/'.length)]) !== undefined
      );
    case 'commit':
      return false;
  }
}
