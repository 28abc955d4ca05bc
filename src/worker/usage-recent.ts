/** How the last few minutes were: rates and latencies of a table that is looked at now. In size it never grows. */
import {emptyHistogram, observe, quantile, sumHistograms} from '../api/usage.js';

export interface RecentUsage {
  /** What the rates are of: the last minute, or up to 15 seconds less. */
  readonly rateSeconds: number;
  /** Answered in that time. */
  readonly requests: number;
  readonly outputTokens: number;
  /** Of chats that were answered within the last five minutes; absent: there were none. Seconds. */
  readonly latencyP50?: number;
  readonly latencyP95?: number;
  readonly firstTokenP50?: number;
  readonly firstTokenP95?: number;
}

const slotMs = 15_000;
const slotsOfRate = 4;
const slotsKept = 20;

interface Slot {
  /** Counted in slots since the clock's begin. */
  readonly index: number;
  requests: number;
  outputTokens: number;
  readonly latency: ReturnType<typeof emptyHistogram>;
  readonly firstToken: ReturnType<typeof emptyHistogram>;
}

export class Recent {
  readonly #now: () => number;
  /** Oldest first. */
  #slots: Slot[] = [];

  /** `now`: ms, monotonic. */
  constructor(now: () => number) {
    this.#now = now;
  }

  answered(outputTokens: number, latencyMs: number, firstTokenMs: number | undefined): void {
    const slot = this.#current();
    slot.requests += 1;
    slot.outputTokens += outputTokens;
    observe(slot.latency, latencyMs / 1000);
    if (firstTokenMs !== undefined) observe(slot.firstToken, firstTokenMs / 1000);
  }

  get usage(): RecentUsage {
    const now = this.#now();
    const index = Math.floor(now / slotMs);
    const kept = this.#slots.filter(slot => slot.index > index - slotsKept);
    const rated = kept.filter(slot => slot.index > index - slotsOfRate);
    const windowMs = (slotsOfRate - 1) * slotMs + (now - index * slotMs);
    const latency = sumHistograms(kept.map(slot => slot.latency));
    const firstToken = sumHistograms(kept.map(slot => slot.firstToken));
    return {
      rateSeconds: windowMs / 1000,
      requests: rated.reduce((sum, {requests}) => sum + requests, 0),
      outputTokens: rated.reduce((sum, {outputTokens}) => sum + outputTokens, 0),
      ...said('latencyP50', quantile(latency, 0.5)),
      ...said('latencyP95', quantile(latency, 0.95)),
      ...said('firstTokenP50', quantile(firstToken, 0.5)),
      ...said('firstTokenP95', quantile(firstToken, 0.95)),
    };
  }

  #current(): Slot {
    const index = Math.floor(this.#now() / slotMs);
    const last = this.#slots.at(-1);
    if (last?.index === index) return last;
    const slot = {index, requests: 0, outputTokens: 0, latency: emptyHistogram(), firstToken: emptyHistogram()};
    this.#slots = [...this.#slots.filter(one => one.index > index - slotsKept), slot];
    return slot;
  }
}

function said(name: keyof RecentUsage, value: number | undefined): Partial<RecentUsage> {
  return value === undefined ? {} : {[name]: value};
}
