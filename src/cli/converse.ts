/** `chat` without a message, on a terminal: a conversation that the worker remembers. */
import {randomUUID} from 'node:crypto';
import {createInterface, type Interface} from 'node:readline';
import {exitCodes, TektonError, type ExitCode} from '../api/errors.js';
import {answerStreaming} from './commands/chat.js';
import type {CommandContext} from './context.js';
import {errorText} from './errors.js';
import type {ChatOptions} from './options.js';
import {write, writeLine} from './output.js';
import {styleFor} from './print/style.js';
import {answerText, askStreaming, reach} from './talk.js';
import {modelText, qualifiedName} from './view.js';

/**
 * Until the end of the input or `/exit`. Control-C stops an answer that is under way, else ends the conversation.
 * Lines that come while an answer is under way wait for their turn, and so does the end of the input: a Control-D that
 * was typed before this was listening comes from the terminal as NUL, in what is read first.
 * An error of one answer is printed and the conversation goes on; one of the connection ends it.
 */
export async function converse(context: CommandContext, name: string, options: ChatOptions): Promise<ExitCode> {
  const {stdout, stderr, color} = context;
  const {view, connection} = await reach(context, name, options);
  const session = options.session ?? randomUUID();
  const style = styleFor(color);
  const whom = qualifiedName(view);
  await writeLine(stderr, style.dim(`${whom} (${modelText(view)}); Control-D or /exit ends`));
  const input = context.openStdin();
  const lines = createInterface({input, output: stdout, prompt: style.bold(`${whom}> `)});
  const answering = interruptible(lines, context.signal);
  let [lost, closed] = [false, false];
  lines.once('close', () => (closed = true));
  input.once('data', (typedAhead: Buffer | string) => {
    if (typedAhead.includes('\0')) lines.close();
  });
  void connection.closed.then(() => {
    lost = true;
    lines.close();
  });
  try {
    lines.prompt();
    for await (const line of lines) {
      if (line.trim() === '/exit') break;
      if (line.trim() !== '') {
        const chat = {content: line, session};
        try {
          const answer = await answering.run(signal =>
            answerStreaming(context, onText => askStreaming(connection, chat, {signal, onText})),
          );
          await writeLine(stderr, style.dim(answerText(view, answer)));
        } catch (error) {
          if (lost || !(answering.wasStopped() || error instanceof TektonError)) throw error;
          const text = errorText(error, {cwd: context.cwd, debug: false});
          await write(stderr, answering.wasStopped() ? `${style.dim('stopped')}\n` : text);
        }
      }
      // Lines that came before the end are still answered; a prompt would open the input again, for ever.
      if (!closed) lines.prompt();
    }
  } finally {
    lines.close();
    connection.close();
  }
  if (answering.wasEnded()) return exitCodes.interrupted;
  if (lost) throw new TektonError(`the connection to ${whom} is lost`, {hint: `tekton-ai describe ${whom}`});
  await writeLine(stdout, '');
  return exitCodes.ok;
}

interface Interruptible {
  run<T>(answer: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** The last answer was stopped. */
  wasStopped(): boolean;
  /** The conversation was ended from outside. */
  wasEnded(): boolean;
}

/** On a terminal readline turns Control-C into an event of its own. */
function interruptible(lines: Interface, outer: AbortSignal): Interruptible {
  let current: AbortController | undefined;
  let stopped = false;
  let ended = false;
  const end = () => {
    ended = true;
    current?.abort();
    lines.close();
  };
  outer.addEventListener('abort', end, {once: true});
  lines.on('SIGINT', () => {
    if (current === undefined) return end();
    stopped = true;
    current.abort();
  });
  return {
    wasStopped: () => stopped,
    wasEnded: () => ended,
    run: async answer => {
      stopped = false;
      current = new AbortController();
      try {
        return await answer(current.signal);
      } finally {
        current = undefined;
      }
    },
  };
}
