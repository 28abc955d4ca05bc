/** Has Ollama fetch a model, and tells how far it is. */
import {splitDigest} from '../api/model-name.js';
import type {ResolvedProvider} from '../api/types.js';
import {stream, type Call} from './http-call.js';
import {ollamaClient, ollamaServer} from './ollama-server.js';
import {ProviderError, type PullProgress} from './provider.js';
import {pullLimitsOf} from './timeouts.js';

/**
 * Leaving early, or aborting, stops the download; the server keeps the layers that it has. A pinned digest is not asked
 * for, as Ollama's registry knows tags only: the next check tells whether it is the pinned one.
 *
 * @throws {ProviderError}
 */
export function pullModel(
  resolved: ResolvedProvider,
  pinned: string,
  signal: AbortSignal,
): AsyncGenerator<PullProgress, void, void> {
  const model = splitDigest(pinned).name;
  const options = {...ollamaServer(resolved), limits: pullLimitsOf(resolved), model};
  return stream(options, signal, async function* (call) {
    const layers: Layers = new Map();
    try {
      for await (const step of await (await ollamaClient(resolved, call)).pull({model, stream: true})) {
        yield progressOf(step, layers);
      }
    } catch (error) {
      throw explain(call, error, {label: options.peer.label, model});
    }
  });
}

interface Step {
  readonly status?: string;
  readonly digest?: string;
  readonly completed?: number;
  readonly total?: number;
}

/** By digest: those that were begun, the largest first as a rule. */
type Layers = Map<string, {readonly total: number; readonly completed: number}>;

/** Over all layers so far. Its client's types promise numbers that the server sends only for layers. */
function progressOf({status = '', digest = '', completed, total}: Step, layers: Layers): PullProgress {
  if (typeof total !== 'number') return {status};
  layers.set(digest, {total, completed: typeof completed === 'number' ? completed : 0});
  const sum = (part: 'total' | 'completed'): number =>
    [...layers.values()].reduce((bytes, layer) => bytes + layer[part], 0);
  return {status, totalBytes: sum('total'), completedBytes: sum('completed')};
}

/** The server tells all that goes wrong in one line of text, with no code. */
function explain(call: Call, error: unknown, {label, model}: {label: string; model: string}): unknown {
  const explained = call.explain(error);
  if (!(explained instanceof ProviderError)) return explained;
  const {message, status} = explained;
  const fail = (text: string, code: 'model_not_found' | 'provider_error'): ProviderError =>
    new ProviderError(`${label} cannot pull ${model}: ${text}`, {code, retryable: false, ...(status && {status})});
  if (
    /manifest: file does not exist|manifest unknown|does not exist in the registry/i.test(message) ||
    status === 404
  ) {
    return fail('there is no model of that name; look it up at https://ollama.com/library', 'model_not_found');
  }
  if (/no space left|not enough (disk )?space|disk quota/i.test(message)) {
    return fail('no space is left on its disk; free some where Ollama keeps its models', 'provider_error');
  }
  if (/invalid model name|name.*is invalid/i.test(message)) {
    return fail('that is no name of a model', 'model_not_found');
  }
  if (/newer version of ollama/i.test(message)) return fail('it needs a newer version of Ollama', 'provider_error');
  return explained;
}
