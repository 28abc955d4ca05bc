/** A host for `runCli` whose streams end up in strings. */
import {Readable, Writable} from 'node:stream';
import {exitCodes, type ExitCode} from '../../src/api/errors.js';
import type {Host} from '../../src/cli/context.js';
import {runCli} from '../../src/cli/run.js';

export interface Ran {
  readonly code: ExitCode;
  readonly out: string;
  readonly err: string;
}

export interface HostOptions {
  readonly home?: string;
  readonly cwd?: string;
  /** A text ends; a stream when the test ends it. */
  readonly stdin?: string | Readable;
  readonly environment?: Readonly<Record<string, string>>;
  /** All three streams count as a terminal. */
  readonly terminal?: boolean;
  readonly signal?: AbortSignal;
  /** Called with everything that was printed to standard output so far. */
  readonly onOut?: (text: string) => void;
}

export async function cli(argv: readonly string[], options: HostOptions = {}): Promise<Ran> {
  const {terminal = false, stdin = ''} = options;
  const out = capture(options.onOut);
  const err = capture();
  const host: Host = {
    stdout: out.stream,
    stderr: err.stream,
    openStdin: () => (stdin instanceof Readable ? stdin : Readable.from([stdin])),
    environment: {...options.environment, TEKTON_AI_HOME: options.home ?? '/nonexistent/tekton-ai-test'},
    cwd: options.cwd ?? '/nonexistent',
    isTerminal: {stdin: terminal, stdout: terminal, stderr: terminal},
    signal: options.signal ?? new AbortController().signal,
  };
  const code = await runCli(argv, host);
  return {code, out: out.text(), err: err.text()};
}

export {exitCodes};

function capture(onText?: (text: string) => void): {readonly stream: Writable; text(): string} {
  let text = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString('utf8');
      onText?.(text);
      done();
    },
  });
  return {stream, text: () => text};
}
