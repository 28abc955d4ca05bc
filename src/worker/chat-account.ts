/** What one chat took, whatever becomes of it: each is counted once. */
import {estimateTextTokens, estimateTokens} from '../providers/estimate.js';
import type {ChatRequest} from '../providers/provider.js';
import {failureCode} from './failure.js';
import {ChatStopped} from './specialist.js';
import type {EngineTarget} from './specialist.js';
import type {Answered, Ledger} from './usage.js';

export class ChatAccount {
  readonly #ledger: Ledger;
  #asked: {readonly target: EngineTarget; readonly request: ChatRequest} | undefined;
  /** Of the answer so far, as estimated. */
  #tokens = 0;
  #counted = false;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** The one that is asked from now on. */
  asks(target: EngineTarget, request: ChatRequest): void {
    this.#asked = {target, request};
  }

  /** A piece of the answer. */
  piece(text: string): void {
    this.#tokens += estimateTextTokens(text);
  }

  /** With a hard budget it resolves when that is on disk. Never rejects. */
  answered(took: Answered): Promise<void> | undefined {
    this.#counted = true;
    return this.#asked && this.#ledger.answered(this.#asked.target, took);
  }

  failed(error: unknown): void {
    if (this.#counted) return;
    this.#counted = true;
    this.#cutOff();
    if (error instanceof ChatStopped && error.why !== 'draining') return this.#ledger.cancelled();
    this.#ledger.failed(failureCode(error));
  }

  /** Nobody wanted to hear the rest. */
  left(): void {
    this.failed(new ChatStopped('disconnected'));
  }

  /**
   * Providers charge for an answer up to where it was cut off, and say nothing of it. Were it not counted, a budget could be
   * got round by cancelling each chat in its last moment.
   */
  #cutOff(): void {
    if (this.#asked === undefined || this.#tokens === 0) return;
    const {target, request} = this.#asked;
    this.#ledger.spent(target, {
      inputTokens: estimateTokens(request),
      outputTokens: Math.ceil(this.#tokens),
      cachedInputTokens: 0,
    });
  }
}
