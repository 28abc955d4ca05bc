/** Writing to and reading from the streams of a command. */
import type {Readable, Writable} from 'node:stream';

/**
 * Resolves when the stream has taken the text, so that a slow reader holds the command back. A reader that has gone
 * (`| head`) is no error here: `main.ts` ends the program.
 */
export function write(stream: Writable, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, error => {
      const {code} = (error ?? {}) as NodeJS.ErrnoException; // what streams hand to callbacks are system errors
      if (error && code !== 'EPIPE') reject(error);
      else resolve();
    });
  });
}

/** One line to a stream. */
export function writeLine(stream: Writable, line: string): Promise<void> {
  return write(stream, `${line}\n`);
}

export function writeJson(stream: Writable, value: unknown): Promise<void> {
  return writeLine(stream, JSON.stringify(value, undefined, 2));
}

/** The YAML package is loaded here, where it is needed: it costs more than the rest of the CLI together. */
export async function writeYaml(stream: Writable, value: unknown): Promise<void> {
  const {stringify} = await import('yaml');
  await write(stream, stringify(value, {aliasDuplicateObjects: false, lineWidth: 0}));
}

/** A stream to its end, as UTF-8. */
export async function readAll(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk as Uint8Array | string));
  return Buffer.concat(chunks).toString('utf8');
}
