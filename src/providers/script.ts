/** The answers file of a scripted provider, parsed and checked at the door. Its format: docs/reference/scripted-provider.md. */
import {readFile, stat} from 'node:fs/promises';
import type {ModelCheck, ModelReason} from '../api/types.js';
import {describeError} from '../api/errors.js';
import type {ProviderErrorCode, StopReason} from './provider.js';

export interface Script {
  readonly rules: readonly Rule[];
  readonly check: ModelCheck;
}

/** The first rule that matches the user's last message answers it. */
export interface Rule {
  readonly matches: (content: string) => boolean;
  /** As streamed, placeholders unfilled. undefined: an echo. */
  readonly chunks: readonly string[] | undefined;
  readonly delayMs: number;
  readonly chunkDelayMs: number;
  readonly inputTokens: number | undefined;
  readonly outputTokens: number | undefined;
  readonly stopReason: StopReason;
  readonly error: Fault | undefined;
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

/** A file that can't be used: says where and why. */
export class ScriptError extends Error {
  override readonly name = 'ScriptError';
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
    'delayMs',
    'chunkDelayMs',
    'inputTokens',
    'outputTokens',
    'stopReason',
    'error',
  );
  const reply = at.child('reply').string();
  const chunks = at.child('chunks');
  if (reply !== undefined && chunks.value !== undefined) at.fail('has both reply and chunks');
  return {
    matches: matcher(at),
    chunks:
      chunks.value === undefined
        ? reply === undefined
          ? undefined
          : [reply]
        : chunks.list().map(c => c.string() ?? c.fail('must be text')),
    delayMs: at.child('delayMs').count() ?? 0,
    chunkDelayMs: at.child('chunkDelayMs').count() ?? 0,
    inputTokens: at.child('inputTokens').count(),
    outputTokens: at.child('outputTokens').count(),
    stopReason: at.child('stopReason').oneOf(stopReasons, 'end'),
    error: readFault(at.child('error')),
  };
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

/** One value of the file with the name that a person finds it by: `rules[2].error.code`. */
class Place {
  constructor(
    readonly name: string,
    readonly value: unknown,
  ) {}

  fail(what: string): never {
    throw new ScriptError(`${this.name} ${what}`);
  }

  /** Holds that this is a mapping with no other fields than these. */
  only(...fields: readonly string[]): void {
    for (const field of Object.keys(this.#mapping())) {
      if (!fields.includes(field)) this.fail(`has an unknown field "${field}"; known are ${fields.join(', ')}`);
    }
  }

  child(field: string): Place {
    return new Place(this.name === 'the file' ? field : `${this.name}.${field}`, this.#mapping()[field] ?? undefined);
  }

  list(): readonly Place[] {
    if (this.value === undefined) return [];
    if (!Array.isArray(this.value)) return this.fail('must be a list');
    return this.value.map((value: unknown, index) => new Place(`${this.name}[${index}]`, value));
  }

  string(): string | undefined {
    return this.value === undefined || typeof this.value === 'string' ? this.value : this.fail('must be text');
  }

  boolean(absent: boolean): boolean {
    if (this.value === undefined) return absent;
    return typeof this.value === 'boolean' ? this.value : this.fail('must be true or false');
  }

  count(): number | undefined {
    if (this.value === undefined) return undefined;
    const ok = typeof this.value === 'number' && Number.isSafeInteger(this.value) && this.value >= 0;
    return ok ? this.value : this.fail('must be a whole number, 0 or more'); // `ok` says so
  }

  oneOf<T extends string>(known: Readonly<Record<T, true>>, absent: T): T {
    if (this.value === undefined) return absent;
    if (typeof this.value === 'string' && Object.hasOwn(known, this.value)) return this.value as T; // a key of `known`
    return this.fail(`must be one of ${Object.keys(known).join(', ')}`);
  }

  #mapping(): Readonly<Record<string, unknown>> {
    if (typeof this.value !== 'object' || this.value === null || Array.isArray(this.value)) {
      return this.fail('must be a mapping');
    }
    return this.value as Record<string, unknown>; // YAML mappings have text keys here
  }
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
