/** Downloads of models that specialists want and their server lacks: one of each model, however many want it. */
import {describeError} from '../api/errors.js';
import type {ModelCheck, PullStatus, ResolvedProvider} from '../api/types.js';
import type {Provider, PullProgress} from '../providers/provider.js';
import type {Clock, Logger} from './ports.js';

export interface PullsOptions {
  readonly clock: Clock;
  readonly client: (provider: ResolvedProvider) => Promise<Provider>;
  readonly log: Logger;
  /** The model is there, or can't be had: somebody should look. */
  readonly ended: (key: string) => void;
  /** A download came further. */
  readonly progressed: (key: string) => void;
}

type Pull =
  | {readonly type: 'under-way'; readonly abort: AbortController; readonly status: PullStatus}
  /** Until the server has been asked whether the model is there now. */
  | {readonly type: 'ended'; readonly at: number}
  | {readonly type: 'failed'; readonly message: string; readonly retryAt: number};

/** Until a failed download is begun again, ms: doubling from the first to the second. */
const firstRetryMs = 15_000;
const longestRetryMs = 10 * 60_000;

export class Pulls {
  readonly #options: PullsOptions;
  readonly #pulls = new Map<string, Pull>();
  /** Failures in a row, kept while the next try runs. */
  readonly #failures = new Map<string, number>();

  constructor(options: PullsOptions) {
    this.#options = options;
  }

  /**
   * Begins to fetch the model unless that is under way or has failed a moment ago.
   *
   * @param askedAt monotonic ms at which the server was asked that said that it lacks the model
   * @returns how the model stands, in place of "not found"
   */
  fetch(provider: ResolvedProvider, model: string, askedAt: number): Extract<ModelCheck, {available: false}> {
    const key = pullKey(provider, model);
    const before = this.#pulls.get(key);
    if (before?.type === 'ended' && askedAt >= before.at) {
      this.#fail(key, `${place(provider)} says that it has pulled ${model}, and lacks it all the same`);
    }
    const known = this.#pulls.get(key);
    const due = known?.type === 'failed' && this.#options.clock.monotonic() >= known.retryAt;
    if (known === undefined || due) void this.#run(key, provider, model);
    if (known?.type === 'failed' && !due) return {available: false, reason: 'PullFailed', message: known.message};
    return {available: false, reason: 'Pulling', message: `${model} is being pulled from ${place(provider)}`};
  }

  /** The model is there. */
  found(provider: ResolvedProvider, model: string): void {
    const key = pullKey(provider, model);
    if (this.#pulls.get(key)?.type === 'under-way') return;
    this.#pulls.delete(key);
    this.#failures.delete(key);
  }

  /** How far the download is that this model waits for. */
  status(provider: ResolvedProvider, model: string): PullStatus | undefined {
    const pull = this.#pulls.get(pullKey(provider, model));
    return pull?.type === 'under-way' ? pull.status : undefined;
  }

  /** Downloads that are under way or have failed. */
  get size(): number {
    return this.#pulls.size;
  }

  /** Ends the downloads that nobody in `wanted` waits for; the server keeps what it has. */
  keep(wanted: ReadonlySet<string>): void {
    for (const [key, pull] of this.#pulls) {
      if (wanted.has(key)) continue;
      if (pull.type === 'under-way') pull.abort.abort(new Error('nobody wants it any more'));
      this.#pulls.delete(key);
      this.#failures.delete(key);
    }
  }

  close(): void {
    this.keep(new Set());
  }

  async #run(key: string, provider: ResolvedProvider, model: string): Promise<void> {
    const {log, client, clock, ended} = this.#options;
    const abort = new AbortController();
    const {signal} = abort;
    this.#pulls.set(key, {type: 'under-way', abort, status: {model, step: 'starting'}});
    try {
      const {pull} = await client(provider).then(made => ({pull: made.pull?.bind(made)}));
      if (!pull) throw new Error(`${provider.name} fetches no models`);
      for await (const progress of pull(model, signal)) this.#note(key, abort, {model, ...statusOf(progress)});
      signal.throwIfAborted();
      this.#pulls.set(key, {type: 'ended', at: clock.monotonic()});
      log.info({model, provider: provider.name}, 'model pulled');
    } catch (error) {
      if (signal.aborted) return;
      this.#fail(key, describeError(error));
    }
    ended(key);
  }

  #fail(key: string, message: string): void {
    const {clock, log} = this.#options;
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const waitMs = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures - 1, 10));
    this.#pulls.set(key, {type: 'failed', message, retryAt: clock.monotonic() + waitMs});
    log.warn({key, error: message}, 'cannot pull a model');
  }

  /** Told only when a person would see a difference. */
  #note(key: string, abort: AbortController, status: PullStatus): void {
    const known = this.#pulls.get(key);
    if (known?.type !== 'under-way' || known.abort !== abort) return;
    this.#pulls.set(key, {type: 'under-way', abort, status});
    const differs = known.status.step !== status.step || percentOf(known.status) !== percentOf(status);
    if (differs) this.#options.progressed(key);
  }
}

/** Downloads of one model by one server are one, whatever the providers that name it are called. */
export function pullKey({baseUrl, name}: ResolvedProvider, model: string): string {
  return JSON.stringify([baseUrl ?? name, model]);
}

/** Whole percent of the part that is being fetched; undefined while its size isn't known. */
export function percentOf({completedBytes, totalBytes}: PullStatus): number | undefined {
  if (completedBytes === undefined || totalBytes === undefined || totalBytes <= 0) return undefined;
  return Math.floor((100 * completedBytes) / totalBytes);
}

function statusOf({status, completedBytes, totalBytes}: PullProgress): Omit<PullStatus, 'model'> {
  return {
    step: status,
    ...(completedBytes !== undefined && {completedBytes}),
    ...(totalBytes !== undefined && {totalBytes}),
  };
}

function place({name, baseUrl}: ResolvedProvider): string {
  return baseUrl === undefined ? name : `${name} at ${baseUrl}`;
}
