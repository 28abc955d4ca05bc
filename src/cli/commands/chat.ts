import {exitCodes, TektonError} from '../../api/errors.js';
import type {OutgoingChat} from '../../protocol/client.js';
import type {Command, CommandContext} from '../context.js';
import {knownSpecialists} from '../names.js';
import type {ChatOptions} from '../options.js';
import {write, writeJson, writeLine} from '../output.js';
import {styleFor} from '../print/style.js';
import {isNamed} from '../select.js';
import {qualifiedName} from '../view.js';
import {answerText, ask, askStreaming, fromReply, isLess, reach} from '../talk.js';

/** One message and its answer; without a message, on a terminal, a conversation. */
export const run: Command<ChatOptions> = async (context, args, options) => {
  const {stdin, stdout} = context.isTerminal;
  const words = wordsOf(context, args, options);
  if (words.length === 0 && stdin && stdout) {
    const name = await addressee(context, args, options);
    return (await import('../converse.js')).converse(context, name, options);
  }
  // Before anybody is looked for: without a message nobody is needed.
  const content = await messageOf(context, words, options);
  const name = await addressee(context, args, options);
  const {view, connection} = await reach(context, name, options);
  try {
    const chat: OutgoingChat = {content, ...(options.session !== undefined && {session: options.session})};
    const answer =
      options.output === 'json' || !options.stream
        ? await answerWhole(context, options, () => ask(connection, chat, context.signal))
        : await answerStreaming(context, text =>
            askStreaming(connection, chat, {signal: context.signal, onText: text}),
          );
    if (context.isTerminal.stderr || (options.output === 'text' && isLess(answer))) {
      await writeLine(context.stderr, styleFor(context.color).dim(answerText(view, answer)));
    }
  } finally {
    connection.close();
  }
  return exitCodes.ok;
};

/** What is to be said. With a role all words are the message, so none of them may look like a name. */
function wordsOf(context: CommandContext, args: readonly string[], {role}: ChatOptions): readonly string[] {
  const [first, ...rest] = args;
  if (role === undefined) {
    if (first !== undefined) return rest;
    throw new TektonError('nobody to talk to', {
      exitCode: exitCodes.invalidInput,
      hint: 'tekton-ai chat NAME "message", or tekton-ai chat --role ROLE "message"',
    });
  }
  if (first === undefined || !isNamed(knownSpecialists(context.home, {}), first)) return args;
  throw new TektonError(`a name ("${first}") and --role were given`, {
    exitCode: exitCodes.invalidInput,
    hint: 'leave one of them out; a message that begins with a name is told by quoting all of it',
  });
}

/** Whom to talk to: the one that is named, or the best of those that have the role. */
async function addressee(
  context: CommandContext,
  [name = '']: readonly string[],
  options: ChatOptions,
): Promise<string> {
  const {role} = options;
  if (role === undefined) return name;
  const {bestOfRole} = await import('../best-of-role.js');
  const {view, why} = await bestOfRole(context, role, options);
  await writeLine(context.stderr, `${qualifiedName(view)} has the role ${role}: ${why}`);
  return view.aiId;
}

async function messageOf(context: CommandContext, words: readonly string[], {role}: ChatOptions): Promise<string> {
  const fromStdin = words.length === 1 && words[0] === '-';
  const text = fromStdin ? await context.readStdin() : words.join(' ');
  if (text.trim() !== '') return text;
  const whom = role === undefined ? 'NAME' : '--role ROLE';
  throw new TektonError(fromStdin ? 'standard input is empty: nothing to say' : 'no message to say', {
    exitCode: exitCodes.invalidInput,
    hint: `tekton-ai chat ${whom} "message", or - to read it from standard input`,
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
