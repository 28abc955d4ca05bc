/** The `messages` of OpenAI's chat completions, as a specialist's conversation. */
import type {ChatMessage, ToolCall} from '../../providers/provider.js';
import type {Question} from '../answer.js';
import type {Fields} from './fields.js';

/**
 * The conversation, and what its `system` and `developer` messages say, which follows the specialist's own prompt wherever
 * they stand. An empty list, an answer as the last message, and anything but text are mistakes.
 *
 * @throws {Problem}
 */
export function readMessages(body: Fields): Pick<Question, 'messages' | 'instructions'> {
  const messages: ChatMessage[] = [];
  const instructions: string[] = [];
  /** Id of each call that an assistant's message has made → name of its function. */
  const calls = new Map<string, string>();
  for (const message of body.objects('messages')) {
    const role = message.get('role');
    switch (role) {
      case 'system':
      case 'developer':
        instructions.push(readText(message));
        break;
      case 'user':
        messages.push({role, content: readText(message)});
        break;
      case 'assistant': {
        const toolCalls = message.objects('tool_calls').map(readToolCall);
        for (const {id, name} of toolCalls) calls.set(id, name);
        const content = readText(message, {optional: true});
        messages.push({role, content, ...(toolCalls.length > 0 && {toolCalls})});
        break;
      }
      case 'tool': {
        const toolCallId = message.neededString('tool_call_id');
        const name = calls.get(toolCallId);
        if (name === undefined) throw message.wrong('tool_call_id', 'is that of no tool call before it');
        messages.push({role, content: readText(message), toolCallId, name});
        break;
      }
      default:
        throw message.wrong('role', 'must be system, developer, user, assistant or tool');
    }
  }
  const last = messages.at(-1);
  if (last === undefined || last.role === 'assistant') throw body.wrong('messages', 'must end with a question');
  if (last.role === 'user' && last.content.trim() === '') throw body.wrong('messages', 'must end with some text');
  const text = instructions.filter(part => part.trim() !== '').join('\n\n');
  return {messages, ...(text !== '' && {instructions: text})};
}

/** A text, or parts that are texts: each is a line of its own, or more. */
function readText(message: Fields, {optional = false} = {}): string {
  const content = message.get('content');
  if (typeof content === 'string') return content;
  if (content === undefined && optional) return '';
  if (!Array.isArray(content)) throw message.wrong('content', 'must be a text or a list of parts');
  const texts = message.objects('content').map(part => {
    const type = part.get('type');
    if (type === 'text') return part.string('text') ?? '';
    if (type === 'refusal') return part.string('refusal') ?? '';
    throw part.wrong('type', 'must be text: specialists see and hear nothing', 'unsupported_content');
  });
  return texts.join('\n');
}

function readToolCall(call: Fields): ToolCall {
  const made = call.get('type') === 'function' ? call.object('function') : undefined;
  if (made === undefined) throw call.wrong('type', 'must be function, with the call in function');
  return {
    id: call.neededString('id'),
    name: made.neededString('name'),
    arguments: made.string('arguments') ?? '{}',
  };
}
