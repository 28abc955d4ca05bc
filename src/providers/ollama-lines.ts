/** A watch over Ollama's newline-JSON streams, for its client prints lines that it can't read and goes on without them. */

export interface LineWatch {
  /** Whether this line says that the answer is whole. */
  isLast(line: Readonly<Record<string, unknown>>): boolean;
  /** A line `{"error": "…"}` in the middle of the stream. It is passed on, behind the text before it; the client throws. */
  onError(message: string): void;
  /** A line that isn't JSON, or an end without the last line: what to throw. */
  onBroken(): unknown;
}

/** How long the last line waits for the end of the reply, ms. */
const restMs = 250;

/**
 * Passes whole lines through unchanged, and ends the stream with an error where an answer would be cut or have a hole. The
 * last line comes with the end of the reply: its client reads no further, and a reply that wasn't read to its end costs the
 * connection.
 */
export function watchLines(watch: LineWatch): TransformStream<Uint8Array, Uint8Array> {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let pending = '';
  let done = false;
  let last = '';
  let late: NodeJS.Timeout | undefined;
  const check = (line: string): string => {
    if (line.trim() === '') return '';
    const part = parse(line);
    if (part === undefined) throw watch.onBroken();
    if (typeof part['error'] === 'string') watch.onError(part['error']);
    done ||= watch.isLast(part);
    return `${line}\n`;
  };
  return new TransformStream({
    transform(chunk, controller) {
      const lines = (pending + decoder.decode(chunk, {stream: true})).split('\n');
      pending = lines.pop() ?? '';
      let whole = '';
      for (const line of lines) {
        const checked = check(line);
        if (done) last += checked;
        else whole += checked;
      }
      if (whole !== '') controller.enqueue(encoder.encode(whole));
      if (!done) return;
      late ??= setTimeout(() => {
        try {
          controller.enqueue(encoder.encode(last));
        } catch {
          // The call was ended meanwhile.
        }
        last = '';
      }, restMs);
    },
    flush(controller) {
      clearTimeout(late);
      const rest = last + check(pending + decoder.decode());
      if (!done) throw watch.onBroken();
      if (rest !== '') controller.enqueue(encoder.encode(rest));
    },
  });
}

function parse(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined; // indexable
  } catch {
    return undefined;
  }
}
