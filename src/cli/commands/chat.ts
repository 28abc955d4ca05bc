import {exitCodes, TektonError} from '../../api/errors.js';
import type {OutgoingChat} from '../../protocol/client.js';
import type {Command, CommandContext} from '../context.js';
import type {ChatOptions} from '../options.js';
import {write, writeJson, writeLine} from '../output.js';
import {qualifiedName} from '../view.js';
import {answerText, ask, askStreaming, fromReply, reach} from '../talk.js';

/** One message and its answer; without a message, on a terminal, a conversation. */
export const run: Command<ChatOptions> = async (context, args, options) => {
  const {stdin, stdout} = context.isTerminal;
  const {name, words} = await addressee(context, args, options);
  if (words.length === 0 && stdin && stdout) return (await import('../converse.js')).converse(context, name, options);
  const content = await messageOf(context, words);
  const {view, connection} = await reach(context, name, options);
  try {
    const chat: OutgoingChat = {content, ...(options.session !== undefined && {session: options.session})};
    const answer =
      options.output === 'json' || !options.stream
        ? await answerWhole(context, options, () => ask(connection, chat, context.signal))
        : await answerStreaming(context, text =>
            askStreaming(connection, chat, {signal: context.signal, onText: text}),
          );
    if (context.isTerminal.stderr) await writeLine(context.stderr, answerText(view, answer));
  } finally {
    connection.close();
  }
  return exitCodes.ok;
};

/** Whom to talk to, and what is left to say. With a role all words are the message. */
async function addressee(
  context: CommandContext,
  args: readonly string[],
  options: ChatOptions,
): Promise<{readonly name: string; readonly words: readonly string[]}> {
  const {role} = options;
  if (role !== undefined) {
    const {bestOfRole} = await import('../best-of-role.js');
    const {view, why} = await bestOfRole(context, role, options);
    await writeLine(context.stderr, `${qualifiedName(view)} has the role ${role}: ${why}`);
    return {name: view.aiId, words: args};
  }
  const [name, ...words] = args;
  if (name !== undefined) return {name, words};
  throw new TektonError('nobody to talk to', {
    exitCode: exitCodes.invalidInput,
    hint: 'tekton-ai chat NAME "message", or tekton-ai chat --role ROLE "message"',
  });
}

async function messageOf(context: CommandContext, words: readonly string[]): Promise<string> {
  const fromStdin = words.length === 1 && words[0] === '-';
  const text = fromStdin ? await context.readStdin() : words.join(' ');
  if (text.trim() !== '') return text;
  throw new TektonError(fromStdin ? 'standard input is empty: nothing to say' : 'no message to say', {
    exitCode: exitCodes.invalidInput,
    hint: 'tekton-ai chat NAME "message", or - to read it from standard input',
  });
}

async function answerWhole(
  {stdout}: CommandContext,
  {output}: ChatOptions,
  request: () => ReturnType<typeof ask>,
): Promise<ReturnType<typeof fromReply>> {
  const reply = await request();
  const {request_id: _, ...document} = reply;
  if (output === 'json') await writeJson(stdout, document);
  else await writeLine(stdout, reply.content);
  return fromReply(reply);
}

/** What has come stays on a line of its own, whatever comes then: the next line, an error, or the prompt. */
export async function answerStreaming<T>(
  {stdout}: CommandContext,
  request: (onText: (text: string) => Promise<void>) => Promise<T>,
): Promise<T> {
  let last = '';
  try {
    return await request(async text => {
      last = text;
      await write(stdout, text);
    });
  } finally {
    if (last !== '' && !last.endsWith('\n')) await write(stdout, '\n');
  }
}
