/** What is known of the model behind a specialist, and who said so last. */
import type {ModelCheck, ModelReason} from '../api/types.js';

/** The owner checks for all its workers at once; its word stands for this long after its connection broke. */
const ownerWordMs = 30_000;
/** Our own check stands for this long, so that health requests don't become load on the provider. */
const ownCheckMs = 10_000;
const ownCheckTimeoutMs = 2_000;

export interface ModelStateOptions {
  /** ms, monotonic. */
  readonly now: () => number;
  /** Asks the provider. May reject: that counts as unavailable. */
  readonly check: (signal: AbortSignal) => Promise<ModelCheck>;
  /** A chat failed at the provider (its code), or the model works again (`recovered`). */
  readonly onSuspect: (code: string) => void;
  /** Somebody asked the provider, and this is what came of it. */
  readonly onChecked?: (check: ModelCheck) => void;
}

export interface FellBack {
  /** Of the model's own failure. */
  readonly code: string;
  readonly message: string;
  /** Who answered: `provider:model`. */
  readonly by: string;
  readonly asked: boolean;
}

interface Word {
  readonly check: ModelCheck;
  readonly at: number;
  readonly from: 'owner' | 'chat' | 'self';
}

export class ModelState {
  readonly #options: ModelStateOptions;
  #word: Word | undefined;
  #owners = 0;
  #ownerLeftAt = Number.NEGATIVE_INFINITY;
  #checking: Promise<ModelCheck> | undefined;
  /** Counts changes of what is known, so that a check that took its time doesn't undo them. */
  #epoch = 0;

  constructor(options: ModelStateOptions) {
    this.#options = options;
  }

  /** The last word, however old. */
  get known(): ModelCheck | undefined {
    return this.#word?.check;
  }

  /** An owner's connection opened; the result is to be called when it breaks. */
  ownerConnected(): () => void {
    this.#owners++;
    return () => {
      this.#owners--;
      this.#ownerLeftAt = this.#options.now();
    };
  }

  /** Another model or provider from now on: nothing is known of it. */
  forget(): void {
    this.#epoch++;
    this.#word = undefined;
    this.#checking = undefined;
  }

  ownerSays(check: ModelCheck): void {
    this.#say('owner', check);
    this.#options.onChecked?.(check);
  }

  chatFailed(code: string, message: string): void {
    const reason = reasons.get(code);
    if (reason === undefined) return;
    this.#say('chat', {available: false, reason, message});
    this.#options.onSuspect(code);
  }

  /** A fallback answered. Where the model itself was `asked`, somebody should look at it. */
  fellBack({code, message, by, asked}: FellBack): void {
    const reason = reasons.get(code);
    if (reason === undefined) return;
    this.#say('chat', {available: true, fallback: {by, reason, message}});
    if (asked) this.#options.onSuspect(code);
  }

  chatWorked(): void {
    const check = this.#word?.check;
    if (check === undefined || (check.available && !check.fallback)) return;
    this.#say('chat', {available: true});
    this.#options.onSuspect('recovered');
  }

  /** Whether the model could answer now: from the owner while there is one, else asked at the provider within 2 s. */
  async current(): Promise<ModelCheck> {
    if (this.#word !== undefined && this.#stillCounts(this.#word)) return this.#word.check;
    this.#checking ??= this.#ask();
    return this.#checking;
  }

  #stillCounts({from, at}: Word): boolean {
    const now = this.#options.now();
    const owned = this.#owners > 0 || now - this.#ownerLeftAt <= ownerWordMs;
    return (owned && from !== 'self') || now - at <= ownCheckMs;
  }

  async #ask(): Promise<ModelCheck> {
    const epoch = this.#epoch;
    const check = await bounded(this.#options.check);
    // Somebody who knows better may have spoken meanwhile, or the model may be another one.
    if (this.#epoch === epoch) this.#say('self', check);
    this.#options.onChecked?.(check);
    return check;
  }

  #say(from: Word['from'], check: ModelCheck): void {
    this.#epoch++;
    this.#checking = undefined;
    this.#word = {from, check, at: this.#options.now()};
  }
}

async function bounded(check: ModelStateOptions['check']): Promise<ModelCheck> {
  const timeout = AbortSignal.timeout(ownCheckTimeoutMs);
  try {
    const late = new Promise<never>((_, reject) => {
      timeout.addEventListener('abort', () => reject(timeout.reason as Error), {once: true});
    });
    return await Promise.race([check(timeout), late]);
  } catch (error) {
    if (timeout.aborted) {
      return {available: false, reason: 'ProviderUnreachable', message: `no answer within ${ownCheckTimeoutMs} ms`};
    }
    return {available: false, reason: 'ProviderError', message: error instanceof Error ? error.message : String(error)};
  }
}

/** Codes of faults of a single request or moment (`bad_request`, `overloaded`) say nothing about the model. */
const reasons: ReadonlyMap<string, ModelReason> = new Map<string, ModelReason>([
  ['provider_unreachable', 'ProviderUnreachable'],
  ['timeout', 'ProviderUnreachable'],
  ['provider_error', 'ProviderError'],
  ['model_not_found', 'ModelNotFound'],
  ['unauthorized', 'Unauthorized'],
  ['secret_missing', 'SecretMissing'],
  ['quota_exceeded', 'QuotaExceeded'],
]);
