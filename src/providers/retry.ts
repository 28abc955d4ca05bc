/** Retries of one chat, the same for every provider; the SDKs' own are off, for some can't be cancelled. */
import {setTimeout as delay} from 'node:timers/promises';
import {ProviderError, type ChatEvent} from './provider.js';

const maxRetries = 2;
const firstDelayMs = 500;
/** A server that asks for more is left to whoever has a fallback: the error carries `retryAfterMs`. */
const maxDelayMs = 10_000;

/**
 * Streams `attempt()`, again up to twice where the server itself turned it away for a while (429, 5xx) and nothing
 * has been streamed yet. Waits as long as the server's Retry-After asks, else 0.5 s and 1 s with a quarter of jitter.
 */
export async function* withRetries(
  attempt: () => AsyncIterable<ChatEvent>,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent, void, void> {
  for (let retry = 0; ; retry++) {
    let begun = false;
    try {
      for await (const event of attempt()) {
        signal.throwIfAborted(); // what had arrived before the cancel is not wanted any more
        begun = true;
        yield event;
      }
      return;
    } catch (error) {
      const delayMs = begun || retry >= maxRetries ? undefined : delayBefore(error, retry);
      if (delayMs === undefined) throw error;
      await sleep(delayMs, signal);
    }
  }
}

function delayBefore(error: unknown, retry: number): number | undefined {
  if (!(error instanceof ProviderError) || !error.retryable || error.status === undefined) return undefined;
  const delayMs = error.retryAfterMs ?? firstDelayMs * 2 ** retry * (1 - Math.random() / 4);
  return delayMs <= maxDelayMs ? delayMs : undefined;
}

/** @throws the signal's reason, as soon as it aborts. */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, {signal});
  } catch {
    signal.throwIfAborted();
  }
}
