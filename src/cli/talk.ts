/** One chat with a specialist, over its own port as any client would. */
import {TektonError} from '../api/errors.js';
import type {FleetRecord} from '../api/types.js';
import type {OutgoingChat, SpecialistConnection} from '../protocol/client.js';
import type {ChatReply, StreamEndMetadata} from '../protocol/messages.js';
import type {CommandContext} from './context.js';
import {knownSpecialists} from './names.js';
import {observe} from './observe.js';
import type {GlobalOptions} from './options.js';
import {tokenOf} from './secrets.js';
import {countText} from './print/amounts.js';
import {selectOne} from './select.js';
import {openConnection} from './verify.js';
import {qualifiedName, readyText, whyNotReady, type SpecialistView} from './view.js';

export interface Answer {
  readonly model: string;
  readonly outputTokens: number;
  readonly seconds: number;
  /** Oldest messages that didn't fit and were left out. */
  readonly trimmed: number;
  /** Who should have answered, and with which error code it didn't. */
  readonly fallback: ChatReply['fallback'];
}

/**
 * A connection to the specialist that `name` means; the caller closes it.
 *
 * @throws {TektonError} where it isn't there, or a chat would not be answered: with the reason, and what to do.
 */
export async function reach(
  context: CommandContext,
  name: string,
  scope: GlobalOptions,
): Promise<{readonly view: SpecialistView; readonly connection: SpecialistConnection}> {
  const {aiId} = await selectOne(knownSpecialists(context.home, scope), name);
  const {specialists, fleets} = await observe(context, {...scope, aiIds: new Set([aiId])});
  const view = await selectOne(specialists, aiId);
  if (!runs(view)) throw notRunning(view);
  // Unknown is worth a try: the specialist itself will say.
  if (readyText(view) === 'False') throw notReady(view);
  const connection = await connectTo(context, view, fleets);
  if (connection === undefined) throw notRunning(view);
  return {view, connection};
}

/**
 * A connection to the specialist, whether it is ready or not; undefined where it doesn't run. The caller closes it.
 *
 * @throws {TektonError} it can't be reached, or refuses the token
 */
export async function connectTo(
  context: CommandContext,
  view: SpecialistView,
  fleets: readonly FleetRecord[],
): Promise<SpecialistConnection | undefined> {
  const {host = '127.0.0.1', port} = view.status;
  if (port === undefined || !runs(view)) return undefined;
  const token = await tokenFor(view, fleets, context);
  return openConnection({host, port, ...(token !== undefined && {token})}, context.signal);
}

function runs({status}: SpecialistView): boolean {
  return status.port !== undefined && status.instance !== undefined;
}

/** The whole answer at once. @throws {RequestFailedError | ConnectionLostError} or the signal's reason */
export function ask(connection: SpecialistConnection, chat: OutgoingChat, signal: AbortSignal): Promise<ChatReply> {
  return connection.request({...chat, type: 'chat'}, {signal});
}

/** The answer as it comes: each piece is handed to `onText` and waited for. @throws as `ask` */
export async function askStreaming(
  connection: SpecialistConnection,
  chat: OutgoingChat,
  {signal, onText}: {readonly signal: AbortSignal; readonly onText: (text: string) => Promise<void>},
): Promise<Answer> {
  const stream = connection.chat(chat, {signal});
  for await (const {content} of stream) if (content !== '') await onText(content);
  return fromStream(await stream.end);
}

export function fromReply({model = '', usage, latency = 0, trimmed = 0, fallback}: ChatReply): Answer {
  return {model, outputTokens: usage?.output_tokens ?? 0, seconds: latency, trimmed, fallback};
}

function fromStream({model, total_tokens, total_time: seconds, trimmed = 0, fallback}: StreamEndMetadata): Answer {
  return {model, outputTokens: total_tokens, seconds, trimmed, fallback};
}

/** "athena answered with ollama:llama3.3:70b (340 tokens, 2.1 s)" */
export function answerText(view: SpecialistView, {model, outputTokens, seconds, trimmed, fallback}: Answer): string {
  const instead = fallback === undefined ? '' : `, as a fallback for ${fallback.from} (${fallback.reason})`;
  const without = trimmed > 0 ? `, without the oldest ${countText(trimmed, 'message')}` : '';
  return `${qualifiedName(view)} answered with ${model} (${outputTokens} tokens, ${seconds.toFixed(1)} s)${instead}${without}`;
}

/** It isn't what was asked for in all: another model answered, or not all of the conversation was sent to it. */
export function isLess({trimmed, fallback}: Answer): boolean {
  return trimmed > 0 || fallback !== undefined;
}

function notRunning(view: SpecialistView): TektonError {
  const why = whyNotReady(view);
  const disabled = why?.reason === 'Disabled';
  const stopped = why === undefined || why.reason === 'Stopped' || why.reason === 'NotChecked';
  return new TektonError(`cannot chat with ${qualifiedName(view)}: ${why?.message ?? 'it is not running'}`, {
    hint: disabled ? 'enable it in its fleet file' : stopped ? 'tekton-ai up' : 'tekton-ai status',
  });
}

function notReady(view: SpecialistView): TektonError {
  const why = whyNotReady(view);
  const text = why === undefined ? 'for a reason unknown' : `${why.reason}: ${why.message}`;
  return new TektonError(`cannot chat with ${qualifiedName(view)}: ${text}`, {
    hint: `tekton-ai describe ${qualifiedName(view)}`,
  });
}

/** What its port wants to hear first; undefined: nothing. */
export async function tokenFor(
  {spec, fleet, namespace}: SpecialistView,
  fleets: readonly FleetRecord[],
  context: CommandContext,
): Promise<string | undefined> {
  const record = fleets.find(one => one.name === fleet && one.namespace === namespace);
  return spec === undefined || record === undefined ? undefined : tokenOf({spec}, record, context);
}
