/**
 * Spares a model that can't answer the chats that would fail, and those chats the wait. After a few failures in a row it
 * is not asked for a while; then one chat is let through, and what becomes of it decides.
 *
 *   closed ──failures──▶ open ──delay is over──▶ probing ──answers──▶ closed
 *                         ▲                        │
 *                         └────────fails───────────┘   the delay doubles
 */

/** What a failure says; a ProviderError is one. */
export interface Fault extends Error {
  readonly code: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number | undefined;
}

export interface BreakerOptions {
  /** ms, monotonic. */
  readonly now: () => number;
  /** 0 to 1. */
  readonly random: () => number;
}

/** One call that the breaker let through. The first word counts; without one the call says nothing of the model. */
export interface Attempt {
  /**
   * The answer has begun, which is not its last word yet: where all others wait for this one, they need not wait for its
   * end, which may be minutes away. One more failure opens it again.
   */
  begun(): void;
  worked(): void;
  failed(fault: Fault): void;
  /** It ended for a reason of its own: its client left, say. */
  dropped(): void;
}

export type Entry =
  | {readonly open: false; readonly attempt: Attempt}
  /** Not to be asked now: the last fault, and when it may be asked again, ms from now. */
  | {readonly open: true; readonly fault: Fault; readonly retryAfterMs: number};

type State =
  | {readonly type: 'closed'; readonly failures: number}
  /** `times` in a row that it opened; `until` is a moment of the clock. */
  | {readonly type: 'open'; readonly times: number; readonly until: number; readonly fault: Fault}
  | {readonly type: 'probing'; readonly times: number; readonly fault: Fault};

/** Failures in a row. */
const opensAfter = 3;
const firstDelayMs = 1_000;
const longestDelayMs = 60_000;
/** A server may ask for any delay; it is asked again after this long at the latest. */
const longestRetryAfterMs = 5 * 60_000;
/** A probe is one chat, and a chat may take minutes: the others learn of it, but don't wait. */
const whileProbingMs = 1_000;

/** Faults of which a check of the model, that costs no tokens, tells whether they are over. */
const checkable: ReadonlySet<string> = new Set([
  'provider_unreachable',
  'model_not_found',
  'unauthorized',
  'secret_missing',
]);

export class Breaker {
  readonly #options: BreakerOptions;
  #state: State = {type: 'closed', failures: 0};

  constructor(options: BreakerOptions) {
    this.#options = options;
  }

  enter(): Entry {
    const state = this.#state;
    if (state.type === 'closed') return {open: false, attempt: this.#attempt()};
    if (state.type === 'probing') return {open: true, fault: state.fault, retryAfterMs: whileProbingMs};
    const leftMs = state.until - this.#options.now();
    if (leftMs > 0) return {open: true, fault: state.fault, retryAfterMs: leftMs};
    this.#state = {type: 'probing', times: state.times, fault: state.fault};
    return {open: false, attempt: this.#attempt()};
  }

  /** A check found that the model is there: where that is what was wrong, the next chat may try. */
  cleared(): void {
    const state = this.#state;
    if (state.type !== 'open' || !checkable.has(state.fault.code)) return;
    this.#state = {...state, until: this.#options.now()};
  }

  #attempt(): Attempt {
    const begunIn = this.#state;
    let said = false;
    const once = (tell: () => void) => (): void => {
      if (said) return;
      said = true;
      tell();
    };
    return {
      begun: () => {
        const isProbe = this.#state === begunIn && begunIn.type === 'probing';
        if (isProbe && !said) this.#state = {type: 'closed', failures: opensAfter - 1};
      },
      worked: once(() => (this.#state = {type: 'closed', failures: 0})),
      failed: fault => once(() => this.#failed(fault, begunIn))(),
      dropped: once(() => {
        if (this.#state === begunIn && begunIn.type === 'probing') this.#open(begunIn.times, begunIn.fault, 0);
      }),
    };
  }

  #failed(fault: Fault, begunIn: State): void {
    const state = this.#state;
    // A call from before it opened tells nothing new.
    if (state.type === 'open' || (state.type === 'probing' && state !== begunIn)) return;
    const failures = state.type === 'closed' ? state.failures + 1 : opensAfter;
    if (failures < opensAfter && fault.retryAfterMs === undefined) {
      this.#state = {type: 'closed', failures};
      return;
    }
    const times = state.type === 'closed' ? 1 : state.times + 1;
    // A quarter either way, so that the specialists behind one server don't come back in step.
    const delayMs = Math.min(longestDelayMs, firstDelayMs * 2 ** (times - 1)) * (0.75 + this.#options.random() / 2);
    // One that only said when to come back is taken at its word: its clients were told the same.
    const leastMs = failures < opensAfter ? 0 : delayMs;
    this.#open(times, fault, Math.max(leastMs, Math.min(fault.retryAfterMs ?? 0, longestRetryAfterMs)));
  }

  #open(times: number, fault: Fault, delayMs: number): void {
    this.#state = {type: 'open', times, until: this.#options.now() + delayMs, fault};
  }
}
