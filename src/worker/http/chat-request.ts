/**
 * What `POST /v1/chat/completions` takes: OpenAI's request as far as a specialist can do it. What it can't do is refused
 * by name, never dropped; fields that are hints to OpenAI's own service are read over (docs/reference/http.md).
 */
import type {ChatParameters} from '../../api/types.js';
import type {ResponseFormat, Tool, ToolChoice} from '../../providers/provider.js';
import type {Question} from '../answer.js';
import {readMessages} from './chat-messages.js';
import {Fields} from './fields.js';

export interface ChatCall {
  /** Absent: whoever is asked. */
  readonly model: string | undefined;
  readonly question: Question;
  readonly stream: boolean;
  readonly includeUsage: boolean;
}

/** @throws {Problem} 400, with the field that is wrong */
export function readChatCall(value: unknown): ChatCall {
  const body = new Fields(value, '');
  refuseUnsupported(body);
  const tools = readTools(body);
  const responseFormat = readResponseFormat(body.object('response_format'));
  const toolChoice = tools.length === 0 ? undefined : readToolChoice(body, tools);
  return {
    model: body.string('model'),
    question: {
      ...readMessages(body),
      parameters: readParameters(body),
      ...(tools.length > 0 && {tools}),
      ...(toolChoice !== undefined && {toolChoice}),
      ...(responseFormat && {responseFormat}),
    },
    stream: body.flag('stream'),
    includeUsage: body.object('stream_options')?.flag('include_usage') ?? false,
  };
}

/** Each with the values that ask for nothing. */
const unsupported: readonly (readonly [name: string, harmless: (value: unknown) => boolean])[] = [
  ['n', value => value === 1],
  ['logprobs', value => value === false],
  ['top_logprobs', value => value === 0],
  ['presence_penalty', value => value === 0],
  ['frequency_penalty', value => value === 0],
  ['logit_bias', value => typeof value === 'object' && Object.keys(value ?? {}).length === 0],
  ['modalities', value => JSON.stringify(value) === '["text"]'],
  ['parallel_tool_calls', value => value === true],
  ['audio', () => false],
  ['prediction', () => false],
  ['web_search_options', () => false],
  ['functions', value => Array.isArray(value) && value.length === 0],
  ['function_call', () => false],
];

function refuseUnsupported(body: Fields): void {
  for (const [name, harmless] of unsupported) {
    const value = body.get(name);
    if (value === undefined || harmless(value)) continue;
    const instead = name.startsWith('function') ? '; use tools and tool_choice' : '';
    throw body.wrong(name, `is not supported by specialists with this value${instead}`, 'unsupported_parameter');
  }
}

function readParameters(body: Fields): ChatParameters {
  const temperature = body.number('temperature', [0, 2]);
  const topP = body.number('top_p', [0, 1]);
  const maxTokens = body.integer('max_completion_tokens', 1) ?? body.integer('max_tokens', 1);
  const seed = body.integer('seed');
  const stop = readStop(body);
  return {
    ...(temperature !== undefined && {temperature}),
    ...(topP !== undefined && {topP}),
    ...(maxTokens !== undefined && {maxTokens}),
    ...(seed !== undefined && {seed}),
    ...(stop.length > 0 && {stop}),
  };
}

function readStop(body: Fields): readonly string[] {
  const value = body.get('stop') ?? [];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (list.every(item => typeof item === 'string' && item !== '')) return list as readonly string[];
  throw body.wrong('stop', 'must be a text or a list of texts, none of them empty');
}

function readResponseFormat(format: Fields | undefined): ResponseFormat | undefined {
  if (format === undefined) return undefined;
  switch (format.get('type')) {
    case 'text':
      return undefined;
    case 'json_object':
      return {type: 'json'};
    case 'json_schema': {
      const wanted = format.object('json_schema');
      const schema = wanted?.record('schema');
      if (wanted === undefined || schema === undefined) throw format.wrong('json_schema.schema', 'is needed');
      return {type: 'schema', name: wanted.neededString('name'), schema};
    }
  }
  throw format.wrong('type', 'must be text, json_object or json_schema');
}

function readTools(body: Fields): readonly Tool[] {
  return body.objects('tools').map(tool => {
    const definition = tool.get('type') === 'function' ? tool.object('function') : undefined;
    if (definition === undefined) throw tool.wrong('type', 'must be function, with its definition in function');
    const description = definition.string('description');
    return {
      name: definition.neededString('name'),
      ...(description !== undefined && {description}),
      parameters: definition.record('parameters') ?? {type: 'object', properties: {}},
    };
  });
}

function readToolChoice(body: Fields, tools: readonly Tool[]): ToolChoice | undefined {
  const value = body.get('tool_choice');
  if (value === undefined || value === 'auto' || value === 'none' || value === 'required') return value;
  const choice = typeof value === 'object' ? body.object('tool_choice') : undefined;
  const name = choice?.get('type') === 'function' ? choice.object('function')?.neededString('name') : undefined;
  if (name === undefined) throw body.wrong('tool_choice', 'must be none, auto, required or {"type": "function", …}');
  if (tools.some(tool => tool.name === name)) return {name};
  throw body.wrong('tool_choice', 'names a function that tools has not');
}
