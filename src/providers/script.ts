/** The answers file of a scripted provider, parsed and checked at the door. Its format: docs/reference/scripted-provider.md. */
import {readFile, stat} from 'node:fs/promises';
import type {ModelCheck, ModelReason} from '../api/types.js';
import {describeError} from '../api/errors.js';
import {Place, ScriptError} from './script-place.js';
import type {ProviderErrorCode, StopReason} from './provider.js';

export interface Script {
  readonly rules: readonly Rule[];
  readonly check: ModelCheck;
}

/** The first rule that matches the last message, the user's or a tool's, answers it. */
export interface Rule {
  readonly matches: (content: string) => boolean;
  /** As streamed, placeholders unfilled. undefined: an echo. */
  readonly chunks: readonly string[] | undefined;
  /** Streamed before the chunks, at their pace. */
  readonly thinking: readonly string[];
  /** Behind the chunks. The rule answers only requests that offer all of these tools. */
  readonly toolCalls: readonly ScriptedCall[];
  readonly delayMs: number;
  readonly chunkDelayMs: number;
  readonly inputTokens: number | undefined;
  readonly outputTokens: number | undefined;
  readonly cachedInputTokens: number | undefined;
  readonly stopReason: StopReason;
  readonly error: Fault | undefined;
}

export interface ScriptedCall {
  /** undefined: made up, the same for the same conversation. */
  readonly id: string | undefined;
  readonly name: string;
  /** JSON text, placeholders unfilled. */
  readonly arguments: string;
}

export interface Fault {
  readonly code: ProviderErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;
  /** Number of chunks that are streamed before it strikes. */
  readonly afterChunks: number;
}

/** Reads `path`, again only when the file has changed. Without a path every message is echoed. */
export function openScript(path: string | undefined): () => Promise<Script> {
  let known: {readonly version: string; readonly script: Script} | undefined;
  return async () => {
    if (path === undefined) return {rules: [], check: {available: true}};
    try {
      const {mtimeNs, size, ino} = await stat(path, {bigint: true});
      const version = `${mtimeNs} ${size} ${ino}`;
      if (known?.version !== version) known = {version, script: await parse(await readFile(path, 'utf8'))};
      return known.script;
    } catch (error) {
      throw new ScriptError(`cannot use the answers file ${path}: ${describeError(error)}`);
    }
  };
}

async function parse(text: string): Promise<Script> {
  const {parseDocument} = await import('yaml');
  const document = parseDocument(text, {prettyErrors: true});
  const [problem] = document.errors;
  if (problem !== undefined) throw problem;
  const at = new Place('the file', (document.toJS({maxAliasCount: 100}) as unknown) ?? {});
  at.only('check', 'rules');
  const script = {check: readCheck(at.child('check')), rules: at.child('rules').list().map(readRule)};
  return script;
}

function readCheck(at: Place): ModelCheck {
  if (at.value === undefined) return {available: true};
  at.only('available', 'reason', 'message');
  if (at.child('available').boolean(true)) return {available: true};
  const reason = at.child('reason').oneOf(modelReasons, 'ProviderError');
  return {available: false, reason, message: at.child('message').string() ?? 'unavailable by script'};
}

function readRule(at: Place): Rule {
  at.only(
    'match',
    'contains',
    'reply',
    'chunks',
    'thinking',
    'toolCalls',
    'delayMs',
    'chunkDelayMs',
    'inputTokens',
    'outputTokens',
    'cachedInputTokens',
    'stopReason',
    'error',
  );
  const reply = at.child('reply').string();
  const chunks = at.child('chunks');
  if (reply !== undefined && chunks.value !== undefined) at.fail('has both reply and chunks');
  const thinking = at.child('thinking');
  const toolCalls = at.child('toolCalls').list().map(readCall);
  const said = reply === undefined ? undefined : [reply];
  const unsaid = toolCalls.length > 0 ? [] : undefined;
  return {
    matches: matcher(at),
    chunks: chunks.value === undefined ? (said ?? unsaid) : texts(chunks),
    thinking: typeof thinking.value === 'string' ? [thinking.value] : texts(thinking),
    toolCalls,
    delayMs: at.child('delayMs').count() ?? 0,
    chunkDelayMs: at.child('chunkDelayMs').count() ?? 0,
    inputTokens: at.child('inputTokens').count(),
    outputTokens: at.child('outputTokens').count(),
    cachedInputTokens: at.child('cachedInputTokens').count(),
    stopReason: at.child('stopReason').oneOf(stopReasons, toolCalls.length > 0 ? 'tool_calls' : 'end'),
    error: readFault(at.child('error')),
  };
}

function readCall(at: Place): ScriptedCall {
  at.only('id', 'name', 'arguments');
  const given = at.child('arguments');
  return {
    id: at.child('id').string(),
    name: at.child('name').string() ?? at.fail('needs a name'),
    arguments:
      typeof given.value === 'string' ? given.value : JSON.stringify(given.value === undefined ? {} : given.mapping()),
  };
}

function texts(list: Place): readonly string[] {
  return list.list().map(piece => piece.string() ?? piece.fail('must be text'));
}

function matcher(at: Place): Rule['matches'] {
  const match = at.child('match');
  const pattern = match.string();
  const part = at.child('contains').string()?.toLowerCase();
  if (pattern === undefined) return part === undefined ? () => true : content => content.toLowerCase().includes(part);
  if (part !== undefined) at.fail('has both match and contains');
  try {
    const regex = new RegExp(pattern, 'iu');
    return content => regex.test(content);
  } catch (error) {
    return match.fail(`is no regular expression (${describeError(error)})`);
  }
}

function readFault(at: Place): Fault | undefined {
  if (at.value === undefined) return undefined;
  at.only('code', 'message', 'retryable', 'status', 'retryAfterMs', 'afterChunks');
  return {
    code: at.child('code').oneOf(errorCodes, 'provider_error'),
    message: at.child('message').string() ?? 'failed by script',
    retryable: at.child('retryable').boolean(false),
    status: at.child('status').count(),
    retryAfterMs: at.child('retryAfterMs').count(),
    afterChunks: at.child('afterChunks').count() ?? 0,
  };
}

/** A pull is the reconciler's word, not a provider's. */
const modelReasons: Readonly<Record<Exclude<ModelReason, 'Pulling' | 'PullFailed'>, true>> = {
  ProviderUnreachable: true,
  ProviderError: true,
  ModelNotFound: true,
  Unauthorized: true,
  SecretMissing: true,
  QuotaExceeded: true,
};

const stopReasons: Readonly<Record<StopReason, true>> = {
  end: true,
  length: true,
  stop: true,
  refusal: true,
  tool_calls: true,
  cancelled: true,
};

const errorCodes: Readonly<Record<ProviderErrorCode, true>> = {
  provider_unreachable: true,
  provider_error: true,
  model_not_found: true,
  unauthorized: true,
  secret_missing: true,
  quota_exceeded: true,
  overloaded: true,
  bad_request: true,
  timeout: true,
};
