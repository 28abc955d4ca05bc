/** Waiting for other processes: short steps at first, then longer ones, never in step with each other. */

/** Before the next try, in ms: 1–2 at first, 6–12 at most, so that a freed lock stands idle for milliseconds only. */
export function retryDelayMs(attempt: number, random: () => number = Math.random): number {
  const most = Math.min(12, 2 * 1.5 ** Math.min(attempt, 10));
  return most * (0.5 + random() / 2);
}

/** Throws the reason of `signal` when that aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', abort, {once: true});
  });
}
